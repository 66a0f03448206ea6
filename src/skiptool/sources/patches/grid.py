"""All patches of a slide that show tissue, side by side: how models are tested (section III.C)."""

from __future__ import annotations

import math
from typing import Protocol

from skiptool.errors import ArgumentError
from skiptool.sources.patches.patch import Patch

__all__ = ["TissueShare", "grid"]


class TissueShare(Protocol):
    """What tells how much tissue lies in a part of a slide."""

    def share(self, left: float, top: float, right: float, bottom: float) -> float:
        """Share of tissue in a box of level 0, in [0, 1]; outside the slide there is none."""


def grid(
    slide_size: tuple[int, int],
    tissue: TissueShare,
    size: int,
    scale: tuple[float, float],
    stride: int,
    min_tissue: float,
) -> list[Patch]:
    """Lay a regular grid over a slide and keep the patches with enough tissue.

    Parameters
    ----------
    slide_size : tuple of int
        Width and height of level 0.
    tissue : TissueShare
    size : int
        Pixels of a patch along either side.
    scale : tuple of float
        Pixels of level 0 that a pixel of the patch spans, horizontally and vertically.
    stride : int
        Pixels of the patch from one to the next; ``size`` lays them edge to edge.
    min_tissue : float
        A patch is kept if its share of tissue is above; 0.5 in the paper.

    Returns
    -------
    list of Patch
        Row by row from the slide's upper left corner. The last row and column may reach beyond
        the slide, which counts as no tissue. Column: ``tissue`` (the share).

    Raises
    ------
    ArgumentError
        If size or stride is below 1.
    """
    if size < 1 or stride < 1:
        raise ArgumentError(f"grid: size {size} and stride {stride}; expected 1 pixel or more")
    across, down = (
        [step * stride * by for step in range(_steps(extent / by, size, stride))]
        for extent, by in zip(slide_size, scale, strict=True)
    )
    patches = (Patch(x, y, size, scale) for y in down for x in across)
    shares = ((patch, tissue.share(*patch.box)) for patch in patches)
    return [
        Patch(patch.x, patch.y, size, scale, {"tissue": share})
        for patch, share in shares
        if share > min_tissue
    ]


def _steps(extent: float, size: int, stride: int) -> int:
    """Patches along a side of ``extent`` patch pixels: all that begin on it, until it is covered.

    >>> _steps(10, 4, 4), _steps(10, 4, 3), _steps(10, 4, 6), _steps(3, 4, 1)
    (3, 3, 2, 1)
    """
    whole = round(extent) if abs(extent - round(extent)) < 1e-6 else extent
    until_covered = math.ceil(max(whole - size, 0) / stride) + 1
    return min(math.ceil(whole / stride), until_covered)
