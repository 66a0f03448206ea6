"""Training curves: for each encoder the validation mIoU and the loss by epoch, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from skiptool.analysis.training import Curve, common_mean
from skiptool.errors import ArgumentError
from skiptool.figures.axis_ticks import set_scale, spans_decades
from skiptool.figures.curve_key import KEPT, curve_key, stairs
from skiptool.figures.style import (
    INK,
    SOFT,
    TWO_COLUMNS,
    drawing,
    in_paper_order,
    readable,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skiptool.analysis.training import Run
    from skiptool.figures.curve_key import Pen
    from skiptool.records import Float64, Int64

__all__ = ["draw_curves"]

_LEFT: Final = 0.46
_GAP: Final = 0.58
_RIGHT: Final = 0.1
_HEAD: Final = 0.22
_NAME: Final = 0.26
_FOOT: Final = 0.36
_HEIGHTS: Final = {1: 2.1, 2: 1.7, 3: 1.45}
_LOW: Final = 1.2
_EPOCHS: Final = MaxNLocator(6, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)


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
    epochs = np.concatenate([curve.epochs for run in runs for curve in (run.train, run.validation)])
    first, last = int(epochs.min()), int(epochs.max())
    room = max(0.02 * (last - first), 0.3)
    for axes in frames:
        axes.set_xlim(first - room, last + room)
        axes.set_xticks([t for t in _EPOCHS.tick_values(first, last) if first <= t <= last])
    mious = np.concatenate([run.validation.miou for run in runs])
    losses = np.concatenate([np.r_[run.train.loss, run.validation.loss] for run in runs])
    for column, values in enumerate((mious, losses)):
        found = values[np.isfinite(values)]
        low, high = (float(found.min()), float(found.max())) if found.size else (0.0, 1.0)
        log = bool(column) and spans_decades(values)
        margin = 0.05 * (high - low) or 0.05
        ends = (low / 1.3, high * 1.3) if log else (low - margin, high + margin)
        for axes in frames[column::2]:
            set_scale(axes, "y", *ends, log=log)
