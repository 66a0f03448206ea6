"""IoU matrices: architectures against shifts (Fig. 7) or against domains (Fig. 9).

Beside each the same of differences to the baseline, drawn alike on a scale with signs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import matplotlib
import numpy as np
from matplotlib.collections import PolyCollection

from skiptool.errors import ArgumentError
from skiptool.figures.style import (
    HOLE,
    INK,
    LINE,
    SOFT,
    TWO_COLUMNS,
    drawing,
    inch_axes,
    readable,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from skiptool.records import AnyArray, Bool, Float64

__all__ = [
    "BAR",
    "BAR_HEIGHT",
    "HEIGHT",
    "MARGIN",
    "SHARES",
    "Block",
    "Column",
    "Heat",
    "HeatPlan",
    "HeatRow",
    "Plan",
    "Row",
    "Scale",
    "difference_matrix",
    "difference_scale",
    "heat_sheet",
    "iou_matrix",
    "plan_grid",
    "plan_heat",
    "plan_notes",
]

# -------------------------------------------------------------------------------------------------
# Where the cells and labels of a matrix stand, in inches from the upper left corner.


MARGIN: Final = 0.06
"""Free edge of the sheet."""

BAR_HEIGHT: Final = (0.7, 1.5)
"""Least and greatest height of the colour bar."""

_CELL_WIDTH: Final = (0.28, 0.46)  # what a value of 6.5 points needs; what still looks like a cell
_ALONE_WIDTH: Final = 0.56  # a cell that is a block of its own may grow to fit its label
_CELL_HEIGHT: Final = 0.24
_SPREAD_HEIGHT: Final = 0.1
_BLOCK_GAP: Final = 0.1
_GROUP_HEAD: Final = 0.25
_BAR: Final = 0.62  # colour bar with its gap, ticks and label
_SIGNED: Final = 0.1  # what ticks with signs need more


@dataclass(frozen=True, slots=True)
class Row:
    """A row: a choice of skips, and the group (its encoder and arch) under whose head it stands."""

    label: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: a factor or a domain, and the block (kind of shift) that it belongs to.

    Neighbours of equal block stand together; a block of its own sets ``original`` apart.
    """

    label: str
    block: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A run of columns: its name, the left edges of its cells, their width, its right edge."""

    name: str
    labels: tuple[str, ...]
    lefts: tuple[float, ...]
    width: float
    right: float
    upright: bool  # labels turned by 90 degrees


@dataclass(frozen=True, slots=True)
class Plan:
    """The sheet of a matrix."""

    blocks: tuple[Block, ...]
    tops: tuple[float, ...]  # upper edge of each row
    height: float  # of a cell
    head: float  # foot of the column labels
    size: tuple[float, float]

    @property
    def right(self) -> float:
        """Right edge of the last block."""
        return self.blocks[-1].right

    def spans(self) -> list[tuple[float, float]]:
        """Left edge and width of every column."""
        return [(left, block.width) for block in self.blocks for left in block.lefts]


def plan_grid(
    rows: Sequence[Row],
    columns: Sequence[Column],
    *,
    with_spread: bool,
    signed: bool = False,
    beside: float = 0.0,
    least: float = 0.0,
) -> Plan:
    """Fit the cells into two journal columns, or as far beyond as their numbers need.

    ``beside`` is the length in inches of what is written along the colour bar, whose ticks may
    have signs. No cell is narrower than ``least`` inches.
    """
    bar = _BAR + (_SIGNED if signed else 0.0)
    groups = [(readable(name), len(list(run))) for name, run in groupby(r.group for r in rows)]
    stub = max(
        text_width([readable(row.label) for row in rows], 7.0),
        text_width([name for name, _ in groups], 7.7),  # bold is a tenth wider
    )
    blocks = _blocks(columns, MARGIN + stub + 0.1, bar, least)
    turned = [text_width(block.labels, 6.5) for block in blocks if block.upright]
    head = MARGIN + (0.2 if any(block.name for block in blocks) else 0.0)
    head += max(turned, default=0.1) + 0.04
    height = _CELL_HEIGHT + (_SPREAD_HEIGHT if with_spread else 0.0)
    tops, bottom = _tops(groups, head + 0.04, height)
    bottom = max(bottom, tops[0] + max(BAR_HEIGHT[0], beside))
    return Plan(blocks, tops, height, head, (blocks[-1].right + bar, bottom + MARGIN))


def _blocks(columns: Sequence[Column], start: float, bar: float, least: float) -> tuple[Block, ...]:
    runs = [
        (readable(name), tuple(readable(column.label) for column in run))
        for name, run in groupby(columns, key=lambda column: column.block)
    ]
    room = TWO_COLUMNS - start - bar - _BLOCK_GAP * (len(runs) - 1)
    alone = [_alone_width(labels) for _, labels in runs]
    shared = room - sum(alone)
    count = sum(len(labels) for (_, labels), own in zip(runs, alone, strict=True) if not own)
    low, high = (max(width, least) for width in _CELL_WIDTH)
    common = min(high, max(low, shared / max(count, 1)))
    blocks = []
    for (name, labels), own in zip(runs, alone, strict=True):
        width = max(own, common)
        lefts = tuple(start + place * width for place in range(len(labels)))
        # a block is never narrower than its name
        right = start + max(len(labels) * width, text_width([name], 7.0) + 0.06)
        upright = text_width(labels, 6.5) > width - 0.04
        blocks.append(Block(name, labels, lefts, width, right, upright))
        start = right + _BLOCK_GAP
    return tuple(blocks)


def _alone_width(labels: tuple[str, ...]) -> float:
    need = text_width(labels, 6.5) + 0.06
    return need if len(labels) == 1 and need <= _ALONE_WIDTH else 0.0


def _tops(
    groups: list[tuple[str, int]], start: float, height: float
) -> tuple[tuple[float, ...], float]:
    tops: list[float] = []
    for place, (_, count) in enumerate(groups):
        start += _GROUP_HEAD if place else 0.0
        tops += [start + row * height for row in range(count)]
        start += count * height
    return tuple(tops), start


# -------------------------------------------------------------------------------------------------
# Small texts below the values of a matrix: how large they can be, and whether there is room.


_SIZES: Final = (4.0, 4.8)  # points
_FREE: Final = 0.036  # inches of a cell that stay empty beside a text
_WIDEST: Final = 1.2 * TWO_COLUMNS


def plan_notes(plan_of: Callable[..., Plan], texts: Sequence[str]) -> tuple[Plan, float]:
    """Plan a matrix with small texts below its values, if they do not make it too wide.

    Parameters
    ----------
    plan_of : callable
        ``plan_grid``, given all but ``with_spread`` and ``least``.
    texts : sequence of str
        All that is to stand below values; none where there are none.

    Returns
    -------
    plan : Plan
    size : float
        Points at which all texts fit into their cells; 0 where they are left out.
    """
    without = plan_of(with_spread=False)
    if not texts:
        return without, 0.0
    different = list(set(texts))
    plan = plan_of(with_spread=True, least=text_width(different, _SIZES[0]) + _FREE)
    if plan.size[0] > max(without.size[0], _WIDEST):
        return without, 0.0
    room = min(width for _, width in plan.spans()) - _FREE
    return plan, min(_SIZES[1], _SIZES[1] * room / max(text_width(different, _SIZES[1]), 1e-9))


# -------------------------------------------------------------------------------------------------
# What the colours of a matrix mean, and how its numbers are written.


_MINUS: Final = "\N{MINUS SIGN}"
_DARK: Final = "#1b1b1b"
_DARK_LIGHT: Final = 0.061  # its luminance, and the 0.05 that WCAG adds


@dataclass(frozen=True, slots=True)
class Scale:
    """A colour for each value between two ends.

    Attributes
    ----------
    colours : str
        Name of a colour map of Matplotlib that does not rest on telling red from green.
    low, high : float
        Ends; what lies beyond has their colour.
    signed : bool
        Values are differences: written with their sign.
    """

    colours: str
    low: float
    high: float
    signed: bool = False

    @property
    def ticks(self) -> tuple[float, float, float]:
        """Both ends and the middle."""
        return self.low, (self.low + self.high) / 2, self.high

    def shades(self, values: Float64) -> Float64:
        """Colours (N, 4) in [0, 1] of values (N,)."""
        places = np.clip((values - self.low) / (self.high - self.low), 0.0, 1.0)
        return np.asarray(matplotlib.colormaps[self.colours](places))

    def legible(self, value: float) -> str:
        """Dark or white ink, whichever stands out more on a cell (contrast as WCAG defines it)."""
        rgb = self.shades(np.array([value]))[0, :3]
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        light = float(linear @ (0.2126, 0.7152, 0.0722)) + 0.05
        return _DARK if light / _DARK_LIGHT > 1.05 / light else "#ffffff"

    def written(self, value: float) -> str:
        """Two decimals, and a sign where it counts.

        Examples
        --------
        >>> SHARES.written(0.856), difference_scale(np.array([0.1])).written(0.031)
        ('0.86', '+0.03')
        """
        text = f"{value:.2f}"
        if not self.signed:
            return text
        if float(text) == 0.0:
            return "0.00"
        return f"+{text}" if value > 0 else text.replace("-", _MINUS)

    def tick(self, value: float) -> str:
        """Write a tick of the bar: no more decimals than it needs."""
        return self.written(value) if self.signed and value else f"{value:g}"


SHARES: Final = Scale("viridis", 0.0, 1.0)
"""Values in [0, 1]."""


def difference_scale(values: Float64) -> Scale:
    """Return a scale that is even about 0 and ends at the greatest difference, rounded up.

    NaN is left out. Loss is red, gain is blue: told apart under all forms of colour-blindness.

    Examples
    --------
    >>> difference_scale(np.array([0.031, -0.122, np.nan])).ticks
    (-0.13, 0.0, 0.13)
    """
    greatest = float(np.nanmax(np.abs(values), initial=0.0))
    limit = max(math.ceil(100.0 * greatest - 1e-9), 1) / 100.0
    return Scale("RdBu", -limit, limit, signed=True)


_Notes: TypeAlias = Sequence[Sequence[str]]
_INSET: Final = 0.008  # the hairline between cells is the ground, whatever its colour


def iou_matrix(
    values: Float64,
    rows: Sequence[Row],
    columns: Sequence[Column],
    *,
    spread: Float64 | None = None,
    label: str = "IoU",
) -> Figure:
    """Draw a matrix of IoU, its value written in each cell.

    Parameters
    ----------
    values : float64, shape (R, C)
        In [0, 1]; NaN (class absent, not measured) is drawn as a hatched cell with a dash.
    rows : sequence of Row, length R
        Rows of one group stand together, in the order given.
    columns : sequence of Column, length C
        Columns of one block stand together, in the order given.
    spread : float64, shape (R, C), optional
        Standard deviation over folds, written small below the value; NaN is left out.
    label : str
        What the colours mean: ``cell IoU``.

    Returns
    -------
    Figure
        As wide as two journal columns up to about 18 columns, wider beyond.

    Raises
    ------
    ArgumentError
        If a shape differs from the number of rows and columns, or there is none of either.
    """
    notes = None if spread is None else _as_notes(spread, rows, columns)
    return _matrix(values, rows, columns, notes, label, SHARES)


def difference_matrix(
    values: Float64,
    rows: Sequence[Row],
    columns: Sequence[Column],
    *,
    spread: Float64 | None = None,
    below: Sequence[Sequence[str]] | None = None,
    label: str = "difference of IoU",
) -> Figure:
    """Draw a matrix of differences, each written with its sign.

    Parameters, result and errors as of ``iou_matrix``; values in [-1, 1]. The colours are even
    about 0 and end at the greatest difference; the ends stand on the bar. ``below`` are texts,
    R of C each, that stand small below the values instead of ``spread``; all are left out where
    they would make the sheet too wide.
    """
    if below is not None:
        _check(np.array(below), rows, columns, "texts below the values")
    elif spread is not None:
        below = _as_notes(spread, rows, columns)
    return _matrix(values, rows, columns, below, label, difference_scale(values))


def _as_notes(spread: Float64, rows: Sequence[Row], columns: Sequence[Column]) -> _Notes:
    _check(spread, rows, columns, "spread")
    return [["" if math.isnan(each) else f"±{each:.2f}" for each in line] for line in spread]


def _matrix(
    values: Float64,
    rows: Sequence[Row],
    columns: Sequence[Column],
    notes: _Notes | None,
    label: str,
    scale: Scale,
) -> Figure:
    _check(values, rows, columns, "values")
    label = readable(label)
    with drawing():
        length = text_width([label], 6.5)
        plan_of = partial(plan_grid, rows, columns, signed=scale.signed, beside=length)
        plan, size = plan_notes(plan_of, [text for line in notes or () for text in line])
        figure, axes = inch_axes(*plan.size)
        _cells(axes, plan, values, scale)
        _numbers(axes, plan, values, notes if size else None, size, scale)
        _row_labels(axes, plan, rows)
        _column_labels(axes, plan)
        _colour_bar(axes, plan, label, length, scale)
    return figure


def _check(values: AnyArray, rows: Sequence[Row], columns: Sequence[Column], name: str) -> None:
    expected = (len(rows), len(columns))
    if values.shape != expected or values.size == 0:
        raise ArgumentError(
            f"{name} of a matrix: found shape {values.shape}, expected {expected} and at least "
            "one of each; give one value for each row and column"
        )


def _cells(axes: Axes, plan: Plan, values: Float64, scale: Scale) -> None:
    holes = np.isnan(values)
    corners = [[_corners(span, top, plan.height) for span in plan.spans()] for top in plan.tops]
    full = [corners[row][column] for row, column in np.argwhere(~holes)]
    empty = [corners[row][column] for row, column in np.argwhere(holes)]
    colours = [tuple(shade) for shade in scale.shades(values[~holes]).tolist()]
    axes.add_collection(PolyCollection(full, facecolors=colours, linewidths=0.0))
    if empty:
        axes.add_collection(
            PolyCollection(empty, facecolors=HOLE, edgecolors=LINE, linewidths=0.0, hatch="//////")
        )


def _corners(span: tuple[float, float], top: float, height: float) -> list[tuple[float, float]]:
    left, width = span
    x0, x1 = left + _INSET, left + width - _INSET
    y0, y1 = top + _INSET, top + height - _INSET
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _numbers(
    axes: Axes, plan: Plan, values: Float64, notes: _Notes | None, note: float, scale: Scale
) -> None:
    spans = plan.spans()
    size = _size(values, min(width for _, width in spans), scale)
    for (row, column), value in np.ndenumerate(values):
        x, y = spans[column][0] + spans[column][1] / 2, plan.tops[row] + plan.height / 2
        if math.isnan(value):
            _centred(axes, x, y, "–", color=SOFT)
            continue
        below = "" if notes is None else notes[row][column]
        lift = 0.055 if below else 0.0
        colour = scale.legible(value)
        _centred(axes, x, y - lift, scale.written(value), color=colour, size=size)
        if lift:
            _centred(axes, x, y + 0.07, below, color=colour, size=note)


def _size(values: Float64, width: float, scale: Scale) -> float:
    """Points at which the widest number fits into the narrowest cell."""
    widest = text_width(list({scale.written(value) for value in values[~np.isnan(values)]}), 6.5)
    return 6.5 * min(1.0, (width - 2 * _INSET - 0.02) / max(widest, 1e-9))


def _centred(axes: Axes, x: float, y: float, text: str, color: str, size: float = 7.0) -> None:
    axes.text(x, y, text, ha="center", va="center_baseline", color=color, size=size)


def _row_labels(axes: Axes, plan: Plan, rows: Sequence[Row]) -> None:
    previous = ""
    for row, top in zip(rows, plan.tops, strict=True):
        axes.text(MARGIN, top + plan.height / 2, readable(row.label), va="center_baseline")
        if row.group != previous:
            axes.text(MARGIN, top - 0.04, readable(row.group), weight="bold")
        previous = row.group


def _column_labels(axes: Axes, plan: Plan) -> None:
    for block in plan.blocks:
        for label, left in zip(block.labels, block.lefts, strict=True):
            axes.text(
                left + block.width / 2,
                plan.head,
                label,
                size=6.5,
                rotation=90 if block.upright else 0,
                rotation_mode="anchor",
                ha="left" if block.upright else "center",
                va="center_baseline" if block.upright else "baseline",
            )
        if block.name:
            left, end = block.lefts[0] + _INSET, block.lefts[-1] + block.width - _INSET
            end = max(end, left + text_width([block.name], 7.0))
            axes.plot([left, end], [MARGIN + 0.16] * 2, color=INK, linewidth=0.6)
            axes.text(left, MARGIN + 0.11, block.name)


def _colour_bar(axes: Axes, plan: Plan, label: str, length: float, scale: Scale) -> None:
    left, top = plan.right + 0.16, plan.tops[0] + _INSET
    grid = plan.tops[-1] + plan.height - _INSET - top
    height = min(max(grid, BAR_HEIGHT[0]), BAR_HEIGHT[1])
    span = scale.high - scale.low
    for low, high in pairwise(np.linspace(0.0, 1.0, 65)):
        (colour,) = scale.shades(np.array([scale.low + span * (low + high) / 2]))
        y0, y1 = top + (1 - high) * height, top + (1 - low) * height
        # a thin edge of its own colour closes the seams that viewers leave between steps
        axes.fill_between([left, left + 0.09], y0, y1, color=tuple(colour), linewidth=0.3)
    for tick in scale.ticks:
        y = top + (scale.high - tick) / span * height
        axes.plot([left + 0.09, left + 0.12], [y, y], color=INK, linewidth=0.6)
        axes.text(left + 0.14, y, scale.tick(tick), va="center_baseline", size=6.0)
    axes.text(
        left + (0.5 if scale.signed else 0.4),
        top + max(height, length) / 2,
        label,
        rotation=90,
        rotation_mode="anchor",
        ha="center",
        size=6.5,
    )


# -------------------------------------------------------------------------------------------------
# Where the cells and labels of matrices by layer stand, in inches from the upper left corner.


"""Free edge of the sheet."""

HEIGHT: Final = 0.155
"""Height of a cell."""

BAR: Final = (1.6, 0.08, 0.36)
"""Length and thickness of the colour bar, and the room for it."""

_TITLE: Final = 0.26
_NAME: Final = 0.18
_CELL: Final = (0.24, 0.5)  # least and greatest width
_KIND_GAP: Final = 0.05
_GUTTER: Final = 0.16
_BELOW: Final = 0.12  # between one block and the next
_INSET_HEAT_PLAN: Final = 0.006


@dataclass(frozen=True, slots=True)
class HeatRow:
    """A row: its label, and the kind that it shares with its neighbours."""

    label: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class HeatPlan:
    """The sheet of some matrices."""

    size: tuple[float, float]
    corners: tuple[tuple[float, float], ...]  # of the cells of each block
    offsets: tuple[float, ...]  # of the rows below it
    width: float  # of a cell
    across: int  # blocks side by side
    upright: bool

    def box(self, corner: tuple[float, float], row: int, column: int) -> list[tuple[float, float]]:
        """Return the corners of a cell, less the hairline around it."""
        left, top = corner[0] + column * self.width, corner[1] + self.offsets[row]
        x0, x1 = left + _INSET_HEAT_PLAN, left + self.width - _INSET_HEAT_PLAN
        y0, y1 = top + _INSET_HEAT_PLAN, top + HEIGHT - _INSET_HEAT_PLAN
        return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def plan_heat(blocks: int, rows: Sequence[HeatRow], names: Sequence[str]) -> HeatPlan:
    """Place some matrices, two side by side where two journal columns have room for them.

    Parameters
    ----------
    blocks : int
    rows : sequence of HeatRow
    names : sequence of str
        Layers, as they are written.
    """
    stub = MARGIN + _stub(rows) + 0.06
    count = len(names)
    across = 2 if blocks > 1 and _across(stub, 2, count) >= _CELL[0] else 1
    width = min(_CELL[1], max(_CELL[0], _across(stub, across, count)))
    widest = text_width(names, 6.0)
    upright = widest > width - 0.02
    head = _NAME + (widest if upright else 0.1) + 0.05
    offsets, offset = [], 0.0
    for place, row in enumerate(rows):
        offset += _KIND_GAP if place and row.kind != rows[place - 1].kind else 0.0
        offsets.append(offset)
        offset += HEIGHT
    pitch = head + offset + _BELOW
    down = math.ceil(blocks / across)
    corners = tuple(
        (stub + column * (count * width + _GUTTER), _TITLE + row * pitch + head)
        for row, column in (divmod(place, across) for place in range(blocks))
    )
    right = stub + across * count * width + (across - 1) * _GUTTER + MARGIN
    size = (max(right, TWO_COLUMNS), _TITLE + down * pitch + BAR[2])
    return HeatPlan(size, corners, tuple(offsets), width, across, upright)


def _across(stub: float, blocks: int, layers: int) -> float:
    """Width of a cell if so many blocks stand side by side."""
    return (TWO_COLUMNS - stub - MARGIN - _GUTTER * (blocks - 1)) / (blocks * layers)


def _stub(rows: Sequence[HeatRow]) -> float:
    kinds, labels = [readable(row.kind) for row in rows], [readable(row.label) for row in rows]
    return text_width(kinds, 6.0) + text_width(labels, 6.0) + (0.06 if any(kinds) else 0.0)


# -------------------------------------------------------------------------------------------------
# Matrices of layers by shift, side by side on one sheet and one scale.


_COLOURS: Final = matplotlib.colormaps["YlOrBr"]
_DARKEST: Final = 0.9  # share of the map that is used: beyond it all is nearly black
_SIZE: Final = 5.2
_PALE: Final = 0.25  # share of the map below which grey can be read


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """One matrix.

    Attributes
    ----------
    name : str
    values : float64, shape (R, L)
        NaN where there is none.
    low : float
        Value of the lightest colour; lower ones have it too.
    strong : bool, shape (R, L), or None
        Which numbers are bold, the others being grey; None to write all alike.
    """

    name: str
    values: Float64
    low: float = 0.0
    strong: Bool | None = None

    def shares(self, greatest: float) -> Float64:
        """Return where values lie between the lightest and the darkest colour."""
        span = greatest - self.low
        found = (self.values - self.low) / span if span > 0 else np.zeros_like(self.values)
        return np.asarray(np.clip(np.where(np.isnan(self.values), np.nan, found), 0.0, 1.0))


def heat_sheet(
    blocks: Sequence[Heat],
    rows: Sequence[HeatRow],
    layers: Sequence[str],
    *,
    title: str,
    label: str,
    own_scales: bool = False,
) -> Figure:
    """Draw matrices of one scale, from 0 to the greatest value of all, its value in each cell.

    Parameters
    ----------
    blocks : sequence of Heat
        Two stand side by side where two journal columns have room for them.
    rows : sequence of HeatRow, length R
    layers : sequence of str, length L
    title, label : str
        Above all; what the colours mean.
    own_scales : bool
        Each matrix has a scale of its own, from ``low`` to its greatest value.

    Raises
    ------
    ArgumentError
        If there is no block, or its shape is not that of the rows and layers.
    """
    shape = (len(rows), len(layers))
    if not blocks or any(block.values.shape != shape or not block.values.size for block in blocks):
        raise ArgumentError(
            f"matrices by layer: found {[block.values.shape for block in blocks]}, expected each "
            f"to be {shape} and not empty; give one value for each row and layer"
        )
    with drawing():
        plan = plan_heat(len(blocks), rows, [readable(name, 40) for name in layers])
        figure, axes = inch_axes(*plan.size)
        greatest = _greatest(blocks)
        axes.text(MARGIN, 0.15, readable(title, 100), size=8.0)
        for place, block in enumerate(blocks):
            corner = plan.corners[place]
            most = _greatest([block]) if own_scales else greatest
            _layer_cells(axes, plan, block.shares(most), corner)
            _layer_numbers(axes, plan, block, most, corner)
            _layer_names(axes, plan, [readable(name, 40) for name in layers], corner, block.name)
            if place % plan.across == 0:
                _row_names(axes, plan, rows, corner)
        _bar(axes, plan, None if own_scales else greatest, readable(label))
    return figure


def _greatest(blocks: Sequence[Heat]) -> float:
    return max(float(np.nanmax(block.values, initial=0.0)) for block in blocks) or 1.0


def _layer_cells(axes: Axes, plan: HeatPlan, shares: Float64, corner: tuple[float, float]) -> None:
    holes = np.isnan(shares)
    full = [plan.box(corner, row, column) for row, column in np.argwhere(~holes)]
    empty = [plan.box(corner, row, column) for row, column in np.argwhere(holes)]
    axes.add_collection(
        PolyCollection(full, facecolors=_COLOURS(_DARKEST * shares[~holes]), linewidths=0.0)
    )
    if empty:
        axes.add_collection(
            PolyCollection(empty, facecolors=HOLE, edgecolors=LINE, linewidths=0.0, hatch="//////")
        )


def _layer_numbers(
    axes: Axes, plan: HeatPlan, block: Heat, greatest: float, corner: tuple[float, float]
) -> None:
    shares = block.shares(greatest)
    for (row, column), value in np.ndenumerate(block.values):
        known = not math.isnan(value)
        strong = block.strong is not None and bool(block.strong[row, column])
        faint = block.strong is not None and not strong and shares[row, column] < _PALE
        text = _written(float(value), greatest)
        axes.text(
            corner[0] + (column + 0.5) * plan.width,
            corner[1] + plan.offsets[row] + HEIGHT / 2,
            text if known else "–",
            ha="center",
            va="center_baseline",
            color=_legible(float(shares[row, column])) if known and not faint else SOFT,
            size=_SIZE,
            weight="bold" if strong else "normal",
        )


def _written(value: float, greatest: float) -> str:
    """Write a number that fits a cell."""
    if value >= 1e4:
        return f"{value:.0e}"
    return f"{value:.{3 if greatest < 0.1 else 2 if greatest < 10 else 0}f}"


def _legible(share: float) -> str:
    """Black or white, whichever stands out more on a cell (contrast as WCAG defines it)."""
    rgb = np.array(_COLOURS(_DARKEST * share)[:3])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    light = float(linear @ (0.2126, 0.7152, 0.0722)) + 0.05
    return "#1b1b1b" if light / 0.05 > 1.05 / light else "#ffffff"


def _layer_names(
    axes: Axes, plan: HeatPlan, names: Sequence[str], corner: tuple[float, float], block: str
) -> None:
    for place, name in enumerate(names):
        axes.text(
            corner[0] + (place + 0.5) * plan.width,
            corner[1] - 0.04,
            name,
            size=6.0,
            rotation=90 if plan.upright else 0,
            rotation_mode="anchor",
            ha="left" if plan.upright else "center",
            va="center_baseline" if plan.upright else "baseline",
        )
    above = text_width(names, 6.0) if plan.upright else 0.1
    axes.text(corner[0], corner[1] - 0.04 - above - 0.06, readable(block, 48), weight="bold")


def _row_names(
    axes: Axes, plan: HeatPlan, rows: Sequence[HeatRow], corner: tuple[float, float]
) -> None:
    previous = ""
    for row, offset in zip(rows, plan.offsets, strict=True):
        middle = corner[1] + offset + HEIGHT / 2
        style: dict[str, Any] = {"size": 6.0, "va": "center_baseline"}
        if row.kind != previous:
            axes.text(MARGIN, middle, readable(row.kind), **style)
        if row.label:
            axes.text(corner[0] - 0.05, middle, readable(row.label), ha="right", **style)
        previous = row.kind


def _bar(axes: Axes, plan: HeatPlan, greatest: float | None, label: str) -> None:
    length, thickness, room = BAR
    left, top = plan.corners[0][0], plan.size[1] - room + 0.02
    for low, high in pairwise(np.linspace(0.0, 1.0, 65)):
        colour = _COLOURS(_DARKEST * (low + high) / 2)
        # a thin edge of its own colour closes the seams that viewers leave between steps
        ends = [left + low * length, left + high * length]
        axes.fill_between(ends, top, top + thickness, color=colour, linewidth=0.3)
    for share in () if greatest is None else (0.0, 0.5, 1.0):
        text = f"{share * (greatest or 1.0):.2g}"
        axes.text(left + share * length, top + thickness + 0.1, text, ha="center", size=6.0)
    axes.text(left + length + 0.14, top + thickness, label, size=6.5, color=INK)
