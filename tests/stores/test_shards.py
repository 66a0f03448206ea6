"""Shards written and read without zarr-python, compared with zarr-python itself."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from skiptool.errors import FormatError
from skiptool.stores.shards import GrowingShards, ShardedRows, compress, row_reader, write_shard
from skiptool.stores.zarrs import codecs, create_array, folder_of
from small_stores import flip, refused

SHARD = 4


def rows(count: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Return blocks of which some compress and others do not."""
    rng = np.random.default_rng(count)
    values = rng.random((count, *shape)) * (255 if dtype == "uint8" else 1)
    values[1::2] = np.floor(values[1::2] * 2) / 2
    return values.astype(dtype)


@pytest.mark.parametrize("count", [1, 3, 4, 9])
@pytest.mark.parametrize(
    ("shape", "dtype"), [((40, 30, 3), "uint8"), ((40, 30), "uint8"), ((24, 8, 1), "float32")]
)
def test_written_shards_equal_those_of_zarr_python(
    tmp_path: Path, count: int, shape: tuple[int, ...], dtype: str
) -> None:
    values = rows(count, shape, dtype)
    root = zarr.open_group(tmp_path / "s.zarr", mode="w", zarr_format=3)
    theirs, ours = (
        create_array(root, name, values.shape, dtype, chunk=1, shard=SHARD)
        for name in ("theirs", "ours")
    )
    theirs[:] = values
    for number in range(-(-count // SHARD)):
        part = values[number * SHARD : (number + 1) * SHARD]
        write_shard(ours, number, [compress(row) for row in part])
    np.testing.assert_array_equal(ours[:], values)
    assert_same_files(ours, theirs)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 20])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_growing_shards_equal_those_of_zarr_python(tmp_path: Path, count: int, dtype: str) -> None:
    """Chunks of 2 rows, shards of 4 chunks; every chunk is committed by a different run."""
    values = rows(count, (5, 64), dtype)
    theirs, ours = pair(tmp_path, values, chunk=2)
    theirs[:] = values
    sizes: list[int] = []
    for start in range(0, count, 2):
        growing, whole = GrowingShards(ours, sizes), start + 2 >= count
        size = growing.write(values[start : start + 2])
        sizes.append(size)
        growing.commit(size, complete=whole)
    np.testing.assert_array_equal(ours[:], values)
    assert_same_files(ours, theirs)


def test_uncommitted_bytes_are_cut_off(tmp_path: Path) -> None:
    values = rows(16, (5, 64), "float16")
    theirs, ours = pair(tmp_path, values, chunk=2)
    theirs[:] = values
    growing = GrowingShards(ours)
    for start in range(0, 16, 2):
        growing.write(values[::-1][:2])  # an interrupted run wrote something else
        growing.write(values[::-1][:2])
        growing.commit(growing.write(values[start : start + 2]), complete=False)
    assert_same_files(ours, theirs)


def test_full_shard_without_an_index_is_completed(tmp_path: Path) -> None:
    values = rows(11, (5, 64), "float16")
    theirs, ours = pair(tmp_path, values, chunk=2)
    theirs[:] = values
    growing, sizes = GrowingShards(ours), []
    for start in range(0, 8, 2):
        sizes.append(growing.write(values[start : start + 2]))
        if start < 6:
            growing.commit(sizes[-1], complete=False)
    again = GrowingShards(ours, sizes)  # a kill between the note and the commit
    sizes.append(again.write(values[8:10]))
    again.commit(sizes[-1], complete=False)
    np.testing.assert_array_equal(again.read(4), values[8:10])
    sizes.append(again.write(values[10:]))
    for _ in range(2):
        GrowingShards(ours, sizes, complete=True)
    assert_same_files(ours, theirs)
    last = folder_of(ours) / "c/1/0/0"
    last.rename(f"{last}.growing")  # a kill between the index and the name
    GrowingShards(ours, sizes, complete=True)
    assert_same_files(ours, theirs)


def test_shards_that_do_not_match_the_sizes_are_refused(tmp_path: Path) -> None:
    values = rows(16, (5, 64), "float16")
    _, ours = pair(tmp_path, values, chunk=2)
    growing, sizes = GrowingShards(ours), []
    for start in range(0, 14, 2):
        sizes.append(growing.write(values[start : start + 2]))
        growing.commit(sizes[-1], complete=False)
    file = folder_of(ours) / "c/1/0/0.growing"
    flip(file)
    again = GrowingShards(ours, sizes)
    np.testing.assert_array_equal(again.read(4), values[8:10])
    with pytest.raises(ValueError, match="checksum of a chunk is wrong"):
        again.read(6)
    os.truncate(file, file.stat().st_size - 1)
    for lost in (file, folder_of(ours) / "c/0/0/0"):
        with pytest.raises(ValueError, match=r"shard c/[01]/0/0 is missing or too short"):
            GrowingShards(ours, sizes)
        lost.unlink()


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_rows_equal_those_read_by_zarr_python(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    count, chunk, shard = (data.draw(st.integers(1, most)) for most in (20, 5, 4))
    values = rows(count, (3, 8), data.draw(st.sampled_from(["uint8", "float16", "float32"])))
    root = zarr.open_group(tmp_path_factory.mktemp("s"), mode="w", zarr_format=3)
    made = create_array(
        root, "a", values.shape, str(values.dtype), chunk=chunk, shard=chunk * shard
    )
    made[:] = values
    reader = row_reader(made)
    assert isinstance(reader, ShardedRows)
    for _ in range(3):
        start, stop = sorted(data.draw(st.integers(0, 2 * count)) for _ in range(2))
        np.testing.assert_array_equal(reader[start:stop], values[start:stop])
        place = data.draw(st.integers(0, count - 1))
        np.testing.assert_array_equal(reader[place], values[place])
    again = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(again[:], values)


def test_chunk_missing_from_the_index_is_an_error(tmp_path: Path) -> None:
    """zarr-python reads zeros instead, and omits chunks of zeros."""
    values = rows(16, (5, 64), "float16")
    _, made = pair(tmp_path, values, chunk=2)
    made[:] = values
    again = zarr.open_array(folder_of(made), mode="r+")
    again[10:12] = 0
    reader = row_reader(again)
    np.testing.assert_array_equal(reader[:10], values[:10])
    np.testing.assert_array_equal(reader[12:], values[12:])
    assert not again[10:12].any()
    with refused(FormatError, "chunk 1 of shard c/1/0/0 is missing; the store is damaged"):
        _ = reader[8:12]


@pytest.mark.parametrize("place", range(8))
def test_any_changed_byte_is_detected(tmp_path: Path, place: int) -> None:
    """Change every eighth byte, and truncate the file there."""
    values = rows(4, (3, 8), "float16")
    _, made = pair(tmp_path, values, chunk=2)
    made[:] = values
    file = folder_of(made) / "c/0/0/0"
    whole = file.read_bytes()
    for at in range(place, len(whole), 8):
        changed = bytearray(whole)
        changed[at] ^= 1 << place
        for content in (bytes(changed), whole[:at]):
            file.write_bytes(content)
            with pytest.raises(ValueError, match="checksum"):
                _ = row_reader(made)[:]
    file.write_bytes(whole)
    np.testing.assert_array_equal(row_reader(made)[:], values)


def test_chunk_of_another_size_is_refused(tmp_path: Path) -> None:
    values = rows(4, (3, 8), "float16")
    _, made = pair(tmp_path, values, chunk=2)
    write_shard(made, 0, [compress(values[:2]), compress(values[:1])])
    with pytest.raises(ValueError, match="a chunk holds 48 bytes, expected 96"):
        _ = row_reader(made)[:]


def test_foreign_arrays_are_read_by_zarr(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "s.zarr", mode="w", zarr_format=3)
    made = create_array(root, "a", (8, 2), "float32", chunk=2)
    assert row_reader(made) is made
    how = {"shape": (8, 2), "chunks": (2, 2), "dtype": "float32", "shards": (4, 2)}
    for number, others in enumerate(
        ({}, {"attributes": {"every_chunk": True}}, {"compressors": codecs(4)})
    ):
        theirs = root.create_array(f"b{number}", **how, **others)
        assert row_reader(theirs) is theirs


def pair(folder: Path, values: np.ndarray, chunk: int) -> tuple[zarr.Array[Any], zarr.Array[Any]]:
    """Create two equal arrays with chunks of this many rows and shards of 4 chunks."""
    root = zarr.open_group(folder / "s.zarr", mode="w", zarr_format=3)
    theirs, ours = (
        create_array(root, name, values.shape, str(values.dtype), chunk=chunk, shard=4 * chunk)
        for name in ("theirs", "ours")
    )
    return theirs, ours


def assert_same_files(one: zarr.Array[Any], other: zarr.Array[Any]) -> None:
    """Compare all files of two arrays."""
    found, expected = (
        {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        for folder in map(folder_of, (one, other))
    )
    assert found == expected


def test_non_contiguous_rows_are_compressed_equally() -> None:
    values = rows(1, (40, 30), "uint8")[0].T
    assert compress(values) == compress(values.copy())


def test_failed_write_of_a_shard_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = zarr.open_group(tmp_path / "s.zarr", mode="w", zarr_format=3)
    array = create_array(root, "images", (8, 4, 4), "uint8", chunk=1, shard=SHARD)
    before = sorted(tmp_path.rglob("*.*"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_shard(array, 1, [compress(np.zeros((4, 4), np.uint8))])
    assert sorted(tmp_path.rglob("*.*")) == before
    assert not [path for path in folder_of(array).rglob("*") if path.name.endswith(".partial")]
