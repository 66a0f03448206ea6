from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from skiptool.stats.isotonic import conformal_width, fit_monotone

POINTS = st.lists(
    st.tuples(st.integers(0, 6).map(float), st.floats(-1.0, 1.0)), min_size=1, max_size=14
)


def slow(x: list[float], y: list[float]) -> list[float]:
    """Compute the max-min formula of isotonic regression at each point."""
    knots = sorted(set(x))

    def mean(first: float, last: float) -> float:
        inside = [b for a, b in zip(x, y, strict=True) if first <= a <= last]
        return sum(inside) / len(inside)

    return [
        max(min(mean(s, t) for t in knots if t >= at) for s in knots if s <= at) for at in knots
    ]


@given(POINTS)
def test_the_fit_follows_the_max_min_formula(points: list[tuple[float, float]]) -> None:
    x, y = map(list, zip(*points, strict=True))
    line = fit_monotone(np.array(x), np.array(y))
    assert line.knots.tolist() == sorted(set(x))
    np.testing.assert_allclose(line.values, slow(x, y), atol=1e-12)


@given(POINTS, st.lists(st.floats(-3.0, 9.0), min_size=2, max_size=9))
def test_the_fit_never_falls_and_stays_within_the_data(
    points: list[tuple[float, float]], places: list[float]
) -> None:
    x, y = np.array(points).T
    found = fit_monotone(x, y)(np.sort(places))
    assert (np.diff(found) >= -1e-12).all()
    assert y.min() - 1e-12 <= found.min() <= found.max() <= y.max() + 1e-12


def test_by_hand() -> None:
    line = fit_monotone(np.array([2.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.0, 0.2, 0.6]))
    # the two at 1 are 0.4 with weight 2; with the 0.1 after them 0.9 / 3
    np.testing.assert_allclose(line.values, [0.0, 0.3, 0.3])
    np.testing.assert_allclose(line(np.array([-5.0, 0.25, 1.5, 7.0])), [0.0, 0.075, 0.3, 0.3])
    assert np.isnan(line(np.array([math.nan]))).all()


def test_the_width_needs_enough_residuals_for_its_level() -> None:
    residuals = np.arange(1, 20) / 100
    assert conformal_width(residuals[::-1], 0.95) == 0.19  # the 19th of 19
    assert math.isnan(conformal_width(residuals[:18], 0.95))
    assert conformal_width(residuals, 0.5) == 0.10


def test_the_band_covers_a_further_residual_at_its_level() -> None:
    rng = np.random.default_rng(0)
    draws = np.abs(rng.standard_normal((4000, 25)))
    inside = [draw[-1] <= conformal_width(draw[:-1], 0.8) for draw in draws]
    assert 0.78 < np.mean(inside) < 0.82  # exact: 20 of 25
