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


def test_strips_are_found_from_points_that_are_scattered_over_them() -> None:
    def strips(place: np.ndarray) -> np.ndarray:
        """Shift columns of 400 px by 0.6 px to the left or right, rows of 500 px up or down."""
        signs = np.random.default_rng(5).choice([-0.6, 0.6], (2, 12))
        column, row = (place // [400, 500]).astype(int).T
        return np.column_stack([signs[0][column], signs[1][row]])

    here, elsewhere = points(), np.random.default_rng(6).uniform(0, 4000, (500, 2))
    found = fitted_field(here, strips(here) + np.random.default_rng(7).normal(0, 0.05, (200, 2)))
    assert found is not None
    plain = np.hypot(*strips(elsewhere).T)
    rest = np.hypot(*(strips(elsewhere) - found.at(elsewhere)).T)
    assert np.median(rest) < 0.3 * np.median(plain)


def test_wild_points_do_not_bend_a_field() -> None:
    here = points()
    left = np.column_stack([np.sin(here[:, 1] / 4000 * 6), np.zeros(200)])
    spoilt = left.copy()
    spoilt[::10] += np.random.default_rng(8).uniform(10, 20, (20, 2))
    clean, found = fitted_field(here, left), fitted_field(here, spoilt)
    assert clean is not None
    assert found is not None
    apart = np.hypot(*(clean.at(here) - found.at(here)).T)
    assert np.median(apart) < 0.1
    assert apart.max() < 1.0


def test_nodes_far_from_all_points_stay_at_rest() -> None:
    here = np.vstack([points() / 8, [[4000.0, 4000.0]]])
    left = np.column_stack([np.sin(here[:, 1] / 500 * 6), np.cos(here[:, 0] / 500 * 6)])
    left[-1] = 0.0
    found = fitted_field(here, left)
    assert found is not None
    assert np.hypot(*found.at(np.array([[2500.0, 2500.0]])).T).max() < 0.3


def test_few_points_make_no_field() -> None:
    assert fitted_field(points(10), np.ones((10, 2))) is None
