"""Grey values against torchvision and the equation; colour distances; outlines of masks."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from matplotlib.path import Path
from torchvision.transforms.v2 import functional

from skiptool.errors import ArgumentError
from skiptool.images import GREY_WEIGHTS, colour_distance, grey, trace_mask

IMAGES = npst.arrays(np.uint8, npst.array_shapes(min_dims=1, max_dims=2).map(lambda s: (*s, 3)))


def test_grey_by_hand() -> None:
    pixels = np.array([[[0, 0, 0], [255, 255, 255]], [[10, 20, 30], [0, 255, 0]]], dtype=np.uint8)
    # 2.989 + 11.74 + 3.42 = 18.149; 0.587 * 255 = 149.685; 0.9999 * 255 = 254.97
    assert grey(pixels).tolist() == [[0, 254], [18, 149]]


@pytest.mark.parametrize("red", [0, 1, 97, 250, 255])
def test_grey_equals_torchvision_for_every_green_and_blue(red: int) -> None:
    level = np.arange(256, dtype=np.uint8)
    planes = np.stack(np.meshgrid(np.array([red], np.uint8), level, level, indexing="ij"))
    expected = functional.rgb_to_grayscale(torch.from_numpy(planes[:, 0]))
    assert np.array_equal(grey(planes[:, 0].transpose(1, 2, 0)), expected[0].numpy())


@given(IMAGES)
def test_grey_is_the_floor_of_the_weighted_sum(image: np.ndarray) -> None:
    weights = [Fraction(str(weight)) for weight in GREY_WEIGHTS]
    for colour, value in zip(image.reshape(-1, 3).tolist(), grey(image).ravel(), strict=True):
        exact = sum(w * c for w, c in zip(weights, colour, strict=True))
        assert value == exact // 1 or (exact % 1 == 0 and value == exact - 1)


def test_grey_of_many_pixels_equals_grey_of_each() -> None:
    image = np.random.default_rng(3).integers(0, 256, (190, 191, 3), dtype=np.uint8)
    rows = np.stack([grey(row) for row in image])
    assert np.array_equal(grey(image), rows)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.uint8(3)]
)
def test_grey_refuses_images_without_colour(image: np.ndarray) -> None:
    with pytest.raises(ArgumentError, match=r"expected uint8 \(\.\.\., 3\)"):
        grey(np.asarray(image))


@given(npst.arrays(np.uint8, (3, 4, 3)), npst.arrays(np.uint8, (3,)))
def test_colour_distance_is_the_largest_difference(image: np.ndarray, colour: np.ndarray) -> None:
    expected = np.abs(image.astype(int) - colour.astype(int)).max(axis=2)
    assert np.array_equal(colour_distance(image, colour), expected)


MASKS = npst.arrays(
    np.bool_, npst.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.booleans()
)


def signed_area(ring: np.ndarray) -> float:
    x, y = ring.T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


@given(MASKS)
def test_filling_the_rings_gives_the_mask_back(mask: np.ndarray) -> None:
    y, x = np.indices(mask.shape)
    middles = np.stack([x.ravel(), y.ravel()], axis=1) + 0.5
    crossings = np.zeros(mask.size, dtype=np.int64)
    for ring in trace_mask(mask):
        crossings += Path(ring).contains_points(middles)
    assert (crossings.reshape(mask.shape) % 2 == mask).all()
    assert sum(map(signed_area, trace_mask(mask))) == mask.sum()  # holes run the other way


@given(MASKS)
def test_rings_are_closed_and_turn_at_every_vertex(mask: np.ndarray) -> None:
    for ring in trace_mask(mask):
        assert (ring[0] == ring[-1]).all()
        steps = np.diff(ring, axis=0)
        assert (steps[::2, 1] == 0).all()
        assert (steps[1::2, 0] == 0).all()
        assert (np.abs(steps).sum(axis=1) >= 1).all()


def test_pixels_that_touch_at_a_corner_stay_apart() -> None:
    assert sorted(map(signed_area, trace_mask(np.eye(3, dtype=bool)))) == [1.0, 1.0, 1.0]
    ring = np.ones((3, 3), dtype=bool)
    ring[1, 1] = False
    assert sorted(map(signed_area, trace_mask(ring))) == [-1.0, 9.0]


def test_nothing_has_no_outline() -> None:
    assert trace_mask(np.zeros((3, 4), dtype=bool)) == []


@given(MASKS)
def test_rings_start_with_a_step_to_the_right_and_are_sorted_by_it(mask: np.ndarray) -> None:
    rings = trace_mask(mask)
    starts = []
    for ring in rings:
        rightward = np.flatnonzero(np.diff(ring[:, 0]) > 0)
        starts.append(min((ring[at, 1], ring[at, 0]) for at in rightward))
        assert starts[-1] == (ring[0, 1], ring[0, 0])
    assert starts == sorted(starts)
