from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.color import Color, ColorSystem
from rich.color_triplet import ColorTriplet

from skiptool.cli.shading import ground, luminance
from skiptool.records import Shade

WHOLE, EITHER = Shade(0.0, 1.0), Shade(-0.5, 0.5, diverging=True)


def rgb(colour: Color | None) -> ColorTriplet:
    assert colour is not None
    assert colour.triplet is not None
    return colour.triplet


@pytest.mark.parametrize("shade", [WHOLE, EITHER])
@pytest.mark.parametrize("system", [ColorSystem.TRUECOLOR, ColorSystem.EIGHT_BIT])
@given(share=st.floats(0.0, 1.0))
def test_letters_are_legible_on_every_ground(
    shade: Shade, system: ColorSystem, share: float
) -> None:
    """Also where a terminal has 256 colours, of which rich takes the nearest."""
    style = ground(shade.low + share * (shade.high - shade.low), shade)
    assert style.bgcolor is not None
    behind, letters = style.bgcolor.downgrade(system).get_truecolor(), rgb(style.color)
    dark, light = sorted([luminance(behind), luminance(letters)])
    assert (light + 0.05) / (dark + 0.05) >= (4.5 if system is ColorSystem.TRUECOLOR else 3.6)


def test_scales_begin_and_end_where_they_should() -> None:
    found = [rgb(ground(value, WHOLE).bgcolor).hex for value in (-1.0, 0.0, 0.5, 1.0, 2.0)]
    assert found == ["#440154", "#440154", "#21918c", "#fde725", "#fde725"]
    found = [rgb(ground(value, EITHER).bgcolor).hex for value in (-0.5, 0.0, 0.5)]
    assert found == ["#67001f", "#f7f7f7", "#053061"]


@given(low=st.floats(0.0, 1.0), high=st.floats(0.0, 1.0))
def test_a_sequential_scale_gets_lighter(low: float, high: float) -> None:
    dark, light = (luminance(rgb(ground(v, WHOLE).bgcolor)) for v in sorted((low, high)))
    assert light >= dark - 0.003  # colours are whole numbers


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_has_no_colour(value: float) -> None:
    assert not ground(value, WHOLE)


@pytest.mark.parametrize(
    ("colour", "expected"), [((0, 0, 0), 0.0), ((255, 255, 255), 1.0), ((255, 0, 0), 0.2126)]
)
def test_luminance_of_known_colours(colour: tuple[int, int, int], expected: float) -> None:
    assert luminance(ColorTriplet(*colour)) == pytest.approx(expected)
