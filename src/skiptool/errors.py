"""The errors skiptool raises for reasons a user can act on.

Each message is one sentence: where, what was found, what was expected; then the remedy.
The command line turns them into one line on stderr and an exit code; nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "ArgumentError",
    "DivergedError",
    "ExistsError",
    "FormatError",
    "LeftoverError",
    "MismatchError",
    "OutOfMemoryError",
    "SkiptoolError",
    "SourceError",
    "WorkerError",
    "near",
]


class SkiptoolError(Exception):
    """Anything that went wrong for a reason that the message explains."""


class ArgumentError(SkiptoolError, ValueError):
    """An argument or option is outside what is defined for it."""


class DivergedError(SkiptoolError):
    """A training whose loss is no longer a number."""


class SourceError(SkiptoolError):
    """An input made by others (image, mask, manifest, weights) is missing or unusable."""


class FormatError(SkiptoolError):
    """A store, table or model folder is missing, damaged, or not what its place demands."""


class MismatchError(SkiptoolError):
    """Inputs that are each sound do not belong together."""


class ExistsError(SkiptoolError, FileExistsError):
    """The output is already there, or what is there was made with other parameters."""


class LeftoverError(ExistsError):
    """What an interrupted run has left is in the way; some commands can go on with it."""


class OutOfMemoryError(SkiptoolError, MemoryError):
    """There is too little memory for the work; what is done so far is kept."""


class WorkerError(SkiptoolError, ChildProcessError):
    """A process that took part of the work is gone; what is done so far is kept."""


def near(name: str, known: Iterable[str], limit: int = 3) -> str:
    """Say which known names resemble an unknown one, for the end of a message.

    Parameters
    ----------
    name : str
        What was typed.
    known : iterable of str
        What could have been typed.
    limit : int
        At most so many names are offered.

    Returns
    -------
    str
        ``"; did you mean a, b?"``, or ``""`` where nothing is near.

    Examples
    --------
    >>> near("brightnes", ["brightness", "contrast"])
    '; did you mean brightness?'
    >>> near("zzz", ["brightness"])
    ''
    """
    found = get_close_matches(name, list(known), n=limit, cutoff=0.5)
    return f"; did you mean {', '.join(found)}?" if found else ""
