"""Input paths as they are typed, or piped in: ``-`` stands for stdin."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from skiptool.errors import ArgumentError
from skiptool.stores.addresses import check_slashes, located, without_host
from skiptool.stores.staging import protect

__all__ = ["one_place", "place", "places", "refuse_url", "stdin_text"]


def places(words: Sequence[str]) -> list[Path | str]:
    """Return input paths, and URLs as the text that they are; ``-`` stands for lines of stdin.

    None of them is written over from now on (:func:`skiptool.stores.staging.guarded`).

    Raises
    ------
    ArgumentError
        If ``-`` is given and stdin is a terminal or holds no path, a word is empty, or a URL has
        lost a slash.
    """
    found: list[str] = []
    for word in words:
        found += _from_stdin() if word == "-" else [word]
    located = [place(word) for word in found]
    protect(located)
    return located


def one_place(word: str, what: str) -> Path | str:
    """Return the one path or URL that a word or stdin names.

    Raises
    ------
    ArgumentError
        If stdin names several.
    """
    found = places([word])
    if len(found) != 1:
        raise ArgumentError(f"stdin names {len(found)} paths, expected one {what}")
    return found[0]


def place(word: str) -> Path | str:
    """Return the path or URL that an option names.

    Raises
    ------
    ArgumentError
        If it is empty, or a URL that has lost a slash.
    """
    if not word:
        raise ArgumentError("an empty path is given; is a variable of the shell not set?")
    check_slashes(word)
    return located(word)


def refuse_url(word: str | Path, remedy: str) -> None:
    """Refuse a URL where a local path is needed, also one that has lost a slash.

    Raises
    ------
    ArgumentError
        Without what may be a password.
    """
    found = _URL.match(str(word))
    if found is not None and not os.path.lexists(word):
        raise ArgumentError(f"{found[1]}://.../{without_host('://' + found[2])}: {remedy}")


_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)


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
