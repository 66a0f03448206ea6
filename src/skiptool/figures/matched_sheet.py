"""Matched sheet: the same places in every domain side by side (Figs. 4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from skiptool.errors import ArgumentError
from skiptool.figures.cells import Cells, cell_size, mask_entries
from skiptool.figures.dots import DOTS, dot_axes
from skiptool.figures.heading import MARGIN, plan_heading
from skiptool.figures.labels import wrapped
from skiptool.figures.style import ONE_COLUMN, SOFT, TWO_COLUMNS, drawing, text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.records import Image, UInt8

__all__ = ["matched_sheet"]

_GAP: Final = 8
_LINE: Final = 32  # height of a line of text in dots
_SIZE: Final = 6.5  # of a name in points
_STUB: Final = 300  # greatest width of a place's name in dots
_LINES: Final = 3  # of a name
_CELL: Final = (256, 512)


def matched_sheet(
    images: Sequence[Sequence[Image | None]],
    masks: Sequence[Sequence[UInt8 | None]] | None,
    classes: Sequence[str],
    places: Sequence[str],
    domains: Sequence[str],
    *,
    title: str = "",
    notes: str = "",
) -> Figure:
    """Draw a row of patches for each place and a column for each domain.

    Parameters
    ----------
    images : sequence of P sequences of D images or None
        uint8 (H, W, 3) or float32 (H, W, 1) in [0, 1]; None where the domain does not have the
        place, which is drawn as a hatched field.
    masks : the same of uint8 (H, W) or None, optional
        As :func:`skiptool.figures.contact_sheet.contact_sheet` shows them.
    classes : sequence of str
        Name of each label from 0.
    places, domains : sequence of str
        P names of rows, D names of columns.
    title, notes : str
        Above all.

    Returns
    -------
    Figure

    Raises
    ------
    ArgumentError
        If there is no patch at all, a number differs, a mask does not fit, or a label has no
        class.
    """
    if masks is None:
        masks = [[None] * len(domains)] * len(places)
    _check(images, masks, (len(places), len(domains)))
    shown = [image for row in images for image in row if image is not None]
    names = [wrapped(name, _SIZE, _STUB, _LINES) for name in places]
    stub = round(max(text_width(lines, _SIZE) for lines in names) * DOTS) + _GAP
    wanted = (round(TWO_COLUMNS * DOTS) - stub) // len(domains) - _GAP
    cell = cell_size(shown, min(max(wanted, _CELL[0]), _CELL[1]))
    heads = [wrapped(name, _SIZE, cell[0], _LINES) for name in domains]
    pitch = (cell[0] + _GAP, cell[1] + _GAP)
    width = max(stub + len(domains) * pitch[0] - _GAP, round(ONE_COLUMN * DOTS) - 2 * MARGIN)
    with drawing():
        entries = mask_entries((mask for row in masks for mask in row), classes)
        head = plan_heading(title, notes, entries, width)
        first = head.bottom + _LINE * max(map(len, heads)) + 8
        figure, axes = dot_axes(width + 2 * MARGIN, first + len(places) * pitch[1] - _GAP + MARGIN)
        head.draw(axes)
        cells = Cells(axes, cell, classes)
        lefts = [MARGIN + stub + column * pitch[0] for column in range(len(domains))]
        tops = [first + row * pitch[1] for row in range(len(places))]
        for left, name in zip(lefts, heads, strict=True):
            axes.text(left, first - 12, "\n".join(name), size=_SIZE)
        for top, name in zip(tops, names, strict=True):
            middle = top + cell[1] / 2
            axes.text(MARGIN, middle, "\n".join(name), size=_SIZE, va="center", color=SOFT)
        for top, row, covers in zip(tops, images, masks, strict=True):
            for left, image, mask in zip(lefts, row, covers, strict=True):
                if image is None:
                    cells.add_hole(left, top)
                else:
                    cells.add(image, mask, left, top)
        cells.outline()
    return figure


def _check(
    images: Sequence[Sequence[object]], masks: Sequence[Sequence[object]], shape: tuple[int, int]
) -> None:
    lengths = {len(row) for table in (images, masks) for row in table}
    empty = all(image is None for row in images for image in row)
    if empty or {len(images), len(masks)} != {shape[0]} or lengths != {shape[1]}:
        raise ArgumentError(
            f"matched sheet: found {len(images)} rows of images and {len(masks)} of masks with "
            f"{', '.join(map(str, sorted(lengths)))} in a row, expected {shape[0]} places, "
            f"{shape[1]} domains and at least one image; give one image or None for each"
        )
