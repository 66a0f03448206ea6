from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from skiptool.errors import ArgumentError
from skiptool.names import Kind
from skiptool.stores.header import lineage
from skiptool.stores.schemas import SCHEMAS
from skiptool.stores.table_writer import TableWriter, as_table, write_table
from skiptool.stores.tables import open_table
from small_stores import MAKING, refused

COUNTS: dict[str, Any] = {
    **{"model": "m", "model_id": "1", "fold": None, "shift": "brightness", "factor": 0.5},
    "sample": ["b", "b", "a", "a"],
    "truth": ["background", "cell", "background", "cell"],
    "pixels": np.array([1, 0, 2, 4]),
}


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_columns_are_those_that_are_written_down(kind: Kind, tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", lineage(kind, MAKING, 1), {}, 3)
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
def test_one_value_stands_for_all_rows(tmp_path: Path, value: object, expected: object) -> None:
    write_table(tmp_path / "t", lineage(Kind.HISTORY, MAKING, 1), {"loss": value}, 3)
    (found,) = open_table(tmp_path / "t", Kind.HISTORY).columns(["loss"]).values()
    assert found == (expected if isinstance(expected, list) else [expected] * 3)


def test_one_text_and_one_truth_value_stand_for_all_rows(tmp_path: Path) -> None:
    columns = {"paired": np.True_, "layer": np.str_("enc1"), "domain": "a", "n_other": np.uint8(3)}
    write_table(tmp_path / "t", lineage(Kind.SHIFT, MAKING, 1), columns, 2)
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
def test_columns_that_do_not_fit_are_refused(
    tmp_path: Path, columns: dict[str, object], words: list[str]
) -> None:
    with refused(ArgumentError, *words):
        write_table(tmp_path / "t", lineage(Kind.HISTORY, MAKING, 1), columns, 3)


def fail(path: Path) -> None:
    with TableWriter(path, lineage(Kind.HISTORY, MAKING, 1)) as writer:
        writer.append({"loss": math.nan}, 2)
        raise ZeroDivisionError


def test_a_writer_that_fails_closes_its_file(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with pytest.raises(ZeroDivisionError):
        fail(path)
    assert len(open_table(path, Kind.HISTORY)) == 2
    path.unlink()


def test_small_blocks_are_written_together(tmp_path: Path) -> None:
    """A block of its own for each layer made reading a large table ten times slower."""
    path = tmp_path / "t.parquet"
    with TableWriter(path, lineage(Kind.HISTORY, MAKING, 1)) as writer:
        for epoch in range(40):
            writer.append({"epoch": epoch}, 4_000)
    rows = [4_000 * each for each in (17, 17, 6)]  # 16 of them are not yet 65,536
    metadata = pq.ParquetFile(path).metadata
    assert [metadata.row_group(place).num_rows for place in range(3)] == rows
    epochs = open_table(path, Kind.HISTORY).columns(["epoch"])["epoch"]
    assert epochs == [epoch for epoch in range(40) for _ in range(4_000)]
