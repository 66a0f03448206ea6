"""Crossings of outlines with lines, against a loop over the edges."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from skiptool.sources.patches.scanlines import crossings

NUMBERS = st.integers(-40, 40).map(lambda number: number / 4)
RINGS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=3, max_size=9).map(np.array)


def by_hand(ring: np.ndarray, heights: np.ndarray) -> list[tuple[int, float]]:
    found = []
    for (x, y), (x_to, y_to) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        for line, height in enumerate(heights):
            if min(y, y_to) <= height < max(y, y_to):
                part = (Fraction(height) - Fraction(y)) / (Fraction(y_to) - Fraction(y))
                found.append((line, float(Fraction(x) + part * (Fraction(x_to) - Fraction(x)))))
    return sorted(found)


@given(st.lists(RINGS, min_size=1, max_size=3), st.lists(NUMBERS, unique=True))
def test_crossings_are_those_of_the_edges(rings: list[np.ndarray], heights: list[float]) -> None:
    lines = np.array(sorted(heights), dtype=float)
    line, x = crossings(rings, lines)
    expected = sorted(pair for ring in rings for pair in by_hand(ring, lines))
    assert sorted(line.tolist()) == [index for index, _ in expected]
    order = np.lexsort((x, line))
    assert np.allclose(x[order], [at for _, at in expected], rtol=0, atol=1e-12)


@given(RINGS, st.floats(-11, 11))
def test_each_line_is_crossed_an_even_number_of_times(ring: np.ndarray, height: float) -> None:
    line, _ = crossings([ring], np.array([height]))
    assert len(line) % 2 == 0


@given(RINGS)
def test_it_does_not_matter_which_way_a_ring_was_drawn(ring: np.ndarray) -> None:
    heights = np.linspace(-10, 10, 33)
    one, other = crossings([ring], heights), crossings([ring[::-1]], heights)
    assert sorted(zip(*map(np.ndarray.tolist, one), strict=True)) == sorted(
        zip(*map(np.ndarray.tolist, other), strict=True)
    )
