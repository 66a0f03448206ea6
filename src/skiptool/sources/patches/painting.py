"""Masks of patches: annotated areas rasterised at pixel centres, and masks traced into outlines.

A pixel belongs to an area if its centre lies inside it, at any resolution. The fills of OpenCV and
Pillow also paint pixels that the outline merely touches, half a pixel too much all around.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from skiptool.images import trace_mask
from skiptool.sources.annotations.shapes import Shape

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64, Int64, UInt8


@dataclass(frozen=True, slots=True)
class Patch:
    """A square patch of ``size`` pixels on a slide.

    Attributes
    ----------
    x, y : float
        Upper left corner in pixels of level 0; may lie outside the slide.
    scale : tuple of float
        Pixels of level 0 per pixel of the patch, horizontally and vertically.
    columns : mapping
        Metadata of the patch (id of the annotation, class drawn, epoch ...).
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
        """Centre of the patch in pixels of level 0."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


# Scanline filling.


def crossings(rings: Sequence[Float64], heights: Float64) -> tuple[Int64, Float64]:
    """Find every crossing of closed rings with horizontal lines.

    Parameters
    ----------
    rings : sequence of float64 (V, 2)
        x and y of the vertices; the last vertex is joined to the first.
    heights : float64 (L,)
        y of the lines, ascending.

    Returns
    -------
    line : int64 (K,)
        Index of the line crossed, unordered.
    x : float64 (K,)
        Position of the crossing.

    Notes
    -----
    An edge includes its upper end and excludes its lower end, so that each ring crosses each line
    an even number of times. Edges are followed downwards whatever their direction: two areas that
    share an edge get identical numbers, and neither overlap nor leave a gap when filled.

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
    """Upper and lower ends (E, 2) of the edges that may cross the lines."""
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
        Areas and labels in paint order, without points.
    bounds : float64 (N, 4)
        Left, top, right and bottom of each, in pixels of level 0.
    """

    shapes: tuple[tuple[Shape, int], ...]
    bounds: Float64

    @classmethod
    def of(cls, shapes: Sequence[tuple[Shape, int]]) -> Areas:
        """Collect areas and their labels (0..255), given in paint order."""
        areas = tuple((shape, label) for shape, label in shapes if not shape.is_point)
        bounds = np.array([shape.bounds for shape, _ in areas], dtype=np.float64)
        return cls(areas, bounds.reshape(-1, 4))

    def near(self, patch: Patch) -> Int64:
        """Return the indices of the areas whose bounding boxes overlap a patch, in paint order."""
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
        base : uint8 (size, size)
            Labels of what is not annotated.

        Returns
        -------
        uint8 (size, size)
            Later areas cover earlier ones; a hole shows what lies below.
        """
        painted = base.copy()
        for index in self.near(patch):
            shape, label = self.shapes[index]
            painted[inside(shape, patch)] = label
        return painted


def paint(shapes: Sequence[tuple[Shape, int]], patch: Patch, base: UInt8) -> UInt8:
    """Paint labelled areas over a copy of a mask; use `Areas.paint` for many patches."""
    return Areas.of(shapes).paint(patch, base)


def inside(shape: Shape, patch: Patch) -> Bool:
    """Mark the pixels of a patch whose centres lie inside an area.

    Returns
    -------
    bool (size, size)
        By the even-odd rule for each ring, excluding holes. A centre exactly on the border is
        inside on the upper and left sides, outside on the lower and right sides.

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
        # Crossings in reading order alternate between entering and leaving; each line has one
        # extra column for crossings beyond its end.
        turns = np.sort(line * (width + 1) + entered.astype(np.int64))
        runs = np.diff(turns, prepend=0, append=full)
        spans = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        marked[rows, columns] = spans.reshape(height, width + 1)[:, :-1]
    return marked


def _window(ring: Float64, patch: Patch) -> tuple[slice, slice]:
    """Rows and columns of a patch that cover the bounding box of a ring; may be empty."""
    (left, top), (right, bottom) = ring.min(axis=0), ring.max(axis=0)
    (across, down), size = patch.scale, patch.size

    def along(low: float, high: float, origin: float, step: float) -> slice:
        start = min(max(math.floor((low - origin) / step), 0), size)
        return slice(start, max(min(math.ceil((high - origin) / step), size), start))

    return along(top, bottom, patch.y, down), along(left, right, patch.x, across)


# Tracing.


def outlines(mask: Bool, patch: Patch, name: str, record: str) -> tuple[Shape, ...]:
    """Trace a mask into areas, along the edges of its pixels.

    Parameters
    ----------
    mask : bool (H, W)
    patch : Patch
        Position of the mask on the slide.
    name, record : str
        Class and id of the shapes.

    Returns
    -------
    tuple of Shape
        One per 4-connected component, with its holes, from top to bottom, in pixels of level 0.
        Painted on the same patch they reproduce the mask exactly.

    Examples
    --------
    >>> (shape,) = outlines(np.array([[False, True]]), Patch(10.0, 20.0, 2, (2.0, 2.0)), "a", "7")
    >>> shape.rings[0].tolist()
    [[12.0, 20.0], [14.0, 20.0], [14.0, 22.0], [12.0, 22.0]]
    """
    labels, count = ndimage.label(mask)
    rings: list[list[Float64]] = [[] for _ in range(count)]
    for ring in trace_mask(mask):
        column, row = ring[0].astype(int)  # above a pixel of the mask
        rings[labels[row, column] - 1].append(ring[:-1])
    origin, scale = np.array([patch.x, patch.y]), np.array(patch.scale)
    return tuple(
        Shape(name, tuple(origin + ring * scale for ring in component), record)
        for component in rings
    )
