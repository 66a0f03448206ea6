from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from skiptool.readings.crossed import (
    choose_layer,
    cross_validate,
    error_bound,
    fit_from_origin,
)

KINDS = ["a", "a", "b", "b", "c", "c"]
SHIFTS = [0, 1, 2, 3, 4, 5]


def test_by_hand() -> None:
    """One layer; left out: a line through the others, and their mean."""
    distances = np.array([[0.5, 1.0, 0.5, 1.0, 0.25, 2.0]])
    loss = np.array([0.0, 0.4, 0.2, 0.4, 0.3, 0.6])
    found = cross_validate(distances, loss, KINDS, SHIFTS)
    # without c: 0 -> 0, 0.5 -> 0.1, 1 -> 0.4; at 0.25 it is 0.05, at 2 it stays 0.4; mean 0.25
    last = found.held[2]
    assert last[:3] == ("c", 0, 2)
    assert last.error == pytest.approx((0.25 + 0.2) / 2)
    assert last.worst == pytest.approx(0.25)
    assert last.error_of_mean == pytest.approx((0.05 + 0.35) / 2)
    np.testing.assert_allclose(found.residuals[4:], [0.25, 0.2])
    np.testing.assert_allclose(found.residuals_of_mean[4:], [0.05, 0.35])
    # without a: 0.3 and 0.2 at 0.25 and 0.5 become 0.25; knots 0, 0.25, 0.5, 1, 2
    np.testing.assert_allclose(found.residuals[:2], [0.25, 0.0], atol=1e-12)


@given(st.lists(st.floats(-1.0, 1.0), min_size=4, max_size=4), st.integers(0, 99))
def test_what_is_left_out_is_never_seen(others: list[float], seed: int) -> None:
    """Other losses of a kind change its residuals, but neither its layer nor what is forecast."""
    rng = np.random.default_rng(seed)
    distances, loss = rng.random((3, 6)), rng.random(6)
    usual = cross_validate(distances, loss, KINDS, SHIFTS)
    for kind in range(3):
        out = slice(2 * kind, 2 * kind + 2)
        far = loss.copy()
        far[out] = 5.0 + np.array(others[:2])  # above every forecast: which can be read off
        again = cross_validate(distances, far, KINDS, SHIFTS)
        assert again.held[kind].layer == usual.held[kind].layer
        forecast = far[out] - again.residuals[out]
        np.testing.assert_allclose(np.abs(forecast - loss[out]), usual.residuals[out], atol=1e-9)
        mean = far[out] - again.residuals_of_mean[out]
        np.testing.assert_allclose(mean, np.delete(loss, np.r_[out]).mean())


def test_the_layer_is_chosen_without_the_kind() -> None:
    """The second layer follows c alone, and would be chosen if c were seen."""
    loss = np.array([0.1, 0.2, 0.1, 0.2, 0.0, 0.9])
    good = np.array([0.1, 0.2, 0.1, 0.2, 0.2, 0.1])
    bad = np.array([0.2, 0.1, 0.15, 0.15, 0.0, 0.9])
    found = cross_validate(np.array([bad, good]), loss, KINDS, SHIFTS)
    assert found.held[2].layer == 1


def test_with_one_kind_left_a_shift_at_a_time_is_left_out() -> None:
    loss = np.array([0.0, 0.1, 0.2, 0.3])
    layers = np.array([loss[::-1], loss])
    assert choose_layer(layers, loss, ["a"] * 4, [0, 1, 2, 3]) == 1
    assert choose_layer(layers, loss, ["a"] * 4, [0, 0, 0, 0]) == 0
    assert choose_layer(np.array([loss, loss]), loss, ["a", "a", "b", "b"], [0, 1, 2, 3]) == 0


numbers = st.floats(-0.25, 1.0, allow_subnormal=False).map(lambda value: round(value, 3))


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=12))
def test_a_line_from_the_origin_is_an_isotonic_fit_that_weighs_the_origin_without_limit(
    points: list[tuple[float, float]],
) -> None:
    distances, loss = np.array(points).T
    line = fit_from_origin(distances, loss)
    away = distances > 0
    places, groups, counts = np.unique(distances[away], return_inverse=True, return_counts=True)
    means = np.bincount(groups, weights=loss[away]) / np.maximum(counts, 1)
    weights = np.r_[1e9, counts.astype(float)]
    expected = isotonic_regression(np.r_[0.0, means], weights=weights).x
    np.testing.assert_allclose(line(np.r_[0.0, places]), expected, atol=1e-6)
    assert line(np.array([-1.0, 0.0])).tolist() == [0.0, 0.0]
    assert (np.diff(line.values) >= 0).all()


@pytest.mark.parametrize(
    ("kinds", "level", "rank", "holds"),
    [
        (2, 0.95, 2, 2 / 3),
        (3, 0.75, 3, 0.75),
        (3, 0.5, 2, 0.5),
        (19, 0.95, 19, 0.95),
        (12, 0.95, 12, 12 / 13),
    ],
)
def test_the_level_is_set_by_the_number_of_kinds(
    kinds: int, level: float, rank: int, holds: float
) -> None:
    worst = np.random.default_rng(kinds).permutation(kinds) + 1.0
    assert error_bound(worst.tolist(), level) == (rank, pytest.approx(holds))


@pytest.mark.parametrize("kinds", [2, 3, 6])
def test_the_bound_covers_a_further_kind_as_often_as_it_says(kinds: int) -> None:
    """Errors that are exchangeable between kinds, with any spread within."""
    rng = np.random.default_rng(kinds)
    errors = rng.lognormal(size=(4000, kinds + 1))
    bounds = [error_bound(row[:-1].tolist(), 0.95) for row in errors]
    covered = np.mean([row[-1] <= bound for row, (bound, _) in zip(errors, bounds, strict=True)])
    assert covered == pytest.approx(bounds[0][1], abs=0.025)
