from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from skiptool.errors import FormatError
from skiptool.names import Kind
from skiptool.stores.lineage import create_lineage
from skiptool.stores.seals import (
    broken_members,
    check_object,
    check_store,
    seal_store,
    sealed_object,
    table_matches_seal,
)
from skiptool.stores.tables import open_table, write_table
from skiptool.stores.zarrs import open_root, record_failures
from small_stores import MAKING, refused, sample, set_attributes, set_json, unseal, write_dataset


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "s.zarr", [sample(0, "a"), sample(0, "b")])
    return tmp_path / "s.zarr"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    columns: dict[str, Any] = {"epoch": [0, 1], "split": "train", "loss": 1.0}
    write_table(tmp_path / "t.parquet", create_lineage(Kind.HISTORY, MAKING, 1), columns, 2)
    return tmp_path / "t.parquet"


def check(store: Path) -> None:
    check_store(open_root(store, "dataset"), "here")


def test_every_member_of_a_store_is_sealed(store: Path) -> None:
    check(store)
    seal = json.loads((store / "zarr.json").read_text())["attributes"]["seal"]
    assert {".", "a", "a/images", "a/masks", "a/samples", "b/samples/digest"} < set(seal)
    assert all(len(digits) == 8 for digits in seal.values())


def test_seal_does_not_depend_on_the_order_of_folders(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, scan = (store / "zarr.json").read_bytes(), os.scandir

    def reversed_scan(path: Any) -> Any:  # noqa: ANN401 - as of os
        return reversed(sorted(scan(path), key=lambda entry: entry.name))

    monkeypatch.setattr("skiptool.stores.seals.os.scandir", reversed_scan)
    seal_store(store)
    assert (store / "zarr.json").read_bytes() == written


@pytest.mark.parametrize(
    ("member", "file"),
    [(".", "zarr.json"), ("a", "a/zarr.json"), ("a/samples/id", "a/samples/id/zarr.json")],
)
def test_changed_member_is_named(store: Path, member: str, file: str) -> None:
    set_attributes(store / member, more=1)
    assert broken_members(open_root(store, "dataset")) == [member]
    with refused(FormatError, f"here: {file}: not as written", "remove 'seal'"):
        check(store)


def test_removed_and_added_members_are_named(store: Path) -> None:
    (store / "a/zarr.json").rename(store / "b/images/zarr.json.kept")
    (store / "new").mkdir()
    (store / "new/zarr.json").write_bytes(b"[" * 100_000)
    with refused(FormatError, "a/zarr.json, a/images/zarr.json, a/masks/zarr.json and"):
        check(store)
    assert "new" in broken_members(open_root(store, "dataset"))


def test_whitespace_is_not_a_change(store: Path) -> None:
    file = store / "a/zarr.json"
    file.write_text(json.dumps(json.loads(file.read_text()), indent=7))
    check(store)


@pytest.mark.parametrize("seal", [None, [], "x", {}, {".": 3}])
def test_store_without_a_seal_is_accepted_but_an_invalid_seal_refused(
    store: Path, seal: object
) -> None:
    set_attributes(store, seal=seal)
    if seal is None:
        check(store)
    else:
        with refused(FormatError, "not as written"):
            check(store)


def test_store_can_be_sealed_again(store: Path) -> None:
    record_failures(store, ["b.png: cut off"])
    check(store)
    set_attributes(store, classes=["a", "b"])
    seal_store(store)
    check(store)


def test_seal_of_an_object_reveals_changes() -> None:
    found = sealed_object({"a": [1, {"b": None}], "seal": "old"})
    check_object(found, "here")
    check_object({"a": 1}, "here")
    for wrong in ({**found, "a": 2}, {**found, "more": 1}, {**found, "seal": None}):
        with refused(FormatError, "here: not as written"):
            check_object(wrong, "here")


def test_seal_covers_every_byte_of_a_table(table: Path) -> None:
    whole = table.read_bytes()
    assert table_matches_seal(table) is True
    assert whole.count(b"skiptool.seal") == 1
    rng = np.random.default_rng(0)
    for place in rng.permutation(len(whole))[:300]:
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        table.write_bytes(bytes(content))
        key = whole.index(b"skiptool.seal") - 2 <= place < whole.index(b"skiptool.seal") + 15
        assert table_matches_seal(table) is (None if key else False)


def test_table_without_a_seal_is_read(table: Path) -> None:
    found = pq.read_table(table)
    pq.write_table(found, table)
    assert table_matches_seal(table) is None
    assert len(open_table(table, Kind.HISTORY)) == 2


def test_equal_tables_have_equal_bytes(tmp_path: Path) -> None:
    header = create_lineage(Kind.HISTORY, MAKING, 1)
    for name in ("x", "y"):
        write_table(tmp_path / name, header, {"epoch": [0]}, 1)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_store_without_a_seal_is_not_checked(store: Path) -> None:
    set_json(unseal(store) / "a/zarr.json", attributes={"more": 1})
    check(store)
