"""Tidy Parquet files (zstd). Formats ``predictions``, ``shift``, ``history``, ``registration``.

One row is one measurement; columns and their meaning stand in ``schemas``.

The header (see ``header``) is JSON under the key ``skiptool`` of the file's metadata. Pages carry
checksums, the whole file a seal (see ``seal``). A reader takes columns of any type that can be
turned into ours without loss.

A file of a few bytes can say that it holds a billion rows, or repeat one long text in each of them.
So rows are counted before they are read, and what is read is counted block by block while texts
are still numbers (of a dictionary): :data:`MOST_ROWS`, :data:`MOST_BYTES`, :data:`MOST_IN_A_ROW`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skiptool.errors import FormatError
from skiptool.names import Kind
from skiptool.stores.groups import distinct, gathered, lacking, matching, totals
from skiptool.stores.header import Lineage, parse_lineage
from skiptool.stores.schemas import OPTIONAL, OPTIONAL_IN_SHIFT, SCHEMAS, TABLE_KEY
from skiptool.stores.seal import table_is_whole

__all__ = [
    "MOST_BYTES",
    "MOST_IN_A_ROW",
    "MOST_ROWS",
    "MetricTable",
    "check_extent",
    "open_table",
    "table_kind",
]

MOST_ROWS = 50_000_000
"""Rows of a table that is read: several times what the largest studies wrote in one."""

MOST_BYTES = 16 * 10**9
"""Bytes of a table in memory; ten million rows of distances take 8 GB."""

MOST_IN_A_ROW = 4_000
"""Bytes that a row takes in memory, on average, where there are many: names and warnings."""

_FREE_BYTES = 64_000_000
"""Bytes that few rows may take, however long."""

_BATCH = 2**16


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
        return distinct(self.data, names)

    def where(self, facts: Mapping[str, str | int | float | None]) -> MetricTable:
        """Return the rows in which columns have these values; None stands for null."""
        return replace(self, data=matching(self.data, facts))

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
        whole = table_is_whole(path)
        data = _read(path, kind, whole)
        found = MetricTable(path, parsed, _typed(data, kind, path), _failures(header))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FormatError(
            f"{path}: cannot be read ({_told(error)}); the file is damaged, make it again"
        ) from error
    if whole is False:
        raise FormatError(f"{path}: not as written; the file is damaged, make it again")
    return found


def check_extent(path: Path, whole: bool | None) -> None:
    """Refuse a Parquet file that says it holds more than is read, before anything is.

    Parameters
    ----------
    path : Path
    whole : bool or None
        Whether it is as written (:func:`skiptool.stores.seal.table_is_whole`). If it is not, only
        its row groups are asked: Arrow ends the process over a damaged entry of a column.

    Raises
    ------
    FormatError
        Says how much that is.
    """
    metadata = pq.read_metadata(path)
    if not 0 <= metadata.num_rows <= MOST_ROWS:
        raise FormatError(
            f"{path}: says that it holds {metadata.num_rows:,} rows, at most {MOST_ROWS:,} are "
            "read; give the parts of the study as tables of their own"
        )
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    pages = sum(
        group.total_byte_size
        if whole is False
        else sum(group.column(n).total_uncompressed_size for n in range(metadata.num_columns))
        for group in groups
    )
    if pages > MOST_BYTES:
        raise FormatError(
            f"{path}: says that it holds {pages:,} bytes, at most {MOST_BYTES:,} are read; give "
            "the parts of the study as tables of their own"
        )


def _read(path: Path, kind: Kind, whole: bool | None) -> pa.Table:
    """Read all columns, texts of ours as a dictionary at first; see the module's docstring."""
    check_extent(path, whole)
    schema = pq.read_schema(path)
    for name, known in SCHEMAS[kind].items():
        place = schema.get_field_index(name)
        if place >= 0 and not _is_plain(schema.field(place).type):
            raise FormatError(
                f"{path}: column {name} is of type {schema.field(place).type}, expected {known}; "
                "make it again"
            )
    texts = [field.name for field in schema if _is_text(field.type)]
    plain = [field.name for field in schema if _is_plain(field.type)]
    blocks: list[pa.Table] = []
    rows = size = 0
    with pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=texts) as file:
        for batch in file.iter_batches(_BATCH, columns=plain):
            rows += batch.num_rows
            size += sum(map(_decoded_bytes, batch.columns))
            if size > min(MOST_BYTES, _FREE_BYTES + MOST_IN_A_ROW * rows) or rows > MOST_ROWS:
                raise FormatError(
                    f"{path}: its first {rows:,} rows take {size:,} bytes in memory, which no "
                    "table of skiptool does; make it again"
                )
            blocks.append(pa.Table.from_batches([_decoded(batch)]))
    if not blocks:
        return pa.table(
            {name: pa.array([], _decoded_type(schema.field(name).type)) for name in plain}
        )
    return pa.concat_tables(blocks)


def _is_text(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype))


def _is_plain(dtype: pa.DataType) -> bool:
    """Whether it is a number or text, as it is or in a dictionary: no lists, no structures."""
    kept = dtype.value_type if pa.types.is_dictionary(dtype) else dtype
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    return _is_text(kept) or any(test(kept) for test in tests)


def _decoded_type(dtype: pa.DataType) -> pa.DataType:
    return dtype.value_type if pa.types.is_dictionary(dtype) else dtype


def _decoded_bytes(column: pa.Array) -> int:
    """Return how many bytes a column takes once its texts are written out."""
    if not pa.types.is_dictionary(column.type) or not _is_text(column.type.value_type):
        return int(column.nbytes)
    total = pc.sum(pc.binary_length(column.dictionary).take(column.indices)).as_py() or 0
    return int(total) + 4 * len(column)


def _decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [
        column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _failures(header: object) -> tuple[str, ...]:
    found = header.get("failures") if isinstance(header, dict) else None
    return tuple(map(str, found)) if isinstance(found, list) else ()


def _typed(data: pa.Table, kind: Kind, path: Path) -> pa.Table:
    missing = [name for name in SCHEMAS[kind] if name not in data.column_names]
    optional = OPTIONAL_IN_SHIFT if kind is Kind.SHIFT else OPTIONAL
    for name in optional.intersection(missing):
        data = data.append_column(name, pa.nulls(data.num_rows, SCHEMAS[kind][name]))
        missing.remove(name)
    if missing:
        raise FormatError(f"{path}: {kind.value} table lacks {', '.join(missing)}; make it again")
    for name, dtype in SCHEMAS[kind].items():
        place = data.column_names.index(name)
        if data.schema.field(place).type != dtype:
            data = data.set_column(place, name, data.column(place).cast(dtype))
    return _with_repeats(data) if "repeat" in SCHEMAS[kind] else data


def _with_repeats(data: pa.Table) -> pa.Table:
    """Fill in repeat 0 where there is a fold and no repeat; see `skiptool.records.repeat_of`."""
    fold, place = data["fold"], data.column_names.index("repeat")
    trained = pc.fill_null(pc.greater_equal(fold, 0), False)
    first = pc.and_(trained, pc.is_null(data["repeat"]))
    return data.set_column(place, "repeat", pc.if_else(first, pa.scalar(0), data["repeat"]))


def _read_header(path: Path) -> tuple[Kind, object]:
    if not path.is_file():
        raise FormatError(f"{path}: no such table; check the path")
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FormatError(f"{path}: no Parquet file, or cut short ({_told(error)})") from error
    try:
        header = json.loads(metadata[TABLE_KEY])
        kind = Kind(header["kind"])
    except (KeyError, ValueError, TypeError, RecursionError):
        raise FormatError(f"{path}: a Parquet file, but not made by skiptool") from None
    if kind not in SCHEMAS:
        raise FormatError(f"{path}: a Parquet file that says it is of kind {kind.value!r}")
    return kind, header


def _told(error: Exception) -> str:
    """Say in one line what Arrow may say in several."""
    return " ".join(str(error).split())
