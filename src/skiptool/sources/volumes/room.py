"""Whether a file can hold what its header says, before memory is asked for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO

__all__ = ["DEFLATE", "check_end", "check_room"]

DEFLATE = 1032
"""So many bytes at most become of one that was compressed by gzip; bzip2 and xz have no limit."""

MOST = 4096
"""So many MB may follow the frames that are read: a few MB can unpack to any number of them."""


def check_end(stream: IO[bytes]) -> None:
    """Read a compressed file to its end, where its checksum stands.

    Raises
    ------
    EOFError
        If that does not come.
    OSError, zlib.error
        If it is damaged.
    """
    for _ in range(MOST):
        if not stream.read(1 << 20):
            return
    raise EOFError("it goes on without end behind the last frame")


def check_room(file: Path, shape: Sequence[int], itemsize: int, times: int = 1) -> None:
    """Compare the voxels of a header with the size of the file that has them.

    Parameters
    ----------
    file : Path
    shape : sequence of int
    itemsize : int
        Bytes of a voxel.
    times : int
        So many bytes at most become of one.

    Raises
    ------
    EOFError
        If it is too small.

    Examples
    --------
    >>> check_room(Path(__file__), (10_000, 10_000, 10_000), 2)
    Traceback (most recent call last):
    EOFError: its header says 2,000,000,000,000 bytes of voxels
    """
    needed = math.prod(map(int, shape)) * itemsize
    if needed > file.stat().st_size * times:
        raise EOFError(f"its header says {needed:,} bytes of voxels")
