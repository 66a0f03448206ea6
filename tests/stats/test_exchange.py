from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from skiptool.errors import ArgumentError
from skiptool.stats.exchange import exchange_p_values, exchanges, least_p_value
from strategies import SEEDS


@pytest.mark.parametrize("units", [1, 2, 5, 13])
def test_all_exchanges_are_listed_where_they_are_few(units: int) -> None:
    found = exchanges(units, 9_999, np.random.default_rng(0))
    assert found.shape == (2**units - 1, units)
    assert len(np.unique(found, axis=0)) == len(found)
    assert found.any(axis=1).all()  # the one that changes nothing is not among them


@given(units=st.integers(4, 20), draws=st.integers(1, 15), seed=SEEDS)
def test_else_they_are_drawn(units: int, draws: int, seed: int) -> None:
    found = exchanges(units, draws, np.random.default_rng(seed))
    assert (found.shape, found.dtype) == ((draws, units), np.bool_)
    again = exchanges(units, draws, np.random.default_rng(seed))
    np.testing.assert_array_equal(found, again)


def test_every_exchange_is_as_likely() -> None:
    found = exchanges(14, 9_999, np.random.default_rng(0))
    assert found.shape == (9_999, 14)
    assert chisquare(np.bincount(found[:, :3] @ [1, 2, 4], minlength=8)).pvalue > 0.001


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=6))
def test_the_p_value_of_a_sum_is_exact(differences: list[int]) -> None:
    """Of all 2^S changes of signs, the share whose sum is as far from 0 as the one found."""
    signs = np.array(list(product([1, -1], repeat=len(differences))))
    sums = np.abs(signs @ differences)
    expected = (sums >= abs(sum(differences))).mean()
    swaps = exchanges(len(differences), 9_999, np.random.default_rng(0))
    exchanged = (1.0 - 2.0 * swaps) @ np.array(differences, dtype=np.float64)
    observed = np.array(float(sum(differences)))
    assert exchange_p_values(observed, exchanged) == pytest.approx(expected)


def test_p_values_by_hand() -> None:
    exchanged = np.array([[-0.3, 0.1, 0.2], [0.0, 0.1, np.nan], [0.1, 0.1, 0.1]])
    p = exchange_p_values(np.array([0.3, -0.5, np.nan]), exchanged)
    np.testing.assert_array_equal(p, [0.5, 0.5, np.nan])  # (1 + 1) / (1 + 3), NaN counts as large


@pytest.mark.parametrize(("units", "draws"), [(1, 9_999), (4, 9_999), (13, 9_999), (14, 9_999)])
def test_the_least_p_value_is_reached_and_never_passed(units: int, draws: int) -> None:
    """Where all units differ alike, only the exchange of none and that of all give as much."""
    swaps = exchanges(units, draws, np.random.default_rng(0))
    p = exchange_p_values(np.array(float(units)), (1.0 - 2.0 * swaps).sum(axis=1))
    least = least_p_value(units, draws)
    assert least <= p <= 3 * least


def test_refuses_nothing() -> None:
    with pytest.raises(ArgumentError, match="exchange: 0 units and 9 draws, expected at least 1"):
        exchanges(0, 9, np.random.default_rng(0))
    with pytest.raises(ArgumentError, match="3 units and 0 draws"):
        exchanges(3, 0, np.random.default_rng(0))
