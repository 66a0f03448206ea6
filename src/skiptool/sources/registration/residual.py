"""What is left of the misalignment at a patch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skiptool.sources.registration.alignment import Alignment
from skiptool.sources.registration.threads import one_thread
from skiptool.sources.registration.tiles import CONTRAST, measured
from skiptool.sources.registration.view import View

__all__ = ["Residual", "residual"]


@dataclass(frozen=True, slots=True)
class Residual:
    """Misalignment at one place.

    Attributes
    ----------
    px : float or None
        In level-0 pixels of the reference; None where it cannot be measured: the place is empty,
        or the two scans do not look alike, as where one is out of focus or shows something else.
    likeness : float
        Correlation of the two tiles once the shift is taken back.
    empty : bool
        Neither scan shows anything that could be misaligned.
    """

    px: float | None
    likeness: float
    empty: bool


def residual(
    reference: View,
    other: View,
    alignment: Alignment,
    centre: tuple[float, float],
    tile: int = 256,
) -> Residual:
    """Measure by phase correlation how far an alignment is off about a point.

    Parameters
    ----------
    reference, other : View
    alignment : Alignment
    centre : (float, float)
        In level-0 pixels of the reference.
    tile : int
        Side of the tiles that are compared, in the same pixels.

    Returns
    -------
    Residual

    Raises
    ------
    SourceError
        If a scan cannot be read.
    """
    with one_thread():
        found = measured(reference, other, alignment, centre, tile, 1.0)
    px = float(np.hypot(found.x, found.y)) if found.is_sure(tile) else None
    return Residual(px, found.likeness, max(found.contrast) < CONTRAST)
