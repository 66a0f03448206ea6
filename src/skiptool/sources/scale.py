"""From what a camera counts to [0, 1]: which value of a file is black, and which is white."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import ArgumentError, SourceError

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float32

__all__ = ["FULL", "Scale"]

_FULL, _MINMAX = "full", "minmax"


@dataclass(frozen=True, slots=True)
class Scale:
    """How values of a file become intensities in [0, 1].

    Attributes
    ----------
    text : str
        As it is written: ``full``, ``minmax``, ``p1`` or ``LOW:HIGH``.
    window : tuple of float, optional
        Values of black and white, the same for all images; what lies beyond is clipped.
    outer : float, optional
        Percent of an image's values that are clipped at either end; 0 is ``minmax``.

    Notes
    -----
    ``full`` divides by the largest value that the type can hold, so that two images stay as bright
    to each other as they were recorded, and an image means the same in any company. Microscopy
    programs stretch each image between its own ends instead (``minmax``, or ``p1`` where hot
    pixels are): that shows more, and takes away what scanners differ by in brightness and contrast.
    """

    text: str = _FULL
    window: tuple[float, float] | None = None
    outer: float | None = None

    @classmethod
    def parse(cls, text: str) -> Scale:
        """Read ``full``, ``minmax``, ``pP`` or ``LOW:HIGH``.

        Raises
        ------
        ArgumentError
            If it is none of these, ``P`` is not below 50, or ``LOW`` not below ``HIGH``.

        Examples
        --------
        >>> Scale.parse("0:4095").window, Scale.parse("p0.5").outer, Scale.parse("minmax").outer
        ((0.0, 4095.0), 0.5, 0.0)
        """
        if text == _FULL:
            return cls()
        if text == _MINMAX:
            return cls(text, outer=0.0)
        low, colon, high = text.partition(":")
        numbers = _numbers((low, high) if colon else (text[1:],))
        if colon and numbers and numbers[0] < numbers[1]:
            return cls(text, window=(numbers[0], numbers[1]))
        if not colon and text[:1] == "p" and numbers and 0 <= numbers[0] < 50:
            return cls(text, outer=numbers[0])
        raise ArgumentError(
            f"--scale {text}: expected full (what the type can hold), LOW:HIGH such as 0:4095, "
            "minmax, or p1 (an image's own ends, 1 % clipped at either)"
        )

    def apply(self, values: AnyArray, where: str) -> Float32:
        """Return intensities of one image.

        Parameters
        ----------
        values : uint8, uint16, int32 or float32, any shape
        where : str
            File, for messages.

        Returns
        -------
        float32 in [0, 1], same shape
            All 0 where an image is stretched between its own ends and these are equal.

        Raises
        ------
        SourceError
            If a value is not finite, or ``full`` does not say what is white.
        """
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise SourceError(f"{where}: holds NaN or infinite values; mend the image")
        low, high = self._ends(values, where)
        if low == high:
            return np.zeros(values.shape, dtype=np.float32)
        scaled = (values.astype(np.float64) - low) / (high - low)
        return np.clip(scaled, 0.0, 1.0).astype(np.float32)

    def _ends(self, values: AnyArray, where: str) -> tuple[float, float]:
        if self.window is not None:
            return self.window
        if self.outer is not None:
            low, high = np.percentile(values, (self.outer, 100 - self.outer))
            return float(low), float(high)
        if values.dtype in (np.uint8, np.uint16):
            return 0.0, float(np.iinfo(values.dtype).max)
        lowest, highest = float(values.min()), float(values.max())
        if values.dtype.kind == "f" and lowest >= 0 and highest <= 1:
            return 0.0, 1.0
        raise SourceError(
            f"{where}: {values.dtype} values from {lowest:g} to {highest:g}, and nothing says "
            "which is white; give --scale LOW:HIGH, minmax or p1"
        )


FULL = Scale()
"""What the type can hold: the same for all images."""


def _numbers(words: tuple[str, ...]) -> tuple[float, ...]:
    try:
        found = tuple(float(word) for word in words)
    except ValueError:
        return ()
    return found if all(map(isfinite, found)) else ()
