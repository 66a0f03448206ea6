from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from skiptool.distances.bins import Range, check_features, joint_range, sweep_binning
from skiptool.distances.counting import activation_extremes
from skiptool.errors import ArgumentError
from strategies import feature_pairs

Array = NDArray[Any]


def joint_of(*sets: Array) -> Range:
    return joint_range(*(activation_extremes(x) for x in sets))


@given(pair=feature_pairs(np.float16))
def test_stored_ranges_give_the_same_joint_range(pair: tuple[Array, Array]) -> None:
    stored = [tuple(bound.astype(np.float32) for bound in activation_extremes(x)) for x in pair]
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
def test_joint_range_refuses_nonfinite_values_and_names_the_channel(bad: float) -> None:
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
        np.zeros((2, 3)),
        np.zeros((2, 3, 4), dtype=np.int64),
        np.zeros((2, 3, 0)),
        np.zeros((2, 0, 3)),
        np.zeros((1, 1, 1), np.complex64),
        np.zeros((1, 1, 1), np.longdouble),
    ],
)
def test_invalid_arrays_are_refused(x: Array) -> None:
    with pytest.raises(ArgumentError, match=r"expected float16, float32 or float64 \(N, D, K\)"):
        check_features(x)


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
    with pytest.raises(ArgumentError, match=r"with the same D and at least one image"):
        joint_range(*extents)


def test_joint_range_refuses_swapped_bounds() -> None:
    with pytest.raises(ArgumentError, match="lower at their highest than at their lowest"):
        joint_range((np.ones(2), np.array([2.0, 0.0])))


def test_invalid_sweeps_are_refused() -> None:
    joint = Range(np.zeros(1), np.array([1e303]))
    with pytest.raises(ArgumentError, match=r"multiple is 16760835, at\s+most 1048576"):
        sweep_binning(joint, [4095, 4095 - 2, 1])
    with pytest.raises(ArgumentError, match="too far apart for float64"):
        sweep_binning(joint, [1023, 1024])  # each alone is accepted
    assert sweep_binning(joint, [512, 1024]).counters == 1024
