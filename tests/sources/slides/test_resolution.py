"""Which scale a slide is read at."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.errors import ArgumentError, SourceError
from skiptool.sources.slides.resolution import scale_of, snap
from skiptool.sources.slides.slide import open_slide
from small_stores import refused


def test_micrometres_are_exact_on_each_axis(pyramid: SimpleNamespace) -> None:
    slide = open_slide(pyramid.path, (0.25, 0.2))
    assert scale_of(slide, 0.5) == (0.5 / 0.25, 0.5 / 0.2)
    assert scale_of(slide, 0.1) == (0.1 / 0.25, 0.1 / 0.2)
    assert scale_of(slide, 0.5, level=7) == (2.0, 2.5)


def test_level_is_its_downsample(pyramid: SimpleNamespace) -> None:
    slide = open_slide(pyramid.path)
    assert [scale_of(slide, None, level) for level in range(3)] == [
        (1.0, 1.0),
        (2.0, 2.0),
        (4.0, 4.0),
    ]
    assert scale_of(slide) == (1.0, 1.0)


@pytest.mark.parametrize("level", [3, -1])
def test_a_level_that_is_not_there_names_those_that_are(
    pyramid: SimpleNamespace, level: int
) -> None:
    with refused(SourceError, pyramid.path, f"no level {level}", "1 (500 x 399 px)", "level"):
        scale_of(open_slide(pyramid.path), None, level)


def test_a_slide_without_pixel_size_names_the_columns(shared_data: Path) -> None:
    path = shared_data / "wsi" / "boxes.tiff"
    with refused(
        SourceError, path, "says 352.77777983377013 x", "0.25 um/px", "column mpp", "mpp_y"
    ):
        scale_of(open_slide(path), 0.25)
    assert scale_of(open_slide(path, (0.5, None)), 0.25) == (0.5, 0.5)


def test_a_slide_that_says_nothing(blank: Path) -> None:
    with refused(SourceError, blank, "says nothing", "column mpp"):
        scale_of(open_slide(blank), 0.25)


@pytest.mark.parametrize("wanted", [0.0, -1.0, 250.0, float("nan")])
def test_nonsense_resolutions_are_refused(pyramid: SimpleNamespace, wanted: float) -> None:
    with refused(ArgumentError, "um/px", "--mpp"):
        scale_of(open_slide(pyramid.path), wanted)


@given(x=st.floats(-1e5, 1e5), y=st.floats(-1e5, 1e5), level=st.integers(0, 2))
def test_corners_snap_to_pixels_of_the_level(
    pyramid: SimpleNamespace, x: float, y: float, level: int
) -> None:
    slide, by = open_slide(pyramid.path), 2.0**level
    left, top = snap(slide, x, y, (by, by))
    assert (left % by, top % by) == (0, 0)
    assert max(abs(left - x), abs(top - y)) <= by / 2


def test_other_scales_need_no_snapping(pyramid: SimpleNamespace) -> None:
    slide = open_slide(pyramid.path)
    assert snap(slide, 1.3, 2.7, (1.5, 1.5)) == (1.3, 2.7)
    assert snap(slide, 1.3, 2.7, (1.0, 2.0)) == (1.3, 2.7)
