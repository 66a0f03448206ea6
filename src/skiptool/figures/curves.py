"""Lines along the layers of networks, one a choice of skips, encoders side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from skiptool.errors import ArgumentError
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
    text_width,
)
from skiptool.names import SKIP_LEVELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MOST_BANDS", "Curve", "layer_curves"]

MOST_BANDS: Final = 6
"""Lines of a panel that still leave their bands to be told apart."""

_LEFT: Final = 0.52
_RIGHT: Final = 0.08
_GUTTER: Final = 0.18
_TITLE: Final = 0.26
_NAME: Final = 0.2
_BRACKETS: Final = 0.22
_LEGEND_ROW: Final = 0.135
_HANDLE: Final = 0.5  # inches of a legend's entry beside its text
_HEIGHTS: Final = {1: 2.1, 2: 1.7}
_DASHES: Final = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
_STEPS: Final = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
_BRACKET: Final = Path([(-1.0, 0.7), (-1.0, -0.4), (1.0, -0.4), (1.0, 0.7)])


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
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


@dataclass(frozen=True, slots=True)
class _Sheet:
    """Places in inches from the lower left corner."""

    size: tuple[float, float]
    panels: tuple[tuple[float, float], ...]  # left and lower edge, one an encoder
    panel: tuple[float, float]
    columns: int
    upright: bool
    legend: int  # columns of the legend


def layer_curves(
    curves: Sequence[Curve],
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
        sheet = _plan(len(groups), names, [str(handle.get_label()) for handle in handles])
        figure = Figure(figsize=sheet.size)
        top = _top(groups)
        for place, group in enumerate(groups):
            axes = _frame(figure, sheet, place, names, top)
            order = {layer: x for x, layer in enumerate(layers)}
            _draw(axes, group, order, pens, mark)
            _brackets(axes, group, order, sheet.panel[1])
            axes.set_title(readable(encoders[place]), loc="left", size=7.0, weight="bold", pad=4.0)
        _label(figure, sheet, readable(title, 100), vertical)
        place_of = (_LEFT / sheet.size[0], 0.02 / sheet.size[1])
        _add_legend(figure, handles, sheet.legend, place_of)
    return figure


def _pens(curves: Sequence[Curve]) -> dict[str, dict[str, Any]]:
    """Colour of each pruning, and dashes that tell apart those that share one."""
    pens: dict[str, dict[str, Any]] = {}
    used: list[str] = []
    for pruning, colour in architecture_colours(curve.pruning for curve in curves).items():
        pens[pruning] = {"color": colour, "linestyle": _DASHES[used.count(colour) % len(_DASHES)]}
        used.append(colour)
    return pens


def _plan(panels: int, names: Sequence[str], legend: Sequence[str]) -> _Sheet:
    columns = panels if panels <= 3 else 2 if panels == 4 else 3
    rows = math.ceil(panels / columns)
    width = (TWO_COLUMNS - _LEFT - _RIGHT - _GUTTER * (columns - 1)) / columns
    height = _HEIGHTS.get(rows, 1.4)
    widest = text_width(names, 6.5)
    upright = widest > width / (len(names) + 0.4) - 0.02
    foot = _BRACKETS + (widest if upright else 0.1) + 0.06
    across = max(1, int((TWO_COLUMNS - _LEFT) / (text_width(legend, 6.5) + _HANDLE)))
    below = 0.1 + _LEGEND_ROW * math.ceil(len(legend) / across)
    pitch = _NAME + height + foot
    total = _TITLE + rows * pitch + below
    places = tuple(
        (_LEFT + column * (width + _GUTTER), total - _TITLE - row * pitch - _NAME - height)
        for row, column in (divmod(panel, columns) for panel in range(panels))
    )
    return _Sheet((TWO_COLUMNS, total), places, (width, height), columns, upright, across)


def _top(groups: Sequence[Sequence[Curve]]) -> float:
    drawn = [0.0]
    for group in groups:
        for curve in group:
            drawn += [*curve.values.values(), *curve.nulls.values()]
            if len(group) <= MOST_BANDS:
                drawn += [high for _, high in curve.bands.values()]
    return max((value for value in drawn if math.isfinite(value)), default=0.0) or 0.02


def _frame(figure: Figure, sheet: _Sheet, place: int, names: list[str], top: float) -> Axes:
    (left, low), (width, height), size = sheet.panels[place], sheet.panel, sheet.size
    axes = figure.add_axes((left / size[0], low / size[1], width / size[0], height / size[1]))
    axes.set_xlim(-0.7, len(names) - 0.3)
    axes.set_ylim(0.0, top * 1.04)
    axes.set_yticks([tick for tick in _STEPS.tick_values(0.0, top) if 0.0 <= tick <= top * 1.03])
    axes.grid(axis="y")
    axes.tick_params(axis="y", labelleft=place % sheet.columns == 0)
    axes.set_xticks(range(len(names)), names)
    axes.tick_params(axis="x", length=0, pad=_BRACKETS * 72 + 2)
    if sheet.upright:
        for label in axes.get_xticklabels():
            label.set(rotation=90, rotation_mode="anchor", ha="right", va="center_baseline")
    return axes


def _draw(
    axes: Axes,
    group: Sequence[Curve],
    order: Mapping[str, int],
    pens: Mapping[str, Mapping[str, Any]],
    mark: float | None,
) -> None:
    nulls = [
        (x, max(found))
        for layer, x in order.items()
        if (found := [curve.nulls[layer] for curve in group if layer in curve.nulls])
    ]
    if nulls:
        places, ends = zip(*nulls, strict=True)
        axes.bar(places, ends, width=0.96, color=HOLE, zorder=1)
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
            axes.fill_between(places, *ends.T, color=pen["color"], alpha=0.16, linewidth=0)
        values = [curve.values[layer] for _, layer in on_axis]
        width, dot = (1.2, 2.6) if few else (0.8, 1.6)
        axes.plot(places, values, marker="o", markersize=dot, linewidth=width, zorder=3, **pen)


def _brackets(axes: Axes, group: Sequence[Curve], order: Mapping[str, int], height: float) -> None:
    for level in sorted({level for curve in group for level in curve.skips}):
        start, end = order.get(f"enc{level}"), order.get(f"dec{level}")
        if start is not None and end is not None:
            depth = 0.9 - 0.7 * SKIP_LEVELS.index(level) / len(SKIP_LEVELS)
            upper, lower = -0.03 / height, -_BRACKETS * depth / height
            axes.plot(
                [start, start, end, end],
                [upper, lower, lower, upper],
                transform=axes.get_xaxis_transform(),
                color=SOFT,
                linewidth=0.8,
                clip_on=False,
            )


def _label(figure: Figure, sheet: _Sheet, title: str, vertical: str) -> None:
    width, height = sheet.size
    figure.text(0.06 / width, 1 - 0.15 / height, title, size=8.0)
    for left, low in sheet.panels[:: sheet.columns]:
        figure.text(
            (left - _LEFT + 0.15) / width,
            (low + sheet.panel[1] / 2) / height,
            vertical,
            rotation=90,
            rotation_mode="anchor",
            ha="center",
            color=SOFT,
        )


def _legend(
    curves: Sequence[Curve], pens: Mapping[str, Mapping[str, Any]], mark: float | None
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
        handles.append(Patch(color=HOLE, label="expected without a shift"))
    if mark is not None:
        dashes: dict[str, Any] = {"linewidth": 0.7, "linestyle": (0, (4, 2))}
        handles.append(Line2D([], [], color=SOFT, label=f"{mark:g}", **dashes))
    if any(curve.skips for curve in curves):
        bracket: dict[str, Any] = {"marker": _BRACKET, "markerfacecolor": "none", "markersize": 8}
        handles.append(Line2D([], [], color=SOFT, lw=0, label="skip connection", **bracket))
    return handles


def _add_legend(
    figure: Figure, handles: list[Line2D | Patch], columns: int, place: tuple[float, float]
) -> None:
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=place,
        borderaxespad=0.0,
        borderpad=0.2,
        frameon=False,
        ncols=columns,
        handlelength=1.8,
        columnspacing=1.6,
        labelspacing=0.3,
        fontsize=6.5,
        labelcolor=INK,
    )
