"""Whether a store is still the one that was opened, once all of it was read.

Pixels and activations are read while the work goes on. What is deleted then reads as zeros (see
``chunks``), what is put in its place as itself: neither may end in an output that names the store
as what it was made from.
"""

from __future__ import annotations

from pathlib import Path

from skiptool.errors import FormatError
from skiptool.names import Kind
from skiptool.stores.counts import open_activations
from skiptool.stores.dataset import DatasetStore, open_dataset
from skiptool.stores.header import parse_lineage
from skiptool.stores.layers import FeatureStore
from skiptool.stores.zarrs import open_root

__all__ = ["check_unchanged"]


def check_unchanged(opened: DatasetStore | FeatureStore) -> None:
    """Open a local store again, look for all of its chunks, and compare its id.

    Behind a URL only the id of a dataset is compared, for lost chunks are missed when they are
    read. Where a copy on this machine was read, nothing can have changed.

    Raises
    ------
    FormatError
        If it is gone, lacks a chunk, or is another store now.
    """
    if isinstance(opened, DatasetStore):
        if opened.copy is not None:
            return
        where, before, now = str(opened.path), opened.lineage.id, _id_now(opened)
    elif isinstance(opened.place, Path):
        again = open_activations(opened.place)
        where, before, now = opened.where, opened.id or "", again.id or ""
    else:
        return
    if now != before:
        raise FormatError(
            f"{where}: was replaced while it was read (its id was {before}, is {now}); run again"
        )


def _id_now(opened: DatasetStore) -> str:
    if isinstance(opened.place, Path):
        return open_dataset(opened.place).lineage.id
    attributes = dict(open_root(opened.place, "dataset").attrs)
    return parse_lineage(attributes, str(opened.path), Kind.DATASET).id
