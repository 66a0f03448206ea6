"""Forest plot: differences with their intervals by row, encoders side by side.

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
_SHAPES: Final = "os^v"  # in turn for networks of the same colour

_PITCHES: Final = {4: 0.09, 8: 0.075, 12: 0.062}  # inches per network, by the most networks
_SMALLEST_PITCH: Final = 0.045  # with more networks
_ROW: Final = 0.17  # inches that the label of a row needs
_GAP: Final = 0.07  # inches between rows
_BLOCK: Final = 0.22  # inches of the name of a block
_WIDTHS: Final = (1.6, 3.6)  # least and greatest width of a panel in inches

_Network: TypeAlias = tuple[str, bool]
"""Pruning, and whether the network is the ensemble of its trainings."""

_Style: TypeAlias = Mapping[str, Any]
"""Colour and marker of a network, as arguments of Matplotlib."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One difference.

    Attributes
    ----------
    ensemble : bool
    value, low, high, spread : float
        Difference, its interval and its standard deviation between trainings. NaN is not drawn.
    significant : bool
        Significant marks are filled.
    """

    row: int
    family: str
    pruning: str
    ensemble: bool
    value: float
    low: float
    high: float
    spread: float
    significant: bool


def forest(
    marks: Sequence[Mark],
    rows: Sequence[Column],
    *,
    label: str,
    interval: str,
    significant: str,
    not_significant: str,
) -> Figure:
    """Draw differences by row, one panel for each family.

    Parameters
    ----------
    rows : sequence of Column
        Shifts in the block of their kind, or domains.
    label : str
        Name of the axis: ``cell IoU minus that of the baseline``.
    interval, significant, not_significant : str
        Legend entries of lines, filled and open marks; none if empty.

    Returns
    -------
    Figure
        At most as wide as two journal columns with up to three families; as high as needed.

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
        styles = _styles(marks)
        names = [label_text(text) for row in rows for text in (row.label, row.block)]
        label_width = text_width(names, 7.7) + 0.2
        columns = len(families)
        width = float(np.clip((TWO_COLUMNS - label_width) / columns - 0.12, *_WIDTHS))
        _, height = _middles(rows, len(styles))
        figure, panels = panel_grid(
            [(0, column) for column in range(columns)], width=label_width + columns * (width + 0.12)
        )
        for axes, family in zip(panels, families, strict=True):
            own = [mark for mark in marks if mark.family == family]
            draw_forest(axes, own, rows, styles, name_blocks=axes is panels[0])
            axes.set_title(shorten(family, 8.0, width), weight="bold")
        axes.set_xlim(*_limits(marks))
        axes.xaxis.set_major_locator(RoundLocator(max(2, int(width / 0.55)), edge=0.12 / width))
        label_across(panels, label_text(label, 60))
        handles = _network_handles(styles)
        handles += _mark_handles(marks, interval, significant, not_significant)
        legend_below(figure, handles)
        fit_layout(figure, [height], [width] * columns)
    return figure


def draw_forest(
    axes: Axes,
    marks: Sequence[Mark],
    rows: Sequence[Column],
    styles: Mapping[_Network, _Style] | None = None,
    *,
    name_blocks: bool = True,
) -> None:
    """Draw the marks of one family into Axes whose vertical axis is in inches, from the top down.

    By default, each network gets a colour and a marker that are unique among the marks.
    """
    styles = _styles(marks) if styles is None else styles
    middles, bottom = _middles(rows, len(styles))
    pitch, half = _pitch(len(styles)), _height(len(styles)) / 2
    low, high = _limits(marks)
    axes.set(xlim=(low, high), ylim=(bottom, 0.0))
    axes.set_yticks(middles, [label_text(row.label) for row in rows])
    axes.tick_params("y", labelcolor=INK, labelsize=7.0)
    for middle, row, previous in zip(middles, rows, [Column(""), *rows], strict=False):
        if name_blocks and row.block != previous.block:
            axes.annotate(
                label_text(row.block),
                (0.0, middle - half),
                (-3.5, 4.0),
                xycoords=axes.get_yaxis_transform(),
                textcoords="offset points",
                ha="right",
                weight="bold",
            )
    axes.grid(axis="x")
    for middle in middles:
        axes.axhline(middle - half, color=LINE, linewidth=0.5, zorder=0.6)
    axes.axvline(0.0, color=INK, linewidth=0.8, zorder=1.5)
    axes.xaxis.set_major_locator(RoundLocator(edge=0.03))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _signed(value)))
    for position, (network, style) in enumerate(styles.items()):
        offset = (position - (len(styles) - 1) / 2) * pitch
        own = [
            mark
            for mark in marks
            if (mark.pruning, mark.ensemble) == network and not math.isnan(mark.value)
        ]
        for significant in (False, True):
            group = [mark for mark in own if mark.significant == significant]
            if group:
                heights = middles[[mark.row for mark in group]] + offset
                _errorbars(axes, group, heights, _mark_style(style, significant), 72 * pitch)


def _errorbars(axes: Axes, marks: Sequence[Mark], y: Float64, style: _Style, pitch: float) -> None:
    """Draw marks of one style with their intervals and spreads, sized by a pitch in points."""
    columns = [(mark.value, mark.low, mark.high, mark.spread) for mark in marks]
    x, low, high, spread = np.array(columns).T
    bars: dict[str, Any] = {"fmt": "none", "ecolor": style["color"]}
    axes.errorbar(x, y, xerr=spread, elinewidth=0.75 * pitch, alpha=_PALE, zorder=1.0, **bars)
    middle = (low + high) / 2  # an interval need not contain the value
    axes.errorbar(middle, y, xerr=(high - low) / 2, elinewidth=1.0, zorder=2.0, **bars)
    (line,) = axes.plot(x, y, zorder=3.0, clip_on=False, **style)
    line.set_markersize(style["markersize"] * min(1.0, 0.72 * pitch / _SIZE))


def _pitch(networks: int) -> float:
    """Return the inches from one network to the next within a row."""
    return next((pitch for most, pitch in _PITCHES.items() if networks <= most), _SMALLEST_PITCH)


def _height(networks: int) -> float:
    """Return the height of a row in inches."""
    return max(networks * _pitch(networks), _ROW - _GAP) + _GAP


def _middles(rows: Sequence[Column], networks: int) -> tuple[Float64, float]:
    """Return the middles of the rows and the lower end in inches, with room for block names."""
    heads = [
        0.0 if row.block == previous.block else _BLOCK
        for row, previous in zip(rows, [Column(""), *rows], strict=False)
    ]
    ends = np.cumsum(np.add(heads, _height(networks)))
    return ends - _height(networks) / 2, float(ends[-1])


def _limits(marks: Sequence[Mark]) -> tuple[float, float]:
    """Return the ends of an axis that contains everything drawn, and 0.

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


def _styles(marks: Sequence[Mark]) -> dict[_Network, _Style]:
    """Choose the colour and marker of each network, in their order within a row."""
    networks = {(mark.pruning, mark.ensemble) for mark in marks}
    styles: dict[_Network, _Style] = {}
    used: Counter[str] = Counter()
    for pruning, colour in architecture_colours(name for name, _ in networks).items():
        shape = _SHAPES[used[colour] % len(_SHAPES)]
        used[colour] += 1
        for ensemble in (False, True):
            if (pruning, ensemble) in networks:
                marker = "D" if ensemble else shape
                styles[pruning, ensemble] = {"color": colour, "marker": marker}
    return styles


def _mark_style(style: _Style, significant: bool) -> _Style:
    """Add the size and face of a mark to the style of its network."""
    return {
        **style,
        "linestyle": "none",
        "markersize": _SIZE * (0.85 if style["marker"] == "D" else 1.0),
        "markerfacecolor": style["color"] if significant else HOLE,
        "markeredgewidth": 0.9,
    }


def _network_handles(styles: Mapping[_Network, _Style]) -> list[Line2D]:
    handles = []
    for (pruning, ensemble), style in styles.items():
        label = f"{label_text(pruning)}, ensemble" if ensemble else label_text(pruning)
        handles.append(Line2D([], [], label=label, **_mark_style(style, significant=True)))
    return handles


def _mark_handles(
    marks: Sequence[Mark], interval: str, significant: str, not_significant: str
) -> list[Line2D]:
    """Return the legend entries that are common to all networks."""
    handles = []
    if not all(math.isnan(mark.low) for mark in marks):
        cut = any(mark.low < -1.0 or mark.high > 1.0 for mark in marks)
        text = f"{interval}, cut at a difference of 1" if cut else interval
        handles.append(Line2D([], [], color=INK, linewidth=1.0, label=text))
        for filled, text in ((True, significant), (False, not_significant)):
            if text:
                style = _mark_style({"color": INK, "marker": "o"}, significant=filled)
                handles.append(Line2D([], [], label=text, **style))
    if not all(math.isnan(mark.spread) for mark in marks):
        bar = Line2D([], [], color=SOFT, linewidth=5.0, solid_capstyle="butt", alpha=_PALE)
        bar.set_label("± SD between trainings")
        handles.append(bar)
    return handles
