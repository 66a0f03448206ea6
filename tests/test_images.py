"""Grey values against torchvision and the equation; colour distances."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.extra import numpy as npst
from torchvision.transforms.v2 import functional

from skiptool.errors import ArgumentError
from skiptool.images import GREY_WEIGHTS, colour_distance, grey

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
