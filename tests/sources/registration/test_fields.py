from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scans import turned
from skiptool.sources.registration.alignment import applied
from skiptool.sources.registration.fields import fitted_affine, fitted_field


@given(st.integers(0, 2**32 - 1), st.floats(0, 360), st.floats(0.2, 4.0))
def test_a_third_of_wild_pairs_changes_nothing(seed: int, degrees: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    truth = turned(degrees, scale, (500.0, -300.0))
    here = rng.uniform(0, 5000, (60, 2))
    there = applied(truth, here) + rng.normal(0, 0.1, (60, 2))
    there[:20] += rng.uniform(30, 60, (20, 2))
    affine, kept = fitted_affine(here, there)
    corners = np.array([[0.0, 0.0], [5000.0, 0.0], [0.0, 5000.0], [5000.0, 5000.0]])
    np.testing.assert_allclose(applied(affine, corners), applied(truth, corners), atol=0.5)
    assert not kept[:20].any()
    assert kept[20:].mean() > 0.9


def points(number: int = 200) -> np.ndarray:
    return np.random.default_rng(3).uniform(0, 4000, (number, 2))


def test_noise_is_no_field() -> None:
    left = np.random.default_rng(4).normal(0, 0.3, (200, 2))
    assert fitted_field(points(), left) is None


def test_a_bend_is_a_field_and_is_halved_at_least() -> None:
    here = points()
    left = np.column_stack([np.sin(here[:, 1] / 4000 * 6), np.cos(here[:, 0] / 4000 * 6)])
    found = fitted_field(here, left)
    assert found is not None
    rest = np.hypot(*(left - found.at(here)).T)
    assert np.median(rest) < 0.5 * np.median(np.hypot(*left.T))


def test_few_points_make_no_field() -> None:
    assert fitted_field(points(10), np.ones((10, 2))) is None
