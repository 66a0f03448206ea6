"""Tissue against the bright glass around it: Otsu's threshold, one a slide."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from skiptool.images import GREY_LEVELS, grey, otsu

if TYPE_CHECKING:
    from skiptool.records import Bool, Int64, UInt8
    from skiptool.sources.slides.levels import Pair
    from skiptool.sources.slides.slide import Slide

__all__ = ["Tissue", "background", "find_tissue"]

_KERNEL: Final = (5, 5)

_CONTRAST: Final = 8
"""Grey levels by which tissue is darker than glass on average, at the least: noise of a scanner
on empty glass stays below."""


@dataclass(frozen=True, slots=True, eq=False)
class Tissue:
    """Where the tissue of a slide lies.

    Attributes
    ----------
    mask : bool, shape (h, w)
    scale : (float, float)
        Pixels of level 0 that one pixel of the mask spans, horizontally and vertically.
    threshold : int
        Grey levels above it are background; -1 where the slide shows no tissue at all.
    """

    mask: Bool
    scale: Pair
    threshold: int
    _sums: Int64 = field(init=False, repr=False)

    def __post_init__(self) -> None:
        sums = cv2.integral(self.mask.astype(np.uint8), sdepth=cv2.CV_32S)
        object.__setattr__(self, "_sums", sums.astype(np.int64))

    def share(self, left: float, top: float, right: float, bottom: float) -> float:
        """Share of a box that is tissue, in 0..1; outside the slide there is none.

        Parameters
        ----------
        left, top, right, bottom : float
            In pixels of level 0. Pixels of the mask count by how much of them the box covers.

        Examples
        --------
        >>> tissue = Tissue(np.array([[True, False]]), (4.0, 4.0), 200)
        >>> tissue.share(0, 0, 8, 4), tissue.share(-4, 0, 4, 4), tissue.share(3, 0, 5, 1)
        (0.5, 0.5, 0.5)
        """
        across, down = self.scale
        area = (right - left) / across * ((bottom - top) / down)
        if area <= 0:
            return 0.0
        west, east, north, south = left / across, right / across, top / down, bottom / down
        inside = (
            self._above(east, south)
            - self._above(west, south)
            - self._above(east, north)
            + self._above(west, north)
        )
        return min(max(inside / area, 0.0), 1.0)

    def _above(self, x: float, y: float) -> float:
        """Tissue above and left of a point of the mask, in pixels of it."""
        height, width = self.mask.shape
        x, y = min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height))
        column, row = min(math.floor(x), width - 1), min(math.floor(y), height - 1)
        x, y = x - column, y - row
        (a, b), (c, d) = self._sums[row : row + 2, column : column + 2].tolist()
        return float((a * (1 - x) + b * x) * (1 - y) + (c * (1 - x) + d * x) * y)

    def background(self, image: UInt8) -> Bool:
        """Pixels of a patch, at any scale, that are brighter than the slide's threshold.

        Parameters
        ----------
        image : uint8, shape (H, W, 3)

        Returns
        -------
        bool, shape (H, W)
        """
        return background(image, self.threshold)


def background(image: UInt8, threshold: int) -> Bool:
    """Return the pixels (H, W) of a patch (H, W, 3) that are brighter than a slide's threshold."""
    bright: Bool = _smooth_grey(image) > threshold
    return bright


def find_tissue(slide: Slide, longest: int = 2048) -> Tissue:
    """Tell tissue from background on an overview of the slide.

    Parameters
    ----------
    slide : Slide
    longest : int
        Pixels of the overview's longer side.

    Raises
    ------
    SourceError
        If the slide cannot be read.

    Notes
    -----
    As the authors of the paper do elsewhere: grey values, black (not scanned) taken for white, a
    Gaussian of 5 x 5 pixels, Otsu's threshold once for the whole slide. Otsu halves anything, empty
    glass and its noise too: where its two classes are less than 8 grey levels apart on average,
    there is no tissue.
    """
    image, scale = slide.overview(longest)
    values = _smooth_grey(image)
    threshold = _threshold(values)
    return Tissue(values <= threshold, scale, threshold)


def _threshold(values: UInt8) -> int:
    threshold = otsu(values)
    dark = values <= threshold
    if dark.all() or float(values[~dark].mean() - values[dark].mean()) < _CONTRAST:
        return -1
    return threshold


def _smooth_grey(image: UInt8) -> UInt8:
    values = grey(image)
    values[values == 0] = GREY_LEVELS - 1
    return np.asarray(cv2.GaussianBlur(values, _KERNEL, 0), dtype=np.uint8)
