"""Inputs that a store was made without: the attribute ``failures`` at the root of its store.

A list of lines for people, one for each input that failed while the rest went on; absent where
none did. It is about the making, not the content: no id depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import zarr

from skiptool.errors import SkiptoolError
from skiptool.records import Progress
from skiptool.stores.copies import shown
from skiptool.stores.seal import seal_store
from skiptool.stores.zarrs import open_root

__all__ = ["keep_failures", "kept_failures", "telling_failures"]

ATTRIBUTE = "failures"


def keep_failures(path: Path, failures: Sequence[str]) -> None:
    """Note in a whole store what it was made without; nothing is written where nothing failed."""
    if failures:
        zarr.open_group(path, mode="r+", zarr_format=3).attrs[ATTRIBUTE] = [*map(shown, failures)]
        seal_store(path)


def kept_failures(path: Path | str) -> list[str]:
    """Return what the store at a path or URL was made without.

    Raises
    ------
    FormatError
        If there is no store.
    """
    found = open_root(path, "dataset").attrs.get(ATTRIBUTE, [])
    return [str(line) for line in found] if isinstance(found, list) else []


@contextmanager
def telling_failures(failures: Sequence[str], progress: Progress) -> Iterator[None]:
    """Tell what has failed so far where an error ends a step that would have told it at its end.

    Raises
    ------
    SkiptoolError
        The same that was raised within, its message extended by the first failure.
    """
    try:
        yield
    except SkiptoolError as error:
        if not failures:
            raise
        for line in failures:
            progress.warn(f"failed: {line}")
        raise type(error)(
            f"{error}; besides, {len(failures)} inputs failed, the first: {failures[0]}"
        ) from error
