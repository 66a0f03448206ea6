"""Errors that a user can act on.

Each message is one sentence that names the place, the finding and the expectation, followed by the
remedy. Only the command line turns errors into one line on stderr and an exit code.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final


class SkiptoolError(Exception):
    """Base class of all errors with a message for the user."""


class ArgumentError(SkiptoolError, ValueError):
    """An argument or option is invalid."""


class DivergedError(SkiptoolError):
    """The loss of a training is no longer finite."""


class SourceError(SkiptoolError):
    """An external input (image, mask, manifest, weights) is missing or unusable."""


class FormatError(SkiptoolError):
    """A store, table or model folder is missing, damaged, or of the wrong kind."""


class MismatchError(SkiptoolError):
    """Inputs that are valid individually do not belong together."""


class ExistsError(SkiptoolError, FileExistsError):
    """The output already exists, or was made with other parameters."""


class LeftoverError(ExistsError):
    """Files of an interrupted run are in the way; some commands can resume it."""


class OutOfMemoryError(SkiptoolError, MemoryError):
    """Not enough memory; finished work is kept."""


class WorkerError(SkiptoolError, ChildProcessError):
    """A worker process died; finished work is kept."""


_EXTRAS: Final = {
    "cv2": "wsi",
    "huggingface_hub": "train",
    "lightning": "train",
    "nibabel": "mri",
    "openslide": "wsi",
    "segmentation_models_pytorch": "train",
    "threadpoolctl": "wsi",
    "timm": "train",
    "torch": "train",
}
"""Optional libraries, and the extra of skiptool that installs each."""


def missing_extra(error: BaseException) -> str | None:
    """Return the line for an optional library that is not installed; None for any other error.

    Examples
    --------
    >>> missing_extra(ModuleNotFoundError(name="nibabel"))
    "needs nibabel, which is not installed; pip install 'skiptool[mri]'"
    """
    if not isinstance(error, ModuleNotFoundError):
        return None
    name = (error.name or "").partition(".")[0]
    if name not in _EXTRAS:
        return None
    return f"needs {name}, which is not installed; pip install 'skiptool[{_EXTRAS[name]}]'"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or the name of its class if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def suggestion(name: str, known: Iterable[str], limit: int = 3) -> str:
    """Suggest up to ``limit`` known names similar to an unknown one, for the end of a message.

    Empty if none is similar.

    Examples
    --------
    >>> suggestion("brightnes", ["brightness", "contrast"])
    '; did you mean brightness?'
    >>> suggestion("zzz", ["brightness"])
    ''
    """
    similar = get_close_matches(name, list(known), n=limit, cutoff=0.5)
    return f"; did you mean {', '.join(similar)}?" if similar else ""
