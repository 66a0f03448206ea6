"""Masks of patches: labels of annotated areas and discs, drawn at the centres of pixels.

A pixel belongs to an area where its centre lies inside it, whatever the resolution. OpenCV's and
Pillow's fills also paint pixels that the outline only touches, half a pixel too much all around.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import ArgumentError
from skiptool.sources.patches.patch import Patch
from skiptool.sources.patches.scanlines import crossings
from skiptool.sources.shapes import Shape

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64, Int64, UInt8

__all__ = ["Areas", "discs", "inside", "paint"]


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


def discs(
    points: Float64,
    radius_um: float,
    mpp: tuple[float, float],
    patch: Patch,
    base: UInt8,
    label: int,
) -> UInt8:
    """Paint discs around points over a copy of a mask.

    Parameters
    ----------
    points : float64 (V, 2)
        x and y in pixels of level 0.
    radius_um : float
        Radius in µm, above 0.
    mpp : tuple of float
        µm per pixel of level 0, horizontally and vertically.
    patch : Patch
    base : uint8 (H, W)
    label : int
        In 0..255.

    Returns
    -------
    uint8 (H, W)
        The label where the centre of a pixel is at most the radius away from a point, and in the
        pixel under each point however small the disc.

    Raises
    ------
    ArgumentError
        If the radius is not above 0 or the mask is not as large as the patch.
    """
    if not radius_um > 0:
        raise ArgumentError(f"disc: radius {radius_um} um; expected more than 0")
    painted, line = _copy(base, patch), np.arange(patch.size) + 0.5
    for x, y in np.asarray(points, dtype=np.float64).reshape(-1, 2):
        column, row = (x - patch.x) / patch.scale[0], (y - patch.y) / patch.scale[1]
        right = (line - column) * (patch.scale[0] * mpp[0])
        down = (line - row) * (patch.scale[1] * mpp[1])
        painted[right[None, :] ** 2 + down[:, None] ** 2 <= radius_um**2] = label
        if 0 <= column < patch.size and 0 <= row < patch.size:
            painted[int(row), int(column)] = label
    return painted


def _copy(base: UInt8, patch: Patch) -> UInt8:
    if base.shape != (patch.size, patch.size):
        raise ArgumentError(
            f"mask of shape {base.shape} below a patch of {patch.size} x {patch.size} pixels; "
            "both must be of one size"
        )
    return base.copy()
