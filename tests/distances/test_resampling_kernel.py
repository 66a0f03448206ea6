from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from skiptool.distances.resampling_kernel import (
    _between,
    left_out_hellinger,
    permuted_hellinger,
    permuted_totals,
)
from strategies import SEEDS

Array = NDArray[Any]


def by_roots(p: Array, q: Array) -> float:
    """Eq. (9) as half the squared differences of roots, summed in order."""
    differences = np.sqrt(p / p.sum()) - np.sqrt(q / q.sum())
    return float(np.sqrt(np.square(differences).sum() / 2))


@given(
    p=st.lists(st.integers(0, 10**6), min_size=1, max_size=40).filter(any),
    factor=st.integers(1, 1000),
    moved=st.integers(0, 3),
    data=st.data(),
)
def test_small_distances_keep_their_digits(
    p: list[int], factor: int, moved: int, data: st.DataObject
) -> None:
    first = np.array(p, dtype=np.int64)
    second = first * factor
    second[data.draw(st.integers(0, len(p) - 1))] += moved
    assert _between(first, first + second) == pytest.approx(
        by_roots(first, second), rel=1e-9, abs=1e-15
    )
    assert _between(first, 2 * first) == 0


def test_distances_by_hand() -> None:
    assert _between(np.array([4, 0]), np.array([4, 9])) == 1.0
    assert _between(np.array([1, 1, 0]), np.array([6, 1, 5])) == pytest.approx(np.sqrt(0.5), 1e-15)
    assert np.isnan(_between(np.array([0, 0]), np.array([0, 9])))


@given(seed=SEEDS, dtype=st.sampled_from([np.uint16, np.uint32]), cuts=st.integers(1, 6))
def test_any_stretches_give_the_same_sums(seed: int, dtype: type, cuts: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, 99, (n, 2, 5)).astype(dtype) for n in (6, 7))
    chosen = np.sort(rng.permuted(np.tile(np.arange(13), (4, 1)), axis=1)[:, :6], axis=1)
    chosen = chosen.astype(np.int32)
    edges = np.linspace(0, 13, cuts + 1).astype(int)
    bounds = np.array([np.searchsorted(row, edges) for row in chosen], dtype=np.int32)
    sums = np.empty((2, 4, 32), np.int64)
    scratch = (np.zeros((13, 32), dtype), np.empty(32, dtype))
    permuted_totals(a, b, chosen, bounds, *scratch, sums)
    pool = np.concatenate([a, b]).astype(np.int64)
    np.testing.assert_array_equal(sums[..., :5], pool[chosen].sum(axis=1).transpose(1, 0, 2))
    assert not sums[..., 5:].any()
    found = np.empty((2, 4))
    wide = (np.empty((4, 32), np.int64), np.empty(32, np.int64))
    permuted_hellinger(a, b, chosen, bounds, *scratch, *wide, found)
    rest = pool.sum(axis=0)[:, np.newaxis] - sums[..., :5]
    for place in np.ndindex(found.shape):
        expected = by_roots(sums[..., :5][place], rest[place])
        assert found[place] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("paired", [False, True])
def test_nothing_left_is_no_number(paired: bool) -> None:
    a, b = np.ones((1, 2, 3), np.uint16), np.ones((1 if paired else 2, 2, 3), np.uint16)
    squares = np.zeros((2, 1 if paired else 3))
    left_out_hellinger(a, b, paired, *np.empty((2, 3)), squares)
    assert np.isnan(squares[:, 0]).all()
    assert (squares[:, 1:] == 0).all()
