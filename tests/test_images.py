"""Grey values and Otsu's threshold against torchvision, OpenCV and the equations."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torchvision.transforms.v2 import functional

from skiptool.errors import ArgumentError
from skiptool.images import GREY_WEIGHTS, colour_distance, grey, otsu

IMAGES = npst.arrays(np.uint8, npst.array_shapes(min_dims=1, max_dims=2).map(lambda s: (*s, 3)))
VALUES = npst.arrays(np.uint8, npst.array_shapes(max_dims=2, max_side=12))


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
def test_grey_refuses_what_is_no_colour_image(image: np.ndarray) -> None:
    with pytest.raises(ArgumentError, match=r"expected uint8 \(\.\.\., 3\)"):
        grey(np.asarray(image))


def test_otsu_by_hand() -> None:
    # between-class variance of {1, 1} | {5, 9}: 0.25 * 36 = 9; of {1, 1, 5} | {9}: 0.1875 * 44.4
    assert otsu(np.array([1, 1, 5, 9], dtype=np.uint8)) == 1


@given(VALUES)
def test_otsu_maximises_the_variance_between_classes(values: np.ndarray) -> None:
    threshold = otsu(values)
    exact = [Fraction(int(value)) for value in values.ravel()]

    def between(level: int) -> Fraction:
        low = [value for value in exact if value <= level]
        high = [value for value in exact if value > level]
        if not low or not high:
            return Fraction(0)
        gap = sum(low) / len(low) - sum(high) / len(high)
        return gap**2 * len(low) * len(high)

    if values.min() == values.max():
        assert threshold == values.min()
    else:
        best = max(between(level) for level in {*values.ravel().tolist()})
        assert between(threshold) >= best * (1 - Fraction(1, 10**9))


@given(st.integers(0, 2**32 - 1))
def test_otsu_equals_opencv(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.clip(np.r_[rng.normal(80, 20, 300), rng.normal(190, 12, 500)], 0, 255).astype(
        np.uint8
    )
    expected, _ = cv2.threshold(values[None], 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    assert otsu(values) == int(expected)


@pytest.mark.parametrize("values", [np.zeros(0, np.uint8), np.ones(4, np.int64)])
def test_otsu_refuses_what_it_cannot_part(values: np.ndarray) -> None:
    with pytest.raises(ArgumentError, match="expected at least one, uint8"):
        otsu(values)


@given(npst.arrays(np.uint8, (3, 4, 3)), npst.arrays(np.uint8, (3,)))
def test_colour_distance_is_the_largest_difference(image: np.ndarray, colour: np.ndarray) -> None:
    expected = np.abs(image.astype(int) - colour.astype(int)).max(axis=2)
    assert np.array_equal(colour_distance(image, colour), expected)
