"""Aligning two scans of one glass slide: features first, then tiles, from coarse to fine.

The paper used a quadtree of SIFT matches (Marzahl et al., its reference 25). Here one SIFT affine
is followed by phase correlation of tiles, whose shifts refine the affine transform and, where that
helps on tiles it has not seen, a smooth field of displacements on top of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.sources.registration.alignment import Alignment, applied
from skiptool.sources.registration.coarse import LONGEST, coarse
from skiptool.sources.registration.fields import fitted_affine, fitted_field
from skiptool.sources.registration.residual import CONTRAST, LIKE
from skiptool.sources.registration.textured import textured
from skiptool.sources.registration.tiles import measured
from skiptool.sources.registration.view import View

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["align"]

TILE: Final = 256
"""Pixels of a tile along either side."""

_TILES: Final = 196
"""Tiles looked at on each scale."""

_STEP: Final = 4.0
"""From one scale to the next finer one."""

_LEAST: Final = 6
"""Tiles that a transform must rest on; with fewer the coarser one stays."""


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """Points (T, 2) of the reference, and where they were found on the other scan."""

    here: Float64
    there: Float64


def align(reference: View, other: View) -> Alignment:
    """Align another scan to a reference.

    Parameters
    ----------
    reference, other : View
        Scans of one glass slide: turned, mirrored, cropped, of another resolution or colour.

    Returns
    -------
    Alignment
        The same for the same scans, on any machine and number of threads.

    Raises
    ------
    MismatchError
        If the scans do not show the same slide.
    SourceError
        If a scan cannot be read.
    """
    found = coarse(reference, other)
    scale = max(max(reference.size) / LONGEST / 2, 1.0)
    while True:
        found = _refined(reference, other, found, scale)
        if scale == 1.0:
            # Once more from where tiles now overlap better, with the field.
            return _refined(reference, other, found, scale, last=True)
        scale = max(scale / _STEP, 1.0)


def _refined(
    reference: View, other: View, found: Alignment, scale: float, *, last: bool = False
) -> Alignment:
    pairs = _pairs(reference, other, found, scale)
    if len(pairs.here) < _LEAST:
        return found
    affine, kept = fitted_affine(pairs.here, pairs.there)
    if kept.sum() < _LEAST:
        return found
    better = Alignment(affine, int(kept.sum()))
    if not last:
        return better
    here, there = pairs.here[kept], pairs.there[kept]
    return replace(better, field=fitted_field(here, there - applied(affine, here)))


def _pairs(reference: View, other: View, found: Alignment, scale: float) -> _Pairs:
    """Find where the other scan shows the tiles with most texture."""
    here, there = [], []
    for centre in textured(reference, TILE * scale, _TILES):
        x, y = found.to_other(np.array([centre]))[0]
        if not (0 <= x < other.size[0] and 0 <= y < other.size[1]):
            continue
        shift = measured(reference, other, found, centre, TILE, scale)
        far = max(abs(shift.x), abs(shift.y)) > TILE / 4
        if shift.likeness >= LIKE and min(shift.contrast) >= CONTRAST and not far:
            here.append(centre)
            moved = (centre[0] + shift.x * scale, centre[1] + shift.y * scale)
            there.append(found.to_other(np.array([moved]))[0])
    return _Pairs(np.array(here).reshape(-1, 2), np.array(there).reshape(-1, 2))
