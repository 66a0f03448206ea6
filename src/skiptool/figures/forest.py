"""Forest plot: differences with their intervals, row by row, encoders side by side.

A line is the interval, a pale bar behind it reaches one standard deviation between trainings to
either side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from skiptool.errors import ArgumentError
from skiptool.figures.dots import DOTS
from skiptool.figures.forest_marks import MARK_SIZE, PALE, Mark, Pen, draw_marks, pens_of
from skiptool.figures.forest_sheet import ForestSheet, plan_forest
from skiptool.figures.grid import Column
from skiptool.figures.labels import fitted
from skiptool.figures.style import (
    INK,
    LINE,
    SOFT,
    drawing,
    readable,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Mark", "forest"]

_EDGE: Final = 0.12  # inches that a tick keeps from the end of the axis, for its label


def forest(
    marks: Sequence[Mark],
    rows: Sequence[Column],
    *,
    label: str,
    interval: str,
    sure: str,
    unsure: str,
) -> Figure:
    """Draw differences by row, one panel for each family.

    Parameters
    ----------
    marks : sequence of Mark
    rows : sequence of Column
        What the rows are: a shift in the block of its kind, or a domain.
    label : str
        What the axis is: ``cell IoU minus that of the baseline``.
    interval, sure, unsure : str
        What a line, a filled and an open mark mean, for the key; without entry if empty.

    Returns
    -------
    Figure
        At most as wide as two journal columns up to three families; as high as its rows need.

    Raises
    ------
    ArgumentError
        If there is no mark, or one stands in a row that is not there.
    """
    if not marks or not all(0 <= mark.row < len(rows) for mark in marks):
        raise ArgumentError(
            f"forest plot: {len(marks)} marks in {len(rows)} rows; expected at least one, each in "
            "one of the rows"
        )
    families = list(dict.fromkeys(mark.family for mark in marks))
    pens = pens_of(marks)
    with drawing():
        named = [
            (_name(pruning, ensemble), Line2D([], [], **pen.looks(MARK_SIZE, sure=True)))
            for (pruning, ensemble), pen in pens.items()
        ]
        keys = [named, _meanings(marks, interval, sure, unsure)]
        texts = [[text for text, _ in key] for key in keys]
        sheet = plan_forest(rows, len(families), len(pens), texts)
        figure = Figure(figsize=sheet.size)
        limits = _limits(marks)
        for panel, family in enumerate(families):
            axes = _frame(figure, sheet, panel, limits)
            draw_marks(axes, sheet, [mark for mark in marks if mark.family == family], pens)
        _write(figure, sheet, families, label)
        for places, entries in zip(sheet.keys, keys, strict=True):
            _key(figure, places, entries)
    return figure


def _limits(marks: Sequence[Mark]) -> tuple[float, float]:
    """Return the ends of the axis: all that is drawn is between them, and 0.

    Intervals are cut at differences of 1, the greatest that there are: those over two or three
    trainings may be wider.
    """
    ends = [0.0]
    for mark in marks:
        ends += [mark.value, max(mark.low, -1.0), min(mark.high, 1.0)]
        ends += [mark.value - mark.spread, mark.value + mark.spread]
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    pad = max(0.04 * (high - low), 0.002)
    return low - pad, high + pad


def _frame(figure: Figure, sheet: ForestSheet, panel: int, limits: tuple[float, float]) -> Axes:
    axes = figure.add_axes(sheet.rectangle(panel))
    axes.set_xlim(*limits)
    axes.set_ylim(sheet.bottom, sheet.top)
    axes.set_yticks([])
    steps = MaxNLocator(max(2, int(sheet.width / 0.55)), steps=[1, 2, 5, 10])
    edge = _EDGE * (limits[1] - limits[0]) / sheet.width
    inner = (limits[0] + edge, limits[1] - edge)
    ticks = [x for x in steps.tick_values(*limits) if inner[0] <= x <= inner[1]]
    axes.set_xticks(ticks, [_signed(tick) for tick in ticks])
    axes.grid(axis="x")
    axes.hlines([top for top, _ in sheet.edges], *limits, color=LINE, linewidth=0.5, zorder=0.6)
    axes.axvline(0.0, color=INK, linewidth=0.8, zorder=1.5)
    return axes


def _signed(value: float) -> str:
    text = f"{value:+.3f}".rstrip("0").rstrip(".")
    return "0" if float(text) == 0.0 else text.replace("-", "\N{MINUS SIGN}")


def _name(pruning: str, ensemble: bool) -> str:
    return readable(pruning) + (", ensemble" if ensemble else "")


def _meanings(
    marks: Sequence[Mark], interval: str, sure: str, unsure: str
) -> list[tuple[str, Line2D]]:
    """Entries of the key that hold for all networks."""
    found = []
    if not all(math.isnan(mark.low) for mark in marks):
        cut = any(mark.low < -1.0 or mark.high > 1.0 for mark in marks)
        text = f"{interval}, cut at a difference of 1" if cut else interval
        found.append((text, Line2D([], [], color=INK, linewidth=1.0)))
        for filled, text in ((True, sure), (False, unsure)):
            if text:
                found.append((text, Line2D([], [], **Pen(INK).looks(MARK_SIZE, sure=filled))))
    if not all(math.isnan(mark.spread) for mark in marks):
        bar: dict[str, Any] = {"linewidth": 5.0, "solid_capstyle": "butt"}
        text = "± SD between trainings"
        found.append((text, Line2D([], [], color=SOFT, alpha=PALE, **bar)))
    return found


def _write(figure: Figure, sheet: ForestSheet, families: Sequence[str], label: str) -> None:
    """Write the names of rows, blocks, panels and of the axis."""
    width, height = sheet.size
    for name, y in sheet.labels:
        figure.text(sheet.stub / width, 1 - y / height, name, va="center_baseline")
    for name, y in sheet.blocks:
        figure.text(sheet.stub / width, 1 - y / height, name, weight="bold")
    for name, left in zip(families, sheet.lefts, strict=True):
        head = fitted(name, 7.7, sheet.width * DOTS)
        figure.text(left / width, 1 - (sheet.top - 0.1) / height, head, weight="bold")
    middle = (sheet.lefts[0] + sheet.lefts[-1] + sheet.width) / 2
    y = 1 - (sheet.bottom + 0.34) / height
    figure.text(middle / width, y, readable(label, 60), ha="center", color=SOFT)


def _key(
    figure: Figure, places: Sequence[tuple[float, float]], entries: Sequence[tuple[str, Line2D]]
) -> None:
    """Write the entries of a key, each after what it explains."""
    width, height = figure.get_size_inches()
    for (left, top), (text, handle) in zip(places, entries, strict=True):
        y = 1 - top / height
        line = handle.get_linestyle() != "None"
        xs = [left / width, (left + 0.2) / width] if line else [(left + 0.1) / width]
        handle.set(xdata=xs, ydata=[y] * len(xs), transform=figure.transFigure)
        figure.add_artist(handle)
        figure.text((left + 0.28) / width, y, text, size=6.5, va="center_baseline")
