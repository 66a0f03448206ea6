"""Where a patch lies."""

from __future__ import annotations

from skiptool.sources.patches.patch import Patch


def test_box_and_centre_are_in_pixels_of_level_0() -> None:
    patch = Patch(10.0, -4.0, 8, (2.0, 0.5))
    assert patch.box == (10.0, -4.0, 26.0, 0.0)
    assert patch.centre == (18.0, -2.0)
    assert patch.columns == {}
