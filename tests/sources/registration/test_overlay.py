from __future__ import annotations

import numpy as np

from scans import Scan, glass, scanned, turned
from skiptool.sources.registration.overlay import WIDE, overlay
from skiptool.sources.registration.transforms import Alignment


def test_what_both_show_is_grey_what_one_shows_is_coloured() -> None:
    image, affine = glass(600), turned(5, 1.0, (40.0, 10.0))
    other = Scan(scanned(image, affine, (700, 700)))
    aligned = overlay(Scan(image), other, Alignment(affine, 9))
    off = overlay(Scan(image), other, Alignment(turned(5, 1.0, (70.0, 10.0)), 9))
    assert aligned.shape[1:] == (WIDE, 3)
    assert aligned.shape == off.shape
    inner = np.s_[300:1200, 300:1200]
    apart = [
        np.abs(found[inner][..., 0].astype(int) - found[inner][..., 1]).mean()
        for found in (aligned, off)
    ]
    assert apart[0] < apart[1] / 4
    np.testing.assert_array_equal(aligned[..., 1][:WIDE], aligned[..., 2][:WIDE])


def test_bare_glass_is_white_whatever_the_lamp() -> None:
    image = glass(600)
    dim = Scan((image * 0.7).astype(np.uint8))
    found = overlay(Scan(image), dim, Alignment(turned(0, 1.0, (0, 0)), 9))
    assert np.median(found[:WIDE].min(axis=-1)) > 240


def test_scans_that_share_nothing_still_make_a_picture() -> None:
    empty = Scan(np.full((500, 400, 3), 240, np.uint8))
    away = Alignment(turned(0, 1.0, (9000.0, 0.0)), 9)
    found = overlay(empty, empty, away)
    assert found.shape[1] == WIDE
