"""Tables: tidy Parquet files (zstd), each in one of the formats below.

The header (see ``lineage``) is JSON under the key ``skiptool`` of the file's metadata. Pages have
checksums, and the whole file has a seal (see ``seals``). A reader accepts columns of any type that
converts to ours without loss.

A file of a few bytes can claim a billion rows, or repeat the same long text in each of them.
Therefore, rows are counted before they are read, and bytes are counted block by block while texts
are still dictionary indices: :data:`MAX_ROWS`, :data:`MAX_BYTES`, :data:`MAX_ROW_BYTES`.

One row is one measurement. Names are for people, columns ending in ``_id`` are for joins. Columns
and types are :data:`PREDICTIONS`, :data:`SHIFT`, :data:`HISTORY`, :data:`REGISTRATION` and
:data:`REPORT`; their meaning:

``predictions`` (version 1)
    One row for each pair of a sample's true and predicted class, classes in the order of their
    labels: ``pixels`` (int64, including zeros; pixels labelled 255 are never counted). ``shift`` is
    the kind or ``original``, ``factor`` is null for ``original``, and ``clean_skips`` is null for
    plain predictions. A training is a ``fold`` and a ``repeat`` (0, 1, ...; see ``train
    --repeats``). Tables from before version 0.2 have no ``repeat``: it is read as 0 if there is a
    fold, and is null for foreign networks and ensembles.
``shift`` (version 2)
    One row for each channel of a layer, and one with ``channel`` null for the layer's mean,
    eq. (10). ``value`` is the distance between all values of both sets, ``value_live`` the mean
    over channels that vary. ``split`` and ``reference_split`` are those of the feature stores
    (``validation``: the validation fold of the network), or null if unknown. ``reference_dataset``
    is null in tables from before version 0.2, whose reference is assumed to be from ``dataset``.
    ``bins`` and ``range_rule`` are given with every value, and null if the metric has no bins.
    ``corrected`` estimates the distance between the populations from which the units were drawn,
    with the same weight for each unit, on pooled bins (``inference_bins`` of them, see
    `skiptool.distances.binned`); ``ci_low`` and ``ci_high`` are the ends of its 95 % interval, null
    if none is valid. ``unresolved_channels`` vary in too few units to be estimated. ``tested`` is
    the tested value, for an equal draw if ``drawn`` (see `skiptool.comparison.units`);
    ``null_mean`` and ``null_high`` are its mean and 95 % quantile under ``permutations`` of units
    (``unit``: images, or values of a column), and ``p_adjusted`` is adjusted over the layers. There
    is no p-value if there are too few units for one below 0.05; if it is above 0.05, the interval
    reaches 0. ``input_value`` is the value of the layer ``input``, ``input_z`` the corrected value
    of the input in its standard errors, and ``transmission`` the corrected value divided by that of
    the input, with the ends of its 95 % interval; null if the input is not far enough above 0 or
    the correction of bias is large (`skiptool.comparison.pairs`). Measures of whole layers
    (``covariance``, ``classifier``, ``paired-difference``) have no rows of channels.
    ``effective_bins`` contain values, ``range_used`` is the share of the range that the middle
    99.8 % of values span; in a layer's row, both are means over channels that vary. ``warnings``
    are caveats of a layer's numbers, separated by semicolons. Statistics that were not computed, or
    do not apply, are null. In version 1, ``corrected`` was estimated on all bins, with images or
    vectors as weights, images were the unit unless a column was given, and everything was tested.
``history`` (version 1)
    One row for each epoch and split of a training run; ``seconds`` is wall time.
``registration`` (version 1)
    One row for each patch of a reference slide and each other scan of it. ``x``, ``y`` and
    ``x_other``, ``y_other`` are the patch's centre on either, in level-0 pixels; ``residual`` is
    the remaining misalignment there, in level-0 pixels of the reference, ``residual_um`` in
    micrometres, null if it cannot be measured. ``kept`` is false for patches left out in all
    domains, for the given ``reason``. The transform of the pair is in every row: ``[xx xy x0; yx yy
    y0]`` maps the reference's pixels to the other's, before the local refinement; it is based on
    ``inliers`` matches. A scan that could not be aligned has one row, without a sample.
``report`` (version 2; in version 1 intervals and p-values of differences took networks as fixed)
    One row for each number in a report. ``figure`` is the anchor of its exhibit in the page and the
    stem of its files (``iou-1``), ``quantity`` names ``value`` (``IoU``, ``difference``,
    ``distance``, ``rank correlation`` ...), and the other columns are its keys; those that do not
    apply are null. ``fold`` and ``repeat`` are null for a mean over trainings, ``fold`` is -1 for
    an ensemble; ``clean_skips`` is as in ``predictions``. ``sd_folds`` is the standard deviation
    between trainings (folds, and their repeats if any), ``se_trainings`` the resulting standard
    error in comparisons, ``se_subjects`` the one between subjects; ``ci_low`` and ``ci_high`` are
    the ends of the interval at ``level``; ``p_adjusted`` is adjusted by Holm's method over the rows
    of a figure. ``trainings`` (and ``folds``, its name before version 0.2), ``subjects``,
    ``images``, ``points`` are the numbers on which the value is based.
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
from skiptool.stores.copies import restore_urls
from skiptool.stores.dataset import DatasetStore, Domain
from skiptool.stores.lineage import Lineage, parse_lineage
from skiptool.stores.seals import TABLE_SEAL, UNSEALED, seal_table, table_matches_seal

if TYPE_CHECKING:
    from skiptool.records import Int64

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
    "factor": _FLOAT,
    "layer": _TEXT,
    **dict.fromkeys(("layer_index", "channel"), _INT),
    "metric": _TEXT,
    "bins": _INT,
    "range_rule": _TEXT,
    **dict.fromkeys(("value", "value_live", "corrected", "ci_low", "ci_high"), _FLOAT),
    **dict.fromkeys(("tested", "null_mean", "null_high", "p_value", "p_adjusted"), _FLOAT),
    **dict.fromkeys(("input_value", *_TRANSMISSION), _FLOAT),
    "paired": pa.bool_(),
    **dict.fromkeys(("effective_bins", "range_used", "inference_bins"), _FLOAT),
    **dict.fromkeys(("n_reference", "n_other", "constant_channels", "unresolved_channels"), _INT),
    "unit": _TEXT,
    **dict.fromkeys(("units_reference", "units_other", "permutations"), _INT),
    "drawn": pa.bool_(),
    **dict.fromkeys(("warnings", "skiptool_version"), _TEXT),
}

HISTORY: Mapping[str, pa.DataType] = {
    "epoch": _INT,
    "split": _TEXT,
    **dict.fromkeys(("loss", "mIoU", "lr", "seconds"), _FLOAT),
}

REGISTRATION: Mapping[str, pa.DataType] = {
    **dict.fromkeys(("subject", "slide", "reference_domain", "domain", "sample"), _TEXT),
    **dict.fromkeys(("x", "y", "x_other", "y_other", "residual", "residual_um"), _FLOAT),
    "kept": pa.bool_(),
    "reason": _TEXT,
    **dict.fromkeys(("xx", "xy", "x0", "yx", "yy", "y0"), _FLOAT),
    "mirrored": pa.bool_(),
    "inliers": _INT,
}

REPORT: Mapping[str, pa.DataType] = {
    **dict.fromkeys(("figure", "title", "quantity", "dataset", "domain", "split"), _TEXT),
    **dict.fromkeys(("arch", "encoder", "pruning"), _TEXT),
    **dict.fromkeys(("fold", "repeat"), _INT),
    "shift": _TEXT,
    "factor": _FLOAT,
    **dict.fromkeys(("reference_domain", "reference_split", "reference_shift"), _TEXT),
    "reference_factor": _FLOAT,
    **dict.fromkeys(("clean_skips", "layer", "metric"), _TEXT),
    **dict.fromkeys(("bins", "epoch"), _INT),
    **dict.fromkeys(("class", "sample", "subject"), _TEXT),
    **dict.fromkeys(("value", "sd_folds", "se_trainings", "se_subjects"), _FLOAT),
    **dict.fromkeys(("ci_low", "ci_high", "level", "p_value", "p_adjusted"), _FLOAT),
    **dict.fromkeys(("folds", "trainings", "subjects", "images", "points"), _INT),
}

_UNITS = ("unit", "units_reference", "units_other", "permutations", "unresolved_channels")
_INFERENCE = ("tested", "inference_bins", "drawn", "warnings", "skiptool_version")
_LATER = ("input_value", "repeat", "se_trainings", "trainings", "reference_split")
OPTIONAL = frozenset({*_UNITS, *_INFERENCE, *_TRANSMISSION, *_LATER})
"""Columns read as null if missing, except ``repeat``, which is then 0 for trained networks."""

OPTIONAL_IN_SHIFT = OPTIONAL | {"split", "reference_dataset"}
"""The same for shift tables; in all other tables, the split is required."""

SCHEMAS: Mapping[Kind, Mapping[str, pa.DataType]] = {
    Kind.PREDICTIONS: PREDICTIONS,
    Kind.SHIFT: SHIFT,
    Kind.HISTORY: HISTORY,
    Kind.REGISTRATION: REGISTRATION,
    Kind.REPORT: REPORT,
}

TABLE_KEY = b"skiptool"
"""Key of the header in a Parquet file's metadata."""


# Reading

MAX_ROWS = 50_000_000
"""Rows of a table, at most: several times as many as in the largest studies so far."""

MAX_BYTES = 16 * 10**9
"""Size of a table in memory, at most; ten million rows of distances take 8 GB."""

MAX_ROW_BYTES = 4_000
"""Mean size of a row (names and warnings) in memory, at most, beyond ``_FREE_BYTES``."""

_FREE_BYTES = 64_000_000
"""Size that is always accepted, however long the rows."""

_BATCH = 2**16


@dataclass(frozen=True, slots=True)
class MetricTable:
    """A table: its header, its columns by name, and the inputs that failed."""

    path: Path
    lineage: Lineage
    data: pa.Table
    failures: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self.data.num_rows)

    def columns(self, names: Sequence[str]) -> dict[str, list[Any]]:
        """Return columns as Python lists, null as None."""
        return _columns(self.data, names)

    def where(self, facts: Mapping[str, str | int | float | None]) -> MetricTable:
        """Return the rows in which columns have these values; None stands for null."""
        condition = pc.scalar(True)
        for name, value in facts.items():
            column = pc.field(name)
            condition &= column.is_null() if value is None else column == pc.scalar(value)
        return replace(self, data=self.data.filter(condition))

    def where_null(self, name: str) -> MetricTable:
        """Return the rows in which a column is null, such as those of whole layers."""
        return replace(self, data=self.data.filter(pc.is_null(self.data[name])))

    def distinct(self, names: Sequence[str]) -> dict[str, list[Any]]:
        """Return the distinct rows of some columns, in order of first appearance."""
        return _columns(_grouped(self.data, names, []), names)

    def totals(self, keys: Sequence[str], value: str) -> dict[str, list[Any]]:
        """Sum a column over all rows with equal ``keys``, in order of first appearance."""
        grouped = _grouped(self.data, keys, [(value, "sum")])
        return {**_columns(grouped, keys), value: grouped[f"{value}_sum"].to_pylist()}

    def collect(self, keys: Sequence[str], values: Sequence[str]) -> dict[str, list[Any]]:
        """Collect columns of numbers over all rows with equal ``keys``.

        Parameters
        ----------
        keys : sequence of str
            Columns that define the groups; null is a value like any other.
        values : sequence of str
            Columns of numbers, none of them in ``keys``.

        Returns
        -------
        dict of str to list
            One entry per group, in order of first appearance: the value of each key, null as None;
            for each of ``values``, a float64 array (rows of the group,) in row order, null as NaN.
        """
        grouped = _grouped(self.data, keys, [(name, "list") for name in values])
        columns = _columns(grouped, keys)
        for name in values:
            chunks = grouped[f"{name}_list"].chunks
            lists = pa.concat_arrays(chunks or [pa.array([[]], _NUMBERS)[:0]])
            rows = lists.flatten().cast(pa.float64()).to_numpy(zero_copy_only=False)
            ends = np.cumsum(lists.value_lengths().to_numpy(zero_copy_only=False))
            columns[name] = np.split(rows, ends[:-1].astype(np.int64)) if len(ends) else []
        return columns


_NUMBERS = pa.list_(pa.float64())


def _grouped(
    data: pa.Table, keys: Sequence[str], aggregations: Sequence[tuple[str, str]]
) -> pa.Table:
    """Aggregate groups in the order of their first rows, which Arrow does not guarantee."""
    names = list(dict.fromkeys([*keys, *(name for name, _ in aggregations)]))
    row = "\N{NUMERO SIGN}"  # no column has this name
    numbered = data.select(names).append_column(row, pa.array(np.arange(data.num_rows)))
    groups = numbered.group_by(list(keys), use_threads=False)
    return groups.aggregate([*aggregations, (row, "min")]).sort_by(f"{row}_min")


def _columns(data: pa.Table, names: Sequence[str]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = data.select(list(names)).to_pydict()
    return columns


def table_kind(path: Path) -> Kind:
    """Return the kind of table in a Parquet file."""
    return _read_header(path)[0]


def open_table(path: Path, kind: Kind) -> MetricTable:
    """Read a metric table; refuse one that is damaged, of another kind, or lacks a column."""
    _, header = _read_header(path)
    parsed = parse_lineage(header, str(path), kind)
    try:
        intact = table_matches_seal(path)
        data = _read(path, kind, intact)
        table = MetricTable(path, parsed, _typed(data, kind, path), _failures(header))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FormatError(
            f"{path}: cannot be read ({_one_line(error)}); the file is damaged, make it again"
        ) from error
    if intact is False:
        raise FormatError(f"{path}: not as written; the file is damaged, make it again")
    return table


def check_extent(path: Path, intact: bool | None) -> None:
    """Refuse a Parquet file that claims to hold too much, before anything is read.

    Parameters
    ----------
    intact : bool or None
        Whether it matches its seal (:func:`skiptool.stores.seals.table_matches_seal`). If not, only
        its row groups are read, as Arrow aborts the process on a damaged entry of a column.
    """
    metadata = pq.read_metadata(path)
    if not 0 <= metadata.num_rows <= MAX_ROWS:
        raise FormatError(
            f"{path}: claims to hold {metadata.num_rows:,} rows, at most {MAX_ROWS:,} are read; "
            "split the study into several tables"
        )
    size = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        if intact is False:
            size += group.total_byte_size
        else:
            columns = map(group.column, range(metadata.num_columns))
            size += sum(column.total_uncompressed_size for column in columns)
    if size > MAX_BYTES:
        raise FormatError(
            f"{path}: claims to hold {size:,} bytes, at most {MAX_BYTES:,} are read; split the "
            "study into several tables"
        )


def _read(path: Path, kind: Kind, intact: bool | None) -> pa.Table:
    """Read all columns, with text as a dictionary at first; see the module's docstring."""
    check_extent(path, intact)
    schema = pq.read_schema(path)
    for name, dtype in SCHEMAS[kind].items():
        index = schema.get_field_index(name)
        if index >= 0 and not _is_plain(schema.field(index).type):
            raise FormatError(
                f"{path}: column {name} is of type {schema.field(index).type}, expected {dtype}; "
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
            if size > min(MAX_BYTES, _FREE_BYTES + MAX_ROW_BYTES * rows) or rows > MAX_ROWS:
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
    """Return whether values are numbers or text, possibly in a dictionary, not lists or structs."""
    values = _decoded_type(dtype)
    return (
        _is_text(values)
        or pa.types.is_integer(values)
        or pa.types.is_floating(values)
        or pa.types.is_boolean(values)
        or pa.types.is_null(values)
    )


def _decoded_type(dtype: pa.DataType) -> pa.DataType:
    return dtype.value_type if pa.types.is_dictionary(dtype) else dtype


def _decoded_bytes(column: pa.Array) -> int:
    """Return the size of a column once its text is decoded."""
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
    failures = header.get("failures") if isinstance(header, dict) else None
    return tuple(map(str, failures)) if isinstance(failures, list) else ()


def _typed(data: pa.Table, kind: Kind, path: Path) -> pa.Table:
    missing = [name for name in SCHEMAS[kind] if name not in data.column_names]
    optional = OPTIONAL_IN_SHIFT if kind is Kind.SHIFT else OPTIONAL
    for name in optional.intersection(missing):
        data = data.append_column(name, pa.nulls(data.num_rows, SCHEMAS[kind][name]))
        missing.remove(name)
    if missing:
        raise FormatError(f"{path}: {kind.value} table lacks {', '.join(missing)}; make it again")
    for name, dtype in SCHEMAS[kind].items():
        index = data.column_names.index(name)
        if data.schema.field(index).type != dtype:
            data = data.set_column(index, name, data.column(index).cast(dtype))
    return _with_repeats(data) if "repeat" in SCHEMAS[kind] else data


def _with_repeats(data: pa.Table) -> pa.Table:
    """Fill in repeat 0 if there is a fold and no repeat; see `skiptool.records.repeat_of`."""
    index = data.column_names.index("repeat")
    trained = pc.fill_null(pc.greater_equal(data["fold"], 0), False)
    is_first = pc.and_(trained, pc.is_null(data["repeat"]))
    return data.set_column(index, "repeat", pc.if_else(is_first, pa.scalar(0), data["repeat"]))


def _read_header(path: Path) -> tuple[Kind, object]:
    if not path.is_file():
        raise FormatError(f"{path}: no such table; check the path")
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FormatError(
            f"{path}: not a Parquet file, or truncated ({_one_line(error)})"
        ) from error
    try:
        header = json.loads(metadata[TABLE_KEY])
        kind = Kind(header["kind"])
    except (KeyError, ValueError, TypeError, RecursionError):
        raise FormatError(f"{path}: a Parquet file, but not made by skiptool") from None
    if kind not in SCHEMAS:
        raise FormatError(f"{path}: a Parquet file of kind {kind.value!r}, which is not a table")
    return kind, header


def _one_line(error: Exception) -> str:
    """Return the message of Arrow on one line."""
    return " ".join(str(error).split())


# Writing

_BLOCK = 2**16  # rows written at once, as each block has a header per column and takes time to read


class TableWriter:
    """Write a metric table block by block, so that memory does not grow with its rows.

    Parameters
    ----------
    header : Lineage
        Its kind selects the schema.
    failures : sequence of str
        Inputs that failed, one line each: stored next to the header, if any.
    """

    def __init__(self, path: Path, header: Lineage, failures: Sequence[str] = ()) -> None:
        extra = {"failures": [*map(restore_urls, failures)]} if failures else {}
        metadata = {TABLE_KEY: json.dumps({**header.as_json(), **extra}).encode()}
        self._schema = pa.schema(list(SCHEMAS[header.kind].items()), metadata=metadata)
        self._path = path
        self._pending: list[pa.Table] = []
        self._rows = 0
        self._writer = pq.ParquetWriter(
            path, self._schema, compression="zstd", write_page_checksum=True
        )

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with _named_in_errors(self._path):
            try:
                self._flush()
                self._writer.add_key_value_metadata({TABLE_SEAL: UNSEALED})
            finally:
                self._writer.close()
            seal_table(self._path)

    def append(self, columns: Mapping[str, Any], rows: int) -> None:
        """Append rows; a column is a sequence or array of values, or one value for all rows.

        Omitted columns are null. Unknown columns, and those of another length or type, are refused.
        """
        arrays = _arrays(columns, self._schema, rows)
        self._pending.append(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows += rows
        if self._rows >= _BLOCK:
            with _named_in_errors(self._path):
                self._flush()

    def _flush(self) -> None:
        pending, self._pending, self._rows = self._pending, [], 0
        if pending:
            self._writer.write_table(pa.concat_tables(pending))


@contextmanager
def _named_in_errors(path: Path) -> Iterator[None]:
    """Name the file in the error of a full disk, which Arrow does not."""
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
    """Write a complete metric table; see :meth:`TableWriter.append` for ``columns``."""
    with TableWriter(path, header) as writer:
        writer.append(columns, rows)


def _arrays(columns: Mapping[str, Any], schema: pa.Schema, rows: int) -> list[pa.Array]:
    unknown = [name for name in columns if name not in schema.names]
    if unknown:
        raise ArgumentError(f"table has no column {', '.join(unknown)}")
    return [_column(columns.get(field.name), field, rows) for field in schema]


def _column(values: Any, field: pa.Field, rows: int) -> pa.Array:  # noqa: ANN401 - any column
    single = values is None or isinstance(values, str | int | float | np.generic)
    try:
        array = pa.array(
            [values] if single else values, None if field.type == pa.int64() else field.type
        )
        array = array.cast(field.type)  # pa.array would truncate 1.5 to 1 for a column of integers
    except (pa.ArrowException, TypeError) as error:
        raise ArgumentError(
            f"column {field.name}: not of type {field.type} ({_one_line(error)})"
        ) from error
    if single:
        return pa.repeat(array[0], rows)
    if len(array) != rows:
        raise ArgumentError(f"column {field.name}: has {len(array)} rows, expected {rows}")
    return array


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
    """Convert the confusion counts of one model, domain and shift to columns of the table.

    Parameters
    ----------
    facts : mapping
        Columns of the model or ensemble: its ``facts()``.
    indices : sequence of int, length N
        Samples of the domain.
    matrices : int64 (N, J, J)
        Pixels by truth and prediction; each is a row of the table.
    split : str, optional
        Name of the split, if it is not the one stored with the samples.
    clean_skips : str, optional
        Skip connections that the decoder received from the clean image.

    Returns
    -------
    mapping of column name to values
        N x J x J values each, or one for all rows.
    """
    names = np.array(store.classes, dtype=object)
    images, classes = matrices.shape[:2]
    pairs = classes * classes
    rows = list(indices)
    return {
        **facts,
        "dataset": store.name,
        "dataset_id": store.lineage.id,
        "domain": domain.name,
        "shift": shift.kind.value,
        "factor": shift.factor,
        "clean_skips": clean_skips,
        "split": split or np.repeat(domain.columns["split"][rows], pairs),
        "sample": np.repeat(domain.columns["id"][rows], pairs),
        "subject": np.repeat(domain.columns["subject"][rows], pairs),
        "truth": np.tile(np.repeat(names, classes), images),
        "predicted": np.tile(names, images * classes),
        "pixels": matrices.ravel(),
    }
