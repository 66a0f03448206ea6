"""What is written beside zarr-python, against what zarr-python writes and reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from skiptool.stores.chunks import folder_of
from skiptool.stores.shards import compress, write_chunk, write_shard
from skiptool.stores.zarrs import create_array

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
def test_shards_are_those_of_zarr_python(
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


@pytest.mark.parametrize("count", [1, 4, 9])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_chunks_are_those_of_zarr_python(tmp_path: Path, count: int, dtype: str) -> None:
    values = rows(count, (5, 64), dtype)
    root = zarr.open_group(tmp_path / "s.zarr", mode="w", zarr_format=3)
    theirs, ours = (
        create_array(root, name, values.shape, dtype, chunk=4) for name in ("theirs", "ours")
    )
    theirs[:] = values
    for number in range(-(-count // 4)):
        write_chunk(ours, number, values[number * 4 : (number + 1) * 4])
    np.testing.assert_array_equal(ours[:], values)
    assert_same_files(ours, theirs)


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


def test_rows_that_lie_apart_in_memory_are_those_that_lie_together() -> None:
    values = rows(1, (40, 30), "uint8")[0].T
    assert compress(values) == compress(values.copy())


def test_a_shard_that_cannot_be_written_leaves_nothing(
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
