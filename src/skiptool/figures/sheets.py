"""Contact sheet: many patches at a glance, with what their masks say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from skiptool.errors import ArgumentError
from skiptool.figures.masks import (
    DOTS,
    MARGIN,
    Cells,
    ComparedCells,
    cell_size,
    compared_entries,
    dot_axes,
    mask_entries,
    plan_heading,
    wrapped,
)
from skiptool.figures.style import ONE_COLUMN, SOFT, TWO_COLUMNS, drawing_style, shorten, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from skiptool.records import Image, UInt8

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
    with drawing_style():
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


# -------------------------------------------------------------------------------------------------
# Examples of predictions: the same samples by several networks, with what is true.


_GAP_EXAMPLES: Final = 12
_LINE_EXAMPLES: Final = 30  # height of a line of text in dots
_SIZE_EXAMPLES: Final = 6.5  # of a name in points
_SMALL: Final = 6.0  # of what stands below a patch
_STUB: Final = 300  # greatest width of a network's name in dots
_LINES: Final = 3  # of a name
_CELL_EXAMPLES: Final = (256, 384)
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
    _check_examples(predicted, told, (len(rows), len(columns)), (len(images), len(truths)))
    names = [wrapped(name, _SIZE_EXAMPLES, _STUB, _LINES) for name in rows]
    stub = round(max(text_width(lines, _SIZE_EXAMPLES) for lines in names) * DOTS) + _GAP_EXAMPLES
    wanted = (round(TWO_COLUMNS * DOTS) - 2 * MARGIN - stub) // len(columns) - _GAP_EXAMPLES
    cell = cell_size(images, min(max(wanted, _CELL_EXAMPLES[0]), _CELL_EXAMPLES[1]))
    across = max(cell[0], _HEAD)
    heads = [wrapped(name, _SIZE_EXAMPLES, across, _LINES) for name in columns]
    pitch = (across + _GAP_EXAMPLES, cell[1] + _LINE_EXAMPLES + _GAP_EXAMPLES)
    width = max(
        stub + len(columns) * pitch[0] - _GAP_EXAMPLES, round(ONE_COLUMN * DOTS) - 2 * MARGIN
    )
    with drawing_style():
        found = [mask for row in predicted for mask in row if mask is not None]
        head = plan_heading("", "", compared_entries(truths, found, classes, _WIDTHS), width)
        first = head.bottom + _LINE_EXAMPLES * max(map(len, heads)) + _GAP_EXAMPLES
        figure, axes = dot_axes(
            width + 2 * MARGIN, first + len(rows) * pitch[1] - _GAP_EXAMPLES + MARGIN
        )
        head.draw(axes)
        lefts = [MARGIN + stub + column * pitch[0] for column in range(len(columns))]
        tops = [first + row * pitch[1] for row in range(len(rows))]
        for left, lines in zip(lefts, heads, strict=True):
            for place, line in enumerate(lines):
                base = first - _GAP_EXAMPLES - _LINE_EXAMPLES * (len(lines) - 1 - place)
                axes.text(left, base, line, size=_SIZE_EXAMPLES, color=SOFT if place else None)
        for top, lines in zip(tops, names, strict=True):
            middle = top + cell[1] / 2
            axes.text(MARGIN, middle, "\n".join(lines), size=_SIZE_EXAMPLES, va="center")
        cells = ComparedCells(axes, cell, classes, _WIDTHS)
        for top, masks, texts in zip(tops, predicted, told, strict=True):
            for place, left in enumerate(lefts):
                mask = masks[place]
                if mask is None:
                    cells.add_hole(left, top)
                else:
                    cells.add(images[place], truths[place], mask, left, top)
                below = shorten(texts[place], _SMALL, across / DOTS)
                axes.text(left, top + cell[1] + 6, below, size=_SMALL, va="top", color=SOFT)
        cells.outline()
    return figure


def _check_examples(
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


# -------------------------------------------------------------------------------------------------
# Matched sheet: the same places in every domain side by side (Figs. 4 and 5).


_LINE_MATCHED_SHEET: Final = 32  # height of a line of text in dots
_CELL_MATCHED_SHEET: Final = (256, 512)


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
        As :func:`skiptool.figures.sheets.contact_sheet` shows them.
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
    _check_matched(images, masks, (len(places), len(domains)))
    shown = [image for row in images for image in row if image is not None]
    names = [wrapped(name, _SIZE_EXAMPLES, _STUB, _LINES) for name in places]
    stub = round(max(text_width(lines, _SIZE_EXAMPLES) for lines in names) * DOTS) + _GAP
    wanted = (round(TWO_COLUMNS * DOTS) - stub) // len(domains) - _GAP
    cell = cell_size(shown, min(max(wanted, _CELL_MATCHED_SHEET[0]), _CELL_MATCHED_SHEET[1]))
    heads = [wrapped(name, _SIZE_EXAMPLES, cell[0], _LINES) for name in domains]
    pitch = (cell[0] + _GAP, cell[1] + _GAP)
    width = max(stub + len(domains) * pitch[0] - _GAP, round(ONE_COLUMN * DOTS) - 2 * MARGIN)
    with drawing_style():
        entries = mask_entries((mask for row in masks for mask in row), classes)
        head = plan_heading(title, notes, entries, width)
        first = head.bottom + _LINE_MATCHED_SHEET * max(map(len, heads)) + 8
        figure, axes = dot_axes(width + 2 * MARGIN, first + len(places) * pitch[1] - _GAP + MARGIN)
        head.draw(axes)
        cells = Cells(axes, cell, classes)
        lefts = [MARGIN + stub + column * pitch[0] for column in range(len(domains))]
        tops = [first + row * pitch[1] for row in range(len(places))]
        for left, name in zip(lefts, heads, strict=True):
            axes.text(left, first - 12, "\n".join(name), size=_SIZE_EXAMPLES)
        for top, name in zip(tops, names, strict=True):
            middle = top + cell[1] / 2
            axes.text(MARGIN, middle, "\n".join(name), size=_SIZE_EXAMPLES, va="center", color=SOFT)
        for top, row, covers in zip(tops, images, masks, strict=True):
            for left, image, mask in zip(lefts, row, covers, strict=True):
                if image is None:
                    cells.add_hole(left, top)
                else:
                    cells.add(image, mask, left, top)
        cells.outline()
    return figure


def _check_matched(
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


# -------------------------------------------------------------------------------------------------
# One image beside itself with the outlines of truth and prediction.


_CELL_COMPARISON: Final = 1024  # dots that the longer side of an image comes close to


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
    cell = cell_size([image], _CELL_COMPARISON)
    lefts = (MARGIN, MARGIN + cell[0] + _GAP_EXAMPLES)
    with drawing_style():
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
