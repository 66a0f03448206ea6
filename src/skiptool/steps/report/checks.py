"""What a table must hold to be read as a measurement, beyond the types of its columns."""

from __future__ import annotations

import numpy as np

from skiptool.errors import FormatError
from skiptool.names import Kind, ShiftKind
from skiptool.stores.tables import MetricTable

__all__ = ["check_table"]

_NEEDED = {
    Kind.PREDICTIONS: (
        *("dataset", "dataset_id", "domain", "split", "arch", "encoder", "pruning"),
        *("model_id", "shift", "sample", "subject", "truth", "predicted", "pixels"),
    ),
    Kind.SHIFT: ("reference", "other", "layer", "metric", "value"),
}
"""Columns that have a value in every row; stores that others made have no id."""

_SHIFTS = {Kind.PREDICTIONS: ("shift",), Kind.SHIFT: ("shift", "reference_shift")}


def check_table(table: MetricTable) -> None:
    """Refuse a table that holds what was never measured: other programs write Parquet too.

    Raises
    ------
    FormatError
        If a column that every measurement has is empty somewhere, a shift is of no known kind, or
        a distance is infinite.
    """
    kind = table.lineage.kind
    for name in _NEEDED.get(kind, ()):
        if table.data.column(name).null_count:
            raise FormatError(f"{table.path}: column {name} is empty in some rows; make it again")
    for name in _SHIFTS.get(kind, ()):
        unknown = set(table.distinct([name])[name]) - {None, *ShiftKind}
        if unknown:
            raise FormatError(
                f"{table.path}: {name} {min(unknown)!r}, expected one of {', '.join(ShiftKind)}; "
                "make it again with this version"
            )
    if kind is Kind.SHIFT and np.isinf(table.data.column("value").to_numpy()).any():
        raise FormatError(f"{table.path}: a distance is infinite; make it again")
