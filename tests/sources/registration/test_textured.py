from __future__ import annotations

import numpy as np

from scans import Scan, glass
from skiptool.sources.registration.textured import textured


def test_tiles_are_taken_from_all_parts_with_texture() -> None:
    image = np.full((1000, 1000, 3), 240, np.uint8)
    image[100:400, 600:1000] = glass(400)[:300]
    image[700:900, 100:300] = glass(200, 1)
    found = textured(Scan(image), 100, 25)
    assert 4 <= len(found) <= 25
    for x, y in found:
        inside = 550 < x < 1050 and 50 < y < 450
        assert inside or (50 < x < 350 and 650 < y < 950)
    assert found == textured(Scan(image), 100, 25)


def test_a_slide_smaller_than_a_tile_is_one_tile() -> None:
    assert textured(Scan(glass(80)), 256, 10) == [(40.0, 40.0)]


def test_places_differ_along_both_sides_and_lie_on_the_slide() -> None:
    found = np.array(textured(Scan(glass(1200)), 100, 100))
    assert len(found) == 100
    assert found.min() >= 50
    assert found.max() <= 1150
    for along in found.T:
        assert len(np.unique(along.round())) > 60
        assert np.diff(np.unique(along)).max() < 60


def test_there_are_never_more_than_asked_for() -> None:
    for most in (1, 7, 30):
        assert len(textured(Scan(glass(1200)), 100, most)) == most
