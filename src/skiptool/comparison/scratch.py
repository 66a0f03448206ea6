"""A temporary file for what does not fit into memory."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

from skiptool.errors import SourceError

if TYPE_CHECKING:
    from skiptool.records import AnyArray

__all__ = ["Scratch"]


class Scratch:
    """Arrays at offsets of a file without a name, for several threads; a context that frees it.

    Raises
    ------
    SourceError
        If the folder of temporary files cannot be written.
    """

    def __init__(self) -> None:
        with _room():
            self._file = tempfile.TemporaryFile(prefix="skiptool-", buffering=0)  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what could not be written was told by write
            self._file.close()

    def write(self, offset: int, array: AnyArray) -> None:
        """Write the bytes of a contiguous array.

        Raises
        ------
        SourceError
            If the disk of temporary files is full.
        """
        number, view, done = self._file.fileno(), array.data.cast("B"), 0
        with _room():
            while done < len(view):
                done += os.pwrite(number, view[done:], offset + done)

    def read(self, offset: int, into: AnyArray) -> None:
        """Fill a contiguous array with what was written there.

        Raises
        ------
        SourceError
            If the temporary file cannot be read.
        """
        number, view, done = self._file.fileno(), into.data.cast("B"), 0
        with _room():
            while done < len(view):
                got = os.preadv(number, [view[done:]], offset + done)
                if not got:
                    raise OSError(errno.EIO, "the file is shorter than what was written")
                done += got


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"{tempfile.tempdir or 'TMPDIR'}: what exceeds memory cannot be kept there "
            f"({error.strerror or error}); set TMPDIR to a folder with room, or give a larger "
            "--memory"
        ) from error
