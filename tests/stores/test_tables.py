"""Tests of ``tables``."""

from __future__ import annotations

import json
import math
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skiptool.errors import ArgumentError, FormatError
from skiptool.names import Kind
from skiptool.records import ORIGINAL, Architecture, Shift
from skiptool.stores.artifacts import verify
from skiptool.stores.dataset import open_dataset
from skiptool.stores.lineage import Invocation, create_lineage
from skiptool.stores.models import StoredModel
from skiptool.stores.tables import (
    HISTORY,
    OPTIONAL,
    OPTIONAL_IN_SHIFT,
    PREDICTIONS,
    SCHEMAS,
    SHIFT,
    TABLE_KEY,
    MetricTable,
    TableWriter,
    as_table,
    open_table,
    prediction_columns,
    table_kind,
    write_table,
)
from small_stores import CLASSES, HOSTILE_JSON, MAKING, flip, refused

COUNTS: dict[str, Any] = {
    "model": "m",
    "model_id": "1",
    "fold": None,
    "shift": "brightness",
    "factor": 0.5,
    "sample": ["b", "b", "a", "a"],
    "truth": ["background", "cell", "background", "cell"],
    "pixels": np.array([1, 0, 2, 4]),
}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "p.parquet"
    write_table(path, create_lineage(Kind.PREDICTIONS, MAKING, 1), COUNTS, 4)
    return path


@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 2**62),
            st.sampled_from(["train", "validation", "ü"]),
            st.none() | st.floats(),
            st.none() | st.floats(allow_nan=False),
        ),
        max_size=8,
    ),
    cut=st.integers(0, 8),
)
@settings(max_examples=25, deadline=None)
def test_table_round_trip(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]], cut: int
) -> None:
    """In one or two blocks; null stays null and NaN stays NaN."""
    names = ("epoch", "split", "loss", "lr")
    path = tmp_path_factory.mktemp("t") / "h.parquet"
    header = create_lineage(Kind.HISTORY, MAKING, 1)
    with TableWriter(path, header) as writer:
        for part in (rows[:cut], rows[cut:]):
            columns = {name: [row[place] for row in part] for place, name in enumerate(names)}
            writer.append(columns, len(part))
    table = open_table(path, Kind.HISTORY)
    assert table.lineage == header
    assert len(table) == len(rows)
    found = table.columns([*names, "mIoU"])
    assert found.pop("mIoU") == [None] * len(rows)
    for place, name in enumerate(names):
        assert list(map(repr, found[name])) == [repr(row[place]) for row in rows]


def test_totals_are_in_order_of_first_appearance(tmp_path: Path) -> None:
    columns = {
        "sample": ["b", "b", "a", "a", "b"],
        "truth": ["cell", "background", "background", "cell", "cell"],
        "factor": [None, None, 0.5, 0.5, None],
        "pixels": [1, 2, 2**60, 4, 5],
    }
    write_table(tmp_path / "t", create_lineage(Kind.PREDICTIONS, MAKING, 1), columns, 5)
    table = open_table(tmp_path / "t", Kind.PREDICTIONS)
    assert table.totals(["truth", "factor"], "pixels") == {
        "truth": ["cell", "background", "background", "cell"],
        "factor": [None, None, 0.5, 0.5],
        "pixels": [6, 2, 2**60, 4],
    }


def test_rows_are_selected_by_values_including_null(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    columns = {"sample": list("abcd"), "factor": [None, 0.5, 0.5, None], "pixels": [1, 2, 3, 4]}
    write_table(path, create_lineage(Kind.PREDICTIONS, MAKING, 1), columns, 4)
    found = open_table(path, Kind.PREDICTIONS)
    assert found.where({}).columns(["pixels"]) == {"pixels": [1, 2, 3, 4]}
    assert found.where({"factor": 0.5}).columns(["pixels"]) == {"pixels": [2, 3]}
    assert found.where({"factor": None, "sample": "d"}).columns(["pixels"]) == {"pixels": [4]}
    assert len(found.where({"sample": "x"})) == 0


def test_table_of_another_kind_is_refused(table: Path) -> None:
    assert table_kind(table) is Kind.PREDICTIONS
    with refused(FormatError, table, "is of kind 'predictions', expected 'shift'"):
        open_table(table, Kind.SHIFT)


def rewrite(path: Path, data: pa.Table | None = None, header: object = None) -> None:
    """Write a table as another program might: other columns, or another header."""
    found = pq.read_table(path)
    data = found if data is None else data
    raw = found.schema.metadata[b"skiptool"]
    if header is not None:
        raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    pq.write_table(data.replace_schema_metadata({b"skiptool": raw}), path)


def header_of(path: Path) -> dict[str, Any]:
    return dict(json.loads(pq.read_schema(path).metadata[b"skiptool"]))


def test_additional_columns_are_accepted_and_missing_ones_refused(table: Path) -> None:
    data = pq.read_table(table)
    rewrite(table, data.append_column("organ", pa.array(["skin"] * 4)))
    assert open_table(table, Kind.PREDICTIONS).columns(["organ"]) == {"organ": ["skin"] * 4}
    rewrite(table, data.drop_columns(["pixels", "truth"]))
    with refused(FormatError, table, "predictions table lacks truth, pixels"):
        open_table(table, Kind.PREDICTIONS)


def test_other_types_are_accepted_if_lossless(table: Path) -> None:
    data = pq.read_table(table)
    wide = data.set_column(data.column_names.index("pixels"), "pixels", data["pixels"].cast("int8"))
    wide = wide.set_column(0, "model", data["model"].dictionary_encode())
    rewrite(table, wide.set_column(1, "model_id", data["model_id"].cast("large_string")))
    found = open_table(table, Kind.PREDICTIONS)
    assert [found.data.schema.field(name).type for name in ("pixels", "model", "model_id")] == [
        pa.int64(),
        pa.string(),
        pa.string(),
    ]
    for column in (["many"] * 4, [0.5, 1.0, 2.0, 3.0], [[1]] * 4):
        torn = data.set_column(data.column_names.index("pixels"), "pixels", pa.array(column))
        rewrite(table, torn)
        with refused(FormatError, table):
            open_table(table, Kind.PREDICTIONS)


@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
def test_hostile_header_is_reported_in_one_line(table: Path, text: bytes) -> None:
    rewrite(table, header=text or b" ")
    for read in (table_kind, lambda path: open_table(path, Kind.PREDICTIONS)):
        with refused(FormatError, table, "not made by skiptool"):
            read(table)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"kind": "dataset"}, "of kind 'dataset'"),
        ({"kind": "report"}, "of kind 'report'"),
        ({"kind": ["shift"]}, "not made by skiptool"),
        ({"kind": "films"}, "not made by skiptool"),
        ({"format_version": 2}, "use a newer skiptool"),
        ({"inputs": None}, "damaged in inputs"),
    ],
)
def test_headers_of_another_kind_or_version_are_refused(
    table: Path, change: dict[str, object], word: str
) -> None:
    rewrite(table, header={**header_of(table), **change})
    with refused(FormatError, table, word):
        open_table(table, Kind.PREDICTIONS)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("model,pixels\na,1\n")
    (tmp_path / "empty").write_bytes(b"")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other")
    for name, word in (
        ("nowhere", "no such table"),
        ("", "no such table"),
        ("text", "not a Parquet file"),
        ("empty", "not a Parquet file"),
        ("other", "not made by skiptool"),
    ):
        for read in (table_kind, lambda path: open_table(path, Kind.SHIFT)):
            with refused(FormatError, tmp_path / name, word):
                read(tmp_path / name)


def test_truncated_table_is_refused(table: Path) -> None:
    whole = table.read_bytes()
    for length in range(0, len(whole), 61):
        table.write_bytes(whole[:length])
        with refused(FormatError, table):
            open_table(table, Kind.PREDICTIONS)


def test_flipped_bit_never_changes_a_number(table: Path) -> None:
    """Zstandard itself silently decodes many of them to other numbers.

    Statistics in the header of a page are under no checksum, and nobody reads them here.
    """
    whole = open_table(table, Kind.PREDICTIONS).data
    column = pq.ParquetFile(table).metadata.row_group(0).column(list(PREDICTIONS).index("pixels"))
    start, size = column.dictionary_page_offset, column.total_compressed_size
    found = 0
    for position in range(start, start + size):
        flip(table, position)
        try:
            assert open_table(table, Kind.PREDICTIONS).data.equals(whole)
        except FormatError:
            found += 1
        flip(table, position)
    assert found > size / 2


def test_folder_named_like_a_partition_adds_no_column(tmp_path: Path, table: Path) -> None:
    """Some versions of Arrow read ``organ=skin`` in a path as a column."""
    folder = tmp_path / "organ=skin"
    folder.mkdir()
    moved = table.rename(folder / "p.parquet")
    assert open_table(moved, Kind.PREDICTIONS).data.column_names == list(PREDICTIONS)


def test_failures_round_trip(tmp_path: Path) -> None:
    header = create_lineage(Kind.HISTORY, MAKING, 1)
    for name, failures in (("none", []), ("some", ["model a: is damaged", "päth: gone"])):
        with TableWriter(tmp_path / name, header, failures):
            pass
        found = open_table(tmp_path / name, Kind.HISTORY)
        assert found.failures == tuple(failures)
        assert found.lineage == header


def test_rows_are_collected_and_selected(table: Path) -> None:
    found = open_table(table, Kind.PREDICTIONS)
    groups = found.collect(["sample", "fold"], ["pixels"])
    assert (groups["sample"], groups["fold"]) == (["b", "a"], [None, None])
    assert [array.tolist() for array in groups["pixels"]] == [[1.0, 0.0], [2.0, 4.0]]
    assert found.where_null("fold").data.equals(found.data)
    assert len(found.where_null("pixels")) == 0
    assert found.where_null("pixels").lineage == found.lineage


def repeated(path: Path, rows: int, text: str = "a", block: int = 2**20) -> Path:
    """Write a history with equal rows, which takes only a few bytes."""
    header = json.dumps(create_lineage(Kind.HISTORY, MAKING, 1).as_json()).encode()
    schema = pa.schema(list(HISTORY.items()), metadata={TABLE_KEY: header})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, rows, block):
            size = min(block, rows - start)
            columns = [
                pa.nulls(size, field.type)
                if pa.types.is_floating(field.type)
                else pa.repeat(pa.scalar(text if pa.types.is_string(field.type) else 1), size).cast(
                    field.type
                )
                for field in schema
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
    return path


@pytest.mark.long
def test_small_file_of_a_hundred_million_rows_is_refused(tmp_path: Path) -> None:
    path = repeated(tmp_path / "h.parquet", 100_000_000)
    assert path.stat().st_size < 3_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with refused(FormatError, "h.parquet", "100,000,000 rows, at most 50,000,000"):
        open_table(path, Kind.HISTORY)
    with refused(FormatError, "100,000,000 rows"):
        verify(path, Kind.HISTORY)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB


@pytest.mark.long
@pytest.mark.parametrize(("rows", "letters"), [(20_000, 100_000), (100, 10**7), (10**5, 10_000)])
def test_long_texts_are_refused_before_they_are_decoded(
    rows: int, letters: int, tmp_path: Path
) -> None:
    path = repeated(tmp_path / "h.parquet", rows, "x" * letters, block=100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with refused(FormatError, "h.parquet", "bytes in memory, which no table of skiptool does"):
        open_table(path, Kind.HISTORY)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KB


@pytest.mark.long
def test_large_valid_tables_are_read(tmp_path: Path) -> None:
    path = repeated(tmp_path / "h.parquet", 10_000_000, "validation of some fold")
    found = open_table(path, Kind.HISTORY)
    assert len(found) == 10_000_000
    assert found.distinct(["epoch", "split"]) == {
        "epoch": [1],
        "split": ["validation of some fold"],
    }


def test_few_rows_may_have_long_texts(tmp_path: Path) -> None:
    path = repeated(tmp_path / "h.parquet", 20, "x" * 100_000)
    assert open_table(path, Kind.HISTORY).columns(["split"])["split"] == ["x" * 100_000] * 20


@pytest.mark.parametrize(
    "odd", [pa.binary(10), pa.list_(pa.int64()), pa.struct([("a", pa.int64())]), pa.date32()]
)
def test_columns_of_nested_types_are_not_read(odd: pa.DataType, tmp_path: Path) -> None:
    header = json.dumps(create_lineage(Kind.HISTORY, MAKING, 1).as_json()).encode()
    schema = pa.schema(list((HISTORY | {"epoch": odd}).items()), metadata={TABLE_KEY: header})
    path = tmp_path / "h.parquet"
    pq.write_table(
        pa.Table.from_arrays([pa.nulls(3, t) for t in schema.types], schema=schema), path
    )
    with refused(FormatError, "column epoch is of type", "expected int64"):
        open_table(path, Kind.HISTORY)
    more = pa.schema([*schema, pa.field("other", odd)], metadata={TABLE_KEY: header}).remove(0)
    more = more.insert(0, pa.field("epoch", pa.int64()))
    pq.write_table(pa.Table.from_arrays([pa.nulls(3, t) for t in more.types], schema=more), path)
    assert open_table(path, Kind.HISTORY).data.column_names == list(HISTORY)


GOLDEN = {
    Kind.PREDICTIONS: (
        "model string, model_id string, arch string, encoder string, pruning string, fold "
        "int64, repeat int64, parameter_count int64, dataset string, dataset_id string, domain "
        "string, split string, shift string, factor double, clean_skips string, sample string, "
        "subject string, truth string, predicted string, pixels int64"
    ),
    Kind.SHIFT: (
        "reference string, reference_id string, other string, other_id string, model string, "
        "model_id string, arch string, encoder string, pruning string, fold int64, repeat "
        "int64, parameter_count int64, dataset string, reference_dataset string, "
        "reference_domain string, reference_split "
        "string, reference_shift string, reference_factor double, domain string, split string, "
        "shift string, factor double, layer string, layer_index int64, channel int64, metric "
        "string, bins int64, range_rule string, value double, value_live double, corrected "
        "double, ci_low double, ci_high double, tested double, null_mean double, null_high "
        "double, p_value double, p_adjusted double, input_value double, input_z double, "
        "transmission double, transmission_low double, transmission_high double, paired bool, "
        "effective_bins double, range_used double, inference_bins double, n_reference int64, "
        "n_other int64, constant_channels int64, unresolved_channels int64, unit string, "
        "units_reference int64, units_other int64, permutations int64, drawn bool, warnings "
        "string, skiptool_version string"
    ),
    Kind.HISTORY: (
        "epoch int64, split string, loss double, mIoU double, lr double, seconds double"
    ),
    Kind.REGISTRATION: (
        "subject string, slide string, reference_domain string, domain string, sample string, x "
        "double, y double, x_other double, y_other double, residual double, residual_um double, "
        "kept bool, reason string, xx double, xy double, x0 double, yx double, yy double, y0 "
        "double, mirrored bool, inliers int64"
    ),
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_columns_match_the_specification(kind: Kind) -> None:
    assert ", ".join(f"{name} {dtype}" for name, dtype in SCHEMAS[kind].items()) == GOLDEN[kind]


def without(path: Path, name: str) -> Path:
    """Write a shift table without one of its columns."""
    write_table(path, create_lineage(Kind.SHIFT, MAKING, 1), {"layer": "enc1", "unit": "image"}, 2)
    table = pq.read_table(path)
    pq.write_table(table.drop_columns([name]), path)
    return path


@pytest.mark.parametrize("name", sorted(OPTIONAL_IN_SHIFT & set(SHIFT)))
def test_missing_optional_columns_are_null(name: str, tmp_path: Path) -> None:
    found = open_table(without(tmp_path / "t.parquet", name), Kind.SHIFT)
    assert found.columns([name]) == {name: [None, None]}
    assert found.data.schema.field(name).type == SHIFT[name]
    assert found.columns(["layer"]) == {"layer": ["enc1"] * 2}


def test_table_from_before_repeats_is_read_as_the_first(tmp_path: Path) -> None:
    """Foreign networks have no fold, ensembles have fold -1."""
    path = tmp_path / "t.parquet"
    columns = {"fold": [0, 3, None, -1], "pixels": [1, 2, 3, 4]}
    write_table(path, create_lineage(Kind.PREDICTIONS, MAKING, 1), columns, 4)
    pq.write_table(pq.read_table(path).drop_columns(["repeat"]), path)
    found = open_table(path, Kind.PREDICTIONS)
    assert found.columns(["repeat", "pixels"]) == {
        "repeat": [0, 0, None, None],
        "pixels": [1, 2, 3, 4],
    }
    assert found.data.schema.field("repeat").type == pa.int64()


@pytest.mark.parametrize("name", ["se_trainings", "trainings"])
def test_report_from_before_version_2_is_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, create_lineage(Kind.REPORT, MAKING, 1), {"value": [0.5, 0.25]}, 2)
    pq.write_table(pq.read_table(path).drop_columns([name]), path)
    found = open_table(path, Kind.REPORT).columns([name, "value"])
    assert found == {name: [None, None], "value": [0.5, 0.25]}


def test_repeats_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    columns = {"fold": [0, 0, 1, -1], "repeat": [1, None, 2, None]}
    write_table(path, create_lineage(Kind.SHIFT, MAKING, 1), columns, 4)
    assert open_table(path, Kind.SHIFT).columns(["repeat"]) == {"repeat": [1, 0, 2, None]}


def test_missing_required_columns_are_refused(tmp_path: Path) -> None:
    with refused(FormatError, "shift table lacks value; make it again"):
        open_table(without(tmp_path / "t.parquet", "value"), Kind.SHIFT)


def test_predictions_require_a_split(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write_table(path, create_lineage(Kind.PREDICTIONS, MAKING, 1), {"split": "test"}, 2)
    pq.write_table(pq.read_table(path).drop_columns(["split"]), path)
    with refused(FormatError, "predictions table lacks split; make it again"):
        open_table(path, Kind.PREDICTIONS)


def test_optional_columns_are_in_the_schemas() -> None:
    known = {name for schema in SCHEMAS.values() for name in schema}
    assert known > OPTIONAL_IN_SHIFT > OPTIONAL
    assert all(isinstance(dtype, pa.DataType) for dtype in SHIFT.values())


@pytest.mark.parametrize("kind", SCHEMAS)
def test_written_columns_match_the_schema(kind: Kind, tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", create_lineage(kind, MAKING, 1), {}, 3)
    file = pq.ParquetFile(tmp_path / "t.parquet")
    assert {field.name: field.type for field in file.schema_arrow} == SCHEMAS[kind]
    assert as_table(kind, {}, 3).schema.names == file.schema_arrow.names
    row = file.metadata.row_group(0)
    assert {row.column(place).compression for place in range(row.num_columns)} == {"ZSTD"}
    assert json.loads(file.metadata.metadata[b"skiptool"])["kind"] == kind.value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (0.5, 0.5),
        (1, 1.0),
        (np.float32(0.25), 0.25),
        (np.float64(0.25), 0.25),
        (np.int64(2), 2.0),
        ([1, None, 3], [1.0, None, 3.0]),
        (np.array([1, 2, 3]), [1.0, 2.0, 3.0]),
        ((0.5, 1.0, 1.5), [0.5, 1.0, 1.5]),
    ],
    ids=repr,
)
def test_single_value_is_repeated_for_all_rows(
    tmp_path: Path, value: object, expected: object
) -> None:
    write_table(tmp_path / "t", create_lineage(Kind.HISTORY, MAKING, 1), {"loss": value}, 3)
    (found,) = open_table(tmp_path / "t", Kind.HISTORY).columns(["loss"]).values()
    assert found == (expected if isinstance(expected, list) else [expected] * 3)


def test_single_text_and_bool_are_repeated_for_all_rows(tmp_path: Path) -> None:
    columns = {"paired": np.True_, "layer": np.str_("enc1"), "domain": "a", "n_other": np.uint8(3)}
    write_table(tmp_path / "t", create_lineage(Kind.SHIFT, MAKING, 1), columns, 2)
    found = open_table(tmp_path / "t", Kind.SHIFT).columns(list(columns))
    assert found == {
        "paired": [True] * 2,
        "layer": ["enc1"] * 2,
        "domain": ["a"] * 2,
        "n_other": [3] * 2,
    }


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"valeu": 1.0}, ["no column valeu"]),
        ({"loss": [1.0, 2.0]}, ["column loss", "has 2 rows, expected 3"]),
        ({"loss": "much"}, ["column loss", "double"]),
        ({"epoch": [1, "b", 2]}, ["column epoch", "int64"]),
        ({"epoch": 1.5}, ["column epoch", "int64"]),
        ({"epoch": [1, 2.5, None]}, ["column epoch", "int64"]),
        ({"epoch": np.array([1.5, 2.0, 3.0])}, ["column epoch", "int64"]),
        ({"split": [1, 2, 3]}, ["column split", "string"]),
    ],
)
def test_invalid_columns_are_refused(
    tmp_path: Path, columns: dict[str, object], words: list[str]
) -> None:
    with refused(ArgumentError, *words):
        write_table(tmp_path / "t", create_lineage(Kind.HISTORY, MAKING, 1), columns, 3)


def fail(path: Path) -> None:
    with TableWriter(path, create_lineage(Kind.HISTORY, MAKING, 1)) as writer:
        writer.append({"loss": math.nan}, 2)
        raise ZeroDivisionError


def test_failing_writer_closes_its_file(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with pytest.raises(ZeroDivisionError):
        fail(path)
    assert len(open_table(path, Kind.HISTORY)) == 2
    path.unlink()


def test_small_blocks_are_written_together(tmp_path: Path) -> None:
    """One block per layer would make reading a large table ten times slower."""
    path = tmp_path / "t.parquet"
    with TableWriter(path, create_lineage(Kind.HISTORY, MAKING, 1)) as writer:
        for epoch in range(40):
            writer.append({"epoch": epoch}, 4_000)
    rows = [4_000 * each for each in (17, 17, 6)]  # 16 of them are not yet 65,536
    metadata = pq.ParquetFile(path).metadata
    assert [metadata.row_group(place).num_rows for place in range(3)] == rows
    epochs = open_table(path, Kind.HISTORY).columns(["epoch"])["epoch"]
    assert epochs == [epoch for epoch in range(40) for _ in range(4_000)]


ROWS = st.lists(
    st.tuples(
        st.none() | st.sampled_from(["enc1", "dec0", "ü", ""]),
        st.none() | st.integers(0, 2),
        st.none() | st.integers(0, 600),
        st.none() | st.floats(allow_nan=False),
    ),
    max_size=20,
)
TYPES = {"layer": pa.string(), "bins": pa.int64(), "channel": pa.int64(), "value": pa.float64()}


def metric_table(data: pa.Table) -> MetricTable:
    return MetricTable(Path("t"), create_lineage(Kind.REPORT, MAKING, None), data)


def as_data(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = {n: [row[place] for row in rows] for place, n in enumerate(TYPES)}
    return pa.table(columns, schema=pa.schema(list(TYPES.items())))


@given(rows=ROWS, cut=st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_groups_equal_those_of_a_loop_over_rows(rows: list[tuple[Any, ...]], cut: int) -> None:
    """In order of first appearance, rows in their order, with any number of blocks."""
    data = pa.concat_tables([as_data(rows[:cut]), as_data(rows[cut:])])
    expected: dict[tuple[Any, ...], list[tuple[float, ...]]] = {}
    for layer, bins, *numbers in rows:
        numbers = [math.nan if number is None else number for number in numbers]
        expected.setdefault((layer, bins), []).append(tuple(numbers))
    found = metric_table(data).collect(["layer", "bins"], ["channel", "value"])
    assert list(zip(found["layer"], found["bins"], strict=True)) == list(expected)
    for channel, value, group in zip(
        found["channel"], found["value"], expected.values(), strict=True
    ):
        assert (channel.dtype, value.dtype) == (np.float64, np.float64)
        np.testing.assert_array_equal(np.column_stack([channel, value]), group)


@given(rows=ROWS)
@settings(max_examples=60, deadline=None)
def test_totals_equal_those_of_a_loop_over_rows(rows: list[tuple[Any, ...]]) -> None:
    """The first class of a table is the background, so the order matters."""
    expected: dict[tuple[Any, ...], int | None] = {}
    for layer, bins, channel, _ in rows:
        before = expected.setdefault((layer, bins), None)
        if channel is not None:
            expected[layer, bins] = (before or 0) + channel
    found = metric_table(as_data(rows)).totals(["layer", "bins"], "channel")
    keys = list(zip(found["layer"], found["bins"], strict=True))
    assert (keys, found["channel"]) == (list(expected), list(expected.values()))


@given(rows=ROWS)
@settings(max_examples=30, deadline=None)
def test_where_null_selects_rows_with_null(rows: list[tuple[Any, ...]]) -> None:
    found = metric_table(as_data(rows)).where_null("channel").data.to_pylist()
    assert found == [row for row in as_data(rows).to_pylist() if row["channel"] is None]


def test_empty_table_has_no_groups() -> None:
    found = metric_table(as_data([])).collect(["layer"], ["value"])
    assert found == {"layer": [], "value": []}


@pytest.mark.parametrize("size", [1, 3])
def test_group_of_nulls_is_nan(size: int) -> None:
    found = metric_table(as_data([("enc1", 1, None, None)] * size)).collect(
        ["layer"], ["channel", "value"]
    )
    for name in ("channel", "value"):
        (array,) = found[name]
        np.testing.assert_array_equal(array, [math.nan] * size)


MODEL = StoredModel(
    *(Path("m"), "resnet18-L0/fold2", "ab", Architecture("resnet18", (1, 2, 3, 4), CLASSES), 2),
    *(1, 9),
    config={},
    lineage=None,
)


def test_prediction_columns_are_ordered_by_sample_truth_and_prediction(
    dataset: Path, tmp_path: Path
) -> None:
    """Worked by hand: cell (sample, truth, predicted) holds 100 sample + 10 truth + predicted."""
    store = open_dataset(dataset)
    indices = [3, 0, 7]
    matrices = np.array(
        [[[100 * s + 10 * t + p for p in range(3)] for t in range(3)] for s in indices]
    )
    shift = Shift.parse("brightness=0.5")
    columns = prediction_columns(MODEL.facts(), store, store.domain("a"), shift, indices, matrices)
    assert set(columns) == set(PREDICTIONS)
    assert columns["clean_skips"] is None
    write_table(
        tmp_path / "p", create_lineage(Kind.PREDICTIONS, Invocation("p"), 1), columns, matrices.size
    )
    table = open_table(tmp_path / "p", Kind.PREDICTIONS)
    assert len(table) == 27
    found = table.columns(["sample", "subject", "split", "truth", "predicted", "pixels"])
    expected = [
        (f"{s:03d}", f"pätient {s // 2}", split, CLASSES[t], CLASSES[p], 100 * s + 10 * t + p)
        for s, split in zip(indices, ("test", "test", "train"), strict=True)
        for t in range(3)
        for p in range(3)
    ]
    assert list(zip(*found.values(), strict=True)) == expected
    same = {name: set(values) for name, values in table.columns(list(PREDICTIONS)[:15]).items()}
    assert same == {
        "model": {"resnet18-L0/fold2"},
        "model_id": {"ab"},
        "arch": {"unet"},
        "encoder": {"resnet18"},
        "pruning": {"baseline"},
        "fold": {2},
        "repeat": {1},
        "parameter_count": {9},
        "dataset": {"d.zarr"},
        "dataset_id": {store.lineage.id},
        "domain": {"a"},
        "split": {"test", "train"},
        "shift": {"brightness"},
        "factor": {0.5},
        "clean_skips": {None},
    }


def test_factor_of_unshifted_images_is_null(dataset: Path) -> None:
    store = open_dataset(dataset)
    columns = prediction_columns(
        MODEL.facts(),
        store,
        store.domain("b grey"),
        ORIGINAL,
        [0],
        np.zeros((1, 3, 3), dtype=np.int64),
    )
    assert (columns["shift"], columns["factor"], columns["domain"]) == ("original", None, "b grey")
