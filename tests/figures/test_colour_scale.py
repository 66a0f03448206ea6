from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.figures.colour_scale import SHARES, Scale, difference_scale


@given(st.lists(st.floats(-1.0, 1.0), max_size=6))
def test_a_scale_of_differences_is_even_and_holds_them_all(values: list[float]) -> None:
    scale = difference_scale(np.array([*values, np.nan]))
    low, middle, high = scale.ticks
    assert low == -high
    assert middle == 0.0
    greatest = max(map(abs, values), default=0.0)
    assert greatest - 1e-9 <= high <= max(greatest + 0.01, 0.01)


def test_ends_by_hand() -> None:
    assert difference_scale(np.array([0.2, -0.1])).ticks == (-0.2, 0.0, 0.2)
    assert difference_scale(np.array([0.201])).high == 0.21
    assert difference_scale(np.array([0.0])).high == 0.01
    assert difference_scale(np.array([math.nan])).high == 0.01


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.031, "+0.03"), (-0.12, "−0.12"), (0.004, "0.00"), (-0.004, "0.00"), (0.0, "0.00")],
)
def test_signs_are_written_where_they_count(value: float, text: str) -> None:
    scale = difference_scale(np.array([0.5]))
    assert scale.written(value) == text
    assert SHARES.written(0.031) == "0.03"


def test_ticks_are_short() -> None:
    scale = difference_scale(np.array([0.5]))
    assert [scale.tick(tick) for tick in scale.ticks] == ["−0.50", "0", "+0.50"]
    assert [SHARES.tick(tick) for tick in SHARES.ticks] == ["0", "0.5", "1"]


def luminance(rgb: np.ndarray) -> float:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


@pytest.mark.parametrize("scale", [SHARES, difference_scale(np.array([0.3]))])
def test_numbers_can_be_read_on_every_colour(scale: Scale) -> None:
    for value in np.linspace(scale.low, scale.high, 41):
        ground = luminance(scale.shades(np.array([value]))[0, :3])
        hexed = scale.legible(value)
        ink = luminance(np.array([int(hexed[k : k + 2], 16) / 255 for k in (1, 3, 5)]))
        dark, light = sorted([ground, ink])
        assert (light + 0.05) / (dark + 0.05) >= 4.0, value


def test_beyond_the_ends_the_colour_stays() -> None:
    shades = SHARES.shades(np.array([-1.0, 0.0, 1.0, 9.0]))
    np.testing.assert_array_equal(shades[0], shades[1])
    np.testing.assert_array_equal(shades[2], shades[3])


def test_loss_and_gain_differ_also_without_red_and_green() -> None:
    """Blue tells them apart, which who cannot tell red from green still sees."""
    scale = difference_scale(np.array([1.0]))
    loss, gain = scale.shades(np.array([-0.6, 0.6]))[:, :3]
    assert gain[2] - loss[2] > 0.3
