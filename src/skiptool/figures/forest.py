"""Forest plot: differences with their intervals, row by row, encoders side by side.

A line is the interval, a pale bar behind it reaches one standard deviation between trainings to
either side.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from skiptool.errors import ArgumentError
from skiptool.figures.heatmap import Column
from skiptool.figures.masks import DOTS, fitted
from skiptool.figures.style import (
    INK,
    LINE,
    SOFT,
    TWO_COLUMNS,
    architecture_colours,
    drawing,
    readable,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "MARK_SIZE",
    "PALE",
    "ForestSheet",
    "Mark",
    "Network",
    "Pen",
    "draw_marks",
    "forest",
    "pens_of",
    "plan_forest",
]

# -------------------------------------------------------------------------------------------------
# Marks of a forest plot: a difference, its interval, its spread, in the look of its network.


MARK_SIZE: Final = 4.2
"""Points of the largest mark."""

PALE: Final = 0.3
"""Opacity of the bars behind the marks."""

_SHAPES: Final = "os^v"  # the next where a colour comes anew
_ENSEMBLE: Final = "D"

Network: TypeAlias = tuple[str, bool]
"""A pruning, and whether it is the ensemble of its trainings."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One difference.

    Attributes
    ----------
    row : int
    family, pruning : str
    ensemble : bool
    value, low, high, spread : float
        Difference, its interval and its standard deviation between trainings. NaN is not drawn.
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


@dataclass(frozen=True, slots=True)
class Pen:
    """Colour and shape of a network."""

    colour: str
    shape: str = "o"

    def looks(self, size: float, *, sure: bool) -> dict[str, Any]:
        """Return how Matplotlib is to draw a mark of so many points."""
        return {
            **{"linestyle": "", "marker": self.shape, "color": self.colour, "clip_on": False},
            "markersize": size * (0.85 if self.shape == _ENSEMBLE else 1.0),
            "markerfacecolor": self.colour if sure else "none",
            "markeredgewidth": 0.9,
        }


def pens_of(marks: Sequence[Mark]) -> dict[Network, Pen]:
    """Give each network its pen, in the order in which they stand in a row."""
    found = {(mark.pruning, mark.ensemble) for mark in marks}
    pens: dict[Network, Pen] = {}
    seen: Counter[str] = Counter()
    for pruning, colour in architecture_colours(name for name, _ in found).items():
        shape = _SHAPES[seen[colour] % len(_SHAPES)]
        seen[colour] += 1
        for ensemble in (False, True):
            if (pruning, ensemble) in found:
                pens[pruning, ensemble] = Pen(colour, _ENSEMBLE if ensemble else shape)
    return pens


def draw_marks(
    axes: Axes, sheet: ForestSheet, marks: Sequence[Mark], pens: Mapping[Network, Pen]
) -> None:
    """Draw all marks of a panel, those that look alike at once."""
    low, high = axes.get_xlim()
    size = min(MARK_SIZE, 0.72 * sheet.pitch * 72)
    inside = size / 2 / 72 * (high - low) / sheet.width  # of an open mark, which lines must spare
    thick = 0.75 * sheet.pitch * 72
    for place, (network, pen) in enumerate(pens.items()):
        mine = [
            (mark, sheet.height(mark.row, place, len(pens)))
            for mark in marks
            if (mark.pruning, mark.ensemble) == network and not math.isnan(mark.value)
        ]
        bars = [
            [(mark.value - mark.spread, y), (mark.value + mark.spread, y)]
            for mark, y in mine
            if not math.isnan(mark.spread)
        ]
        lines = [line for mark, y in mine for line in _interval(mark, y, inside)]
        pale = to_rgba(pen.colour, PALE)
        axes.add_collection(LineCollection(bars, colors=[pale], linewidths=thick, zorder=1.0))
        axes.add_collection(LineCollection(lines, colors=[pen.colour], linewidths=1.0, zorder=2.0))
        for sure in (False, True):
            some = [(mark.value, y) for mark, y in mine if mark.sure == sure]
            if some:
                axes.plot(*zip(*some, strict=True), zorder=3.0, **pen.looks(size, sure=sure))


def _interval(mark: Mark, y: float, inside: float) -> list[list[tuple[float, float]]]:
    """Lines of an interval; they stop where an open mark begins."""
    if math.isnan(mark.low):
        return []
    if mark.sure:
        return [[(mark.low, y), (mark.high, y)]]
    ends = (min(mark.high, mark.value - inside), max(mark.low, mark.value + inside))
    lines = [(mark.low, ends[0]), (ends[1], mark.high)]
    return [[(start, y), (end, y)] for start, end in lines if start < end]


# -------------------------------------------------------------------------------------------------
# Where the rows, panels and keys of a forest plot stand, in inches from the upper left corner.


_MARGIN: Final = 0.06
_AXIS: Final = 0.46  # ticks and name of the axis
_KEY_LINE: Final = 0.15
_GUTTER: Final = 0.16
_PANEL: Final = (1.6, 3.6)  # least and greatest width
_HEAD: Final = 0.26
_BLOCK: Final = 0.22  # head of a block of rows
_APART: Final = 0.08  # between blocks without a name
_PITCHES: Final = ((4, 0.09), (8, 0.075), (12, 0.062))  # up to so many networks: inches for each
_TIGHT: Final = 0.045
_ROW: Final = 0.17  # what a label needs
_BETWEEN: Final = 0.07  # rows
_HANDLE: Final = 0.28  # mark of an entry of the key, with its gap
_SPACE: Final = 0.2  # between entries

_Places: TypeAlias = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class ForestSheet:
    """The sheet of a forest plot.

    Attributes
    ----------
    size : (float, float)
    labels : tuple of (text, height)
        Names of rows, at the middle of each.
    blocks : tuple of (text, height)
        Names of blocks, at their foot.
    edges : tuple of (top, bottom)
        Of each row.
    pitch : float
        Height of one network within a row.
    lefts, width : tuple of float, float
        Panels.
    top, bottom : float
        Of all panels.
    keys : tuple of tuple of (left, height)
        Entries of each key below the panels.
    stub : float
        Left edge of the labels.
    """

    size: tuple[float, float]
    labels: tuple[tuple[str, float], ...]
    blocks: tuple[tuple[str, float], ...]
    edges: tuple[tuple[float, float], ...]
    pitch: float
    lefts: tuple[float, ...]
    width: float
    top: float
    bottom: float
    keys: tuple[_Places, ...]
    stub: float = _MARGIN

    def height(self, row: int, place: int, places: int) -> float:
        """Height of one of several networks in a row."""
        top, bottom = self.edges[row]
        return (top + bottom) / 2 + (place - (places - 1) / 2) * self.pitch

    def rectangle(self, panel: int) -> tuple[float, float, float, float]:
        """Return the place of a panel as fractions of the sheet, as Matplotlib wants it."""
        width, height = self.size
        low = (height - self.bottom) / height
        return self.lefts[panel] / width, low, self.width / width, (self.bottom - self.top) / height


def plan_forest(
    rows: Sequence[Column], panels: int, places: int, keys: Sequence[Sequence[str]]
) -> ForestSheet:
    """Give each row room for its networks.

    Parameters
    ----------
    rows : sequence of Column
        Rows of one block stand together.
    panels, places : int
        Encoders side by side, and networks in each row of each.
    keys : sequence of sequence of str
        Texts of the entries of each key below the panels.
    """
    names = [readable(row.label) for row in rows]
    blocks = [readable(row.block) for row in rows]
    stub = max(text_width(names, 7.0), text_width(blocks, 7.7)) + 0.12
    left = _MARGIN + stub
    low, high = _PANEL
    room = (TWO_COLUMNS - left - _MARGIN - _GUTTER * (panels - 1)) / panels
    width = min(max(room, low), high)
    lefts = tuple(left + panel * (width + _GUTTER) for panel in range(panels))
    pitch = next((pitch for most, pitch in _PITCHES if places <= most), _TIGHT)
    each = max(places * pitch, _ROW - _BETWEEN) + _BETWEEN
    edges: list[tuple[float, float]] = []
    heads: list[tuple[str, float]] = []
    y = _MARGIN + _HEAD
    for name, run in groupby(blocks):
        if name:
            heads.append((name, y + _BLOCK - 0.06))
        y += _BLOCK if name else _APART
        for _ in run:
            edges.append((y, y + each))
            y += each
    total = lefts[-1] + width + _MARGIN
    placed, foot = _flow(keys, y + _AXIS, total - _MARGIN)
    labels = tuple((name, sum(edge) / 2) for name, edge in zip(names, edges, strict=True))
    size = (total, foot + _MARGIN)
    return ForestSheet(
        size=size,
        labels=labels,
        blocks=tuple(heads),
        edges=tuple(edges),
        pitch=pitch,
        lefts=lefts,
        width=width,
        top=_MARGIN + _HEAD,
        bottom=y,
        keys=placed,
    )


def _flow(
    keys: Sequence[Sequence[str]], top: float, right: float
) -> tuple[tuple[_Places, ...], float]:
    """Set entries one after another, each key from a new line on; return places and foot."""
    found: list[_Places] = []
    for key in keys:
        x = _MARGIN
        places: list[tuple[float, float]] = []
        for text in key:
            width = _HANDLE + text_width([text], 6.5)
            if places and x + width > right:
                x, top = _MARGIN, top + _KEY_LINE
            places.append((x, top + _KEY_LINE / 2))
            x += width + _SPACE
        found.append(tuple(places))
        top += _KEY_LINE if key else 0.0
    return tuple(found), top


_EDGE: Final = 0.12  # inches that a tick keeps from the end of the axis, for its label


def forest(
    marks: Sequence[Mark],
    rows: Sequence[Column],
    *,
    label: str,
    interval: str,
    sure: str,
    unsure: str,
) -> Figure:
    """Draw differences by row, one panel for each family.

    Parameters
    ----------
    marks : sequence of Mark
    rows : sequence of Column
        What the rows are: a shift in the block of its kind, or a domain.
    label : str
        What the axis is: ``cell IoU minus that of the baseline``.
    interval, sure, unsure : str
        What a line, a filled and an open mark mean, for the key; without entry if empty.

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
    pens = pens_of(marks)
    with drawing():
        named = [
            (_name(pruning, ensemble), Line2D([], [], **pen.looks(MARK_SIZE, sure=True)))
            for (pruning, ensemble), pen in pens.items()
        ]
        keys = [named, _meanings(marks, interval, sure, unsure)]
        texts = [[text for text, _ in key] for key in keys]
        sheet = plan_forest(rows, len(families), len(pens), texts)
        figure = Figure(figsize=sheet.size)
        limits = _limits(marks)
        for panel, family in enumerate(families):
            axes = _frame(figure, sheet, panel, limits)
            draw_marks(axes, sheet, [mark for mark in marks if mark.family == family], pens)
        _write(figure, sheet, families, label)
        for places, entries in zip(sheet.keys, keys, strict=True):
            _key(figure, places, entries)
    return figure


def _limits(marks: Sequence[Mark]) -> tuple[float, float]:
    """Return the ends of the axis: all that is drawn is between them, and 0.

    Intervals are cut at differences of 1, the greatest that there are: those over two or three
    trainings may be wider.
    """
    ends = [0.0]
    for mark in marks:
        ends += [mark.value, max(mark.low, -1.0), min(mark.high, 1.0)]
        ends += [mark.value - mark.spread, mark.value + mark.spread]
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    pad = max(0.04 * (high - low), 0.002)
    return low - pad, high + pad


def _frame(figure: Figure, sheet: ForestSheet, panel: int, limits: tuple[float, float]) -> Axes:
    axes = figure.add_axes(sheet.rectangle(panel))
    axes.set_xlim(*limits)
    axes.set_ylim(sheet.bottom, sheet.top)
    axes.set_yticks([])
    steps = MaxNLocator(max(2, int(sheet.width / 0.55)), steps=[1, 2, 5, 10])
    edge = _EDGE * (limits[1] - limits[0]) / sheet.width
    inner = (limits[0] + edge, limits[1] - edge)
    ticks = [x for x in steps.tick_values(*limits) if inner[0] <= x <= inner[1]]
    axes.set_xticks(ticks, [_signed(tick) for tick in ticks])
    axes.grid(axis="x")
    axes.hlines([top for top, _ in sheet.edges], *limits, color=LINE, linewidth=0.5, zorder=0.6)
    axes.axvline(0.0, color=INK, linewidth=0.8, zorder=1.5)
    return axes


def _signed(value: float) -> str:
    text = f"{value:+.3f}".rstrip("0").rstrip(".")
    return "0" if float(text) == 0.0 else text.replace("-", "\N{MINUS SIGN}")


def _name(pruning: str, ensemble: bool) -> str:
    return readable(pruning) + (", ensemble" if ensemble else "")


def _meanings(
    marks: Sequence[Mark], interval: str, sure: str, unsure: str
) -> list[tuple[str, Line2D]]:
    """Entries of the key that hold for all networks."""
    found = []
    if not all(math.isnan(mark.low) for mark in marks):
        cut = any(mark.low < -1.0 or mark.high > 1.0 for mark in marks)
        text = f"{interval}, cut at a difference of 1" if cut else interval
        found.append((text, Line2D([], [], color=INK, linewidth=1.0)))
        for filled, text in ((True, sure), (False, unsure)):
            if text:
                found.append((text, Line2D([], [], **Pen(INK).looks(MARK_SIZE, sure=filled))))
    if not all(math.isnan(mark.spread) for mark in marks):
        bar: dict[str, Any] = {"linewidth": 5.0, "solid_capstyle": "butt"}
        text = "± SD between trainings"
        found.append((text, Line2D([], [], color=SOFT, alpha=PALE, **bar)))
    return found


def _write(figure: Figure, sheet: ForestSheet, families: Sequence[str], label: str) -> None:
    """Write the names of rows, blocks, panels and of the axis."""
    width, height = sheet.size
    for name, y in sheet.labels:
        figure.text(sheet.stub / width, 1 - y / height, name, va="center_baseline")
    for name, y in sheet.blocks:
        figure.text(sheet.stub / width, 1 - y / height, name, weight="bold")
    for name, left in zip(families, sheet.lefts, strict=True):
        head = fitted(name, 7.7, sheet.width * DOTS)
        figure.text(left / width, 1 - (sheet.top - 0.1) / height, head, weight="bold")
    middle = (sheet.lefts[0] + sheet.lefts[-1] + sheet.width) / 2
    y = 1 - (sheet.bottom + 0.34) / height
    figure.text(middle / width, y, readable(label, 60), ha="center", color=SOFT)


def _key(
    figure: Figure, places: Sequence[tuple[float, float]], entries: Sequence[tuple[str, Line2D]]
) -> None:
    """Write the entries of a key, each after what it explains."""
    width, height = figure.get_size_inches()
    for (left, top), (text, handle) in zip(places, entries, strict=True):
        y = 1 - top / height
        line = handle.get_linestyle() != "None"
        xs = [left / width, (left + 0.2) / width] if line else [(left + 0.1) / width]
        handle.set(xdata=xs, ydata=[y] * len(xs), transform=figure.transFigure)
        figure.add_artist(handle)
        figure.text((left + 0.28) / width, y, text, size=6.5, va="center_baseline")
