from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from scipy.stats import binomtest, chisquare

from skiptool.stats.permutation import adjusted_p_values, holm, p_values, relabellings
from strategies import SEEDS

Array = NDArray[Any]
SIZES = st.integers(1, 12)


@given(n=SIZES, m=SIZES, permutations=st.integers(0, 20), seed=SEEDS)
def test_relabellings_draw_n_of_the_pooled_units(
    n: int, m: int, permutations: int, seed: int
) -> None:
    drawn = relabellings(n, m, permutations, paired=False, rng=np.random.default_rng(seed))
    assert (drawn.shape, drawn.dtype) == ((permutations, n), np.int32)
    assert ((drawn >= 0) & (drawn < n + m)).all()
    assert (np.diff(drawn, axis=1) > 0).all()
    again = relabellings(n, m, permutations, paired=False, rng=np.random.default_rng(seed))
    np.testing.assert_array_equal(drawn, again)


@given(n=SIZES, permutations=st.integers(0, 20), seed=SEEDS)
def test_paired_relabellings_draw_one_of_each_pair(n: int, permutations: int, seed: int) -> None:
    drawn = relabellings(n, n, permutations, paired=True, rng=np.random.default_rng(seed))
    assert (drawn.shape, drawn.dtype) == ((permutations, n), np.int32)
    assert (np.diff(drawn, axis=1) > 0).all()
    np.testing.assert_array_equal(
        np.sort(drawn % n, axis=1), np.tile(np.arange(n), (len(drawn), 1))
    )
    again = relabellings(n, n, permutations, paired=True, rng=np.random.default_rng(seed))
    np.testing.assert_array_equal(drawn, again)


def test_relabellings_depend_on_the_seed() -> None:
    first, second = (
        relabellings(9, 9, 5, paired=False, rng=np.random.default_rng(seed)) for seed in (0, 1)
    )
    assert (first != second).any()


def test_all_relabellings_are_equally_likely() -> None:
    drawn = relabellings(2, 3, 20_000, paired=False, rng=np.random.default_rng(0))
    pairs = list(combinations(range(5), 2))
    found = [int((drawn == pair).all(axis=1).sum()) for pair in pairs]
    assert sum(found) == 20_000
    assert chisquare(found).pvalue > 0.001


def test_all_swaps_are_equally_likely() -> None:
    drawn = relabellings(3, 3, 16_000, paired=True, rng=np.random.default_rng(0))
    swapped = np.stack([(drawn == unit + 3).any(axis=1) for unit in range(3)], axis=1)
    assert chisquare(np.bincount(swapped @ [1, 2, 4], minlength=8)).pvalue > 0.001


def test_p_values_by_hand() -> None:
    null = np.array([0.1, 0.2, 0.2, 0.3])
    observed = np.array([0.4, 0.3, 0.2, 0.15, 0.0])
    expected = [0.2, 0.4, 0.8, 0.8, 1.0]  # ties count as reached
    np.testing.assert_allclose(p_values(observed, np.tile(null, (5, 1))), expected, rtol=1e-15)
    assert p_values(np.array(0.4), null) == 0.2
    assert p_values(np.array([0.4]), np.empty((1, 0))).tolist() == [1.0]
    assert np.isnan(p_values(np.array([np.nan]), null[np.newaxis])).all()


@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
def test_rounding_does_not_break_ties(scale: float) -> None:
    null = scale * np.array([[0.3, 0.1 + 0.2, 0.3 * (1 - 1e-12), 0.3 * (1 - 1e-6)]])
    assert p_values(scale * np.array([0.3]), null).tolist() == [4 / 5]
    ends = scale * np.array([[0.1, 0.5]])
    more = np.concatenate([ends, null], axis=1)
    assert adjusted_p_values(scale * np.array([0.3]), more).tolist() == [5 / 7]


@given(
    values=npst.arrays(np.float64, (3, 9), elements=st.integers(0, 5).map(float)),
    factor=st.integers(1, 9),
)
def test_p_values_count_null_values_and_ignore_scale(values: Array, factor: int) -> None:
    found = p_values(values[:, 0], values[:, 1:])
    expected = [(1 + sum(v >= row[0] for v in row[1:])) / 9 for row in values]
    np.testing.assert_allclose(found, expected, rtol=1e-15)
    np.testing.assert_array_equal(found, p_values(factor * values[:, 0], factor * values[:, 1:]))


def test_p_values_are_uniform_under_the_null() -> None:
    values = np.random.default_rng(1).normal(size=(20_000, 20))
    found = p_values(values[:, 0], values[:, 1:])
    assert chisquare(np.bincount(np.round(found * 20).astype(int), minlength=21)[1:]).pvalue > 0.001


def step_down(observed: Array, null: Array) -> list[float]:
    """Algorithm 4.1 of Westfall and Young for the maximum, from the greatest statistic down."""
    layers = range(len(observed))
    values = [[float(observed[i]), *map(float, null[i])] for i in layers]
    scores = []
    for row in values:
        mean = sum(row) / len(row)
        spread = (sum((v - mean) ** 2 for v in row) / len(row)) ** 0.5
        scores.append([(v - mean) / spread if spread else 0.0 for v in row])
    remaining = sorted(layers, key=lambda i: -scores[i][0])
    found, least = [0.0] * len(observed), 0.0
    while remaining:
        first = remaining[0]
        reached = 1
        for r in range(1, null.shape[1] + 1):
            reached += max(scores[i][r] for i in remaining) >= scores[first][0] - 1e-10
        least = max(least, reached / (1 + null.shape[1]))
        found[first] = least
        remaining.pop(0)
    return found


@given(
    seed=SEEDS,
    layers=st.integers(1, 6),
    relabelled=st.integers(1, 40),
    shift=st.just(0.0) | st.floats(0.01, 5.0),  # never as small as what counts as a tie
    digits=st.sampled_from([1, 9]),  # with 1, ties are common
)
def test_adjusted_p_values_follow_the_algorithm(
    seed: int, layers: int, relabelled: int, shift: float, digits: int
) -> None:
    rng = np.random.default_rng(seed)
    common = rng.normal(size=1 + relabelled)
    values = np.round(common + rng.normal(size=(layers, 1 + relabelled)), digits)
    values *= 10.0 ** rng.integers(-3, 4, (layers, 1))
    values[rng.random(layers) < 0.1] = 0.25  # a layer that never varies
    observed, null = values[:, 0] + shift * (values.std(axis=1) > 0), values[:, 1:]
    found = adjusted_p_values(observed, null)
    np.testing.assert_allclose(found, step_down(observed, null), rtol=1e-12)
    assert (found >= p_values(observed, null) - 1e-15).all()
    assert ((found >= 1 / (1 + relabelled)) & (found <= 1)).all()


def test_adjusted_p_values_by_hand() -> None:
    # Four relabellings; both layers have the same values, so the same scale.
    null = np.array([[0.0, 1.0, 2.0, 3.0], [3.0, 0.0, 1.0, 2.0]])
    found = adjusted_p_values(np.array([4.0, 2.0]), null)
    assert found[0] == 0.2
    # Scores of layer 2: 2 is reached by 3 and 2 only, as layer 1 is already out.
    assert found[1] == pytest.approx(0.6)
    assert adjusted_p_values(np.array([4.0]), null[:1]).tolist() == [0.2]


@given(seed=SEEDS, relabelled=st.integers(3, 30))
def test_adjusted_p_values_do_not_depend_on_the_order_of_layers(seed: int, relabelled: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(5, 1 + relabelled)) + rng.normal(size=1 + relabelled)
    order = rng.permutation(5)
    found = adjusted_p_values(values[:, 0], values[:, 1:])
    turned = adjusted_p_values(values[order, 0], values[order, 1:])
    np.testing.assert_array_equal(found[order], turned)


@pytest.mark.parametrize("shifted", [0, 2])
@pytest.mark.parametrize("common", [0.0, 0.9])
def test_the_family_wise_error_is_controlled(shifted: int, common: float) -> None:
    # Twelve layers on different scales; any false positives count as one error.
    rng = np.random.default_rng(7)
    trials, layers, relabelled, errors, found = 1000, 12, 99, 0, 0
    for _ in range(trials):
        own = rng.normal(size=(layers, 1 + relabelled))
        values = np.sqrt(common) * rng.normal(size=1 + relabelled) + np.sqrt(1 - common) * own
        values = np.exp(values) * np.arange(1, layers + 1)[:, np.newaxis]
        values[:shifted, 0] *= 50
        adjusted = adjusted_p_values(values[:, 0], values[:, 1:])
        errors += bool((adjusted[shifted:] <= 0.05).any())
        found += int((adjusted[:shifted] <= 0.05).sum())
    assert binomtest(errors, trials, 0.05, alternative="greater").pvalue > 0.01
    assert errors >= 0.02 * trials  # not just conservative
    assert found >= 0.8 * shifted * trials


P_VALUES = st.lists(st.one_of(st.floats(0.0, 1.0), st.just(np.nan)), max_size=8)


def slow(p_values: list[float]) -> list[float]:
    """Holm's rule: from the smallest p-value up, each times the number of remaining tests."""
    found = [np.nan] * len(p_values)
    made = [place for place, p in enumerate(p_values) if not np.isnan(p)]
    least = 0.0
    for step, place in enumerate(sorted(made, key=lambda place: p_values[place])):
        least = max(least, min(1.0, p_values[place] * (len(made) - step)))
        found[place] = least
    return found


def test_by_hand() -> None:
    """By hand: 3 x 0.01, then 2 x 0.03, then 1 x 0.04, which must not be lower."""
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    np.testing.assert_array_equal(holm(np.array([0.8, 0.7])), [1.0, 1.0])
    assert holm(np.array([0.04])).tolist() == [0.04]
    assert holm(np.array([])).size == 0


@given(P_VALUES)
def test_holm_follows_its_definition(p_values: list[float]) -> None:
    np.testing.assert_allclose(holm(np.array(p_values, dtype=np.float64)), slow(p_values))


@given(P_VALUES)
def test_missing_p_values_are_not_counted(p_values: list[float]) -> None:
    values = np.array(p_values, dtype=np.float64)
    made = ~np.isnan(values)
    np.testing.assert_array_equal(holm(values)[made], holm(values[made]))
    assert np.isnan(holm(values)[~made]).all()
