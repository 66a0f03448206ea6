"""Contact sheet: many patches at a glance, with what their masks say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from skiptool.errors import ArgumentError
from skiptool.figures.cells import Cells, cell_size, mask_entries
from skiptool.figures.dots import DOTS, dot_axes
from skiptool.figures.heading import MARGIN, plan_heading
from skiptool.figures.labels import wrapped
from skiptool.figures.style import ONE_COLUMN, SOFT, TWO_COLUMNS, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from skiptool.records import Image, UInt8

__all__ = ["contact_sheet"]

_GAP: Final = 8
_LINE: Final = 26  # height of a line of a caption in dots
_SIZE: Final = 5.5  # of a caption in points
_CELL: Final = (256, 768)  # a patch is not shown smaller nor larger without need


def contact_sheet(
    images: Sequence[Image],
    masks: Sequence[UInt8] | None,
    classes: Sequence[str],
    titles: Sequence[str],
    *,
    columns: int = 8,
    title: str = "",
    notes: str = "",
) -> Figure:
    """Draw patches beside one another, each with outlines of the classes in its mask.

    Parameters
    ----------
    images : sequence of uint8 (H, W, 3) or float32 (H, W, 1) in [0, 1]
        N patches; an array (N, H, W, C) is such a sequence. Sizes may differ: each is shown as
        large as a whole multiple, or a whole fraction, of its size allows.
    masks : sequence of uint8 (H, W), optional
        N masks: 0 is not outlined, 255 (ignored) is lightened and striped.
    classes : sequence of str
        Name of each label from 0.
    titles : sequence of str
        N captions of at most two lines, cut to the width of a patch.
    columns : int
        Patches in a row, at least 1.
    title, notes : str
        Above all.

    Returns
    -------
    Figure
        As wide as two journal columns for eight patches of 128, 256 or 512 pixels in a row. In a
        PNG file each pixel is a square of whole dots, or the mean of a whole block of pixels.

    Raises
    ------
    ArgumentError
        If there is no patch, the numbers differ, a mask does not fit, or a label has no class.
    """
    _check(len(images), None if masks is None else len(masks), len(titles), columns)
    columns = min(columns, len(images))
    wanted = round(TWO_COLUMNS * DOTS) // columns - _GAP
    cell = cell_size(images, min(max(wanted, _CELL[0]), _CELL[1]))
    covers = [None] * len(images) if masks is None else list(masks)
    captions = [wrapped(caption, _SIZE, cell[0]) for caption in titles]
    pitch = cell[1] + _LINE * max(map(len, captions)) + _GAP
    width = max(columns * (cell[0] + _GAP) - _GAP, round(ONE_COLUMN * DOTS) - 2 * MARGIN)
    with drawing():
        head = plan_heading(title, notes, mask_entries(covers, classes), width)
        rows = -(-len(images) // columns)
        figure, axes = dot_axes(width + 2 * MARGIN, head.bottom + rows * pitch - _GAP + MARGIN)
        head.draw(axes)
        cells = Cells(axes, cell, classes)
        for place, image in enumerate(images):
            row, column = divmod(place, columns)
            left, top = MARGIN + column * (cell[0] + _GAP), head.bottom + row * pitch
            cells.add(image, covers[place], left, top)
            _write(axes, captions[place], left, top + cell[1])
        cells.outline()
    return figure


def _check(images: int, masks: int | None, titles: int, columns: int) -> None:
    if not images or titles != images or masks not in (None, images) or columns < 1:
        raise ArgumentError(
            f"contact sheet: found {images} images, {masks} masks, {titles} captions and "
            f"{columns} columns, expected at least one image and column, and a mask and a caption "
            "for each image; give as many of each"
        )


def _write(axes: Axes, caption: Sequence[str], left: int, top: int) -> None:
    for place, line in enumerate(caption):
        axes.text(left, top + 4 + place * _LINE, line, size=_SIZE, va="top", color=SOFT)
