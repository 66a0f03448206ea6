"""Addresses: what is a local path, what is a URL, and how a URL is shown.

Messages, lineages and stdout show URLs without credentials: without ``user:password@`` and without
the query, which may hold a signature.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from skiptool.errors import ArgumentError

__all__ = [
    "below",
    "beside",
    "check_slashes",
    "is_web",
    "last_part",
    "local",
    "located",
    "parent_of",
    "public",
    "without_host",
]

_URL = re.compile(r"://(?:[^/\s'\"]*@)?([^\s'\"?]*)(?:\?[^\s'\"]*)?")
_ONE_SLASH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(?!/)(.*)", re.DOTALL)


def located(place: str | Path) -> Path | str:
    """Return a local place as a path (``file://`` too), any other URL as it is.

    Examples
    --------
    >>> str(located("file:///data/f.zarr")), located("s3://bucket/f.zarr")
    ('/data/f.zarr', 's3://bucket/f.zarr')
    """
    word = str(place)
    if word.startswith("file://"):
        return Path(word.removeprefix("file://").removeprefix("localhost"))
    if word.startswith("file:/") and not os.path.lexists(word):
        return Path(word.removeprefix("file:"))
    return word if isinstance(place, str) and "://" in word else Path(place)


def local(place: str | Path, what: str) -> Path:
    """Return a local place as a path.

    Raises
    ------
    ArgumentError
        If it is a URL; ``what`` says what is not read or written there.
    """
    found = located(place)
    if isinstance(found, str):
        raise ArgumentError(f"{public(found)}: {what}; give a local path")
    check_slashes(found)
    return found


def public(text: str) -> str:
    """Return a URL, or a message with URLs in it, without credentials and queries.

    Examples
    --------
    >>> public("https://me:secret@host/f.zarr?signature=abc")
    'https://host/f.zarr'
    """
    return _URL.sub(r"://\1", text)


def last_part(place: str | Path) -> str:
    """Return the last component of a path or URL, for tables.

    Examples
    --------
    >>> last_part("https://host/a/f.zarr/?signature=a/b"), last_part(Path("a/f.zarr"))
    ('f.zarr', 'f.zarr')
    """
    if isinstance(place, Path):
        return place.name or place.resolve().name
    return public(place).rstrip("/").rpartition("/")[2]


def below(url: str, name: str) -> str:
    """Return the URL of what is called ``name`` in the folder at a URL; a query stays at the end.

    Examples
    --------
    >>> below("https://host/f.zarr/?signature=abc", "a/zarr.json")
    'https://host/f.zarr/a/zarr.json?signature=abc'
    """
    address, mark, query = url.partition("?")
    return f"{address.rstrip('/')}/{name}{mark}{query}"


def parent_of(url: str) -> str:
    """Return the URL of the folder that something is in, without its query.

    Examples
    --------
    >>> parent_of("s3://bucket/a/f.zarr/"), parent_of("memory://f.zarr")
    ('s3://bucket/a', 'memory:/')
    """
    return url.partition("?")[0].rstrip("/").rpartition("/")[0]


def beside(url: str, name: str) -> str:
    """Return the URL of what is called ``name`` in the folder that something is in.

    Examples
    --------
    >>> beside("s3://bucket/a/f.zarr/", "g.zarr"), beside("memory://f.zarr", "g.zarr")
    ('s3://bucket/a/g.zarr', 'memory://g.zarr')
    """
    return f"{parent_of(url)}/{name}"


def is_web(url: str) -> bool:
    """Say whether a URL is that of a web server, which lists no folders and takes no uploads."""
    return url.startswith(("http://", "https://"))


def check_slashes(word: str | Path) -> None:
    """Refuse a URL that has lost one of its two slashes, as ``pathlib`` and some shells write it.

    Raises
    ------
    ArgumentError
        Without what may be a password. ``file:/path`` is a local path and is not refused.
    """
    found = _ONE_SLASH.match(str(word))
    if found is None or found[1] == "file" or os.path.lexists(word):
        return
    protocol, name = found[1], without_host(f"{found[1]}://{found[2]}")
    raise ArgumentError(
        f"{protocol}:/.../{name}: a URL has two slashes after its protocol; write {protocol}://"
    )


def without_host(url: str) -> str:
    """Return the last component of a URL; of a host alone, what is no password.

    Examples
    --------
    >>> without_host("https://me:secret@host?key=secret"), without_host("s3://bucket/a/")
    ('host', 'a')
    """
    address = url.partition("?")[0].rstrip("/")
    return address.rpartition("/")[2].rpartition("@")[2]
