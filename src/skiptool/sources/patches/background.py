"""Places on a slide where a patch shows no tissue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from skiptool.records import Bool, Int64

__all__ = ["EMPTY", "TissueMap", "draw_empty", "empty_cells"]

EMPTY: Final = 0.05
"""Share of tissue up to which a patch counts as slide background."""


class TissueMap(Protocol):
    """Tissue of a slide on a coarse grid."""

    @property
    def mask(self) -> Bool:
        """Where there is tissue, (h, w)."""

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of level 0 that a cell of the mask spans, horizontally and vertically."""


def empty_cells(tissue: TissueMap, extent: tuple[float, float]) -> Int64:
    """Find where the middle of a patch may lie so that it shows slide background.

    Parameters
    ----------
    tissue : TissueMap
    extent : tuple of float
        Width and height of a patch in pixels of level 0.

    Returns
    -------
    int64 (N, 2)
        Row and column of cells of the mask that are no tissue themselves and around which a patch
        holds at most 5 % of it. Where there are such places wholly on the slide, only those;
        otherwise also those where the patch reaches beyond it.
    """
    sides = [side / by for side, by in zip(extent, tissue.scale, strict=True)]
    # Wherever in its cell the middle lies, the patch reaches no further than these.
    right, down = (int(np.ceil(side / 2)) for side in sides)
    amount = tissue.mask.astype(np.float32) * ((2 * right + 1) * (2 * down + 1))
    for reach, axis in ((down, 0), (right, 1)):
        amount = ndimage.uniform_filter1d(amount, 2 * reach + 1, axis=axis, mode="constant")
    empty = ~tissue.mask & (amount <= EMPTY * sides[0] * sides[1])
    whole = np.zeros_like(empty)
    whole[down : len(whole) - down, right : whole.shape[1] - right] = True
    whole &= empty
    found: Int64 = np.argwhere(whole if whole.any() else empty)
    return found


def draw_empty(
    cells: Int64, scale: tuple[float, float], rng: np.random.Generator
) -> tuple[float, float]:
    """Draw a point, x and y in pixels of level 0, uniformly from cells (N, 2) of the mask."""
    row, column = cells[rng.integers(len(cells))] + rng.random(2)
    return float(column * scale[0]), float(row * scale[1])
