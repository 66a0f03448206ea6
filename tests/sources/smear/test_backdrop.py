"""The empty background: found where it is, filled in where it is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from skiptool.sources.smear.cutting import (
    empty_colour,
    fill_background,
    free_pixels,
    free_square,
    freest_square,
)
from skiptool.sources.smear.templates import Box

MASKS = npst.arrays(np.bool_, npst.array_shapes(min_dims=2, max_dims=2, max_side=9))


def smear(side: int = 400, cells: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list]:
    """Draw an uneven, grainy background and the same with dark cells; with their boxes."""
    rng = np.random.default_rng(seed)
    line = np.linspace(-1, 1, side)
    light = 222 - 10 * line[:, None] ** 2 - 8 * line[None, :]
    grain = ndimage.gaussian_filter(rng.standard_normal((side, side)), 1.0)
    glass = light + grain * 3 / grain.std()
    glass = np.clip(np.rint(glass[..., None] + (0, -2, -8)), 0, 255).astype(np.uint8)
    image, boxes = glass.copy(), []
    for row, column in rng.integers(20, side - 20, (cells, 2)).tolist():
        rows, columns = np.ogrid[:side, :side]
        image[np.hypot(rows - row, columns - column) <= 17] = (105, 115, 140)
        boxes.append(Box(row - 18, column - 18, row + 19, column + 19))
    return glass, image, boxes


@given(MASKS)
def test_free_square_is_the_largest(free: np.ndarray) -> None:
    height, width = free.shape
    sides = [
        side
        for side in range(1, min(height, width) + 1)
        for top in range(height - side + 1)
        for left in range(width - side + 1)
        if free[top : top + side, left : left + side].all()
    ]
    found = free_square(free)
    assert found.height == found.width == max(sides, default=0)
    assert free[found.slices].all()


@given(MASKS, st.integers(1, 9))
def test_freest_square_has_most_free_pixels(free: np.ndarray, side: int) -> None:
    side = min(side, *free.shape)
    found = freest_square(free, side)
    best = max(
        free[top : top + side, left : left + side].sum()
        for top in range(free.shape[0] - side + 1)
        for left in range(free.shape[1] - side + 1)
    )
    assert (found.height, found.width) == (side, side)
    assert free[found.slices].sum() == best


def test_glass_is_the_lighter_class() -> None:
    glass, image, _ = smear()
    assert np.abs(empty_colour(image).astype(int) - np.median(glass, axis=(0, 1))).max() <= 2


def test_free_pixels_exclude_all_cells() -> None:
    glass, image, boxes = smear()
    stain = (image != glass).any(axis=2)
    for known in (boxes, []):
        free = free_pixels(image, known)
        assert ndimage.distance_transform_edt(~stain)[free].min() > 8
        assert free.mean() > 0.2
    annotated = free_pixels(image, boxes)
    assert not any(annotated[box.slices].any() for box in boxes)


def test_dust_is_background() -> None:
    _, image, _ = smear(cells=1, seed=3)
    image[150:153, 250:253] = 90
    assert free_pixels(image, [])[151, 251]


@pytest.mark.parametrize("seed", [0, 1])
def test_filled_background_matches_illumination_and_grain(seed: int) -> None:
    glass, image, boxes = smear(seed=seed)
    free = free_pixels(image, boxes)
    filled = fill_background(image, free, np.random.default_rng(0))
    deep = ndimage.distance_transform_edt(free) > 4
    assert np.abs(filled.astype(int) - image)[deep].max() <= 1

    def smooth(picture: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(picture.astype(float), (8, 8, 0))

    hidden = ~free
    assert np.abs(smooth(filled) - smooth(glass))[hidden].max() < 5
    ours = (filled - smooth(filled))[hidden]
    theirs = (glass - smooth(glass))[hidden]
    assert ours.std() == pytest.approx(theirs.std(), rel=0.15)
    assert np.corrcoef(ours[:, 0], ours[:, 1])[0, 1] > 0.9  # grain is grey here


@given(st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=15, deadline=None)
def test_any_size_is_filled(height: int, width: int) -> None:
    image = np.full((height, width, 3), 200, np.uint8)
    free = np.zeros((height, width), bool)
    free[0, 0] = True
    assert (fill_background(image, free, np.random.default_rng(0)) == 200).all()


def test_empty_glass_is_free_and_unchanged() -> None:
    glass, _, _ = smear(side=60, cells=1)
    free = free_pixels(np.full((60, 60, 3), 220, np.uint8), [])
    assert free.all()
    assert np.array_equal(fill_background(glass, free, np.random.default_rng(0)), glass)
