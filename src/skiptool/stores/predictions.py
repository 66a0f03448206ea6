"""Rows of a prediction table from confusion counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.records import Shift
from skiptool.stores.dataset import DatasetStore, Domain

if TYPE_CHECKING:
    from skiptool.records import Int64

__all__ = ["prediction_columns"]


def prediction_columns(
    facts: Mapping[str, Any],
    store: DatasetStore,
    domain: Domain,
    shift: Shift,
    indices: Sequence[int],
    matrices: Int64,
    split: str | None = None,
    clean_skips: str | None = None,
) -> Mapping[str, Any]:
    """Lay out the counts of one model, domain and shift as columns of the table.

    Parameters
    ----------
    facts : mapping
        Columns of the model or ensemble: its ``facts()``.
    store : DatasetStore
    domain : Domain
    shift : Shift
    indices : sequence of int, length N
        Samples of the domain.
    matrices : int64 (N, J, J)
        Pixels by truth and prediction; one row of the table each.
    split : str, optional
        What to call the split where it is not the one stored with the samples.
    clean_skips : str, optional
        Parts that the decoder got from the clean image.

    Returns
    -------
    mapping of column name to values
        N x J x J each, or one value for all.
    """
    names = np.array(store.classes, dtype=object)
    images, classes = matrices.shape[:2]
    each = classes * classes
    rows = list(indices)
    return {
        **facts,
        **{"dataset": store.name, "dataset_id": store.lineage.id},
        **{"domain": domain.name, "shift": shift.kind.value, "factor": shift.factor},
        "clean_skips": clean_skips,
        "split": split or np.repeat(domain.columns["split"][rows], each),
        "sample": np.repeat(domain.columns["id"][rows], each),
        "subject": np.repeat(domain.columns["subject"][rows], each),
        "truth": np.tile(np.repeat(names, classes), images),
        "predicted": np.tile(names, images * classes),
        "pixels": matrices.ravel(),
    }
