from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans import glass, scanned, turned
from skiptool.sources.registration.phase import displacement, hann
from skiptool.sources.registration.tiles import grey_of

SMALL = st.integers(-20, 20)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return glass(400)


def tile(image: np.ndarray, x: int = 100, y: int = 100) -> np.ndarray:
    return grey_of(np.ascontiguousarray(image[y : y + 192, x : x + 192]))


@given(SMALL, SMALL)
def test_whole_pixels_are_found_whatever_the_brightness(x: int, y: int) -> None:
    image = glass(400)
    dimmed = 30 + 0.5 * tile(image, 100 - x, 100 - y)
    found = displacement(tile(image), dimmed.astype(np.float32))
    assert found[:2] == pytest.approx((x, y), abs=0.05)
    assert 0.4 < found[2] <= 1.001


@pytest.mark.parametrize("shift", [(0.5, 0.25), (1.7, -2.3), (6.3, 4.6), (20.2, -15.7)])
def test_parts_of_a_pixel_are_found_to_a_thirtieth(
    image: np.ndarray, shift: tuple[float, float]
) -> None:
    moved = scanned(image, turned(0, 1.0, shift), (400, 400))
    assert displacement(tile(image), tile(moved))[:2] == pytest.approx(shift, abs=0.03)


def test_there_is_as_far_as_back(image: np.ndarray) -> None:
    moved = tile(scanned(image, turned(0, 1.0, (2.4, -1.3)), (400, 400)))
    there, back = displacement(tile(image), moved), displacement(moved, tile(image))
    np.testing.assert_allclose(there[:2], np.negative(back[:2]), atol=1e-3)


def test_equal_tiles_have_the_response_1(image: np.ndarray) -> None:
    x, y, response = displacement(tile(image), tile(image))
    assert (x, y) == pytest.approx((0.0, 0.0), abs=1e-4)
    assert response == pytest.approx(1.0, abs=0.01)


def test_tiles_that_share_nothing_and_empty_ones_have_next_to_none(image: np.ndarray) -> None:
    other, empty = tile(glass(400, 7)), np.full((192, 192), 240, np.float32)
    assert displacement(tile(image), other)[2] < 0.2
    assert displacement(tile(image), empty) == (0.0, 0.0, 0.0)
    assert displacement(empty, empty) == (0.0, 0.0, 0.0)


def test_the_window_closes_at_the_edges() -> None:
    window = hann(32, 48)
    assert window.shape == (32, 48)
    assert window[0].max() == window[:, -1].max() == 0.0
    assert window.max() > 0.99
