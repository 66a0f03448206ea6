from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from skiptool.errors import ArgumentError
from skiptool.figures.dots import as_rgb, block_sums, dot_axes, lay, multiple, resized
from skiptool.figures.style import PictureFormat, picture

RNG = np.random.default_rng(0)


@given(st.integers(1, 4000), st.integers(1, 3000))
def test_a_multiple_fits_and_no_larger_one_would(length: int, room: int) -> None:
    factor = multiple(length, room)
    assert factor.numerator == 1 or factor.denominator == 1
    assert -(-length * factor.numerator // factor.denominator) <= room
    larger = factor + 1 if factor >= 1 else Fraction(1, factor.denominator - 1)
    assert length * larger > room


@pytest.mark.parametrize(("width", "height"), [(301, 177), (2140, 33), (33, 1999)])
def test_every_pixel_of_a_picture_is_a_dot_of_the_file(width: int, height: int) -> None:
    image = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
    figure, axes = dot_axes(width + 18, height + 27)
    lay(axes, image, 5, 20)
    written = imread(io.BytesIO(picture(figure, PictureFormat.PNG)))
    assert written.shape[:2] == (height + 27, width + 18)
    seen = np.rint(255 * written[20 : 20 + height, 5 : 5 + width, :3]).astype(np.uint8)
    assert (seen == image).all()


def test_larger_repeats_pixels_and_smaller_takes_means_of_blocks() -> None:
    image = np.array([[0, 10, 20], [30, 40, 50], [60, 70, 81]], dtype=np.uint8)[..., None]
    assert resized(image, Fraction(2))[..., 0][:2].tolist() == [[0, 0, 10, 10, 20, 20]] * 2
    assert resized(image, Fraction(1, 2))[..., 0].tolist() == [[20, 35], [65, 81]]
    assert resized(image, Fraction(1, 5))[..., 0].tolist() == [[40]]


@pytest.mark.parametrize("block", [1, 2, 3, 7, 50])
def test_sums_of_blocks_are_exact(block: int) -> None:
    values = RNG.integers(0, 256, (21, 13, 3), dtype=np.uint8)
    sums, counts = block_sums(values, block)
    for y, x in np.ndindex(counts.shape):
        part = values[y * block : (y + 1) * block, x * block : (x + 1) * block]
        assert counts[y, x] == part.shape[0] * part.shape[1]
        assert (sums[y, x] == part.astype(int).sum(axis=(0, 1))).all()
    assert counts.sum() == 21 * 13


def test_grey_images_become_colour() -> None:
    grey = np.array([[0.0, 0.5, 1.0, 2.0, np.nan]], dtype=np.float32)[..., None]
    assert as_rgb(grey)[0, :, 1].tolist() == [0, 128, 255, 255, 0]
    assert as_rgb(np.full((2, 3, 1), 7, dtype=np.uint8)).shape == (2, 3, 3)
    colour = RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    assert (as_rgb(colour) == colour).all()


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 2), (2, 4, 5, 3), (0, 5, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError, match=r"picture to draw: found shape \("):
        as_rgb(np.zeros(shape, dtype=np.uint8))
