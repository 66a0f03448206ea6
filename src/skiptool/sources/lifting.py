"""Lift an object off a picture of a smear: part it from its neighbours, lay it on clean glass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from skiptool.sources.backdrop import empty_colour, fill
from skiptool.sources.bbbc041 import Box
from skiptool.sources.cutouts import Template
from skiptool.sources.stain import stained

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64, UInt8

__all__ = ["Slide"]

_MARGIN: Final = 14
"""Pixels of background around a box in the template cut from it."""

_SLACK: Final = 4
"""Pixels by which an object may reach beyond its box: boxes are drawn by hand."""

_RIM: Final = 4
_FADE: Final = 1.0
"""Pixels around an object that are kept with it (its blurred edge), and their fade."""

_MUCH: Final = 0.15
"""Share of a box's stain that is nearer to a neighbour, and of its outline that is stained, from
which on cells are taken to lie over one another."""


@dataclass(frozen=True, slots=True, eq=False)
class Slide:
    """A picture, the boxes of all objects on it, and what follows from them.

    Attributes
    ----------
    picture : uint8, shape (H, W, 3)
    boxes : tuple of Box
    free : bool, shape (H, W)
        Empty glass.
    clean : uint8, shape (H, W, 3)
        The picture with everything that is not free filled in from around.
    stain : bool, shape (H, W)
        What differs from the glass.
    """

    picture: UInt8
    boxes: tuple[Box, ...]
    free: Bool
    clean: UInt8
    stain: Bool

    @classmethod
    def of(
        cls, picture: UInt8, boxes: Sequence[Box], free: Bool, rng: np.random.Generator
    ) -> Slide:
        """Derive the rest from these three; ``rng`` draws the grain of the clean glass.

        Raises
        ------
        ArgumentError
            If nothing is free.
        """
        stain = stained(picture, empty_colour(picture))
        return cls(picture, tuple(boxes), free, fill(picture, free, rng), stain)

    def lift(self, name: str, box: Box, pieces: bool = False) -> Template:
        """Cut out the object of a box, without its neighbours.

        Parameters
        ----------
        name : str
            Of the template.
        box : Box
        pieces : bool
            The object may lie in several pieces; else the largest is taken.

        Raises
        ------
        SourceError
            If nothing in the box stands out.
        """
        window = box.grown(_MARGIN, *self.free.shape)
        glass = np.median(self.clean[window.slices], axis=(0, 1)).astype(np.uint8)
        stain = stained(self.picture[window.slices], glass)
        body = ndimage.binary_fill_holes(stain & self._own(box, window, stain))
        body = body if pieces else _largest(body)
        near = (ndimage.distance_transform_edt(~body) <= _RIM) & (body | ~stain)
        cover = ndimage.gaussian_filter(near.astype(np.float64), _FADE)[..., None]
        laid = cover * self.picture[window.slices] + (1.0 - cover) * self.clean[window.slices]
        return Template.from_picture(name, np.rint(laid).astype(np.uint8), pieces)

    def crowding(self, box: Box) -> tuple[bool, float]:
        """Tell whether the border cuts a box off, and what share of its stain is a neighbour's."""
        stain = self.stain[box.slices]
        foreign = stain & ~self._nearest(box, box)
        return self.cut_off(box), float(foreign.sum() / max(stain.sum(), 1))

    def cut_off(self, box: Box) -> bool:
        """Tell whether a box reaches the border, so that its object may go on beyond."""
        height, width = self.free.shape
        return bool(min(box.top, box.left, height - box.bottom, width - box.right) <= 1)

    def _own(self, box: Box, window: Box, stain: Bool) -> Bool:
        """Mark what belongs to a box: what lies nearer to it than to others, and not far off.

        Where a neighbour covers much of the box, or much stain goes on beyond it, the cells lie
        over one another: then it is the ellipse of the box, so that no straight edge remains.
        """
        near = np.zeros_like(stain)
        reach = box.grown(_SLACK, *self.free.shape).within(window).slices
        near[reach] = self._nearest(box, window)[reach]
        outline = (near & stain)[reach]
        outline[1:-1, 1:-1] = False
        crossing = outline.sum() / (box.height + box.width)
        if crossing > _MUCH or self.crowding(box)[1] > _MUCH:
            near = _ellipse(box, window) <= 1.0
        return near

    def _nearest(self, box: Box, window: Box) -> Bool:
        """Mark where a window is nearer to this box than to any other, measured in ellipses.

        A box encloses something round: where two cells touch, the line between them runs along
        the rim of the more distant one.
        """
        mine = _ellipse(box, window)
        nearest = np.ones(mine.shape, dtype=bool)
        for other in self.boxes:
            if other != box and other.meets(window):
                nearest &= mine <= _ellipse(other, window)
        return nearest


def _ellipse(box: Box, window: Box) -> Float64:
    """Squared distance from the middle of a box, 1 on the ellipse within it."""
    rows = np.arange(window.top, window.bottom) + 0.5 - (box.top + box.bottom) / 2
    columns = np.arange(window.left, window.right) + 0.5 - (box.left + box.right) / 2
    down, right = rows / (box.height / 2), columns / (box.width / 2)
    distance: Float64 = (down**2)[:, None] + (right**2)[None, :]
    return distance


def _largest(mask: Bool) -> Bool:
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest: Bool = mask & (labels == sizes.argmax())
    return largest
