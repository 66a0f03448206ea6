"""What registration needs of a slide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from skiptool.records import UInt8

__all__ = ["View"]


class View(Protocol):
    """A scan that can be read at any place and resolution, as :class:`Slide` can."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of level 0."""

    def read(self, x: float, y: float, size: tuple[int, int], scale: tuple[float, float]) -> UInt8:
        """Return pixels (h, w, 3) from a corner in level-0 pixels on; white outside."""

    def overview(self, longest: int) -> tuple[UInt8, tuple[float, float]]:
        """Return a picture of the whole, and the level-0 pixels that one of its pixels spans."""
