"""Forest plot: differences with their intervals, row by row, encoders side by side.

Two variations stand apart: a line is the interval over subjects, a pale bar behind it reaches one
standard deviation between folds to either side.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from skiptool.errors import ArgumentError
from skiptool.figures.forest_sheet import AXIS, KEY_LINE, ForestSheet, plan_forest
from skiptool.figures.grid import Column
from skiptool.figures.style import (
    INK,
    LINE,
    SOFT,
    architecture_colours,
    drawing,
    readable,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Mark", "forest"]

_SHAPES: Final = "os^v"  # the next where a colour comes anew
_ENSEMBLE: Final = "D"
_PALE: Final = 0.3


@dataclass(frozen=True, slots=True)
class Mark:
    """One difference.

    Attributes
    ----------
    row : int
    family, pruning : str
    ensemble : bool
    value, low, high, spread : float
        Difference, its interval over subjects and standard deviation between folds. NaN is not
        drawn.
    sure : bool
        Drawn filled.
    """

    row: int
    family: str
    pruning: str
    ensemble: bool
    value: float
    low: float
    high: float
    spread: float
    sure: bool


def forest(
    marks: Sequence[Mark], rows: Sequence[Column], *, label: str, interval: str, sure: str
) -> Figure:
    """Draw differences by row, one panel for each family.

    Parameters
    ----------
    marks : sequence of Mark
    rows : sequence of Column
        What the rows are: a shift in the block of its kind, or a domain.
    label : str
        What the axis is: ``cell IoU minus that of the baseline``.
    interval, sure : str
        What a line and a filled mark mean, for the key.

    Returns
    -------
    Figure
        At most as wide as two journal columns up to three families; as high as its rows need.

    Raises
    ------
    ArgumentError
        If there is no mark, or one stands in a row that is not there.
    """
    if not marks or not all(0 <= mark.row < len(rows) for mark in marks):
        raise ArgumentError(
            f"forest plot: {len(marks)} marks in {len(rows)} rows; expected at least one, each in "
            "one of the rows"
        )
    families = list(dict.fromkeys(mark.family for mark in marks))
    pens = _pens(marks)
    with drawing():
        named = [
            (readable(_name(*network)), Line2D([], [], **_looks(*pen, 4.2, True)))
            for network, pen in pens.items()
        ]
        keys = [named, _meanings(marks, interval, sure)]
        texts = [[text for text, _ in key] for key in keys]
        sheet = plan_forest(rows, len(families), len(pens), texts)
        figure = Figure(figsize=sheet.size)
        limits = _limits(marks)
        for panel, family in enumerate(families):
            axes = _frame(figure, sheet, panel, limits)
            _draw(axes, sheet, [mark for mark in marks if mark.family == family], pens)
        _write(figure, sheet, families, label)
        _key(figure, sheet, 0, named)
        _key(figure, sheet, math.ceil(len(named) / sheet.columns), keys[1])
    return figure


_Network: TypeAlias = tuple[str, bool]
_Pen: TypeAlias = tuple[str, str]  # colour, shape


def _name(pruning: str, ensemble: bool) -> str:
    return f"{pruning}, ensemble" if ensemble else pruning


def _pens(marks: Sequence[Mark]) -> dict[_Network, _Pen]:
    """Colour and shape of each network, in the order in which they stand in a row."""
    found = {(mark.pruning, mark.ensemble) for mark in marks}
    pens: dict[_Network, _Pen] = {}
    seen: Counter[str] = Counter()
    for pruning, colour in architecture_colours(name for name, _ in found).items():
        shape = _SHAPES[seen[colour] % len(_SHAPES)]
        seen[colour] += 1
        for ensemble in (False, True):
            if (pruning, ensemble) in found:
                pens[pruning, ensemble] = (colour, _ENSEMBLE if ensemble else shape)
    return pens


def _limits(marks: Sequence[Mark]) -> tuple[float, float]:
    """Return the ends of the axis: all that is drawn is between them, and 0."""
    ends = [0.0]
    for mark in marks:
        ends += [mark.value, mark.low, mark.high]
        ends += [mark.value - mark.spread, mark.value + mark.spread]
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    pad = max(0.04 * (high - low), 0.002)
    return low - pad, high + pad


def _frame(figure: Figure, sheet: ForestSheet, panel: int, limits: tuple[float, float]) -> Axes:
    axes = figure.add_axes(sheet.rectangle(panel))
    axes.set_xlim(*limits)
    axes.set_ylim(sheet.bottom, sheet.top)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(max(2, int(sheet.width / 0.55)), steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(_signed))
    axes.grid(axis="x")
    axes.hlines([top for top, _ in sheet.edges], *limits, color=LINE, linewidth=0.5, zorder=0.6)
    axes.axvline(0.0, color=INK, linewidth=0.8, zorder=1.5)
    return axes


def _signed(value: float, _: object = None) -> str:
    text = f"{value:+.3f}".rstrip("0").rstrip(".")
    return "0" if float(text) == 0.0 else text.replace("-", "\N{MINUS SIGN}")


def _draw(
    axes: Axes, sheet: ForestSheet, marks: Sequence[Mark], pens: dict[_Network, _Pen]
) -> None:
    """Draw all marks of a panel, those that look alike at once."""
    low, high = axes.get_xlim()
    size = _size(sheet)
    inside = (
        size / 2 / 72 * (high - low) / sheet.width
    )  # half an open mark, which a line must spare
    networks = list(pens)
    for place, (network, (colour, shape)) in enumerate(pens.items()):
        mine = [m for m in marks if (m.pruning, m.ensemble) == network and not math.isnan(m.value)]
        heights = [sheet.height(mark.row, place, len(networks)) for mark in mine]
        bars, lines = [], []
        for mark, y in zip(mine, heights, strict=True):
            if not math.isnan(mark.spread):
                bars.append([(mark.value - mark.spread, y), (mark.value + mark.spread, y)])
            if not math.isnan(mark.low):
                gap = 0.0 if mark.sure else inside
                lines.append([(mark.low, y), (max(mark.low, mark.value - gap), y)])
                lines.append([(min(mark.high, mark.value + gap), y), (mark.high, y)])
        thick = 0.75 * sheet.pitch * 72
        pale = to_rgba(colour, _PALE)
        axes.add_collection(LineCollection(bars, colors=[pale], linewidths=thick, zorder=1.0))
        axes.add_collection(LineCollection(lines, colors=[colour], linewidths=1.0, zorder=2.0))
        for sure in (False, True):
            xs = [mark.value for mark in mine if mark.sure == sure]
            ys = [y for mark, y in zip(mine, heights, strict=True) if mark.sure == sure]
            axes.plot(xs, ys, zorder=3.0, **_looks(colour, shape, size, sure))


def _size(sheet: ForestSheet) -> float:
    """Points of a mark."""
    return min(4.2, 0.72 * sheet.pitch * 72)


def _looks(colour: str, shape: str, size: float, sure: bool) -> dict[str, Any]:
    return {
        **{"linestyle": "", "marker": shape, "color": colour, "markeredgewidth": 0.9},
        **{"markersize": size * (0.85 if shape == _ENSEMBLE else 1.0), "clip_on": False},
        "markerfacecolor": colour if sure else "none",
    }


def _meanings(marks: Sequence[Mark], interval: str, sure: str) -> list[tuple[str, Line2D]]:
    """Entries of the key that hold for all networks."""
    found = []
    if not all(math.isnan(mark.low) for mark in marks):
        found.append((interval, Line2D([], [], color=INK, linewidth=1.0)))
        for filled, text in ((True, sure), (False, f"not {sure}")):
            found.append((text, Line2D([], [], **_looks(INK, "o", 4.2, filled))))
    if not all(math.isnan(mark.spread) for mark in marks):
        bar: dict[str, Any] = {"linewidth": 5.0, "solid_capstyle": "butt"}
        text = "± standard deviation between folds"
        found.append((text, Line2D([], [], color=SOFT, alpha=_PALE, **bar)))
    return found


def _write(figure: Figure, sheet: ForestSheet, families: Sequence[str], label: str) -> None:
    """Write the names of rows, blocks, panels and of the axis."""
    width, height = sheet.size
    for name, y in sheet.labels:
        figure.text(sheet.stub / width, 1 - y / height, name, va="center_baseline")
    for name, y in sheet.blocks:
        figure.text(sheet.stub / width, 1 - y / height, name, weight="bold")
    for name, left in zip(families, sheet.lefts, strict=True):
        figure.text(left / width, 1 - (sheet.top - 0.1) / height, readable(name), weight="bold")
    middle = (sheet.lefts[0] + sheet.lefts[-1] + sheet.width) / 2
    y = 1 - (sheet.bottom + 0.34) / height
    figure.text(middle / width, y, readable(label, 60), ha="center", color=SOFT)


def _key(
    figure: Figure, sheet: ForestSheet, first: int, entries: Sequence[tuple[str, Line2D]]
) -> None:
    """Write a key from this line on, in columns, read along the lines."""
    width, height = sheet.size
    for place, (text, handle) in enumerate(entries):
        line, column = divmod(place, sheet.columns)
        x = sheet.stub + column * sheet.entry
        y = 1 - (sheet.bottom + AXIS + (first + line + 0.5) * KEY_LINE) / height
        ends = [(x + 0.02) / width, (x + 0.22) / width]
        if handle.get_marker() not in ("None", "", None):
            ends = [sum(ends) / 2]
        handle.set_data(ends, [y] * len(ends))
        handle.set_transform(figure.transFigure)
        figure.add_artist(handle)
        figure.text((x + 0.28) / width, y, text, size=6.5, va="center_baseline")
