"""Tests of ``align``."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from scans import Scan, glass, scanned, turned
from skiptool.errors import MismatchError
from skiptool.sources.registration.align import (
    _detect_features,
    _mirror,
    _scales,
    align,
    coarse_alignment,
    textured_tiles,
)
from skiptool.sources.registration.tiles import residual
from skiptool.sources.registration.transforms import Alignment, apply_affine
from skiptool.sources.slides.slide import open_slide
from small_stores import refused

SCANS = {
    "Aperio": "A_BB_563479_1.svs",
    "AxioScan": "Z_BB_563479_1.tif",
    "NanoZoomer2.0HT": "N2_BB_563479_1.ndpi",
    "NanoZoomerS210": "N1_BB_563479_1.ndpi",
}


def grid(side: int, steps: int = 9) -> np.ndarray:
    x, y = np.meshgrid(*[np.linspace(0.1 * side, 0.9 * side, steps)] * 2)
    return np.column_stack([x.ravel(), y.ravel()])


@pytest.mark.long
@pytest.mark.parametrize(
    ("degrees", "scale", "mirrored"), [(2, 1.1, False), (95, 0.9, False), (3, 1.0, True)]
)
def test_known_transform_is_found_to_a_fifth_of_a_pixel(
    degrees: float, scale: float, mirrored: bool
) -> None:
    image = glass(1200)
    affine = turned(degrees, scale, (0, 0), mirrored)
    corners = apply_affine(affine, np.array([[0, 0], [1200, 0], [0, 1200], [1200, 1200.0]]))
    affine[:, 2] = -corners.min(axis=0)
    size = tuple(np.ceil(np.ptp(corners, axis=0)).astype(int).tolist())
    found = align(Scan(image), Scan(scanned(image, affine, size)))
    off = np.hypot(*(found.to_other(grid(1200)) - apply_affine(affine, grid(1200))).T)
    assert float(np.median(off)) < 0.1
    assert off.max() < 0.2 * max(scale, 1.0)


def bent(image: np.ndarray) -> np.ndarray:
    """TileShift pixels downwards by an arch of 6 pixels, as bent glass does."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    moved = y - arch(x / image.shape[1]).astype(np.float32)
    return cv2.remap(image, x, moved, cv2.INTER_CUBIC, borderValue=(240, 238, 236))


def arch(place: np.ndarray) -> np.ndarray:
    return 24 * place * (1 - place)


@pytest.mark.long
def test_smooth_field_is_recovered() -> None:
    image = glass(1600)
    found = align(Scan(image), Scan(bent(image)))
    assert found.field is not None
    points = grid(1600)
    truth = points + np.column_stack([np.zeros(len(points)), arch(points[:, 0] / 1600)])
    plain = np.hypot(*(apply_affine(found.affine, points) - truth).T)
    off = np.hypot(*(found.to_other(points) - truth).T)
    assert np.median(off) < 0.7 * np.median(plain)


@pytest.mark.long
def test_alignment_is_deterministic() -> None:
    image = glass(900)
    other = Scan(scanned(image, turned(4, 1.0, (20.0, 10.0)), (950, 950)))
    threads = cv2.getNumThreads()
    try:
        found = []
        for number in (1, 2):
            cv2.setNumThreads(number)
            cv2.setRNGSeed(number)
            found.append(align(Scan(image), other).as_json())
    finally:
        cv2.setNumThreads(threads)
    assert found[0] == found[1]


def test_scans_without_enough_tiles_keep_the_coarse_alignment() -> None:
    image = glass(300)
    found = align(Scan(image), Scan(image))
    assert isinstance(found, Alignment)
    np.testing.assert_allclose(found.to_other(grid(300)), grid(300), atol=0.5)


@pytest.mark.long
def test_sections_of_one_block_are_refused() -> None:
    """Marks that a few features agree on, and cells that are not the same."""
    marks = np.full((1500, 1500), 1, np.uint8)
    marks[:, 200:] = 0
    sections = [glass(1500, seed) for seed in (1, 2)]
    sections[1][marks == 1] = sections[0][marks == 1]
    with refused(MismatchError, "look alike at", "one glass slide"):
        align(*map(Scan, sections))


def test_coarsest_scale_follows_from_the_larger_scan() -> None:
    def scales(size: int, other: int, larger: float) -> list[float]:
        views = (Scan(np.empty((side, side, 0), np.uint8)) for side in (size, other))
        return _scales(*views, Alignment(turned(0, larger, (0, 0)), 9))

    assert scales(5000, 5000, 1.0) == [1.0]
    assert scales(100_000, 100_000, 1.0) == [4.0, 1.0]
    assert scales(5000, 100_000, 1.0) == [4.0, 1.0]
    assert scales(5000, 100_000, 20.0) == [1.0]
    assert scales(400_000, 5000, 1.0) == [16.0, 4.0, 1.0]


def misfit(folder: Path, other: Scan | None, name: str) -> np.ndarray:
    """Residuals of all places of the Aperio scan that can be measured."""
    first = open_slide(folder / "Aperio" / SCANS["Aperio"])
    second = open_slide(folder / name / SCANS[name]) if other is None else other
    found = align(first, second)
    places = [(x, y) for x in range(328, 4800, 300) for y in range(328, 4900, 300)]
    left = [residual(first, second, found, (float(x), float(y))).px for x, y in places]
    return np.array([px for px in left if px is not None])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SCANS if name != "Aperio"])
def test_real_scanners_are_aligned_to_a_part_of_a_pixel(name: str, shared_data: Path) -> None:
    left = misfit(shared_data / "multiscanner", None, name)
    assert len(left) > 100
    assert np.median(left) <= 0.15
    assert np.percentile(left, 90) <= 1.0


def turned_copies(image: np.ndarray) -> dict[str, np.ndarray]:
    height, width = image.shape[:2]
    seven = cv2.getRotationMatrix2D((width / 2, height / 2), 7, 1.0)
    white = (255, 255, 255)
    return {
        "quarter turn": np.rot90(image),
        "mirrored": image[:, ::-1],
        "cropped": image[1000:4000, 700:4300],
        "seven degrees": cv2.warpAffine(
            image, seven, (width, height), flags=cv2.INTER_CUBIC, borderValue=white
        ),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SCANS if name != "Aperio"])
def test_rotated_mirrored_and_cropped_copies_are_aligned(name: str, shared_data: Path) -> None:
    folder = shared_data / "multiscanner"
    slide = open_slide(folder / name / SCANS[name])
    for how, copy in turned_copies(slide.read(0, 0, slide.size, (1.0, 1.0))).items():
        left = misfit(folder, Scan(np.ascontiguousarray(copy)), name)
        assert np.median(left) <= 0.15, how
        assert np.percentile(left, 90) <= 1.0, how


CORNERS = np.array([[100.0, 100.0], [800.0, 100.0], [100.0, 800.0], [800.0, 800.0]])


@pytest.fixture(scope="module")
def reference() -> Scan:
    return Scan(glass())


@pytest.mark.long
@pytest.mark.parametrize(
    ("degrees", "scale", "mirrored"),
    [(0, 1.0, False), (90, 1.0, False), (187, 1.3, False), (7, 0.6, True), (0, 1.0, True)],
)
def test_any_orientation_is_aligned(
    reference: Scan, degrees: float, scale: float, mirrored: bool
) -> None:
    affine = turned(degrees, scale, (0, 0), mirrored)
    corners = apply_affine(affine, np.array([[0, 0], [900, 0], [0, 900], [900, 900.0]]))
    affine[:, 2] = -corners.min(axis=0)
    size = tuple(np.ceil(np.ptp(corners, axis=0)).astype(int).tolist())
    found = coarse_alignment(reference, Scan(scanned(reference.image, affine, size)))
    off = np.abs(found.to_other(CORNERS) - apply_affine(affine, CORNERS))
    assert off.max() < 1.5
    assert found.mirrored == mirrored


def test_crops_and_other_colours_are_aligned(reference: Scan) -> None:
    part = 255 - (255 - reference.image[200:700, 300:850]) // 2
    part[..., 1] = cv2.add(part[..., 1], 10)
    found = coarse_alignment(reference, Scan(np.ascontiguousarray(part)))
    np.testing.assert_allclose(found.to_other(CORNERS), CORNERS - [300, 200], atol=1.0)


@pytest.mark.long
def test_scans_of_different_slides_are_refused(reference: Scan) -> None:
    with refused(MismatchError, "features agree", "are these scans of one slide?"):
        coarse_alignment(reference, Scan(glass(seed=5)))


@pytest.mark.long
def test_scans_without_features_are_refused(reference: Scan) -> None:
    with refused(MismatchError, "0 features agree"):
        coarse_alignment(reference, Scan(np.full((400, 400, 3), 240, np.uint8)))


@pytest.mark.long
def test_implausible_stretch_is_refused(reference: Scan) -> None:
    stretched = cv2.resize(reference.image, (900, 585), interpolation=cv2.INTER_AREA)
    with refused(MismatchError, "impossible between scans of one slide"):
        coarse_alignment(reference, Scan(stretched))


@pytest.mark.long
def test_mirrored_descriptors_match_the_mirror_image(reference: Scan) -> None:
    flipped = Scan(np.ascontiguousarray(reference.image[:, ::-1]))
    seen, turned_round = (_detect_features(*scan.overview(900)) for scan in (reference, flipped))
    ours = _mirror(seen)
    near = cv2.BFMatcher(cv2.NORM_L2, crossCheck=True).match(
        ours.descriptors, turned_round.descriptors
    )
    here = ours.positions[[match.queryIdx for match in near]]
    there = turned_round.positions[[match.trainIdx for match in near]]
    off = np.hypot(900 - here[:, 0] - there[:, 0], here[:, 1] - there[:, 1])
    assert len(near) > 0.8 * len(ours.positions)
    assert (off < 1.0).mean() > 0.95


@pytest.mark.long
def test_small_parts_are_found_on_a_larger_overview() -> None:
    whole = glass(2560)
    part = Scan(np.ascontiguousarray(whole[900:1300, 1100:1500]))
    found = coarse_alignment(Scan(whole), part)
    middle = np.array([[1300.0, 1100.0]])
    np.testing.assert_allclose(found.to_other(middle), middle - [1100, 900], atol=1.5)


def test_tiles_are_spread_over_textured_regions() -> None:
    image = np.full((1000, 1000, 3), 240, np.uint8)
    image[100:400, 600:1000] = glass(400)[:300]
    image[700:900, 100:300] = glass(200, 1)
    found = textured_tiles(Scan(image), 100, 25)
    assert 4 <= len(found) <= 25
    for x, y in found:
        inside = 550 < x < 1050 and 50 < y < 450
        assert inside or (50 < x < 350 and 650 < y < 950)
    assert found == textured_tiles(Scan(image), 100, 25)


def test_slide_smaller_than_a_tile_is_one_tile() -> None:
    assert textured_tiles(Scan(glass(80)), 256, 10) == [(40.0, 40.0)]


def test_tile_centres_are_staggered_and_lie_on_the_slide() -> None:
    found = np.array(textured_tiles(Scan(glass(1200)), 100, 100))
    assert len(found) == 100
    assert found.min() >= 50
    assert found.max() <= 1150
    for along in found.T:
        assert len(np.unique(along.round())) > 60
        assert np.diff(np.unique(along)).max() < 60


def test_number_of_tiles_is_limited() -> None:
    for most in (1, 7, 30):
        assert len(textured_tiles(Scan(glass(1200)), 100, most)) == most
