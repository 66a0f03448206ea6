"""Writing of metric tables, see ``tables`` for what they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skiptool.errors import ArgumentError
from skiptool.names import Kind
from skiptool.stores.copies import shown
from skiptool.stores.header import Lineage
from skiptool.stores.schemas import SCHEMAS, TABLE_KEY
from skiptool.stores.seal import TABLE_SEAL, UNSEALED, seal_table

__all__ = ["TableWriter", "as_table", "write_table"]

_BLOCK = 2**16  # rows written at once: each block costs a header, and time to read, a column


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
        kept = {"failures": [*map(shown, failures)]} if failures else {}
        metadata = {TABLE_KEY: json.dumps({**header.as_json(), **kept}).encode()}
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
                self._writer.add_key_value_metadata({TABLE_SEAL: UNSEALED})
            finally:
                self._writer.close()
            seal_table(self._path)

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
            f"column {field.name}: not of type {field.type} ({' '.join(str(error).split())})"
        ) from error
    if alone:
        return pa.repeat(found[0], rows)
    if len(found) != rows:
        raise ArgumentError(f"column {field.name}: has {len(found)} rows, expected {rows}")
    return found
