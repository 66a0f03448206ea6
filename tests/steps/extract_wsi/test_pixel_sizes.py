"""Sizes of pixels that registration tells: unknown ones filled in, contradictions told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from heard import Heard
from skiptool.sources.registration.transforms import Alignment
from skiptool.steps.extract_wsi.grouping import Group
from skiptool.steps.extract_wsi.pixel_sizes import sized
from skiptool.steps.extract_wsi.settings import PatchSettings
from skiptool.steps.extract_wsi.survey import Surveyed
from slide_cases import surveyed

Size = tuple[float, float] | None


def alignment(zoom: float, turn: float = 0.0, mirrored: bool = False) -> Alignment:
    """Return one by which a pixel of the reference spans ``zoom`` pixels of the other scan."""
    cos, sin = zoom * math.cos(turn), zoom * math.sin(turn)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1 if mirrored else 1, 1])
    return Alignment(np.column_stack([linear, (50, -20)]), 99)


def told(
    first: Size,
    second: Size,
    zoom: float = 2 / 3,
    mpp: float | None = None,
    **how: Any,  # noqa: ANN401
) -> tuple[list[Surveyed], list[str]]:
    slides = [surveyed("a", mpp=first), surveyed("b", mpp=second, domain="B")]
    heard = Heard()
    groups = [Group(0, {1: alignment(zoom, **how)})]
    return sized(slides, groups, PatchSettings(register="A", mpp=mpp), heard), heard.lines


@pytest.mark.parametrize("how", [{}, {"turn": 1.1}, {"turn": -2.0, "mirrored": True}])
@pytest.mark.parametrize("off", [0.991, 1.0, 1.009])
def test_sizes_that_agree_stay_as_they_are(how: dict[str, Any], off: float) -> None:
    (first, second), lines = told((0.5, 0.5), (0.75 * off, 0.75 * off), **how)
    assert (first.mpp, second.mpp) == ((0.5, 0.5), (0.75 * off, 0.75 * off))
    assert (first.relative_mpp, second.relative_mpp) == (1.0, pytest.approx(1.5))
    assert lines == []


@pytest.mark.parametrize("said", [1.0, 1.48, 1.52, 3.0])
def test_a_contradiction_is_told_with_both_ratios_and_the_measured_one_recorded(
    said: float,
) -> None:
    (first, second), (line,) = told((1.0, 1.0), (said, said))
    assert first.mpp == (1.0, 1.0)
    assert second.mpp == pytest.approx((1.5, 1.5))
    assert second.patch_mpp == pytest.approx((1.5, 1.5))
    assert line == (
        f"B: its pixels are 1.5 times as large as those of A by registration, {said:.3g} times by "
        "their mpp (1 scan); registration is believed: mpp 1.5 is recorded. If A is the one that "
        "is wrong, correct its column mpp in the manifest"
    )


def test_a_wrong_size_does_not_decide_the_resolution_of_patches() -> None:
    (first, second), (line,) = told((0.5, 0.5), (0.5, 0.5), mpp=0.5)
    assert first.scale == (1.0, 1.0)
    assert second.scale == pytest.approx((2 / 3, 2 / 3))  # of its pixels, which are 0.75 um wide
    assert second.patch_mpp == pytest.approx((0.5, 0.5))
    assert second.relative_mpp == pytest.approx(1.0)
    assert "mpp 0.75 is recorded and used for --mpp 0.5. If A is" in line


def test_pixels_that_are_not_square_keep_their_form() -> None:
    (_, second), lines = told((0.5, 0.5), (0.3, 0.6))
    assert second.mpp is not None
    assert second.mpp[1] / second.mpp[0] == pytest.approx(2)
    assert math.sqrt(second.mpp[0] * second.mpp[1]) == pytest.approx(0.75)
    assert len(lines) == 1


@pytest.mark.parametrize("mpp", [None, 0.5])
def test_an_unknown_size_is_that_of_the_reference_by_the_ratio(mpp: float | None) -> None:
    (_, second), lines = told((0.5, 0.5), None, mpp=mpp)
    assert second.mpp == pytest.approx((0.75, 0.75))
    assert lines == []
    assert second.scale == (pytest.approx((2 / 3, 2 / 3)) if mpp else (1.0, 1.0))
    assert second.patch_mpp == pytest.approx((0.5, 0.5) if mpp else (0.75, 0.75))
    assert second.relative_mpp == pytest.approx(1.0 if mpp else 1.5)


def test_an_unknown_reference_gets_its_size_from_another_scan() -> None:
    (first, second), lines = told(None, (0.75, 0.75))
    assert first.mpp == pytest.approx((0.5, 0.5))
    assert second.mpp == (0.75, 0.75)
    assert lines == []


def test_where_nobody_knows_the_ratio_is_known_all_the_same() -> None:
    (first, second), (line,) = told(None, None)
    assert (first.mpp, second.mpp) == (None, None)
    assert second.relative_mpp == pytest.approx(1.5)
    assert line.startswith("B: a pixel of its patches shows 1.5 times the width of one of A")
    assert told(None, None, zoom=1.004)[1] == []


def test_a_domain_is_told_of_once() -> None:
    slides = [surveyed(f"{d}{n}", domain=d, mpp=(1.0, 1.0)) for d in "ABC" for n in range(3)]
    groups = [Group(n, {3 + n: alignment(2 / 3), 6 + n: alignment(1.0)}) for n in range(3)]
    heard = Heard()
    found = sized(slides, groups, PatchSettings(register="A"), heard)
    (line,) = heard.lines
    assert line.startswith("B: its pixels are 1.5 times")
    assert "(3 scans)" in line
    sizes = [slide.mpp[0] for slide in found if slide.mpp]
    assert sizes == pytest.approx([1.0] * 3 + [1.5] * 3 + [1.0] * 3)
