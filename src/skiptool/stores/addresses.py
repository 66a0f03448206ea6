"""Local paths and URLs: tell them apart, and show URLs without credentials.

Messages, lineages and stdout show URLs without ``user:password@`` and without the query, which may
hold a signature.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from skiptool.errors import ArgumentError

_URL = re.compile(r"://(?:[^/\s'\"]*@)?([^\s'\"?]*)(?:\?[^\s'\"]*)?")
_ONE_SLASH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(?!/)(.*)", re.DOTALL)


def path_or_url(place: str | Path) -> Path | str:
    """Return a local path or ``file://`` URL as a Path, and any other URL unchanged as text.

    Examples
    --------
    >>> str(path_or_url("file:///data/f.zarr")), path_or_url("s3://bucket/f.zarr")
    ('/data/f.zarr', 's3://bucket/f.zarr')
    """
    word = str(place)
    if word.startswith("file://"):
        return Path(word.removeprefix("file://").removeprefix("localhost"))
    if word.startswith("file:/") and not os.path.lexists(word):
        return Path(word.removeprefix("file:"))
    return word if isinstance(place, str) and "://" in word else Path(place)


def require_local(place: str | Path, reason: str) -> Path:
    """Return a local path; refuse a URL with the reason why it is not supported."""
    path = path_or_url(place)
    if isinstance(path, str):
        raise ArgumentError(f"{redact(path)}: {reason}; give a local path")
    check_slashes(path)
    return path


def redact(text: str) -> str:
    """Strip credentials and queries from a URL, or from all URLs in a message.

    Examples
    --------
    >>> redact("https://me:secret@host/f.zarr?signature=abc")
    'https://host/f.zarr'
    """
    return _URL.sub(r"://\1", text)


def last_part(place: str | Path) -> str:
    """Return the last component of a path or URL, for display.

    Examples
    --------
    >>> last_part("https://host/a/f.zarr/?signature=a/b"), last_part(Path("a/f.zarr"))
    ('f.zarr', 'f.zarr')
    """
    if isinstance(place, Path):
        return place.name or place.resolve().name
    return redact(place).rstrip("/").rpartition("/")[2]


def join_url(url: str, name: str) -> str:
    """Append a relative name to the URL of a folder, before its query.

    Examples
    --------
    >>> join_url("https://host/f.zarr/?signature=abc", "a/zarr.json")
    'https://host/f.zarr/a/zarr.json?signature=abc'
    """
    address, mark, query = url.partition("?")
    return f"{address.rstrip('/')}/{name}{mark}{query}"


def parent_url(url: str) -> str:
    """Return the URL of the parent folder, without its query.

    Examples
    --------
    >>> parent_url("s3://bucket/a/f.zarr/"), parent_url("memory://f.zarr")
    ('s3://bucket/a', 'memory:/')
    """
    return url.partition("?")[0].rstrip("/").rpartition("/")[0]


def sibling_url(url: str, name: str) -> str:
    """Return the URL of ``name`` in the same folder.

    Examples
    --------
    >>> sibling_url("s3://bucket/a/f.zarr/", "g.zarr"), sibling_url("memory://f.zarr", "g.zarr")
    ('s3://bucket/a/g.zarr', 'memory://g.zarr')
    """
    return f"{parent_url(url)}/{name}"


def is_web(url: str) -> bool:
    """Return whether a URL is http(s): web servers neither list folders nor accept uploads."""
    return url.startswith(("http://", "https://"))


def check_slashes(word: str | Path) -> None:
    """Refuse a URL with a single slash, as ``pathlib`` and some shells write it.

    ``file:/path`` is a local path and is accepted. The message omits a possible password.
    """
    match = _ONE_SLASH.match(str(word))
    if match is None or match[1] == "file" or os.path.lexists(word):
        return
    protocol = match[1]
    name = redacted_name(f"{protocol}://{match[2]}")
    raise ArgumentError(
        f"{protocol}:/.../{name}: a URL has two slashes after its protocol; write {protocol}://"
    )


def redacted_name(url: str) -> str:
    """Return the last component of a URL, without credentials if it is the host.

    Examples
    --------
    >>> redacted_name("https://me:secret@host?key=secret"), redacted_name("s3://bucket/a/")
    ('host', 'a')
    """
    address = url.partition("?")[0].rstrip("/")
    return address.rpartition("/")[2].rpartition("@")[2]


@dataclass(frozen=True, slots=True)
class OpenStore:
    """An open store at a local path or a URL."""

    place: Path | str

    @property
    def path(self) -> Path | str:
        """Name in messages: the local path, or the URL without credentials."""
        return self.place if isinstance(self.place, Path) else redact(self.place)

    @property
    def name(self) -> str:
        """Last component of the path or URL, for display."""
        return last_part(self.place)
