from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skiptool.errors import FormatError
from skiptool.names import Kind
from skiptool.stores.header import lineage
from skiptool.stores.schemas import HISTORY, PREDICTIONS, TABLE_KEY
from skiptool.stores.soundness import check_sound
from skiptool.stores.table_writer import TableWriter, write_table
from skiptool.stores.tables import open_table, table_kind
from small_stores import HOSTILE_JSON, MAKING, flip, refused

COUNTS: dict[str, Any] = {
    **{"model": "m", "model_id": "1", "fold": None, "shift": "brightness", "factor": 0.5},
    "sample": ["b", "b", "a", "a"],
    "truth": ["background", "cell", "background", "cell"],
    "pixels": np.array([1, 0, 2, 4]),
}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "p.parquet"
    write_table(path, lineage(Kind.PREDICTIONS, MAKING, 1), COUNTS, 4)
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
def test_a_table_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]], cut: int
) -> None:
    """In one block or in two; null stays null and NaN stays NaN."""
    names = ("epoch", "split", "loss", "lr")
    path = tmp_path_factory.mktemp("t") / "h.parquet"
    header = lineage(Kind.HISTORY, MAKING, 1)
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


def test_totals_are_sums_in_the_order_of_appearance(tmp_path: Path) -> None:
    columns = {
        "sample": ["b", "b", "a", "a", "b"],
        "truth": ["cell", "background", "background", "cell", "cell"],
        "factor": [None, None, 0.5, 0.5, None],
        "pixels": [1, 2, 2**60, 4, 5],
    }
    write_table(tmp_path / "t", lineage(Kind.PREDICTIONS, MAKING, 1), columns, 5)
    table = open_table(tmp_path / "t", Kind.PREDICTIONS)
    assert table.totals(["truth", "factor"], "pixels") == {
        "truth": ["cell", "background", "background", "cell"],
        "factor": [None, None, 0.5, 0.5],
        "pixels": [6, 2, 2**60, 4],
    }


def test_rows_are_found_by_what_stands_in_them_null_too(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    columns = {"sample": list("abcd"), "factor": [None, 0.5, 0.5, None], "pixels": [1, 2, 3, 4]}
    write_table(path, lineage(Kind.PREDICTIONS, MAKING, 1), columns, 4)
    found = open_table(path, Kind.PREDICTIONS)
    assert found.where({}).columns(["pixels"]) == {"pixels": [1, 2, 3, 4]}
    assert found.where({"factor": 0.5}).columns(["pixels"]) == {"pixels": [2, 3]}
    assert found.where({"factor": None, "sample": "d"}).columns(["pixels"]) == {"pixels": [4]}
    assert len(found.where({"sample": "x"})) == 0


def test_the_kind_is_asked_for(table: Path) -> None:
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


def test_more_columns_are_allowed_and_fewer_are_not(table: Path) -> None:
    data = pq.read_table(table)
    rewrite(table, data.append_column("organ", pa.array(["skin"] * 4)))
    assert open_table(table, Kind.PREDICTIONS).columns(["organ"]) == {"organ": ["skin"] * 4}
    rewrite(table, data.drop_columns(["pixels", "truth"]))
    with refused(FormatError, table, "predictions table lacks truth, pixels"):
        open_table(table, Kind.PREDICTIONS)


def test_other_types_are_taken_where_nothing_is_lost(table: Path) -> None:
    data = pq.read_table(table)
    wide = data.set_column(data.column_names.index("pixels"), "pixels", data["pixels"].cast("int8"))
    wide = wide.set_column(0, "model", data["model"].dictionary_encode())
    rewrite(table, wide.set_column(1, "model_id", data["model_id"].cast("large_string")))
    found = open_table(table, Kind.PREDICTIONS)
    assert [found.data.schema.field(name).type for name in ("pixels", "model", "model_id")] == [
        *(pa.int64(), pa.string(), pa.string())
    ]
    for column in (["many"] * 4, [0.5, 1.0, 2.0, 3.0], [[1]] * 4):
        torn = data.set_column(data.column_names.index("pixels"), "pixels", pa.array(column))
        rewrite(table, torn)
        with refused(FormatError, table):
            open_table(table, Kind.PREDICTIONS)


@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
def test_a_hostile_header_is_one_line(table: Path, text: bytes) -> None:
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


def test_what_is_no_table_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("model,pixels\na,1\n")
    (tmp_path / "empty").write_bytes(b"")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other")
    for name, word in (
        ("nowhere", "no such table"),
        ("", "no such table"),
        ("text", "no Parquet file"),
        ("empty", "no Parquet file"),
        ("other", "not made by skiptool"),
    ):
        for read in (table_kind, lambda path: open_table(path, Kind.SHIFT)):
            with refused(FormatError, tmp_path / name, word):
                read(tmp_path / name)


def test_a_table_cut_anywhere_is_refused(table: Path) -> None:
    whole = table.read_bytes()
    for length in range(0, len(whole), 61):
        table.write_bytes(whole[:length])
        with refused(FormatError, table):
            open_table(table, Kind.PREDICTIONS)


def test_a_flipped_bit_of_a_column_changes_no_number(table: Path) -> None:
    """Zstandard alone decodes many of them to other numbers without a word.

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


def test_a_folder_called_like_a_partition_adds_no_column(tmp_path: Path, table: Path) -> None:
    """Some versions of Arrow read ``organ=skin`` in a path as a column."""
    folder = tmp_path / "organ=skin"
    folder.mkdir()
    moved = table.rename(folder / "p.parquet")
    assert open_table(moved, Kind.PREDICTIONS).data.column_names == list(PREDICTIONS)


def test_what_a_table_was_made_without_is_kept(tmp_path: Path) -> None:
    header = lineage(Kind.HISTORY, MAKING, 1)
    for name, failures in (("none", []), ("some", ["model a: is damaged", "päth: gone"])):
        with TableWriter(tmp_path / name, header, failures):
            pass
        found = open_table(tmp_path / name, Kind.HISTORY)
        assert found.failures == tuple(failures)
        assert found.lineage == header


def test_rows_are_gathered_and_picked(table: Path) -> None:
    found = open_table(table, Kind.PREDICTIONS)
    groups = found.gathered(["sample", "fold"], ["pixels"])
    assert (groups["sample"], groups["fold"]) == (["b", "a"], [None, None])
    assert [array.tolist() for array in groups["pixels"]] == [[1.0, 0.0], [2.0, 4.0]]
    assert found.lacking("fold").data.equals(found.data)
    assert len(found.lacking("pixels")) == 0
    assert found.lacking("pixels").lineage == found.lineage


def repeated(path: Path, rows: int, text: str = "a", block: int = 2**20) -> Path:
    """Write a history whose rows are all alike, which takes a few bytes."""
    header = json.dumps(lineage(Kind.HISTORY, MAKING, 1).as_json()).encode()
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
def test_a_small_file_of_a_hundred_million_rows_is_not_read(tmp_path: Path) -> None:
    path = repeated(tmp_path / "h.parquet", 100_000_000)
    assert path.stat().st_size < 3_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with refused(FormatError, "h.parquet", "100,000,000 rows, at most 50,000,000"):
        open_table(path, Kind.HISTORY)
    with refused(FormatError, "100,000,000 rows"):
        check_sound(path, Kind.HISTORY)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB


@pytest.mark.long
@pytest.mark.parametrize(("rows", "letters"), [(20_000, 100_000), (100, 10**7), (10**5, 10_000)])
def test_long_texts_are_counted_before_they_are_written_out(
    rows: int, letters: int, tmp_path: Path
) -> None:
    path = repeated(tmp_path / "h.parquet", rows, "x" * letters, block=100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with refused(FormatError, "h.parquet", "bytes in memory, which no table of skiptool does"):
        open_table(path, Kind.HISTORY)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KB


@pytest.mark.long
def test_large_honest_tables_are_read(tmp_path: Path) -> None:
    path = repeated(tmp_path / "h.parquet", 10_000_000, "validation of some fold")
    found = open_table(path, Kind.HISTORY)
    assert len(found) == 10_000_000
    assert found.distinct(["epoch", "split"]) == {
        "epoch": [1],
        "split": ["validation of some fold"],
    }


def test_few_rows_may_hold_long_texts(tmp_path: Path) -> None:
    path = repeated(tmp_path / "h.parquet", 20, "x" * 100_000)
    assert open_table(path, Kind.HISTORY).columns(["split"])["split"] == ["x" * 100_000] * 20


@pytest.mark.parametrize(
    "odd", [pa.binary(10), pa.list_(pa.int64()), pa.struct([("a", pa.int64())]), pa.date32()]
)
def test_columns_of_odd_types_are_not_read(odd: pa.DataType, tmp_path: Path) -> None:
    header = json.dumps(lineage(Kind.HISTORY, MAKING, 1).as_json()).encode()
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
