"""The grid of testing."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.errors import ArgumentError
from skiptool.sources.patches.grid import grid


class Left:
    """Tissue left of a line."""

    def __init__(self, width: float = float("inf")) -> None:
        self.width = width

    def share(self, left: float, top: float, right: float, bottom: float) -> float:
        return min(max((self.width - left) / (right - left), 0.0), 1.0)


@given(
    st.tuples(st.integers(1, 500), st.integers(1, 500)),
    st.integers(10, 90),
    st.integers(10, 110),
    st.sampled_from([0.7, 1.0, 2.5]),
)
def test_the_grid_covers_the_slide_and_no_patch_is_beyond_it(
    slide: tuple[int, int], size: int, stride: int, by: float
) -> None:
    found = grid(slide, Left(), size, (by, by), stride, 0.5)
    xs = sorted({patch.x for patch in found})
    assert len(found) == len(xs) * len({patch.y for patch in found})
    assert xs == pytest.approx([index * stride * by for index in range(len(xs))])
    assert xs[-1] < slide[0]
    if stride <= size:
        assert xs[-1] + size * by >= slide[0] - 1e-5
        assert len(xs) == 1 or xs[-2] + size * by < slide[0]


def test_patches_are_kept_above_the_least_tissue() -> None:
    found = grid((100, 20), Left(45.0), 10, (1.0, 1.0), 10, 0.5)
    assert [(patch.x, patch.y) for patch in found] == [
        (x, y) for y in (0, 10) for x in range(0, 40, 10)
    ]
    found = grid((100, 10), Left(45.0), 10, (1.0, 1.0), 10, 0.4)
    assert [patch.columns for patch in found] == [{"tissue": 1.0}] * 4 + [{"tissue": 0.5}]


def test_no_tissue_no_patches() -> None:
    assert grid((100, 100), Left(0.0), 10, (1.0, 1.0), 10, 0.0) == []


@pytest.mark.parametrize(("size", "stride"), [(0, 1), (1, 0), (4, -2)])
def test_nothing_to_lay_is_refused(size: int, stride: int) -> None:
    with pytest.raises(ArgumentError, match=f"size {size} and stride {stride}"):
        grid((10, 10), Left(), size, (1.0, 1.0), stride, 0.5)


@pytest.mark.slow
def test_a_large_slide_takes_no_time() -> None:
    began = time.perf_counter()
    assert len(grid((100_000, 100_000), Left(), 512, (1.0, 1.0), 512, 0.5)) == 196**2
    assert time.perf_counter() - began < 2
