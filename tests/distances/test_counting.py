from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import product
from math import floor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from skiptool.distances.binned import hellinger
from skiptool.distances.bins import (
    MAX_BINS,
    Binning,
    Range,
    constant_channels,
    equal_width,
    joint_range,
    merge_counts,
    quantile_bins,
    sweep_binning,
)
from skiptool.distances.counting import (
    _FAR,
    _SHORT_BINS,
    UnbinnedActivation,
    activation_extremes,
    count_activations,
    division_terms,
    frequencies,
    lowest_and_highest,
    product_terms,
)
from skiptool.errors import ArgumentError
from strategies import SEEDS, feature_pairs, features

Array = NDArray[Any]
FLOATS = pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])


def joint_of(*sets: Array) -> Range:
    return joint_range(*(activation_extremes(x) for x in sets))


def test_by_hand() -> None:
    x = np.array([[[0.0, 0.5, 1.0, 4.0], [7.0, 7.0, 7.0, 7.0]]])
    y = np.array([[[2.0, 3.0], [7.0, 7.0]]])
    joint = joint_of(x, y)
    assert (joint.low.tolist(), joint.span.tolist()) == ([0.0, 7.0], [4.0, 0.0])
    assert constant_channels(joint).tolist() == [False, True]


@FLOATS
@given(seed=SEEDS, shape=st.tuples(*(st.integers(1, n) for n in (4, 4, 70))), odd=st.booleans())
def test_extremes_agree_with_numpy(
    dtype: type, seed: int, shape: tuple[int, int, int], odd: bool
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(0.0, 100.0, shape).astype(dtype)
    if odd:  # infinite values are found, NaN spreads over its row
        x.ravel()[rng.integers(0, x.size, 3)] = rng.permutation([np.nan, np.inf, -np.inf])
    low, high = activation_extremes(x)
    assert low.dtype == high.dtype == dtype
    np.testing.assert_array_equal(low, x.min(axis=2))
    np.testing.assert_array_equal(high, x.max(axis=2))


@FLOATS
@given(data=st.data())
def test_extremes_of_any_float_type(dtype: type, data: st.DataObject) -> None:
    elements = npst.from_dtype(np.dtype(dtype))  # including subnormal, infinite and NaN
    x = data.draw(npst.arrays(dtype, (1, 2, 5), elements=elements))
    low, high = activation_extremes(x)
    np.testing.assert_array_equal(low, x.min(axis=2))
    np.testing.assert_array_equal(high, x.max(axis=2))


def test_extremes_of_any_memory_layout_and_byte_order() -> None:
    x = np.random.default_rng(2).normal(size=(13, 7, 5)).astype(np.float32)
    x.setflags(write=False)
    turned = x.transpose(2, 1, 0)
    for each in (turned, turned.astype(">f4"), turned.astype(">f2").astype(">f8")):
        np.testing.assert_array_equal(activation_extremes(each)[0], each.min(axis=2))
        np.testing.assert_array_equal(activation_extremes(each)[1], each.max(axis=2))
    assert activation_extremes(turned[:0])[0].shape == (0, 7)


def test_frequencies_by_hand() -> None:
    counts = np.array([[1, 3, 0], [2, 0, 0]])
    assert frequencies(counts).tolist() == [[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]]
    assert frequencies(counts, 4).tolist() == [[0.25, 0.75, 0.0], [0.5, 0.0, 0.0]]
    assert frequencies(np.zeros((1, 2), dtype=np.int64), 4).tolist() == [[0.0, 0.0]]


def test_frequencies_of_small_counters_do_not_overflow() -> None:
    counts = np.full((2, 3), 60_000, dtype=np.uint16)
    np.testing.assert_array_equal(frequencies(counts), np.full((2, 3), 1 / 3))


def test_frequencies_refuse_empty_rows_and_too_many_counts() -> None:
    with pytest.raises(ArgumentError, match=r"rows sum to 0\.\.1; expected 1 or more"):
        frequencies(np.array([[0, 0], [1, 0]]))
    with pytest.raises(ArgumentError, match=r"rows sum to 3\.\.3 of 2 values"):
        frequencies(np.array([[1, 2]]), 2)


def test_extremes_of_rows() -> None:
    x = np.array([[1.0, -2.0, 3.0], [np.inf, 0.0, 1.0], [1.0, 0.0, np.nan], [np.nan, 0.0, 1.0]])
    low, high = np.empty((2, 4))
    lowest_and_highest(x, low, high)
    np.testing.assert_array_equal(low, [-2.0, 0.0, np.nan, np.nan])
    np.testing.assert_array_equal(high, [3.0, np.inf, np.nan, np.nan])


BINS = st.sampled_from([1, 2, 3, 7, 10, 64, 100, 255])
MANY = st.sampled_from([1, 2, 7, 100, 255, 1000, 1024, 1025, MAX_BINS])
# Eight orders of magnitude, fractions no bin width divides, and both signs.
WIDE16 = st.floats(-(2.0**12), 2.0**12, width=16)
WIDE32 = st.floats(-(2.0**10), 2.0**10, width=32).map(lambda value: np.round(value * 2**14) / 2**14)
PAIRS = st.one_of(  # the first with many ties
    feature_pairs(np.float16),
    feature_pairs(np.float16, WIDE16),
    feature_pairs(np.float32, WIDE32),
    feature_pairs(np.float64),
)
DTYPES = (np.float16, np.float32, np.float64)
FLOATS_BINNING = pytest.mark.parametrize("dtype", DTYPES)


def counted(x: Array, joint: Range, bins: int, **how: bool) -> Array:
    return count_activations(x, equal_width(joint, bins, **how))


def by_equation_5(x: Array, low: Fraction, span: Fraction, bins: int, literal: bool) -> list[int]:
    """Eqs. (4) and (5) for the values of one row, edge by edge in rational arithmetic."""
    edges = [Fraction(b, bins) * span + low for b in range(bins + 1)]
    counts = [0] * bins
    for value in map(Fraction, x.astype(float).tolist()):
        for b in range(bins):
            counts[b] += edges[b] <= value < edges[b + 1]
        if not literal and value == edges[-1]:
            counts[bins - 1 if span else 0] += 1
    return counts


def reference(x: Array, sets: tuple[Array, ...], bins: int, literal: bool = False) -> Array:
    counts = np.zeros((*x.shape[:2], bins), dtype=np.int64)
    for channel in range(x.shape[1]):
        values = [Fraction(float(v)) for a in sets for v in a[:, channel].ravel()]
        low, span = min(values), max(values) - min(values)
        for image in range(x.shape[0]):
            counts[image, channel] = by_equation_5(x[image, channel], low, span, bins, literal)
    return counts


def tallied(index: Array, bins: int) -> Array:
    """Count indices (..., K) up to B, the last bin closed: counts (..., B)."""
    rows = np.minimum(index, bins - 1).reshape(-1, index.shape[-1]).astype(np.int64)
    found = [np.bincount(row, minlength=bins) for row in rows]
    return np.reshape(found, (*index.shape[:-1], bins))


def by_division(x: Array, joint: Range, bins: int) -> Array:
    """Count by the rule of the docstring, clamped: floor((x - low) * B / span) in float64."""
    low, span = joint.low[:, np.newaxis], joint.span[:, np.newaxis]
    offset = np.clip(x.astype(np.float64) - low, 0.0, span)
    return tallied(np.floor(offset * bins / span), bins)


def test_binning_by_hand() -> None:
    # Range 0..4, four bins: [0, 1), [1, 2), [2, 3), [3, 4].
    x = np.array([[[0.0, 0.5, 1.0, 4.0], [7.0, 7.0, 7.0, 7.0]]])
    y = np.array([[[2.0, 3.0], [7.0, 7.0]]])
    joint = joint_of(x, y)
    assert counted(x, joint, 4).tolist() == [[[2, 1, 0, 1], [4, 0, 0, 0]]]
    assert counted(y, joint, 4).tolist() == [[[0, 0, 1, 1], [2, 0, 0, 0]]]
    assert counted(x, joint, 4, literal=True).tolist() == [[[2, 1, 0, 0], [0, 0, 0, 0]]]


@FLOATS_BINNING
def test_values_that_multiplication_would_misplace(dtype: type) -> None:
    # The middle of the range lies on the lower edge of bin 50, exactly, in float16 as well.
    x = np.array([[[0.0, 12.125, 24.25]]], dtype=dtype)
    assert floor(12.125 * (100 / 24.25)) == 49
    assert counted(x, joint_of(x), 100)[0, 0, 50] == 1


@pytest.mark.long
@settings(max_examples=250)
@given(pair=PAIRS, bins=BINS, literal=st.booleans())
def test_counts_equal_equation_5(pair: tuple[Array, Array], bins: int, literal: bool) -> None:
    for x in pair:
        counts = counted(x, joint_of(*pair), bins, literal=literal)
        np.testing.assert_array_equal(counts, reference(x, pair, bins, literal))


@FLOATS_BINNING
@pytest.mark.parametrize("bins", [10, 100, 255])
def test_counts_of_activations_equal_equation_5(dtype: type, bins: int) -> None:
    rng = np.random.default_rng(bins)
    x = np.maximum(rng.normal(0.0, 1.0, (2, 2, 100)), 0.0).astype(np.float32).astype(dtype)
    y = np.maximum(rng.normal(0.3, 2.0, (3, 2, 100)), 0.0).astype(np.float32).astype(dtype)
    edges = np.arange(100) * (y.max() / bins)  # some values lie on them, exactly
    y[0, :, :bins] = edges.astype(np.float32).astype(dtype)[:bins]
    for z in (x, y):
        np.testing.assert_array_equal(counted(z, joint_of(x, y), bins), reference(z, (x, y), bins))


@pytest.mark.parametrize("bins", [1, 3, 100, 1000, 1024, 1025, 3000, MAX_BINS])
@pytest.mark.parametrize("most", [2.0**-14, 1.0, 24.25, 60_000.0, 65_504.0])
def test_every_float16_falls_into_the_bin_of_equation_5(bins: int, most: float) -> None:
    # Including subnormals and both zeros; multiples of 2**-24, so integers decide exactly.
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    x = x[np.isfinite(x) & (np.abs(x.astype(np.float64)) <= most)].reshape(1, 1, -1)
    steps = (x.astype(np.float64) * 2.0**24).astype(np.int64)
    index = (steps - steps.min()) * bins // (steps.max() - steps.min())
    np.testing.assert_array_equal(counted(x, joint_of(x), bins), tallied(index, bins))


@settings(max_examples=300)
@given(
    dtype=st.sampled_from(DTYPES),
    low=st.one_of(st.just(0.0), st.floats(-100.0, 100.0)),
    span=st.one_of(st.integers(1, 64).map(float), st.floats(1e-3, 1e3)),
    bins=MANY,
    seed=SEEDS,
)
def test_counts_next_to_edges_equal_the_division_rule(
    dtype: type, low: float, span: float, bins: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    joint = Range(np.array([low]), np.array([span]))
    near = (low + span * rng.integers(-1, bins + 2, 300) / bins).astype(dtype)
    up, down = (np.nextafter(near, dtype(sign * np.inf)) for sign in (1, -1))
    between = rng.uniform(low - span, low + 2 * span, 301).astype(dtype)
    x = np.concatenate([near, up, down, between]).reshape(1, 1, -1)
    expected = by_division(x, joint, bins)
    np.testing.assert_array_equal(counted(x, joint, bins, clamp=True), expected)
    offset = x.astype(np.float64) - low
    inside = x[(offset >= 0) & (offset <= span)].reshape(1, 1, -1)
    if inside.size:
        np.testing.assert_array_equal(
            counted(inside, joint, bins), by_division(inside, joint, bins)
        )


POWERS = {np.float16: (-24, 0, 5), np.float32: (-149, -140, -126, -100, 0, 100, 117)}
POWERS[np.float64] = (-1074, -1070, -1020, *POWERS[np.float32], 1005, 1013)
SIZES = [(dtype, power) for dtype, powers in POWERS.items() for power in powers]


@pytest.mark.parametrize(("dtype", "power"), SIZES)
@pytest.mark.parametrize("bins", [7, 100, 1000, MAX_BINS])
def test_spans_of_any_size(dtype: type, bins: int, power: int) -> None:
    unit = Fraction(2) ** power  # values are small multiples of it, exact in every type
    steps = np.random.default_rng(bins).integers(0, 1000, 999)
    steps[:4] = 0, 1, 500, 1000
    x = np.array([float(unit * int(step)) for step in steps]).astype(dtype).reshape(1, 1, -1)
    assert [Fraction(float(v)) for v in x.ravel()] == [unit * int(step) for step in steps]
    expected = tallied(steps.reshape(1, 1, -1) * bins // 1000, bins)
    if float(unit) * 1000 * bins < np.inf:
        np.testing.assert_array_equal(counted(x, joint_of(x), bins), expected)
        np.testing.assert_array_equal(counted(x, joint_of(x), bins, clamp=True), expected)
    else:
        with pytest.raises(ArgumentError, match="channel 0 are too far apart for float64"):
            counted(x, joint_of(x), bins)


@pytest.mark.long
def test_negative_zero_is_zero() -> None:
    for dtype in DTYPES:
        x = np.array([[[-0.0, 0.0, 1.0, -1.0]]], dtype=dtype)
        assert counted(np.abs(x), joint_of(np.abs(x)), 4).tolist() == [[[2, 0, 0, 2]]]
        assert counted(x[..., :3], joint_of(x[..., :3]), 4).tolist() == [[[2, 0, 0, 1]]]
        assert counted(x, joint_of(x), 4).tolist() == [[[1, 0, 2, 1]]]
        edges = quantile_bins(np.array([[0.0]]))
        assert count_activations(x, edges).tolist() == [[[1, 3]]]


@given(x=features(np.float64))
def test_counts_agree_with_numpy_for_exact_edges(x: Array) -> None:
    joint = Range(np.full(x.shape[1], -8.0), np.full(x.shape[1], 16.0))
    counts = counted(x, joint, 32)
    for image, channel in np.ndindex(x.shape[:2]):
        expected, _ = np.histogram(x[image, channel], bins=32, range=(-8.0, 8.0))
        np.testing.assert_array_equal(counts[image, channel], expected)


@given(pair=PAIRS, bins=MANY)
def test_every_value_is_in_one_bin(pair: tuple[Array, Array], bins: int) -> None:
    x, y = pair
    counts = counted(x, joint_of(x, y), bins)
    assert counts.dtype == np.uint16
    assert counts.shape == (*x.shape[:2], bins)
    assert (counts.sum(axis=2) == x.shape[2]).all()


@pytest.mark.long
@pytest.mark.parametrize(("vectors", "dtype"), [(65_535, np.uint16), (65_536, np.uint32)])
@pytest.mark.parametrize("bins", [100, MAX_BINS])
def test_counters_hold_all_vectors(vectors: int, dtype: type, bins: int) -> None:
    x = np.zeros((1, 2, vectors), dtype=np.float16)
    x[0, 1] = np.random.default_rng(0).integers(0, 500, vectors)
    joint = Range(np.zeros(2), np.array([0.0, 499.0]))
    for binning in (equal_width(joint, bins), quantile_bins(np.array([[0.5], [-1.0]]))):
        counts = count_activations(x, binning)
        assert counts.dtype == dtype
        assert (counts.sum(axis=2, dtype=np.int64) == vectors).all()
        assert counts[0, 0, 0] == vectors
    expected = tallied(x[:, 1:].astype(np.int64) * bins // 499, bins)
    np.testing.assert_array_equal(counted(x, joint, bins)[:, 1:], expected)


@FLOATS_BINNING
@pytest.mark.parametrize("bins", [100, 1000])
def test_one_table_counts_the_same_as_four(dtype: type, bins: int) -> None:
    # Rows with few values for their bins go into one table, the same values in one row into four.
    x = np.maximum(np.random.default_rng(3).normal(size=(30, 1, 131)), 0.0).astype(dtype)
    together = x.reshape(1, 1, -1)
    joint = joint_of(x)
    for binning in (equal_width(joint, bins), quantile_bins(np.linspace(0, 2, bins - 1)[None])):
        assert x.shape[2] < 2 * bins <= together.shape[2]
        apart = count_activations(x, binning).sum(axis=0, keepdims=True)
        np.testing.assert_array_equal(count_activations(together, binning), apart)


@given(
    pair=feature_pairs(np.float32),
    bins=BINS,
    power=st.integers(-6, 6),
    offset=st.integers(-64, 64),
)
def test_positive_affine_maps_do_not_change_counts(
    pair: tuple[Array, Array], bins: int, power: int, offset: int
) -> None:
    moved = tuple(x * np.float32(2.0**power) + np.float32(offset * 2.0**power) for x in pair)
    for before, after in zip(pair, moved, strict=True):
        np.testing.assert_array_equal(
            counted(before, joint_of(*pair), bins), counted(after, joint_of(*moved), bins)
        )


@given(x=features(np.float16), bins=BINS)
def test_images_are_counted_separately(x: Array, bins: int) -> None:
    joint = joint_of(x)
    alone = [counted(x[image : image + 1], joint, bins) for image in range(len(x))]
    np.testing.assert_array_equal(counted(x, joint, bins), np.concatenate(alone))


def test_channels_have_separate_ranges() -> None:
    x = (
        np.random.default_rng(4).normal(size=(5, 7, 300)).astype(np.float32)
        * np.arange(1, 8)[:, None]
    )
    x = x.astype(np.float32)
    together = counted(x, joint_of(x), 50)
    alone = [counted(x[:, d : d + 1], joint_of(x[:, d : d + 1]), 50) for d in range(7)]
    np.testing.assert_array_equal(together, np.concatenate(alone, axis=1))


@pytest.mark.long
@FLOATS_BINNING
def test_input_is_not_modified_and_may_have_any_memory_layout(dtype: type) -> None:
    x = np.random.default_rng(2).normal(size=(13, 7, 5)).astype(dtype)
    x.setflags(write=False)
    turned = x.transpose(2, 1, 0)
    joint = joint_of(turned)
    expected = counted(turned.copy(), joint, 9)
    np.testing.assert_array_equal(counted(turned, joint, 9), expected)
    swapped = turned.astype(np.dtype(dtype).newbyteorder(">"))
    np.testing.assert_array_equal(counted(swapped, joint, 9), expected)
    assert counted(turned[:0], joint, 4).shape == (0, 7, 4)


def test_threads_count_the_same() -> None:
    x = np.random.default_rng(5).normal(size=(64, 8, 300)).astype(np.float16)
    binning = equal_width(joint_of(x), 100)
    with ThreadPoolExecutor(4) as pool:
        parts = list(
            pool.map(lambda at: count_activations(x[at : at + 4], binning), range(0, 64, 4))
        )
    np.testing.assert_array_equal(np.concatenate(parts), count_activations(x, binning))


@pytest.mark.parametrize("bins", [1, 2, 5, 3000])
def test_constant_channels(bins: int) -> None:
    x = np.full((1, 1, 3), 2.5)
    joint = joint_of(x)
    assert counted(x, joint, bins)[0, 0, 0] == 3
    assert counted(x, joint, bins, literal=True).sum() == 0
    assert (
        merge_counts(
            count_activations(x, sweep_binning(joint, [bins, 3])),
            sweep_binning(joint, [bins, 3]),
            bins,
        )[0, 0, 0]
        == 3
    )
    # In a range of nearly zero width, values clamped from above are in the last bin; here too.
    x[0, 0, 0], x[0, 0, 1] = 7.0, -7.0
    expected = by_division(x, Range(joint.low, joint.span + 1e-9), bins)
    np.testing.assert_array_equal(counted(x, joint, bins, clamp=True), expected)
    binning = sweep_binning(joint, [bins, 3], clamp=True)
    np.testing.assert_array_equal(
        merge_counts(count_activations(x, binning), binning, bins), expected
    )
    with pytest.raises(
        UnbinnedActivation, match="image 0, channel 0: activation 7 is outside the range"
    ):
        counted(x, joint, bins)


@given(pair=PAIRS, bins=BINS)
def test_clamped_values_are_in_the_end_bins(pair: tuple[Array, Array], bins: int) -> None:
    x, y = pair
    joint = joint_of(x)
    ends = joint.low[:, None], (joint.low + joint.span)[:, None]
    live = joint.span > 0
    inside = np.clip(y.astype(np.float64), *ends)[:, live]
    clamped = counted(y, joint, bins, clamp=True)
    if inside.size:
        part = Range(joint.low[live], joint.span[live])
        np.testing.assert_array_equal(clamped[:, live], counted(inside, part, bins))
    np.testing.assert_array_equal(counted(x, joint, bins, clamp=True), counted(x, joint, bins))


SWEEPS = st.lists(st.sampled_from([*range(1, 13), 20, 50, 100, 110]), min_size=1, max_size=5)


@pytest.mark.long
@settings(max_examples=200)
@given(pair=PAIRS, bins=SWEEPS, clamp=st.booleans())
def test_a_sweep_equals_separate_counts(
    pair: tuple[Array, Array], bins: list[int], clamp: bool
) -> None:
    x, y = pair
    joint = joint_of(x) if clamp else joint_of(x, y)
    binning = sweep_binning(joint, bins, clamp=clamp)
    counts = count_activations(y, binning)
    assert counts.shape[2] == binning.counters <= sum(bins)
    for each in bins:
        expected = counted(y, joint, each, clamp=clamp)
        np.testing.assert_array_equal(merge_counts(counts, binning, each), expected)


def test_a_sweep_of_many_numbers_of_bins() -> None:
    bins = range(10, 120, 10)
    x = np.maximum(np.random.default_rng(6).normal(size=(3, 2, 500)), 0.0).astype(np.float16)
    binning = sweep_binning(joint_of(x), bins)
    counts = count_activations(x, binning)
    assert (binning.bins, counts.shape[2] < 500) == (277_200, True)
    totals = counts.sum(axis=0)
    for each in bins:
        found = merge_counts(counts, binning, each)
        assert found.dtype == np.uint16
        np.testing.assert_array_equal(found, counted(x, joint_of(x), each))
        np.testing.assert_array_equal(merge_counts(totals, binning, each), found.sum(axis=0))


def test_counts_are_merged_only_if_edges_coincide() -> None:
    joint = Range(np.zeros(1), np.ones(1))
    binning = sweep_binning(joint, [10, 15])
    x = np.random.default_rng(7).uniform(size=(1, 1, 99))
    x[0, 0, :2] = 0.0, 1.0
    counts = count_activations(x, binning)
    for each in (1, 2, 3, 5):  # their edges are among those of 10 and 15
        np.testing.assert_array_equal(merge_counts(counts, binning, each), counted(x, joint, each))
    for each in (6, 7, 30, 60):
        with pytest.raises(ArgumentError, match=f"not of {each} bins"):
            merge_counts(counts, binning, each)
    plain = equal_width(joint, 10)
    assert merge_counts(count_activations(x, plain), plain, 10).shape == (1, 1, 10)
    with pytest.raises(ArgumentError, match="not of 5 bins"):
        merge_counts(count_activations(x, plain), plain, 5)


@FLOATS_BINNING
@settings(max_examples=60)
@given(data=st.data())
def test_quantile_bins_follow_searchsorted(dtype: type, data: st.DataObject) -> None:
    values = st.integers(-64, 64).map(lambda value: value / 8)
    shape = (data.draw(st.integers(1, 3)), data.draw(st.integers(0, 9)))
    edges = np.sort(data.draw(npst.arrays(np.float64, shape, elements=values)), axis=1)
    x = data.draw(npst.arrays(dtype, (2, shape[0], 6), elements=values))
    counts = count_activations(x, quantile_bins(edges))
    for image, channel in np.ndindex(x.shape[:2]):
        index = np.searchsorted(edges[channel], x[image, channel], side="right")
        expected = np.bincount(index, minlength=shape[1] + 1)
        np.testing.assert_array_equal(counts[image, channel], expected)


def test_quantile_bins_of_any_edges() -> None:
    rng = np.random.default_rng(8)
    x = rng.normal(size=(2, 3, 500)).astype(np.float32)
    edges = np.sort(rng.normal(size=(999, 3)), axis=0).T  # not contiguous
    counts = count_activations(x, quantile_bins(edges))
    for image, channel in np.ndindex(2, 3):
        index = np.searchsorted(edges[channel], x[image, channel], side="right")
        np.testing.assert_array_equal(counts[image, channel], np.bincount(index, minlength=1000))


HOW: dict[str, Callable[[Range], Binning]] = {
    "plain": lambda joint: equal_width(joint, 4),
    "clamp": lambda joint: equal_width(joint, 4, clamp=True),
    "literal": lambda joint: equal_width(joint, 4, literal=True),
    "many": lambda joint: equal_width(joint, 4000, clamp=True),
    "sweep": lambda joint: sweep_binning(joint, [4, 6]),
    "clamped sweep": lambda joint: sweep_binning(joint, [4, 6], clamp=True),
    "edges": lambda joint: quantile_bins(np.repeat(joint.low[:, np.newaxis], 3, axis=1)),
}


@FLOATS_BINNING
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("how", HOW)
def test_nonfinite_values_are_refused_in_every_mode(dtype: type, bad: float, how: str) -> None:
    for span, place in product([0.0, 1.0, 1e-305, 1e200], [0, 255, 256, 298]):
        x = np.zeros((2, 3, 299), dtype=dtype)
        x[1, 2, place] = bad
        binning = HOW[how](Range(np.zeros(3), np.full(3, span)))
        with pytest.raises(UnbinnedActivation) as caught:
            count_activations(x, binning)
        error = caught.value
        assert (error.image, error.channel) == (1, 2)
        assert str(error) == f"image 1, channel 2: activation {bad:g} is not finite"
        assert np.array_equal(error.value, bad, equal_nan=True)


@FLOATS_BINNING
@pytest.mark.parametrize("literal", [False, True])
@pytest.mark.parametrize("bins", [1, 100, 1000, 2000])
@pytest.mark.parametrize("value", [-0.25, -6e-8, 1.0009765625, 1.25])
def test_values_out_of_range_are_refused(
    dtype: type, literal: bool, bins: int, value: float
) -> None:
    joint = Range(np.zeros(2), np.ones(2))
    x = np.full((2, 2, 3), 0.5, dtype=dtype)
    x[1, 1, 2] = value
    with pytest.raises(
        UnbinnedActivation, match=r"^image 1, channel 1: activation .* is outside the range"
    ):
        counted(x, joint, bins, literal=literal)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("span", [1e-10, 1.0, 1e25])
@pytest.mark.parametrize("bins", [1, 100, 2000])
def test_the_next_float_outside_the_range_is_refused(dtype: type, span: float, bins: int) -> None:
    span = float(dtype(span))
    joint = Range(np.zeros(1), np.full(1, span))
    for inside, outside in ((0.0, -np.inf), (span, np.inf)):
        value = np.nextafter(dtype(inside), dtype(outside))
        assert counted(np.full((1, 1, 1), inside, dtype), joint, bins).sum() == 1
        with pytest.raises(UnbinnedActivation, match="outside the range"):
            counted(np.full((1, 1, 1), value), joint, bins)


def test_a_span_times_bins_beyond_float64_is_refused() -> None:
    x = np.array([[[-4e307, 4e307]]])
    assert counted(x, joint_of(x), 2).tolist() == [[[1, 1]]]
    with pytest.raises(ArgumentError, match="channel 0 are too far apart for float64"):
        equal_width(joint_of(x), 100)


def test_invalid_arrays_channels_and_numbers_of_bins_are_refused() -> None:
    joint = Range(np.zeros(2), np.ones(2))
    with pytest.raises(ArgumentError, match=r"expected float16, float32 or float64 \(N, D, K\)"):
        counted(np.zeros((2, 3), dtype=np.int64), joint, 10)
    with pytest.raises(ArgumentError, match="features have 3 channels, the bins 2"):
        counted(np.zeros((1, 3, 1)), joint, 10)
    for bins in (0, MAX_BINS + 1):
        with pytest.raises(ArgumentError, match=f"bins is {bins}, expected 1 to 4096"):
            equal_width(joint, bins)


def distance(x: Array, y: Array, binning: Binning) -> Array:
    p, q = (frequencies(count_activations(z, binning).sum(axis=0, dtype=np.int64)) for z in (x, y))
    return hellinger(p, q)


@given(pair=PAIRS, bins=BINS)
def test_distance_of_counts_follows_the_equations(pair: tuple[Array, Array], bins: int) -> None:
    x, y = pair
    found = distance(x, y, equal_width(joint_of(x, y), bins))
    p, q = (reference(z, pair, bins).sum(axis=0).tolist() for z in pair)
    with localcontext(prec=50):
        for channel, value in enumerate(found):
            n, m = Decimal(sum(p[channel])), Decimal(sum(q[channel]))
            both = zip(p[channel], q[channel], strict=True)
            shared = sum(((a / n) * (b / m)).sqrt() for a, b in both)
            assert abs(value - float(max(1 - shared, Decimal(0)).sqrt())) <= 1e-12


@given(pair=PAIRS, third=SEEDS, bins=BINS)
def test_distance_of_counts_is_a_bounded_metric(
    pair: tuple[Array, Array], third: int, bins: int
) -> None:
    x, y = pair
    rng = np.random.default_rng(third)
    both = np.concatenate([x.reshape(-1, 1), y.reshape(-1, 1)])
    z = rng.choice(both.ravel(), x.shape)
    binning = equal_width(joint_of(x, y, z), bins)
    xy, yx = distance(x, y, binning), distance(y, x, binning)
    xz, zy = distance(x, z, binning), distance(z, y, binning)
    np.testing.assert_array_equal(xy, yx)
    assert ((xy >= 0) & (xy <= 1)).all()
    assert (xy <= xz + zy + 1e-12).all()
    assert (distance(x, x, binning) == 0).all()


@given(
    pair=feature_pairs(np.float64),
    bins=BINS,
    factor=st.integers(1, 999),
    offset=st.integers(-999, 999),
)
def test_distance_is_unchanged_by_positive_affine_maps(
    pair: tuple[Array, Array], bins: int, factor: int, offset: int
) -> None:
    x, y = pair
    moved = [z * factor + offset for z in pair]  # multiples of 1/8: exact
    before = distance(x, y, equal_width(joint_of(x, y), bins))
    after = distance(*moved, equal_width(joint_of(*moved), bins))
    np.testing.assert_array_equal(before, after)


LOW, SPAN = np.array([-1.0, 2.0]), np.array([4.0, 0.0])


def test_division_terms_by_hand() -> None:
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


def test_product_terms_by_hand() -> None:
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
def test_float32_is_not_used_if_it_loses_digits(low: float, span: float, bins: int) -> None:
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
def test_terms_of_any_range_cause_no_warning(
    low: float, span: float, bins: int, clamp: bool, literal: bool, dtype: type
) -> None:
    rule = (np.array([low]), np.array([span]), bins, clamp, literal)
    assert not np.isnan(division_terms(*rule)).any()
    assert not np.isnan(product_terms(*rule, np.dtype(dtype))).any()
