"""The outline of a mask along the edges of its pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64, Int64

__all__ = ["outlines"]


def outlines(mask: Bool) -> list[Float64]:
    """Trace where a mask begins and ends: exactly between pixels, nothing smoothed.

    Parameters
    ----------
    mask : bool (H, W)

    Returns
    -------
    list of float64 (V, 2)
        Closed rings (the first vertex comes again at the end) of x and y in pixels from the upper
        left corner of the mask; only corners, horizontal and vertical edges in turn, the first
        horizontal. The inside lies to the right of one who walks along; pixels that touch only at
        a corner have outlines of their own.

    Examples
    --------
    >>> outlines(np.array([[True, True]]))[0].tolist()
    [[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 1.0], [0.0, 0.0]]
    """
    padded = np.pad(mask.astype(np.int8), 1)
    y, begin, end, east = _runs(np.diff(padded, axis=0)[:, 1:-1])
    x, foot, tip, south = _runs(-np.diff(padded, axis=1)[1:-1].T)
    # Every corner ends one run and begins one of the other direction. Where four pixels meet
    # corner to corner there are two of each: sorting by the direction pairs the right turns.
    following = np.empty(len(y), dtype=np.int64)
    turn = np.empty(len(y), dtype=np.int64)
    turn[np.lexsort((east, end, y))] = np.lexsort((south, x, foot))
    following[np.lexsort((-south, x, tip))] = np.lexsort((east, begin, y))
    starts, ends = np.stack([begin, y], axis=1), np.stack([end, y], axis=1)
    corners = np.stack([starts, ends], axis=1).astype(np.float64)
    rings = []
    for cycle in _cycles(following[turn]):
        ring = corners[cycle].reshape(-1, 2)
        rings.append(np.concatenate([ring, ring[:1]]))
    return rings


def _runs(edges: np.ndarray) -> tuple[Int64, Int64, Int64, Int64]:
    """Line, first and last place and direction of each run of equal edges along the rows."""
    walls = np.pad(edges, ((0, 0), (1, 1)))
    change = np.diff(walls, axis=1) != 0
    line, low = np.nonzero(change & (walls[:, 1:] != 0))
    _, high = np.nonzero(change & (walls[:, :-1] != 0))
    direction = edges[line, low].astype(np.int64)
    forward = direction > 0
    return line, np.where(forward, low, high), np.where(forward, high, low), direction


def _cycles(following: Int64) -> list[list[int]]:
    successor = following.tolist()
    free = [True] * len(successor)
    cycles = []
    for start in range(len(successor)):
        cycle, place = [], start
        while free[place]:
            free[place] = False
            cycle.append(place)
            place = successor[place]
        if cycle:
            cycles.append(cycle)
    return cycles
