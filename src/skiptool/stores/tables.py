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

The header (see ``header``) is JSON under the key ``skiptool`` of the file's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from skiptool.errors import FormatError
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

_TEXT = pa.string()

_MODEL = {
    "model": _TEXT,
    "model_id": _TEXT,
    "arch": _TEXT,
    "encoder": _TEXT,
    "pruning": _TEXT,
    "fold": pa.int64(),
    "parameter_count": pa.int64(),
}

PREDICTIONS: Mapping[str, pa.DataType] = {
    **_MODEL,
    "dataset": _TEXT,
    "dataset_id": _TEXT,
    "domain": _TEXT,
    "split": _TEXT,
    "shift": _TEXT,
    "factor": pa.float64(),
    "clean_skips": _TEXT,
    "sample": _TEXT,
    "subject": _TEXT,
    "truth": _TEXT,
    "predicted": _TEXT,
    "pixels": pa.int64(),
}

SHIFT: Mapping[str, pa.DataType] = {
    "reference": _TEXT,
    "reference_id": _TEXT,
    "other": _TEXT,
    "other_id": _TEXT,
    **_MODEL,
    "dataset": _TEXT,
    "reference_domain": _TEXT,
    "reference_shift": _TEXT,
    "reference_factor": pa.float64(),
    "domain": _TEXT,
    "shift": _TEXT,
    "factor": pa.float64(),
    "layer": _TEXT,
    "layer_index": pa.int64(),
    "channel": pa.int64(),
    "metric": _TEXT,
    "bins": pa.int64(),
    "range_rule": _TEXT,
    "value": pa.float64(),
    "value_live": pa.float64(),
    "corrected": pa.float64(),
    "ci_low": pa.float64(),
    "ci_high": pa.float64(),
    "null_mean": pa.float64(),
    "null_high": pa.float64(),
    "p_value": pa.float64(),
    "p_adjusted": pa.float64(),
    "paired": pa.bool_(),
    "effective_bins": pa.float64(),
    "range_used": pa.float64(),
    "n_reference": pa.int64(),
    "n_other": pa.int64(),
    "constant_channels": pa.int64(),
}

HISTORY: Mapping[str, pa.DataType] = {
    "epoch": pa.int64(),
    "split": _TEXT,
    "loss": pa.float64(),
    "mIoU": pa.float64(),
    "lr": pa.float64(),
    "seconds": pa.float64(),
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
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def append(self, columns: Mapping[str, Any], rows: int) -> None:
        """Add rows; a column is a sequence or array of them, or one value for all.

        Columns that are left out are null.
        """
        arrays = [_column(columns.get(field.name), field.type, rows) for field in self._schema]
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
        data = pq.read_table(path, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise FormatError(f"{path}: cannot be read ({error}); the file is damaged") from error
    missing = [name for name in _SCHEMAS[kind] if name not in data.column_names]
    if missing:
        raise FormatError(f"{path}: {kind.value} table lacks {', '.join(missing)}; make it again")
    return MetricTable(path, parsed, data)


def _read_header(path: Path) -> tuple[Kind, object]:
    if not path.is_file():
        raise FormatError(f"{path}: no such table; check the path")
    try:
        metadata = pq.read_schema(path).metadata or {}
        header = json.loads(metadata[_KEY])
        return Kind(header["kind"]), header
    except (pa.ArrowException, OSError) as error:
        raise FormatError(f"{path}: no Parquet file, or cut short ({error})") from error
    except (KeyError, ValueError, TypeError):
        raise FormatError(f"{path}: a Parquet file, but not made by skiptool") from None


def _column(values: Any, dtype: pa.DataType, rows: int) -> pa.Array:  # noqa: ANN401 - any column
    if values is None or isinstance(values, str | int | float):
        return pa.repeat(pa.scalar(values, dtype), rows)
    return pa.array(values, dtype)
