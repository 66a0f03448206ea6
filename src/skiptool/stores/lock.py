"""One process makes an output: a second one is told, and a dead one is in nobody's way."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skiptool.errors import ExistsError

__all__ = ["held", "lock_of"]

UNKNOWN = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
"""What file systems answer that know no locks."""


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Hold the right to make ``out`` while the block runs.

    A hidden file beside it carries the lock (``flock``), which ends with the process, however that
    ends. Where the file system knows no locks, nothing is held.

    Raises
    ------
    ExistsError
        If another process holds it.
    """
    path = lock_of(out)
    file = _open_locked(path)
    if file is None:
        raise ExistsError(
            f"{out}: another process is making it now; wait for that one, or give another --out"
        )
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def lock_of(out: Path) -> Path:
    """Return the hidden file that carries the lock of ``out``."""
    return out.with_name(f".{out.name}.lock")


def _open_locked(path: Path) -> int | None:
    """Return the open file, None where another process has the lock."""
    while True:
        # a link in its place would have a file made elsewhere
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):
                return file
        except BlockingIOError:
            os.close(file)
            return None
        except OSError as error:
            if error.errno in UNKNOWN:
                return file
            os.close(file)
            raise
        os.close(file)  # its holder has just finished and deleted it


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
