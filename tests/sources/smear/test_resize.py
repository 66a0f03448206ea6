from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as Pictures
from torch.nn.functional import interpolate

from skiptool.sources.smear.resize import resize_image, resize_mask

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
    result = resize_image(image, size)
    theirs = Pictures.fromarray(image).resize((size, size), Pictures.Resampling.BICUBIC)
    assert result.shape == (size, size, 3)
    assert np.abs(result.astype(int) - np.asarray(theirs)).max() <= 1


def test_noise_equals_that_of_pillow_within_a_grey_level() -> None:
    image = np.random.default_rng(1).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    theirs = Pictures.fromarray(image).resize((64, 64), Pictures.Resampling.BICUBIC)
    result = resize_image(image, 64)
    assert np.abs(result.astype(int) - np.asarray(theirs)).max() <= 1


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90), st.sampled_from([1, 3])),
    st.integers(1, 70),
    st.sampled_from([1, 255]),
    st.integers(0, 99),
)
def test_images_equal_those_of_torch_to_the_bit(
    shape: tuple[int, int, int], size: int, step: int, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256 // step + 1, shape) * step
    image = image.clip(max=255).astype(np.uint8)
    theirs = interpolate(
        torch.from_numpy(image[None]).permute(0, 3, 1, 2),
        size=(size, size),
        mode="bicubic",
        antialias=True,
    )
    np.testing.assert_array_equal(resize_image(image, size), theirs[0].permute(1, 2, 0).numpy())


def test_an_image_of_the_size_of_a_smear_equals_that_of_torch() -> None:
    image = smooth_noise(1500, 1496)
    theirs = interpolate(
        torch.from_numpy(image[None]).permute(0, 3, 1, 2),
        size=(512, 512),
        mode="bicubic",
        antialias=True,
    )
    np.testing.assert_array_equal(resize_image(image, 512), theirs[0].permute(1, 2, 0).numpy())


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
    np.testing.assert_array_equal(resize_mask(mask, size), area_by_area(mask, size))


def test_ties_go_to_the_highest_label() -> None:
    mask = np.array([[0, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1]], np.uint8)
    np.testing.assert_array_equal(resize_mask(mask, 2), [[1, 0], [0, 1]])


def test_disc_keeps_its_area() -> None:
    rows, columns = np.mgrid[:300, :300]
    disc = ((rows - 141) ** 2 + (columns - 153) ** 2 < 90**2).astype(np.uint8)
    small = resize_mask(disc, 128)
    assert small.mean() == pytest.approx(disc.mean(), rel=0.005)


@pytest.mark.long
def test_large_masks_do_not_overflow() -> None:
    mask = np.ones((2, 70_000), np.uint8)
    mask[0, 0] = 0
    assert resize_mask(mask, 2).all()
    tall = np.zeros((70_000, 2), np.uint8)
    tall[40_000:] = 1
    np.testing.assert_array_equal(resize_mask(tall, 2), [[0, 0], [1, 1]])
