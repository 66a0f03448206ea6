from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.readings.crossed import choose_layer, cross_validate

KINDS = ["a", "a", "b", "b", "c", "c"]
SHIFTS = [0, 1, 2, 3, 4, 5]


def test_by_hand() -> None:
    """One layer; left out: a line through the others, and their mean."""
    distances = np.array([[0.0, 1.0, 0.0, 1.0, 0.5, 2.0]])
    loss = np.array([0.0, 0.4, 0.2, 0.4, 0.3, 0.6])
    found = cross_validate(distances, loss, KINDS, SHIFTS)
    # without c: 0 -> 0.1, 1 -> 0.4; at 0.5 it is 0.25, at 2 it stays 0.4; the mean is 0.25
    last = found.held[2]
    assert last[:3] == ("c", 0, 2)
    assert last.error == pytest.approx((0.05 + 0.2) / 2)
    assert last.error_of_mean == pytest.approx((0.05 + 0.35) / 2)
    np.testing.assert_allclose(found.residuals[4:], [0.05, 0.2])
    np.testing.assert_allclose(found.residuals_of_mean[4:], [0.05, 0.35])
    # without a: knots 0, 0.5, 1, 2 with 0.2, 0.3, 0.4, 0.6
    np.testing.assert_allclose(found.residuals[:2], [0.2, 0.0], atol=1e-12)


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
