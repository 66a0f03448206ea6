"""Forest plot: differences with their intervals, row by row, encoders side by side.

A line is the interval; a pale bar behind it extends one standard deviation between trainings to
either side.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from skiptool.errors import ArgumentError
from skiptool.figures.heatmap import Column
from skiptool.figures.panels import fit_layout, label_across, legend_below, panel_grid
from skiptool.figures.style import (
    HOLE,
    INK,
    LINE,
    SOFT,
    TWO_COLUMNS,
    RoundLocator,
    architecture_colours,
    drawing_style,
    label_text,
    shorten,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from skiptool.records import Float64

_SIZE: Final = 4.2  # points of the largest mark
_PALE: Final = 0.3  # opacity of the bars behind the marks
_SHAPES: Final = "os^v"  # the next one where a colour is repeated

_PITCHES: Final = ((4, 0.09), (8, 0.075), (12, 0.062))  # up to so many networks: inches for each
_TIGHT: Final = 0.045
_ROW: Final = 0.17  # inches that the label of a row needs
_BETWEEN: Final = 0.07  # inches between rows
_BLOCK: Final = 0.22  # inches of the name of a block
_WIDTHS: Final = (1.6, 3.6)  # least and greatest width of a panel in inches

_Network: TypeAlias = tuple[str, bool]
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
        Shifts in the block of their kind, or domains.
    label : str
        Name of the axis: ``cell IoU minus that of the baseline``.
    interval, sure, unsure : str
        Meaning of a line, a filled and an open mark, for the legend; no entry if empty.

    Returns
    -------
    Figure
        At most as wide as two journal columns up to three families; as high as its rows need.

    Raises
    ------
    ArgumentError
        If there is no mark, or one in a row that does not exist.
    """
    if not marks or not all(0 <= mark.row < len(rows) for mark in marks):
        raise ArgumentError(
            f"forest plot: {len(marks)} marks in {len(rows)} rows; expected at least one, each in "
            "one of the rows"
        )
    families = list(dict.fromkeys(mark.family for mark in marks))
    with drawing_style():
        looks = _looks(marks)
        names = [label_text(text) for row in rows for text in (row.label, row.block)]
        stub = text_width(names, 7.7) + 0.2
        columns = len(families)
        width = float(np.clip((TWO_COLUMNS - stub) / columns - 0.12, *_WIDTHS))
        _, height = _middles(rows, len(looks))
        figure, panels = panel_grid(
            [(0, column) for column in range(columns)], width=stub + columns * (width + 0.12)
        )
        for axes, family in zip(panels, families, strict=True):
            mine = [mark for mark in marks if mark.family == family]
            draw_forest(axes, mine, rows, looks, blocks=axes is panels[0])
            axes.set_title(shorten(family, 8.0, width), weight="bold")
        axes.set_xlim(*_limits(marks))
        axes.xaxis.set_major_locator(RoundLocator(max(2, int(width / 0.55)), edge=0.12 / width))
        label_across(panels, label_text(label, 60))
        legend_below(figure, [*_named(looks), *_meanings(marks, interval, sure, unsure)])
        fit_layout(figure, [height], [width] * columns)
    return figure


def draw_forest(
    axes: Axes,
    marks: Sequence[Mark],
    rows: Sequence[Column],
    looks: Mapping[_Network, Mapping[str, Any]] | None = None,
    *,
    blocks: bool = True,
) -> None:
    """Draw the marks of one family into Axes whose vertical axis is in inches, from the top down.

    ``looks`` are the colour and marker of each network, by default those of the marks; ``blocks``
    are named to the left.
    """
    looks = _looks(marks) if looks is None else looks
    middles, bottom = _middles(rows, len(looks))
    pitch, half = _pitch(len(looks)), _height(len(looks)) / 2
    low, high = _limits(marks)
    axes.set(xlim=(low, high), ylim=(bottom, 0.0))
    axes.set_yticks(middles, [label_text(row.label) for row in rows])
    axes.tick_params("y", labelcolor=INK, labelsize=7.0)
    for middle, row, before in zip(middles, rows, [Column(""), *rows], strict=False):
        if blocks and row.block != before.block:
            where: dict[str, Any] = {"xycoords": axes.get_yaxis_transform(), "ha": "right"}
            where |= {"textcoords": "offset points", "weight": "bold"}
            axes.annotate(label_text(row.block), (0.0, middle - half), (-3.5, 4.0), **where)
    axes.grid(axis="x")
    for middle in middles:
        axes.axhline(middle - half, color=LINE, linewidth=0.5, zorder=0.6)
    axes.axvline(0.0, color=INK, linewidth=0.8, zorder=1.5)
    axes.xaxis.set_major_locator(RoundLocator(edge=0.03))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _signed(value)))
    for place, (network, look) in enumerate(looks.items()):
        offset = (place - (len(looks) - 1) / 2) * pitch
        mine = [mark for mark in marks if (mark.pruning, mark.ensemble) == network]
        for sure in (False, True):
            some = [mark for mark in mine if mark.sure == sure and not math.isnan(mark.value)]
            if some:
                heights = middles[[mark.row for mark in some]] + offset
                _errorbars(axes, some, heights, _look(look, sure=sure), 72 * pitch)


def _errorbars(
    axes: Axes, marks: Sequence[Mark], y: Float64, look: Mapping[str, Any], pitch: float
) -> None:
    """Draw marks of one look, a distance in points apart, with their intervals and spreads."""
    columns = [(mark.value, mark.low, mark.high, mark.spread) for mark in marks]
    x, low, high, spread = np.array(columns).T
    bare: dict[str, Any] = {"fmt": "none", "ecolor": look["color"]}
    axes.errorbar(x, y, xerr=spread, elinewidth=0.75 * pitch, alpha=_PALE, zorder=1.0, **bare)
    middle = (low + high) / 2  # a percentile interval need not hold the value
    axes.errorbar(middle, y, xerr=(high - low) / 2, elinewidth=1.0, zorder=2.0, **bare)
    shrunk = min(1.0, 0.72 * pitch / _SIZE)
    axes.plot(
        x, y, zorder=3.0, clip_on=False, **{**look, "markersize": look["markersize"] * shrunk}
    )


def _pitch(networks: int) -> float:
    """Inches from one network to the next within a row."""
    return next((pitch for most, pitch in _PITCHES if networks <= most), _TIGHT)


def _height(networks: int) -> float:
    """Inches of a row."""
    return max(networks * _pitch(networks), _ROW - _BETWEEN) + _BETWEEN


def _middles(rows: Sequence[Column], networks: int) -> tuple[Float64, float]:
    """Middles of the rows and their lower end in inches, with room for the names of blocks."""
    heads = [
        0.0 if row.block == before.block else _BLOCK
        for row, before in zip(rows, [Column(""), *rows], strict=False)
    ]
    ends = np.cumsum(np.add(heads, _height(networks)))
    return ends - _height(networks) / 2, float(ends[-1])


def _limits(marks: Sequence[Mark]) -> tuple[float, float]:
    """Return ends of the axis that hold everything drawn, and 0.

    Intervals are cut at differences of 1, the greatest possible: those over two or three
    trainings may be wider.
    """
    ends = [0.0]
    for mark in marks:
        ends += [mark.value, max(mark.low, -1.0), min(mark.high, 1.0)]
        ends += [mark.value - mark.spread, mark.value + mark.spread]
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    pad = max(0.04 * (high - low), 0.002)
    return low - pad, high + pad


def _signed(value: float) -> str:
    text = f"{value:+.3f}".rstrip("0").rstrip(".")
    return "0" if float(text) == 0.0 else text.replace("-", "\N{MINUS SIGN}")


def _looks(marks: Sequence[Mark]) -> dict[_Network, dict[str, Any]]:
    """Give each network its colour and marker, in the order in which they stand in a row."""
    networks = {(mark.pruning, mark.ensemble) for mark in marks}
    looks: dict[_Network, dict[str, Any]] = {}
    used: Counter[str] = Counter()
    for pruning, colour in architecture_colours(name for name, _ in networks).items():
        shape = _SHAPES[used[colour] % len(_SHAPES)]
        used[colour] += 1
        for ensemble in (False, True):
            if (pruning, ensemble) in networks:
                looks[pruning, ensemble] = {"color": colour, "marker": "D" if ensemble else shape}
    return looks


def _look(look: Mapping[str, Any], *, sure: bool) -> dict[str, Any]:
    """Return how Matplotlib is to draw a mark."""
    return {
        **look,
        "linestyle": "none",
        "markersize": _SIZE * (0.85 if look["marker"] == "D" else 1.0),
        "markerfacecolor": look["color"] if sure else HOLE,
        "markeredgewidth": 0.9,
    }


def _named(looks: Mapping[_Network, Mapping[str, Any]]) -> list[Line2D]:
    return [
        Line2D(
            [],
            [],
            label=label_text(pruning) + (", ensemble" if ensemble else ""),
            **_look(look, sure=True),
        )
        for (pruning, ensemble), look in looks.items()
    ]


def _meanings(marks: Sequence[Mark], interval: str, sure: str, unsure: str) -> list[Line2D]:
    """Legend entries that hold for all networks."""
    handles = []
    if not all(math.isnan(mark.low) for mark in marks):
        cut = any(mark.low < -1.0 or mark.high > 1.0 for mark in marks)
        text = f"{interval}, cut at a difference of 1" if cut else interval
        handles.append(Line2D([], [], color=INK, linewidth=1.0, label=text))
        for filled, text in ((True, sure), (False, unsure)):
            if text:
                look = _look({"color": INK, "marker": "o"}, sure=filled)
                handles.append(Line2D([], [], label=text, **look))
    if not all(math.isnan(mark.spread) for mark in marks):
        bar: dict[str, Any] = {"linewidth": 5.0, "solid_capstyle": "butt", "alpha": _PALE}
        handles.append(Line2D([], [], color=SOFT, label="± SD between trainings", **bar))
    return handles
