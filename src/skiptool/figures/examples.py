"""Examples of predictions: the same samples by several networks, with what is true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from skiptool.errors import ArgumentError
from skiptool.figures.cells import cell_size
from skiptool.figures.compared import ComparedCells, compared_entries
from skiptool.figures.dots import DOTS, dot_axes
from skiptool.figures.heading import MARGIN, plan_heading
from skiptool.figures.labels import fitted, wrapped
from skiptool.figures.style import ONE_COLUMN, SOFT, TWO_COLUMNS, drawing, text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.records import Image, UInt8

__all__ = ["example_sheet"]

_GAP: Final = 12
_LINE: Final = 30  # height of a line of text in dots
_SIZE: Final = 6.5  # of a name in points
_SMALL: Final = 6.0  # of what stands below a patch
_STUB: Final = 300  # greatest width of a network's name in dots
_LINES: Final = 3  # of a name
_CELL: Final = (256, 384)
_HEAD: Final = 344  # least width of a column in dots: "median, brightness 1.75" has room
_WIDTHS: Final = (0.7, 0.3)  # of the lines in points


def example_sheet(
    images: Sequence[Image],
    truths: Sequence[UInt8],
    predicted: Sequence[Sequence[UInt8 | None]],
    classes: Sequence[str],
    rows: Sequence[str],
    columns: Sequence[str],
    told: Sequence[Sequence[str]],
) -> Figure:
    """Draw a row of patches for each network and a column for each sample.

    Parameters
    ----------
    images : sequence of uint8 (H, W, 3) or float32 (H, W, 1) in [0, 1]
        One a column.
    truths : sequence of uint8 (H, W)
        One a column: 0 is not outlined, 255 (ignored) is lightened and striped.
    predicted : sequence of R sequences of S masks or None
        Labels uint8 (H, W) by row and column; None is drawn as a hatched field.
    classes : sequence of str
        Name of each label from 0.
    rows, columns : sequence of str
        R names of networks; S names of samples, of several lines where they hold line breaks.
    told : sequence of R sequences of S str
        What stands below each patch.

    Returns
    -------
    Figure
        At most as wide as two journal columns for up to four columns.

    Raises
    ------
    ArgumentError
        If there is nothing to draw, a number differs, a mask does not fit, or a label has no class.
    """
    _check(predicted, told, (len(rows), len(columns)), (len(images), len(truths)))
    names = [wrapped(name, _SIZE, _STUB, _LINES) for name in rows]
    stub = round(max(text_width(lines, _SIZE) for lines in names) * DOTS) + _GAP
    wanted = (round(TWO_COLUMNS * DOTS) - 2 * MARGIN - stub) // len(columns) - _GAP
    cell = cell_size(images, min(max(wanted, _CELL[0]), _CELL[1]))
    across = max(cell[0], _HEAD)
    heads = [wrapped(name, _SIZE, across, _LINES) for name in columns]
    pitch = (across + _GAP, cell[1] + _LINE + _GAP)
    width = max(stub + len(columns) * pitch[0] - _GAP, round(ONE_COLUMN * DOTS) - 2 * MARGIN)
    with drawing():
        found = [mask for row in predicted for mask in row if mask is not None]
        head = plan_heading("", "", compared_entries(truths, found, classes, _WIDTHS), width)
        first = head.bottom + _LINE * max(map(len, heads)) + _GAP
        figure, axes = dot_axes(width + 2 * MARGIN, first + len(rows) * pitch[1] - _GAP + MARGIN)
        head.draw(axes)
        lefts = [MARGIN + stub + column * pitch[0] for column in range(len(columns))]
        tops = [first + row * pitch[1] for row in range(len(rows))]
        for left, lines in zip(lefts, heads, strict=True):
            for place, line in enumerate(lines):
                base = first - _GAP - _LINE * (len(lines) - 1 - place)
                axes.text(left, base, line, size=_SIZE, color=SOFT if place else None)
        for top, lines in zip(tops, names, strict=True):
            middle = top + cell[1] / 2
            axes.text(MARGIN, middle, "\n".join(lines), size=_SIZE, va="center")
        cells = ComparedCells(axes, cell, classes, _WIDTHS)
        for top, masks, texts in zip(tops, predicted, told, strict=True):
            for place, left in enumerate(lefts):
                mask = masks[place]
                if mask is None:
                    cells.add_hole(left, top)
                else:
                    cells.add(images[place], truths[place], mask, left, top)
                below = fitted(texts[place], _SMALL, across)
                axes.text(left, top + cell[1] + 6, below, size=_SMALL, va="top", color=SOFT)
        cells.outline()
    return figure


def _check(
    predicted: Sequence[Sequence[object]],
    told: Sequence[Sequence[object]],
    shape: tuple[int, int],
    given: tuple[int, int],
) -> None:
    lengths = {len(row) for table in (predicted, told) for row in table}
    agree = {len(predicted), len(told)} == {shape[0]} and lengths == {shape[1]} == set(given)
    if not agree or not shape[1]:
        raise ArgumentError(
            f"examples: found {given[0]} images, {given[1]} masks, {len(predicted)} rows of "
            f"predictions and {len(told)} of texts with {', '.join(map(str, sorted(lengths)))} in "
            f"a row, expected {shape[0]} rows and {shape[1]} columns, at least one of each; give "
            "one for each"
        )
