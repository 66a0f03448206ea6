from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import distance
from scipy.stats import entropy

from skiptool.distances.divergences import (
    EPSILON,
    jensen_shannon,
    kullback_leibler,
    total_variation,
)
from strategies import SEEDS, frequency_rows

Array = NDArray[Any]
TIGHT = 1e-12


def jensen_shannon_by_definition(p: Array, q: Array) -> float:
    """Root of the entropy of the mean less the mean entropy, in 60 decimal digits."""
    with localcontext(prec=60):
        rows = [[Decimal(float(v)) for v in row] for row in (p, q)]
        rows = [[v / sum(row) for v in row] for row in rows]
        mean = [(a + b) / 2 for a, b in zip(*rows, strict=True)]
        bits = [-sum(v * v.ln() / Decimal(2).ln() for v in row if v > 0) for row in (mean, *rows)]
        return float(max(bits[0] - (bits[1] + bits[2]) / 2, Decimal(0)).sqrt())


@given(rows=frequency_rows(2))
def test_jensen_shannon_agrees_with_scipy_and_its_definition(rows: list[Array]) -> None:
    p, q = rows
    values = jensen_shannon(p, q)
    expected = [jensen_shannon_by_definition(a, b) for a, b in zip(p, q, strict=True)]
    np.testing.assert_allclose(values, expected, rtol=0, atol=TIGHT)
    unequal = ~(p == q).all(axis=1)  # scipy takes roots of rounding where rows are nearly equal
    reference = distance.jensenshannon(p[unequal], q[unequal], base=2, axis=1)
    np.testing.assert_allclose(values[unequal], reference, rtol=1e-7, atol=TIGHT)


@given(seed=SEEDS, power=st.integers(1, 52))
def test_jensen_shannon_of_nearly_equal_rows(seed: int, power: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(6), size=2)
    q = p * (1.0 + rng.choice([-1.0, 0.0, 1.0], size=p.shape) * 2.0**-power)
    q /= q.sum(axis=1, keepdims=True)
    expected = [jensen_shannon_by_definition(a, b) for a, b in zip(p, q, strict=True)]
    np.testing.assert_allclose(jensen_shannon(p, q), expected, rtol=1e-6, atol=1e-15)


def test_jensen_shannon_where_scipy_is_not_a_number() -> None:
    # scipy issues 20083, 20779 and 19436: a root of a rounding error, and a subnormal frequency.
    half = np.nextafter(0.5, 0)
    near = np.array([[half, 1 - half]])
    assert 0 <= jensen_shannon(near, near[:, ::-1])[0] < 1e-15
    tiny = jensen_shannon(np.array([[0.0, 1.0]]), np.array([[5e-324, 1.0]]))
    assert tiny[0] == pytest.approx(0.0, abs=1e-160)


@given(rows=frequency_rows(2))
def test_total_variation_is_half_the_city_block_distance(rows: list[Array]) -> None:
    expected = [distance.cityblock(p, q) / 2 for p, q in zip(*rows, strict=True)]
    np.testing.assert_allclose(total_variation(*rows), expected, rtol=0, atol=TIGHT)


@given(rows=frequency_rows(2))
def test_kullback_leibler_agrees_with_scipy_on_the_mixed_rows(rows: list[Array]) -> None:
    bins = rows[0].shape[1]
    p, q = ((1 - EPSILON) * row + EPSILON / bins for row in rows)
    np.testing.assert_allclose(kullback_leibler(*rows), entropy(p, q, axis=1), rtol=0, atol=TIGHT)


@given(seed=SEEDS, power=st.integers(1, 40))
def test_kullback_leibler_of_nearly_equal_rows(seed: int, power: int) -> None:
    rng = np.random.default_rng(seed)
    p = np.full((1, 8), 1 / 8)
    change = rng.permutation([-1.0, 1.0] * 4) * 2.0**-power
    expected = sum((1 - EPSILON) * -math.log1p(-((c * (1 - EPSILON)) ** 2)) / 16 for c in change)
    value = kullback_leibler(p, p * (1 + change))[0]
    assert value == pytest.approx(expected, rel=1e-3, abs=1e-17)


@given(rows=frequency_rows(2))
def test_kullback_leibler_is_hardly_smoothed_where_no_bin_is_empty(rows: list[Array]) -> None:
    bins = rows[0].shape[1]
    p, q = (0.5 * row + 0.5 / bins for row in rows)
    np.testing.assert_allclose(kullback_leibler(p, q), entropy(p, q, axis=1), rtol=0, atol=5e-5)


@pytest.mark.parametrize("bins", [2, 100, 1000])
def test_kullback_leibler_is_finite_with_the_stated_bound(bins: int) -> None:
    p, q = np.zeros((2, 1, bins))
    p[:, 0] = q[:, -1] = 1.0
    bound = math.log(1 + (1 - EPSILON) * bins / EPSILON)
    assert kullback_leibler(p, q)[0] == pytest.approx(bound, rel=1e-4)
    if bins == 100:
        assert bound == pytest.approx(18.4, abs=0.05)


def test_kullback_leibler_of_a_bin_that_empties() -> None:
    # The docstring's s log(s B / e), beside what the other bin gains.
    p, q = np.array([[0.1, 0.9]]), np.array([[0.0, 1.0]])
    expected = 0.1 * math.log(0.1 * 2 / EPSILON) + 0.9 * math.log(0.9)
    assert kullback_leibler(p, q)[0] == pytest.approx(expected, rel=1e-4)
    assert kullback_leibler(q, p)[0] == pytest.approx(math.log(1 / 0.9), rel=1e-3)


@pytest.mark.parametrize("function", [jensen_shannon, total_variation, kullback_leibler])
def test_rounding_makes_no_nan_and_nothing_negative(
    function: Callable[[Array, Array], Array],
) -> None:
    rng = np.random.default_rng(3)
    p = rng.dirichlet(np.full(100, 0.05), size=500)
    q = p * (1 + 1e-15 * rng.normal(size=p.shape))
    values = function(p, q / q.sum(axis=1, keepdims=True))
    assert ((values >= 0) & (values < 1e-7)).all()
