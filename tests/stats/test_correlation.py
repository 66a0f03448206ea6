from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from skiptool.stats.correlation import RESAMPLES, rank_correlation, rank_interval
from strategies import SEEDS

Array = NDArray[Any]


def slow_correlation(x: Array, y: Array) -> float:
    """Return Pearson's correlation of mean ranks by definition, point by point."""
    pairs = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]

    def ranks(place: int) -> list[float]:
        own = [pair[place] for pair in pairs]
        return [sum(b < a for b in own) + (sum(b == a for b in own) + 1) / 2 for a in own]

    first, second = ranks(0), ranks(1)
    middle = (len(pairs) + 1) / 2
    across = sum((a - middle) * (b - middle) for a, b in zip(first, second, strict=True))
    spreads = [sum((a - middle) ** 2 for a in each) for each in (first, second)]
    return across / math.sqrt(spreads[0] * spreads[1]) if all(spreads) else math.nan


def slow_interval(x: Array, y: Array, clusters: Array, seed: int) -> tuple[float, float]:
    """Correlate the concatenated points of the drawn clusters, resample by resample."""
    count = int(clusters.max()) + 1
    often = np.random.default_rng(seed).multinomial(count, [1 / count] * count, size=RESAMPLES)
    found = []
    for draw in often:
        points = np.repeat(np.arange(len(x)), draw[clusters])
        ranked = [rankdata(each[points]) for each in (x, y)]
        if all(np.ptp(each) for each in ranked):
            found.append(float(np.corrcoef(*ranked)[0, 1]))
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


@st.composite
def points(draw: st.DrawFn) -> tuple[Array, Array]:
    """Values (P,) and others (L, P) with many ties and some unknown."""
    size = draw(st.integers(1, 12))
    cell = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e3, 1e3), st.just(math.nan))
    rows = st.lists(cell, min_size=size, max_size=size)
    found = [np.array(draw(rows)) for _ in range(draw(st.integers(1, 4)))]
    return np.array(draw(rows)), np.array(found)


@given(points())
def test_rank_correlation_equals_the_definition(given_: tuple[Array, Array]) -> None:
    values, others = given_
    expected = [slow_correlation(values, other) for other in others]
    np.testing.assert_allclose(rank_correlation(values, others), expected, atol=1e-12)


@given(SEEDS, st.integers(3, 60), st.integers(1, 30))
def test_rank_correlation_equals_scipy(seed: int, size: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    values, others = rng.integers(0, steps, size) / 4, rng.integers(0, steps, (3, size)) / 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constant input, for which both return NaN
        expected = [spearmanr(values, other).statistic for other in others]
    np.testing.assert_allclose(rank_correlation(values, others), expected, atol=1e-12)


def test_worked_by_hand() -> None:
    """Ranks 1, 2.5, 2.5, 4 and 2, 1, 3, 4, less 2.5: sum of products 3, of squares 4.5 and 5."""
    values, others = np.array([1.0, 5.0, 5.0, 9.0]), np.array([[0.2, 0.1, 0.3, 0.4]])
    np.testing.assert_allclose(rank_correlation(values, others), [3 / math.sqrt(4.5 * 5)])


def test_only_ranks_matter_and_perfect_orders_are_exact() -> None:
    values = np.array([0.1, 0.2, 0.7, 0.9, 1.0])
    others = np.array([np.exp(9 * values), -(values**3), np.full(5, 2.0)])
    assert rank_correlation(values, others).tolist()[:2] == [1.0, -1.0]
    assert np.isnan(rank_correlation(values, others)[2])
    assert np.isnan(rank_correlation(np.full(5, 1.0), others)).all()
    assert rank_correlation(np.empty(0), np.empty((2, 0))).shape == (2,)


@pytest.mark.long
@settings(max_examples=8)  # each ranks two thousand resamples
@given(st.integers(0, 1000), st.integers(2, 5))
def test_the_interval_resamples_whole_clusters(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    clusters = np.concatenate([np.arange(count), rng.integers(0, count, 7)])
    x, y = rng.integers(0, 5, (2, len(clusters))).astype(np.float64)
    found = rank_interval(x, y[np.newaxis], clusters, seed=seed)
    expected = slow_interval(x, y, clusters, seed)
    np.testing.assert_allclose([each[0] for each in found], expected, atol=1e-9)


def test_points_of_one_cluster_do_not_narrow_the_interval() -> None:
    """A point that is repeated five times adds no information."""
    rng = np.random.default_rng(5)
    x = rng.random(10)
    y = x + rng.normal(0, 0.3, 10)
    once = rank_interval(x, y[np.newaxis], np.arange(10))
    many = rank_interval(np.tile(x, 5), np.tile(y, 5)[np.newaxis], np.tile(np.arange(10), 5))
    np.testing.assert_allclose(once, many)
    alone = rank_interval(np.tile(x, 5), np.tile(y, 5)[np.newaxis], np.arange(50))
    assert alone[1][0] - alone[0][0] < 0.7 * (once[1][0] - once[0][0])


def test_the_interval_contains_the_estimate_and_widens_with_the_level() -> None:
    rng = np.random.default_rng(1)
    x, clusters = rng.random(60), np.repeat(np.arange(12), 5)
    others = x + rng.normal(0, 0.3, (4, 60))
    low, high = rank_interval(x, others, clusters, seed=3)
    rho = rank_correlation(x, others)
    assert (low < rho).all()
    assert (rho < high).all()
    wider = rank_interval(x, others, clusters, level=0.99, seed=3)
    assert (wider[0] < low).all()
    assert (wider[1] > high).all()
    again = rank_interval(x, others[1:2], clusters, seed=3)
    assert (again[0][0], again[1][0]) == (low[1], high[1])  # the same shifts for every layer
    assert rank_interval(x, others, clusters, seed=4)[0].tolist() != low.tolist()


def test_intervals_cover_the_true_correlation_at_their_level() -> None:
    """Of 100 draws of 12 clusters whose points are all equal, rho = 0: binomial, p = 0.95."""
    rng = np.random.default_rng(11)
    hits = 0
    for seed in range(100):
        x, y = np.repeat(rng.random((2, 12)), 3, axis=1)
        low, high = rank_interval(x, y[np.newaxis], np.repeat(np.arange(12), 3), seed=seed)
        hits += int(low[0] <= 0 <= high[0])
    assert 85 <= hits <= 100


def test_one_cluster_or_no_variation_gives_no_interval() -> None:
    x, y = np.arange(4.0), np.array([[0.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0]])
    for ends in rank_interval(x, y, np.zeros(4, dtype=np.int64)):
        assert np.isnan(ends).all()
    low, high = rank_interval(x, y, np.arange(4))
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [False, True]
    assert rank_interval(x, np.empty((0, 4)), np.arange(4))[0].shape == (0,)
