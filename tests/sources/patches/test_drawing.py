"""Shares that add up and points in areas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from skiptool.sources.patches.drawing import point_in, portions
from skiptool.sources.patches.painting import inside
from skiptool.sources.patches.patch import Patch
from skiptool.sources.shapes import Shape


@given(
    st.integers(0, 200),
    st.lists(st.floats(0, 10), min_size=1, max_size=9).filter(lambda weights: sum(weights) > 1e-3),
    st.integers(0, 99),
)
def test_portions_add_up_and_are_rounded_shares(
    total: int, weights: list[float], seed: int
) -> None:
    found = portions(total, weights, np.random.default_rng(seed))
    assert sum(found) == total
    exact = total * np.array(weights) / sum(weights)
    assert (np.abs(found - exact) < 1 + 1e-6).all()


def test_whole_shares_are_exact_and_nothing_gets_nothing() -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        assert portions(20, [0.1, 0.45, 0.45], rng) == [2, 9, 9]
        assert portions(7, [0.0, 1.0, 0.0], rng) == [0, 7, 0]


def test_on_average_portions_are_the_shares() -> None:
    rng = np.random.default_rng(0)
    mean = np.mean([portions(32, [0.1, 0.45, 0.45], rng) for _ in range(4000)], axis=0)
    assert mean == pytest.approx([3.2, 14.4, 14.4], abs=0.05)


def test_points_are_uniform_in_an_area_with_a_hole() -> None:
    outline = np.array([[0.0, 0], [10, 0], [10, 10], [5, 4], [0, 10]])
    hole = np.array([[2.0, 1], [8, 1], [8, 3], [2, 3]])
    shape, patch = Shape("", (outline, hole), ""), Patch(0.0, 0.0, 200, (0.05, 0.05))
    rng = np.random.default_rng(1)
    points = np.array([point_in(shape, rng) for _ in range(4000)])
    cells = inside(shape, patch)
    expected = cells.reshape(5, 40, 5, 40).sum(axis=(1, 3)).ravel()
    found, _, _ = np.histogram2d(points[:, 1], points[:, 0], bins=5, range=[(0, 10), (0, 10)])
    there = expected > 0
    assert found.ravel()[~there].sum() == 0
    frequencies = expected[there] / expected.sum() * len(points)
    assert stats.chisquare(found.ravel()[there], frequencies).pvalue > 0.01


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-6, 1e-3, 0.5]))
def test_points_lie_inside_even_thin_areas(seed: int, width: float) -> None:
    rng = np.random.default_rng(seed)
    turn = rng.uniform(0, np.pi)
    along, aside = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    middle, ring = rng.uniform(0, 1000, 2), []
    for far, side in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        ring.append(middle + far * 300 * along + side * width * aside)
    offset = np.array(point_in(Shape("", (np.array(ring),), ""), rng)) - middle
    assert abs(offset @ along) <= 300 + 1e-6
    assert abs(offset @ aside) <= width + 1e-6
