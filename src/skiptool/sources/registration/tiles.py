"""Tiles of a reference, the same glass on the other scan, and the shift between the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from skiptool.sources.registration.alignment import Alignment, applied
from skiptool.sources.registration.view import View

if TYPE_CHECKING:
    from skiptool.records import Float32, Float64, UInt8

__all__ = ["Shift", "grey_of", "measured", "on_reference", "shift_between"]

_FINER: Final = 1.5
"""Level-0 pixels of the other scan to one of the tile above which it is read coarser."""

_MARGIN: Final = 3
_UNTIL: Final = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
_SMOOTHED: Final = 5
_PAPER: Final = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Shift:
    """How far a tile of the other scan lies beside that of the reference.

    Attributes
    ----------
    x, y : float
        In pixels of the tile: what the reference shows at p, the other shows at p + shift.
    likeness : float
        Correlation of the grey values once the shift is taken back, at most 1.
    contrast : tuple of float
        Standard deviations of the grey values of the reference's tile and of the other.
    """

    x: float
    y: float
    likeness: float
    contrast: tuple[float, float]


def measured(
    reference: View,
    other: View,
    alignment: Alignment,
    centre: tuple[float, float],
    pixels: int,
    scale: float,
) -> Shift:
    """Measure the shift that an alignment leaves about a point of the reference.

    Parameters
    ----------
    reference, other : View
    alignment : Alignment
    centre : (float, float)
        Middle of the tile in level-0 pixels of the reference.
    pixels : int
        Of the tile along either side.
    scale : float
        Level-0 pixels of the reference that one of them spans.

    Raises
    ------
    SourceError
        If a scan cannot be read.
    """
    half = pixels * scale / 2
    corner = (float(round(centre[0] - half)), float(round(centre[1] - half)))
    first = reference.read(*corner, (pixels, pixels), (scale, scale))
    second = on_reference(other, alignment, corner, (pixels, pixels), scale)
    return shift_between(grey_of(first), grey_of(second))


def on_reference(
    other: View,
    alignment: Alignment,
    corner: tuple[float, float],
    size: tuple[int, int],
    scale: float,
) -> UInt8:
    """Resample the other scan to a tile of the reference.

    Parameters
    ----------
    other : View
    alignment : Alignment
    corner : (float, float)
        Upper left corner of the tile in level-0 pixels of the reference.
    size : (int, int)
        Width and height of the tile.
    scale : float
        Level-0 pixels of the reference to one of the tile.

    Returns
    -------
    uint8, shape (height, width, 3)

    Raises
    ------
    SourceError
        If the scan cannot be read.
    """
    span = np.array(size) * scale
    centre = np.array(corner) + span / 2
    local = alignment.local_affine((float(centre[0]), float(centre[1])), float(span.max()) / 2)
    ends = applied(local, np.array(corner) + span * [[0, 0], [1, 0], [0, 1], [1, 1]])
    by = scale * float(np.sqrt(abs(np.linalg.det(local[:, :2]))))
    by = by if by >= _FINER else 1.0
    start = np.floor(ends.min(axis=0)) - _MARGIN * by
    width, height = np.ceil((ends.max(axis=0) - start) / by).astype(int).tolist()
    extent = (width + _MARGIN, height + _MARGIN)
    image = other.read(float(start[0]), float(start[1]), extent, (by, by))
    # From the middle of a pixel of the tile to the middle of one of what was read.
    linear = local[:, :2] * scale / by
    first = (applied(local, np.array([corner]) + scale / 2)[0] - start) / by - 0.5
    return np.asarray(
        cv2.warpAffine(
            image,
            np.column_stack([linear, first]),
            size,
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=_PAPER,
        ),
        dtype=np.uint8,
    )


def grey_of(image: UInt8) -> Float32:
    """Return grey values (H, W) of colours (H, W, 3), 0..255."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.float32)


def shift_between(first: Float32, second: Float32) -> Shift:
    """Measure by phase correlation how far the second of two tiles (n, n) lies beside the first."""
    window = cv2.createHanningWindow(first.shape[::-1], cv2.CV_32F)
    contrast = float(first.std()), float(second.std())
    if min(contrast) == 0.0:
        return Shift(0.0, 0.0, 0.0, contrast)
    (x, y), _ = cv2.phaseCorrelate(first - first.mean(), second - second.mean(), window)
    x, y = _sharpened(first, second, (x, y))
    return Shift(x, y, _likeness(first, second, np.array([x, y])), contrast)


def _sharpened(first: Float32, second: Float32, shift: tuple[float, float]) -> tuple[float, float]:
    """Refine a shift by maximising the correlation of both tiles (ECC).

    Phase correlation errs by up to 0.2 pixels half-way between two. Where ECC does not converge
    close by, its starting point is as good as it gets.
    """
    start = np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]]], dtype=np.float32)
    try:
        everywhere = np.ones(first.shape, dtype=np.uint8)
        _, warp = cv2.findTransformECC(
            first, second, start, cv2.MOTION_TRANSLATION, _UNTIL, everywhere, _SMOOTHED
        )
    except cv2.error:
        return shift
    x, y = np.asarray(warp)[:, 2].tolist()
    return (x, y) if abs(x - shift[0]) < 1.0 and abs(y - shift[1]) < 1.0 else shift


def _likeness(first: Float32, second: Float32, shift: Float64) -> float:
    """Correlate both where they overlap once the second is moved back."""
    height, width = first.shape
    move = np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]]])
    moved = cv2.warpAffine(
        second, move, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    x, y = np.ceil(np.abs(shift)).astype(int).tolist()
    if 2 * x >= width or 2 * y >= height:
        return 0.0
    inner = np.s_[y : height - y, x : width - x]
    a, b = first[inner] - first[inner].mean(), moved[inner] - moved[inner].mean()
    norm = float(np.sqrt(np.square(a).sum() * np.square(b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0
