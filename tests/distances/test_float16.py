from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from skiptool.distances.exact import wasserstein
from skiptool.distances.float16 import (
    KEYS,
    key_counts,
    quantiles_from_keys,
    values_of_keys,
    wasserstein_from_keys,
)
from strategies import feature_pairs, features

Array = NDArray[Any]
WIDE = st.floats(width=16, allow_nan=False, allow_infinity=False)  # subnormals and -0.0 too


def rows_of(x: Array) -> Array:
    """All values of each channel, (N K, D)."""
    return x.transpose(0, 2, 1).reshape(-1, x.shape[1])


def all_finite() -> Array:
    patterns = np.arange(KEYS, dtype=np.uint16).view(np.float16)
    return patterns[np.isfinite(patterns)]


def test_keys_sort_like_values() -> None:
    finite = all_finite()
    counts = key_counts(finite.reshape(1, 1, -1))[0]
    occupied = np.flatnonzero(counts)
    # Each has its own key, except that the two zeros share one.
    assert len(occupied) == len(finite) - 1
    assert counts[values_of_keys() == 0.0].tolist() == [0, 2]
    np.testing.assert_array_equal(values_of_keys()[occupied], np.unique(finite.astype(np.float64)))


def test_values_of_keys_ascend_over_the_range_of_float16() -> None:
    values = values_of_keys()
    assert (np.diff(values) >= 0).all()
    assert (values[0], values[-1]) == (-65504.0, 65504.0)
    assert not np.signbit(values[values == 0]).any()


@given(x=features(np.float16, elements=WIDE))
def test_key_counts_are_counts_of_values(x: Array) -> None:
    counts = key_counts(x)
    assert counts.dtype == np.int64
    for d, row in enumerate(counts):
        values, numbers = np.unique(x[:, d].astype(np.float64) + 0.0, return_counts=True)
        np.testing.assert_array_equal(values_of_keys()[row > 0], values)
        np.testing.assert_array_equal(row[row > 0], numbers)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_key_counts_of_parts_add_up(dtype: type) -> None:
    x = np.random.default_rng(1).normal(size=(5, 2, 30)).astype(np.float16)
    into = np.zeros((2, KEYS), dtype)
    for part in (x[:2], x[2:2], x[2:]):
        assert key_counts(part, into) is into
    np.testing.assert_array_equal(into, key_counts(x))
    strided = np.ascontiguousarray(x.transpose(2, 1, 0)).transpose(2, 1, 0)
    np.testing.assert_array_equal(into, key_counts(strided))


@given(pair=feature_pairs(np.float16, WIDE))
def test_wasserstein_from_keys_agrees_with_that_from_values(pair: tuple[Array, Array]) -> None:
    measured = wasserstein_from_keys(*map(key_counts, pair))
    np.testing.assert_allclose(measured, wasserstein(*map(rows_of, pair)), rtol=1e-12, atol=1e-15)


def test_wasserstein_agrees_with_scipy() -> None:
    rng = np.random.default_rng(3)
    x = np.maximum(rng.normal(0.1, 1.0, (6, 3, 50)), 0.0).astype(np.float16)
    y = (rng.normal(0.0, 1.0, (4, 3, 50))).astype(np.float16)
    expected = [
        wasserstein_distance(a, b)
        for a, b in zip(*(rows_of(z).T.astype(np.float64) for z in (x, y)), strict=True)
    ]
    measured = wasserstein_from_keys(key_counts(x), key_counts(y).astype(np.int32))
    np.testing.assert_allclose(measured, expected, rtol=1e-12)


def test_both_zeros_are_one_value() -> None:
    zeros = np.zeros((1, 1, 4), dtype=np.float16)
    assert wasserstein_from_keys(key_counts(zeros), key_counts(-zeros)).tolist() == [0.0]
    quantile = quantiles_from_keys(key_counts(-zeros), np.array([0.5]))
    assert not np.signbit(quantile).any()


@given(
    x=features(np.float16, elements=WIDE),
    probabilities=st.lists(st.integers(0, 64).map(lambda share: share / 64), max_size=5),
)
def test_quantiles_agree_with_numpy(x: Array, probabilities: list[float]) -> None:
    # Shares in 64ths times a number of values are exact, so NumPy's ranks are as well.
    asked = np.array(probabilities)
    expected = np.quantile(rows_of(x).astype(np.float64), asked, axis=0, method="inverted_cdf")
    np.testing.assert_array_equal(quantiles_from_keys(key_counts(x), asked), expected.T)


@pytest.mark.parametrize("bins", [3, 7, 10, 100])
@pytest.mark.parametrize("size", [1, 10, 99, 100, 700])
def test_quantiles_between_equal_bins_are_exact(bins: int, size: int) -> None:
    x = np.arange(size, dtype=np.float16).reshape(1, 1, size)
    asked = np.arange(1, bins) / bins
    expected = [ceil(Fraction(b * size, bins)) - 1 for b in range(1, bins)]
    assert quantiles_from_keys(key_counts(x), asked)[0].tolist() == expected
