"""Masks of patches: labels of annotated areas, drawn at the centres of pixels.

A pixel belongs to an area where its centre lies inside it, whatever the resolution. OpenCV's and
Pillow's fills also paint pixels that the outline only touches, half a pixel too much all around.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from skiptool.errors import ArgumentError
from skiptool.sources.annotations.shapes import Shape

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64, Int64, UInt8

__all__ = ["Areas", "Patch", "crossings", "inside", "outlines", "paint"]

# -------------------------------------------------------------------------------------------------
# A patch: which part of a slide becomes one image.


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


# -------------------------------------------------------------------------------------------------
# Where outlines cross horizontal lines: what filling areas and drawing points in them rest on.


def crossings(rings: Sequence[Float64], heights: Float64) -> tuple[Int64, Float64]:
    """Find every crossing of closed rings with horizontal lines.

    Parameters
    ----------
    rings : sequence of float64 (V, 2)
        x and y of the vertices of each ring; the last vertex is joined to the first.
    heights : float64 (L,)
        y of the lines, ascending.

    Returns
    -------
    line : int64 (K,)
        Index of the line that is crossed, in no order.
    x : float64 (K,)
        Where.

    Notes
    -----
    An edge crosses the lines from its upper end (included) to its lower end (excluded), so that
    each ring crosses each line an even number of times. Edges are followed downwards whichever
    way they were drawn: two areas that share an edge get the very same numbers and neither
    overlap nor leave a gap when they are filled.

    Examples
    --------
    >>> square = np.array([[1.0, 1.0], [3.0, 1.0], [3.0, 3.0], [1.0, 3.0]])
    >>> line, x = crossings([square], np.array([0.5, 1.5, 2.5]))
    >>> sorted(zip(line.tolist(), x.tolist()))
    [(1, 1.0), (1, 3.0), (2, 1.0), (2, 3.0)]
    """
    upper, lower = _edges(rings, heights)
    first = np.searchsorted(heights, upper[:, 1])
    count = np.searchsorted(heights, lower[:, 1]) - first
    edge = np.repeat(np.arange(len(upper)), count)
    line: Int64 = np.arange(len(edge)) + np.repeat(first - (np.cumsum(count) - count), count)
    run, fall = (lower - upper)[edge].T
    x: Float64 = upper[edge, 0] + (heights[line] - upper[edge, 1]) * run / fall
    return line, x


def _edges(rings: Sequence[Float64], heights: Float64) -> tuple[Float64, Float64]:
    """Upper and lower ends (E, 2) of the edges that may meet the lines."""
    starts = np.concatenate(rings)
    ends = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    if len(heights) == 0:
        return starts[:0], ends[:0]
    top, bottom = np.minimum(starts[:, 1], ends[:, 1]), np.maximum(starts[:, 1], ends[:, 1])
    near = np.flatnonzero((bottom > heights[0]) & (top <= heights[-1]) & (bottom > top))
    starts, ends = starts[near], ends[near]
    down = (starts[:, 1] < ends[:, 1])[:, None]
    return np.where(down, starts, ends), np.where(down, ends, starts)


@dataclass(frozen=True, slots=True, eq=False)
class Areas:
    """The labelled areas of a slide, ready to be painted on many patches.

    Attributes
    ----------
    shapes : tuple of (Shape, int)
        Areas and their labels in paint order; points are left out.
    bounds : float64 (N, 4)
        Left, top, right and bottom of each, in pixels of level 0.
    """

    shapes: tuple[tuple[Shape, int], ...]
    bounds: Float64

    @classmethod
    def of(cls, shapes: Sequence[tuple[Shape, int]]) -> Areas:
        """Gather areas with their labels (0..255), given in paint order."""
        areas = tuple((shape, label) for shape, label in shapes if not shape.is_point)
        bounds = np.array([shape.bounds for shape, _ in areas], dtype=np.float64)
        return cls(areas, bounds.reshape(-1, 4))

    def near(self, patch: Patch) -> Int64:
        """Return the indices of the areas whose bounding boxes meet a patch, in paint order."""
        left, top, right, bottom = patch.box
        west, north, east, south = self.bounds.T
        meets = (west < right) & (east > left) & (north < bottom) & (south > top)
        found: Int64 = np.flatnonzero(meets)
        return found

    def paint(self, patch: Patch, base: UInt8) -> UInt8:
        """Paint the areas over a copy of a mask.

        Parameters
        ----------
        patch : Patch
        base : uint8 (H, W)
            What is seen where nothing is annotated.

        Returns
        -------
        uint8 (H, W)
            Later areas lie over earlier ones; a hole shows what lies below.

        Raises
        ------
        ArgumentError
            If the mask is not as large as the patch.
        """
        painted = _copy(base, patch)
        for index in self.near(patch):
            shape, label = self.shapes[index]
            painted[inside(shape, patch)] = label
        return painted


def paint(shapes: Sequence[tuple[Shape, int]], patch: Patch, base: UInt8) -> UInt8:
    """Paint labelled areas over a copy of a mask (H, W); see `Areas.paint` for many patches."""
    return Areas.of(shapes).paint(patch, base)


def inside(shape: Shape, patch: Patch) -> Bool:
    """Mark the pixels of a patch whose centres lie inside an area.

    Parameters
    ----------
    shape : Shape
    patch : Patch

    Returns
    -------
    bool (H, W)
        By the even-odd rule for each ring, and in no hole. A centre exactly on the border counts
        on the upper and the left side, not on the lower and the right one.

    Examples
    --------
    >>> square = Shape("", (np.array([[0.6, 0.6], [2.4, 0.6], [2.4, 2.5], [0.6, 2.5]]),), "")
    >>> inside(square, Patch(0.0, 0.0, 4)).astype(int).tolist()
    [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    """
    outline, *holes = shape.rings
    marked = _filled(outline, patch)
    for hole in holes:
        marked &= ~_filled(hole, patch)
    return marked


def _filled(ring: Float64, patch: Patch) -> Bool:
    """Mark the pixels of a patch whose centres lie in a ring."""
    marked = np.zeros((patch.size, patch.size), dtype=bool)
    rows, columns = _window(ring, patch)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    if height > 0 and width > 0:
        (across, down), full = patch.scale, height * (width + 1)
        centres = patch.y + (np.arange(rows.start, rows.stop) + 0.5) * down
        line, x = crossings([ring], centres)
        entered = np.clip(np.ceil((x - patch.x) / across - 0.5) - columns.start, 0, width)
        # Crossings in reading order lead in and out in turn, and out again by the end of a line:
        # it has one place more than pixels, for crossings beyond.
        turns = np.sort(line * (width + 1) + entered.astype(np.int64))
        runs = np.diff(turns, prepend=0, append=full)
        spans = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        marked[rows, columns] = spans.reshape(height, width + 1)[:, :-1]
    return marked


def _window(ring: Float64, patch: Patch) -> tuple[slice, slice]:
    """Rows and columns of a patch that hold the bounding box of a ring; may be empty."""
    (left, top), (right, bottom) = ring.min(axis=0), ring.max(axis=0)
    (across, down), size = patch.scale, patch.size

    def along(low: float, high: float, origin: float, step: float) -> slice:
        start = min(max(math.floor((low - origin) / step), 0), size)
        return slice(start, max(min(math.ceil((high - origin) / step), size), start))

    return along(top, bottom, patch.y, down), along(left, right, patch.x, across)


def _copy(base: UInt8, patch: Patch) -> UInt8:
    if base.shape != (patch.size, patch.size):
        raise ArgumentError(
            f"mask of shape {base.shape} below a patch of {patch.size} x {patch.size} pixels; "
            "both must be of one size"
        )
    return base.copy()


# -------------------------------------------------------------------------------------------------
# Outlines of a mask along the edges of its pixels, so that it can be painted elsewhere.


_STEPS: Final = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Row and column from one corner of pixels to the next: right, down, left, up."""


def outlines(mask: Bool, patch: Patch, name: str, record: str) -> tuple[Shape, ...]:
    """Turn a mask into areas in pixels of level 0.

    Parameters
    ----------
    mask : bool (H, W)
    patch : Patch
        Where the mask lies on its slide.
    name, record : str
        Of the shapes.

    Returns
    -------
    tuple of Shape
        One a connected component (pixels joined by their edges), with its holes, from top to
        bottom. Painted on the same patch they give the very same mask.

    Examples
    --------
    >>> (shape,) = outlines(np.array([[False, True]]), Patch(10.0, 20.0, 2, (2.0, 2.0)), "a", "7")
    >>> shape.rings[0].tolist()
    [[12.0, 20.0], [14.0, 20.0], [14.0, 22.0], [12.0, 22.0]]
    """
    labels, count = ndimage.label(mask)
    rings: list[list[Float64]] = [[] for _ in range(count)]
    for loop in _loops(mask):
        # It begins with a step to the right: the pixel below that is in the mask. The loop around
        # the outside holds the topmost step of its component, so it comes before the holes.
        _, row, column = loop[0]
        rings[int(labels[row, column]) - 1].append(_corners(loop))
    origin, scale = np.array([patch.x, patch.y]), np.array(patch.scale)
    return tuple(
        Shape(name, tuple(origin + ring * scale for ring in component), record)
        for component in rings
    )


def _loops(mask: Bool) -> list[Int64]:
    """Follow the border: each loop as direction, row, column of the steps it takes (S, 3).

    The mask lies on the right hand of every step. Where two pixels touch by a corner the loop
    turns right, back to its own pixel.
    """
    steps = _border(mask)
    onward = _onward(steps)
    first, loops = np.flatnonzero(steps), []
    unseen = set(first.tolist())
    for start in first.tolist():
        loop, at = [], start
        while at in unseen:
            unseen.remove(at)
            loop.append(at)
            at = onward[at]
        if loop:
            loops.append(np.stack(np.unravel_index(loop, steps.shape), axis=1))
    return loops


def _border(mask: Bool) -> Bool:
    """Whether a step of the border leaves a corner in a direction: (4, H + 1, W + 1)."""
    padded = np.pad(mask, 1)
    above_left, above = padded[:-1, :-1], padded[:-1, 1:]
    left, here = padded[1:, :-1], padded[1:, 1:]
    # Of a step right the pixel below is in the mask and the one above is not, and so on around.
    steps: Bool = np.stack([here & ~above, left & ~here, above_left & ~left, above & ~above_left])
    return steps


def _onward(steps: Bool) -> dict[int, int]:
    """Which step follows which, by their flat indices."""
    direction, row, column = np.nonzero(steps)
    down, right = np.array(_STEPS)[direction].T
    row_to, column_to = row + down, column + right
    ahead = [(direction + turn) % len(_STEPS) for turn in (1, 0, -1)]
    free = [steps[turned, row_to, column_to] for turned in ahead]
    turned = np.select(free, ahead)
    here = np.ravel_multi_index((direction, row, column), steps.shape)
    there = np.ravel_multi_index((turned, row_to, column_to), steps.shape)
    return dict(zip(here.tolist(), there.tolist(), strict=True))


def _corners(loop: Int64) -> Float64:
    """Corners where a loop turns, x and y in pixels of the mask (V, 2)."""
    turns = loop[:, 0] != np.roll(loop[:, 0], 1)
    corners: Float64 = loop[turns][:, :0:-1].astype(np.float64)
    return corners
