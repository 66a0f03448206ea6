"""IoU matrices: architectures against shifts (Fig. 7) or against domains (Fig. 9).

Beside each the same of differences to the baseline, drawn alike on a scale with signs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from matplotlib.collections import PolyCollection

from skiptool.errors import ArgumentError
from skiptool.figures.cell_notes import plan_notes
from skiptool.figures.colour_scale import SHARES, Scale, difference_scale
from skiptool.figures.grid import BAR_HEIGHT, MARGIN, Column, Plan, Row, plan_grid
from skiptool.figures.style import (
    HOLE,
    INK,
    LINE,
    SOFT,
    drawing,
    inch_axes,
    readable,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from skiptool.records import AnyArray, Float64

__all__ = ["Column", "Row", "difference_matrix", "iou_matrix"]

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
