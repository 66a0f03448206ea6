from __future__ import annotations

import cv2
import numpy as np
import pytest

from scans import Scan, glass, scanned, turned
from skiptool.sources.registration.alignment import Alignment
from skiptool.sources.registration.tiles import grey_of, measured, on_reference, shift_between


@pytest.fixture(scope="module")
def reference() -> Scan:
    return Scan(glass(600))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("degrees", "scale"), [(0, 1.0), (0, 1.4), (33, 0.8), (180, 2.2)])
def test_the_other_scan_is_brought_onto_the_reference(
    reference: Scan, degrees: float, scale: float, mirrored: bool
) -> None:
    affine = turned(degrees, scale, (900.0, 700.0), mirrored)
    other = Scan(scanned(reference.image, affine, (2600, 2600)))
    tile = on_reference(other, Alignment(affine, 9), (200.0, 150.0), (128, 96), 1.0)
    expected = reference.image[150:246, 200:328]
    off = cv2.absdiff(tile, expected).mean()
    assert tile.shape == (96, 128, 3)
    assert off < (3.0 if scale >= 1 else 6.0)  # pixels lost on the coarser scan do not come back


def test_outside_of_the_other_scan_is_paper(reference: Scan) -> None:
    away = Alignment(turned(0, 1.0, (5000.0, 0.0)), 9)
    assert (on_reference(reference, away, (0.0, 0.0), (32, 32), 1.0) == 255).all()


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (0.4, 0.7), (-2.25, 1.5), (-11.25, 6.5)])
def test_shifts_are_measured_to_a_tenth_of_a_pixel(
    reference: Scan, shift: tuple[float, float]
) -> None:
    moved = Scan(scanned(reference.image, turned(0, 1.0, shift), (600, 600)))
    found = measured(reference, moved, Alignment(turned(0, 1.0, (0, 0)), 9), (300.0, 310.0), 256, 1)
    assert (found.x, found.y) == pytest.approx(shift, abs=0.1)
    assert found.likeness > 0.9


def test_a_scale_measures_in_pixels_of_the_tile(reference: Scan) -> None:
    moved = Scan(scanned(reference.image, turned(0, 1.0, (8.0, 4.0)), (600, 600)))
    same = Alignment(turned(0, 1.0, (0, 0)), 9)
    found = measured(reference, moved, same, (300.0, 300.0), 128, 4.0)
    assert (found.x, found.y) == pytest.approx((2.0, 1.0), abs=0.15)


def test_empty_tiles_have_no_shift() -> None:
    empty, full = np.full((64, 64), 240, np.float32), grey_of(glass(64))
    for pair in ((empty, full), (full, empty), (empty, empty)):
        found = shift_between(*pair)
        assert (found.x, found.y, found.likeness) == (0.0, 0.0, 0.0)
        assert found.contrast == tuple(float(tile.std()) for tile in pair)


def test_other_things_are_not_alike() -> None:
    assert shift_between(grey_of(glass(256, 1)), grey_of(glass(256, 2))).likeness < 0.3
