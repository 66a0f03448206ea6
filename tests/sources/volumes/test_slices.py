from __future__ import annotations

from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from skiptool.sources.volumes.slices import (
    crop_or_pad,
    padded_size,
    resample_slice,
    resampled_length,
    rescale_slice,
)

SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
GREYS = arrays.arrays(np.int16, SHAPES, elements=st.integers(-1000, 4000))


@given(GREYS)
def test_rescaling_maps_the_lowest_to_0_and_the_highest_to_1(slice_: np.ndarray) -> None:
    found, low, high = rescale_slice(slice_)
    assert (low, high) == (slice_.min(), slice_.max())
    assert found.dtype == np.float32
    assert found.shape == slice_.shape
    for value, grey in zip(found.flat, slice_.flat, strict=True):
        exact = 0.0 if low == high else (float(grey) - low) / (high - low)
        assert value == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("value", [0, -7, 1e30, float(np.finfo(np.float64).max)])
def test_constant_slice_becomes_zero(value: float) -> None:
    found, low, high = rescale_slice(np.full((3, 4), value), (1.0, 99.0))
    assert (found == 0).all()
    assert low == high == value


def test_extreme_values_do_not_overflow() -> None:
    edge = float(np.finfo(np.float64).max)
    found, _, _ = rescale_slice(np.array([[-edge, 0.0, edge]]))
    assert found.tolist() == [[0.0, 0.5, 1.0]]


def test_percentiles_clip_values_beyond_them() -> None:
    slice_ = np.arange(101.0).reshape(1, -1)
    found, low, high = rescale_slice(slice_, (10.0, 90.0))
    assert (low, high) == (10.0, 90.0)
    assert found[0, [0, 10, 50, 90, 100]].tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_equal_percentiles_use_the_whole_range() -> None:
    slice_ = np.zeros((10, 10))
    slice_[0, 0] = 4.0
    found, low, high = rescale_slice(slice_, (5.0, 95.0))
    assert (low, high, found.max(), found.sum()) == (0.0, 4.0, 1.0, 1.0)


@given(st.integers(1, 5000))
def test_padded_size_is_the_smallest_multiple(longest: int) -> None:
    found = padded_size(longest)
    assert found % 32 == 0
    assert found - 32 < longest <= found


@given(
    arrays.arrays(np.uint8, st.tuples(*[st.integers(1, 12)] * 3), elements=st.integers(1, 255)),
    st.integers(1, 12),
    st.sampled_from([0, 255]),
)
def test_cropping_and_padding_match_a_slow_reference(
    slices: np.ndarray, size: int, fill: int
) -> None:
    found, top, left = crop_or_pad(slices, size, fill)
    assert found.shape == (len(slices), size, size)
    height, width = slices.shape[1:]
    for place, row, column in np.ndindex(found.shape):
        y, x = row + top, column + left
        inside = 0 <= y < height and 0 <= x < width
        assert found[place, row, column] == (slices[place, y, x] if inside else fill)
    # as much on either side, the one more at the end
    for length, start in ((height, top), (width, left)):
        after = length - size - start
        assert after - start in (0, 1, -1)
        assert abs(after) >= abs(start)


@given(GREYS, st.floats(0.4, 1.0), st.floats(0.4, 1.0))
def test_finer_pixels_are_interpolated(slice_: np.ndarray, ratio_y: float, ratio_x: float) -> None:
    spacing = (1 / ratio_y, 1 / ratio_x)
    found = resample_slice(slice_, spacing, 1.0)
    assert found.shape == tuple(
        resampled_length(n, s, 1.0) for n, s in zip(slice_.shape, spacing, strict=True)
    )
    for row, column in np.ndindex(found.shape):
        place = [
            min(max((p - (m - 1) / 2) / s + (n - 1) / 2, 0.0), n - 1.0)
            for p, m, s, n in zip((row, column), found.shape, spacing, slice_.shape, strict=True)
        ]
        y, x = (min(floor(p), n - 1) for p, n in zip(place, slice_.shape, strict=True))
        below, right = min(y + 1, slice_.shape[0] - 1), min(x + 1, slice_.shape[1] - 1)
        v, u = place[0] - y, place[1] - x
        upper = (1 - u) * slice_[y, x] + u * slice_[y, right]
        lower = (1 - u) * slice_[below, x] + u * slice_[below, right]
        assert found[row, column] == pytest.approx((1 - v) * upper + v * lower, abs=1e-6)


def test_resampling_to_the_same_spacing_is_the_identity() -> None:
    slice_ = np.random.default_rng(0).integers(0, 9, (7, 5))
    assert (resample_slice(slice_, (1.3, 1.3), 1.3) == slice_).all()
    assert (resample_slice(slice_.astype(np.uint8), (1.3, 1.3), 1.3, labels=True) == slice_).all()


def test_labels_stay_labels_and_images_are_smoothed() -> None:
    stripes = np.zeros((32, 32))
    stripes[:, ::2] = 100.0
    coarse = resample_slice(stripes, (1.0, 1.0), 4.0)
    assert coarse.shape == (8, 8)
    assert coarse[2:-2, 2:-2] == pytest.approx(50.0, abs=2.0)
    labels = np.zeros((32, 32), dtype=np.uint8)
    labels[:16] = 3
    labels[:, :16] = 255
    found = resample_slice(labels, (1.0, 1.0), 2.5, labels=True)
    assert found.dtype == np.uint8
    assert set(found.flat) == {0, 3, 255}


def test_resampled_slice_has_at_least_one_pixel() -> None:
    assert resampled_length(3, 1.0, 50.0) == 1
    assert resample_slice(np.ones((3, 3)), (1.0, 1.0), 50.0).shape == (1, 1)
