"""Lines along the layers of networks, one a choice of skips, encoders side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from skiptool.analysis.training import Curve, common_mean
from skiptool.errors import ArgumentError
from skiptool.figures.panels import CurveSheet, plan_curves
from skiptool.figures.style import (
    HOLE,
    INK,
    LINE,
    SOFT,
    TWO_COLUMNS,
    architecture_colours,
    drawing,
    in_paper_order,
    readable,
    set_scale,
    spans_decades,
    text_width,
)
from skiptool.names import SKIP_LEVELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skiptool.analysis.training import Run
    from skiptool.records import Float64, Int64

__all__ = [
    "KEPT",
    "MOST_BANDS",
    "CurveKey",
    "LayerCurve",
    "Pen",
    "curve_key",
    "draw_curves",
    "layer_curves",
    "stairs",
]

MOST_BANDS: Final = 6
"""Lines of a panel that still leave their bands to be told apart."""

_DASHES: Final = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
_BRACKET: Final = Path([(-1.0, 0.7), (-1.0, -0.4), (1.0, -0.4), (1.0, 0.7)])


@dataclass(frozen=True, slots=True, eq=False)
class LayerCurve:
    """One line.

    Attributes
    ----------
    pruning, encoder : str
        Colour, and panel.
    skips : tuple of int
        Levels of the skip connections that it has.
    values : mapping of layer to float
        NaN leaves a gap.
    bands : mapping of layer to (float, float)
    nulls : mapping of layer to float
        Where values without a shift would end.
    """

    pruning: str
    encoder: str
    skips: tuple[int, ...]
    values: Mapping[str, float]
    bands: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    nulls: Mapping[str, float] = field(default_factory=dict)


def layer_curves(
    curves: Sequence[LayerCurve],
    layers: Sequence[str],
    *,
    title: str,
    vertical: str,
    mark: float | None = None,
) -> Figure:
    """Draw lines along layers.

    Parameters
    ----------
    curves : sequence of Curve
        In any order; those of one encoder share a panel.
    layers : sequence of str
        Names along the axis, in order.
    title, vertical : str
        Above the panels; name of the vertical axis.
    mark : float, optional
        Height of a dashed line through every panel.

    Returns
    -------
    Figure
        As wide as two journal columns. Bands are drawn in panels of at most :data:`MOST_BANDS`
        lines. Lines of one colour differ in their dashes.

    Raises
    ------
    ArgumentError
        If there is no curve, or no layer.
    """
    if not curves or not layers:
        raise ArgumentError("curves: found none, expected at least one with a layer; give a table")
    encoders = list(dict.fromkeys(curve.encoder for curve in curves))
    groups = [[curve for curve in curves if curve.encoder == name] for name in encoders]
    with drawing():
        names = [readable(name, 40) for name in layers]
        pens = _pens(curves)
        handles = _legend(curves, pens, mark)
        entries = [str(handle.get_label()) for handle in handles]
        sheet = plan_curves(len(groups), names, entries)
        figure = Figure(figsize=sheet.size)
        top = _top(groups)
        order = {layer: x for x, layer in enumerate(layers)}
        for place, group in enumerate(groups):
            axes = sheet.frame(figure, place, encoders[place], top)
            _draw(axes, group, order, pens, mark)
            _brackets(axes, group, order, sheet)
        sheet.label(figure, readable(title, 100), vertical, handles)
    return figure


def _pens(curves: Sequence[LayerCurve]) -> dict[str, dict[str, Any]]:
    """Colour of each pruning, and dashes that tell apart those that share one."""
    pens: dict[str, dict[str, Any]] = {}
    used: list[str] = []
    for pruning, colour in architecture_colours(curve.pruning for curve in curves).items():
        pens[pruning] = {"color": colour, "linestyle": _DASHES[used.count(colour) % len(_DASHES)]}
        used.append(colour)
    return pens


def _top(groups: Sequence[Sequence[LayerCurve]]) -> float:
    drawn = [0.0]
    for group in groups:
        for curve in group:
            drawn += [*curve.values.values(), *curve.nulls.values()]
            if len(group) <= MOST_BANDS:
                drawn += [high for _, high in curve.bands.values()]
    return max((value for value in drawn if math.isfinite(value)), default=0.0) or 0.02


def _draw(
    axes: Axes,
    group: Sequence[LayerCurve],
    order: Mapping[str, int],
    pens: Mapping[str, Mapping[str, Any]],
    mark: float | None,
) -> None:
    nulls = [
        (x, max(highs))
        for layer, x in order.items()
        if (highs := [curve.nulls[layer] for curve in group if layer in curve.nulls])
    ]
    if nulls:
        found = np.array(nulls)
        axes.bar(found[:, 0], found[:, 1], width=1.0, color=HOLE, linewidth=0.3, zorder=1)
    if mark is not None:
        axes.axhline(mark, color=SOFT, linewidth=0.7, linestyle=(0, (4, 2)), zorder=1.5)
    few = len(group) <= MOST_BANDS
    ranked = in_paper_order(curve.pruning for curve in group)
    for curve in sorted(group, key=lambda each: -ranked.index(each.pruning)):  # baseline on top
        pen = pens[curve.pruning]
        on_axis = sorted((order[layer], layer) for layer in curve.values)
        places = [x for x, _ in on_axis]
        if few and curve.bands:
            nothing = (math.nan, math.nan)
            ends = np.array([curve.bands.get(layer, nothing) for _, layer in on_axis])
            low, high = ends.reshape(-1, 2).T
            axes.fill_between(places, low, high, color=pen["color"], alpha=0.16, linewidth=0)
        values = [curve.values[layer] for _, layer in on_axis]
        width, dot = (1.2, 2.6) if few else (0.8, 1.6)
        axes.plot(places, values, marker="o", markersize=dot, linewidth=width, zorder=3, **pen)


def _brackets(
    axes: Axes, group: Sequence[LayerCurve], order: Mapping[str, int], sheet: CurveSheet
) -> None:
    for level in sorted({level for curve in group for level in curve.skips}):
        start, end = order.get(f"enc{level}"), order.get(f"dec{level}")
        if start is not None and end is not None:
            upper, lower = sheet.bracket(SKIP_LEVELS.index(level) / len(SKIP_LEVELS))
            axes.plot(
                [start, start, end, end],
                [upper, lower, lower, upper],
                transform=axes.get_xaxis_transform(),
                color=SOFT,
                linewidth=0.8,
                clip_on=False,
            )


def _legend(
    curves: Sequence[LayerCurve], pens: Mapping[str, Mapping[str, Any]], mark: float | None
) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = [
        Line2D([], [], marker="o", markersize=2.6, linewidth=1.2, label=readable(name), **pen)
        for name, pen in pens.items()
    ]
    few = any(
        curve.bands and sum(c.encoder == curve.encoder for c in curves) <= MOST_BANDS
        for curve in curves
    )
    if few:
        handles.append(Patch(facecolor=LINE, label="interval of the mean"))
    if any(curve.nulls for curve in curves):
        handles.append(Patch(color=HOLE, label="possible without a shift"))
    if mark is not None:
        dashes: dict[str, Any] = {"linewidth": 0.7, "linestyle": (0, (4, 2))}
        handles.append(Line2D([], [], color=SOFT, label=f"{mark:g}", **dashes))
    if any(curve.skips for curve in curves):
        bracket: dict[str, Any] = {"marker": _BRACKET, "markerfacecolor": "none", "markersize": 8}
        handles.append(Line2D([], [], color=SOFT, lw=0, label="skip connection", **bracket))
    return handles


# -------------------------------------------------------------------------------------------------
# What the lines of training curves mean: a pen for each pruning, and the legend below.


Dashes: TypeAlias = Literal["-"] | tuple[int, tuple[float, ...]]

KEPT: Final[dict[str, Any]] = {
    "marker": "o",
    "linestyle": "none",
    "markeredgecolor": "#ffffff",
    "markeredgewidth": 0.4,
}
"""Look of the dot at the epoch whose weights are kept."""

_SOLID: Final[Dashes] = "-"
_DASHED: Final[Dashes] = (0, (3.0, 1.4))
_SECOND: Final[tuple[Dashes, Dashes]] = ((0, (7.0, 1.3, 1.3, 1.3)), (0, (1.0, 1.2)))
"""Validation and training where a colour is used a second time."""

_MOST_TICKS: Final = 12  # a rate that falls more often is a slope, not a stair
_LINE: Final = 0.15
_MARK: Final = 0.42  # a sample of the line, and what is left free around a label


@dataclass(frozen=True, slots=True)
class Pen:
    """How the curves of one pruning are drawn."""

    colour: str
    validation: Dashes = _SOLID
    training: Dashes = _DASHED


@dataclass(frozen=True, slots=True)
class CurveKey:
    """Pens by pruning, and the legend in two blocks: prunings, then kinds of lines.

    Attributes
    ----------
    pens : mapping of str to Pen
        In the paper's order.
    kinds : tuple of Line2D
    width, left : float
        Width of the sheet and where the legend begins, in inches.
    """

    pens: Mapping[str, Pen]
    kinds: tuple[Line2D, ...]
    width: float
    left: float

    @property
    def height(self) -> float:
        """Height that the legend needs, in inches."""
        return (self._lines(self._names) + self._lines(self.kinds)) * _LINE + 0.08

    @property
    def _names(self) -> tuple[Line2D, ...]:
        return tuple(
            Line2D([], [], color=p.colour, lw=1.3, ls=p.validation, label=readable(name) or "–")
            for name, p in self.pens.items()
        )

    def draw(self, figure: Figure) -> None:
        """Write the legend along the foot of a figure."""
        foot = 0.0
        for handles in (self.kinds, self._names):
            figure.legend(
                handles=handles,
                ncols=self._across(handles),
                loc="lower left",
                bbox_to_anchor=(self.left / self.width - 0.01, foot),
                borderaxespad=0.1,
                borderpad=0.25,
                frameon=False,
                handlelength=2.8,
                handletextpad=0.5,
                columnspacing=1.4,
                labelspacing=0.35,
                fontsize=6.5,
                labelcolor=INK,
            )
            foot += self._lines(handles) * _LINE / float(figure.get_size_inches()[1])

    def _across(self, handles: Sequence[Line2D]) -> int:
        widest = text_width([str(handle.get_label()) for handle in handles], 6.5)
        return max(1, int((self.width - self.left) / (widest + _MARK)))

    def _lines(self, handles: Sequence[Line2D]) -> int:
        return -(-len(handles) // self._across(handles))


def curve_key(runs: Sequence[Run], width: float, left: float) -> CurveKey:
    """Choose pens for runs, and say what their legend needs.

    Parameters
    ----------
    runs : sequence of Run
    width, left : float
        Width of the sheet and where the legend begins, in inches.

    Returns
    -------
    CurveKey
        Prunings that share a colour (there are eleven) differ in their dashes.
    """
    colours = architecture_colours(run.pruning for run in runs)
    used: list[str] = []
    pens = {}
    for name in in_paper_order(colours):
        second = colours[name] in used
        pens[name] = Pen(colours[name], *_SECOND) if second else Pen(colours[name])
        used.append(colours[name])
    return CurveKey(pens, tuple(_kinds(runs)), width, left)


def stairs(runs: Sequence[Run]) -> list[int]:
    """Return the epochs at which a learning rate falls; none if they are too many to be marked."""
    drops = sorted({epoch for run in runs for epoch in run.train.drops()})
    return drops if len(drops) <= _MOST_TICKS else []


def _kinds(runs: Sequence[Run]) -> list[Line2D]:
    networks = [(run.family, run.pruning) for run in runs]
    found = []
    if len(set(networks)) < len(networks):
        found.append(Line2D([], [], color=INK, lw=1.3, label="mean over trainings"))
        found.append(Line2D([], [], color=INK, lw=0.45, alpha=0.6, label="one training"))
    if any(run.train.epochs.size for run in runs):
        found.append(Line2D([], [], color=INK, lw=0.8, ls=_DASHED, label="training loss"))
    if any(run.best_epoch is not None for run in runs):
        found.append(Line2D([], [], color=INK, markersize=3.6, label="weights kept", **KEPT))
    if stairs(runs):
        tick: dict[str, Any] = {"marker": "|", "markersize": 5, "linestyle": "none"}
        found.append(Line2D([], [], color=INK, label="learning rate falls", **tick))
    return found


# -------------------------------------------------------------------------------------------------
# Training curves: for each encoder the validation mIoU and the loss by epoch, side by side.


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
                _draw_epochs(pair, mine, key.pens[pruning])
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


def _draw_epochs(pair: tuple[Axes, Axes], runs: Sequence[Run], pen: Pen) -> None:
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
