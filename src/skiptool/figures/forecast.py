"""A fitted line with its points beside the forecasts, one row for each comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from skiptool.figures.masks import DOTS, fitted
from skiptool.figures.scatter import MARKERS, ticks_between
from skiptool.figures.style import (
    INK,
    ONE_COLUMN,
    SOFT,
    TWO_COLUMNS,
    architecture_colours,
    drawing,
    readable,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skiptool.analysis.forecast import Expected, Fitted

__all__ = ["MOST", "forecast_sheet"]

MOST: Final = 30
"""Rows of forecasts that are drawn."""

_LEFT, _WIDE, _TALL, _TOP, _ROW = 0.5, 2.35, 1.9, 0.26, 0.17  # inches, as all that follows
_FOOT: Final = 0.4  # below the panels: ticks and the name of the axis
_RIGHT: Final = 0.12
_STUB: Final = 1.7  # greatest width of a row's name
_GAP: Final = 0.3
_LEGEND: Final = 0.16
_EDGE: Final = 0.1  # at either end of an axis that no number stands below


def forecast_sheet(found: Fitted, names: Sequence[str], measure: str) -> Figure:
    """Draw the fit on the left, forecasts on the right.

    Parameters
    ----------
    found : Fitted
    names : sequence of str
        One for each of ``found.expected``; the first :data:`MOST` are drawn.
    measure : str
        What the distance is, in words.

    Returns
    -------
    Figure
        As wide as two journal columns; as one, with nothing to forecast or a fit that is no better
        than the mean.
    """
    rows = found.expected[:MOST] if found.better else ()
    kinds = dict.fromkeys(point.change.kind for point in found.points)
    colour = architecture_colours([found.pruning])[found.pruning]
    with drawing():
        tall = max(_TALL, _ROW * (len(rows) + 0.6))
        height = _TOP + tall + _FOOT + 2 * _LEGEND
        figure = Figure(figsize=(TWO_COLUMNS if rows else ONE_COLUMN, height))
        wide = _WIDE if rows else ONE_COLUMN - _LEFT - _RIGHT
        fit = _panel(figure, _LEFT, wide, _TALL)
        _draw_fit(fit, found, list(kinds), colour)
        layer = fitted(f"{measure} at {found.layers[found.layer]}", 7.0, (_WIDE + 0.3) * DOTS)
        fit.set_xlabel(layer, color=SOFT)
        fit.set_ylabel("loss of IoU", color=SOFT)
        handles = [
            Line2D([], [], lw=0, marker=_marker(kind), ms=4, mfc="none", color=INK, label=label)
            for kind in kinds
            for label in (readable(kind, 16),)
        ]
        handles.append(Line2D([], [], lw=0.9, color=INK, label="fit"))
        if np.isfinite(found.low).any():
            bar = Line2D([], [], lw=0.5, color=colour, label="95 % interval")
            handles.append(bar)
        _legend(figure, handles, _LEFT, _TOP + _TALL + _FOOT, 4)
        stub = [fitted(name, 6.5, _STUB * DOTS) for name in names[: len(rows)]]
        if rows:
            _draw_forecasts(figure, found, rows, stub, (tall, colour))
    return figure


def _panel(figure: Figure, left: float, wide: float, tall: float) -> Axes:
    width, height = figure.get_size_inches()
    bottom = height - _TOP - tall
    return figure.add_axes((left / width, bottom / height, wide / width, tall / height))


def _legend(
    figure: Figure, handles: Sequence[Line2D], left: float, top: float, columns: int
) -> None:
    width, height = figure.get_size_inches()
    figure.legend(
        handles=handles,
        ncols=columns,
        loc="upper left",
        bbox_to_anchor=(left / width, 1 - top / height),
        **{"borderaxespad": 0.0, "borderpad": 0.0, "handlelength": 1.2, "handletextpad": 0.4},
        **{"columnspacing": 1.0, "labelspacing": 0.25, "frameon": False, "fontsize": 6.5},
    )


def _number_across(axes: Axes, wide: float) -> None:
    """Write numbers below the horizontal axis, clear of the ends of its ``wide`` inches."""
    low, high = axes.get_xlim()
    edge = _EDGE * (high - low) / wide
    ticks = ticks_between(low + edge, high - edge)
    axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])


def _marker(kind: str) -> str:
    return MARKERS.get(kind, "X")


def _draw_fit(axes: Axes, found: Fitted, kinds: Sequence[str], colour: str) -> None:
    at, loss = found.distances, found.loss
    reach = np.concatenate([at, found.low, found.high, [0.0]])
    least, most = float(np.nanmin(reach)), float(np.nanmax(reach))
    air = 0.06 * (most - least or 0.1)
    ends = np.array([least - air, most + air])
    x = np.concatenate([found.line.knots, ends[1:]])
    axes.axhline(0.0, color=SOFT, linewidth=0.6, zorder=1)
    axes.plot(x, found.line(x), color=INK, linewidth=0.9, zorder=2)
    for kind in kinds:
        own = [n for n, point in enumerate(found.points) if point.change.kind == kind]
        x, y, marker = at[own], loss[own], _marker(kind)
        axes.plot(x, y, marker, color=colour, markersize=3.2, mew=0, alpha=0.8, zorder=3)
    axes.hlines(loss, found.low, found.high, color=colour, linewidth=0.5, alpha=0.6, zorder=2)
    axes.set_xlim(*ends)
    low, high = min(0.0, float(loss.min())), max(0.0, float(loss.max()))
    air = 0.07 * (high - low) or 0.05
    axes.set_ylim(low - air, high + air)
    axes.set_yticks(ticks_between(low - air, high + air))
    _number_across(axes, _WIDE)  # its least width
    axes.grid(axis="y")
    note = "" if found.better else ": no better than the mean"
    axes.set_title(f"fit under controlled shifts{note}", loc="left", size=7.0, pad=5)


def _draw_forecasts(
    figure: Figure,
    found: Fitted,
    rows: Sequence[Expected],
    names: Sequence[str],
    look: tuple[float, str],
) -> None:
    tall, colour = look
    left = _LEFT + _WIDE + _GAP + text_width(names, 6.5) + 0.08
    wide = TWO_COLUMNS - left - _RIGHT
    axes = _panel(figure, left, wide, tall)
    axes.set_ylim(len(rows) - 0.5 + 0.1, -0.5 - 0.1)
    axes.set_yticks(range(len(rows)), names, color=INK)
    axes.axvline(0.0, color=SOFT, linewidth=0.6, zorder=1)
    axes.grid(axis="x")
    for place, row in enumerate(rows):
        style = "-" if row.seen else (0, (3, 2))
        ends = [row.low, row.high]
        axes.plot(ends, [place] * 2, color=colour, linewidth=1.1, linestyle=style, zorder=2)
        if row.seen:
            axes.plot(row.forecast, place, "o", color=colour, markersize=4.0, mew=0, zorder=3)
        if row.labelled:
            axes.plot(row.loss, place, "D", mfc="none", mec=INK, mew=0.9, markersize=4.2, zorder=4)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -0.02), max(high, 0.02))
    _number_across(axes, wide)
    axes.set_xlabel("loss of IoU", color=SOFT)
    axes.set_title("forecast", loc="left", size=7.0, pad=5)
    _legend(figure, _forecast_handles(rows, colour), left, _TOP + tall + _FOOT, 3)


def _forecast_handles(rows: Sequence[Expected], colour: str) -> list[Line2D]:
    handles = []
    if any(row.seen for row in rows):
        handles += [
            Line2D([], [], lw=0, marker="o", ms=4, mew=0, color=colour, label="forecast"),
            Line2D([], [], lw=1.1, color=colour, label="interval"),
        ]
    if not all(row.seen for row in rows):
        dashed = Line2D([], [], lw=1.1, ls=(0, (3, 2)), color=colour, label="no shift seen")
        handles.append(dashed)
    if any(row.labelled for row in rows):
        true = Line2D([], [], lw=0, marker="D", ms=4, mfc="none", color=INK, label="true loss")
        handles.append(true)
    return handles
