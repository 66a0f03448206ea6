"""Matrices of layers by shift, side by side on one sheet and one scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import matplotlib
import numpy as np
from matplotlib.collections import PolyCollection

from skiptool.errors import ArgumentError
from skiptool.figures.heat_plan import BAR, HEIGHT, MARGIN, HeatPlan, HeatRow, plan_heat
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

    from skiptool.records import Bool, Float64

__all__ = ["Heat", "HeatRow", "heat_sheet"]

_COLOURS: Final = matplotlib.colormaps["YlOrBr"]
_DARKEST: Final = 0.9  # share of the map that is used: beyond it all is nearly black
_SIZE: Final = 5.2
_PALE: Final = 0.25  # share of the map below which grey can be read


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """One matrix.

    Attributes
    ----------
    name : str
    values : float64, shape (R, L)
        NaN where there is none.
    low : float
        Value of the lightest colour; lower ones have it too.
    strong : bool, shape (R, L), or None
        Which numbers are bold, the others being grey; None to write all alike.
    """

    name: str
    values: Float64
    low: float = 0.0
    strong: Bool | None = None

    def shares(self, greatest: float) -> Float64:
        """Return where values lie between the lightest and the darkest colour."""
        span = greatest - self.low
        found = (self.values - self.low) / span if span > 0 else np.zeros_like(self.values)
        return np.asarray(np.clip(np.where(np.isnan(self.values), np.nan, found), 0.0, 1.0))


def heat_sheet(
    blocks: Sequence[Heat],
    rows: Sequence[HeatRow],
    layers: Sequence[str],
    *,
    title: str,
    label: str,
    own_scales: bool = False,
) -> Figure:
    """Draw matrices of one scale, from 0 to the greatest value of all, its value in each cell.

    Parameters
    ----------
    blocks : sequence of Heat
        Two stand side by side where two journal columns have room for them.
    rows : sequence of HeatRow, length R
    layers : sequence of str, length L
    title, label : str
        Above all; what the colours mean.
    own_scales : bool
        Each matrix has a scale of its own, from ``low`` to its greatest value.

    Raises
    ------
    ArgumentError
        If there is no block, or its shape is not that of the rows and layers.
    """
    shape = (len(rows), len(layers))
    if not blocks or any(block.values.shape != shape or not block.values.size for block in blocks):
        raise ArgumentError(
            f"matrices by layer: found {[block.values.shape for block in blocks]}, expected each "
            f"to be {shape} and not empty; give one value for each row and layer"
        )
    with drawing():
        plan = plan_heat(len(blocks), rows, [readable(name, 40) for name in layers])
        figure, axes = inch_axes(*plan.size)
        greatest = _greatest(blocks)
        axes.text(MARGIN, 0.15, readable(title, 100), size=8.0)
        for place, block in enumerate(blocks):
            corner = plan.corners[place]
            most = _greatest([block]) if own_scales else greatest
            _cells(axes, plan, block.shares(most), corner)
            _numbers(axes, plan, block, most, corner)
            _layer_names(axes, plan, [readable(name, 40) for name in layers], corner, block.name)
            if place % plan.across == 0:
                _row_names(axes, plan, rows, corner)
        _bar(axes, plan, None if own_scales else greatest, readable(label))
    return figure


def _greatest(blocks: Sequence[Heat]) -> float:
    return max(float(np.nanmax(block.values, initial=0.0)) for block in blocks) or 1.0


def _cells(axes: Axes, plan: HeatPlan, shares: Float64, corner: tuple[float, float]) -> None:
    holes = np.isnan(shares)
    full = [plan.box(corner, row, column) for row, column in np.argwhere(~holes)]
    empty = [plan.box(corner, row, column) for row, column in np.argwhere(holes)]
    axes.add_collection(
        PolyCollection(full, facecolors=_COLOURS(_DARKEST * shares[~holes]), linewidths=0.0)
    )
    if empty:
        axes.add_collection(
            PolyCollection(empty, facecolors=HOLE, edgecolors=LINE, linewidths=0.0, hatch="//////")
        )


def _numbers(
    axes: Axes, plan: HeatPlan, block: Heat, greatest: float, corner: tuple[float, float]
) -> None:
    shares = block.shares(greatest)
    for (row, column), value in np.ndenumerate(block.values):
        known = not math.isnan(value)
        strong = block.strong is not None and bool(block.strong[row, column])
        faint = block.strong is not None and not strong and shares[row, column] < _PALE
        text = _written(float(value), greatest)
        axes.text(
            corner[0] + (column + 0.5) * plan.width,
            corner[1] + plan.offsets[row] + HEIGHT / 2,
            text if known else "–",
            ha="center",
            va="center_baseline",
            color=_legible(float(shares[row, column])) if known and not faint else SOFT,
            size=_SIZE,
            weight="bold" if strong else "normal",
        )


def _written(value: float, greatest: float) -> str:
    """Write a number that fits a cell."""
    if value >= 1e4:
        return f"{value:.0e}"
    return f"{value:.{3 if greatest < 0.1 else 2 if greatest < 10 else 0}f}"


def _legible(share: float) -> str:
    """Black or white, whichever stands out more on a cell (contrast as WCAG defines it)."""
    rgb = np.array(_COLOURS(_DARKEST * share)[:3])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    light = float(linear @ (0.2126, 0.7152, 0.0722)) + 0.05
    return "#1b1b1b" if light / 0.05 > 1.05 / light else "#ffffff"


def _layer_names(
    axes: Axes, plan: HeatPlan, names: Sequence[str], corner: tuple[float, float], block: str
) -> None:
    for place, name in enumerate(names):
        axes.text(
            corner[0] + (place + 0.5) * plan.width,
            corner[1] - 0.04,
            name,
            size=6.0,
            rotation=90 if plan.upright else 0,
            rotation_mode="anchor",
            ha="left" if plan.upright else "center",
            va="center_baseline" if plan.upright else "baseline",
        )
    above = text_width(names, 6.0) if plan.upright else 0.1
    axes.text(corner[0], corner[1] - 0.04 - above - 0.06, readable(block, 48), weight="bold")


def _row_names(
    axes: Axes, plan: HeatPlan, rows: Sequence[HeatRow], corner: tuple[float, float]
) -> None:
    previous = ""
    for row, offset in zip(rows, plan.offsets, strict=True):
        middle = corner[1] + offset + HEIGHT / 2
        style: dict[str, Any] = {"size": 6.0, "va": "center_baseline"}
        if row.kind != previous:
            axes.text(MARGIN, middle, readable(row.kind), **style)
        if row.label:
            axes.text(corner[0] - 0.05, middle, readable(row.label), ha="right", **style)
        previous = row.kind


def _bar(axes: Axes, plan: HeatPlan, greatest: float | None, label: str) -> None:
    length, thickness, room = BAR
    left, top = plan.corners[0][0], plan.size[1] - room + 0.02
    for low, high in pairwise(np.linspace(0.0, 1.0, 65)):
        colour = _COLOURS(_DARKEST * (low + high) / 2)
        # a thin edge of its own colour closes the seams that viewers leave between steps
        ends = [left + low * length, left + high * length]
        axes.fill_between(ends, top, top + thickness, color=colour, linewidth=0.3)
    for share in () if greatest is None else (0.0, 0.5, 1.0):
        text = f"{share * (greatest or 1.0):.2g}"
        axes.text(left + share * length, top + thickness + 0.1, text, ha="center", size=6.0)
    axes.text(left + length + 0.14, top + thickness, label, size=6.5, color=INK)
