"""One image beside itself with the outlines of truth and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from skiptool.figures.cells import Cells, cell_size
from skiptool.figures.compared import ComparedCells, compared_entries
from skiptool.figures.dots import dot_axes
from skiptool.figures.heading import MARGIN, plan_heading
from skiptool.figures.style import drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.records import Image, UInt8

__all__ = ["compare_masks"]

_GAP: Final = 12
_CELL: Final = 1024  # dots that the longer side of an image comes close to


def compare_masks(
    image: Image,
    truth: UInt8,
    predicted: UInt8,
    classes: Sequence[str],
    *,
    title: str = "",
    notes: str = "",
) -> Figure:
    """Draw an image as it is, and again with outlines of what is true and what was predicted.

    Parameters
    ----------
    image : uint8 (H, W, 3) or float32 (H, W, 1) in [0, 1]
    truth : uint8 (H, W)
        Labels; 0 is not outlined, 255 (ignored) is lightened and striped.
    predicted : uint8 (H, W)
        Labels.
    classes : sequence of str
        Name of each label from 0.
    title, notes : str
        Above both.

    Returns
    -------
    Figure
        In a PNG file each pixel is a square of whole dots, or the mean of a whole block of pixels.
        Lines lie within what they enclose; that of the truth is broad, that of the prediction
        narrow and drawn over it.

    Raises
    ------
    ArgumentError
        If a mask does not fit the image, or a label has no class.
    """
    cell = cell_size([image], _CELL)
    lefts = (MARGIN, MARGIN + cell[0] + _GAP)
    with drawing():
        width = lefts[1] + cell[0] - MARGIN
        entries = compared_entries([truth], [predicted], classes)
        head = plan_heading(title, notes, entries, width)
        figure, axes = dot_axes(width + 2 * MARGIN, head.bottom + cell[1] + MARGIN)
        head.draw(axes)
        Cells(axes, cell, classes).add(image, None, lefts[0], head.bottom)
        both = ComparedCells(axes, cell, classes)
        both.add(image, truth, predicted, lefts[1], head.bottom)
        both.outline()
    return figure
