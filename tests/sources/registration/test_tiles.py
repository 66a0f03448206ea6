"""Tests of ``tiles``."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans import Scan, glass, scanned, turned
from skiptool.sources.registration.align import WIDTH, align, overlay
from skiptool.sources.registration.tiles import (
    ScanView,
    hann_window,
    measure_shift,
    phase_shift,
    resample_to_reference,
    residual,
    shift_between,
    single_threaded,
    to_grey,
)
from skiptool.sources.registration.transforms import Alignment
from skiptool.sources.slides.slide import Slide


@pytest.fixture(scope="module")
def reference() -> Scan:
    return Scan(glass(600))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("degrees", "scale"), [(0, 1.0), (0, 1.4), (33, 0.8), (180, 2.2)])
def test_other_scan_is_resampled_to_the_reference(
    reference: Scan, degrees: float, scale: float, mirrored: bool
) -> None:
    affine = turned(degrees, scale, (900.0, 700.0), mirrored)
    other = Scan(scanned(reference.image, affine, (2600, 2600)))
    tile = resample_to_reference(other, Alignment(affine, 9), (200.0, 150.0), (128, 96), 1.0)
    expected = reference.image[150:246, 200:328]
    off = cv2.absdiff(tile, expected).mean()
    assert tile.shape == (96, 128, 3)
    assert off < (3.0 if scale >= 1 else 6.0)  # pixels lost on the coarser scan do not come back


def test_outside_of_the_other_scan_is_white(reference: Scan) -> None:
    away = Alignment(turned(0, 1.0, (5000.0, 0.0)), 9)
    assert (resample_to_reference(reference, away, (0.0, 0.0), (32, 32), 1.0) == 255).all()


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (0.4, 0.7), (-2.25, 1.5), (-11.25, 6.5)])
def test_shifts_are_measured_to_a_tenth_of_a_pixel(
    reference: Scan, shift: tuple[float, float]
) -> None:
    moved = Scan(scanned(reference.image, turned(0, 1.0, shift), (600, 600)))
    found = measure_shift(
        reference, moved, Alignment(turned(0, 1.0, (0, 0)), 9), (300.0, 310.0), 256, 1
    )
    assert (found.x, found.y) == pytest.approx(shift, abs=0.1)
    assert found.likeness > 0.9


def test_shift_is_in_pixels_of_the_tile(reference: Scan) -> None:
    moved = Scan(scanned(reference.image, turned(0, 1.0, (8.0, 4.0)), (600, 600)))
    same = Alignment(turned(0, 1.0, (0, 0)), 9)
    found = measure_shift(reference, moved, same, (300.0, 300.0), 128, 4.0)
    assert (found.x, found.y) == pytest.approx((2.0, 1.0), abs=0.15)


def test_empty_tiles_have_no_shift() -> None:
    empty, full = np.full((64, 64), 240, np.float32), to_grey(glass(64))
    for pair in ((empty, full), (full, empty), (empty, empty)):
        found = shift_between(*pair)
        assert (found.x, found.y, found.likeness) == (0.0, 0.0, 0.0)
        assert found.contrast == tuple(float(tile.std()) for tile in pair)


def test_unrelated_tiles_are_not_alike() -> None:
    assert shift_between(to_grey(glass(256, 1)), to_grey(glass(256, 2))).likeness < 0.3


SMALL = st.integers(-20, 20)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return glass(400)


def tile(image: np.ndarray, x: int = 100, y: int = 100) -> np.ndarray:
    return to_grey(np.ascontiguousarray(image[y : y + 192, x : x + 192]))


@given(SMALL, SMALL)
def test_integer_shifts_are_found_at_any_brightness(x: int, y: int) -> None:
    image = glass(400)
    dimmed = 30 + 0.5 * tile(image, 100 - x, 100 - y)
    found = phase_shift(tile(image), dimmed.astype(np.float32))
    assert found[:2] == pytest.approx((x, y), abs=0.05)
    assert 0.4 < found[2] <= 1.001


@pytest.mark.parametrize("shift", [(0.5, 0.25), (1.7, -2.3), (6.3, 4.6), (20.2, -15.7)])
def test_subpixel_shifts_are_found_to_a_thirtieth(
    image: np.ndarray, shift: tuple[float, float]
) -> None:
    moved = scanned(image, turned(0, 1.0, shift), (400, 400))
    limit = 0.03 if cv2.__version__ >= "5" else 0.04  # earlier ones move images less exactly
    assert phase_shift(tile(image), tile(moved))[:2] == pytest.approx(shift, abs=limit)


def test_shift_is_antisymmetric(image: np.ndarray) -> None:
    moved = tile(scanned(image, turned(0, 1.0, (2.4, -1.3)), (400, 400)))
    there, back = phase_shift(tile(image), moved), phase_shift(moved, tile(image))
    np.testing.assert_allclose(there[:2], np.negative(back[:2]), atol=1e-3)


def test_identical_tiles_have_response_1(image: np.ndarray) -> None:
    x, y, response = phase_shift(tile(image), tile(image))
    assert (x, y) == pytest.approx((0.0, 0.0), abs=1e-4)
    assert response == pytest.approx(1.0, abs=0.01)


def test_unrelated_and_empty_tiles_have_low_response(image: np.ndarray) -> None:
    other, empty = tile(glass(400, 7)), np.full((192, 192), 240, np.float32)
    assert phase_shift(tile(image), other)[2] < 0.2
    assert phase_shift(tile(image), empty) == (0.0, 0.0, 0.0)
    assert phase_shift(empty, empty) == (0.0, 0.0, 0.0)


def test_window_is_zero_at_the_edges() -> None:
    window = hann_window(32, 48)
    assert window.shape == (32, 48)
    assert window[0].max() == window[:, -1].max() == 0.0
    assert window.max() > 0.99


SAME = Alignment(turned(0, 1.0, (0.0, 0.0)), 9)
MIDDLE = (300.0, 300.0)


def test_residual_is_a_distance() -> None:
    image = glass(600)
    moved = Scan(scanned(image, turned(0, 1.0, (3.0, 4.0)), (600, 600)))
    found = residual(Scan(image), moved, SAME, MIDDLE)
    assert found.px == pytest.approx(5.0, abs=0.15)
    assert not found.empty
    aligned = residual(Scan(image), moved, Alignment(turned(0, 1.0, (3.0, 4.0)), 9), MIDDLE)
    assert aligned.px == pytest.approx(0.0, abs=0.1)


def test_residual_of_unlike_tiles_is_none() -> None:
    found = residual(Scan(glass(600, 1)), Scan(glass(600, 2)), SAME, MIDDLE)
    assert (found.px, found.empty) == (None, False)


def test_one_empty_tile_is_a_mismatch_two_are_not() -> None:
    empty, full = Scan(np.full((600, 600, 3), 240, np.uint8)), Scan(glass(600))
    for pair in ((empty, full), (full, empty)):
        found = residual(*pair, SAME, MIDDLE)
        assert (found.px, found.empty) == (None, False)
    assert residual(empty, empty, SAME, MIDDLE).empty


def test_slide_satisfies_the_protocol() -> None:
    def known(view: type[ScanView]) -> set[str]:
        return {name for name in vars(view) if not name.startswith("_")}

    assert known(ScanView) == {"size", "read", "overview"}
    for name in ("read", "overview"):
        assert callable(getattr(Slide, name))
        assert callable(getattr(Scan, name))
    view: ScanView = Scan(np.zeros((2, 2, 3), dtype=np.uint8))
    assert view.size == (2, 2)
    assert align.__annotations__["reference"] == "ScanView"


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    yield
    cv2.setNumThreads(before)


def test_threads_are_limited_inside_and_restored_outside() -> None:
    with single_threaded():
        assert cv2.getNumThreads() == 1
        with single_threaded():
            assert cv2.getNumThreads() == 1
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == 2


def test_threads_are_restored_after_an_error() -> None:
    with pytest.raises(ValueError, match="inside"), single_threaded():
        raise ValueError("inside")
    assert cv2.getNumThreads() == 2


def test_last_of_several_callers_restores_the_threads() -> None:
    entered, leave = threading.Event(), threading.Event()

    def inside() -> None:
        with single_threaded():
            entered.set()
            leave.wait(10)

    caller = threading.Thread(target=inside)
    with single_threaded():
        caller.start()
        assert entered.wait(10)
    assert cv2.getNumThreads() == 1
    leave.set()
    caller.join()
    assert cv2.getNumThreads() == 2


def test_shared_structures_are_grey_and_others_coloured() -> None:
    image, affine = glass(600), turned(5, 1.0, (40.0, 10.0))
    other = Scan(scanned(image, affine, (700, 700)))
    aligned = overlay(Scan(image), other, Alignment(affine, 9))
    off = overlay(Scan(image), other, Alignment(turned(5, 1.0, (70.0, 10.0)), 9))
    assert aligned.shape[1:] == (WIDTH, 3)
    assert aligned.shape == off.shape
    inner = np.s_[300:1200, 300:1200]
    apart = [
        np.abs(found[inner][..., 0].astype(int) - found[inner][..., 1]).mean()
        for found in (aligned, off)
    ]
    assert apart[0] < apart[1] / 4
    np.testing.assert_array_equal(aligned[..., 1][:WIDTH], aligned[..., 2][:WIDTH])


def test_glass_is_white_at_any_illumination() -> None:
    image = glass(600)
    dim = Scan((image * 0.7).astype(np.uint8))
    found = overlay(Scan(image), dim, Alignment(turned(0, 1.0, (0, 0)), 9))
    assert np.median(found[:WIDTH].min(axis=-1)) > 240


def test_scans_without_overlap_still_give_a_picture() -> None:
    empty = Scan(np.full((500, 400, 3), 240, np.uint8))
    away = Alignment(turned(0, 1.0, (9000.0, 0.0)), 9)
    found = overlay(empty, empty, away)
    assert found.shape[1] == WIDTH
