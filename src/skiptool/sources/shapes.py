"""Annotations in one internal form, whatever program drew them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["Shape"]


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """A point or an area with the name of its class, in pixels of level 0.

    Attributes
    ----------
    name : str
        Class as the file names it, never a number; empty where it names none.
    rings : tuple of float64 (V, 2)
        x and y of the vertices, x to the right and y down from the slide's upper left corner. One
        ring of one vertex is a point; otherwise the first ring is the outline (three vertices or
        more, not closed), the others are holes in it. Rectangles and circles are outlines too.
    record : str
        Id of the record in its file.
    """

    name: str
    rings: tuple[Float64, ...]
    record: str

    @property
    def is_point(self) -> bool:
        """Whether this is a point, not an area."""
        return len(self.rings[0]) == 1

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the outline."""
        (left, top), (right, bottom) = self.rings[0].min(axis=0), self.rings[0].max(axis=0)
        return float(left), float(top), float(right), float(bottom)

    @property
    def centre(self) -> tuple[float, float]:
        """The point itself, or the middle of the bounding box of an area."""
        left, top, right, bottom = self.bounds
        return (left + right) / 2, (top + bottom) / 2

    @property
    def area(self) -> float:
        """Pixels inside the outline without the holes; 0 for a point."""
        outline, *holes = map(_shoelace, self.rings)
        return max(outline - sum(holes), 0.0)

    def mapped(self, transform: Callable[[Float64], Float64]) -> Shape:
        """Return the shape with all vertices (V, 2) sent through a function."""
        return replace(self, rings=tuple(transform(ring) for ring in self.rings))


def _shoelace(ring: Float64) -> float:
    x, y = (ring - ring[0]).T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
