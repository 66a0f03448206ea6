"""Whether a store is still the one that was opened, once all of it was read.

Pixels and activations are read while the work goes on. What is deleted then reads as zeros (see
``chunks``), what is put in its place as itself: neither may end in an output that names the store
as what it was made from.
"""

from __future__ import annotations

from pathlib import Path

from skiptool.errors import FormatError
from skiptool.stores.counts import open_activations
from skiptool.stores.dataset import DatasetStore, open_dataset
from skiptool.stores.layers import FeatureStore

__all__ = ["check_unchanged"]


def check_unchanged(opened: DatasetStore | FeatureStore) -> None:
    """Open a local store again, look for all of its chunks, and compare its id.

    Raises
    ------
    FormatError
        If it is gone, lacks a chunk, or is another store now.
    """
    if isinstance(opened, DatasetStore):
        where, before, now = (
            str(opened.path),
            opened.lineage.id,
            open_dataset(opened.path).lineage.id,
        )
    elif isinstance(opened.place, Path):
        again = open_activations(opened.place)
        where, before, now = opened.where, opened.id or "", again.id or ""
    else:
        return
    if now != before:
        raise FormatError(
            f"{where}: was replaced while it was read (its id was {before}, is {now}); run again"
        )
