"""Tiles of a reference, the same glass on the other scan, and the shift between the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from skiptool.sources.registration.alignment import Alignment, applied
from skiptool.sources.registration.phase import displacement
from skiptool.sources.registration.view import View

if TYPE_CHECKING:
    from skiptool.records import Float32, Float64, UInt8

__all__ = ["CONTRAST", "Shift", "grey_of", "measured", "on_reference", "shift_between"]

_FINER: Final = 1.5
"""Level-0 pixels of the other scan to one of the tile above which it is read coarser."""

_MARGIN: Final = 3

_RESPONSE: Final = 0.27
_LIKE: Final = 0.35
"""Height of the peak and correlation below which two tiles may show different things."""

CONTRAST: Final = 2.0
"""Grey levels of standard deviation below which a tile shows nothing to measure by."""

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
    response : float
        Height of the peak of the phase correlation, at most 1.
    contrast : tuple of float
        Standard deviations of the grey values of the reference's tile and of the other.
    """

    x: float
    y: float
    likeness: float
    response: float
    contrast: tuple[float, float]

    def is_sure(self, pixels: int) -> bool:
        """Whether both tiles, of so many pixels a side, show the same thing.

        Of 1,777 pairs of tiles of real scans that share nothing, 8 pass and none of them with a
        shift below 3 pixels; of 594 pairs with tissue that belong together, 580 pass.
        """
        near = max(abs(self.x), abs(self.y)) <= pixels / 4
        alike = self.response >= _RESPONSE and self.likeness >= _LIKE
        return near and alike and min(self.contrast) >= CONTRAST


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
    x, y, response = displacement(first, second)
    contrast = float(first.std()), float(second.std())
    return Shift(x, y, _likeness(first, second, np.array([x, y])), response, contrast)


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
