from __future__ import annotations

import numpy as np
import pytest

from scans import Scan, glass, scanned, turned
from skiptool.sources.registration.alignment import Alignment
from skiptool.sources.registration.residual import residual

SAME = Alignment(turned(0, 1.0, (0.0, 0.0)), 9)
MIDDLE = (300.0, 300.0)


def test_what_is_left_of_misalignment_is_a_distance() -> None:
    image = glass(600)
    moved = Scan(scanned(image, turned(0, 1.0, (3.0, 4.0)), (600, 600)))
    found = residual(Scan(image), moved, SAME, MIDDLE)
    assert found.px == pytest.approx(5.0, abs=0.15)
    assert not found.empty
    aligned = residual(Scan(image), moved, Alignment(turned(0, 1.0, (3.0, 4.0)), 9), MIDDLE)
    assert aligned.px == pytest.approx(0.0, abs=0.1)


def test_what_does_not_look_alike_cannot_be_measured() -> None:
    found = residual(Scan(glass(600, 1)), Scan(glass(600, 2)), SAME, MIDDLE)
    assert (found.px, found.empty) == (None, False)


def test_one_empty_scan_is_a_fault_two_are_not() -> None:
    empty, full = Scan(np.full((600, 600, 3), 240, np.uint8)), Scan(glass(600))
    for pair in ((empty, full), (full, empty)):
        found = residual(*pair, SAME, MIDDLE)
        assert (found.px, found.empty) == (None, False)
    assert residual(empty, empty, SAME, MIDDLE).empty
