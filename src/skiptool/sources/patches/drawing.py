"""Random numbers behind patches: shares that add up, points in areas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.sources.patches.scanlines import crossings
from skiptool.sources.shapes import Shape

if TYPE_CHECKING:
    from skiptool.records import Float64, Int64

__all__ = ["point_in", "portions"]

_LINES: Final = 256


def portions(total: int, weights: Sequence[float], rng: np.random.Generator) -> list[int]:
    """Split a number of draws by weights, each part rounded up or down by chance.

    Parameters
    ----------
    total : int
    weights : sequence of float
        Not negative, at least one above 0.
    rng : np.random.Generator
        Gives one number.

    Returns
    -------
    list of int
        They add up to the total; each is its exact share rounded up or down, and its expectation
        is that share (systematic sampling). Independent draws would scatter far more.

    Examples
    --------
    >>> portions(32, [0.25, 0.25, 0.5], np.random.default_rng(0))
    [8, 8, 16]
    """
    reached = np.cumsum(np.asarray(weights, dtype=np.float64))
    # The last one is the total whatever rounding does; fuzz keeps whole shares whole.
    marks = np.floor(reached / reached[-1] * total + rng.uniform(1e-9, 1 - 1e-9))
    marks[reached == reached[-1]] = total
    return [int(part) for part in np.diff(marks, prepend=0.0)]


def point_in(shape: Shape, rng: np.random.Generator) -> tuple[float, float]:
    """Draw a point uniformly from an area.

    Parameters
    ----------
    shape : Shape
        An area that is not empty; holes are left out, if they lie within it and apart.
    rng : np.random.Generator
        Gives 258 numbers.

    Returns
    -------
    tuple of float
        x and y in pixels of level 0.

    Notes
    -----
    Out of 256 horizontal lines, one at a random height in each of as many strips, one is taken by
    the length of it that lies inside, then a point on that length. Unlike trying points in the
    bounding box this finds thin and winding areas as surely as square ones.
    """
    _, top, _, bottom = shape.bounds
    heights = top + (np.arange(_LINES) + rng.random(_LINES)) / _LINES * (bottom - top)
    line, entries, exits = _spans(shape, heights)
    reached = np.cumsum(exits - entries)
    at = int(np.searchsorted(reached, rng.random() * reached[-1], side="right"))
    span = min(at, len(line) - 1)
    x = entries[span] + rng.random() * (exits[span] - entries[span])
    return float(x), float(heights[line[span]])


def _spans(shape: Shape, heights: Float64) -> tuple[Int64, Float64, Float64]:
    """Line, start and end of each stretch inside: crossings of a line in pairs (even-odd rule)."""
    line, x = crossings(shape.rings, heights)
    order = np.lexsort((x, line))
    return line[order][::2], x[order][::2], x[order][1::2]
