from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from skiptool.distances import histograms
from skiptool.distances.histograms import (
    Range,
    constant_channels,
    count,
    extent,
    frequencies,
    joint_range,
)
from skiptool.errors import ArgumentError
from strategies import feature_pairs, features

Array = NDArray[Any]
BINS = st.sampled_from([1, 2, 3, 7, 10, 64, 100, 255])
# Eight orders of magnitude, fractions no bin width divides, and both signs.
WIDE16 = st.floats(-(2.0**12), 2.0**12, width=16)
WIDE32 = st.floats(-(2.0**10), 2.0**10, width=32).map(lambda value: np.round(value * 2**14) / 2**14)
PAIRS = st.one_of(  # the first with many ties
    *(feature_pairs(np.float16), feature_pairs(np.float16, WIDE16)),
    feature_pairs(np.float32, WIDE32),
)


def joint_of(*sets: Array) -> Range:
    return joint_range(*(extent(x) for x in sets))


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


def test_by_hand() -> None:
    # Range 0..4, four bins: [0, 1), [1, 2), [2, 3), [3, 4].
    x = np.array([[[0.0, 0.5, 1.0, 4.0], [7.0, 7.0, 7.0, 7.0]]])
    y = np.array([[[2.0, 3.0], [7.0, 7.0]]])
    joint = joint_of(x, y)
    assert (joint.low.tolist(), joint.span.tolist()) == ([0.0, 7.0], [4.0, 0.0])
    assert constant_channels(joint).tolist() == [False, True]
    assert count(x, joint, 4).tolist() == [[[2, 1, 0, 1], [4, 0, 0, 0]]]
    assert count(y, joint, 4).tolist() == [[[0, 0, 1, 1], [2, 0, 0, 0]]]
    assert count(x, joint, 4, literal=True).tolist() == [[[2, 1, 0, 0], [0, 0, 0, 0]]]


def test_ties_that_a_multiplication_misplaces() -> None:
    # The middle of the range lies on the lower edge of bin 50, exactly, in float16 as well.
    x = np.array([[[0.0, 12.125, 24.25]]], dtype=np.float16)
    assert floor(12.125 * (100 / 24.25)) == 49
    assert count(x, joint_of(x), 100)[0, 0, 50] == 1


@settings(max_examples=250)
@given(pair=PAIRS, bins=BINS, literal=st.booleans())
def test_equals_equation_5(pair: tuple[Array, Array], bins: int, literal: bool) -> None:
    for x in pair:
        counts = count(x, joint_of(*pair), bins, literal=literal)
        np.testing.assert_array_equal(counts, reference(x, pair, bins, literal))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("bins", [10, 100, 255])
def test_equals_equation_5_on_activations(dtype: type, bins: int) -> None:
    rng = np.random.default_rng(bins)
    x = np.maximum(rng.normal(0.0, 1.0, (2, 2, 100)), 0.0).astype(dtype)
    y = np.maximum(rng.normal(0.3, 2.0, (3, 2, 100)), 0.0).astype(dtype)
    y[0, :, :bins] = (np.arange(100) * (y.max() / bins)).astype(dtype)[:bins]  # on inner edges
    for z in (x, y):
        np.testing.assert_array_equal(count(z, joint_of(x, y), bins), reference(z, (x, y), bins))


@given(x=features(np.float64))
def test_agrees_with_numpy_where_its_edges_are_exact(x: Array) -> None:
    joint = Range(np.full(x.shape[1], -8.0), np.full(x.shape[1], 16.0))
    counts = count(x, joint, 32)
    for image, channel in np.ndindex(x.shape[:2]):
        expected, _ = np.histogram(x[image, channel], bins=32, range=(-8.0, 8.0))
        np.testing.assert_array_equal(counts[image, channel], expected)


@given(pair=feature_pairs(np.float32), bins=BINS)
def test_every_value_is_in_one_bin(pair: tuple[Array, Array], bins: int) -> None:
    x, y = pair
    counts = count(x, joint_of(x, y), bins)
    assert counts.dtype == np.int64
    assert (counts >= 0).all()
    assert (counts.sum(axis=2) == x.shape[2]).all()


@given(
    pair=feature_pairs(np.float32),
    bins=BINS,
    power=st.integers(-6, 6),
    offset=st.integers(-64, 64),
)
def test_positive_affine_maps_leave_the_counts(
    pair: tuple[Array, Array], bins: int, power: int, offset: int
) -> None:
    moved = tuple(x * np.float32(2.0**power) + np.float32(offset * 2.0**power) for x in pair)
    for before, after in zip(pair, moved, strict=True):
        np.testing.assert_array_equal(
            count(before, joint_of(*pair), bins), count(after, joint_of(*moved), bins)
        )


@given(x=features(np.float16), bins=BINS)
def test_images_are_counted_alone(x: Array, bins: int) -> None:
    joint = joint_of(x)
    alone = [count(x[image : image + 1], joint, bins) for image in range(len(x))]
    np.testing.assert_array_equal(count(x, joint, bins), np.concatenate(alone))


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_blocks_do_not_show(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(1).normal(size=(5, 7, 13)).astype(np.float32)
    whole = count(x, joint_of(x), 10)
    monkeypatch.setattr(histograms, "_BLOCK", block)
    np.testing.assert_array_equal(count(x, joint_of(x), 10), whole)


def test_leaves_the_input_alone_and_takes_any_memory_layout() -> None:
    x = np.random.default_rng(2).normal(size=(13, 7, 5))
    x.setflags(write=False)
    turned = x.transpose(2, 1, 0)
    joint = joint_of(turned)
    np.testing.assert_array_equal(count(turned, joint, 9), count(turned.copy(), joint, 9))
    assert count(turned[:0], joint, 4).shape == (0, 7, 4)


@given(pair=feature_pairs(np.float16))
def test_extents_of_stored_ranges_give_the_same_joint_range(pair: tuple[Array, Array]) -> None:
    stored = [tuple(bound.astype(np.float32) for bound in extent(x)) for x in pair]
    joint, again = joint_of(*pair), joint_range(*stored)
    np.testing.assert_array_equal(joint.low, again.low)
    np.testing.assert_array_equal(joint.span, again.span)
    assert joint.low.dtype == joint.span.dtype == np.float64
    for channel in range(pair[0].shape[1]):
        both = np.concatenate([x[:, channel].ravel() for x in pair]).astype(np.float64)
        assert joint.low[channel] == both.min()
        assert joint.low[channel] + joint.span[channel] == both.max()


def test_span_of_float16_does_not_overflow() -> None:
    x = np.array([[[-65504.0, 65504.0]]], dtype=np.float16)
    assert joint_of(x).span.tolist() == [131008.0]
    assert count(x, joint_of(x), 3).tolist() == [[[1, 0, 1]]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_refuses_what_is_not_finite_and_names_the_channel(bad: float) -> None:
    x = np.zeros((2, 3, 4), dtype=np.float32)
    joint = joint_of(x)
    x[1, 2, 0] = bad
    with pytest.raises(ArgumentError, match=r"NaN, infinite, or .* in 1 of 3 channels \(2\)"):
        joint_of(x)
    with pytest.raises(ArgumentError, match=r"NaN, infinite, or .* in 1 of 3 channels \(2\)"):
        count(x, joint, 4)
    with pytest.raises(ArgumentError, match=r"in 9 of 9 channels \(0, 1, 2, 3, 4, \.\.\.\)"):
        joint_of(np.full((1, 9, 1), np.nan))


@pytest.mark.parametrize("value", [-0.25, 1.25])
def test_refuses_values_outside_of_the_range(value: float) -> None:
    joint = Range(np.zeros(2), np.ones(2))
    x = np.array([[[0.5], [value]]])
    with pytest.raises(ArgumentError, match=r"outside of the joint range .* \(1\)"):
        count(x, joint, 100)


def test_refuses_a_span_that_float64_cannot_hold() -> None:
    x = np.array([[[-1e308, 1e308]]])
    with pytest.raises(ArgumentError, match="too far apart for float64"):
        joint_of(x)
    joint = joint_of(x / 2)
    with pytest.raises(ArgumentError, match="too far apart for float64"):
        count(x / 2, joint, 100)


@pytest.mark.parametrize(
    "x", [np.zeros((2, 3)), np.zeros((2, 3, 4), dtype=np.int64), np.zeros((2, 3, 0))]
)
def test_refuses_other_arrays(x: Array) -> None:
    with pytest.raises(ArgumentError, match=r"expected float16, float32 or float64 \(N, D, K\)"):
        extent(x)


@pytest.mark.parametrize(
    "extents",
    [
        (),
        ((np.zeros((1, 2)), np.zeros((1, 2))), (np.zeros((1, 3)), np.zeros((1, 3)))),
        ((np.zeros((0, 2)), np.zeros((0, 2))),),
        ((np.float64(0), np.float64(1)),),
    ],
)
def test_joint_range_refuses_sets_that_do_not_fit(extents: tuple[tuple[Array, Array], ...]) -> None:
    with pytest.raises(ArgumentError, match=r"with one D and at least one image"):
        joint_range(*extents)


def test_refuses_swapped_bounds_other_channels_or_no_bins() -> None:
    with pytest.raises(ArgumentError, match="lower at their highest than at their lowest"):
        joint_range((np.ones(2), np.array([2.0, 0.0])))
    joint = Range(np.zeros(2), np.ones(2))
    with pytest.raises(ArgumentError, match="features have 3 channels"):
        count(np.zeros((1, 3, 1)), joint, 10)
    with pytest.raises(ArgumentError, match="bins is 0, expected at least 1"):
        count(np.zeros((1, 2, 1)), joint, 0)


def test_frequencies_by_hand() -> None:
    counts = np.array([[1, 3, 0], [2, 0, 0]])
    assert frequencies(counts).tolist() == [[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]]
    assert frequencies(counts, 4).tolist() == [[0.25, 0.75, 0.0], [0.5, 0.0, 0.0]]
    assert frequencies(np.zeros((1, 2), dtype=np.int64), 4).tolist() == [[0.0, 0.0]]


def test_frequencies_refuse_empty_rows_and_too_many_counts() -> None:
    with pytest.raises(ArgumentError, match=r"rows add up to 0\.\.1; expected 1 or more"):
        frequencies(np.array([[0, 0], [1, 0]]))
    with pytest.raises(ArgumentError, match=r"rows add up to 3\.\.3 of 2 values"):
        frequencies(np.array([[1, 2]]), 2)
