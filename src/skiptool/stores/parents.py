"""Folders above an output: made when its work begins, gone again if nothing came of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["parents_made"]


@contextmanager
def parents_made(out: Path) -> Iterator[None]:
    """Make the missing folders above ``out``; those that are empty at the end go again.

    Parameters
    ----------
    out : Path
        What is going to be made inside the block. Folders that stood before are left alone.
    """
    missing = [folder for folder in out.parents if not folder.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for folder in missing:
            with suppress(OSError):  # it is not empty, or another process was quicker
                folder.rmdir()
