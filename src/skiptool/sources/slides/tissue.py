"""Tissue against the bright glass around it: Otsu's threshold, one a slide.

Otsu's method halves anything. So what was not scanned has no say in it, and of its brighter half is
asked whether it is glass: that is colourless, or at least even, and pale stroma is neither.
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

__all__ = ["Tissue", "background", "find_tissue"]

_KERNEL: Final = (5, 5)

_CONTRAST: Final = 8
"""Grey levels by which tissue is darker than glass on average, at the least: noise of a scanner
on empty glass stays below."""

_ROUNDS: Final = 5
"""Times that the brighter half is halved again where it is no glass: little glass among much
tissue is found so."""

_COLOURLESS: Final = (20, 10.0)
_EVEN: Final = (40, 3.0)
"""Range of red, green and blue, and standard deviation of grey values within 5 pixels, that glass
has at most: one pair or the other. Glass of five scanners has 2 to 8 and 0.4 to 0.6, tissue 17 to
53 and 26 to 41 (medians)."""

_FILLED: Final = GREY_LEVELS - 2
"""Grey level of white from which on a pixel may be none of the scan's: readers fill with white."""

_DARK: Final = 32
_FLAT: Final = 8
"""Highest brightest channel of what was not scanned, and the most it varies within 5 pixels:
converters fill with black, which JPEG makes a little uneven."""

_AREA: Final = 1 / 256
"""Share of the overview that such an area takes, unless it reaches the border: pigment and ink are
smaller."""

_NOISE: Final = 8
"""Grey levels by which single pixels of such an area may be brighter than it is on the overview."""


@dataclass(frozen=True, slots=True, eq=False)
class Tissue:
    """Where the tissue of a slide lies.

    Attributes
    ----------
    mask : bool, shape (h, w)
    scale : (float, float)
        Pixels of level 0 that one pixel of the mask spans, horizontally and vertically.
    threshold : int
        Grey levels above it are background; -1 where the slide shows no tissue at all, 255 where
        it shows no glass.
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
        """Whether glass is seen beside the tissue."""
        return self.threshold < GREY_LEVELS - 1

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
        return background(image, self.threshold, self.black)


def background(image: UInt8, threshold: int, black: int = 0) -> Bool:
    """Return the pixels (H, W) of a patch (H, W, 3) that are no tissue, by a slide's thresholds.

    Those are the ones brighter than ``threshold``, and those up to ``black``, which were not
    scanned.
    """
    values = grey(image)
    bright: Bool = _smooth(values, values <= black) > threshold
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
    Gaussian of 5 x 5 pixels, Otsu's threshold once for the whole slide. Departures: large even
    areas of nearly black are taken for black, and what is black is not counted when the threshold
    is looked for, nor is pure white beside glass that is darker. Where the two classes are less
    than 8 grey levels apart on average, there is but one, glass or tissue; where the brighter one
    is no glass, it is parted again, and where there is no glass at all, everything is tissue.
    """
    image, scale = slide.overview(longest)
    values = grey(image)
    unscanned, around = _unscanned(image)
    black = int(values[unscanned].max()) + _NOISE if unscanned.any() else 0
    smooth = _smooth(values, around | (values == 0))
    glassy, even = _glassy(image, values)
    threshold = _threshold(smooth[~around], glassy[~around], even[~around])
    mask = (smooth <= threshold) & ~around
    return Tissue(mask, scale, threshold, black, float(unscanned.mean()))


def _threshold(values: UInt8, glassy: Bool, even: Bool) -> int:
    """Find the grey level that parts tissue from glass, given which pixels may be glass."""
    threshold = -1
    for _ in range(_ROUNDS):
        if not values.size:
            return threshold
        found = otsu(values)
        dark = values <= found
        if dark.all() or float(values[~dark].mean() - values[dark].mean()) < _CONTRAST:
            return threshold if glassy.mean() >= 0.5 else GREY_LEVELS - 1
        if even[dark].mean() >= 0.5 and (values[~dark] >= _FILLED).mean() >= 0.95:
            kept = dark  # glass, beside the white of what was not scanned
        else:
            threshold, kept = found, ~dark
        values, glassy, even = values[kept], glassy[kept], even[kept]
        if kept is not dark and glassy.mean() >= 0.5:
            return threshold
    return GREY_LEVELS - 1


def _glassy(image: UInt8, values: UInt8) -> tuple[Bool, Bool]:
    """Tell the pixels (H, W) of an image (H, W, 3) that look like glass, and the even ones."""
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
    """Tell large even areas of nearly black; then the same with the edges around them."""
    brightest = cv2.GaussianBlur(image.max(axis=-1), _KERNEL, 0)
    square = np.ones(_KERNEL, dtype=np.uint8)
    varies = cv2.dilate(brightest, square) - cv2.erode(brightest, square)
    core = ((brightest <= _DARK) & (varies <= _FLAT)).astype(np.uint8)
    core = cv2.morphologyEx(core, cv2.MORPH_OPEN, square)
    _, areas, facts, _ = cv2.connectedComponentsWithStats(core)
    left, top, wide, high, size = facts.T
    height, width = core.shape
    kept = (left == 0) | (top == 0) | (left + wide == width) | (top + high == height)
    kept |= size >= _AREA * core.size
    kept[0] = False  # all that is not nearly black
    found: Bool = kept[areas]
    # the edge of an area varies, and is grey beyond it
    around: Bool = cv2.dilate(found.astype(np.uint8), square, iterations=2) > 0
    return found, around


def _smooth(values: UInt8, blank: Bool) -> UInt8:
    """Lay a Gaussian over grey values, with white where there is nothing."""
    white = np.where(blank, np.uint8(GREY_LEVELS - 1), values)
    return np.asarray(cv2.GaussianBlur(white, _KERNEL, 0), dtype=np.uint8)
