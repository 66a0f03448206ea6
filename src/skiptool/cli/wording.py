"""What the user reads of an error, whoever raised it."""

from __future__ import annotations

import errno
import os

from skiptool.errors import LeftoverError, SkiptoolError

__all__ = ["explain", "visible"]

FULL = {
    errno.ENOSPC: "; free space there",
    errno.EDQUOT: "; free space there, or have your quota raised",
    errno.EFBIG: "; raise the limit of the size of files (ulimit -f)",
}
"""What helps where there is no space for an output."""


def explain(error: Exception, goes_on: str = "") -> str:
    """Put an error into words: where, what, remedy.

    Parameters
    ----------
    error : Exception
    goes_on : str
        How to go on with what is done so far, for errors after which it is kept.

    Returns
    -------
    str
        Of one line, unless a message of other libraries has several.

    Examples
    --------
    >>> explain(OSError(28, "No space left on device", "a.zarr"), "; give --resume")
    'a.zarr: No space left on device; free space there; give --resume'
    """
    if isinstance(error, LeftoverError) and goes_on:
        return f"{error}, or --resume to go on with it"
    if isinstance(error, SkiptoolError):
        return str(error)
    if isinstance(error, UnicodeEncodeError):
        letter = ascii(error.object[error.start : error.start + 1])
        return (
            f"a name contains {letter}, which the encoding of this system ({error.encoding}) "
            "cannot represent; set LC_ALL=C.UTF-8 or PYTHONUTF8=1"
        )
    if isinstance(error, FileNotFoundError) and not error.filename and _is_lost():
        return "the current working directory no longer exists; change to another one"
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        line = f"{place}{os.strerror(error.errno) if error.errno else error}"
        if error.errno in FULL and error.filename:  # else it is stdout
            return f"{line}{FULL[error.errno]}{goes_on}"
        return line
    if isinstance(error, MemoryError):
        known = str(error) or "no size known"
        return f"out of memory ({known}); take fewer or smaller inputs at once{goes_on}"
    return f"unexpected {type(error).__name__}: {error}; --debug shows where it comes from"


def _is_lost() -> bool:
    """Say whether the working directory was deleted."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def visible(text: str) -> str:
    r"""Spell out control characters: names come from data and could rewrite the terminal.

    Examples
    --------
    >>> visible("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
