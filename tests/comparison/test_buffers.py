"""Tests of ``buffers``."""

from __future__ import annotations

import errno
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skiptool.comparison import buffers
from skiptool.comparison.buffers import Counts, Scratch, cached_blocks
from skiptool.errors import SourceError
from small_activations import LAYERS, Noted, activations, extremes, numbered
from small_stores import refused

SHAPE = (7, 5, 4)


def filled(limit: int, width: int, vectors: int = 9) -> tuple[Counts, Any]:
    """Put blocks out of order; return the counts, still open, and the blocks."""
    dtype = np.uint16 if vectors < 2**16 else np.uint32
    given = np.random.default_rng(0).integers(0, vectors, SHAPE, dtype=dtype, endpoint=True)
    with ExitStack() as stack:
        found = stack.enter_context(Counts(SHAPE, vectors, width, limit))
        for start, stop in ((3, 6), (0, 3), (6, 7)):
            found.put(start, given[start:stop])
        stack.pop_all()
    return found, given


@pytest.mark.parametrize("width", [1, 2, 5, 9])
@pytest.mark.parametrize("vectors", [9, 65_535, 65_536, 2**32 - 1])
@pytest.mark.parametrize("limit", [0, 10**9])
def test_blocks_of_channels_return_the_stored_counts(limit: int, vectors: int, width: int) -> None:
    found, given = filled(limit, width, vectors)
    with found:
        assert found.in_memory == (limit > 0)
        for first in range(0, SHAPE[1], width):
            block = found.channels(first)
            assert block.dtype == given.dtype
            np.testing.assert_array_equal(block, given[:, first : first + width])


def test_the_limit_bounds_memory() -> None:
    size = np.prod(SHAPE) * 2
    with Counts(SHAPE, 9, 1, size) as fits, Counts(SHAPE, 9, 1, size - 1) as exceeds:
        assert (fits.in_memory, exceeds.in_memory) == (True, False)
    with Counts(SHAPE, 2**16, 1, size) as wide:
        assert not wide.in_memory


def test_threads_share_the_file() -> None:
    found, given = filled(0, 1)
    with found, ThreadPoolExecutor(4) as pool:
        blocks = list(pool.map(found.channels, list(range(SHAPE[1])) * 20))
    for number, block in enumerate(blocks):
        np.testing.assert_array_equal(block[:, 0], given[:, number % SHAPE[1]])


def test_the_file_of_counts_is_unnamed_and_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else None
    found, _ = filled(0, 2)
    with found:
        assert list(tmp_path.iterdir()) == []
    if before is not None:
        assert set(os.listdir("/proc/self/fd")) == before


def test_reading_a_truncated_file_fails() -> None:
    found = Counts(SHAPE, 9, 2, 0)
    with found:
        found.put(0, np.ones((2, *SHAPE[1:]), np.uint16))
        with refused(SourceError, "shorter than what was written"):
            found.channels(4)


def test_scratch_returns_what_was_written() -> None:
    first, second = np.arange(6, dtype=np.uint16).reshape(2, 3), np.linspace(0, 1, 5)
    with Scratch() as scratch:
        scratch.write(100, second)
        scratch.write(0, first)
        for offset, given in ((0, first), (100, second)):
            found = np.empty_like(given)
            scratch.read(offset, found)
            np.testing.assert_array_equal(found, given)


def test_short_writes_are_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    real, given = os.pwrite, np.arange(1000, dtype=np.int64)
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: real(file, data[:777], at))
    with Scratch() as scratch:
        scratch.write(3, given)
        found = np.empty_like(given)
        scratch.read(3, found)
    np.testing.assert_array_equal(found, given)


def test_a_full_disk_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "pwrite", full)
    with refused(SourceError, tmp_path, "No space left", "TMPDIR", "--memory"), Scratch() as file:
        file.write(0, np.ones(4))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_device_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    device = open("/dev/full", "wb", buffering=0)  # noqa: SIM115 - closed by the scratch
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: device)
    with refused(SourceError, "No space left", "TMPDIR"), Scratch() as scratch:
        scratch.write(0, np.ones(4))


def test_a_missing_temporary_folder_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with refused(SourceError, tmp_path / "gone", "No such file", "TMPDIR"):
        Scratch()


def test_a_scratch_file_is_unnamed_and_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Scratch() as scratch:
        scratch.write(0, np.ones(3))
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="closed"):
        scratch.write(0, np.ones(3))


SIZE = 6 * 3 * 4 * 2
"""Bytes of enc1 of a set of six images."""


def sets(number: int) -> list[Noted]:
    made = []
    for place in range(number):
        arrays = activations(6, place)
        made.append(Noted(arrays, f"x{place}", ranges=extremes(arrays), id=numbered(6)))
    return made


ALL = list(combinations(range(3), 2))


@pytest.mark.parametrize("limit", [0, SIZE - 1, SIZE, 2 * SIZE + 5, 3 * SIZE])
def test_everything_is_read_once_for_any_limit(limit: int) -> None:
    given = sets(3)
    with cached_blocks(given, ALL, "enc1", limit) as found:
        for _ in range(4):
            for kept, original in zip(found, given, strict=True):
                for start in (0, 3):
                    block = kept.read("enc1", slice(start, start + 3))
                    np.testing.assert_array_equal(block, original.arrays["enc1"][start : start + 3])
                    assert (block.dtype, block.flags.c_contiguous) == (np.float16, True)
    assert [each.reads for each in given] == [[("enc1", 0, 3), ("enc1", 3, 6)]] * 3


@pytest.mark.parametrize(("limit", "files"), [(0, 3), (SIZE - 1, 3), (SIZE, 2), (2 * SIZE + 5, 1)])
def test_the_cache_stays_within_the_limit(
    limit: int, files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(buffers, "Scratch", lambda: made.append(Scratch()) or made[-1])
    with cached_blocks(sets(3), ALL, "enc1", limit):
        assert len(made) == files
    for scratch in made:
        with pytest.raises(ValueError, match="closed"):
            scratch.write(0, np.ones(1))


def test_sets_in_more_pairs_are_cached_first_and_single_ones_never(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given, made = sets(4), []
    with cached_blocks(given, [(1, 0), (1, 2), (1, 3)], "enc1", 10 * SIZE) as found:
        same = [each is original for each, original in zip(found, given, strict=True)]
        assert same == [True, False, True, True]
    monkeypatch.setattr(buffers, "Scratch", lambda: made.append(Scratch()) or made[-1])
    with cached_blocks(given, [(0, 3), (1, 3), (2, 3), (1, 2)], "enc1", SIZE) as found:
        assert len(made) == 2  # set 3 is in three pairs; 1 and 2, in two each, find no room
        assert found[3].scratch is None


def test_other_layers_pass_through() -> None:
    given = sets(2)
    with cached_blocks(given, [(0, 1), (0, 1)], "enc1", 10 * SIZE) as found:
        for _ in range(2):
            found[0].read("dec0", slice(0, 3))
    assert given[0].reads == [("dec0", 0, 3)] * 2


def test_a_cached_set_behaves_like_its_source() -> None:
    (given, _) = sets(2)
    given.dataset_id = "d"
    with cached_blocks([given, given], [(0, 1), (0, 1)], "enc1", 10 * SIZE) as (one, _):
        assert one is not given
        assert (one.where, one.dataset_id, one.layers) == ("x0", "d", tuple(LAYERS))
        assert (len(one), one.columns) == (6, given.columns)
        for layer in LAYERS:
            assert one.shape(layer) == given.shape(layer)
            assert (one.dtype(layer), one.chunk(layer)) == (np.float16, 3)
            assert one.ranges(layer) is given.kept[layer]
