from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skiptool.comparison.counts import Counts
from skiptool.errors import SourceError
from small_stores import refused

SHAPE = (7, 5, 4)


def filled(limit: int, width: int, vectors: int = 9) -> tuple[Counts, Any]:
    """Put blocks out of order; return the counts, still open, and what was put."""
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
def test_blocks_of_channels_are_what_was_put(limit: int, vectors: int, width: int) -> None:
    found, given = filled(limit, width, vectors)
    with found:
        assert found.in_memory == (limit > 0)
        for first in range(0, SHAPE[1], width):
            block = found.channels(first)
            assert block.dtype == given.dtype
            np.testing.assert_array_equal(block, given[:, first : first + width])


def test_the_limit_is_what_is_held() -> None:
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


def test_the_file_has_no_name_and_goes_with_the_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else None
    found, _ = filled(0, 2)
    with found:
        assert list(tmp_path.iterdir()) == []
    if before is not None:
        assert set(os.listdir("/proc/self/fd")) == before


def test_a_file_that_was_cut_is_no_endless_loop() -> None:
    found = Counts(SHAPE, 9, 2, 0)
    with found:
        found.put(0, np.ones((2, *SHAPE[1:]), np.uint16))
        with refused(SourceError, "shorter than what was written"):
            found.channels(4)
