"""Annotations and patches of a slide, brought to the dots of a small picture of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.errors import ArgumentError

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["Marks", "box_lines", "gather_marks"]

_SMALL: Final = 12.0  # dots; an area that is smaller is shown as a point
_STEP: Final = 0.5  # dots; vertices closer than this are one


@dataclass(slots=True)
class Marks:
    """What there is of one name, in dots from the upper left corner of the picture.

    Attributes
    ----------
    lines : list of float64 (V, 2)
        Closed rings of the areas that are large enough to be seen as such.
    points : list of float64 (2,)
        Points, and the middles of small areas.
    areas, dots : int
        How many areas and points were given.
    """

    lines: list[Float64] = field(default_factory=list)
    points: list[Float64] = field(default_factory=list)
    areas: int = 0
    dots: int = 0

    def label(self, name: str) -> str:
        """Name and numbers, for the key.

        Examples
        --------
        >>> Marks(areas=1200).label("tumor"), Marks(areas=2, dots=1).label("tumor")
        ('tumor (1,200)', 'tumor (areas 2, points 1)')
        """
        if self.areas and self.dots:
            return f"{name} (areas {self.areas:,}, points {self.dots:,})"
        return f"{name} ({self.areas + self.dots:,})"


def gather_marks(
    areas: Sequence[tuple[str, Sequence[Float64]]],
    points: Sequence[tuple[str, tuple[float, float]]],
    per_pixel: tuple[float, float],
) -> dict[str, Marks]:
    """Sort annotations by name.

    Parameters
    ----------
    areas : sequence of (name, rings)
        Rings are float64 (V, 2), x and y in pixels of level 0, closed or not.
    points : sequence of (name, (x, y))
    per_pixel : (float, float)
        Dots for each pixel of level 0.
    """
    marks: dict[str, Marks] = {}
    for name, rings in areas:
        found = marks.setdefault(name, Marks())
        found.areas += 1
        placed = [np.asarray(ring, dtype=np.float64) * per_pixel for ring in rings]
        low, high = placed[0].min(axis=0), placed[0].max(axis=0)
        if (high - low).max() < _SMALL:
            found.points.append((low + high) / 2)
        else:
            found.lines += [_closed(ring) for ring in placed]
    for name, place in points:
        found = marks.setdefault(name, Marks())
        found.dots += 1
        found.points.append(np.asarray(place, dtype=np.float64) * per_pixel)
    return marks


def box_lines(boxes: Float64, per_pixel: tuple[float, float]) -> Float64:
    """Turn boxes (N, 4), left, top, right, bottom at level 0, into rings (N, 5, 2) in dots.

    Raises
    ------
    ArgumentError
        If the boxes have another shape.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ArgumentError(
            f"patches to draw: found shape {boxes.shape}, expected (N, 4); give left, top, right "
            "and bottom of each"
        )
    left, top, right, bottom = boxes.T
    x = np.stack([left, right, right, left, left], axis=1)
    y = np.stack([top, top, bottom, bottom, top], axis=1)
    return np.stack([x, y], axis=2) * per_pixel


def _closed(ring: Float64) -> Float64:
    """Close a ring, and leave out vertices that fall on the one before."""
    cell = np.floor(ring / _STEP)
    kept = ring[np.append(True, (np.diff(cell, axis=0) != 0).any(axis=1))]
    return np.concatenate([kept, kept[:1]])
