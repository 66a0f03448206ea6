"""A patch: which part of a slide becomes one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Patch"]


@dataclass(frozen=True, slots=True)
class Patch:
    """A square of ``size`` pixels on a slide.

    Attributes
    ----------
    x, y : float
        Upper left corner in pixels of level 0; may lie outside the slide.
    size : int
        Pixels of the patch along either side.
    scale : tuple of float
        Pixels of level 0 that one pixel of the patch spans, horizontally and vertically.
    columns : mapping
        What else is known of it (record of the annotation, class drawn, draw ...).
    """

    x: float
    y: float
    size: int
    scale: tuple[float, float] = (1.0, 1.0)
    columns: Mapping[str, str | int | float] = field(default_factory=dict)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom in pixels of level 0."""
        right, bottom = (
            at + self.size * by for at, by in zip((self.x, self.y), self.scale, strict=True)
        )
        return self.x, self.y, right, bottom

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the patch in pixels of level 0."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2
