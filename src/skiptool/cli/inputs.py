"""Input paths as they are typed, or piped in: ``-`` stands for stdin."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from skiptool.errors import ArgumentError
from skiptool.stores.staging import protect

__all__ = ["located", "one_path", "paths", "places", "refuse_url", "stdin_text"]


def paths(words: Sequence[str]) -> list[Path]:
    """Return local input paths; ``-`` stands for newline-separated paths on stdin.

    Raises
    ------
    ArgumentError
        If ``-`` is given and stdin is a terminal or holds no path, a word is empty or a URL.
    """
    return [_local(place) for place in places(words)]


def places(words: Sequence[str]) -> list[Path | str]:
    """Return inputs that may be remote: as :func:`paths`, but a URL stays the text that it is.

    None of them is written over from now on (:func:`skiptool.stores.staging.guarded`).

    Raises
    ------
    ArgumentError
        If ``-`` is given and stdin is a terminal or holds no path, or a word is empty.
    """
    found: list[str] = []
    for word in words:
        if not word:
            raise ArgumentError("an empty path is given; is a variable of the shell not set?")
        found += _from_stdin() if word == "-" else [word]
    protect(found)
    # A path eats one of the slashes of a URL.
    return [located(word) if "://" in word else Path(word) for word in found]


def one_path(word: str, what: str) -> Path:
    """Return the one path that a word or stdin names.

    Raises
    ------
    ArgumentError
        If stdin names several.
    """
    found = paths([word])
    if len(found) != 1:
        raise ArgumentError(f"stdin names {len(found)} paths, expected one {what}")
    return found[0]


def located(word: str) -> Path | str:
    """Return a local place as a path (``file://`` too), any other URL as it is.

    Examples
    --------
    >>> str(located("file:///data/f.zarr")), located("s3://bucket/f.zarr")
    ('/data/f.zarr', 's3://bucket/f.zarr')
    """
    remote = "://" in word and not word.startswith("file://")
    return word if remote else Path(word.removeprefix("file://").removeprefix("localhost"))


def refuse_url(word: str | Path, remedy: str) -> None:
    """Refuse a URL where a local path is needed, also one that has lost a slash.

    Raises
    ------
    ArgumentError
        Without what may be a password.
    """
    found = _URL.match(str(word))
    if found is not None and not os.path.lexists(word):
        name = found[2].partition("?")[0].rstrip("/").rpartition("/")[2].rpartition("@")[2]
        raise ArgumentError(f"{found[1]}://.../{name}: {remedy}")


_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)

_COPY = "only hellinger, report and info read URLs; copy it here first"


def _local(place: Path | str) -> Path:
    if isinstance(place, str):
        refuse_url(place, _COPY)
    return Path(place)


def _from_stdin() -> list[str]:
    lines = [line.rstrip("\r") for line in stdin_text("paths").split("\n")]
    found = [line for line in lines if line.strip()]
    if not found:
        raise ArgumentError("'-': stdin holds no path; did the command before it fail?")
    return found


def stdin_text(what: str) -> str:
    """Read all of stdin.

    Raises
    ------
    ArgumentError
        If stdin is a terminal, which is never waited for, is closed, or holds no text.
    """
    if sys.stdin is None or sys.stdin.isatty():
        state = "closed" if sys.stdin is None else "a terminal"
        raise ArgumentError(f"'-' reads {what} from stdin, but stdin is {state}; give it a pipe")
    try:
        text = sys.stdin.read()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ArgumentError(f"'-' reads {what} from stdin, but stdin holds no text; name the file")
    return text
