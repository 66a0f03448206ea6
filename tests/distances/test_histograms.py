from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from skiptool.distances.histograms import (
    Range,
    constant_channels,
    extent,
    frequencies,
    joint_range,
    lowest_and_highest,
)
from skiptool.errors import ArgumentError
from strategies import SEEDS, feature_pairs

Array = NDArray[Any]
FLOATS = pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])


def joint_of(*sets: Array) -> Range:
    return joint_range(*(extent(x) for x in sets))


def test_by_hand() -> None:
    x = np.array([[[0.0, 0.5, 1.0, 4.0], [7.0, 7.0, 7.0, 7.0]]])
    y = np.array([[[2.0, 3.0], [7.0, 7.0]]])
    joint = joint_of(x, y)
    assert (joint.low.tolist(), joint.span.tolist()) == ([0.0, 7.0], [4.0, 0.0])
    assert constant_channels(joint).tolist() == [False, True]


@FLOATS
@given(seed=SEEDS, shape=st.tuples(*(st.integers(1, n) for n in (4, 4, 70))), odd=st.booleans())
def test_extents_are_those_of_numpy(
    dtype: type, seed: int, shape: tuple[int, int, int], odd: bool
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(0.0, 100.0, shape).astype(dtype)
    if odd:  # infinite values are found, NaN spreads over its row
        x.ravel()[rng.integers(0, x.size, 3)] = rng.permutation([np.nan, np.inf, -np.inf])
    low, high = extent(x)
    assert low.dtype == high.dtype == dtype
    np.testing.assert_array_equal(low, x.min(axis=2))
    np.testing.assert_array_equal(high, x.max(axis=2))


@FLOATS
@given(data=st.data())
def test_extents_of_any_float(dtype: type, data: st.DataObject) -> None:
    elements = npst.from_dtype(np.dtype(dtype))  # subnormal, infinite and NaN among them
    x = data.draw(npst.arrays(dtype, (1, 2, 5), elements=elements))
    low, high = extent(x)
    np.testing.assert_array_equal(low, x.min(axis=2))
    np.testing.assert_array_equal(high, x.max(axis=2))


def test_extents_take_any_memory_layout_and_byte_order() -> None:
    x = np.random.default_rng(2).normal(size=(13, 7, 5)).astype(np.float32)
    x.setflags(write=False)
    turned = x.transpose(2, 1, 0)
    for each in (turned, turned.astype(">f4"), turned.astype(">f2").astype(">f8")):
        np.testing.assert_array_equal(extent(each)[0], each.min(axis=2))
        np.testing.assert_array_equal(extent(each)[1], each.max(axis=2))
    assert extent(turned[:0])[0].shape == (0, 7)


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


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_joint_range_refuses_what_is_not_finite_and_names_the_channel(bad: float) -> None:
    x = np.zeros((2, 3, 4), dtype=np.float32)
    x[1, 2, 0] = bad
    with pytest.raises(ArgumentError, match=r"NaN, infinite, or .* in 1 of 3 channels \(2\)"):
        joint_of(x)
    with pytest.raises(ArgumentError, match=r"in 9 of 9 channels \(0, 1, 2, 3, 4, \.\.\.\)"):
        joint_of(np.full((1, 9, 1), bad))


def test_joint_range_refuses_a_span_that_float64_cannot_hold() -> None:
    with pytest.raises(ArgumentError, match="too far apart for float64"):
        joint_of(np.array([[[-1e308, 1e308]]]))


@pytest.mark.parametrize(
    "x",
    [
        *(np.zeros((2, 3)), np.zeros((2, 3, 4), dtype=np.int64), np.zeros((2, 3, 0))),
        *(
            np.zeros((2, 0, 3)),
            np.zeros((1, 1, 1), np.complex64),
            np.zeros((1, 1, 1), np.longdouble),
        ),
    ],
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


def test_joint_range_refuses_swapped_bounds() -> None:
    with pytest.raises(ArgumentError, match="lower at their highest than at their lowest"):
        joint_range((np.ones(2), np.array([2.0, 0.0])))


def test_frequencies_by_hand() -> None:
    counts = np.array([[1, 3, 0], [2, 0, 0]])
    assert frequencies(counts).tolist() == [[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]]
    assert frequencies(counts, 4).tolist() == [[0.25, 0.75, 0.0], [0.5, 0.0, 0.0]]
    assert frequencies(np.zeros((1, 2), dtype=np.int64), 4).tolist() == [[0.0, 0.0]]


def test_frequencies_of_small_counters_do_not_overflow() -> None:
    counts = np.full((2, 3), 60_000, dtype=np.uint16)
    np.testing.assert_array_equal(frequencies(counts), np.full((2, 3), 1 / 3))


def test_frequencies_refuse_empty_rows_and_too_many_counts() -> None:
    with pytest.raises(ArgumentError, match=r"rows add up to 0\.\.1; expected 1 or more"):
        frequencies(np.array([[0, 0], [1, 0]]))
    with pytest.raises(ArgumentError, match=r"rows add up to 3\.\.3 of 2 values"):
        frequencies(np.array([[1, 2]]), 2)


def test_extremes_of_rows() -> None:
    x = np.array([[1.0, -2.0, 3.0], [np.inf, 0.0, 1.0], [1.0, 0.0, np.nan], [np.nan, 0.0, 1.0]])
    low, high = np.empty((2, 4))
    lowest_and_highest(x, low, high)
    np.testing.assert_array_equal(low, [-2.0, 0.0, np.nan, np.nan])
    np.testing.assert_array_equal(high, [3.0, np.inf, np.nan, np.nan])
