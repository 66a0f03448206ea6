"""Tests of ``zarrs``."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import MemoryStore

from heard import Heard
from skiptool.errors import ArgumentError, FormatError
from skiptool.stores.remote import RemoteStore
from skiptool.stores.zarrs import (
    check_chunks,
    create_array,
    folder_of,
    is_missing,
    member_names,
    open_array,
    open_group,
    open_root,
    read_columns,
    read_rows,
    record_failures,
    recorded_failures,
    remove_partial_files,
    report_failures,
    write_columns,
)
from small_counts import counted
from small_stores import (
    HOSTILE_JSON,
    LAYERS,
    blocks,
    feature_writer,
    flip,
    refused,
    sample,
    write_dataset,
    write_masks,
)

SMALL = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
DTYPES = ["uint8", "float16", "float32"]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
COLUMNS: st.SearchStrategy[dict[str, list[Any]]] = st.integers(1, 5).flatmap(
    lambda n: st.dictionaries(
        st.sampled_from(["id", "Größe", "b c", "d"]),
        st.lists(TEXT, min_size=n, max_size=n)
        | st.lists(st.integers(-(2**63), 2**63 - 1), min_size=n, max_size=n)
        | st.lists(st.floats(), min_size=n, max_size=n),
        min_size=1,
    )
)


@pytest.fixture
def root(tmp_path: Path) -> zarr.Group:
    return zarr.open_group(tmp_path / "s.zarr", mode="w", zarr_format=3)


@given(
    values=st.sampled_from(DTYPES).flatmap(
        lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=1, max_dims=4, max_side=6))
    ),
    chunk=st.integers(1, 3),
    per_shard=st.none() | st.integers(1, 3),
)
@SMALL
def test_array_round_trip(
    root: zarr.Group, values: np.ndarray, chunk: int, per_shard: int | None
) -> None:
    shard = None if per_shard is None else chunk * per_shard
    made = create_array(root, "a", values.shape, str(values.dtype), chunk=chunk, shard=shard)
    made[:] = values
    found = open_array(root, "a", "here", values.ndim, [str(values.dtype)])
    np.testing.assert_array_equal(read_rows(found, slice(None), "here"), values)
    assert found.chunks == (chunk, *values.shape[1:])
    assert found.shards == (None if shard is None else (shard, *values.shape[1:]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_chunk_is_lz4_and_ends_in_a_checksum(root: zarr.Group, dtype: str) -> None:
    made = create_array(root, "a", (4, 2), dtype, chunk=1)
    blosc, checksum = made.compressors
    assert isinstance(blosc, BloscCodec)
    names = [getattr(name, "value", name) for name in (blosc.cname, blosc.shuffle)]
    assert names == ["lz4", "noshuffle" if dtype == "uint8" else "shuffle"]
    assert isinstance(checksum, Crc32cCodec)


@given(columns=COLUMNS)
@SMALL
def test_columns_round_trip(root: zarr.Group, columns: dict[str, list[Any]]) -> None:
    write_columns(root, columns)
    found = read_columns(root, "here")
    assert sorted(found) == sorted(columns)
    for name, values in columns.items():
        np.testing.assert_array_equal(found[name], np.array(values, dtype=found[name].dtype))
        kinds = {str: "O", int: "i", float: "f"}
        assert found[name].dtype.kind == kinds[type(values[0])]


def test_text_is_of_variable_length_and_numbers_have_64_bits(
    root: zarr.Group, tmp_path: Path
) -> None:
    write_columns(root, {"id": ["a", "bcdé"], "n": np.uint8([1, 2]), "x": np.float32([0.5, 1])})
    meta = {
        name: json.loads((tmp_path / f"s.zarr/samples/{name}/zarr.json").read_text())
        for name in ("id", "n", "x")
    }
    assert [meta[name]["data_type"] for name in meta] == ["string", "int64", "float64"]
    assert all(meta[name]["codecs"][-1] == {"name": "crc32c"} for name in meta)


def test_group_has_the_names_of_columns(root: zarr.Group) -> None:
    """For hosts that do not list folders; on a local disk, the folders are used."""
    write_columns(root, {"b": [1], "id": ["x"], "a": [2.0]})
    assert root["samples"].attrs["columns"] == ["b", "id", "a"]
    create_array(root["samples"], "later", (1,), "int64", chunk=1)[:] = 7
    del root["samples/b"]
    assert sorted(read_columns(root, "here")) == ["a", "id", "later"]
    root["samples"].attrs["columns"] = "id"
    with refused(FormatError, "here: attribute columns of 'samples'"):
        read_columns(root, "here")


def test_columns_are_replaced(root: zarr.Group) -> None:
    write_columns(root, {"old": [1, 2], "id": ["a", "b"]})
    write_columns(root, {"id": ["c"]})
    assert {name: list(values) for name, values in read_columns(root, "here").items()} == {
        "id": ["c"]
    }


@pytest.mark.parametrize("shard", [None, 4])
@pytest.mark.parametrize("lost", range(3))
def test_missing_chunk_is_not_read_as_zeros(
    root: zarr.Group, tmp_path: Path, shard: int | None, lost: int
) -> None:
    """Zarr itself reads zeros in all of these cases."""
    made = create_array(root, "a", (10, 2), "uint8", chunk=shard or 4, shard=shard)
    made[:] = 7
    file = tmp_path / f"s.zarr/a/c/{lost}/0"
    whole = file.read_bytes()
    file.unlink()
    with refused(FormatError, "here: 'a'", f"chunk c/{lost}/0 is missing"):
        open_array(root, "a", "here", 2)
    file.write_bytes(b"")
    with refused(FormatError, f"chunk c/{lost}/0 is missing"):
        open_array(root, "a", "here", 2)
    file.unlink()
    file.mkdir()
    with refused(FormatError, f"chunk c/{lost}/0 is missing"):
        open_array(root, "a", "here", 2)
    file.rmdir()
    file.write_bytes(whole)
    assert (read_rows(open_array(root, "a", "here", 2), slice(None), "here") == 7).all()


@pytest.mark.parametrize("attributes", [{}, {"every_chunk": False}, {"every_chunk": 1}])
def test_other_writers_may_omit_chunks_of_zeros_and_use_any_chunks(
    root: zarr.Group, attributes: dict[str, object]
) -> None:
    made = root.create_array(
        "a", shape=(4, 3), chunks=(2, 2), dtype="uint8", fill_value=0, attributes=attributes
    )
    made[2:] = 5
    found = read_rows(open_array(root, "a", "here", 2, ["uint8"]), slice(None), "here")
    assert found.tolist() == [[0, 0, 0]] * 2 + [[5, 5, 5]] * 2


def test_chunks_of_zeros_are_written(root: zarr.Group) -> None:
    create_array(root, "a", (5, 2), "float32", chunk=2)[:] = 0
    create_array(root, "b", (5, 2), "uint8", chunk=1, shard=2)[:] = 0
    write_columns(root, {"fold": [0, 0], "cells": [0.0, 0.0], "organ": ["", ""]})
    assert not read_rows(open_array(root, "a", "here", 2), slice(None), "here").any()
    assert not read_rows(open_array(root, "b", "here", 2), slice(None), "here").any()
    assert read_columns(root, "here")["organ"].tolist() == ["", ""]


@pytest.mark.parametrize("shard", [None, 4])
def test_any_flipped_bit_of_a_chunk_is_detected(
    root: zarr.Group, tmp_path: Path, shard: int | None
) -> None:
    made = create_array(root, "a", (4, 3), "uint8", chunk=2, shard=shard)
    made[:] = np.arange(12).reshape(4, 3)
    file = tmp_path / "s.zarr/a/c/0/0"
    for position in range(len(file.read_bytes())):
        flip(file, position)
        with refused(FormatError, "here: cannot be read"):
            read_rows(open_array(root, "a", "here", 2), slice(None), "here")
        flip(file, position)


@pytest.mark.parametrize("name", ["id", "n"])
def test_any_flipped_bit_of_a_column_is_detected(
    root: zarr.Group, tmp_path: Path, name: str
) -> None:
    write_columns(root, {"id": ["a", "b"], "n": [1, 2]})
    file = tmp_path / f"s.zarr/samples/{name}/c/0"
    for position in range(len(file.read_bytes())):
        flip(file, position)
        with refused(FormatError, f"here: column {name}: cannot be read"):
            read_columns(root, "here")
        flip(file, position)


def test_damaged_members_are_named(root: zarr.Group, tmp_path: Path) -> None:
    """A member with lost metadata is reported, while Zarr treats it as absent."""
    write_columns(root, {"id": ["a"], "n": [1]})
    samples = tmp_path / "s.zarr/samples"
    (samples / ".DS_Store").write_text("of a file browser")
    assert member_names(root, "here") == ["samples"]
    assert sorted(read_columns(root, "here")) == ["id", "n"]
    (samples / "n/zarr.json").unlink()
    with refused(FormatError, "here: has no 'n'"):
        read_columns(root, "here")
    shutil.rmtree(samples)
    with refused(FormatError, "here: has no 'samples'"):
        read_columns(root, "here")


def test_members_of_another_type_are_refused(root: zarr.Group) -> None:
    create_array(root, "a", (2, 2), "uint8", chunk=1)[:] = 1
    root.create_group("g")
    with refused(FormatError, "here: 'a' is an array, expected a group"):
        open_group(root, "a", "here")
    with refused(FormatError, "here: 'g' is a group, expected an array of 2 axes of uint8"):
        open_array(root, "g", "here", 2, ["uint8"])
    with refused(FormatError, "here: 'a' is (2, 2) uint8, expected an array of 3 axes"):
        open_array(root, "a", "here", 3)
    with refused(FormatError, "expected an array of 2 axes of float16 or float32"):
        open_array(root, "a", "here", 2, ["float16", "float32"])


@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
def test_damaged_metadata_is_reported_in_one_line(
    root: zarr.Group, tmp_path: Path, text: bytes
) -> None:
    create_array(root, "a", (2, 2), "uint8", chunk=1)[:] = 1
    (tmp_path / "s.zarr/a/zarr.json").write_bytes(text)
    with refused(FormatError, "here", "'a'"):
        open_array(root, "a", "here", 2)
    (tmp_path / "s.zarr/zarr.json").write_bytes(text)
    with refused(FormatError, tmp_path / "s.zarr"):
        open_root(tmp_path / "s.zarr", "dataset")


@pytest.mark.parametrize("bad", [None, -1, "x", [], {}, 10**18, [10**18, 2], [-1, 2], ["a"]])
@pytest.mark.parametrize("key", ["shape", "data_type", "chunk_grid", "codecs", "fill_value"])
@pytest.mark.filterwarnings("default::RuntimeWarning")
def test_hostile_metadata_is_refused_or_harmless(
    root: zarr.Group, tmp_path: Path, key: str, bad: object
) -> None:
    create_array(root, "a", (2, 2), "uint8", chunk=1)[:] = 1
    file = tmp_path / "s.zarr/a/zarr.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: bad}))
    try:
        values = read_rows(open_array(root, "a", "here", 2), slice(None), "here")
    except FormatError:
        return
    assert values.tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("shape", [[2, 1], [0, 2], [1, 0], [10**18, 2], [1, 2, 1], [1.5, 2]])
def test_chunks_that_are_not_whole_rows_are_refused_or_read_as_written(
    root: zarr.Group, tmp_path: Path, shape: list[float]
) -> None:
    create_array(root, "a", (2, 2), "uint8", chunk=1)[:] = 1
    file = tmp_path / "s.zarr/a/zarr.json"
    grid = {"name": "regular", "configuration": {"chunk_shape": shape}}
    file.write_text(json.dumps({**json.loads(file.read_text()), "chunk_grid": grid}))
    try:
        values = read_rows(open_array(root, "a", "here", 2), slice(None), "here")
    except FormatError:
        return
    assert values.tolist() == [[1, 1], [1, 1]]  # newer Zarrs take 0 for 1


def test_other_paths_are_refused(tmp_path: Path, root: zarr.Group) -> None:
    create_array(root, "a", (2, 2), "uint8", chunk=1)[:] = 1
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    zarr.open_group(tmp_path / "v2.zarr", mode="w", zarr_format=2, attributes={"old": 1})
    with refused(FormatError, tmp_path / "nowhere", "no such dataset store"):
        open_root(tmp_path / "nowhere", "dataset")
    for name in ("file", "folder", "v2.zarr", "s.zarr/a"):
        with refused(FormatError, tmp_path / name, "expected a dataset store"):
            open_root(tmp_path / name, "dataset")
    assert member_names(open_root(tmp_path / "s.zarr", "dataset"), "here") == ["a"]
    assert dict(open_root(tmp_path / "v2.zarr", "feature", (3, 2)).attrs) == {"old": 1}


@pytest.mark.parametrize("attributes", ["x", 3, [1]])
def test_attributes_that_are_not_an_object_are_refused(
    tmp_path: Path, root: zarr.Group, attributes: object
) -> None:
    file = tmp_path / "s.zarr/zarr.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "attributes": attributes}))
    with refused(FormatError, tmp_path / "s.zarr"):
        open_root(tmp_path / "s.zarr", "dataset")


def test_only_partial_files_of_zarr_are_removed(tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    keep = [store / "a.partial/zarr.json", store / "c/0", store / f"{'g' * 32}.partial"]
    torn = [store / f"c/0.{'0a' * 16}.partial", store / f"zarr.{'f' * 32}.partial"]
    for file in (*keep, *torn):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    remove_partial_files(store)
    assert sorted(path for path in store.rglob("*") if path.is_file()) == sorted(keep)


def test_pipe_is_refused_without_waiting(root: zarr.Group, tmp_path: Path) -> None:
    root.create_group("a")
    for name in ("a/zarr.json", "zarr.json"):
        (tmp_path / "s.zarr" / name).unlink()
        os.mkfifo(tmp_path / "s.zarr" / name)
    with refused(FormatError, "here", "is not a regular file"):
        open_group(root, "a", "here")
    with refused(FormatError, "s.zarr", "is not a regular file"):
        open_root(tmp_path / "s.zarr", "dataset")


GROUPS: dict[str, list[str]] = {
    "d.zarr": ["a", "a/samples", "b", "b/samples"],
    "f.zarr": ["layers", "samples", *(f"ranges/{layer}" for layer in LAYERS)],
    "c.zarr": ["counts", "samples", "bins/enc1", "ranges/enc1", "bins/dec0", "ranges/dec0"],
    "m.zarr": ["0", "0/samples", "1", "1/samples"],
}
"""Groups of arrays in a store of each kind."""


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a store of each kind; values include zeros, which must not become NaN."""
    folder = tmp_path_factory.mktemp("stores")
    samples = [*(sample(n) for n in range(20)), sample(0, "b", (5, 3, 1))]
    write_dataset(folder / "d.zarr", samples)
    writer = feature_writer(folder / "f.zarr", 20)
    for start in (0, 16):
        rectified = {k: v.clip(0) for k, v in blocks(start, min(start + 16, 20)).items()}
        writer.append(rectified)
    writer.finish()
    counted(folder / "c.zarr", {"enc1": blocks(0, 20)["enc1"], "dec0": blocks(0, 20)["dec0"]})
    write_masks(folder / "m.zarr", 20)
    return folder


@pytest.mark.parametrize("store", GROUPS)
def test_axes_of_the_same_name_have_the_same_length(stores: Path, store: str) -> None:
    """As required by xarray: every axis has a name, and axes of the same name the same length."""
    root = zarr.open_group(stores / store, mode="r")
    groups = {name: g for name, g in root.members(max_depth=None) if isinstance(g, zarr.Group)}
    assert {name for name, group in groups.items() if [*group.arrays()]} == set(GROUPS[store])
    for group in groups.values():
        lengths: dict[str, int] = {}
        for name, array in group.arrays():
            names = array.metadata.dimension_names
            assert names is not None, name
            assert len(set(names)) == array.ndim
            for axis, length in zip(names, array.shape, strict=True):
                assert lengths.setdefault(axis, length) == length, (name, axis)


@pytest.mark.parametrize(("store", "group"), [(s, g) for s, names in GROUPS.items() for g in names])
def test_xarray_reads_every_array_as_stored(stores: Path, store: str, group: str) -> None:
    """Values, types and names of axes, without a warning; zeros are values."""
    xarray = pytest.importorskip("xarray", reason="compares with xarray, which is not installed")
    stored = zarr.open_group(stores / store, mode="r", path=group)
    for opened in (
        xarray.open_zarr(stores / store, group=group),
        xarray.open_datatree(stores / store, engine="zarr", chunks=None)[group].dataset,
    ):
        assert set(opened.variables) == set(stored.array_keys())
        for name, array in stored.arrays():
            found, expected = opened[name], array[:]
            assert found.dims == array.metadata.dimension_names
            if expected.dtype.kind != "T":
                assert found.dtype == expected.dtype
            assert found.values.tolist() == expected.tolist()


@pytest.mark.parametrize("store", GROUPS)
def test_dask_reads_every_array_as_stored(stores: Path, store: str) -> None:
    dask = pytest.importorskip("dask.array", reason="compares with Dask (extra dask)")
    for group in GROUPS[store]:
        for name, array in zarr.open_group(stores / store, mode="r", path=group).arrays():
            found = dask.from_zarr(stores / store / group / name)
            assert found.dtype == array.dtype
            assert found.compute(scheduler="synchronous").tolist() == array[:].tolist()


@pytest.mark.parametrize("store", GROUPS)
def test_root_repeats_the_metadata_of_its_members(stores: Path, store: str) -> None:
    root = zarr.open_consolidated(stores / store, mode="r")
    files = {str(f.parent.relative_to(stores / store)) for f in (stores / store).rglob("zarr.json")}
    consolidated = dict(root.members(max_depth=None))
    assert {".", *consolidated} == files
    for name, member in consolidated.items():
        own = zarr.open(stores / store / name, mode="r", use_consolidated=False)
        assert type(member) is type(own)
        assert dict(member.attrs) == dict(own.attrs)
        if isinstance(own, zarr.Array):
            assert member.metadata == own.metadata


@pytest.fixture
def root_of_chunks(tmp_path: Path) -> zarr.Group:
    group = zarr.open_group(tmp_path / "s.zarr", mode="w", zarr_format=3)
    create_array(group, "in/a", (5, 2), "uint8", chunk=2)[:] = 1
    return group


def test_missing_file_of_a_chunk_is_detected(root_of_chunks: zarr.Group, tmp_path: Path) -> None:
    check_chunks(root_of_chunks["in/a"], "here")
    for number in range(3):
        file = tmp_path / f"s.zarr/in/a/c/{number}/0"
        whole = file.read_bytes()
        file.unlink()
        with refused(FormatError, f"here: chunk c/{number}/0 is missing; the store is damaged"):
            check_chunks(root_of_chunks["in/a"], "here")
        file.write_bytes(whole)


def test_foreign_arrays_may_lack_chunks(root_of_chunks: zarr.Group) -> None:
    made = root_of_chunks.create_array("b", shape=(4, 4), chunks=(2, 2), dtype="uint8")
    check_chunks(made, "here")
    made.attrs["every_chunk"] = True
    with refused(FormatError, "here: chunks are not whole rows"):
        check_chunks(root_of_chunks["b"], "here")


def test_remote_store_knows_complete_arrays(root_of_chunks: zarr.Group, tmp_path: Path) -> None:
    root_of_chunks.create_array("b", shape=(4, 4), chunks=(2, 2), dtype="uint8")
    pytest.importorskip("fsspec", reason="remote stores need fsspec (extra remote)")
    store = RemoteStore.from_url(f"file://{tmp_path}/s.zarr", read_only=True)
    assert isinstance(store, RemoteStore)
    remote = zarr.open_group(store, mode="r")
    (tmp_path / "s.zarr/in/a/c/1/0").unlink()
    assert remote["in/a"][2:4].tolist() == [[0, 0], [0, 0]]  # what Zarr takes it for
    for name in ("in/a", "b"):
        check_chunks(remote[name], "here")
    assert store.complete == {"in/a"}
    assert remote["in/a"][:2].all()
    with refused(FormatError, "chunk c/1/0 is missing"):
        _ = remote["in/a"][2:4]
    assert not remote["b"][:].any()


def test_folder_of_a_remote_array_is_refused(root_of_chunks: zarr.Group, tmp_path: Path) -> None:
    assert folder_of(root_of_chunks) == tmp_path / "s.zarr"
    assert folder_of(root_of_chunks["in/a"]) == tmp_path / "s.zarr/in/a"
    with refused(FormatError, "not on a local disk"):
        folder_of(zarr.open_group(MemoryStore(), mode="w"))


def test_missing_members_are_distinguished_from_damaged_ones(
    root_of_chunks: zarr.Group, tmp_path: Path
) -> None:
    assert is_missing(root_of_chunks, "in/b", KeyError("in/b"))
    (tmp_path / "s.zarr/in/a/zarr.json").write_text("{}")
    assert not is_missing(root_of_chunks, "in/a", KeyError("node_type"))
    (tmp_path / "s.zarr/in/a/zarr.json").unlink()
    assert is_missing(root_of_chunks, "in/a", KeyError("in/a"))
    elsewhere = zarr.open_group(MemoryStore(), mode="w")
    assert is_missing(elsewhere, "a", KeyError("a"))
    assert not is_missing(elsewhere, "a", ValueError("no JSON"))


def test_failures_are_recorded_and_read(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    zarr.open_group(path, mode="w", zarr_format=3).attrs["kind"] = "dataset"
    record_failures(path, [])
    assert recorded_failures(path) == []
    assert dict(zarr.open_group(path, mode="r").attrs) == {"kind": "dataset"}
    record_failures(path, ["ä.png: cut off", "b.png: gone"])
    assert recorded_failures(path) == ["ä.png: cut off", "b.png: gone"]
    assert zarr.open_group(path, mode="r").attrs["kind"] == "dataset"


def test_invalid_failures_are_ignored(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "s.zarr", mode="w", zarr_format=3).attrs["failures"] = 3
    assert recorded_failures(tmp_path / "s.zarr") == []


def test_failures_of_a_missing_store_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such dataset store"):
        recorded_failures(tmp_path / "gone.zarr")


def test_error_reports_earlier_failures() -> None:
    heard = Heard()
    failed = ["a.png: broken", "b.png: cut"]
    words = "too few; besides, 2 inputs failed, the first: a.png: broken"
    with refused(ArgumentError, words), report_failures(failed, heard):
        raise ArgumentError("too few")
    assert heard.lines == ["failed: a.png: broken", "failed: b.png: cut"]
    with refused(ArgumentError, "too few"), report_failures([], heard):
        raise ArgumentError("too few")
    assert len(heard.lines) == 2
