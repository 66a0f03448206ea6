"""Separate tissue from the bright glass around it by Otsu's threshold, one per slide.

Otsu's method splits any histogram in two. Therefore unscanned areas are excluded from it, and the
brighter class is checked to be glass: colourless, or at least even. Pale stroma is neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from skiptool.images import GREY_LEVELS, grey
from skiptool.sources.otsu import otsu

if TYPE_CHECKING:
    from skiptool.records import Bool, Int64, UInt8
    from skiptool.sources.slides.sampling import Pair
    from skiptool.sources.slides.slide import Slide

_KERNEL: Final = (5, 5)

_CONTRAST: Final = 8
"""Smallest mean difference between tissue and glass in grey levels: scanner noise on empty glass
stays below it."""

_ROUNDS: Final = 5
"""Times that the brighter class is split again if it is not glass; finds little glass among much
tissue."""

_COLOURLESS: Final = (20, 10.0)
_EVEN: Final = (40, 3.0)
"""Upper limits for glass of the range over red, green and blue, and of the standard deviation of
grey values within 5 pixels; either pair suffices. Glass of five scanners has 2 to 8 and 0.4 to
0.6, tissue 17 to 53 and 26 to 41 (medians)."""

_FILLED: Final = GREY_LEVELS - 2
"""Grey level from which a pixel may be unscanned: readers fill with white."""

_DARK: Final = 32
_FLAT: Final = 8
"""Upper limits of the brightest channel of an unscanned area and of its variation within 5
pixels: converters fill with black, which JPEG makes slightly uneven."""

_AREA: Final = 1 / 256
"""Smallest share of the overview of such an area, unless it reaches the border: pigment and ink
are smaller."""

_NOISE: Final = 8
"""Grey levels by which single pixels of such an area may exceed its brightness on the overview."""


@dataclass(frozen=True, slots=True, eq=False)
class Tissue:
    """Tissue mask of a slide.

    Attributes
    ----------
    mask : bool, shape (h, w)
    scale : (float, float)
        Pixels of level 0 per pixel of the mask, horizontally and vertically.
    threshold : int
        Grey levels above it are background; -1 if the slide shows no tissue, 255 if it shows no
        glass.
    black : int
        Grey levels up to it were not scanned.
    unscanned : float
        Share of the slide that is black because it was not scanned.
    """

    mask: Bool
    scale: Pair
    threshold: int
    black: int = 0
    unscanned: float = 0.0
    _sums: Int64 = field(init=False, repr=False)

    def __post_init__(self) -> None:
        sums = cv2.integral(self.mask.astype(np.uint8), sdepth=cv2.CV_32S)
        object.__setattr__(self, "_sums", sums.astype(np.int64))

    @property
    def has_glass(self) -> bool:
        """True if the slide shows glass next to the tissue."""
        return self.threshold < GREY_LEVELS - 1

    def share(self, left: float, top: float, right: float, bottom: float) -> float:
        """Return the share of tissue in a box, in [0, 1]; 0 outside the slide.

        Parameters
        ----------
        left, top, right, bottom : float
            In pixels of level 0. Pixels of the mask are weighted by the area covered.

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
        """Return the tissue above and to the left of a point of the mask, in mask pixels."""
        height, width = self.mask.shape
        x, y = min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height))
        column, row = min(math.floor(x), width - 1), min(math.floor(y), height - 1)
        x, y = x - column, y - row
        (a, b), (c, d) = self._sums[row : row + 2, column : column + 2].tolist()
        return float((a * (1 - x) + b * x) * (1 - y) + (c * (1 - x) + d * x) * y)

    def background(self, image: UInt8) -> Bool:
        """Mark the background (H, W) of a patch (H, W, 3) of this slide, at any scale."""
        return background(image, self.threshold, self.black)


def background(image: UInt8, threshold: int, black: int = 0) -> Bool:
    """Mark the pixels (H, W) of a patch (H, W, 3) that are not tissue, by a slide's thresholds.

    These are the pixels brighter than ``threshold``, and those up to ``black``, which were not
    scanned.
    """
    values = grey(image)
    bright: Bool = _smooth(values, values <= black) > threshold
    return bright


def find_tissue(slide: Slide, longest: int = 2048) -> Tissue:
    """Separate tissue from background on an overview of the slide.

    Parameters
    ----------
    slide : Slide
    longest : int
        Pixels of the overview's longer side.

    Notes
    -----
    As the authors of the paper do elsewhere: grey values with black (not scanned) replaced by
    white, a Gaussian of 5 x 5 pixels, and one Otsu threshold for the whole slide. Departures: large
    even areas of nearly black count as black; black is excluded when the threshold is computed, and
    so is pure white if there is darker glass. If the means of the two classes differ by less than 8
    grey levels, there is only one, glass or tissue; if the brighter class is not glass, it is split
    again; and if there is no glass at all, everything is tissue.
    """
    image, scale = slide.overview(longest)
    values = grey(image)
    unscanned, unscanned_margin = _unscanned(image)
    black = int(values[unscanned].max()) + _NOISE if unscanned.any() else 0
    smooth = _smooth(values, unscanned_margin | (values == 0))
    glassy, even = _glassy(image, values)
    threshold = _threshold(
        smooth[~unscanned_margin], glassy[~unscanned_margin], even[~unscanned_margin]
    )
    mask = (smooth <= threshold) & ~unscanned_margin
    return Tissue(mask, scale, threshold, black, float(unscanned.mean()))


def _threshold(values: UInt8, glassy: Bool, even: Bool) -> int:
    """Find the grey level that separates tissue from glass, given the pixels that may be glass."""
    threshold = -1
    for _ in range(_ROUNDS):
        if not values.size:
            return threshold
        level = otsu(values)
        dark = values <= level
        if dark.all() or float(values[~dark].mean() - values[dark].mean()) < _CONTRAST:
            return threshold if glassy.mean() >= 0.5 else GREY_LEVELS - 1
        if even[dark].mean() >= 0.5 and (values[~dark] >= _FILLED).mean() >= 0.95:
            remaining = dark  # glass, next to the white of what was not scanned
        else:
            threshold, remaining = level, ~dark
        values, glassy, even = values[remaining], glassy[remaining], even[remaining]
        if remaining is not dark and glassy.mean() >= 0.5:
            return threshold
    return GREY_LEVELS - 1


def _glassy(image: UInt8, values: UInt8) -> tuple[Bool, Bool]:
    """Mark the pixels (H, W) of an image (H, W, 3) that look like glass, and the even ones."""
    soft = cv2.GaussianBlur(image, _KERNEL, 0)
    colour = soft.max(axis=-1) - soft.min(axis=-1)
    exact = values.astype(np.float32)
    squares = cv2.blur(exact * exact, _KERNEL) - cv2.blur(exact, _KERNEL) ** 2
    rough = np.sqrt(np.maximum(squares, 0.0))
    colourless, even = (
        (colour <= most) & (rough <= roughest) for most, roughest in (_COLOURLESS, _EVEN)
    )
    return colourless | even, even


def _unscanned(image: UInt8) -> tuple[Bool, Bool]:
    """Mark large even areas of nearly black; then the same including the edges around them."""
    brightest = cv2.GaussianBlur(image.max(axis=-1), _KERNEL, 0)
    square = np.ones(_KERNEL, dtype=np.uint8)
    varies = cv2.dilate(brightest, square) - cv2.erode(brightest, square)
    core = ((brightest <= _DARK) & (varies <= _FLAT)).astype(np.uint8)
    core = cv2.morphologyEx(core, cv2.MORPH_OPEN, square)
    _, areas, statistics, _ = cv2.connectedComponentsWithStats(core)
    left, top, wide, high, size = statistics.T
    height, width = core.shape
    unscanned_areas = (left == 0) | (top == 0) | (left + wide == width) | (top + high == height)
    unscanned_areas |= size >= _AREA * core.size
    unscanned_areas[0] = False  # the rest of the image
    unscanned: Bool = unscanned_areas[areas]
    # the edge of an area varies, and is grey beyond it
    with_margin: Bool = cv2.dilate(unscanned.astype(np.uint8), square, iterations=2) > 0
    return unscanned, with_margin


def _smooth(values: UInt8, blank: Bool) -> UInt8:
    """Smooth grey values with a Gaussian, with blank pixels set to white."""
    white = np.where(blank, np.uint8(GREY_LEVELS - 1), values)
    return np.asarray(cv2.GaussianBlur(white, _KERNEL, 0), dtype=np.uint8)
