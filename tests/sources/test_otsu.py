"""Otsu's threshold against its definition."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis.extra import numpy as npst

from skiptool.sources.otsu import otsu


def test_known_threshold() -> None:
    # between-class variance of {1, 1} | {5, 9}: 0.25 * 36 = 9; of {1, 1, 5} | {9}: 0.1875 * 44.4
    assert otsu(np.array([1, 1, 5, 9], dtype=np.uint8)) == 1


@given(npst.arrays(np.uint8, npst.array_shapes(max_dims=2, max_side=12)))
def test_otsu_maximises_the_variance_between_classes(values: np.ndarray) -> None:
    threshold = otsu(values)
    exact = [Fraction(int(value)) for value in values.ravel()]

    def between(level: int) -> Fraction:
        low = [value for value in exact if value <= level]
        high = [value for value in exact if value > level]
        if not low or not high:
            return Fraction(0)
        gap = sum(low) / len(low) - sum(high) / len(high)
        return gap**2 * len(low) * len(high)

    assert threshold in values  # the lowest of equally good thresholds
    if values.min() < values.max():
        best = max(between(level) for level in {*values.ravel().tolist()})
        assert between(threshold) >= best * (1 - Fraction(1, 10**9))
