"""Overlay of two aligned scans, for visual inspection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.sources.registration.align import textured_tiles
from skiptool.sources.registration.tiles import ScanView, grey_of, on_reference
from skiptool.sources.registration.transforms import Alignment

if TYPE_CHECKING:
    from skiptool.records import Float32, UInt8

__all__ = ["overlay"]

WIDE: Final = 1536
"""Width of the picture in pixels."""

_INSETS: Final = 3
_FIELDS: Final = 4
"""Number of checkerboard insets, and of their fields along either side."""

_GAP: Final = 12


def overlay(reference: ScanView, other: ScanView, alignment: Alignment) -> UInt8:
    """Overlay two aligned scans.

    Returns
    -------
    uint8, shape (h, 1536, 3)
        At the top, the whole reference: structures of the reference alone are cyan, of the other
        scan alone red, of both grey. Below, three places at full resolution as checkerboards of the
        two scans, the reference at the upper left: lines continue across fields if they are
        aligned.

    Raises
    ------
    SourceError
        If a scan cannot be read.
    """
    by = reference.size[0] / WIDE
    size = (WIDE, max(round(reference.size[1] / by), 1))
    ours = grey_of(reference.read(0, 0, size, (by, reference.size[1] / size[1])))
    theirs = grey_of(on_reference(other, alignment, (0.0, 0.0), size, by))
    whole = np.stack([_lit(ours), *[_lit(theirs)] * 2], axis=-1)
    side = (WIDE - (_INSETS - 1) * _GAP) // _INSETS
    row = np.full((side, WIDE, 3), 255, dtype=np.uint8)
    for place, centre in enumerate(_chosen(reference, other, alignment, side)):
        left = place * (side + _GAP)
        row[:, left : left + side] = _chequered(reference, other, alignment, centre, side)
    gap = np.full((_GAP, WIDE, 3), 255, dtype=np.uint8)
    return np.concatenate([whole, gap, row])


def _lit(grey: Float32) -> UInt8:
    """Make bare glass white whatever the lamp, lest one scan tint the whole picture."""
    scanned = grey[grey < 255]  # outside of a scan, pixels are read as 255
    glass = np.percentile(scanned, 90) if len(scanned) else 255.0
    lit: UInt8 = np.minimum(grey * (255 / max(float(glass), 1.0)), 255).astype(np.uint8)
    return lit


def _chosen(
    reference: ScanView, other: ScanView, alignment: Alignment, side: int
) -> list[tuple[float, float]]:
    """Choose places from all parts of the slide that both scans show."""
    places = []
    for centre in textured_tiles(reference, side, 9):
        x, y = alignment.to_other(np.array([centre]))[0]
        if 0 <= x < other.size[0] and 0 <= y < other.size[1]:
            places.append(centre)
    picked = np.unique(np.linspace(0, max(len(places) - 1, 0), _INSETS + 2).round().astype(int))
    return [places[i] for i in picked[1:-1] if i < len(places)][:_INSETS] or places[:_INSETS]


def _chequered(
    reference: ScanView,
    other: ScanView,
    alignment: Alignment,
    centre: tuple[float, float],
    side: int,
) -> UInt8:
    corner = (float(round(centre[0] - side / 2)), float(round(centre[1] - side / 2)))
    ours = reference.read(*corner, (side, side), (1.0, 1.0))
    theirs = on_reference(other, alignment, corner, (side, side), 1.0)
    field = np.arange(side) * _FIELDS // side
    odd = (field[:, np.newaxis] + field) % 2 == 1
    return np.where(odd[..., np.newaxis], theirs, ours)
