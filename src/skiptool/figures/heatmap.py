"""Annotated heat maps: IoU by architecture and shift (Fig. 7) or domain (Fig. 9), values by layer.

:func:`draw_matrix` draws one matrix into any Axes; the other functions make whole figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from skiptool.errors import ArgumentError
from skiptool.figures.panels import Panel, fit_layout
from skiptool.figures.style import (
    HOLE,
    INK,
    LINE,
    SOFT,
    TWO_COLUMNS,
    drawing_style,
    ink_on,
    label_text,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import Collection

    from skiptool.records import AnyArray, Bool, Float64

# Rows, columns and colours


@dataclass(frozen=True, slots=True)
class Row:
    """A row, and the group (encoder and architecture) named above its first row."""

    label: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column (factor or domain), and the block (kind of shift) that it belongs to.

    There is a gap between adjacent columns of different blocks.
    """

    label: str
    block: str = ""


HeatRow = Row
"""A row of :func:`heat_sheet`; its group (kind of shift) is named left of its first row."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A colour scale between two values.

    Attributes
    ----------
    colours : str
        Name of a Matplotlib colour map that does not rely on telling red from green.
    low, high : float
        Ends of the scale; values beyond them have the colour of the nearer end.
    signed : bool
        Values are differences, written with their sign.
    decimals : int
        Decimals of values when written.
    darkest : float
        Share of the colour map in use.
    """

    colours: str
    low: float
    high: float
    signed: bool = False
    decimals: int = 2
    darkest: float = 1.0

    @property
    def ticks(self) -> tuple[float, float, float]:
        """Ends and middle of the scale."""
        return self.low, (self.low + self.high) / 2, self.high

    @property
    def map(self) -> ListedColormap:
        """Part of the colour map in use."""
        return ListedColormap(matplotlib.colormaps[self.colours](np.linspace(0, self.darkest, 256)))

    def shares(self, values: Float64) -> Float64:
        """Return the positions of values between the ends, in [0, 1]; NaN stays NaN."""
        return np.clip((values - self.low) / (self.high - self.low or 1.0), 0.0, 1.0)

    def shades(self, values: Float64) -> Float64:
        """Return the colours (..., 4) in [0, 1] of values (...)."""
        return np.asarray(self.map(self.shares(values)))

    def written(self, value: float) -> str:
        """Write a value with its decimals, and its sign for differences.

        Examples
        --------
        >>> SHARES.written(0.856), difference_scale(np.array([0.1])).written(0.031)
        ('0.86', '+0.03')
        """
        if value >= 1e4:
            return f"{value:.0e}"
        text = f"{value:.{self.decimals}f}"
        if not self.signed:
            return text
        if float(text) == 0.0:
            return "0.00"
        return f"+{text}" if value > 0 else text.replace("-", "\N{MINUS SIGN}")

    def tick(self, value: float) -> str:
        """Write a tick of the colour bar with as few decimals as possible."""
        return self.written(value) if self.signed and value else f"{value:.2g}"


SHARES: Final = Scale("viridis", 0.0, 1.0)
"""Values in [0, 1]."""


def difference_scale(values: Float64) -> Scale:
    """Return a scale symmetric about 0, up to the greatest absolute difference, rounded up.

    NaN is left out. Losses are red, gains blue: distinguishable under all forms of colour
    blindness.

    Examples
    --------
    >>> difference_scale(np.array([0.031, -0.122, np.nan])).ticks
    (-0.13, 0.0, 0.13)
    """
    greatest = float(np.nanmax(np.abs(values), initial=0.0))
    limit = max(math.ceil(100.0 * greatest - 1e-9), 1) / 100.0
    return Scale("RdBu", -limit, limit, signed=True)


# One matrix

_HAIRLINE: Final = 0.02  # margin along each edge, as a share of a cell
_BLOCK_GAP: Final = 0.25  # between blocks of columns, in cells
_GROUP_GAP: Final = 0.35  # between groups of rows, in cells
_HEAD: Final = 0.25  # inches for the name of a group above its rows
_PALE: Final = 0.25  # share of a scale up to which grey numbers are legible
_NOTE_SIZES: Final = (4.0, 4.8)
_NOTE_MARGIN: Final = 0.036
_Notes: TypeAlias = Sequence[Sequence[str]]


def draw_matrix(
    axes: Axes,
    values: Float64,
    rows: Sequence[Row],
    columns: Sequence[Column],
    scale: Scale = SHARES,
    *,
    notes: _Notes | None = None,
    strong: Bool | None = None,
    heads: bool = True,
    cell: tuple[float, float] = (0.46, 0.34),
    size: float = 6.5,
) -> None:
    """Draw an annotated heat map into Axes.

    Parameters
    ----------
    values : float64, shape (R, C)
        NaN is drawn as a hatched cell with a dash.
    rows : sequence of Row, length R
    columns : sequence of Column, length C
    notes : R sequences of C str, optional
        Small texts below the values.
    strong : bool, shape (R, C), optional
        Values in bold type; all others are grey in pale cells.
    heads : bool
        Name each group of rows above its first row instead of to the left of it.
    cell : (float, float)
        Width and height of a cell in inches, for the layout of labels and the size of numbers.
    size : float
        Font size of the values in points; reduced if cells are narrow.
    """
    x, right = _across(columns, cell[0])
    y, bottom = _down(rows, cell[1], heads=heads)
    holes = np.isnan(values)
    shares, shades = scale.shares(values), scale.shades(values)
    _cells(axes, x, y, values, holes).set(cmap=scale.map, clim=(scale.low, scale.high))
    if holes.any():
        hatched = _cells(axes, x, y, holes, ~holes)
        hatched.set(cmap=ListedColormap([HOLE]), edgecolor=LINE, hatch="//////")
    axes.set(xlim=(0.0, right), ylim=(bottom, 0.0))
    axes.spines[:].set_visible(False)
    label_size = 6.5 if heads else 6.0
    axes.tick_params(which="both", length=0.0, pad=3.0, labelcolor=INK, labelsize=label_size)
    _name_rows(axes, rows, y, heads=heads)
    _name_columns(axes, columns, x, cell[0], size=label_size)
    texts = [[scale.written(value) for value in row] for row in values.tolist()]
    size *= _shrinkage([text for row in texts for text in row if text != "nan"], size, cell[0])
    below = [text for row in notes or () for text in row]
    note_size = _NOTE_SIZES[1] * _shrinkage(below, _NOTE_SIZES[1], cell[0])
    centred: dict[str, Any] = {"ha": "center", "va": "center_baseline", "in_layout": False}
    for r, c in np.ndindex(values.shape):
        middle, centre = float(y[r]) + 0.5, float(x[c]) + 0.5
        if holes[r, c]:
            axes.text(centre, middle, "–", color=SOFT, **centred)
            continue
        bold = strong is not None and bool(strong[r, c])
        faint = strong is not None and not bold and shares[r, c] < _PALE
        ink = SOFT if faint else ink_on(shades[r, c])
        note = notes[r][c] if notes else ""
        height = middle - 0.055 / cell[1] if note else middle
        weight = "bold" if bold else "normal"
        axes.text(centre, height, texts[r][c], color=ink, size=size, weight=weight, **centred)
        if note:
            axes.text(centre, middle + 0.07 / cell[1], note, color=ink, size=note_size, **centred)


def _down(rows: Sequence[Row], height: float, *, heads: bool) -> tuple[Float64, float]:
    """Return the upper edges of rows and the lower end, in cells of a height in inches."""
    gap = _HEAD / height if heads else _GROUP_GAP
    changes = np.array([False, *(a.group != b.group for a, b in pairwise(rows))])
    edges = np.arange(len(rows)) + gap * np.cumsum(changes)
    return edges, float(edges[-1] + 1.0)


def _across(columns: Sequence[Column], width: float) -> tuple[Float64, float]:
    """Return the left edges of columns and the right end, in cells.

    No block is narrower than its name.
    """
    edges: list[float] = []
    end = -_BLOCK_GAP
    for name, block in groupby(column.block for column in columns):
        count = len(list(block))
        start = end + _BLOCK_GAP
        edges += [start + column for column in range(count)]
        end = start + max(count, text_width([label_text(name)], 7.0) / width)
    return np.array(edges), end


def _cells(axes: Axes, x: Float64, y: Float64, values: AnyArray, mask: Bool) -> Collection:
    """Draw the cells that are not masked, as separate rectangles."""
    corners = [np.stack([e + _HAIRLINE, e + 1.0 - _HAIRLINE], axis=1).ravel() for e in (x, y)]
    spaced = np.ma.masked_array(np.zeros((2 * len(y) - 1, 2 * len(x) - 1)), mask=True)
    spaced[::2, ::2] = np.ma.masked_array(values, mask)
    axes.pcolor(*corners, spaced, linewidth=0.0)
    return axes.collections[-1]


def _name_rows(axes: Axes, rows: Sequence[Row], y: Float64, *, heads: bool) -> None:
    labels = [label_text(row.label) for row in rows]
    axes.set_yticks(y + 0.5, labels)
    firsts = [n for n, row in enumerate(rows) if not n or row.group != rows[n - 1].group]
    names = [label_text(rows[n].group) for n in firsts]
    if heads:
        for n, name in zip(firsts, names, strict=True):
            axes.annotate(
                name,
                (0.0, y[n]),
                (-3.0, 3.0),
                xycoords=axes.get_yaxis_transform(),
                textcoords="offset points",
                ha="right",
                weight="bold",
            )
    elif any(names):
        axes.yaxis.remove_overlapping_locs = False
        axes.set_yticks(y[firsts] + 0.5, names, minor=True)
        axes.tick_params("y", which="minor", pad=72.0 * text_width(labels, 6.0) + 7.0)


def _name_columns(
    axes: Axes, columns: Sequence[Column], x: Float64, width: float, size: float
) -> None:
    """Label columns above the cells, vertically in blocks with wide labels; name the blocks."""
    labels = [label_text(column.label, 40) for column in columns]
    axes.xaxis.tick_top()
    axes.set_xticks(x + 0.5, labels)
    texts = axes.get_xticklabels()
    above = size
    runs = [list(run) for _, run in groupby(range(len(x)), key=lambda n: columns[n].block)]
    for run in runs:
        widest = text_width([labels[n] for n in run], size)
        single = len(run) == 1 < len(runs)
        if widest > width * (1.0 + (_BLOCK_GAP if single else 0.0)) - 0.02:
            above = max(above, 72.0 * widest)
            for n in run:
                texts[n].set_rotation(90)
    lift = ScaledTranslation(0.0, (above + 6.0) / 72.0, axes.figure.dpi_scale_trans)
    above_labels = axes.get_xaxis_transform() + lift
    for run in runs:
        if name := label_text(columns[run[0]].block):
            left = x[run[0]] + _HAIRLINE
            right = max(x[run[-1]] + 1.0 - _HAIRLINE, left + text_width([name], 7.0) / width)
            rule = Line2D([left, right], [1, 1], color=INK, lw=0.6, clip_on=False)
            rule.set_transform(above_labels)
            axes.add_artist(rule)
            axes.annotate(
                name, (left, 1), (0, 3), xycoords=above_labels, textcoords="offset points"
            )


def _shrinkage(texts: Sequence[str], size: float, width: float) -> float:
    """Return the factor by which texts have to shrink to fit into cells of a width in inches."""
    widest = text_width(list(set(texts)), size)
    return min(1.0, (width - _NOTE_MARGIN) / max(widest, 1e-9))


# Figures of one or more matrices

_IOU_WIDTHS: Final = (0.28, 0.46)  # least and greatest width of a cell in inches
_LAYER_WIDTHS: Final = (0.24, 0.5)
_BAR_LENGTH: Final = 1.6  # inches of the colour bar
_BAR_HEIGHT: Final = 0.08
_SHORTEST_BAR: Final = 0.8
_BAR_STEPS: Final = 48  # colours, few enough to stay paths in SVG


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """One matrix of values by layer.

    Attributes
    ----------
    values : float64, shape (R, L)
        NaN for missing values.
    low : float
        Lower end of the colour scale.
    strong : bool, shape (R, L), or None
        Values in bold type, all others being grey; None to write all alike.
    """

    name: str
    values: Float64
    low: float = 0.0
    strong: Bool | None = None


def iou_matrix(
    values: Float64,
    rows: Sequence[Row],
    columns: Sequence[Column],
    *,
    spread: Float64 | None = None,
    label: str = "IoU",
) -> Figure:
    """Draw a matrix of IoU with a value in each cell.

    Parameters
    ----------
    values : float64, shape (R, C)
        In [0, 1]; NaN (class absent, not measured) is drawn as a hatched cell with a dash.
    rows : sequence of Row, length R
        Rows of one group are adjacent.
    columns : sequence of Column, length C
        Columns of one block are adjacent.
    spread : float64, shape (R, C), optional
        Standard deviation over folds, in small type below the value; NaN is left out.
    label : str
        Meaning of the colours: ``cell IoU``.

    Returns
    -------
    Figure
        At most as wide as two journal columns with up to about 18 columns, wider with more.

    Raises
    ------
    ArgumentError
        If a shape differs from the number of rows and columns, or is empty.
    """
    notes = None if spread is None else _as_notes(spread, rows, columns)
    return _noted_matrix(values, rows, columns, notes, label, SHARES)


def difference_matrix(
    values: Float64,
    rows: Sequence[Row],
    columns: Sequence[Column],
    *,
    spread: Float64 | None = None,
    below: Sequence[Sequence[str]] | None = None,
    label: str = "difference of IoU",
) -> Figure:
    """Draw a matrix of differences in [-1, 1], written with their signs.

    Parameters, result and errors are those of :func:`iou_matrix`. Colours are symmetric about 0 and
    end at the greatest absolute difference. ``below`` are R sequences of C small texts, which
    replace ``spread``; all are left out if they would make the figure too wide.
    """
    if below is not None:
        _check(np.array(below), rows, columns, "texts below the values")
    elif spread is not None:
        below = _as_notes(spread, rows, columns)
    return _noted_matrix(values, rows, columns, below, label, difference_scale(values))


def heat_sheet(
    blocks: Sequence[Heat],
    rows: Sequence[Row],
    layers: Sequence[str],
    *,
    title: str,
    label: str,
    own_scales: bool = False,
) -> Figure:
    """Draw matrices on a common scale from 0 to their greatest value, with a value in each cell.

    Parameters
    ----------
    blocks : sequence of Heat
        Two side by side if they fit into two journal columns.
    rows : sequence of Row, length R
    layers : sequence of str, length L
    title, label : str
        Title of the figure; meaning of the colours.
    own_scales : bool
        Give each matrix its own scale, from ``low`` to its greatest value.

    Raises
    ------
    ArgumentError
        If there is no block, or a shape differs from the number of rows and layers.
    """
    shape = (len(rows), len(layers))
    if not blocks or any(block.values.shape != shape or not block.values.size for block in blocks):
        raise ArgumentError(
            f"matrices by layer: found {[block.values.shape for block in blocks]}, expected each "
            f"to be {shape} and not empty; give one value for each row and layer"
        )
    greatest = [float(np.nanmax(block.values, initial=0.0)) or 1.0 for block in blocks]
    tops = greatest if own_scales else [max(greatest)] * len(blocks)
    tiles = [
        _Tile(block.values, _layer_scale(block.low, top), block.name, strong=block.strong)
        for block, top in zip(blocks, tops, strict=True)
    ]
    with drawing_style():
        labels = [label_text(row.label) for row in rows]
        kinds = [label_text(row.group) for row in rows]
        room = TWO_COLUMNS - text_width(labels, 6.0) - text_width(kinds, 6.0) - 0.32
        across = 2 if len(blocks) > 1 and room - 0.12 >= 2 * _LAYER_WIDTHS[0] * len(layers) else 1
        width = (room - 0.12 * (across - 1)) / across / len(layers)
        return _sheet(
            tiles,
            rows,
            [Column(name) for name in layers],
            label=label,
            ticks=not own_scales,
            title=title,
            cell=(float(np.clip(width, *_LAYER_WIDTHS)), 0.155),
            size=5.2,
            across=across,
            heads=False,
        )


def _layer_scale(low: float, high: float) -> Scale:
    decimals = 3 if high < 0.1 else 2 if high < 10 else 0
    return Scale("YlOrBr", low, max(low, high), decimals=decimals, darkest=0.9)


def _as_notes(spread: Float64, rows: Sequence[Row], columns: Sequence[Column]) -> _Notes:
    _check(spread, rows, columns, "spread")
    return [["" if math.isnan(value) else f"±{value:.2f}" for value in line] for line in spread]


def _check(values: AnyArray, rows: Sequence[Row], columns: Sequence[Column], name: str) -> None:
    expected = (len(rows), len(columns))
    if values.shape != expected or values.size == 0:
        raise ArgumentError(
            f"{name} of a matrix: found shape {values.shape}, expected {expected} and at least "
            "one of each; give one value for each row and column"
        )


def _noted_matrix(
    values: Float64,
    rows: Sequence[Row],
    columns: Sequence[Column],
    notes: _Notes | None,
    label: str,
    scale: Scale,
) -> Figure:
    """Draw a matrix of IoU; its notes are left out if they would make it too wide."""
    _check(values, rows, columns, "values")
    with drawing_style():
        names = [label_text(row.label) for row in rows]
        groups = [label_text(row.group) for row in rows]
        room = TWO_COLUMNS - max(text_width(names, 6.5), text_width(groups, 8.0)) - 0.2
        width = _cell_width(columns, room, 0.0)
        if texts := list({text for row in notes or () for text in row if text}):
            narrowest = text_width(texts, _NOTE_SIZES[0]) + _NOTE_MARGIN
            wider = _cell_width(columns, room, narrowest)
            excess = wider * _across(columns, wider)[1] - room
            if excess > max(width * _across(columns, width)[1] - room, 0.2 * TWO_COLUMNS):
                notes = None
            else:
                width = wider
        cell = (width, 0.34 if texts and notes else 0.24)
        return _sheet([_Tile(values, scale, notes=notes)], rows, columns, label=label, cell=cell)


def _cell_width(columns: Sequence[Column], room: float, narrowest: float) -> float:
    """Return the width of cells that fit into a room in inches, within limits."""
    low, high = (max(width, narrowest) for width in _IOU_WIDTHS)
    width = high
    for _ in range(4):  # the narrower the cells, the more of them a block's name spans
        width = float(np.clip(room / _across(columns, width)[1], low, high))
    return width


@dataclass(frozen=True, slots=True, eq=False)
class _Tile:
    """A matrix of a figure, with the optional parts of :func:`draw_matrix`."""

    values: Float64
    scale: Scale
    name: str = ""
    notes: _Notes | None = None
    strong: Bool | None = None


def _sheet(
    tiles: Sequence[_Tile],
    rows: Sequence[Row],
    columns: Sequence[Column],
    *,
    label: str,
    cell: tuple[float, float],
    ticks: bool = True,
    title: str = "",
    size: float = 6.5,
    across: int = 1,
    heads: bool = True,
) -> Figure:
    """Draw matrices in a grid whose ratios are inches, with a colour bar below."""
    names = [label_text(tile.name, 48) for tile in tiles]
    width = max(cell[0] * _across(columns, cell[0])[1], text_width(names, 8.0))
    height = cell[1] * _down(rows, cell[1], heads=heads)[1]
    down = -(-len(tiles) // across)
    bar_label = text_width([label_text(label)], 6.5) + 0.12
    widths = [width] * across
    if sum(widths) < _SHORTEST_BAR + bar_label:
        widths.append(_SHORTEST_BAR + bar_label - sum(widths))
    bar = min(_BAR_LENGTH, sum(widths) - bar_label)
    figure = Figure(figsize=(TWO_COLUMNS, 4.0 + 2.0 * height * down))
    heights = [height] * down + [_BAR_HEIGHT]
    grid = figure.add_gridspec(down + 1, len(widths), width_ratios=widths, height_ratios=heights)
    for n, tile in enumerate(tiles):
        axes = figure.add_subplot(grid[divmod(n, across)], axes_class=Panel)
        draw_matrix(
            axes,
            tile.values,
            rows,
            columns,
            tile.scale,
            notes=tile.notes,
            strong=tile.strong,
            heads=heads,
            cell=cell,
            size=size,
        )
        axes.set_xlim(0.0, width / cell[0])  # room for its name
        axes.set_title(names[n], weight="bold")
        axes.tick_params("y", which="both", labelleft=n % across == 0)
    if title:
        figure.suptitle(label_text(title, 100), x=0.06 / TWO_COLUMNS, ha="left")
    aspect = _BAR_HEIGHT / bar
    foot = figure.add_subplot(grid[-1, :], axes_class=Panel, box_aspect=aspect, anchor="SW")
    _colour_bar(foot, tiles[0].scale, label_text(label), ticks=ticks)
    fit_layout(figure, heights, widths)
    return figure


def _colour_bar(axes: Axes, scale: Scale, label: str, *, ticks: bool) -> None:
    """Draw a horizontal colour bar with its label to the right."""
    colours = ScalarMappable(Normalize(scale.low, scale.high), scale.map.resampled(_BAR_STEPS))
    bar = axes.figure.colorbar(colours, axes, orientation="horizontal")
    axes.collections[0].set_edgecolor("face")  # no seams between colours in viewers
    bar.outline.set_visible(False)
    shown = scale.ticks if ticks else ()
    bar.set_ticks(shown, labels=[scale.tick(tick) for tick in shown], size=6.0)
    text = axes.annotate(
        label, (1.0, 0.5), (8, 0), xycoords="axes fraction", textcoords="offset points"
    )
    text.set(va="center_baseline", size=6.5, in_layout=False)
