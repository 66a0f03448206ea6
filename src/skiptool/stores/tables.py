"""Metric tables: tidy Parquet files (zstd). Formats ``predictions``, ``shift``, ``history``.

One row is one measurement. The columns and their types are :data:`PREDICTIONS`, :data:`SHIFT`
and :data:`HISTORY` below; their meaning:

``predictions`` (version 1)
    One row for each pair of a sample's true and predicted class, classes in the order of their
    labels: ``pixels`` (int64, zeros kept; pixels labelled 255 are in none). ``shift`` is the kind
    or ``original``, ``factor`` null for ``original``; ``clean_skips`` null for plain predictions.
    Names are for people, columns ending in ``_id`` are what to join on.
``shift`` (version 1)
    One row for each channel of a layer, and one with ``channel`` null for the layer's mean,
    eq. (10). ``value`` is the distance, ``value_live`` the mean over channels that vary.
    ``bins`` and ``range_rule`` stand with every value. Statistics that were not computed, or do
    not apply to a row, are null.
``history`` (version 1)
    One row for each epoch and split of a training run; ``seconds`` is wall time.

The header (see ``header``) is JSON under the key ``skiptool`` of the file's metadata. Pages carry
checksums. A reader takes columns of any type that can be turned into ours without loss.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skiptool.errors import ArgumentError, FormatError
from skiptool.names import Kind
from skiptool.stores.header import Lineage, parse_lineage

__all__ = [
    "HISTORY",
    "PREDICTIONS",
    "SHIFT",
    "MetricTable",
    "TableWriter",
    "open_table",
    "table_kind",
    "write_table",
]

_TEXT, _INT, _FLOAT = pa.string(), pa.int64(), pa.float64()

_MODEL = {
    **dict.fromkeys(("model", "model_id", "arch", "encoder", "pruning"), _TEXT),
    **dict.fromkeys(("fold", "parameter_count"), _INT),
}

PREDICTIONS: Mapping[str, pa.DataType] = {
    **_MODEL,
    **dict.fromkeys(("dataset", "dataset_id", "domain", "split", "shift"), _TEXT),
    "factor": _FLOAT,
    **dict.fromkeys(("clean_skips", "sample", "subject", "truth", "predicted"), _TEXT),
    "pixels": _INT,
}

SHIFT: Mapping[str, pa.DataType] = {
    **dict.fromkeys(("reference", "reference_id", "other", "other_id"), _TEXT),
    **_MODEL,
    **dict.fromkeys(("dataset", "reference_domain", "reference_shift"), _TEXT),
    "reference_factor": _FLOAT,
    **dict.fromkeys(("domain", "shift"), _TEXT),
    **{"factor": _FLOAT, "layer": _TEXT, "layer_index": _INT, "channel": _INT},
    **{"metric": _TEXT, "bins": _INT, "range_rule": _TEXT},
    **dict.fromkeys(("value", "value_live", "corrected", "ci_low", "ci_high"), _FLOAT),
    **dict.fromkeys(("null_mean", "null_high", "p_value", "p_adjusted"), _FLOAT),
    **{"paired": pa.bool_(), "effective_bins": _FLOAT, "range_used": _FLOAT},
    **dict.fromkeys(("n_reference", "n_other", "constant_channels"), _INT),
}

HISTORY: Mapping[str, pa.DataType] = {
    **{"epoch": _INT, "split": _TEXT},
    **dict.fromkeys(("loss", "mIoU", "lr", "seconds"), _FLOAT),
}

_SCHEMAS: Mapping[Kind, Mapping[str, pa.DataType]] = {
    Kind.PREDICTIONS: PREDICTIONS,
    Kind.SHIFT: SHIFT,
    Kind.HISTORY: HISTORY,
}

_KEY = b"skiptool"


@dataclass(frozen=True, slots=True)
class MetricTable:
    """A table read back: its header and its columns by name."""

    path: Path
    lineage: Lineage
    data: pa.Table

    def __len__(self) -> int:
        return int(self.data.num_rows)

    def totals(self, keys: Sequence[str], value: str) -> dict[str, list[Any]]:
        """Sum a column over all rows that agree in ``keys``; return the groups as columns."""
        grouped = self.data.group_by(list(keys), use_threads=False).aggregate([(value, "sum")])
        columns: dict[str, list[Any]] = grouped.to_pydict()
        columns[value] = columns.pop(f"{value}_sum")
        return columns

    def columns(self, names: Sequence[str]) -> dict[str, list[Any]]:
        """Return columns as Python lists, null as None."""
        found: dict[str, list[Any]] = self.data.select(list(names)).to_pydict()
        return found


class TableWriter:
    """Write a metric table block by block, so that memory does not grow with its rows.

    Parameters
    ----------
    path : Path
        File to write (see ``staging`` for atomic names).
    header : Lineage
        Its kind chooses the schema.
    """

    def __init__(self, path: Path, header: Lineage) -> None:
        metadata = {_KEY: json.dumps(header.as_json()).encode()}
        self._schema = pa.schema(list(_SCHEMAS[header.kind].items()), metadata=metadata)
        self._writer = pq.ParquetWriter(
            path, self._schema, compression="zstd", write_page_checksum=True
        )

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def append(self, columns: Mapping[str, Any], rows: int) -> None:
        """Add rows; a column is a sequence or array of them, or one value for all.

        Columns that are left out are null.

        Raises
        ------
        ArgumentError
            If the table has no such column, or a column is not ``rows`` long or not of its type.
        """
        unknown = [name for name in columns if name not in self._schema.names]
        if unknown:
            raise ArgumentError(f"table has no column {', '.join(unknown)}")
        arrays = [_column(columns.get(field.name), field, rows) for field in self._schema]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))


def write_table(path: Path, header: Lineage, columns: Mapping[str, Any], rows: int) -> None:
    """Write a whole metric table; see :meth:`TableWriter.append` for ``columns``."""
    with TableWriter(path, header) as writer:
        writer.append(columns, rows)


def table_kind(path: Path) -> Kind:
    """Return which table a Parquet file is.

    Raises
    ------
    FormatError
        If it is missing, no Parquet file, or not made by skiptool.
    """
    return _read_header(path)[0]


def open_table(path: Path, kind: Kind) -> MetricTable:
    """Read a metric table.

    Raises
    ------
    FormatError
        If it is missing, damaged, of another kind or version, or lacks a column.
    """
    _, header = _read_header(path)
    parsed = parse_lineage(header, str(path), kind)
    try:
        data = pq.read_table(path, partitioning=None, page_checksum_verification=True)
        return MetricTable(path, parsed, _typed(data, kind, path))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FormatError(
            f"{path}: cannot be read ({_told(error)}); the file is damaged, make it again"
        ) from error


def _typed(data: pa.Table, kind: Kind, path: Path) -> pa.Table:
    missing = [name for name in _SCHEMAS[kind] if name not in data.column_names]
    if missing:
        raise FormatError(f"{path}: {kind.value} table lacks {', '.join(missing)}; make it again")
    for name, dtype in _SCHEMAS[kind].items():
        place = data.column_names.index(name)
        if data.schema.field(place).type != dtype:
            data = data.set_column(place, name, data.column(place).cast(dtype))
    return data


def _read_header(path: Path) -> tuple[Kind, object]:
    if not path.is_file():
        raise FormatError(f"{path}: no such table; check the path")
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FormatError(f"{path}: no Parquet file, or cut short ({_told(error)})") from error
    try:
        header = json.loads(metadata[_KEY])
        kind = Kind(header["kind"])
    except (KeyError, ValueError, TypeError, RecursionError):
        raise FormatError(f"{path}: a Parquet file, but not made by skiptool") from None
    if kind not in _SCHEMAS:
        raise FormatError(f"{path}: a Parquet file that says it is of kind {kind.value!r}")
    return kind, header


def _column(values: Any, field: pa.Field, rows: int) -> pa.Array:  # noqa: ANN401 - any column
    alone = values is None or isinstance(values, str | int | float | np.generic)
    try:
        found = pa.array([values] if alone else values, None if field.type == _INT else field.type)
        found = found.cast(field.type)  # pa.array alone would cut 1.5 to 1 for a column of _INT
    except (pa.ArrowException, TypeError) as error:
        raise ArgumentError(
            f"column {field.name}: not of type {field.type} ({_told(error)})"
        ) from error
    if alone:
        return pa.repeat(found[0], rows)
    if len(found) != rows:
        raise ArgumentError(f"column {field.name}: has {len(found)} rows, expected {rows}")
    return found


def _told(error: Exception) -> str:
    """Say in one line what Arrow may say in several."""
    return " ".join(str(error).split())
