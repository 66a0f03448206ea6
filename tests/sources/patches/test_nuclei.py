"""Nuclei whose outlines are known, drawn in haematoxylin on eosin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from skiptool.sources.patches.nuclei import component_at, haematoxylin, stain_mask

HAEMATOXYLIN = np.array([0.650, 0.704, 0.286])
EOSIN = np.array([0.072, 0.990, 0.105])
SIDE = 128
MIDDLE = (SIDE / 2, SIDE / 2)


def ellipse(x: float, y: float, long: float, short: float, turn: float = 0.0) -> np.ndarray:
    line = np.arange(SIDE) + 0.5
    right, down = line[None, :] - x, line[:, None] - y
    along = right * np.cos(turn) + down * np.sin(turn)
    aside = down * np.cos(turn) - right * np.sin(turn)
    return (along / long) ** 2 + (aside / short) ** 2 <= 1


def stained(blue: np.ndarray, pink: np.ndarray, seed: int = 0, noise: float = 3.0) -> np.ndarray:
    """Mix two stains (optical densities), blur as a lens does, add noise."""
    rng = np.random.default_rng(seed)
    amounts = [ndimage.gaussian_filter(amount, 1.0)[..., None] for amount in (blue, pink)]
    light = 255 * 10 ** -(amounts[0] * HAEMATOXYLIN + amounts[1] * EOSIN)
    light = light + noise * rng.standard_normal(light.shape)
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def tissue(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Uneven eosin with a little haematoxylin in it."""
    rng = np.random.default_rng(seed)
    clouds = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 6)
    clouds /= abs(clouds).max()
    return 0.08 + 0.04 * clouds, 0.25 - 0.1 * clouds


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


@settings(deadline=None)
@given(
    st.integers(0, 999),
    st.floats(12, 28),
    st.floats(0.5, 1.0),
    st.floats(0, np.pi),
    st.floats(0.4, 1.5),
)
def test_nucleus_at_the_point_is_found(
    seed: int, long: float, flat: float, turn: float, depth: float
) -> None:
    truth = ellipse(*MIDDLE, long, long * flat, turn)
    blue, pink = tissue(seed)
    blue[truth] += depth
    for x, y in ((12, 20), (110, 30), (20, 112)):
        blue[ellipse(x, y, 11, 9)] += 0.5
    found = stain_mask(stained(blue, pink, seed), (MIDDLE[0] + 4, MIDDLE[1] - 3))
    assert overlap(found, truth) > 0.8
    assert ndimage.label(found)[1] == 1
    assert np.array_equal(found, ndimage.binary_fill_holes(found))


def test_point_finds_a_nucleus_within_3_micrometres() -> None:
    truth = ellipse(*MIDDLE, 15, 15)
    blue, pink = tissue(1)
    blue[truth] += 0.6
    image = stained(blue, pink)
    assert overlap(stain_mask(image, (MIDDLE[0] + 15 + 8, MIDDLE[1])), truth) > 0.8
    assert not stain_mask(image, (MIDDLE[0] + 15 + 16, MIDDLE[1])).any()


@pytest.mark.parametrize("mpp", [(0.12, 0.12), (0.25, 0.25), (0.5, 0.5), (0.25, 0.5)])
def test_lengths_are_in_micrometres(mpp: tuple[float, float]) -> None:
    truth = ellipse(*MIDDLE, 4 / mpp[0], 4 / mpp[1])
    blue, pink = tissue(2)
    blue[truth] += 0.6
    assert overlap(stain_mask(stained(blue, pink), MIDDLE, mpp), truth) > 0.8


def test_holes_are_filled_and_dark_eosin_does_not_count() -> None:
    truth, nucleolus = ellipse(*MIDDLE, 20, 16), ellipse(*MIDDLE, 5, 5)
    blue, pink = tissue(3)
    blue[truth & ~nucleolus] += 0.5
    pink[ellipse(*MIDDLE, 40, 34)] += 0.4
    assert overlap(stain_mask(stained(blue, pink), (54.0, 60.0)), truth) > 0.8


def test_nucleus_next_to_glass_excludes_the_cytoplasm() -> None:
    truth, cell = ellipse(*MIDDLE, 13, 11), ellipse(*MIDDLE, 60, 45)
    blue, pink = 0.15 * cell, 0.3 * cell
    blue[truth] += 0.6
    assert overlap(stain_mask(stained(blue, pink), MIDDLE), truth) > 0.8


def test_pale_nucleus_next_to_a_dark_one_is_found() -> None:
    truth, dark = ellipse(*MIDDLE, 13, 11), ellipse(100, 70, 12, 14)
    blue, pink = 0.3 * truth, np.full((SIDE, SIDE), 0.1)
    blue[dark] += 1.6
    assert overlap(stain_mask(stained(blue, pink), MIDDLE), truth) > 0.8


def test_nucleus_is_cut_off_at_12_micrometres() -> None:
    blue, pink = tissue(4)
    blue[:, 40:90] += 0.6
    found = stain_mask(stained(blue, pink), MIDDLE)
    rows, columns = np.nonzero(found)
    assert found.any()
    assert np.hypot(columns + 0.5 - MIDDLE[0], rows + 0.5 - MIDDLE[1]).max() <= 48


@pytest.mark.parametrize("seed", range(6))
def test_uniform_image_has_no_nucleus(seed: int) -> None:
    flat = np.full((SIDE, SIDE), 0.1)
    assert not stain_mask(stained(flat, 2 * flat, seed, 4.0), MIDDLE).any()
    assert not stain_mask(np.full((SIDE, SIDE, 3), 255, np.uint8), MIDDLE).any()
    assert not stain_mask(stained(flat, flat), (-300.0, 20.0)).any()


def test_specks_are_not_nuclei() -> None:
    blue, pink = tissue(5)
    blue[ellipse(*MIDDLE, 2.5, 2.5)] += 1.0
    assert not stain_mask(stained(blue, pink), MIDDLE).any()


@given(st.floats(0, 1.2), st.floats(0, 0.8))
def test_stains_are_separated(blue: float, pink: float) -> None:
    density = blue * HAEMATOXYLIN / np.linalg.norm(HAEMATOXYLIN) + pink * EOSIN / np.linalg.norm(
        EOSIN
    )
    image = np.rint(np.clip(256 * 10**-density - 1, 0, 255)).astype(np.uint8)
    found = haematoxylin(image[None, None])
    assert found.item() == pytest.approx(blue, abs=0.08)


# The component at a point.


MASKS = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


@given(MASKS, st.floats(-2, 11), st.floats(-2, 11), st.floats(0, 15))
def test_result_is_one_component_or_empty(
    mask: np.ndarray, x: float, y: float, reach: float
) -> None:
    found = component_at(mask, (x, y), reach)
    assert found.dtype == bool
    assert not (found & ~mask).any()
    assert ndimage.label(found)[1] == int(found.any())
    assert not (ndimage.binary_dilation(found) & mask & ~found).any()
    rows, columns = np.nonzero(mask)
    on = ((rows == np.floor(y)) & (columns == np.floor(x))).any()
    near = (np.hypot(columns + 0.5 - x, rows + 0.5 - y) <= reach).any()
    assert found.any() == (on or near)


def test_nearest_within_reach_is_taken() -> None:
    mask = np.zeros((5, 9), dtype=bool)
    mask[2, :2], mask[2, 6:] = True, True
    assert not component_at(mask, (4.0, 2.5)).any()
    assert np.argwhere(component_at(mask, (4.0, 2.5), 2.5)).tolist() == [[2, 0], [2, 1]]
    assert component_at(mask, (4.1, 2.5), 9).sum() == 3


@pytest.mark.parametrize("at", [(0.99, 0.99), (0.0, 0.0)])
def test_pixels_touching_at_corners_are_separate(at: tuple[float, float]) -> None:
    assert component_at(np.eye(2, dtype=bool), at).tolist() == [[True, False], [False, False]]
