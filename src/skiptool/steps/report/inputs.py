"""Open and check the inputs of a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from skiptool.errors import FormatError
from skiptool.names import Kind, ShiftKind
from skiptool.report.inputs import Inputs
from skiptool.stores.addresses import last_part, located
from skiptool.stores.artifacts import at_hand, kind_of, lineage_of
from skiptool.stores.dataset import open_dataset
from skiptool.stores.masks import open_masks
from skiptool.stores.tables import MetricTable, open_table
from skiptool.stores.transfers import is_store_at

__all__ = ["check_table", "read_inputs"]

_REQUIRED: Final = {
    Kind.PREDICTIONS: (
        "dataset",
        "dataset_id",
        "domain",
        "split",
        "arch",
        "encoder",
        "pruning",
        "model_id",
        "shift",
        "sample",
        "subject",
        "truth",
        "predicted",
        "pixels",
    ),
    Kind.SHIFT: ("reference", "other", "layer", "metric", "value"),
}
"""Columns with a value in every row; stores of other programs have no id."""

_SHIFT_COLUMNS: Final = {
    Kind.PREDICTIONS: ("shift",),
    Kind.SHIFT: ("shift", "reference_shift"),
}


def read_inputs(places: Sequence[Path | str]) -> Inputs:
    """Open the inputs of a report; artifacts with the same id count once.

    Parameters
    ----------
    places : sequence of Path or str
        Tables of predictions, shifts, training and registration; dataset and mask stores. Local
        paths or URLs.

    Raises
    ------
    FormatError
        If something is missing, damaged, of a kind that has no figure, or fails
        :func:`check_table`.
    ArgumentError, SourceError
        If a URL cannot be read.
    """
    inputs = Inputs()
    known: set[tuple[Kind, str]] = set()
    for place in map(located, places):
        if isinstance(place, str) and is_store_at(place):
            _add(inputs, place, known)
            continue
        with at_hand(place) as path:
            _add(inputs, path, known)
    return inputs


def _add(inputs: Inputs, path: Path | str, known: set[tuple[Kind, str]]) -> None:
    """Open one input and file it by kind, unless its id is known."""
    tables = {
        Kind.PREDICTIONS: inputs.predictions,
        Kind.SHIFT: inputs.shifts,
        Kind.HISTORY: inputs.histories,
        Kind.REGISTRATION: inputs.registrations,
    }
    kind = kind_of(path)
    if kind not in (*tables, Kind.DATASET, Kind.MASKS):
        raise FormatError(
            f"{path}: of kind {kind.value}, which has no figure; give tables of 'skiptool "
            "predict', 'hellinger', 'train' and 'extract wsi', or the stores of the images and "
            "of the predicted masks"
        )
    table = open_table(path, kind) if kind in tables and isinstance(path, Path) else None
    header = lineage_of(path) if table is None else table.lineage
    if header is None or (kind, header.id) in known:
        return
    known.add((kind, header.id))
    inputs.origins.append((_name(path, kind), header))
    if table is not None:
        check_table(table)
        tables[kind].append(table)
    elif kind is Kind.DATASET:
        inputs.datasets.append(open_dataset(path))
    else:
        inputs.masks.append(open_masks(path))


def _name(path: Path | str, kind: Kind) -> str:
    """Name an input; histories, which share a file name, by run and fold."""
    if isinstance(path, Path) and kind is Kind.HISTORY and path.parent.name.startswith("fold"):
        return "/".join(path.parts[-3:])
    return last_part(path)


def check_table(table: MetricTable) -> None:
    """Check the values of a table, which another program may have written.

    Raises
    ------
    FormatError
        If a required column is empty in some row, a shift is of an unknown kind, or a distance is
        infinite.
    """
    kind = table.lineage.kind
    for name in _REQUIRED.get(kind, ()):
        if table.data.column(name).null_count:
            raise FormatError(f"{table.path}: column {name} is empty in some rows; make it again")
    for name in _SHIFT_COLUMNS.get(kind, ()):
        unknown = set(table.distinct([name])[name]) - {None, *ShiftKind}
        if unknown:
            raise FormatError(
                f"{table.path}: {name} {min(unknown)!r}, expected one of {', '.join(ShiftKind)}; "
                "make it again with this version"
            )
    if kind is Kind.SHIFT and np.isinf(table.data.column("value").to_numpy()).any():
        raise FormatError(f"{table.path}: a distance is infinite; make it again")
