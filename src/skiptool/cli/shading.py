"""Ground behind the numbers of a matrix on a terminal: the colour says how high each is."""

from __future__ import annotations

import math
from itertools import pairwise

from rich.color import Color
from rich.color_triplet import ColorTriplet
from rich.style import Style

from skiptool.records import Shade

__all__ = ["ground", "luminance"]

_SEQUENTIAL = (
    *("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c"),
    *("#28ae80", "#5ec962", "#addc30", "#fde725"),
)
"""Viridis, as in the figures."""

_DIVERGING = (
    *("#67001f", "#b2182b", "#d6604d", "#f4a582", "#fddbc7", "#f7f7f7"),
    *("#d1e5f0", "#92c5de", "#4393c3", "#2166ac", "#053061"),
)
"""ColorBrewer's RdBu, as in the figures: red below, blue above."""

_DARKEST = 0.179
"""Luminance at which black and white letters are equally legible, 4.6 to 1 (WCAG 2.2, 1.4.3)."""


def ground(value: float, shade: Shade) -> Style:
    """Return the colour behind a number, and of its letters: black or white, as is more legible.

    Parameters
    ----------
    value : float
        Beyond the ends of the scale it has the colour of the end; not finite: no colour.
    shade : Shade

    Examples
    --------
    >>> str(ground(1.2, Shade(0.0, 1.0))), str(ground(float("nan"), Shade(0.0, 1.0)))
    ('#000000 on #fde725', 'none')
    """
    if not math.isfinite(value):
        return Style.null()
    share = (value - shade.low) / (shade.high - shade.low)
    colour = _between(_DIVERGING if shade.diverging else _SEQUENTIAL, min(max(share, 0.0), 1.0))
    letters = "#000000" if luminance(colour) > _DARKEST else "#ffffff"
    return Style(color=letters, bgcolor=Color.from_triplet(colour))


def _between(anchors: tuple[str, ...], share: float) -> ColorTriplet:
    place = share * (len(anchors) - 1)
    below = min(int(place), len(anchors) - 2)
    low, high = list(pairwise(anchors))[below]
    ends = [(int(low[k : k + 2], 16), int(high[k : k + 2], 16)) for k in (1, 3, 5)]
    red, green, blue = (round(a + (b - a) * (place - below)) for a, b in ends)
    return ColorTriplet(red, green, blue)


def luminance(colour: ColorTriplet) -> float:
    """Relative luminance of an sRGB colour, in [0, 1] (WCAG 2.2)."""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in colour.normalized
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
