"""What the colours of a matrix mean, and how its numbers are written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import matplotlib
import numpy as np

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["SHARES", "Scale", "difference_scale"]

_MINUS: Final = "\N{MINUS SIGN}"
_DARK: Final = "#1b1b1b"
_DARK_LIGHT: Final = 0.061  # its luminance, and the 0.05 that WCAG adds


@dataclass(frozen=True, slots=True)
class Scale:
    """A colour for each value between two ends.

    Attributes
    ----------
    colours : str
        Name of a colour map of Matplotlib that does not rest on telling red from green.
    low, high : float
        Ends; what lies beyond has their colour.
    signed : bool
        Values are differences: written with their sign.
    """

    colours: str
    low: float
    high: float
    signed: bool = False

    @property
    def ticks(self) -> tuple[float, float, float]:
        """Both ends and the middle."""
        return self.low, (self.low + self.high) / 2, self.high

    def shades(self, values: Float64) -> Float64:
        """Colours (N, 4) in [0, 1] of values (N,)."""
        places = np.clip((values - self.low) / (self.high - self.low), 0.0, 1.0)
        return np.asarray(matplotlib.colormaps[self.colours](places))

    def legible(self, value: float) -> str:
        """Dark or white ink, whichever stands out more on a cell (contrast as WCAG defines it)."""
        rgb = self.shades(np.array([value]))[0, :3]
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        light = float(linear @ (0.2126, 0.7152, 0.0722)) + 0.05
        return _DARK if light / _DARK_LIGHT > 1.05 / light else "#ffffff"

    def written(self, value: float) -> str:
        """Two decimals, and a sign where it counts.

        Examples
        --------
        >>> SHARES.written(0.856), difference_scale(np.array([0.1])).written(0.031)
        ('0.86', '+0.03')
        """
        text = f"{value:.2f}"
        if not self.signed:
            return text
        if float(text) == 0.0:
            return "0.00"
        return f"+{text}" if value > 0 else text.replace("-", _MINUS)

    def tick(self, value: float) -> str:
        """Write a tick of the bar: no more decimals than it needs."""
        return self.written(value) if self.signed and value else f"{value:g}"


SHARES: Final = Scale("viridis", 0.0, 1.0)
"""Values in [0, 1]."""


def difference_scale(values: Float64) -> Scale:
    """Return a scale that is even about 0 and ends at the greatest difference, rounded up.

    NaN is left out. Loss is red, gain is blue: told apart under all forms of colour-blindness.

    Examples
    --------
    >>> difference_scale(np.array([0.031, -0.122, np.nan])).ticks
    (-0.13, 0.0, 0.13)
    """
    greatest = float(np.nanmax(np.abs(values), initial=0.0))
    limit = max(math.ceil(100.0 * greatest - 1e-9), 1) / 100.0
    return Scale("RdBu", -limit, limit, signed=True)
