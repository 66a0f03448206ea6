"""Tidy Parquet files (zstd). Formats ``predictions``, ``shift``, ``history``, ``registration``.

One row is one measurement; columns and their meaning stand in ``schemas``.

The header (see ``header``) is JSON under the key ``skiptool`` of the file's metadata. Pages carry
checksums. A reader takes columns of any type that can be turned into ours without loss.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skiptool.errors import ArgumentError, FormatError
from skiptool.names import Kind
from skiptool.stores.groups import gathered, lacking, totals
from skiptool.stores.header import Lineage, parse_lineage
from skiptool.stores.schemas import OPTIONAL, SCHEMAS

__all__ = [
    "MetricTable",
    "TableWriter",
    "as_table",
    "open_table",
    "table_kind",
    "write_table",
]

_KEY = b"skiptool"
_BLOCK = 2**16  # rows written at once: each block costs a header, and time to read, a column


@dataclass(frozen=True, slots=True)
class MetricTable:
    """A table read back: its header, its columns by name, and what it was made without."""

    path: Path
    lineage: Lineage
    data: pa.Table
    failures: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self.data.num_rows)

    def totals(self, keys: Sequence[str], value: str) -> dict[str, list[Any]]:
        """Sum a column over all rows that agree in ``keys``; return the groups as columns."""
        return totals(self.data, keys, value)

    def distinct(self, names: Sequence[str]) -> dict[str, list[Any]]:
        """Return the different rows of some columns, in the order of their first appearance."""
        found: dict[str, list[Any]]
        found = self.data.group_by(list(names), use_threads=False).aggregate([]).to_pydict()
        return found

    def columns(self, names: Sequence[str]) -> dict[str, list[Any]]:
        """Return columns as Python lists, null as None."""
        found: dict[str, list[Any]] = self.data.select(list(names)).to_pydict()
        return found

    def gathered(self, keys: Sequence[str], values: Sequence[str]) -> dict[str, list[Any]]:
        """Gather numbers of rows that agree in ``keys``; see :mod:`skiptool.stores.groups`."""
        return gathered(self.data, keys, values)

    def lacking(self, name: str) -> MetricTable:
        """Return the rows without a value in a column, such as those of whole layers."""
        return replace(self, data=lacking(self.data, name))


class TableWriter:
    """Write a metric table block by block, so that memory does not grow with its rows.

    Parameters
    ----------
    path : Path
        File to write (see ``staging`` for atomic names).
    header : Lineage
        Its kind chooses the schema.
    failures : sequence of str
        Inputs that it is made without, one line each: kept beside the header, where there are any.
    """

    def __init__(self, path: Path, header: Lineage, failures: Sequence[str] = ()) -> None:
        kept = {"failures": list(failures)} if failures else {}
        metadata = {_KEY: json.dumps({**header.as_json(), **kept}).encode()}
        self._schema = pa.schema(list(SCHEMAS[header.kind].items()), metadata=metadata)
        self._path = path
        self._waiting: list[pa.Table] = []
        self._rows = 0
        self._writer = pq.ParquetWriter(
            path, self._schema, compression="zstd", write_page_checksum=True
        )

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with _placed(self._path):
            try:
                self._flush()
            finally:
                self._writer.close()

    def append(self, columns: Mapping[str, Any], rows: int) -> None:
        """Add rows; a column is a sequence or array of them, or one value for all.

        Columns that are left out are null.

        Raises
        ------
        ArgumentError
            If the table has no such column, or a column is not ``rows`` long or not of its type.
        OSError
            If there is no space for it.
        """
        arrays = _arrays(columns, self._schema, rows)
        self._waiting.append(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows += rows
        if self._rows >= _BLOCK:
            with _placed(self._path):
                self._flush()

    def _flush(self) -> None:
        waiting, self._waiting, self._rows = self._waiting, [], 0
        if waiting:
            self._writer.write_table(pa.concat_tables(waiting))


@contextmanager
def _placed(path: Path) -> Iterator[None]:
    """Say of a disk that is full where it is: Arrow does not."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def as_table(kind: Kind, columns: Mapping[str, Any], rows: int) -> pa.Table:
    """Return rows as an Arrow table of a kind's columns; see :meth:`TableWriter.append`."""
    schema = pa.schema(list(SCHEMAS[kind].items()))
    return pa.Table.from_arrays(_arrays(columns, schema, rows), schema=schema)


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
        return MetricTable(path, parsed, _typed(data, kind, path), _failures(header))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FormatError(
            f"{path}: cannot be read ({_told(error)}); the file is damaged, make it again"
        ) from error


def _failures(header: object) -> tuple[str, ...]:
    found = header.get("failures") if isinstance(header, dict) else None
    return tuple(map(str, found)) if isinstance(found, list) else ()


def _typed(data: pa.Table, kind: Kind, path: Path) -> pa.Table:
    missing = [name for name in SCHEMAS[kind] if name not in data.column_names]
    for name in OPTIONAL.intersection(missing):
        data = data.append_column(name, pa.nulls(data.num_rows, SCHEMAS[kind][name]))
        missing.remove(name)
    if missing:
        raise FormatError(f"{path}: {kind.value} table lacks {', '.join(missing)}; make it again")
    for name, dtype in SCHEMAS[kind].items():
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
    if kind not in SCHEMAS:
        raise FormatError(f"{path}: a Parquet file that says it is of kind {kind.value!r}")
    return kind, header


def _arrays(columns: Mapping[str, Any], schema: pa.Schema, rows: int) -> list[pa.Array]:
    unknown = [name for name in columns if name not in schema.names]
    if unknown:
        raise ArgumentError(f"table has no column {', '.join(unknown)}")
    return [_column(columns.get(field.name), field, rows) for field in schema]


def _column(values: Any, field: pa.Field, rows: int) -> pa.Array:  # noqa: ANN401 - any column
    alone = values is None or isinstance(values, str | int | float | np.generic)
    try:
        found = pa.array(
            [values] if alone else values, None if field.type == pa.int64() else field.type
        )
        found = found.cast(field.type)  # pa.array alone would cut 1.5 to 1 for a column of integers
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
