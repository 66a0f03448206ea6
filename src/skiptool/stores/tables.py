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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skiptool.errors import ArgumentError, FormatError
from skiptool.names import Kind
from skiptool.records import Shift
from skiptool.stores.copies import shown
from skiptool.stores.dataset import DatasetStore, Domain
from skiptool.stores.lineage import Lineage, parse_lineage
from skiptool.stores.seals import TABLE_SEAL, UNSEALED, seal_table, table_is_whole

if TYPE_CHECKING:
    from skiptool.records import Int64

__all__ = [
    "HISTORY",
    "MOST_BYTES",
    "MOST_IN_A_ROW",
    "MOST_ROWS",
    "OPTIONAL",
    "OPTIONAL_IN_SHIFT",
    "PREDICTIONS",
    "REGISTRATION",
    "REPORT",
    "SCHEMAS",
    "SHIFT",
    "TABLE_KEY",
    "MetricTable",
    "TableWriter",
    "as_table",
    "check_extent",
    "distinct",
    "gathered",
    "lacking",
    "matching",
    "open_table",
    "prediction_columns",
    "table_kind",
    "totals",
    "write_table",
]

# -------------------------------------------------------------------------------------------------
# Columns of the tables ``predictions``, ``shift``, ``history``, ``registration``, ``report``.
#
# See ``tables`` for the files. One row is one measurement. The columns and their types are
# :data:`PREDICTIONS`, :data:`SHIFT`, :data:`HISTORY`, :data:`REGISTRATION` and :data:`REPORT`
# below;
# their meaning:
#
# ``predictions`` (version 1)
#     One row for each pair of a sample's true and predicted class, classes in the order of their
#     labels: ``pixels`` (int64, zeros kept; pixels labelled 255 are in none). ``shift`` is the kind
#     or ``original``, ``factor`` null for ``original``; ``clean_skips`` null for plain predictions.
#     Names are for people, columns ending in ``_id`` are what to join on. A training is a ``fold``
#     and a ``repeat`` (0, 1, ...; see ``train --repeats``). Tables from before version 0.2 have no
#     ``repeat``: it is read as 0 where there is a fold, and is null for networks that others
# trained
#     and for ensembles.
# ``shift`` (version 2)
#     One row for each channel of a layer, and one with ``channel`` null for the layer's mean,
#     eq. (10). ``value`` is the distance between all values of both sets, ``value_live`` the mean
#     over channels that vary. ``split`` and ``reference_split`` are those of the feature stores
#     (``validation``: the fold that the network was validated on), null where a store does not say.
#     ``reference_dataset`` is null in tables from before version 0.2, whose reference is taken to
# be
#     of ``dataset``.
#     ``bins`` and ``range_rule`` are given with every value, null where the metric knows no bins.
#     ``corrected`` estimates the distance between the populations that the
#     units were drawn from, each unit with the same weight, on pooled bins (``inference_bins`` of
#     them, see `skiptool.distances.binned`); ``ci_low`` and ``ci_high`` are the ends of its 95 %
#     interval, null where none holds. ``unresolved_channels`` vary in too few units to be
# estimated.
#     ``tested`` is the value that was tested, of an equal draw where ``drawn`` (see
#     `skiptool.comparison.units`); ``null_mean`` and ``null_high`` are mean and 95 % quantile of it
#     under ``permutations`` of units (``unit``: images, or values of a column), ``p_adjusted`` is
#     adjusted over the layers; no p-value is given where the units are too few for one below 0.05,
#     and where it is above 0.05 the interval reaches 0. ``input_value`` is the value of the layer
#     ``input``, ``input_z`` the corrected value of the input in its standard errors, and
#     ``transmission`` the corrected value divided by that of the input, with the ends of its 95 %
#     interval; null where the input is not far enough above 0 or the correction of bias is large
#     (`skiptool.comparison.pairs`). Measures of whole layers (``covariance``, ``classifier``,
#     ``paired-difference``) have no rows of channels. ``effective_bins`` hold
#     values, ``range_used`` is the share of the range that the middle 99.8 % of values span; in a
#     layer's row both are means over channels that vary. ``warnings`` are what a reader must know
# of
#     a layer's numbers, separated by semicolons. Statistics that were not computed, or do not
# apply,
#     are null. In version 1 ``corrected`` was estimated on all bins, with images or vectors as
#     weights, images were the unit unless a column was asked for, and everything was tested.
# ``history`` (version 1)
#     One row for each epoch and split of a training run; ``seconds`` is wall time.
# ``registration`` (version 1)
#     One row for each patch of a reference slide and each other scan of it. ``x``, ``y`` and
#     ``x_other``, ``y_other`` are the patch's centre on either, in level-0 pixels; ``residual`` is
#     what is left of the misalignment there, in level-0 pixels of the reference, ``residual_um`` in
#     micrometres, null where it cannot be measured. ``kept`` is false for patches that are left out
#     in all domains, ``reason`` says why. The transform of the pair stands in every row:
#     ``[xx xy x0; yx yy y0]`` takes the reference's pixels to the other's, before the local
#     refinement; ``inliers`` are the matches that it rests on. A scan that could not be aligned has
#     one row, without a sample.
# ``report`` (version 2; in version 1 intervals and p-values of differences took networks as fixed)
#     One row for each number that a report shows. ``figure`` is the anchor of its exhibit in the
# page
#     and the stem of its files (``iou-1``), ``quantity`` what ``value`` is (``IoU``,
# ``difference``,
#     ``distance``, ``rank correlation`` ...), the further columns say of what; those that do not
#     apply are null. ``fold`` and ``repeat`` are null for a mean over trainings, ``fold`` is -1 for
#     an ensemble; ``clean_skips`` is as in ``predictions``. ``sd_folds`` is the standard deviation
#     between trainings (folds, and their repeats where there are any), ``se_trainings`` the
# standard
#     error that follows from it in comparisons, ``se_subjects`` the one between subjects;
# ``ci_low``
#     and ``ci_high`` are the ends of the interval at ``level``; ``p_adjusted`` is Holm's over the
#     rows of one figure. ``trainings`` (and ``folds``, its name before version 0.2), ``subjects``,
#     ``images``, ``points`` count what the value rests on.


_TEXT, _INT, _FLOAT = pa.string(), pa.int64(), pa.float64()

_TRANSMISSION = ("input_z", "transmission", "transmission_low", "transmission_high")

_MODEL = {
    **dict.fromkeys(("model", "model_id", "arch", "encoder", "pruning"), _TEXT),
    **dict.fromkeys(("fold", "repeat", "parameter_count"), _INT),
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
    **dict.fromkeys(("dataset", "reference_dataset", "reference_domain"), _TEXT),
    **dict.fromkeys(("reference_split", "reference_shift"), _TEXT),
    "reference_factor": _FLOAT,
    **dict.fromkeys(("domain", "split", "shift"), _TEXT),
    **{"factor": _FLOAT, "layer": _TEXT, "layer_index": _INT, "channel": _INT},
    **{"metric": _TEXT, "bins": _INT, "range_rule": _TEXT},
    **dict.fromkeys(("value", "value_live", "corrected", "ci_low", "ci_high"), _FLOAT),
    **dict.fromkeys(("tested", "null_mean", "null_high", "p_value", "p_adjusted"), _FLOAT),
    **dict.fromkeys(("input_value", *_TRANSMISSION), _FLOAT),
    **{"paired": pa.bool_(), "effective_bins": _FLOAT, "range_used": _FLOAT},
    "inference_bins": _FLOAT,
    **dict.fromkeys(("n_reference", "n_other", "constant_channels", "unresolved_channels"), _INT),
    **{"unit": _TEXT, "units_reference": _INT, "units_other": _INT, "permutations": _INT},
    **{"drawn": pa.bool_(), "warnings": _TEXT},
    "skiptool_version": _TEXT,
}

HISTORY: Mapping[str, pa.DataType] = {
    **{"epoch": _INT, "split": _TEXT},
    **dict.fromkeys(("loss", "mIoU", "lr", "seconds"), _FLOAT),
}

REGISTRATION: Mapping[str, pa.DataType] = {
    **dict.fromkeys(("subject", "slide", "reference_domain", "domain", "sample"), _TEXT),
    **dict.fromkeys(("x", "y", "x_other", "y_other", "residual", "residual_um"), _FLOAT),
    **{"kept": pa.bool_(), "reason": _TEXT},
    **dict.fromkeys(("xx", "xy", "x0", "yx", "yy", "y0"), _FLOAT),
    **{"mirrored": pa.bool_(), "inliers": _INT},
}

REPORT: Mapping[str, pa.DataType] = {
    **dict.fromkeys(("figure", "title", "quantity", "dataset", "domain", "split"), _TEXT),
    **dict.fromkeys(("arch", "encoder", "pruning"), _TEXT),
    **{"fold": _INT, "repeat": _INT, "shift": _TEXT, "factor": _FLOAT},
    **dict.fromkeys(("reference_domain", "reference_split", "reference_shift"), _TEXT),
    **{"reference_factor": _FLOAT, "clean_skips": _TEXT},
    **{"layer": _TEXT, "metric": _TEXT, "bins": _INT},
    **{"epoch": _INT, "class": _TEXT, "sample": _TEXT, "subject": _TEXT},
    **dict.fromkeys(("value", "sd_folds", "se_trainings", "se_subjects"), _FLOAT),
    **dict.fromkeys(("ci_low", "ci_high", "level", "p_value", "p_adjusted"), _FLOAT),
    **dict.fromkeys(("folds", "trainings", "subjects", "images", "points"), _INT),
}

OPTIONAL = frozenset(
    {
        *("unit", "units_reference", "units_other", "permutations", "skiptool_version"),
        *("tested", "inference_bins", "unresolved_channels", "drawn", "warnings"),
        *("input_value", *_TRANSMISSION, "repeat", "se_trainings", "trainings"),
        "reference_split",
    }
)
"""Columns that may be missing: null then, save ``repeat``, which is 0 for trained networks."""

OPTIONAL_IN_SHIFT = OPTIONAL | {"split", "reference_dataset"}
"""The same of shift tables; all other tables must say of which split their numbers are."""

SCHEMAS: Mapping[Kind, Mapping[str, pa.DataType]] = {
    Kind.PREDICTIONS: PREDICTIONS,
    Kind.SHIFT: SHIFT,
    Kind.HISTORY: HISTORY,
    Kind.REGISTRATION: REGISTRATION,
    Kind.REPORT: REPORT,
}

TABLE_KEY = b"skiptool"
"""Where a Parquet file's metadata keep the header."""


# -------------------------------------------------------------------------------------------------
# Rows of a table that agree in some columns, gathered into arrays: no Python object a row.


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
        """Gather numbers of rows that agree in ``keys``; see :mod:`skiptool.stores.tables`."""
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
        Whether it is as written (:func:`skiptool.stores.seals.table_is_whole`). If it is not, only
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


# -------------------------------------------------------------------------------------------------
# Writing of metric tables, see ``tables`` for what they are.


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


# -------------------------------------------------------------------------------------------------
# Rows of a prediction table from confusion counts.


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
