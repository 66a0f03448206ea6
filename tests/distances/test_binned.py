from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import distance
from scipy.spatial.distance import euclidean
from scipy.stats import entropy, ks_2samp, wasserstein_distance

from definitions import CUMULATED, DEFINITIONS, NO_METRIC, REACHED, SQUARED, pooled_groups
from skiptool.distances import binned
from skiptool.distances.binned import (
    DISTANCES,
    EPSILON,
    bhattacharyya,
    bhattacharyya_complement,
    binned_wasserstein,
    hellinger,
    hellinger_literal,
    jensen_shannon,
    kolmogorov_smirnov,
    kullback_leibler,
    layer_mean,
    pool_bins,
    pooled_bins,
    rowwise,
    total_variation,
)
from skiptool.distances.bins import constant_channels, equal_width, joint_range
from skiptool.distances.counting import activation_extremes, count_activations, frequencies
from skiptool.names import LAYERWISE, Metric
from strategies import SEEDS, feature_pairs, frequency_rows

Array = NDArray[Any]
Function = Callable[[Array, Array], Array]
TIGHT = 1e-12

BIN_BY_BIN = set(DISTANCES) - set(CUMULATED)
METRICS = [metric for metric in DISTANCES if metric not in NO_METRIC]
ALL = pytest.mark.parametrize("metric", DISTANCES)


def bin_counts(values: list[Fraction], low: Fraction, high: Fraction, bins: int) -> list[int]:
    """Eq. (5) with an additional bin for the maximum."""
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
    binning = equal_width(
        joint_range(activation_extremes(x), activation_extremes(y)), bins, literal=literal
    )
    p, q = (
        frequencies(count_activations(z, binning).sum(axis=0), values=z.shape[0] * z.shape[2])
        for z in (x, y)
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
def test_distances_of_activations_follow_the_equations(dtype: type) -> None:
    rng = np.random.default_rng(11)
    x = np.maximum(rng.normal(0.2, 1.0, (6, 5, 64)), 0.0).astype(dtype)
    y = (x[:4] * 0.75).astype(dtype)
    x[:, 3] = y[:, 3] = 0.0
    x[:, 4], y[:, 4] = 1.0, 2.0
    expected = by_the_equations(x, y, 100)
    np.testing.assert_allclose(measured(x, y, 100), expected, rtol=0, atol=TIGHT)
    assert expected[3:] == [0.0, 1.0]
    mean, live = layer_mean(
        measured(x, y, 100),
        constant_channels(joint_range(activation_extremes(x), activation_extremes(y))),
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
def test_equal_sets_have_distance_0(metric: Metric, rows: list[Array]) -> None:
    assert (DISTANCES[metric].function(rows[0], rows[0].copy()) == 0).all()


@ALL
@given(rows=frequency_rows(2))
def test_distances_are_symmetric_and_bounded_as_declared(metric: Metric, rows: list[Array]) -> None:
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
def test_disjoint_sets_have_distance_1(metric: Metric) -> None:
    p = np.array([[1 / 3, 2 / 3, 0.0, 0.0]])
    values = DISTANCES[metric].function(p, p[:, ::-1])
    np.testing.assert_allclose(values, [1.0], rtol=0, atol=1e-15)


@ALL
@given(rows=frequency_rows(2))
def test_follows_its_definition(metric: Metric, rows: list[Array]) -> None:
    p, q = rows
    expected = [DEFINITIONS[metric](*pair) for pair in zip(p, q, strict=True)]
    # The root doubles the rounding of sums that cancel near 0.
    found = DISTANCES[metric].function(p, q)
    np.testing.assert_allclose(np.square(found), np.square(expected), rtol=1e-9, atol=TIGHT)


def test_properties_are_those_of_the_definitions() -> None:
    assert {metric for metric, each in DISTANCES.items() if each.squared} == set(SQUARED)
    assert {metric for metric, each in DISTANCES.items() if not each.pooled} == set(CUMULATED)


@ALL
@given(rows=frequency_rows(2), seed=st.integers(0, 99))
def test_only_cumulative_distances_depend_on_the_order_of_bins(
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
def test_distances_over_a_single_bin_are_0(metric: Metric) -> None:
    one = np.ones((3, 2, 1))
    assert DISTANCES[metric].function(one, one).tolist() == [[0.0] * 2] * 3


@ALL
def test_leading_axes_are_measured_separately(metric: Metric) -> None:
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


def test_sets_of_unequal_size_with_equal_frequencies_have_distance_0() -> None:
    x = np.arange(6.0).reshape(1, 1, 6)
    assert measured(x, np.repeat(x, 7, axis=0), 6).tolist() == [0.0]


def test_constant_channels() -> None:
    zeros, ones = np.zeros((2, 1, 3)), np.ones((2, 1, 3))
    assert measured(zeros, zeros, 100).tolist() == [0.0]
    assert measured(zeros, ones, 100).tolist() == [1.0]


def test_hellinger_literal_by_hand() -> None:
    # Eq. (5) as printed: a dead channel is in no bin, BC = 0, H = 1; for equal sets the share of
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


def test_layer_mean() -> None:
    values, constant = np.array([0.2, 0.0, 0.4]), np.array([False, True, False])
    assert layer_mean(values, constant) == pytest.approx((0.2, 0.3))
    mean, live = layer_mean(np.zeros(2), np.ones(2, dtype=bool))
    assert mean == 0.0
    assert math.isnan(live)


@rowwise
def first_difference(p: Array, q: Array) -> Array:
    """Difference of the first bin."""
    return np.asarray(p[:, 0] - q[:, 0])


@pytest.mark.parametrize("block", [1, 5, 8, 1 << 16])
def test_blocks_do_not_change_distances(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    p, q = (rng.dirichlet(np.ones(4), size=(3, 5)) for _ in range(2))
    monkeypatch.setattr(binned, "_BLOCK", block)
    np.testing.assert_array_equal(first_difference(p, q), p[..., 0] - q[..., 0])


def test_any_leading_axes_and_memory_order_are_accepted() -> None:
    p = np.array([0.5, 0.5])
    q = np.array([0.25, 0.75])
    assert first_difference(p, q).shape == ()
    assert first_difference(p[None, None], q[None, None]).tolist() == [[0.25]]
    assert first_difference(np.zeros((0, 3, 2)), np.zeros((0, 3, 2))).shape == (0, 3)
    turned = np.stack([p, q], axis=1).T
    assert first_difference(turned, turned[::-1]).tolist() == [0.25, -0.25]


def test_the_decorator_keeps_name_and_docstring() -> None:
    assert first_difference.__name__ == "first_difference"
    assert first_difference.__doc__ == "Difference of the first bin."


def jensen_shannon_by_definition(p: Array, q: Array) -> float:
    """Root of the entropy of the mean minus the mean entropy, in 60 decimal digits."""
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
    unequal = ~(p == q).all(axis=1)  # scipy takes roots of rounding errors if rows are nearly equal
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


def test_jensen_shannon_is_defined_where_scipy_gives_nan() -> None:
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
def test_kullback_leibler_is_hardly_smoothed_without_empty_bins(rows: list[Array]) -> None:
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
    # The docstring's s log(s B / e), plus the contribution of the other bin.
    p, q = np.array([[0.1, 0.9]]), np.array([[0.0, 1.0]])
    expected = 0.1 * math.log(0.1 * 2 / EPSILON) + 0.9 * math.log(0.9)
    assert kullback_leibler(p, q)[0] == pytest.approx(expected, rel=1e-4)
    assert kullback_leibler(q, p)[0] == pytest.approx(math.log(1 / 0.9), rel=1e-3)


@pytest.mark.parametrize("function", [jensen_shannon, total_variation, kullback_leibler])
def test_rounding_causes_neither_nan_nor_negative_values(
    function: Callable[[Array, Array], Array],
) -> None:
    rng = np.random.default_rng(3)
    p = rng.dirichlet(np.full(100, 0.05), size=500)
    q = p * (1 + 1e-15 * rng.normal(size=p.shape))
    values = function(p, q / q.sum(axis=1, keepdims=True))
    assert ((values >= 0) & (values < 1e-7)).all()


@given(rows=frequency_rows(2))
def test_wasserstein_agrees_with_scipy_on_bin_positions(rows: list[Array]) -> None:
    places = (np.arange(rows[0].shape[1]) + 0.5) / rows[0].shape[1]
    expected = [wasserstein_distance(places, places, p, q) for p, q in zip(*rows, strict=True)]
    np.testing.assert_allclose(binned_wasserstein(*rows), expected, rtol=0, atol=TIGHT)


@given(seed=SEEDS)
def test_kolmogorov_smirnov_agrees_with_scipy_for_one_value_per_bin(seed: int) -> None:
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


def test_farthest_bins_reach_the_upper_bound() -> None:
    for bins in (2, 3, 100):
        p, q = np.zeros((2, 1, bins))
        p[:, 0] = q[:, -1] = 1.0
        assert binned_wasserstein(p, q).tolist() == [(bins - 1) / bins]
        assert kolmogorov_smirnov(p, q).tolist() == [1.0]


def test_rounding_stays_within_the_bounds() -> None:
    rng = np.random.default_rng(8)
    p, q = np.zeros((2, 2000, 60))
    p[:, :30], q[:, 30:] = (rng.dirichlet(np.ones(30), size=2000) for _ in range(2))
    assert ((p - q).cumsum(axis=1)[:, 29] > 1).any()  # to be clipped
    assert (kolmogorov_smirnov(p, q) <= 1).all()


Counts = NDArray[Any]


@st.composite
def counted(draw: st.DrawFn, *, alike: bool = False) -> tuple[Counts, Counts]:
    """Draw sparse counts (U, D, B) and (V, D, B) of units of K values each."""
    units = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    if alike:
        units = units[:1] * 2
    rng = np.random.default_rng(draw(SEEDS))
    channels, bins = draw(st.integers(1, 3)), draw(st.integers(1, 12))
    values = draw(st.integers(1, 60))
    weights = rng.dirichlet(np.full(bins, draw(st.sampled_from([0.05, 0.3, 3.0]))), channels)
    both = [rng.multinomial(values, weights, (n, channels)).astype(np.uint16) for n in units]
    return both[0], both[1]


def groups(row: Any) -> list[list[int]]:  # noqa: ANN401
    return [np.flatnonzero(row == number).tolist() for number in range(row.max() + 1)]


@given(counts=counted())
def test_bins_of_two_sets_follow_from_the_definition(counts: tuple[Counts, Counts]) -> None:
    found = pooled_bins(*counts, paired=False)
    for d in range(found.shape[0]):
        first, second = (each[:, d].tolist() for each in counts)
        assert groups(found[d]) == pooled_groups(first, second, False)


@given(counts=counted(alike=True))
def test_bins_of_pairs_follow_from_the_definition(counts: tuple[Counts, Counts]) -> None:
    found = pooled_bins(*counts, paired=True)
    for d in range(found.shape[0]):
        first, second = (each[:, d].tolist() for each in counts)
        assert groups(found[d]) == pooled_groups(first, second, True)


@given(counts=counted(), seed=SEEDS)
def test_pooled_bins_do_not_depend_on_labels(counts: tuple[Counts, Counts], seed: int) -> None:
    first, second = counts
    pool = np.concatenate([first, second])
    pool = pool[np.random.default_rng(seed).permutation(len(pool))]
    again = pooled_bins(pool[: len(first)], pool[len(first) :], paired=False)
    np.testing.assert_array_equal(again, pooled_bins(first, second, paired=False))
    np.testing.assert_array_equal(again, pooled_bins(second, first, paired=False))


@given(counts=counted(alike=True), seed=SEEDS)
def test_pooled_bins_do_not_depend_on_the_order_of_pairs_or_sets(
    counts: tuple[Counts, Counts], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    order, swap = rng.permutation(len(counts[0])), rng.integers(0, 2, len(counts[0]))
    first, second = (
        np.where((swap == side)[:, np.newaxis, np.newaxis], *counts)[order] for side in (0, 1)
    )
    np.testing.assert_array_equal(
        pooled_bins(first, second, paired=True), pooled_bins(*counts, paired=True)
    )


@pytest.mark.long
@given(counts=counted(), factor=st.integers(2, 500), side=st.integers(0, 1))
def test_pooled_bins_do_not_depend_on_the_number_of_values(
    counts: tuple[Counts, Counts], factor: int, side: int
) -> None:
    more = list(counts)
    more[side] = counts[side].astype(np.uint32) * factor
    np.testing.assert_array_equal(
        pooled_bins(more[0], more[1], paired=False), pooled_bins(*counts, paired=False)
    )


@given(counts=counted())
def test_enough_units_reach_every_pooled_bin(counts: tuple[Counts, Counts]) -> None:
    first, second = counts
    bins = pooled_bins(first, second, paired=False)
    pooled = np.concatenate([pool_bins(each, bins) for each in counts]).astype(np.float64)
    n, m = len(first), len(second)
    for d in range(bins.shape[0]):
        last = bins[d].max()
        if last:
            held = pooled[:, d, : last + 1]
            reached = held.sum(axis=0) ** 2 / np.square(held).sum(axis=0)
            # The remainder may lower the last one only if few units reach it.
            assert (reached[:-1] >= float(REACHED) * (n + m) / min(n, m) - 1e-6).all()
        assert (np.diff(bins[d]) >= 0).all()
        assert set(bins[d]) == set(range(last + 1))


@given(counts=counted())
def test_the_distance_on_pooled_bins_is_no_larger(counts: tuple[Counts, Counts]) -> None:
    bins = pooled_bins(*counts, paired=False)
    pooled, plain = (
        hellinger(*(frequencies(each.sum(axis=0, dtype=np.int64)) for each in both))
        for both in ([pool_bins(each, bins) for each in counts], counts)
    )
    assert (pooled <= plain + 1e-7).all()


@given(counts=counted())
def test_pooling_keeps_all_counts_and_adds_no_bins(counts: tuple[Counts, Counts]) -> None:
    first, _ = counts
    bins = pooled_bins(*counts, paired=False)
    found = pool_bins(first, bins)
    assert (found.dtype, found.shape) == (first.dtype, first.shape)
    for d in range(bins.shape[0]):
        for number, members in enumerate(groups(bins[d])):
            np.testing.assert_array_equal(found[:, d, number], first[:, d, members].sum(axis=1))
        assert not found[:, d, bins[d].max() + 1 :].any()


def test_pooled_bins_by_hand() -> None:
    # Five units of each set: 2.5 of the smaller one are 5 of all ten.
    one = np.zeros((5, 1, 6), np.uint16)
    one[:, 0, 1] = 4  # all five of one set, equally: just enough
    one[:, 0, 3] = [1, 0, 0, 0, 0]
    other = np.zeros((5, 1, 6), np.uint16)
    other[:, 0, 4] = 4
    other[0, 0, 5] = 1
    one[1:, 0, 0], other[1:, 0, 0] = 1, 1
    # Bin 0 holds eight units, bin 1 five, bins 2 to 4 six; bin 5, of one unit, joins them.
    assert pooled_bins(one, other, paired=False).tolist() == [[0, 1, 2, 2, 2, 2]]


@pytest.mark.parametrize(("paired", "expected"), [(True, [[0, 1]]), (False, [[0, 1]])])
@pytest.mark.parametrize("units", [5, 7])
def test_five_equal_units_are_enough(units: int, paired: bool, expected: list[list[int]]) -> None:
    """5 of 10 for 5 and 5 units, 5 for pairs: with rounding, as fifths do not sum to 1."""
    counts = np.zeros((units, 1, 2), np.uint16)
    counts[:, 0, 0], counts[:, 0, 1] = 3, 7
    empty = counts if paired else counts[:, :, ::-1].copy()
    assert pooled_bins(counts, empty, paired=paired).tolist() == expected


def test_four_pairs_have_a_single_pooled_bin() -> None:
    counts = np.full((4, 1, 3), 5, np.uint16)
    assert pooled_bins(counts, counts, paired=True).tolist() == [[0, 0, 0]]


def test_larger_sets_need_more_units_per_bin() -> None:
    """15 units must reach a bin for 20 and 4, five for 12 and 12."""
    big, small = np.zeros((20, 1, 2), np.uint16), np.zeros((4, 1, 2), np.uint16)
    big[:, 0, 1], small[:, 0, 1] = 9, 9
    big[:14, 0], small[:0, 0] = [9, 0], [9, 0]
    assert pooled_bins(big, small, paired=False).tolist() == [[0, 0]]
    big[14, 0] = [9, 0]
    assert pooled_bins(big, small, paired=False).tolist() == [[0, 0]]  # 9 are left for bin 1
    many = np.zeros((24, 1, 2), np.uint16)
    many[:5, 0, 0], many[5:, 0, 1] = 9, 9
    assert pooled_bins(many[:12], many[12:], paired=False).tolist() == [[0, 1]]


def test_units_of_nearly_equal_size_weigh_by_their_mean() -> None:
    """The rule does not depend on which unit comes first."""
    rng = np.random.default_rng(0)
    shares = rng.multinomial(2**16, np.full(8, 1 / 8), (9, 2)).astype(np.uint32)
    scaled = shares * rng.integers(999, 1001, (9, 1, 1), endpoint=True).astype(np.uint32)
    found = pooled_bins(scaled, shares, paired=False)
    np.testing.assert_array_equal(pooled_bins(scaled[::-1], shares[::-1], paired=False), found)


@given(counts=counted(), seed=SEEDS)
def test_channels_are_pooled_independently(counts: tuple[Counts, Counts], seed: int) -> None:
    first, second = counts
    assume(first.shape[1] > 1)
    whole = pooled_bins(first, second, paired=False)
    alone = pooled_bins(first[:, 1:2].copy(), second[:, 1:2].copy(), paired=False)
    np.testing.assert_array_equal(whole[1:2], alone)
    both = (pool_bins(first, whole)[:, 1:2], pool_bins(first[:, 1:2].copy(), alone))
    np.testing.assert_array_equal(*both)
