"""A fitted line with its points, next to forecasts in a row for each comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from skiptool.figures.panels import Panel, fit_layout, legend_below
from skiptool.figures.scatter import kind_handle, marker_of, set_ticks
from skiptool.figures.style import (
    INK,
    ONE_COLUMN,
    SOFT,
    TWO_COLUMNS,
    RoundLocator,
    architecture_colours,
    drawing_style,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skiptool.analysis.forecast import Expected, Fitted

MOST: Final = 30
"""Most forecasts that are drawn."""

_TALL: Final = 1.9  # inches of the fit
_ROW: Final = 0.17  # inches of a forecast
_FOOT: Final = 0.4  # inches of ticks and name below the fit
_NAMES: Final = 1.7  # greatest width of a row's name in inches
_DASHED: Final = (0, (3, 2))


def forecast_sheet(fitted: Fitted, names: Sequence[str], measure: str) -> Figure:
    """Draw the fit on the left and forecasts on the right.

    Parameters
    ----------
    names : sequence of str
        One for each of ``fitted.expected``; the first :data:`MOST` are drawn.
    measure : str
        Name of the distance.

    Returns
    -------
    Figure
        As wide as two journal columns, or as one if there are no forecasts or the fit is no better
        than the mean.
    """
    rows = fitted.expected[:MOST] if fitted.better else ()
    colour = architecture_colours([fitted.pruning])[fitted.pruning]
    handles = _fit_handles(fitted, colour)
    with drawing_style():
        overhang = _ROW * (len(rows) + 0.6) - _TALL - _FOOT
        heights = [_TALL, overhang] if overhang > 0 else [_TALL]
        figure = Figure(figsize=(TWO_COLUMNS if rows else ONE_COLUMN, 1.0 + 1.5 * sum(heights)))
        widths = [2.4, 3.0] if rows else [1.0]  # ratios, before the names of forecasts
        grid = figure.add_gridspec(
            len(heights), len(widths), height_ratios=heights, width_ratios=widths
        )
        fit = figure.add_subplot(grid[0, 0], axes_class=Panel)
        draw_fit(fit, fitted)
        fit.set_xlabel(shorten(f"{measure} at {fitted.layers[fitted.layer]}", 7.0, 2.6))
        if rows:
            axes = figure.add_subplot(grid[:, 1], axes_class=Panel)
            draw_forecasts(axes, rows, names[: len(rows)], colour)
            handles += _forecast_handles(rows, colour)
        legend_below(figure, handles)
        fit_layout(figure, heights)
    return figure


def draw_fit(axes: Axes, fitted: Fitted) -> None:
    """Draw the points and the fitted line into Axes."""
    distances, loss = fitted.distances, fitted.loss
    colour = architecture_colours([fitted.pruning])[fitted.pruning]
    drawn = np.concatenate([distances, fitted.low, fitted.high, [0.0]])
    least, most = float(np.nanmin(drawn)), float(np.nanmax(drawn))
    margin = 0.06 * (most - least or 0.1)
    ends = np.array([least - margin, most + margin])
    x = np.concatenate([fitted.line.knots, ends[1:]])
    axes.axhline(0.0, color=SOFT, linewidth=0.6, zorder=1)
    axes.plot(x, fitted.line(x), color=INK, linewidth=0.9, zorder=2)
    for kind in dict.fromkeys(point.change.kind for point in fitted.points):
        own = [n for n, point in enumerate(fitted.points) if point.change.kind == kind]
        x, y, marker = distances[own], loss[own], marker_of(kind)
        axes.plot(x, y, marker, color=colour, markersize=3.2, mew=0, alpha=0.8, zorder=3)
    axes.hlines(loss, fitted.low, fitted.high, color=colour, linewidth=0.5, alpha=0.6, zorder=2)
    axes.set_xlim(*ends)
    low, high = min(0.0, float(loss.min())), max(0.0, float(loss.max()))
    margin = 0.07 * (high - low) or 0.05
    axes.set_ylim(low - margin, high + margin)
    set_ticks(axes)
    axes.grid(axis="y")
    axes.set_ylabel("loss of IoU")
    note = "" if fitted.better else ": no better than the mean"
    axes.set_title(f"fit under controlled shifts{note}", pad=5)


def draw_forecasts(axes: Axes, rows: Sequence[Expected], names: Sequence[str], colour: str) -> None:
    """Draw forecasts with their intervals and, if known, the true losses into Axes."""
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [shorten(name, 6.5, _NAMES) for name in names], color=INK)
    axes.axvline(0.0, color=SOFT, linewidth=0.6, zorder=1)
    axes.grid(axis="x")
    for y, row in enumerate(rows):
        style = "-" if row.seen else _DASHED
        ends = [row.low, row.high]
        axes.plot(ends, [y, y], color=colour, linewidth=1.1, linestyle=style, zorder=2)
        if row.seen:
            axes.plot(row.forecast, y, "o", color=colour, markersize=4.0, mew=0, zorder=3)
        if row.labelled:
            axes.plot(row.loss, y, "D", mfc="none", mec=INK, mew=0.9, markersize=4.2, zorder=4)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -0.02), max(high, 0.02))
    axes.xaxis.set_major_locator(RoundLocator(edge=0.08))
    axes.xaxis.set_major_formatter(lambda tick, _: f"{tick:.3g}")
    axes.set_xlabel("loss of IoU")
    axes.set_title("forecast", pad=5)


def _fit_handles(fitted: Fitted, colour: str) -> list[Line2D]:
    kinds = dict.fromkeys(point.change.kind for point in fitted.points)
    handles = [kind_handle(kind) for kind in kinds]
    handles.append(Line2D([], [], lw=0.9, color=INK, label="fit"))
    if np.isfinite(fitted.low).any():
        handles.append(Line2D([], [], lw=0.5, color=colour, label="95 % interval"))
    return handles


def _forecast_handles(rows: Sequence[Expected], colour: str) -> list[Line2D]:
    handles = []
    if any(row.seen for row in rows):
        handles += [
            Line2D([], [], lw=0, marker="o", ms=4, mew=0, color=colour, label="forecast"),
            Line2D([], [], lw=1.1, color=colour, label="interval"),
        ]
    if not all(row.seen for row in rows):
        dashed = Line2D([], [], lw=1.1, ls=_DASHED, color=colour, label="no shift seen")
        handles.append(dashed)
    if any(row.labelled for row in rows):
        true = Line2D([], [], lw=0, marker="D", ms=4, mfc="none", color=INK, label="true loss")
        handles.append(true)
    return handles
