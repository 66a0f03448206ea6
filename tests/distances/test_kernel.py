from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from skiptool.distances import kernel, terms
from strategies import SEEDS

Array = NDArray[Any]
PRODUCTS = pytest.mark.parametrize(
    ("dtype", "most"), [(np.float64, 1 << 20), (np.float32, terms._SHORT_BINS)]
)


def test_every_float16_is_widened() -> None:
    patterns = np.arange(1 << 16, dtype=np.uint16)
    bits = np.empty(len(patterns), np.uint32)
    values = bits.view(np.float32)
    halves = patterns.view(np.float16)
    finite = np.isfinite(halves)
    assert kernel._widen(patterns, bits, values) == (~finite).sum()
    np.testing.assert_array_equal(values[finite], halves[finite])
    assert (np.signbit(values) == np.signbit(halves)).all()


def divided(x: Array, low: float, span: float, bins: int, literal: bool) -> Array:
    offset = np.maximum(x.astype(np.float64) - low, 0.0)
    place = np.minimum(np.floor(offset * bins / span), bins - 1)
    return np.where(offset >= span, bins if literal else bins - 1, place)


def doubtful(
    row: Array, low: float, span: float, bins: int, clamp: bool, literal: bool = False
) -> tuple[int, NDArray[np.uint32]]:
    index = np.empty(len(row), np.uint32)
    rule = (np.array([low]), np.array([span]), bins, clamp, literal)
    quick = terms.product_terms(*rule, row.dtype)[0]
    if not quick[1]:
        return len(row), index
    return kernel._index_by_product(row, 0, len(row), quick, index), index


@PRODUCTS
@pytest.mark.parametrize("clamp", [False, True])
@pytest.mark.parametrize("literal", [False, True])
@given(seed=SEEDS, share=st.floats(0.0, 1.0), size=st.floats(-20.0, 20.0))
def test_what_is_beyond_doubt_is_in_its_bin(
    dtype: type, most: int, clamp: bool, literal: bool, seed: int, share: float, size: float
) -> None:
    rng = np.random.default_rng(seed)
    bins = max(1, int(most**share))
    low, span = float(dtype(10.0**size * rng.normal())), 10.0**size
    edges = low + span * rng.integers(0, bins + 1, 40) / bins
    close = np.geomspace(1e-14, 1e-3, 40) * span * rng.choice([-1, 1], 40)
    x = (edges + close).astype(dtype)
    for value, expected in zip(x[:, np.newaxis], divided(x, low, span, bins, literal), strict=True):
        doubts, index = doubtful(value, low, span, bins, clamp, literal)
        if not doubts:
            assert clamp or 0 <= float(value[0]) - low <= span
            assert index[0] == expected


def test_the_maximum_is_behind_the_last_bin_whatever_rounding_says() -> None:
    spans = [span for span in np.geomspace(1e-3, 1e3, 2000) if span * 29 / span < 29]
    assert spans
    for span in spans:
        index = np.empty(2, np.uint32)
        x = np.array([span, span / 2])
        for literal, last in ((True, 29), (False, 28)):
            rule = (np.zeros(1), np.array([span]), 29, False, literal)
            exact = terms.division_terms(*rule)[0]
            assert kernel._index_by_division(x, 0, 2, exact, index) == 0
            assert index.tolist() == [last, 14]


@PRODUCTS
@pytest.mark.parametrize("clamp", [False, True])
@pytest.mark.parametrize("span", [1e-25, 1.0, 1e25])
def test_what_is_not_finite_or_out_of_range_is_doubted(
    dtype: type, most: int, clamp: bool, span: float
) -> None:
    for value in (np.nan, np.inf, -np.inf):
        assert doubtful(np.array([value], dtype), 0.0, span, 100, clamp)[0]
    for value in (-span, -1e-30, 2 * span):
        assert bool(doubtful(np.array([value], dtype), 0.0, span, 100, clamp)[0]) != clamp


@PRODUCTS
@pytest.mark.parametrize("clamp", [False, True])
def test_the_product_serves_most_stretches(dtype: type, most: int, clamp: bool) -> None:
    # Zeros of a rectifier at the lower end, and what is clamped to the ends, need no division.
    x = np.maximum(np.random.default_rng(0).normal(size=(300, kernel._STRETCH)), 0.0).astype(dtype)
    span = 2.0 if clamp else float(x.max())
    doubts = [doubtful(row, 0.0, span, 100, clamp)[0] > 0 for row in x]
    assert sum(doubts) <= 30
    assert clamp or sum(doubts) >= 1  # that of the maximum
