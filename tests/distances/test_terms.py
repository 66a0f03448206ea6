from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.distances.terms import _FAR, _SHORT_BINS, division_terms, product_terms

LOW, SPAN = np.array([-1.0, 2.0]), np.array([4.0, 0.0])


def test_division_by_hand() -> None:
    np.testing.assert_array_equal(
        division_terms(LOW, SPAN, 8, False, False),
        [[-1.0, 0.0, 4.0, 4.0, 8.0, 4.0, 7.5], [2.0, 0.0, 0.0, 0.0, 8.0, 1.0, 7.5]],
    )
    clamped = division_terms(LOW, SPAN, 8, True, False)
    assert clamped[:, 1:3].tolist() == [[-np.inf, np.inf]] * 2
    literal = division_terms(LOW, SPAN, 8, False, True)
    assert literal[0, 3] < 4.0 == np.nextafter(literal[0, 3], np.inf)
    assert literal[1, 3] == -np.inf
    assert (literal[:, 6] == 8.5).all()


def test_product_by_hand() -> None:
    quick = product_terms(LOW, SPAN, 8, False, False, np.dtype(np.float32))
    assert quick.dtype == np.float32
    assert quick[:, 1].tolist() == [2.0, 0.0]
    assert quick[0, [0, 2, 4, 6]].tolist() == [-1.0, 0.0, 7.5, 0.5]
    assert 0.0 < 8.0 - quick[0, 3] <= 3.0 * quick[0, 5] < 1e-4
    clamped = product_terms(LOW, SPAN, 8, True, True, np.dtype(np.float64))
    assert clamped[0, [2, 3, 4]].tolist() == [-_FAR, _FAR, 8.5]


@pytest.mark.parametrize(
    ("low", "span", "bins"),
    [(0.1, 1.0, 100), (0.0, 1e-31, 100), (0.0, 1e31, 100), (0.0, 1.0, _SHORT_BINS + 1)],
)
def test_float32_is_left_alone_where_it_loses_digits(low: float, span: float, bins: int) -> None:
    rule = (np.array([low]), np.array([span]), bins, False, False)
    assert product_terms(*rule, np.dtype(np.float32))[0, 1] == 0.0
    assert product_terms(*rule, np.dtype(np.float64))[0, 1] == bins / span


@given(
    low=st.floats(allow_nan=False, allow_infinity=False),
    span=st.floats(0.0, 1e300),
    bins=st.integers(1, 1 << 20),
    clamp=st.booleans(),
    literal=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_any_range_gives_terms_without_warning(
    low: float, span: float, bins: int, clamp: bool, literal: bool, dtype: type
) -> None:
    rule = (np.array([low]), np.array([span]), bins, clamp, literal)
    assert not np.isnan(division_terms(*rule)).any()
    assert not np.isnan(product_terms(*rule, np.dtype(dtype))).any()
