"""Which of several things in a mask is the one that was annotated."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from skiptool.records import Bool

__all__ = ["component_at"]


def component_at(mask: Bool, point: tuple[float, float], reach: float = 0.0) -> Bool:
    """Keep the connected component at a point.

    Parameters
    ----------
    mask : bool (H, W)
    point : tuple of float
        x and y in pixels; column j and row i cover [j, j + 1) and [i, i + 1).
    reach : float
        Where the point lies on no component, the one whose next pixel centre is at most so many
        pixels away is taken.

    Returns
    -------
    bool (H, W)
        The component (pixels joined by their edges, not by their corners); all False where there
        is none.

    Examples
    --------
    >>> component_at(np.array([[True, True, False, True]]), (3.2, 0.5)).tolist()
    [[False, False, False, True]]
    """
    found = _seed(mask, point, reach)
    if found is None:
        return np.zeros_like(mask)
    labels, _ = ndimage.label(mask)
    component: Bool = labels == labels[found]
    return component


def _seed(mask: Bool, point: tuple[float, float], reach: float) -> tuple[int, int] | None:
    """Row and column of the pixel of the mask that stands for the point."""
    row, column = math.floor(point[1]), math.floor(point[0])
    height, width = mask.shape
    if 0 <= row < height and 0 <= column < width and mask[row, column]:
        return row, column
    rows, columns = np.nonzero(mask)
    if rows.size == 0:
        return None
    distance = np.hypot(columns + 0.5 - point[0], rows + 0.5 - point[1])
    nearest = int(distance.argmin())
    return (int(rows[nearest]), int(columns[nearest])) if distance[nearest] <= reach else None
