"""Where on a slide there is something to align by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from skiptool.sources.registration.tiles import grey_of
from skiptool.sources.registration.view import View

if TYPE_CHECKING:
    from skiptool.records import Float32, Float64, Int64, UInt8

__all__ = ["textured"]

_OVERVIEW: Final = 1280
"""Pixels along its longer side."""

_WEAK: Final = 0.2
"""Share of the strength of strong edges below which a tile is left out."""

_GOLDEN: Final = (5**0.5 - 1) / 2
"""Multiples of it, modulo 1, are spread over 0..1 more evenly than those of any other number."""


def textured(slide: View, side: float, most: int) -> list[tuple[float, float]]:
    """Choose tiles with texture, spread over the slide.

    Parameters
    ----------
    slide : View
    side : float
        Of a tile, in level-0 pixels.
    most : int
        Tiles to choose at most.

    Returns
    -------
    list of (x, y)
        Centres in level-0 pixels. The slide is cut into as many fields as tiles are wanted; each
        gives its tile with the strongest edges, then its second, until there are enough. Tiles with
        edges that are weak against the others' are left out.

    Raises
    ------
    SourceError
        If the slide cannot be read.

    Notes
    -----
    Rows and columns of tiles are shifted against each other: the strips that scanners put slides
    together from must not be seen at the same few places only.
    """
    image, by = slide.overview(_OVERVIEW)
    places, fields = _candidates(slide.size, side, max(int(np.sqrt(most)), 1))
    strength = _strength(image, by, side)
    column, row = (
        np.clip((places[:, axis] / by[axis]).astype(int), 0, strength.shape[1 - axis] - 1)
        for axis in (0, 1)
    )
    strong = strength[row, column]
    order = np.lexsort((-strong, fields))
    starts = np.flatnonzero(np.diff(fields[order], prepend=-1))
    turn = np.empty(len(order), dtype=np.int64)
    turn[order] = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    enough = strong >= _WEAK * np.quantile(strong, 0.95)
    chosen = [int(at) for at in np.lexsort((-strong, turn)) if enough[at]][:most]
    return [(float(x), float(y)) for x, y in places[sorted(chosen)]]


def _candidates(size: tuple[int, int], side: float, across: int) -> tuple[Float64, Int64]:
    """Return centres (T, 2) of tiles that lie on the slide, and the field (T,) of each."""
    columns, rows = (int(extent // side) + 1 for extent in size)
    row, column = (each.ravel() for each in np.mgrid[:rows, :columns])
    places = np.stack([column + _GOLDEN * row % 1, row + _GOLDEN * column % 1], axis=1) * side
    low = np.minimum(side, size) / 2
    places = np.unique(np.clip(places, low, size - low), axis=0)
    field = np.minimum(places * across / size, across - 1).astype(np.int64)
    return places, field[:, 1] * across + field[:, 0]


def _strength(image: UInt8, by: tuple[float, float], side: float) -> Float32:
    """Return the mean strength of edges in a tile about each pixel of an overview."""
    grey = cv2.GaussianBlur(grey_of(image), (0, 0), 1.0)
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    edges = np.minimum(np.hypot(across, down), 64.0)
    extent = (max(round(side / by[0]), 1), max(round(side / by[1]), 1))
    return np.asarray(cv2.blur(edges, extent), dtype=np.float32)
