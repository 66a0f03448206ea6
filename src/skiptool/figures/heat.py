"""Matrices of layers by shift, side by side on one sheet and one scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import matplotlib
import numpy as np
from matplotlib.collections import PolyCollection

from skiptool.errors import ArgumentError
from skiptool.figures.style import (
    HOLE,
    INK,
    LINE,
    SOFT,
    TWO_COLUMNS,
    drawing,
    inch_axes,
    readable,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from skiptool.records import Float64

__all__ = ["Heat", "HeatRow", "heat_sheet"]

_COLOURS: Final = matplotlib.colormaps["YlOrBr"]
_MARGIN: Final = 0.06
_TITLE: Final = 0.26
_NAME: Final = 0.18
_CELL: Final = (0.24, 0.5)  # least and greatest width
_HEIGHT: Final = 0.155
_KIND_GAP: Final = 0.05
_GUTTER: Final = 0.16
_BELOW: Final = 0.12  # between one block and the next
_BAR: Final = (1.6, 0.08, 0.36)  # length, thickness, room for it
_INSET: Final = 0.006
_SIZE: Final = 5.2


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """One matrix: its name, and values float64 (R, L), NaN where there is none."""

    name: str
    values: Float64


@dataclass(frozen=True, slots=True)
class HeatRow:
    """A row: its label, and the kind that it shares with its neighbours."""

    label: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class _Plan:
    """Places in inches from the upper left corner."""

    size: tuple[float, float]
    corners: tuple[tuple[float, float], ...]  # of the cells of each block
    offsets: tuple[float, ...]  # of the rows below it
    width: float  # of a cell
    across: int  # blocks side by side
    upright: bool


def heat_sheet(
    blocks: Sequence[Heat],
    rows: Sequence[HeatRow],
    layers: Sequence[str],
    *,
    title: str,
    label: str,
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
        plan = _plan(blocks, rows, [readable(name, 40) for name in layers])
        figure, axes = inch_axes(*plan.size)
        greatest = max(float(np.nanmax(b.values, initial=0.0)) for b in blocks) or 1.0
        axes.text(_MARGIN, 0.15, readable(title, 100), size=8.0)
        for place, block in enumerate(blocks):
            corner = plan.corners[place]
            _cells(axes, plan, block.values / greatest, corner)
            _numbers(axes, plan, block.values, greatest, corner)
            _layer_names(axes, plan, [readable(name, 40) for name in layers], corner, block.name)
            if place % plan.across == 0:
                _row_names(axes, plan, rows, corner)
        _bar(axes, plan, greatest, readable(label))
    return figure


def _plan(blocks: Sequence[Heat], rows: Sequence[HeatRow], names: Sequence[str]) -> _Plan:
    stub = _MARGIN + _stub(rows) + 0.06
    count = len(names)
    across = 2 if len(blocks) > 1 and _across(stub, 2, count) >= _CELL[0] else 1
    width = min(_CELL[1], max(_CELL[0], _across(stub, across, count)))
    widest = text_width(names, 6.0)
    upright = widest > width - 0.02
    head = _NAME + (widest if upright else 0.1) + 0.05
    offsets = []
    offset = 0.0
    for place, row in enumerate(rows):
        offset += _KIND_GAP if place and row.kind != rows[place - 1].kind else 0.0
        offsets.append(offset)
        offset += _HEIGHT
    pitch = head + offset + _BELOW
    down = math.ceil(len(blocks) / across)
    corners = tuple(
        (stub + column * (count * width + _GUTTER), _TITLE + row * pitch + head)
        for row, column in (divmod(place, across) for place in range(len(blocks)))
    )
    right = stub + across * count * width + (across - 1) * _GUTTER + _MARGIN
    size = (max(right, TWO_COLUMNS), _TITLE + down * pitch + _BAR[2])
    return _Plan(size, corners, tuple(offsets), width, across, upright)


def _across(stub: float, blocks: int, layers: int) -> float:
    """Width of a cell if so many blocks stand side by side."""
    return (TWO_COLUMNS - stub - _MARGIN - _GUTTER * (blocks - 1)) / (blocks * layers)


def _stub(rows: Sequence[HeatRow]) -> float:
    kinds, labels = ([readable(text) for text in each] for each in _texts(rows))
    return text_width(kinds, 6.0) + text_width(labels, 6.0) + (0.06 if any(kinds) else 0.0)


def _texts(rows: Sequence[HeatRow]) -> tuple[list[str], list[str]]:
    return [row.kind for row in rows], [row.label for row in rows]


def _cells(axes: Axes, plan: _Plan, shares: Float64, corner: tuple[float, float]) -> None:
    holes = np.isnan(shares)
    full = [_box(plan, corner, row, column) for row, column in np.argwhere(~holes)]
    empty = [_box(plan, corner, row, column) for row, column in np.argwhere(holes)]
    axes.add_collection(
        PolyCollection(full, facecolors=_COLOURS(0.9 * shares[~holes]), linewidths=0.0)
    )
    if empty:
        axes.add_collection(
            PolyCollection(empty, facecolors=HOLE, edgecolors=LINE, linewidths=0.0, hatch="//////")
        )


def _box(
    plan: _Plan, corner: tuple[float, float], row: int, column: int
) -> list[tuple[float, float]]:
    left, top = corner[0] + column * plan.width, corner[1] + plan.offsets[row]
    x0, x1 = left + _INSET, left + plan.width - _INSET
    y0, y1 = top + _INSET, top + _HEIGHT - _INSET
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _numbers(
    axes: Axes, plan: _Plan, values: Float64, greatest: float, corner: tuple[float, float]
) -> None:
    digits = 2 if greatest >= 0.1 else 3
    for (row, column), value in np.ndenumerate(values):
        known = not math.isnan(value)
        text = f"{value:.{digits}f}" if abs(value) < 10 else f"{value:.3g}"
        dark = known and value / greatest > 0.6
        axes.text(
            corner[0] + (column + 0.5) * plan.width,
            corner[1] + plan.offsets[row] + _HEIGHT / 2,
            text if known else "–",
            ha="center",
            va="center_baseline",
            color=("#ffffff" if dark else "#1b1b1b") if known else SOFT,
            size=_SIZE,
        )


def _layer_names(
    axes: Axes, plan: _Plan, names: Sequence[str], corner: tuple[float, float], block: str
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
    axes: Axes, plan: _Plan, rows: Sequence[HeatRow], corner: tuple[float, float]
) -> None:
    previous = ""
    for row, offset in zip(rows, plan.offsets, strict=True):
        middle = corner[1] + offset + _HEIGHT / 2
        if row.kind != previous:
            axes.text(_MARGIN, middle, readable(row.kind), size=6.0, va="center_baseline")
        if row.label:
            axes.text(
                *(corner[0] - 0.05, middle, readable(row.label)),
                **{"size": 6.0, "ha": "right", "va": "center_baseline"},
            )
        previous = row.kind


def _bar(axes: Axes, plan: _Plan, greatest: float, label: str) -> None:
    length, thickness, room = _BAR
    left, top = plan.corners[0][0], plan.size[1] - room + 0.02
    for low, high in pairwise(np.linspace(0.0, 1.0, 65)):
        colour = _COLOURS(0.9 * (low + high) / 2)
        # a thin edge of its own colour closes the seams that viewers leave between steps
        ends = [left + low * length, left + high * length]
        axes.fill_between(ends, top, top + thickness, color=colour, linewidth=0.3)
    for share in (0.0, 0.5, 1.0):
        text = f"{share * greatest:.2g}"
        axes.text(left + share * length, top + thickness + 0.1, text, ha="center", size=6.0)
    axes.text(left + length + 0.14, top + thickness, label, size=6.5, color=INK)
