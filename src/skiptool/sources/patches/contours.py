"""Outlines of a mask along the edges of its pixels, so that it can be painted elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from skiptool.sources.patches.patch import Patch
from skiptool.sources.shapes import Shape

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64, Int64

__all__ = ["outlines"]

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
