from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as Pictures

from skiptool.model.resize import resize_images, resize_masks

if TYPE_CHECKING:
    from skiptool.records import UInt8


def smooth_noise(height: int, width: int) -> UInt8:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    large = Pictures.fromarray(coarse).resize((width, height), Pictures.Resampling.BICUBIC)
    return np.clip(np.asarray(large).astype(int) + rng.integers(-9, 9), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "size"), [(300, 300, 128), (96, 160, 50), (64, 64, 96)]
)
def test_images_equal_those_of_pillow_within_a_grey_level(
    height: int, width: int, size: int
) -> None:
    image = smooth_noise(height, width)
    result = resize_images(image[None], size)
    theirs = Pictures.fromarray(image).resize((size, size), Pictures.Resampling.BICUBIC)
    assert result.shape == (1, size, size, 3)
    assert np.abs(result[0].astype(int) - np.asarray(theirs)).max() <= 1


def test_noise_equals_that_of_pillow_within_a_grey_level() -> None:
    image = np.random.default_rng(1).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    theirs = Pictures.fromarray(image).resize((64, 64), Pictures.Resampling.BICUBIC)
    result = resize_images(image[None], 64)[0]
    assert np.abs(result.astype(int) - np.asarray(theirs)).max() <= 1


def test_images_do_not_depend_on_threads_or_batches() -> None:
    images = np.stack([smooth_noise(120, 120), 255 - smooth_noise(120, 120)])
    images.flags.writeable = False
    expected = resize_images(images, 50)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            np.testing.assert_array_equal(resize_images(images, 50), expected)
    finally:
        torch.set_num_threads(before)
    with ThreadPoolExecutor(2) as pool:
        single = list(pool.map(lambda image: resize_images(image[None], 50)[0], images))
    np.testing.assert_array_equal(np.stack(single), expected)


def area_by_area(mask: UInt8, size: int) -> UInt8:
    """Follow the rule with fractions, pixel by pixel."""
    height, width = mask.shape
    resized = np.empty((size, size), np.uint8)
    for y, x in np.ndindex(size, size):
        areas: Counter[int] = Counter()
        for row, column in np.ndindex(height, width):
            high = min(Fraction(row + 1), Fraction((y + 1) * height, size))
            wide = min(Fraction(column + 1), Fraction((x + 1) * width, size))
            high -= max(Fraction(row), Fraction(y * height, size))
            wide -= max(Fraction(column), Fraction(x * width, size))
            if high > 0 and wide > 0:
                areas[int(mask[row, column])] += high * wide  # type: ignore[assignment]
        most = max(areas.values())
        resized[y, x] = max(label for label, area in areas.items() if area == most)
    return resized


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.integers(1, 8), st.integers(1, 8)),
        elements=st.sampled_from([0, 1, 3, 255]),
    ),
    st.integers(1, 6),
)
def test_masks_take_the_label_of_most_area(mask: UInt8, size: int) -> None:
    np.testing.assert_array_equal(resize_masks(mask[None], size)[0], area_by_area(mask, size))


def test_ties_go_to_the_highest_label() -> None:
    mask = np.array([[0, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1]], np.uint8)
    np.testing.assert_array_equal(resize_masks(mask[None], 2), [[[1, 0], [0, 1]]])


def test_disc_keeps_its_area() -> None:
    rows, columns = np.mgrid[:300, :300]
    disc = ((rows - 141) ** 2 + (columns - 153) ** 2 < 90**2).astype(np.uint8)
    small = resize_masks(disc[None], 128)[0]
    assert small.mean() == pytest.approx(disc.mean(), rel=0.005)


@pytest.mark.long
def test_large_masks_do_not_overflow() -> None:
    mask = np.ones((1, 2, 70_000), np.uint8)
    mask[0, 0, 0] = 0
    assert resize_masks(mask, 2).all()
    tall = np.zeros((1, 70_000, 2), np.uint8)
    tall[0, 40_000:] = 1
    np.testing.assert_array_equal(resize_masks(tall, 2), [[[0, 0], [1, 1]]])


def test_stacked_masks_are_resized_individually() -> None:
    masks = np.stack([np.zeros((9, 9), np.uint8), np.full((9, 9), 255, np.uint8)])
    np.testing.assert_array_equal(resize_masks(masks, 4), masks[:, :4, :4])
