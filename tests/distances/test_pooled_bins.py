from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from definitions import REACHED, pooled_groups
from skiptool.distances.binned import hellinger
from skiptool.distances.histograms import frequencies
from skiptool.distances.pooled_bins import pool_bins, pooled_bins
from strategies import SEEDS

Counts = NDArray[Any]


@st.composite
def counted(draw: st.DrawFn, *, alike: bool = False) -> tuple[Counts, Counts]:
    """Draw counts (U, D, B) and (V, D, B) of units of K values each, sparse as real ones."""
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
def test_labels_do_not_matter(counts: tuple[Counts, Counts], seed: int) -> None:
    first, second = counts
    pool = np.concatenate([first, second])
    pool = pool[np.random.default_rng(seed).permutation(len(pool))]
    again = pooled_bins(pool[: len(first)], pool[len(first) :], paired=False)
    np.testing.assert_array_equal(again, pooled_bins(first, second, paired=False))
    np.testing.assert_array_equal(again, pooled_bins(second, first, paired=False))


@given(counts=counted(alike=True), seed=SEEDS)
def test_the_order_of_pairs_and_who_is_who_does_not_matter(
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
def test_the_number_of_values_of_a_set_does_not_matter(
    counts: tuple[Counts, Counts], factor: int, side: int
) -> None:
    more = list(counts)
    more[side] = counts[side].astype(np.uint32) * factor
    np.testing.assert_array_equal(
        pooled_bins(more[0], more[1], paired=False), pooled_bins(*counts, paired=False)
    )


@given(counts=counted())
def test_enough_units_reach_every_bin_but_a_single_one(counts: tuple[Counts, Counts]) -> None:
    first, second = counts
    bins = pooled_bins(first, second, paired=False)
    pooled = np.concatenate([pool_bins(each, bins) for each in counts]).astype(np.float64)
    n, m = len(first), len(second)
    for d in range(bins.shape[0]):
        last = bins[d].max()
        if last:
            held = pooled[:, d, : last + 1]
            reached = held.sum(axis=0) ** 2 / np.square(held).sum(axis=0)
            # What is left over may lower the last one only if few units hold it.
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
def test_nothing_is_lost_and_no_bin_added(counts: tuple[Counts, Counts]) -> None:
    first, _ = counts
    bins = pooled_bins(*counts, paired=False)
    found = pool_bins(first, bins)
    assert (found.dtype, found.shape) == (first.dtype, first.shape)
    for d in range(bins.shape[0]):
        for number, members in enumerate(groups(bins[d])):
            np.testing.assert_array_equal(found[:, d, number], first[:, d, members].sum(axis=1))
        assert not found[:, d, bins[d].max() + 1 :].any()


def test_by_hand() -> None:
    # Five units of each set: 2.5 of the smaller one are 5 of all ten.
    one = np.zeros((5, 1, 6), np.uint16)
    one[:, 0, 1] = 4  # all five of one set, equally: reached just so
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
    """Of 5 and 5 units, 5 of 10; of pairs, 5: with rounding, as fifths do not add up to 1."""
    counts = np.zeros((units, 1, 2), np.uint16)
    counts[:, 0, 0], counts[:, 0, 1] = 3, 7
    empty = counts if paired else counts[:, :, ::-1].copy()
    assert pooled_bins(counts, empty, paired=paired).tolist() == expected


def test_four_pairs_leave_a_single_bin() -> None:
    counts = np.full((4, 1, 3), 5, np.uint16)
    assert pooled_bins(counts, counts, paired=True).tolist() == [[0, 0, 0]]


def test_the_larger_a_set_the_more_units_are_needed() -> None:
    """Of 20 and 4 units 15 must reach a bin, of 12 and 12 five."""
    big, small = np.zeros((20, 1, 2), np.uint16), np.zeros((4, 1, 2), np.uint16)
    big[:, 0, 1], small[:, 0, 1] = 9, 9
    big[:14, 0], small[:0, 0] = [9, 0], [9, 0]
    assert pooled_bins(big, small, paired=False).tolist() == [[0, 0]]
    big[14, 0] = [9, 0]
    assert pooled_bins(big, small, paired=False).tolist() == [[0, 0]]  # 9 are left for bin 1
    many = np.zeros((24, 1, 2), np.uint16)
    many[:5, 0, 0], many[5:, 0, 1] = 9, 9
    assert pooled_bins(many[:12], many[12:], paired=False).tolist() == [[0, 1]]


def test_units_that_hold_nearly_as_much_weigh_by_the_mean() -> None:
    """The rule does not depend on which unit comes first."""
    rng = np.random.default_rng(0)
    shares = rng.multinomial(2**16, np.full(8, 1 / 8), (9, 2)).astype(np.uint32)
    scaled = shares * rng.integers(999, 1001, (9, 1, 1), endpoint=True).astype(np.uint32)
    found = pooled_bins(scaled, shares, paired=False)
    np.testing.assert_array_equal(pooled_bins(scaled[::-1], shares[::-1], paired=False), found)


@given(counts=counted(), seed=SEEDS)
def test_a_channel_does_not_depend_on_the_others(counts: tuple[Counts, Counts], seed: int) -> None:
    first, second = counts
    assume(first.shape[1] > 1)
    whole = pooled_bins(first, second, paired=False)
    alone = pooled_bins(first[:, 1:2].copy(), second[:, 1:2].copy(), paired=False)
    np.testing.assert_array_equal(whole[1:2], alone)
    both = (pool_bins(first, whole)[:, 1:2], pool_bins(first[:, 1:2].copy(), alone))
    np.testing.assert_array_equal(*both)
