"""Geometry of pyramids: true downsamples per axis, and the level that is fine enough."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.sources.slides.levels import level_for, true_downsamples


@given(
    size=st.tuples(st.integers(5000, 200_000), st.integers(5000, 200_000)),
    factor=st.sampled_from([2, 3, 4]),
    up=st.booleans(),
)
def test_whole_factors_are_found_whatever_was_cut_off_or_filled_up(
    size: tuple[int, int], factor: int, up: bool
) -> None:
    sizes = [size]
    for _ in range(3):
        width, height = sizes[-1]
        sizes.append(
            (-(-width // factor), -(-height // factor))
            if up
            else (width // factor, height // factor)
        )
    assert true_downsamples(sizes) == tuple((float(factor**n),) * 2 for n in range(4))


def test_other_factors_are_the_ratio_of_each_axis() -> None:
    assert true_downsamples([(1000, 900), (300, 280)]) == (
        (1.0, 1.0),
        (pytest.approx(1000 / 300), pytest.approx(900 / 280)),
    )


@pytest.mark.parametrize(
    ("scale", "level"),
    [
        ((1.0, 1.0), 0),
        ((3.999, 3.999), 0),
        ((4.0 - 1e-7, 4.0), 1),
        ((4.0, 3.9), 0),
        ((100.0, 100.0), 2),
        ((0.3, 0.3), 0),
        ((100.0, 0.3), 0),
    ],
)
def test_coarsest_level_that_is_fine_enough_on_both_axes(
    scale: tuple[float, float], level: int
) -> None:
    assert level_for([(1.0, 1.0), (4.0, 4.0), (16.0, 16.0)], scale) == level


def test_order_of_levels_does_not_matter() -> None:
    assert level_for([(1.0, 1.0), (16.0, 16.0), (4.0, 4.0)], (8.0, 8.0)) == 2
