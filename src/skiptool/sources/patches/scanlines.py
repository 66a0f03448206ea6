"""Where outlines cross horizontal lines: what filling areas and drawing points in them rest on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from skiptool.records import Float64, Int64

__all__ = ["crossings"]


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
