from __future__ import annotations

import cv2
import numpy as np
import pytest

from scans import Scan, glass, scanned, turned
from skiptool.errors import MismatchError
from skiptool.sources.registration.alignment import applied
from skiptool.sources.registration.coarse import _features, _mirrored, coarse
from small_stores import refused

CORNERS = np.array([[100.0, 100.0], [800.0, 100.0], [100.0, 800.0], [800.0, 800.0]])


@pytest.fixture(scope="module")
def reference() -> Scan:
    return Scan(glass())


@pytest.mark.long
@pytest.mark.parametrize(
    ("degrees", "scale", "mirrored"),
    [(0, 1.0, False), (90, 1.0, False), (187, 1.3, False), (7, 0.6, True), (0, 1.0, True)],
)
def test_any_way_round(reference: Scan, degrees: float, scale: float, mirrored: bool) -> None:
    affine = turned(degrees, scale, (0, 0), mirrored)
    corners = applied(affine, np.array([[0, 0], [900, 0], [0, 900], [900, 900.0]]))
    affine[:, 2] = -corners.min(axis=0)
    size = tuple(np.ceil(np.ptp(corners, axis=0)).astype(int).tolist())
    found = coarse(reference, Scan(scanned(reference.image, affine, size)))
    off = np.abs(found.to_other(CORNERS) - applied(affine, CORNERS))
    assert off.max() < 1.5
    assert found.mirrored == mirrored


def test_crops_and_other_colours(reference: Scan) -> None:
    part = 255 - (255 - reference.image[200:700, 300:850]) // 2
    part[..., 1] = cv2.add(part[..., 1], 10)
    found = coarse(reference, Scan(np.ascontiguousarray(part)))
    np.testing.assert_allclose(found.to_other(CORNERS), CORNERS - [300, 200], atol=1.0)


@pytest.mark.long
def test_other_glass_is_refused(reference: Scan) -> None:
    with refused(MismatchError, "features agree", "are these scans of one slide?"):
        coarse(reference, Scan(glass(seed=5)))


@pytest.mark.long
def test_nothing_to_align_by(reference: Scan) -> None:
    with refused(MismatchError, "0 features agree"):
        coarse(reference, Scan(np.full((400, 400, 3), 240, np.uint8)))


@pytest.mark.long
def test_a_stretch_that_no_scanner_makes_is_refused(reference: Scan) -> None:
    stretched = cv2.resize(reference.image, (900, 585), interpolation=cv2.INTER_AREA)
    with refused(MismatchError, "no two scans of a slide differ by"):
        coarse(reference, Scan(stretched))


@pytest.mark.long
def test_a_mirrored_description_is_that_of_the_mirror_image(reference: Scan) -> None:
    flipped = Scan(np.ascontiguousarray(reference.image[:, ::-1]))
    seen, turned_round = (_features(*scan.overview(900)) for scan in (reference, flipped))
    ours = _mirrored(seen)
    near = cv2.BFMatcher(cv2.NORM_L2, crossCheck=True).match(
        ours.descriptors, turned_round.descriptors
    )
    here = ours.places[[match.queryIdx for match in near]]
    there = turned_round.places[[match.trainIdx for match in near]]
    off = np.hypot(900 - here[:, 0] - there[:, 0], here[:, 1] - there[:, 1])
    assert len(near) > 0.8 * len(ours.places)
    assert (off < 1.0).mean() > 0.95


@pytest.mark.long
def test_small_parts_are_found_on_a_larger_overview() -> None:
    whole = glass(2560)
    part = Scan(np.ascontiguousarray(whole[900:1300, 1100:1500]))
    found = coarse(Scan(whole), part)
    middle = np.array([[1300.0, 1100.0]])
    np.testing.assert_allclose(found.to_other(middle), middle - [1100, 900], atol=1.5)
