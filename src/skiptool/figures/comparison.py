"""One image beside itself with the outlines of truth and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.errors import ArgumentError
from skiptool.figures.cells import Cells, cell_size
from skiptool.figures.dots import dot_axes, multiple
from skiptool.figures.heading import MARGIN, plan_heading
from skiptool.figures.key import Entry
from skiptool.figures.outlines import outlines
from skiptool.figures.pens import compared_pens, stroke
from skiptool.figures.style import drawing
from skiptool.names import IGNORE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.records import Image, UInt8

__all__ = ["compare_masks"]

_GAP: Final = 12
_CELL: Final = 1024  # dots that the longer side of an image comes close to
_WIDTHS: Final = (1.4, 0.5)  # points; where both agree the prediction lies within the truth


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
        The line of the truth is broad, that of the prediction narrow and drawn over it.

    Raises
    ------
    ArgumentError
        If a mask does not fit the image, or a label has no class.
    """
    found = [_labels(mask, image, classes) for mask in (truth, predicted)]
    pens = compared_pens(classes[1:])
    cell = cell_size([image], _CELL)
    factor = float(min(multiple(image.shape[1], cell[0]), multiple(image.shape[0], cell[1])))
    lefts = (MARGIN, MARGIN + cell[0] + _GAP)
    with drawing():
        width = lefts[1] + cell[0] - MARGIN
        head = plan_heading(title, notes, _entries(truth, found, classes), width)
        figure, axes = dot_axes(width + 2 * MARGIN, head.bottom + cell[1] + MARGIN)
        head.draw(axes)
        cells = Cells(axes, cell, classes)
        cells.add(image, None, lefts[0], head.bottom)
        ignored = np.where(truth == IGNORE, truth, 0).astype(np.uint8)
        cells.add(image, ignored, lefts[1], head.bottom)
        corner = (lefts[1], head.bottom)
        for place, mask in enumerate((truth, predicted)):
            for label in found[place]:
                lines = [ring * factor + corner for ring in outlines(mask == label)]
                stroke(axes, lines, pens[classes[label]][place], _WIDTHS[place])
    return figure


def _labels(mask: UInt8, image: Image, classes: Sequence[str]) -> list[int]:
    if mask.shape != image.shape[:2]:
        raise ArgumentError(
            f"masks to compare: found one of shape {mask.shape}, expected {image.shape[:2]} as the "
            "image; give masks of this image"
        )
    found = [int(label) for label in np.unique(mask) if label not in (0, IGNORE)]
    if found and found[-1] >= len(classes):
        raise ArgumentError(
            f"masks to compare: found label {found[-1]}, expected labels below {len(classes)}, "
            f"the number of classes, or {IGNORE}; name every class"
        )
    return found


def _entries(
    truth: UInt8, found: Sequence[Sequence[int]], classes: Sequence[str]
) -> Sequence[Entry]:
    pens = compared_pens(classes[1:])
    entries = [
        Entry(f"{classes[label]}, {what}", pens[classes[label]][place], _WIDTHS[place])
        for label in sorted({*found[0], *found[1]})
        for place, what in enumerate(("truth", "prediction"))
    ]
    return entries + [Entry("ignored", striped=True)] * bool((truth == IGNORE).any())
