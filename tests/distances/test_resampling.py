from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from skiptool.distances.binned import (
    _LANES,
    _LINE,
    DISTANCES,
    Distance,
    _aligned_zeros,
    leave_one_out_distances,
    permuted_distances,
)
from skiptool.distances.counting import frequencies
from skiptool.names import Metric
from strategies import SEEDS

Array = NDArray[Any]
HELLINGER = DISTANCES[Metric.HELLINGER]
ALL = pytest.mark.parametrize("metric", DISTANCES)
TYPES = pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def counts(
    rng: np.random.Generator, units: int, channels: int, bins: int, values: int, dtype: type
) -> Array:
    """Draw counts (U, D, B) of units with ``values`` values, each with its own distribution."""
    shares = rng.dirichlet(np.full(bins, 0.3), (units, channels))
    return rng.multinomial(values, shares).astype(dtype)


def drawn(rng: np.random.Generator, relabellings: int, pool: int, size: int) -> Array:
    order = rng.permuted(np.tile(np.arange(pool), (relabellings, 1)), axis=1)
    return np.sort(order[:, :size], axis=1).astype(np.int32)


def permuted_slowly(a: Array, b: Array, chosen: Array, distance: Distance) -> Array:
    pool = np.concatenate([a, b]).astype(np.int64)
    found = []
    for row in chosen:
        p = pool[row].sum(axis=0)
        q = np.delete(pool, row, axis=0).sum(axis=0)
        found.append(distance.function(frequencies(p), frequencies(q)))
    return np.stack(found, axis=1)


def measured_slowly(p: Array, q: Array, distance: Distance) -> Array:
    value = distance.function(frequencies(p), frequencies(q))
    return value**2 if distance.squared else value


def left_out_slowly(a: Array, b: Array, distance: Distance, paired: bool) -> tuple[Array, ...]:
    def without(sets: tuple[Array, Array]) -> Array:
        return measured_slowly(*(each.sum(axis=0, dtype=np.int64) for each in sets), distance)

    def less(x: Array, unit: int) -> Array:
        return np.delete(x, unit, axis=0)

    if paired:
        return (np.stack([without((less(a, u), less(b, u))) for u in range(len(a))], axis=1),)
    first = np.stack([without((less(a, u), b)) for u in range(len(a))], axis=1)
    return first, np.stack([without((a, less(b, u))) for u in range(len(b))], axis=1)


@pytest.mark.long
@ALL
@TYPES
@given(seed=SEEDS, n=st.integers(1, 7), m=st.integers(1, 7), bins=st.sampled_from([1, 5, 32, 33]))
def test_permuted_agrees_with_sums_of_units(
    metric: Metric, dtype: type, seed: int, n: int, m: int, bins: int
) -> None:
    rng = np.random.default_rng(seed)
    a, b = (counts(rng, units, 2, bins, 50, dtype) for units in (n, m))
    chosen = drawn(rng, 5, n + m, n)  # n > m: the others are summed and the sets swapped
    found = permuted_distances(a, b, chosen, DISTANCES[metric])
    assert found.shape == (2, 5)
    np.testing.assert_allclose(found, permuted_slowly(a, b, chosen, DISTANCES[metric]), **CLOSE)


def test_direction_survives_summing_the_smaller_part() -> None:
    # One unit of b against five of a: the divergence from the five to the one, not back.
    a, b = (np.array(rows, np.uint16)[:, np.newaxis] for rows in ([[9, 1]] * 5, [[5, 5]]))
    chosen = np.arange(5, dtype=np.int32)[np.newaxis]
    distance = DISTANCES[Metric.KL]
    forth, back = (
        distance.function(frequencies(p), frequencies(q))
        for p, q in ((a[0] * 5, b[0]), (b[0], a[0] * 5))
    )
    assert abs(forth - back) > 0.01
    np.testing.assert_allclose(permuted_distances(a, b, chosen, distance)[:, 0], forth, rtol=1e-12)


@ALL
@pytest.mark.parametrize(
    ("dtype", "units", "values"),
    [
        (np.uint16, 700, 64),  # three stretches of 256 units
        (np.uint16, 600, 250),  # 256 of them would fill 64,000 of 65,535
        (np.uint16, 600, 300),  # 218 fit
        (np.uint16, 60, 65_535),  # one fits
        (np.uint16, 60, 40_000),
        (np.uint32, 600, 70_000),
        (np.uint32, 40, 2_000_000_000),  # two fit
    ],
)
def test_sums_do_not_overflow(metric: Metric, dtype: type, units: int, values: int) -> None:
    rng = np.random.default_rng(values)
    n = units // 3
    a, b = (np.zeros((size, 2, 3), dtype) for size in (n, units - n))
    a[:, :, 1] = b[:, :, 1] = values  # all values in one bin: the most that a counter must hold
    a[:, 0] = counts(rng, n, 1, 3, min(values, 2**31 - 1), dtype)[:, 0]
    chosen = drawn(rng, 3, units, n)
    chosen[0] = np.arange(n)
    found = permuted_distances(a, b, chosen, DISTANCES[metric])
    np.testing.assert_allclose(found, permuted_slowly(a, b, chosen, DISTANCES[metric]), **CLOSE)


def test_unequal_units_and_types() -> None:
    # Units are subjects: some hold many values, which need 32 bit, in one of the sets only.
    rng = np.random.default_rng(1)
    a = counts(rng, 300, 2, 40, 200, np.uint16)
    b = counts(rng, 90, 2, 40, 60_000, np.uint32) * np.arange(1, 91, dtype=np.uint32)[:, None, None]
    for x, y in ((a, b), (b, a)):
        chosen = drawn(rng, 4, 390, len(x))
        found = permuted_distances(x, y, chosen, HELLINGER)
        np.testing.assert_allclose(found, permuted_slowly(x, y, chosen, HELLINGER), **CLOSE)


@ALL
def test_one_of_each_pair_is_drawn(metric: Metric) -> None:
    rng = np.random.default_rng(2)
    a, b = (counts(rng, 300, 2, 33, 50, np.uint16) for _ in range(2))
    chosen = np.sort(np.arange(300) + 300 * rng.integers(0, 2, (4, 300)), axis=1).astype(np.int32)
    found = permuted_distances(a, b, chosen, DISTANCES[metric])
    np.testing.assert_allclose(found, permuted_slowly(a, b, chosen, DISTANCES[metric]), **CLOSE)


@ALL
@pytest.mark.parametrize("size", [1, 4])
def test_the_identity_relabelling_ties_with_the_plain_distance(metric: Metric, size: int) -> None:
    # Nearly equal sets: here rounding of 1 - BC under a root would be seen first.
    rng = np.random.default_rng(3)
    a = counts(rng, size, 3, 50, 40_000, np.uint16)
    b = np.concatenate([a, a])
    b[0, :, :2] = b[0, :, 1::-1]
    distance = DISTANCES[metric]
    observed = distance.function(*(frequencies(x.sum(axis=0, dtype=np.int64)) for x in (a, b)))
    found = permuted_distances(a, b, np.arange(size, dtype=np.int32)[np.newaxis], distance)[:, 0]
    np.testing.assert_allclose(found, observed, rtol=1e-9, atol=1e-15)


@ALL
@pytest.mark.parametrize("size", [1, 4])
def test_no_relabellings(metric: Metric, size: int) -> None:
    a, b = np.ones((size, 2, 3), np.uint16), np.ones((2, 2, 3), np.uint16)
    chosen = np.empty((0, size), np.int32)
    assert permuted_distances(a, b, chosen, DISTANCES[metric]).shape == (2, 0)


def test_input_is_not_modified_and_may_have_any_memory_layout() -> None:
    rng = np.random.default_rng(4)
    whole = counts(rng, 9, 6, 7, 50, np.uint16)
    a, b = whole[:4, ::2], whole[4:, 1::2]
    a.setflags(write=False)
    chosen = drawn(rng, 3, 9, 4)
    before = chosen.copy()
    found = permuted_distances(a, b, chosen, HELLINGER)
    np.testing.assert_array_equal(found, permuted_distances(a.copy(), b.copy(), chosen, HELLINGER))
    for one, other in zip(
        leave_one_out_distances(a, b, HELLINGER, paired=False),
        leave_one_out_distances(a.copy(), b.copy(), HELLINGER, paired=False),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(chosen, before)


@ALL
@TYPES
@pytest.mark.parametrize("paired", [False, True])
@given(seed=SEEDS, n=st.integers(2, 6), m=st.integers(2, 6), bins=st.sampled_from([1, 5, 33]))
def test_leave_one_out_agrees_with_measuring_again(
    metric: Metric, dtype: type, paired: bool, seed: int, n: int, m: int, bins: int
) -> None:
    rng = np.random.default_rng(seed)
    a, b = (counts(rng, units, 3, bins, 50, dtype) for units in (n, n if paired else m))
    found = leave_one_out_distances(a, b, DISTANCES[metric], paired=paired)
    expected = left_out_slowly(a, b, DISTANCES[metric], paired)
    assert [each.shape for each in found] == [each.shape for each in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


@ALL
@pytest.mark.parametrize("paired", [False, True])
def test_leave_one_out_of_full_counters(metric: Metric, paired: bool) -> None:
    rng = np.random.default_rng(5)
    a = counts(rng, 40, 2, 5, 65_535, np.uint16)
    b = counts(rng, 40, 2, 5, 70_000, np.uint32)  # K beyond 16 bit in one set
    found = leave_one_out_distances(a, b, DISTANCES[metric], paired=paired)
    expected = left_out_slowly(a, b, DISTANCES[metric], paired)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-14)


@ALL
@pytest.mark.parametrize(("n", "m"), [(1, 3), (3, 1), (1, 1)])
def test_leaving_out_a_single_unit_gives_nan(metric: Metric, n: int, m: int) -> None:
    rng = np.random.default_rng(6)
    a, b = (counts(rng, units, 2, 5, 50, np.uint16) for units in (n, m))
    for units, found in zip(
        (n, m), leave_one_out_distances(a, b, DISTANCES[metric], paired=False), strict=True
    ):
        assert found.shape == (2, units)
        assert np.isnan(found).all() == (units == 1)
    (pairs,) = leave_one_out_distances(a[:1], b[:1], DISTANCES[metric], paired=True)
    assert pairs.shape == (2, 1)
    assert np.isnan(pairs).all()


@TYPES
@given(number=st.integers(1, 9), lanes=st.integers(1, 5))
def test_rows_are_aligned_to_cache_lines(dtype: type, number: int, lanes: int) -> None:
    rows = _aligned_zeros(number, lanes * _LANES, np.dtype(dtype))
    assert rows.shape == (number, lanes * _LANES)
    assert rows.flags.c_contiguous
    assert all(row.ctypes.data % _LINE == 0 for row in rows)
    assert not rows.any()
