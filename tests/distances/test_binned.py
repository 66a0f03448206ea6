from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import euclidean

from skiptool.distances.binned import (
    DISTANCES,
    bhattacharyya,
    bhattacharyya_complement,
    hellinger,
    hellinger_literal,
    layer_mean,
)
from skiptool.distances.binning import count, equal_width
from skiptool.distances.histograms import constant_channels, extent, frequencies, joint_range
from skiptool.errors import ArgumentError
from skiptool.names import LAYERWISE, Metric
from strategies import feature_pairs, frequency_rows

Array = NDArray[Any]
Function = Callable[[Array, Array], Array]
TIGHT = 1e-12

BIN_BY_BIN = (
    *(Metric.HELLINGER, Metric.BHATTACHARYYA, Metric.JENSEN_SHANNON, Metric.TOTAL_VARIATION),
    Metric.KL,
)
METRICS = (
    *(Metric.HELLINGER, Metric.JENSEN_SHANNON, Metric.TOTAL_VARIATION),
    *(Metric.KOLMOGOROV_SMIRNOV, Metric.WASSERSTEIN),
)
ALL = pytest.mark.parametrize("metric", DISTANCES)


def bin_counts(values: list[Fraction], low: Fraction, high: Fraction, bins: int) -> list[int]:
    """Eq. (5) with a bin more, for the maximum."""
    span = high - low
    return [
        sum(
            b * span <= (v - low) * bins < (b + 1) * span or (v == high and b == bins)
            for v in values
        )
        for b in range(bins + 1)
    ]


def by_the_equations(x: Array, y: Array, bins: int, literal: bool = False) -> list[float]:
    """Eqs. (4) to (9) channel by channel: rational numbers, then 60 decimal digits."""
    distances = []
    for channel in range(x.shape[1]):
        sets = [[Fraction(float(v)) for v in z[:, channel].ravel()] for z in (x, y)]
        low, high = min(map(min, sets)), max(map(max, sets))
        coefficient = Decimal(0)
        with localcontext(prec=60):
            shares = []
            for values in sets:
                *counts, top = bin_counts(values, low, high, bins)
                counts[-1 if high > low else 0] += 0 if literal else top
                shares.append([Decimal(n) / len(values) for n in counts])
            for p, q in zip(*shares, strict=True):
                coefficient += (p * q).sqrt()
            distances.append(float(max(1 - coefficient, Decimal(0)).sqrt()))
    return distances


def measured(x: Array, y: Array, bins: int, literal: bool = False) -> Array:
    binning = equal_width(joint_range(extent(x), extent(y)), bins, literal=literal)
    p, q = (
        frequencies(count(z, binning).sum(axis=0), values=z.shape[0] * z.shape[2]) for z in (x, y)
    )
    return (hellinger_literal if literal else hellinger)(p, q)


def test_hellinger_by_hand() -> None:
    p = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.25, 0.25, 0.5]])
    q = np.array([[0.5, 0.0, 0.5], [0.0, 0.5, 0.5], [0.25, 0.25, 0.5]])
    np.testing.assert_allclose(bhattacharyya(p, q), [0.5, 0.0, 1.0], rtol=1e-15)
    np.testing.assert_allclose(hellinger(p, q), [math.sqrt(0.5), 1.0, 0.0], rtol=1e-15)


@given(pair=feature_pairs(np.float16), bins=st.sampled_from([1, 2, 10, 100]))
def test_follows_the_equations(pair: tuple[Array, Array], bins: int) -> None:
    np.testing.assert_allclose(
        measured(*pair, bins), by_the_equations(*pair, bins), rtol=0, atol=TIGHT
    )


@pytest.mark.long
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_follows_the_equations_on_activations(dtype: type) -> None:
    rng = np.random.default_rng(11)
    x = np.maximum(rng.normal(0.2, 1.0, (6, 5, 64)), 0.0).astype(dtype)
    y = (x[:4] * 0.75).astype(dtype)
    x[:, 3] = y[:, 3] = 0.0
    x[:, 4], y[:, 4] = 1.0, 2.0
    expected = by_the_equations(x, y, 100)
    np.testing.assert_allclose(measured(x, y, 100), expected, rtol=0, atol=TIGHT)
    assert expected[3:] == [0.0, 1.0]
    mean, live = layer_mean(
        measured(x, y, 100), constant_channels(joint_range(extent(x), extent(y)))
    )
    assert mean == pytest.approx(sum(expected) / 5, abs=TIGHT)
    assert live == pytest.approx((sum(expected) - expected[3]) / 4, abs=TIGHT)


@given(rows=frequency_rows(2))
def test_hellinger_agrees_with_scipy(rows: list[Array]) -> None:
    p, q = rows
    expected = [
        euclidean(np.sqrt(a), np.sqrt(b)) / math.sqrt(2.0) for a, b in zip(p, q, strict=True)
    ]
    np.testing.assert_allclose(hellinger(p, q), expected, rtol=0, atol=TIGHT)


@given(rows=frequency_rows(2))
def test_hellinger_is_equation_9(rows: list[Array]) -> None:
    np.testing.assert_allclose(
        np.square(hellinger(*rows)), 1.0 - bhattacharyya(*rows), rtol=0, atol=TIGHT
    )


@given(rows=frequency_rows(2))
def test_bhattacharyya_complement_is_the_square_of_hellinger(rows: list[Array]) -> None:
    values = bhattacharyya_complement(*rows)
    np.testing.assert_allclose(values, np.square(hellinger(*rows)), rtol=1e-14)
    np.testing.assert_allclose(values, 1.0 - bhattacharyya(*rows), rtol=0, atol=TIGHT)


@ALL
@given(rows=frequency_rows(1))
def test_equal_sets_are_at_zero(metric: Metric, rows: list[Array]) -> None:
    assert (DISTANCES[metric].function(rows[0], rows[0].copy()) == 0).all()


@ALL
@given(rows=frequency_rows(2))
def test_symmetric_and_bounded_as_stated(metric: Metric, rows: list[Array]) -> None:
    p, q = rows
    distance = DISTANCES[metric]
    values = distance.function(p, q)
    assert values.dtype == np.float64
    assert values.shape == p.shape[:-1]
    assert (values >= 0).all()
    if distance.bounded:
        assert (values <= 1).all()
    if distance.symmetric:
        np.testing.assert_array_equal(values, distance.function(q, p))


@pytest.mark.parametrize("metric", METRICS)
@given(rows=frequency_rows(3))
def test_triangle_inequality(metric: Metric, rows: list[Array]) -> None:
    p, q, r = rows
    distance = DISTANCES[metric].function
    assert (distance(p, r) <= distance(p, q) + distance(q, r) + TIGHT).all()


@pytest.mark.parametrize("metric", sorted(set(DISTANCES) - {Metric.KL, Metric.WASSERSTEIN}))
def test_disjoint_sets_are_at_one(metric: Metric) -> None:
    p = np.array([[1 / 3, 2 / 3, 0.0, 0.0]])
    values = DISTANCES[metric].function(p, p[:, ::-1])
    np.testing.assert_allclose(values, [1.0], rtol=0, atol=1e-15)


@ALL
@given(rows=frequency_rows(2), seed=st.integers(0, 99))
def test_order_of_bins_matters_to_cumulative_distances_only(
    metric: Metric, rows: list[Array], seed: int
) -> None:
    order = np.random.default_rng(seed).permutation(rows[0].shape[1])
    distance = DISTANCES[metric].function
    if metric in BIN_BY_BIN:
        moved = distance(rows[0][:, order], rows[1][:, order])
        np.testing.assert_allclose(moved, distance(*rows), rtol=0, atol=TIGHT)
    else:
        mirrored = distance(rows[0][:, ::-1], rows[1][:, ::-1])
        np.testing.assert_allclose(mirrored, distance(*rows), rtol=0, atol=TIGHT)


@ALL
def test_single_bin(metric: Metric) -> None:
    one = np.ones((3, 2, 1))
    assert DISTANCES[metric].function(one, one).tolist() == [[0.0] * 2] * 3


@ALL
def test_stacked_sets_are_measured_alike(metric: Metric) -> None:
    rng = np.random.default_rng(4)
    p, q = (rng.dirichlet(np.ones(8), size=(3, 2)) for _ in range(2))
    distance = DISTANCES[metric].function
    each = np.stack([distance(a, b) for a, b in zip(p, q, strict=True)])
    np.testing.assert_array_equal(distance(p, q), each)


@given(pair=feature_pairs(np.float32), power=st.integers(-6, 6), offset=st.integers(-64, 64))
def test_positive_affine_maps_of_a_channel_change_nothing(
    pair: tuple[Array, Array], power: int, offset: int
) -> None:
    # Powers of two and offsets on the grid of the values: exact in float32.
    moved = tuple(x * np.float32(2.0**power) + np.float32(offset * 2.0**power) for x in pair)
    np.testing.assert_array_equal(measured(*moved, 100), measured(*pair, 100))


def test_sets_of_unequal_size_with_equal_shares_are_at_zero() -> None:
    x = np.arange(6.0).reshape(1, 1, 6)
    assert measured(x, np.repeat(x, 7, axis=0), 6).tolist() == [0.0]


def test_constant_channels() -> None:
    zeros, ones = np.zeros((2, 1, 3)), np.ones((2, 1, 3))
    assert measured(zeros, zeros, 100).tolist() == [0.0]
    assert measured(zeros, ones, 100).tolist() == [1.0]


def test_literal_by_hand() -> None:
    # Eq. (5) as printed: a dead channel is in no bin, BC = 0, H = 1; of equal sets the share of
    # values at the maximum (1 of 4) is lost, BC = 3/4, H = 1/2.
    dead = np.zeros((2, 1, 2))
    assert measured(dead, dead, 100, literal=True).tolist() == [1.0]
    x = np.array([[[0.0, 1.0, 2.0, 4.0]]])
    np.testing.assert_allclose(measured(x, x, 100, literal=True), [0.5], rtol=1e-15)


@given(pair=feature_pairs(np.float16), bins=st.sampled_from([1, 2, 10, 100]))
def test_literal_follows_the_printed_equations(pair: tuple[Array, Array], bins: int) -> None:
    # Without the form that is exact near 0: the root doubles the rounding of 1 - BC.
    np.testing.assert_allclose(
        np.square(measured(*pair, bins, literal=True)),
        np.square(by_the_equations(*pair, bins, literal=True)),
        rtol=0,
        atol=TIGHT,
    )


def test_literal_never_takes_the_root_of_a_negative_number() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(100), size=2000)
    assert (1.0 - bhattacharyya(p, p) < 0).any()
    assert (hellinger_literal(p, p) >= 0).all()


def test_every_metric_on_bins_has_a_distance() -> None:
    unbinned = {Metric.WASSERSTEIN_EXACT, Metric.REPRESENTATION_SHIFT, *LAYERWISE}
    assert set(DISTANCES) == set(Metric) - unbinned


FUNCTIONS = [hellinger_literal, bhattacharyya, *(each.function for each in DISTANCES.values())]


@pytest.mark.parametrize("distance", FUNCTIONS, ids=lambda function: function.__name__)
def test_refuses_other_bins_counts_and_negative_shares(distance: Function) -> None:
    with pytest.raises(ArgumentError, match=r"shapes \(1, 2\) and \(1, 3\)"):
        distance(np.array([[0.5, 0.5]]), np.array([[0.2, 0.3, 0.5]]))
    with pytest.raises(ArgumentError, match=r"rows sum to 4\.\.4, expected relative frequencies"):
        distance(np.array([[3.0, 1.0]]), np.array([[0.5, 0.5]]))
    with pytest.raises(ArgumentError, match="expected relative frequencies"):
        distance(np.array([[0.5, 0.5]]), np.array([[1.5, -0.5]]))


def test_hellinger_refuses_rows_that_leave_values_out() -> None:
    with pytest.raises(ArgumentError, match=r"rows sum to 0\.\.1, expected .* sum to 1"):
        hellinger(np.array([[0.0, 0.0], [0.5, 0.5]]), np.array([[0.5, 0.5], [0.5, 0.5]]))


def test_layer_mean() -> None:
    values, constant = np.array([0.2, 0.0, 0.4]), np.array([False, True, False])
    assert layer_mean(values, constant) == pytest.approx((0.2, 0.3))
    mean, live = layer_mean(np.zeros(2), np.ones(2, dtype=bool))
    assert mean == 0.0
    assert math.isnan(live)
    with pytest.raises(ArgumentError, match=r"the same \(D,\)"):
        layer_mean(values, constant[:2])
    with pytest.raises(ArgumentError, match="at least one channel"):
        layer_mean(values[:0], constant[:0])
