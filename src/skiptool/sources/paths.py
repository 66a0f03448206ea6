"""Paths that are no files, and files that stand for others.

Opening a pipe waits for somebody who writes to it, perhaps for ever; a pointer of Git LFS says
where the file is.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from skiptool.errors import SourceError

__all__ = ["refuse_pipe", "refuse_pointer"]

POINTER = b"version https://git-lfs"
"""How a pointer of Git LFS begins."""

HANDED = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
"""Pipes that the shell has opened for this process: somebody writes to them."""


def refuse_pipe(path: Path) -> None:
    """Refuse what is neither a file nor a folder; what is not there is for others to say.

    Raises
    ------
    SourceError
        As said.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or str(path).startswith(HANDED)):
        raise SourceError(f"{path}: is a pipe or a device, expected a file; save it as one")


def refuse_pointer(path: Path, start: bytes) -> None:
    """Refuse a pointer of Git LFS by the first bytes of a file.

    Raises
    ------
    SourceError
        As said.
    """
    if start.startswith(POINTER):
        raise SourceError(f"{path}: is a pointer of Git LFS; fetch the file itself (git lfs pull)")
