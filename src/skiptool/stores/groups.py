"""Rows of a table that agree in some columns, gathered into arrays: no Python object a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["distinct", "gathered", "lacking", "matching", "totals"]


def gathered(data: pa.Table, keys: Sequence[str], values: Sequence[str]) -> dict[str, list[Any]]:
    """Gather columns of numbers over all rows that agree in ``keys``.

    Parameters
    ----------
    data : Table
    keys : sequence of str
        Columns that tell the groups apart; null is a value like any other.
    values : sequence of str
        Columns of numbers, none of them in ``keys``.

    Returns
    -------
    dict of str to list
        An entry for each group, in the order of first appearance: of each key its value, null as
        None; of each of ``values`` a float64 array (rows of the group,) in the order of the rows,
        null as NaN.
    """
    grouped = _grouped(data, keys, [(name, "list") for name in values])
    found: dict[str, list[Any]] = grouped.select(list(keys)).to_pydict()
    for name in values:
        lists = pa.concat_arrays(grouped[f"{name}_list"].chunks or [pa.array([[]], _NUMBERS)[:0]])
        rows = lists.flatten().cast(pa.float64()).to_numpy(zero_copy_only=False)
        ends = np.cumsum(lists.value_lengths().to_numpy(zero_copy_only=False))
        found[name] = np.split(rows, ends[:-1].astype(np.int64)) if len(ends) else []
    return found


def totals(data: pa.Table, keys: Sequence[str], value: str) -> dict[str, list[Any]]:
    """Sum a column over all rows that agree in ``keys``, groups in the order of appearance."""
    grouped = _grouped(data, keys, [(value, "sum")])
    found: dict[str, list[Any]] = grouped.select(list(keys)).to_pydict()
    return {**found, value: grouped[f"{value}_sum"].to_pylist()}


def distinct(data: pa.Table, names: Sequence[str]) -> dict[str, list[Any]]:
    """Return the different rows of some columns, in the order of their first appearance."""
    found: dict[str, list[Any]] = _grouped(data, names, []).select(list(names)).to_pydict()
    return found


def matching(data: pa.Table, facts: Mapping[str, str | int | float | None]) -> pa.Table:
    """Return the rows in which columns have these values; None stands for null."""
    kept = pc.scalar(True)
    for name, value in facts.items():
        column = pc.field(name)
        kept = kept & (column.is_null() if value is None else column == pc.scalar(value))
    return data.filter(kept)


def lacking(data: pa.Table, name: str) -> pa.Table:
    """Return the rows without a value in a column."""
    return data.filter(pc.is_null(data[name]))


def _grouped(data: pa.Table, keys: Sequence[str], sought: Sequence[tuple[str, str]]) -> pa.Table:
    """Aggregate over groups in the order of their first rows, which Arrow does not promise."""
    names = list(dict.fromkeys([*keys, *(name for name, _ in sought)]))
    row = "\N{NUMERO SIGN}"  # no column is called so
    numbered = data.select(names).append_column(row, pa.array(np.arange(data.num_rows)))
    grouped = numbered.group_by(list(keys), use_threads=False).aggregate([*sought, (row, "min")])
    return grouped.sort_by(f"{row}_min")


_NUMBERS = pa.list_(pa.float64())
