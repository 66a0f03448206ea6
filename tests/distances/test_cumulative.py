from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from numpy.typing import NDArray
from scipy.stats import ks_2samp, wasserstein_distance

from skiptool.distances.cumulative import binned_wasserstein, kolmogorov_smirnov
from strategies import SEEDS, frequency_rows

Array = NDArray[Any]
TIGHT = 1e-12


@given(rows=frequency_rows(2))
def test_wasserstein_agrees_with_scipy_on_the_places_of_the_bins(rows: list[Array]) -> None:
    places = (np.arange(rows[0].shape[1]) + 0.5) / rows[0].shape[1]
    expected = [wasserstein_distance(places, places, p, q) for p, q in zip(*rows, strict=True)]
    np.testing.assert_allclose(binned_wasserstein(*rows), expected, rtol=0, atol=TIGHT)


@given(seed=SEEDS)
def test_kolmogorov_smirnov_agrees_with_scipy_where_bins_hold_one_value(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 6, 30), rng.integers(1, 8, 50)
    p, q = (np.bincount(values, minlength=8)[None] / len(values) for values in (x, y))
    np.testing.assert_allclose(kolmogorov_smirnov(p, q), [ks_2samp(x, y).statistic], rtol=1e-12)


@given(rows=frequency_rows(2))
def test_kolmogorov_smirnov_by_its_definition(rows: list[Array]) -> None:
    p, q = rows
    expected = [
        max(abs(sum(a[: b + 1]) - sum(c[: b + 1])) for b in range(len(a)))
        for a, c in zip(p, q, strict=True)
    ]
    np.testing.assert_allclose(kolmogorov_smirnov(p, q), expected, rtol=0, atol=TIGHT)


def test_by_hand() -> None:
    p, q = np.array([[0.5, 0.5, 0.0, 0.0]]), np.array([[0.0, 0.0, 0.0, 1.0]])
    assert kolmogorov_smirnov(p, q).tolist() == [1.0]
    assert binned_wasserstein(p, q).tolist() == [(0.5 * 3 + 0.5 * 2) / 4]


def test_farthest_bins_are_at_the_upper_bound() -> None:
    for bins in (2, 3, 100):
        p, q = np.zeros((2, 1, bins))
        p[:, 0] = q[:, -1] = 1.0
        assert binned_wasserstein(p, q).tolist() == [(bins - 1) / bins]
        assert kolmogorov_smirnov(p, q).tolist() == [1.0]


def test_rounding_stays_within_the_bounds() -> None:
    rng = np.random.default_rng(8)
    p, q = np.zeros((2, 2000, 60))
    p[:, :30], q[:, 30:] = (rng.dirichlet(np.ones(30), size=2000) for _ in range(2))
    assert ((p - q).cumsum(axis=1)[:, 29] > 1).any()  # what is to be clipped
    assert (kolmogorov_smirnov(p, q) <= 1).all()
