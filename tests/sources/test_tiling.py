"""Tiles: whole, within the image, and nothing left out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.errors import ArgumentError
from skiptool.sources.tiling import tile_origins

SIDE = st.integers(1, 40)


@given(height=SIDE, width=SIDE, size=st.integers(1, 20), stride=st.integers(1, 25))
def test_tiles_lie_within_and_cover_all(height: int, width: int, size: int, stride: int) -> None:
    found = tile_origins(height, width, size, stride)
    if size > min(height, width):
        assert found == []
        return
    seen = np.zeros((height, width), int)
    for x, y in found:
        tile = seen[y : y + size, x : x + size]
        assert tile.shape == (size, size)
        tile += 1
    assert len(set(found)) == len(found)
    assert found == sorted(found, key=lambda place: place[::-1])
    assert {(0, 0), (width - size, height - size)} <= set(found)
    if stride <= size:
        assert seen.min() >= 1
    # All but the last column and row lie on the grid.
    assert all(x % stride == 0 or x == width - size for x, _ in found)
    assert all(y % stride == 0 or y == height - size for _, y in found)


def test_by_hand() -> None:
    assert tile_origins(5, 7, 3, 3) == [(0, 0), (3, 0), (4, 0), (0, 2), (3, 2), (4, 2)]


@pytest.mark.parametrize(("size", "stride"), [(0, 1), (1, 0), (-1, 1)])
def test_tiles_without_pixels_are_refused(size: int, stride: int) -> None:
    with pytest.raises(ArgumentError, match="expected 1 pixel or more"):
        tile_origins(4, 4, size, stride)
