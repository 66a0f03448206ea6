"""Refuse paths that are not regular files: pipes, devices and Git LFS pointers.

Opening a pipe blocks until something writes to it, possibly forever.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from skiptool.errors import SourceError

POINTER = b"version https://git-lfs"
"""First bytes of a Git LFS pointer."""

HANDED = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
"""Pipes that the shell has opened for this process, with a writer at the other end."""


def refuse_pipe(path: Path) -> None:
    """Refuse a path that is neither a file nor a folder; a missing path is left to the caller."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or str(path).startswith(HANDED)):
        raise SourceError(f"{path}: is a pipe or a device, expected a file; save it as one")


def refuse_lfs_pointer(path: Path, start: bytes) -> None:
    """Refuse a Git LFS pointer, recognised by the first bytes of the file."""
    if start.startswith(POINTER):
        raise SourceError(f"{path}: is a Git LFS pointer; fetch the file itself (git lfs pull)")
