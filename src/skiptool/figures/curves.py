"""Training curves: for each encoder the validation mIoU and the loss by epoch, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from skiptool.errors import ArgumentError
from skiptool.figures.curve_key import KEPT, curve_key, stairs
from skiptool.figures.style import (
    INK,
    SOFT,
    TWO_COLUMNS,
    drawing,
    in_paper_order,
    readable,
)
from skiptool.readings.training import Curve, common_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skiptool.figures.curve_key import Pen
    from skiptool.readings.training import Run
    from skiptool.records import Float64, Int64

__all__ = ["draw_curves", "spans_decades"]

_LEFT: Final = 0.46
_GAP: Final = 0.58
_RIGHT: Final = 0.1
_HEAD: Final = 0.22
_NAME: Final = 0.26
_FOOT: Final = 0.36
_HEIGHTS: Final = {1: 2.1, 2: 1.7, 3: 1.45}
_LOW: Final = 1.2


def draw_curves(runs: Sequence[Run]) -> Figure:
    """Draw validation mIoU and loss of training runs by epoch.

    Parameters
    ----------
    runs : sequence of Run
        Panels for each encoder in the order of first appearance, a colour for each pruning.

    Returns
    -------
    Figure
        As wide as two journal columns.

    Raises
    ------
    ArgumentError
        If there is no run.
    """
    if not runs:
        raise ArgumentError("training curves: found no run, expected at least one; give a history")
    names = list(dict.fromkeys(run.family for run in runs))
    with drawing():
        key = curve_key(runs, TWO_COLUMNS, _LEFT)
        heights = _heights(len(names), any(names), key.height)
        figure = Figure(figsize=(TWO_COLUMNS, heights[-1]))
        for row, name in enumerate(names):
            shown = [run for run in runs if run.family == name]
            pair = _frames(figure, heights, row, last=row == len(names) - 1)
            for pruning in in_paper_order(run.pruning for run in shown):
                mine = [run for run in shown if run.pruning == pruning]
                _draw(pair, mine, key.pens[pruning])
            _head(figure, heights, row, readable(name, 60))
            _ticks(pair, shown)
        _scales(figure.axes, runs)
        key.draw(figure)
    return figure


def spans_decades(values: Float64, decades: float = 2.0) -> bool:
    """Say whether values are above 0 and their greatest is so many decades above their least.

    Examples
    --------
    >>> spans_decades(np.array([0.01, 1.5])), spans_decades(np.array([0.1, 1.5]))
    (True, False)
    """
    found = values[np.isfinite(values)]
    return bool(found.size and found.min() > 0.0 and found.max() > found.min() * 10.0**decades)


def _heights(rows: int, named: bool, key: float) -> tuple[float, float, float, float]:
    """Height of a panel, from panel to panel, of the legend, and of the sheet, in inches."""
    panel = _HEIGHTS.get(rows, _LOW)
    pitch = panel + (_NAME if named else 0.12)
    return panel, pitch, key, _HEAD + rows * pitch + _FOOT + key


def _frames(
    figure: Figure, heights: tuple[float, float, float, float], row: int, *, last: bool
) -> tuple[Axes, Axes]:
    panel, pitch, _, total = heights
    width = (TWO_COLUMNS - _LEFT - _GAP - _RIGHT) / 2
    bottom = total - _HEAD - (row + 1) * pitch
    frames = []
    for column, title in enumerate(("validation mIoU", "loss")):
        left = _LEFT + column * (width + _GAP)
        place = (left / TWO_COLUMNS, bottom / total, width / TWO_COLUMNS, panel / total)
        axes = figure.add_axes(place)
        axes.grid(axis="y")
        axes.tick_params(axis="x", labelbottom=last)
        if last:
            axes.set_xlabel("epoch", color=SOFT, labelpad=2)
        if row == 0:
            top = 1 - 0.15 / total
            figure.text(left / TWO_COLUMNS, top, title, size=8.0)
        frames.append(axes)
    return frames[0], frames[1]


def _head(figure: Figure, heights: tuple[float, float, float, float], row: int, name: str) -> None:
    panel, pitch, _, total = heights
    place = total - _HEAD - (row + 1) * pitch + panel + 0.07
    figure.text(_LEFT / TWO_COLUMNS, place / total, name, weight="bold")


def _draw(pair: tuple[Axes, Axes], runs: Sequence[Run], pen: Pen) -> None:
    colour, solid, dashed = pen.colour, pen.validation, pen.training
    single = len(runs) == 1
    for axes, value in zip(pair, ("miou", "loss"), strict=True):
        curves = [_values(run.validation, value) for run in runs]
        if not single:
            for curve in curves:
                _line(axes, curve, color=colour, linestyle=solid, linewidth=0.45, alpha=0.45)
        mean = common_mean(curves)
        _line(axes, mean, color=colour, linestyle=solid, linewidth=1.1, zorder=3)
    trained = common_mean([_values(run.train, "loss") for run in runs])
    _line(pair[1], trained, color=colour, linestyle=dashed, linewidth=0.8, zorder=2.5)
    kept = [(run.best_epoch, run.best_miou) for run in runs if run.best_epoch is not None]
    if kept:
        size = 4.0 if single else 2.4
        x, y = zip(*kept, strict=True)
        pair[0].plot(x, y, color=colour, markersize=size, zorder=4, clip_on=False, **KEPT)


def _values(curve: Curve, name: str) -> tuple[Int64, Float64]:
    values: Float64 = getattr(curve, name)
    return curve.epochs, values


def _line(axes: Axes, curve: tuple[Int64, Float64], **look: Any) -> None:  # noqa: ANN401 - what Matplotlib takes
    """Draw a curve with its gaps; a point between two gaps would be no line, hence a dot."""
    epochs, values = curve
    there = np.isfinite(values)
    axes.plot(epochs, values, **look)
    padded = np.concatenate([[False], there, [False]])
    alone = there & ~padded[:-2] & ~padded[2:]
    if alone.any():
        look = {**look, "linestyle": "none", "marker": "o", "markersize": 1.6 * look["linewidth"]}
        axes.plot(epochs[alone], values[alone], **look)


def _ticks(pair: tuple[Axes, Axes], runs: Sequence[Run]) -> None:
    for axes in pair:
        for epoch in stairs(runs):
            axes.axvline(epoch, 0.0, 0.05, color=INK, linewidth=0.7, clip_on=False, zorder=5)


def _scales(frames: Sequence[Axes], runs: Sequence[Run]) -> None:
    """Give all panels the same epochs, and those of one measure the same scale."""
    last = max(max(run.last.values()) for run in runs)
    first = min(int(run.train.epochs.min(initial=last)) for run in runs)
    first = min(first, *(int(run.validation.epochs.min(initial=last)) for run in runs))
    room = max(0.02 * (last - first), 0.3)
    losses = np.concatenate([np.r_[run.train.loss, run.validation.loss] for run in runs])
    for column in (0, 1):
        panels = frames[column::2]
        ends = [axes.get_ylim() for axes in panels if axes.dataLim.height >= 0 and axes.lines]
        low, high = min(end[0] for end in ends), max(end[1] for end in ends)
        for axes in panels:
            axes.set_xlim(first - room, last + room)
            axes.xaxis.set_major_locator(
                MaxNLocator(6, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
            )
            if column and spans_decades(losses):
                positive = losses[np.isfinite(losses)]
                axes.set_yscale("log")
                axes.set_ylim(positive.min() / 1.3, positive.max() * 1.3)
                axes.yaxis.set_major_locator(LogLocator())
                axes.yaxis.set_minor_locator(NullLocator())
            else:
                axes.set_ylim(max(low, 0.0) if not column else low, high)
                axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
