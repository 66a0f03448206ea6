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

from skiptool.errors import ArgumentError
from skiptool.figures.curve_sheet import CurveSheet, plan_curves
from skiptool.figures.style import (
    HOLE,
    LINE,
    SOFT,
    architecture_colours,
    drawing,
    in_paper_order,
    readable,
)
from skiptool.names import SKIP_LEVELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MOST_BANDS", "Curve", "layer_curves"]

MOST_BANDS: Final = 6
"""Lines of a panel that still leave their bands to be told apart."""

_DASHES: Final = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
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


def _pens(curves: Sequence[Curve]) -> dict[str, dict[str, Any]]:
    """Colour of each pruning, and dashes that tell apart those that share one."""
    pens: dict[str, dict[str, Any]] = {}
    used: list[str] = []
    for pruning, colour in architecture_colours(curve.pruning for curve in curves).items():
        pens[pruning] = {"color": colour, "linestyle": _DASHES[used.count(colour) % len(_DASHES)]}
        used.append(colour)
    return pens


def _top(groups: Sequence[Sequence[Curve]]) -> float:
    drawn = [0.0]
    for group in groups:
        for curve in group:
            drawn += [*curve.values.values(), *curve.nulls.values()]
            if len(group) <= MOST_BANDS:
                drawn += [high for _, high in curve.bands.values()]
    return max((value for value in drawn if math.isfinite(value)), default=0.0) or 0.02


def _draw(
    axes: Axes,
    group: Sequence[Curve],
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
    axes: Axes, group: Sequence[Curve], order: Mapping[str, int], sheet: CurveSheet
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
        handles.append(Patch(color=HOLE, label="possible without a shift"))
    if mark is not None:
        dashes: dict[str, Any] = {"linewidth": 0.7, "linestyle": (0, (4, 2))}
        handles.append(Line2D([], [], color=SOFT, label=f"{mark:g}", **dashes))
    if any(curve.skips for curve in curves):
        bracket: dict[str, Any] = {"marker": _BRACKET, "markerfacecolor": "none", "markersize": 8}
        handles.append(Line2D([], [], color=SOFT, lw=0, label="skip connection", **bracket))
    return handles
