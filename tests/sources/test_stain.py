"""The threshold behind templates, on drawings whose outline is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from skiptool.sources.stain import frame_colour, object_mask, stained

GLASS = (220, 218, 212)


def drawn(objects: np.ndarray, depth: tuple[int, int, int], blur: float = 0.0) -> np.ndarray:
    """Lay a soft-edged object of some depth on glass."""
    amount = ndimage.gaussian_filter(objects.astype(float), blur)[..., None]
    return np.rint(np.array(GLASS) - amount * np.array(depth)).astype(np.uint8)


def disc(side: int, radius: float, row: float = 0.0, column: float = 0.0) -> np.ndarray:
    line = np.arange(side) - (side - 1) / 2
    return np.hypot(line[:, None] - row, line[None, :] - column) <= radius


def test_the_frame_tells_the_background() -> None:
    image = drawn(disc(40, 12), (90, 90, 60))
    assert frame_colour(image).tolist() == list(GLASS)


@given(st.integers(5, 14), st.integers(30, 200), st.floats(0.0, 2.0))
def test_the_outline_is_found_whatever_depth_and_blur(radius: int, depth: int, blur: float) -> None:
    truth = disc(48, radius)
    found = object_mask(drawn(truth, (depth, depth, depth // 2), blur))
    inside = ndimage.binary_erosion(truth, iterations=2)
    outside = ~ndimage.binary_dilation(truth, iterations=2)
    assert found[inside].all()
    assert not found[outside].any()


def test_a_dark_parasite_does_not_hide_its_pale_cell() -> None:
    cell, parasite = disc(60, 22), disc(60, 9, 4, -5)
    image = drawn(cell, (45, 40, 30))
    image[parasite] = (60, 20, 90)
    assert np.array_equal(object_mask(image), cell)


def test_holes_are_filled() -> None:
    ring = disc(50, 18) & ~disc(50, 9)
    assert np.array_equal(object_mask(drawn(ring, (80, 120, 60))), disc(50, 18))


def test_a_cell_is_the_largest_piece_and_an_artifact_all_but_specks() -> None:
    large, small, speck = disc(70, 12, -15, -15), disc(70, 6, 18, 18), disc(70, 1, 20, -20)
    image = drawn(large | small | speck, (100, 140, 60))
    assert np.array_equal(object_mask(image), large)
    assert np.array_equal(object_mask(image, pieces=True), large | small)


def test_glare_around_a_dark_cell_does_not_count() -> None:
    cell, glare = disc(80, 20), disc(80, 30)
    image = drawn(glare, (28, 28, 20))
    image[cell] = (60, 60, 110)
    assert np.array_equal(object_mask(image), cell)


@pytest.mark.parametrize("noise", [0, 5])
def test_nothing_is_found_on_empty_glass(noise: int) -> None:
    rng = np.random.default_rng(0)
    image = (np.array(GLASS) + rng.integers(-noise, noise + 1, (30, 30, 3))).astype(np.uint8)
    assert not stained(image, np.array(GLASS, np.uint8)).any()
    assert not object_mask(image).any()
    assert not object_mask(image, pieces=True).any()
