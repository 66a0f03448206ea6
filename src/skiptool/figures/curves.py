"""Lines: values along the layers of networks, and training curves by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from skiptool.analysis.training import Curve, common_mean
from skiptool.errors import ArgumentError
from skiptool.figures.panels import (
    draw_skips,
    fit_layout,
    layer_axes,
    layer_grid,
    legend_below,
    panel_grid,
    panel_width,
    skip_handle,
)
from skiptool.figures.style import (
    HOLE,
    INK,
    LINE,
    SOFT,
    RoundLocator,
    architecture_colours,
    drawing_style,
    in_paper_order,
    label_text,
    set_scale,
    shorten,
    spans_decades,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from skiptool.analysis.training import Run
    from skiptool.records import Float64, Int64

# Values along the layers of networks

MOST_BANDS: Final = 6
"""Most lines of a panel for which bands are drawn."""

_DASHES: Final = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
_MARK: Final[dict[str, Any]] = {"color": SOFT, "linewidth": 0.7, "linestyle": (0, (4, 2))}
_LAYER_HEIGHTS: Final = {1: 2.1, 2: 1.7}  # inches of a panel, by number of rows
_LAYER_HEIGHT: Final = 1.4  # with more rows


@dataclass(frozen=True, slots=True, eq=False)
class LayerCurve:
    """A value for each layer of a network.

    Attributes
    ----------
    pruning, encoder : str
        Determine the colour and the panel.
    skips : tuple of int
        Levels of its skip connections.
    values : mapping of layer to float
        NaN leaves a gap.
    bands : mapping of layer to (float, float)
        Intervals.
    nulls : mapping of layer to float
        Upper end of the values expected without a shift.
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
    """Draw values along layers as lines, with a panel for each encoder.

    Parameters
    ----------
    layers : sequence of str
        Names along the axis, in order.
    title, vertical : str
        Title of the figure, and name of the vertical axis.
    mark : float, optional
        Value of a dashed horizontal line in every panel.

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
    columns = {1: 1, 2: 2, 4: 2}.get(len(encoders), 3)
    while columns > 1 and panel_width(columns) < 0.1 * len(layers):
        columns -= 1
    cells = [divmod(n, columns) for n in range(len(encoders))]
    with drawing_style():
        pens = _pens(curves)
        figure, panels, width = layer_grid(cells, layers)
        groups = [[curve for curve in curves if curve.encoder == name] for name in encoders]
        for encoder, group, axes in zip(encoders, groups, panels, strict=True):
            draw_layer_curves(axes, group, layers, pens, mark=mark)
            axes.set_title(shorten(label_text(encoder), 8.0, width), weight="bold")
        _zero_based(panels[0], max(map(_top, groups)))
        figure.suptitle(label_text(title, 100), x=0.01, ha="left")
        figure.supylabel(vertical, color=SOFT)
        legend_below(figure, _layer_handles(curves, pens, mark))
        rows = 1 + cells[-1][0]
        fit_layout(figure, [_LAYER_HEIGHTS.get(rows, _LAYER_HEIGHT)] * rows)
    return figure


def draw_layer_curves(
    axes: Axes,
    curves: Sequence[LayerCurve],
    layers: Sequence[str],
    pens: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    mark: float | None = None,
) -> None:
    """Draw values along layers into Axes; without pens, choose them and label the layers."""
    if pens is None:
        pens = _pens(curves)
        layer_axes(axes, layers, axes.get_window_extent().width / axes.figure.dpi)
    order = {layer: x for x, layer in enumerate(layers)}
    nulls = {
        x: max(highs)
        for layer, x in order.items()
        if (highs := [curve.nulls[layer] for curve in curves if layer in curve.nulls])
    }
    if nulls:
        axes.bar([*nulls], [*nulls.values()], width=1.0, color=HOLE, linewidth=0.3, zorder=1)
    if mark is not None:
        axes.axhline(mark, zorder=1.5, **_MARK)
    few = len(curves) <= MOST_BANDS
    ranked = in_paper_order(curve.pruning for curve in curves)
    for curve in sorted(curves, key=lambda curve: -ranked.index(curve.pruning)):  # baseline on top
        pen = pens[curve.pruning]
        drawn = sorted(curve.values, key=order.__getitem__)
        x = [order[layer] for layer in drawn]
        if few and curve.bands:
            gap = (math.nan, math.nan)
            low, high = np.array([curve.bands.get(layer, gap) for layer in drawn]).reshape(-1, 2).T
            axes.fill_between(x, low, high, color=pen["color"], alpha=0.16, linewidth=0)
        values = [curve.values[layer] for layer in drawn]
        width, dot = (1.2, 2.6) if few else (0.8, 1.6)
        axes.plot(x, values, marker="o", markersize=dot, linewidth=width, zorder=3, **pen)
    _zero_based(axes, _top(curves))
    levels = sorted({level for curve in curves for level in curve.skips})
    ends_of = [(level, order.get(f"enc{level}"), order.get(f"dec{level}")) for level in levels]
    joined = [(level, a, b) for level, a, b in ends_of if a is not None and b is not None]
    draw_skips(axes, joined, SOFT)


def _pens(curves: Sequence[LayerCurve]) -> dict[str, dict[str, Any]]:
    """Choose the colour of each pruning, and dashes that distinguish those of one colour."""
    pens: dict[str, dict[str, Any]] = {}
    used: list[str] = []
    for pruning, colour in architecture_colours(curve.pruning for curve in curves).items():
        pens[pruning] = {"color": colour, "linestyle": _DASHES[used.count(colour) % len(_DASHES)]}
        used.append(colour)
    return pens


def _top(curves: Sequence[LayerCurve]) -> float:
    """Return the greatest value in a panel, including bands that are drawn."""
    drawn = [0.0]
    for curve in curves:
        drawn += [*curve.values.values(), *curve.nulls.values()]
        if len(curves) <= MOST_BANDS:
            drawn += [high for _, high in curve.bands.values()]
    return max((value for value in drawn if math.isfinite(value)), default=0.0)


def _zero_based(axes: Axes, top: float) -> None:
    """Set the vertical axis to end at 0 and at the next round number above a value."""
    steps = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(0.0, top or 0.02)
    axes.set_ylim(0.0, 1.02 * min(float(end) for end in steps if end >= (top or 0.02)))
    axes.yaxis.set_major_locator(RoundLocator(6))


def _layer_handles(
    curves: Sequence[LayerCurve], pens: Mapping[str, Mapping[str, Any]], mark: float | None
) -> list[Artist]:
    handles: list[Artist] = [
        Line2D([], [], marker="o", markersize=2.6, linewidth=1.2, label=label_text(name), **pen)
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
        handles.append(Line2D([], [], label=f"{mark:g}", **_MARK))
    if any(curve.skips for curve in curves):
        handles.append(skip_handle(SOFT))
    return handles


# Training curves: for each encoder the validation mIoU and the loss by epoch

_Dashes: TypeAlias = str | tuple[int, tuple[float, ...]]

_KEPT: Final[dict[str, Any]] = {
    "marker": "o",
    "linestyle": "none",
    "markeredgecolor": "#ffffff",
    "markeredgewidth": 0.4,
}
"""Style of the dot at the epoch whose weights are kept."""

_DASHED: Final[_Dashes] = (0, (3.0, 1.4))
_SECOND: Final[tuple[_Dashes, _Dashes]] = ((0, (7.0, 1.3, 1.3, 1.3)), (0, (1.0, 1.2)))
"""Dashes of validation and training if a colour is used a second time."""

_MAX_DROPS: Final = 12  # learning rates that fall more often are not marked
_EPOCH_HEIGHTS: Final = {1: 2.1, 2: 1.7, 3: 1.45}
_EPOCH_HEIGHT: Final = 1.2


@dataclass(frozen=True, slots=True)
class _Pen:
    """Colour and dashes of the curves of a pruning."""

    colour: str
    validation: _Dashes = "-"
    training: _Dashes = _DASHED


def draw_curves(runs: Sequence[Run]) -> Figure:
    """Draw validation mIoU and loss of training runs by epoch.

    Parameters
    ----------
    runs : sequence of Run
        A row of panels for each encoder in the order of first appearance, a colour for each
        pruning.

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
    families = list(dict.fromkeys(run.family for run in runs))
    cells = [(row, column) for row in range(len(families)) for column in (0, 1)]
    with drawing_style():
        pens = _epoch_pens(runs)
        figure, panels = panel_grid(cells, sharey=False)
        for row, family in enumerate(families):
            pair = panels[2 * row], panels[2 * row + 1]
            draw_epochs(pair, [run for run in runs if run.family == family], pens)
            pair[0].set_title(label_text(family, 60), weight="bold")
            for axes, name in zip(pair, ("validation mIoU", "loss"), strict=True):
                axes.set_ylabel(name)
        for axes in panels[-2:]:
            axes.set_xlabel("epoch")
        _scales(panels, runs)
        legend_below(figure, _epoch_handles(runs, pens))
        fit_layout(figure, [_EPOCH_HEIGHTS.get(len(families), _EPOCH_HEIGHT)] * len(families))
    return figure


def draw_epochs(
    pair: tuple[Axes, Axes], runs: Sequence[Run], pens: Mapping[str, _Pen] | None = None
) -> None:
    """Draw the validation mIoU and the loss of runs into two Axes."""
    pens = _epoch_pens(runs) if pens is None else pens
    for pruning in in_paper_order(run.pruning for run in runs):
        _draw_pruning(pair, [run for run in runs if run.pruning == pruning], pens[pruning])
    for axes in pair:
        axes.grid(axis="y")
        for epoch in drops_to_mark(runs):
            axes.axvline(epoch, 0.0, 0.05, color=INK, linewidth=0.7, clip_on=False, zorder=5)


def drops_to_mark(runs: Sequence[Run]) -> list[int]:
    """Return the epochs at which a learning rate falls; empty if there are too many to mark."""
    drops = sorted({epoch for run in runs for epoch in run.train.drops()})
    return drops if len(drops) <= _MAX_DROPS else []


def _epoch_pens(runs: Sequence[Run]) -> dict[str, _Pen]:
    """Choose a pen for each pruning; those of one colour differ in their dashes."""
    pens: dict[str, _Pen] = {}
    for name, colour in architecture_colours(run.pruning for run in runs).items():
        used = any(pen.colour == colour for pen in pens.values())
        pens[name] = _Pen(colour, *_SECOND) if used else _Pen(colour)
    return pens


def _epoch_handles(runs: Sequence[Run], pens: Mapping[str, _Pen]) -> list[Artist]:
    """Return the legend entries: prunings, then kinds of lines."""
    handles: list[Artist] = [
        Line2D([], [], color=pen.colour, lw=1.3, ls=pen.validation, label=label_text(name) or "–")
        for name, pen in pens.items()
    ]
    networks = [(run.family, run.pruning) for run in runs]
    if len(set(networks)) < len(networks):
        handles.append(Line2D([], [], color=INK, lw=1.3, label="mean over trainings"))
        handles.append(Line2D([], [], color=INK, lw=0.45, alpha=0.6, label="one training"))
    if any(run.train.epochs.size for run in runs):
        handles.append(Line2D([], [], color=INK, lw=0.8, ls=_DASHED, label="training loss"))
    if any(run.best_epoch is not None for run in runs):
        handles.append(Line2D([], [], color=INK, markersize=3.6, label="weights kept", **_KEPT))
    if drops_to_mark(runs):
        tick = Line2D([], [], color=INK, marker="|", markersize=5, linestyle="none")
        tick.set_label("learning rate falls")
        handles.append(tick)
    return handles


def _draw_pruning(pair: tuple[Axes, Axes], runs: Sequence[Run], pen: _Pen) -> None:
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
        pair[0].plot(x, y, color=colour, markersize=size, zorder=4, clip_on=False, **_KEPT)


def _values(curve: Curve, name: str) -> tuple[Int64, Float64]:
    values: Float64 = getattr(curve, name)
    return curve.epochs, values


def _line(axes: Axes, curve: tuple[Int64, Float64], **look: Any) -> None:  # noqa: ANN401 - what Matplotlib takes
    """Draw a curve with its gaps; a single point between two gaps is drawn as a dot."""
    epochs, values = curve
    finite = np.isfinite(values)
    axes.plot(epochs, values, **look)
    padded = np.concatenate([[False], finite, [False]])
    isolated = finite & ~padded[:-2] & ~padded[2:]
    if isolated.any():
        look = {**look, "linestyle": "none", "marker": "o", "markersize": 1.6 * look["linewidth"]}
        axes.plot(epochs[isolated], values[isolated], **look)


def _scales(panels: Sequence[Axes], runs: Sequence[Run]) -> None:
    """Set the same epochs on all panels, and the same vertical scale on those of a measure."""
    epochs = np.concatenate([curve.epochs for run in runs for curve in (run.train, run.validation)])
    first, last = int(epochs.min()), int(epochs.max())
    room = max(0.02 * (last - first), 0.3)
    for axes in panels:
        axes.set_xlim(first - room, last + room)
        axes.xaxis.set_major_locator(RoundLocator(6, integer=True))
    mious = np.concatenate([run.validation.miou for run in runs])
    losses = np.concatenate([np.r_[run.train.loss, run.validation.loss] for run in runs])
    for column, values in enumerate((mious, losses)):
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        log = bool(column) and spans_decades(values)
        margin = 0.05 * (high - low) or 0.05
        ends = (low / 1.3, high * 1.3) if log else (low - margin, high + margin)
        for axes in panels[column::2]:
            set_scale(axes, "y", *ends, log=log)
