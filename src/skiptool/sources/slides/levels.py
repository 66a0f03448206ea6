"""Geometry of a pyramid: how much finer level 0 is than each level, and which level to read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

__all__ = ["SCALE_TOLERANCE", "Pair", "level_for", "true_downsamples"]

Pair = tuple[float, float]
"""A value for the horizontal axis and one for the vertical."""

SCALE_TOLERANCE: Final = 1e-6
"""Scales that differ relatively by no more are the same: over 10,000 px they drift 0.01 px."""


def true_downsamples(sizes: Sequence[tuple[int, int]]) -> tuple[Pair, ...]:
    """Pixels of level 0 that a pixel of each level spans, horizontally and vertically.

    Parameters
    ----------
    sizes : sequence of (width, height)
        Of all levels in pixels, level 0 first.

    Returns
    -------
    tuple of (float, float)

    Notes
    -----
    OpenSlide states the mean of both axes of width by width and height by height. Pyramids are
    made by whole factors though, and what remains at the right and lower edge is cut off or filled
    up: a level of 626 rows under 5,013 stands for 8.0 of them each, not 8.008, which would be half
    a row of the level off at the lower edge (measured on slides of two scanners). So a whole
    number is taken where the level's size is what it leaves, rounded either way; the plain ratio
    elsewhere.

    Examples
    --------
    >>> true_downsamples([(5120, 5013), (640, 626), (500, 500)])
    ((1.0, 1.0), (8.0, 8.0), (10.24, 10.026))
    """
    width, height = sizes[0]
    return tuple((_downsample(width, across), _downsample(height, down)) for across, down in sizes)


def _downsample(extent: int, reduced: int) -> float:
    ratio = extent / reduced
    # of a tiny level several whole numbers may be left: powers of two first, as most pyramids are
    for whole in (2 ** round(math.log2(ratio)), max(round(ratio), 1)):
        if abs(extent / whole - reduced) < 1:
            return float(whole)
    return ratio


def level_for(downsamples: Sequence[Pair], scale: Pair) -> int:
    """Coarsest level that is no coarser than the scale wanted, on both axes.

    Parameters
    ----------
    downsamples : sequence of (float, float)
        Of all levels, level 0 first.
    scale : (float, float)
        Pixels of level 0 that one pixel wanted spans.

    Returns
    -------
    int
        0 where even level 0 is coarser than what is wanted.

    Examples
    --------
    >>> levels = [(1.0, 1.0), (4.0, 4.0), (16.0, 16.0)]
    >>> [level_for(levels, scale) for scale in [(15.9, 16.0), (16.0, 16.0), (0.5, 0.5)]]
    [1, 2, 0]
    """
    fine = [
        level
        for level, pair in enumerate(downsamples)
        if all(
            has <= wanted * (1 + SCALE_TOLERANCE) for has, wanted in zip(pair, scale, strict=True)
        )
    ]
    return max(fine, key=lambda level: downsamples[level], default=0)
