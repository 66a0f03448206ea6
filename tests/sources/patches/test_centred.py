"""Patches around objects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.sources.patches.centred import around, centred
from skiptool.sources.shapes import Shape


def point(x: float, y: float, record: str = "1") -> Shape:
    return Shape("mitosis", (np.array([[x, y]]),), record)


@given(
    st.tuples(st.floats(-100, 1e5), st.floats(-100, 1e5)),
    st.integers(1, 600),
    st.tuples(st.floats(0.3, 40), st.floats(0.3, 40)),
)
def test_the_point_is_within_half_a_pixel_of_the_middle(
    at: tuple[float, float], size: int, scale: tuple[float, float]
) -> None:
    patch = around(at, size, scale, {})
    for middle, where, by in zip(patch.centre, at, scale, strict=True):
        assert abs(middle - where) / by <= 0.5 + 1e-6


@given(st.floats(-100, 1e5), st.integers(1, 600), st.sampled_from([1.0, 2.0, 4.0, 16.0]))
def test_corners_lie_on_the_pixels_of_the_level(at: float, size: int, downsample: float) -> None:
    patch = around((at, at), size, (downsample, downsample), {})
    assert patch.x % downsample == 0


def test_one_patch_a_shape_even_at_one_place() -> None:
    square = Shape("box", (np.array([[0.0, 0], [50, 0], [50, 50], [0, 50]]),), "7")
    patches = centred([point(64, 64), point(64, 64, "2"), square], 128, (1.0, 1.0))
    assert [(patch.x, patch.y) for patch in patches] == [(0, 0), (0, 0), (-39, -39)]
    assert patches[1].columns == {"annotation": "mitosis", "record": "2"}
    assert patches[2].columns == {"annotation": "box", "record": "7"}


@pytest.mark.parametrize("at", [63.5, 63.6, 64.0, 64.4])
def test_the_middle_of_a_pixel_stays_in_it(at: float) -> None:
    (patch,) = centred([point(at, at)], 128, (1.0, 1.0))
    assert patch.x == 0.0
