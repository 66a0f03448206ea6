"""Sheets of patches: a grid with headings of rows and columns, captions, and a key above it.

Sheets are measured in the dots of their PNG files, so that each pixel of a patch can be a square
of whole dots.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.transforms import Affine2D, ScaledTranslation

from skiptool.errors import ArgumentError
from skiptool.figures.masks import (
    DOTS,
    Entry,
    compared_entries,
    draw_comparison,
    draw_missing,
    draw_patch,
    mask_entries,
)
from skiptool.figures.style import (
    INK,
    ONE_COLUMN,
    SOFT,
    TWO_COLUMNS,
    drawing_style,
    shorten,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skiptool.records import Image, UInt8

MARGIN: Final = 18
"""Free edge of a sheet in dots."""

KEY_SIZE: Final = 6.5
"""Size of the text of a key, of notes and of headings, in points."""

_TITLE_SIZE: Final = 8.0
_TITLE: Final = 46  # height of a line in dots
_NOTES: Final = 36
_HEADING: Final = 30
_CAPTION_SIZE: Final = 5.5
_CAPTION: Final = 26
_GAP: Final = 8  # dots between patches
_PAD: Final = 12  # dots between headings and patches
_STUB: Final = 300  # greatest width of the heading of a row in dots
_LINES: Final = 3  # of a heading
_HANDLE: Final = 0.4  # inches of an entry of a key without its name
_LEAD: Final = 6  # dots above a key
_MOST: Final = 24  # entries of a key
_EXAMPLE_WIDTH: Final = 0.7  # points of the outline of the truth in examples
_NARROWEST: Final = 344  # dots of their columns; has room for "median, brightness 1.75"


class Sheet:
    """A figure measured in dots from its upper left corner, with the transform from them."""

    def __init__(self) -> None:
        self.figure = Figure(figsize=(ONE_COLUMN, ONE_COLUMN), dpi=DOTS)
        corner: Any = self.figure.transFigure
        top = ScaledTranslation(0.0, 1.0, corner)
        inches = Affine2D().scale(1.0 / DOTS, -1.0 / DOTS)
        self.dots = inches + self.figure.dpi_scale_trans + top

    def resize(self, width: int, height: int) -> None:
        """Set the size of the figure in dots."""
        # slightly larger, because rounding could cut off the last dot
        self.figure.set_size_inches((width + 1e-6) / DOTS, (height + 1e-6) / DOTS)

    def add_panel(self, left: int, top: int, size: tuple[int, int]) -> Axes:
        """Add empty Axes of a width and height in dots."""
        width, height = (side * DOTS for side in self.figure.get_size_inches())
        low = height - top - size[1]
        place = (left / width, low / height, size[0] / width, size[1] / height)
        axes = self.figure.add_axes(place)
        axes.set_axis_off()
        return axes

    def write(
        self,
        left: float,
        top: float,
        text: str,
        *,
        size: float = KEY_SIZE,
        color: str = INK,
        va: str = "top",
    ) -> None:
        """Write text from a point to the right, by default below it."""
        self.figure.text(left, top, text, transform=self.dots, size=size, color=color, va=va)

    def add_head(
        self, title: str, notes: str, entries: Sequence[Entry], width: int, left: int = MARGIN
    ) -> int:
        """Write title, notes (at most three lines) and key; return the first free dot below."""
        top = MARGIN
        name = shorten(title, _TITLE_SIZE, width / DOTS)
        if name:
            self.write(left, top, name, size=_TITLE_SIZE)
            top += _TITLE
        for line in wrapped(notes, KEY_SIZE, width, lines=3):
            self.write(left, top, line, color=SOFT)
            top += _NOTES
        if entries:
            top += _LEAD + self._add_key(entries, left, top + _LEAD, width)
        return top if top == MARGIN else top + _PAD

    def _add_key(self, entries: Sequence[Entry], left: int, top: int, width: int) -> int:
        """Add the key in as few rows as fit, and return its height."""
        shown = list(entries[:_MOST])
        if len(entries) > _MOST:
            shown[-1] = Entry(f"and {len(entries) - _MOST + 1} more")
        nothing = Line2D([], [], linestyle="none")
        samples: list[Any] = [entry.sample or nothing for entry in shown]
        names = [shorten(entry.name, KEY_SIZE, width / DOTS - _HANDLE) for entry in shown]
        for rows in range(1, len(shown) + 1):
            key = self.figure.legend(
                samples,
                names,
                handler_map={tuple: HandlerTuple(ndivide=1)},
                loc="upper left",
                bbox_to_anchor=(left, top),
                bbox_transform=self.dots,
                borderaxespad=0.0,
                handlelength=2.4,
                labelspacing=0.5,
                ncols=-(-len(shown) // rows),
            )
            if key.get_window_extent().width <= width or rows == len(shown):
                break
            key.remove()
        return int(np.ceil(key.get_window_extent().height))


def wrapped(text: str, size: float, width: float, lines: int = 2) -> list[str]:
    """Break a text at its line breaks, or else between words; lines that are too wide are cut.

    ``width`` is in dots.

    Examples
    --------
    >>> wrapped("Hamamatsu NanoZoomer XR", 6.0, 200)
    ['Hamamatsu', 'NanoZo…er XR']
    >>> wrapped("slide 7, 120 450", 6.0, 900)
    ['slide 7, 120 450']
    """
    given = text.strip().splitlines()
    if len(given) > 1:
        broken, rest = given[: lines - 1], given[lines - 1 :]
    else:
        broken, rest = [], text.split()
        while rest and len(broken) < lines - 1:
            widths = (
                text_width([" ".join(rest[:count])], size) for count in range(2, len(rest) + 1)
            )
            count = 1 + sum(1 for _ in takewhile(lambda inches: inches * DOTS <= width, widths))
            broken.append(" ".join(rest[:count]))
            rest = rest[count:]
    return [shorten(line, size, width / DOTS) for line in [*broken, " ".join(rest)] if line]


def cell_size(images: Iterable[Image], wanted: int) -> tuple[int, int]:
    """Return width and height in dots of cells where images have a side near ``wanted``."""
    width = height = 1
    for high, wide, *_ in (image.shape for image in images):
        longest = max(wide, high, 1)
        enlarged = max(wanted // longest, 1)
        block = max(round(longest / wanted), 1)
        width = max(width, -(-wide * enlarged // block))
        height = max(height, -(-high * enlarged // block))
    return width, height


def patch_grid(
    images: Iterable[Image],
    places: int,
    across: int,
    sides: range,
    *,
    title: str = "",
    notes: str = "",
    entries: Sequence[Entry] = (),
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    captions: Sequence[str] = (),
    narrowest: int = 0,
) -> tuple[Figure, list[Axes]]:
    """Make a figure with empty Axes for patches, row by row.

    Parameters
    ----------
    images : iterable of uint8 or float32 (H, W, C)
        Axes are as large as the largest of them, enlarged by whole numbers or reduced by blocks.
    places, across : int
        Number of patches, and of those in a row.
    sides : range
        Lengths in dots that the longer side of a patch should have, if the width of two journal
        columns allows.
    title, notes, entries
        Heading and key of the sheet.
    rows, columns : sequence of str, optional
        Headings. Lines after a line break in the heading of a column are secondary.
    captions : sequence of str, optional
        Texts below the patches, of at most two lines, cut to the width of a column.
    narrowest : int
        Least width of a column in dots.
    """
    stubs = [wrapped(name, KEY_SIZE, _STUB, _LINES) for name in rows]
    stub = round(max(text_width(lines, KEY_SIZE) for lines in stubs) * DOTS) + _PAD if rows else 0
    wanted = (round(TWO_COLUMNS * DOTS) - 2 * MARGIN - stub + _GAP) // across - _GAP
    size = cell_size(images, min(max(wanted, sides[0]), sides[-1]))
    column = max(size[0], narrowest)
    heads = [wrapped(name, KEY_SIZE, column, _LINES) for name in columns]
    below = [wrapped(caption, _CAPTION_SIZE, column) for caption in captions]
    pitch = size[1] + _CAPTION * max(map(len, below), default=0) + _GAP
    least = round(ONE_COLUMN * DOTS) - 2 * MARGIN
    width = max(stub + across * (column + _GAP) - _GAP, least)
    sheet = Sheet()
    first = sheet.add_head(title, notes, entries, width)
    if heads:
        first += _HEADING * max(map(len, heads)) + _PAD
    lefts = [MARGIN + stub + place * (column + _GAP) for place in range(across)]
    tops = [first + place * pitch for place in range(-(-places // across))]
    sheet.resize(width + 2 * MARGIN, tops[-1] + pitch - _GAP + MARGIN)
    for left, lines, name in zip(lefts, heads, columns, strict=bool(columns)):
        _write_head(sheet, left, first - _PAD, lines, several="\n" in name.strip())
    for top, lines in zip(tops, stubs, strict=bool(rows)):
        sheet.write(MARGIN, top + size[1] / 2, "\n".join(lines), va="center")
    corners = [(left, top) for top in tops for left in lefts][:places]
    for (left, top), lines in zip(corners, below, strict=bool(captions)):
        for place, line in enumerate(lines):
            base = top + size[1] + 4 + place * _CAPTION
            sheet.write(left, base, line, size=_CAPTION_SIZE, color=SOFT)
    return sheet.figure, [sheet.add_panel(left, top, size) for left, top in corners]


def _write_head(
    sheet: Sheet, left: int, bottom: int, lines: Sequence[str], *, several: bool
) -> None:
    """Write the heading of a column; if it was given in several lines, all but one are softer."""
    for place, line in enumerate(lines):
        base = bottom - _HEADING * (len(lines) - 1 - place)
        sheet.write(left, base, line, va="baseline", color=SOFT if place and several else INK)


# Contact sheet: many patches at a glance.


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
    """Draw many patches with the outlines of the classes in their masks.

    Parameters
    ----------
    images : sequence of uint8 (H, W, 3) or float32 (H, W, 1) in [0, 1]
        N patches; an array (N, H, W, C) is such a sequence. Sizes may differ.
    masks : sequence of uint8 (H, W), optional
        N masks: 0 has no outline, 255 (ignored) is lightened and striped.
    classes : sequence of str
        Name of each label from 0.
    titles : sequence of str
        N captions of at most two lines, cut to the width of a patch.
    columns : int
        Patches in a row, at least 1.
    title, notes : str
        Heading of the sheet.

    Returns
    -------
    Figure
        As wide as two journal columns for eight patches of 128, 256 or 512 pixels in a row. In a
        PNG file each pixel is a square of whole dots, or each dot the mean of a block of pixels.

    Raises
    ------
    ArgumentError
        If there is no patch, the numbers differ, a mask does not fit, or a label has no class.
    """
    count = len(images)
    covers = [None] * count if masks is None else list(masks)
    if not count or len(titles) != count or len(covers) != count or columns < 1:
        raise ArgumentError(
            f"contact sheet: found {count} images, {None if masks is None else len(masks)} masks, "
            f"{len(titles)} captions and {columns} columns, expected at least one image and "
            "column, and a mask and a caption for each image; give as many of each"
        )
    with drawing_style():
        figure, panels = patch_grid(
            images,
            count,
            min(columns, count),
            range(256, 769),
            title=title,
            notes=notes,
            entries=mask_entries(covers, classes),
            captions=titles,
        )
        for axes, image, mask in zip(panels, images, covers, strict=True):
            draw_patch(axes, image, mask, classes)
    return figure


# Examples of predictions: the same samples by several networks, with the truth.


def example_sheet(
    images: Sequence[Image],
    truths: Sequence[UInt8],
    predicted: Sequence[Sequence[UInt8 | None]],
    classes: Sequence[str],
    rows: Sequence[str],
    columns: Sequence[str],
    told: Sequence[Sequence[str]],
) -> Figure:
    """Draw predictions over samples: a row for each network and a column for each sample.

    Up to four columns are at most as wide as two journal columns.

    Parameters
    ----------
    images, truths : sequence
        S images and masks, as in `contact_sheet`.
    predicted : sequence of R sequences of S masks or None
        Labels by row and column; None is drawn as a hatched field.
    classes : sequence of str
        Name of each label from 0.
    rows, columns : sequence of str
        R names of networks; S names of samples, which may have several lines.
    told : sequence of R sequences of S str
        Captions below the patches.

    Raises
    ------
    ArgumentError
        If there is nothing to draw, a number differs, a mask does not fit, or a label has no class.
    """
    lengths = {len(row) for table in (predicted, told) for row in table}
    high, wide = {len(predicted), len(told)}, lengths | {len(images), len(truths)}
    if high != {len(rows)} or wide != {len(columns)} or not lengths or not columns:
        raise ArgumentError(
            f"examples: found {len(images)} images, {len(truths)} masks, {len(predicted)} rows of "
            f"predictions and {len(told)} of texts with {', '.join(map(str, sorted(lengths)))} in "
            f"a row, expected {len(rows)} rows and {len(columns)} columns, at least one of each; "
            "give one for each"
        )
    masks = [mask for row in predicted for mask in row]
    found = [mask for mask in masks if mask is not None]
    with drawing_style():
        figure, panels = patch_grid(
            images,
            len(masks),
            len(columns),
            range(256, 385),
            entries=compared_entries(truths, found, classes, _EXAMPLE_WIDTH),
            rows=rows,
            columns=columns,
            captions=[text for row in told for text in row],
            narrowest=_NARROWEST,
        )
        for place, (axes, mask) in enumerate(zip(panels, masks, strict=True)):
            sample = place % len(columns)
            if mask is None:
                draw_missing(axes)
            else:
                image, truth = images[sample], truths[sample]
                draw_comparison(axes, image, truth, mask, classes, _EXAMPLE_WIDTH)
    return figure


# Matched sheet: the same places in every domain side by side (Figs. 4 and 5).


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
    """Draw the same places in several domains: a row for each place, a column for each domain.

    Parameters
    ----------
    images, masks : sequence of P sequences of D arrays or None
        As in `contact_sheet`; an image is None, drawn as a hatched field, if the domain lacks the
        place.
    classes : sequence of str
        Name of each label from 0.
    places, domains : sequence of str
        P names of rows, D names of columns.
    title, notes : str
        Heading of the sheet.

    Raises
    ------
    ArgumentError
        As in `contact_sheet`.
    """
    if masks is None:
        masks = [[None] * len(domains)] * len(places)
    shown = [image for row in images for image in row]
    covers = [mask for row in masks for mask in row]
    patches = [image for image in shown if image is not None]
    lengths = {len(row) for table in (images, masks) for row in table}
    tables = {len(images), len(masks)}
    if not patches or tables != {len(places)} or lengths != {len(domains)}:
        raise ArgumentError(
            f"matched sheet: found {len(images)} rows of images and {len(masks)} of masks with "
            f"{', '.join(map(str, sorted(lengths)))} in a row, expected {len(places)} places, "
            f"{len(domains)} domains and at least one image; give one image or None for each"
        )
    with drawing_style():
        figure, panels = patch_grid(
            patches,
            len(shown),
            len(domains),
            range(256, 513),
            title=title,
            notes=notes,
            entries=mask_entries(covers, classes),
            rows=places,
            columns=domains,
        )
        for axes, image, mask in zip(panels, shown, covers, strict=True):
            draw_patch(axes, image, mask, classes)
    return figure


# One image without and with the outlines of truth and prediction.


def compare_masks(
    image: Image,
    truth: UInt8,
    predicted: UInt8,
    classes: Sequence[str],
    *,
    title: str = "",
    notes: str = "",
) -> Figure:
    """Draw an image without and, to the right, with outlines of truth and prediction.

    Arguments and errors are as in :func:`skiptool.figures.masks.draw_comparison`.
    """
    with drawing_style():
        figure, (plain, compared) = patch_grid(
            [image],
            2,
            2,
            range(1024, 1025),
            title=title,
            notes=notes,
            entries=compared_entries([truth], [predicted], classes),
        )
        draw_patch(plain, image)
        draw_comparison(compared, image, truth, predicted, classes)
    return figure
