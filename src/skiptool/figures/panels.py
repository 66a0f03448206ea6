"""Where the small panels of a figure stand: prunings below one another, encoders side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from skiptool.errors import ArgumentError
from skiptool.figures.style import (
    INK,
    ONE_COLUMN,
    SOFT,
    TWO_COLUMNS,
    in_paper_order,
    readable,
    text_width,
)
from skiptool.names import in_data_flow

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from skiptool.records import Float64

__all__ = [
    "CurveSheet",
    "Facets",
    "LayerChannels",
    "Network",
    "Panel",
    "Sheet",
    "greatest_distance",
    "layer_order",
    "plan_curves",
    "plan_facets",
    "plan_panels",
    "settle",
]

_LEFT: Final = 0.52
_RIGHT: Final = 0.06
_GUTTER: Final = 0.14
_NARROWEST: Final = 2.05
_TITLE: Final = 0.24
_ENCODERS: Final = 0.2
_NAME: Final = 0.2
_BRACKETS: Final = 0.22
_LEGEND: Final = 0.26
_HEIGHTS: Final = {1: 1.9, 2: 1.4, 3: 1.15}
_LOWEST: Final = (0.95, 0.55)  # height of many panels: where a page holds them, and at least
_PAGE: Final = 9.2
_NAME_ROOM: Final = 0.1  # width of a layer whose name stands upright
_WRAP: Final = 6  # more networks of one encoder stand in two columns
_BESIDE: Final = 3  # networks of more encoders stand one after the other, in as many columns


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel, its rectangle in inches from the lower left corner of the sheet."""

    name: str
    left: float
    bottom: float
    width: float
    height: float
    first: bool  # carries the numbers of the vertical axis
    last: bool  # carries the names of the layers

    def bracket(self, depth: float) -> tuple[float, float]:
        """Upper and lower end of a bracket below the panel, in parts of the panel's height.

        ``depth`` is 0 for the outermost and nears 1 for the innermost.
        """
        return -0.03 / self.height, -_BRACKETS * (0.9 - 0.7 * depth) / self.height


@dataclass(frozen=True, slots=True)
class Sheet:
    """All panels, in the order asked for, and what stands around them."""

    panels: tuple[Panel, ...]
    encoders: tuple[tuple[str, float], ...]  # name, left edge
    size: tuple[float, float]
    upright: bool  # names of the layers turned by 90 degrees

    @property
    def label_pad(self) -> float:
        """Points between a panel and the names of its layers: room for the brackets."""
        return _BRACKETS * 72 + 2

    def rectangle(self, panel: Panel) -> tuple[float, float, float, float]:
        """Return the place of a panel as fractions of the sheet, as Matplotlib wants it."""
        width, height = self.size
        return (
            panel.left / width,
            panel.bottom / height,
            panel.width / width,
            panel.height / height,
        )

    def head(self, figure: Figure, panel: Panel, colour: str) -> None:
        """Write a panel's name above it, after a square of its colour."""
        x, y = panel.left / self.size[0], (panel.bottom + panel.height + 0.06) / self.size[1]
        figure.text(x, y, "■", color=colour, size=7.0)
        figure.text(x + 0.11 / self.size[0], y, panel.name, size=7.0)

    def label(self, figure: Figure, title: str, vertical: str) -> None:
        """Write the title, the encoders and the name of the vertical axis."""
        width, height = self.size
        figure.text(0.06 / width, 1 - 0.15 / height, title, size=8.0)
        for name, left in self.encoders:
            place = 1 - (_TITLE + 0.14) / height
            figure.text(left / width, place, name, weight="bold", size=7.0)
        lowest = min(panel.bottom for panel in self.panels)
        highest = max(panel.bottom + panel.height for panel in self.panels)
        figure.text(
            0.15 / width,
            (lowest + highest) / 2 / height,
            vertical,
            rotation=90,
            rotation_mode="anchor",
            ha="center",
            color=SOFT,
        )

    def legend_place(self) -> dict[str, Any]:
        """Return the arguments that put a legend along the foot of the sheet."""
        return {
            "loc": "lower left",
            "bbox_to_anchor": (_LEFT / self.size[0], 0.02 / self.size[1]),
            "borderaxespad": 0.0,
            "borderpad": 0.2,
            "frameon": False,
            "ncols": 5,
            "handlelength": 1.4,
            "columnspacing": 1.6,
            "fontsize": 6.5,
            "labelcolor": INK,
        }


def plan_panels(keys: Sequence[tuple[str, str]], layers: Sequence[str]) -> Sheet:
    """Place one panel for each (pruning, encoder), with room for the names of the layers."""
    cells = _cells(keys)
    rows, columns = (1 + max(place) for place in zip(*cells, strict=True))
    room = TWO_COLUMNS - _LEFT - _RIGHT - _GUTTER * (columns - 1)
    width = max(_NARROWEST, room / columns, _NAME_ROOM * len(layers))
    widest = text_width(layers, 6.5)
    upright = widest > width / (len(layers) + 0.4) - 0.02
    names = (widest if upright else 0.1) + 0.06
    lefts = [_LEFT + column * (width + _GUTTER) for column in range(columns)]
    headed = _headed(keys)
    head = _TITLE + (_ENCODERS if headed else 0.0)
    free = (_PAGE - head - names - _LEGEND) / rows - _NAME - _BRACKETS
    height = _HEIGHTS.get(rows, min(_LOWEST[0], max(_LOWEST[1], free)))
    pitch = _NAME + height + _BRACKETS
    total = head + rows * pitch + names + _LEGEND
    lowest = {column: max(r for r, c in cells if c == column) for _, column in cells}
    leftmost = {row: min(c for r, c in cells if r == row) for row, _ in cells}
    panels = tuple(
        Panel(
            name=readable(pruning if headed else f"{encoder} {pruning}".strip()),
            left=lefts[column],
            bottom=total - head - row * pitch - _NAME - height,
            width=width,
            height=height,
            first=column == leftmost[row],
            last=row == lowest[column],
        )
        for (pruning, encoder), (row, column) in zip(keys, cells, strict=True)
    )
    encoders = _encoders(keys) if headed else []
    size = (lefts[-1] + width + _RIGHT, total)
    named = map(readable, encoders)
    heads = tuple(zip(named, lefts, strict=False))  # one encoder may fill two columns
    return Sheet(panels, heads, size, upright)


def _encoders(keys: Sequence[tuple[str, str]]) -> list[str]:
    return list(dict.fromkeys(encoder for _, encoder in keys))


def _headed(keys: Sequence[tuple[str, str]]) -> bool:
    """Whether each encoder heads a column."""
    encoders = _encoders(keys)
    return len(encoders) <= _BESIDE and any(encoders)


def _cells(keys: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
    """Row and column of each panel."""
    prunings = in_paper_order(pruning for pruning, _ in keys)
    encoders = _encoders(keys)
    if len(encoders) > _BESIDE:
        ranked = sorted(keys, key=lambda key: (encoders.index(key[1]), prunings.index(key[0])))
        return [divmod(ranked.index(key), _BESIDE) for key in keys]
    if len(encoders) == 1 and len(prunings) > _WRAP:
        return [divmod(prunings.index(pruning), 2) for pruning, _ in keys]
    return [(prunings.index(pruning), encoders.index(encoder)) for pruning, encoder in keys]


# -------------------------------------------------------------------------------------------------
# Where the panels of a figure of curves stand, and what stands around them.


_RIGHT_CURVE_SHEET: Final = 0.08
_GUTTER_CURVE_SHEET: Final = 0.18
_TITLE_CURVE_SHEET: Final = 0.26
_NARROWEST_CURVE_SHEET: Final = 0.1  # width of a layer whose name stands upright
_LEGEND_ROW: Final = 0.135
_HANDLE: Final = 0.5  # inches of a legend's entry beside its text
_HEIGHTS_CURVE_SHEET: Final = {1: 2.1, 2: 1.7}
_STEPS: Final = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10])


@dataclass(frozen=True, slots=True)
class CurveSheet:
    """Places in inches from the lower left corner.

    Attributes
    ----------
    names : tuple of str
        Layers along each axis.
    size, panel : (float, float)
        Width and height of the sheet, of a panel.
    corners : tuple of (float, float)
        Left and lower edge of each panel.
    columns, legend : int
        Panels side by side; entries of the legend side by side.
    upright : bool
        Names of the layers are turned by 90 degrees.
    """

    names: tuple[str, ...]
    size: tuple[float, float]
    panel: tuple[float, float]
    corners: tuple[tuple[float, float], ...]
    columns: int
    legend: int
    upright: bool

    def bracket(self, depth: float) -> tuple[float, float]:
        """Upper and lower end of a bracket below a panel, in parts of the panel's height.

        ``depth`` is 0 for the outermost and nears 1 for the innermost.
        """
        return -0.03 / self.panel[1], -_BRACKETS * (0.9 - 0.7 * depth) / self.panel[1]

    def frame(self, figure: Figure, place: int, head: str, top: float) -> Axes:
        """Add the axes of a panel, from 0 to the next round number above ``top``."""
        (left, low), (width, height), size = self.corners[place], self.panel, self.size
        axes = figure.add_axes((left / size[0], low / size[1], width / size[0], height / size[1]))
        axes.set_xlim(-0.7, len(self.names) - 0.3)
        ticks = np.asarray(_STEPS.tick_values(0.0, top))
        ticks = ticks[(ticks >= 0.0) & (np.append(-1.0, ticks[:-1]) < top)]
        axes.set_ylim(0.0, ticks[-1] * 1.02)
        axes.set_yticks(ticks)
        axes.grid(axis="y")
        axes.tick_params(axis="y", labelleft=place % self.columns == 0)
        axes.set_xticks(range(len(self.names)), self.names)
        axes.tick_params(axis="x", length=0, pad=_BRACKETS * 72 + 2)
        if self.upright:
            for label in axes.get_xticklabels():
                label.set(rotation=90, rotation_mode="anchor", ha="right", va="center_baseline")
        axes.set_title(readable(head), loc="left", size=7.0, weight="bold", pad=4.0)
        return axes

    def label(self, figure: Figure, title: str, vertical: str, handles: Sequence[Artist]) -> None:
        """Write the title and the names of the vertical axes, and put the legend at the foot."""
        width, height = self.size
        figure.text(0.06 / width, 1 - 0.15 / height, title, size=8.0)
        for left, low in self.corners[:: self.columns]:
            figure.text(
                (left - _LEFT + 0.15) / width,
                (low + self.panel[1] / 2) / height,
                vertical,
                rotation=90,
                rotation_mode="anchor",
                ha="center",
                color=SOFT,
            )
        style: dict[str, Any] = {"borderaxespad": 0.0, "borderpad": 0.2, "frameon": False}
        style |= {"handlelength": 1.8, "columnspacing": 1.6, "labelspacing": 0.3}
        figure.legend(
            handles=[*handles],
            loc="lower left",
            bbox_to_anchor=(_LEFT / width, 0.02 / height),
            ncols=self.legend,
            fontsize=6.5,
            labelcolor=INK,
            **style,
        )


def plan_curves(panels: int, names: Sequence[str], legend: Sequence[str]) -> CurveSheet:
    """Place panels on the width of two columns, with room for layers and a legend below.

    Parameters
    ----------
    panels : int
    names, legend : sequence of str
        Layers, and entries of the legend.

    Returns
    -------
    CurveSheet
        Wider than two columns where a panel needs more for the names of its layers.
    """
    room = TWO_COLUMNS - _LEFT - _RIGHT_CURVE_SHEET
    columns = panels if panels <= 3 else 2 if panels == 4 else 3
    narrowest = _NARROWEST_CURVE_SHEET * len(names)
    while columns > 1 and (room - _GUTTER_CURVE_SHEET * (columns - 1)) / columns < narrowest:
        columns -= 1
    rows = math.ceil(panels / columns)
    width = max((room - _GUTTER_CURVE_SHEET * (columns - 1)) / columns, narrowest)
    height = _HEIGHTS_CURVE_SHEET.get(rows, 1.4)
    widest = text_width(names, 6.5)
    upright = widest > width / (len(names) + 0.4) - 0.02
    foot = _BRACKETS + (widest if upright else 0.1) + 0.06
    across = max(1, int((TWO_COLUMNS - _LEFT) / (text_width(legend, 6.5) + _HANDLE)))
    below = 0.1 + _LEGEND_ROW * math.ceil(len(legend) / across)
    pitch = _NAME + height + foot
    total = _TITLE_CURVE_SHEET + rows * pitch + below
    places = tuple(
        (
            _LEFT + column * (width + _GUTTER_CURVE_SHEET),
            total - _TITLE_CURVE_SHEET - row * pitch - _NAME - height,
        )
        for row, column in (divmod(panel, columns) for panel in range(panels))
    )
    wide = _LEFT + columns * width + (columns - 1) * _GUTTER_CURVE_SHEET + _RIGHT_CURVE_SHEET
    return CurveSheet(
        *(tuple(names), (wide, total), (width, height), places, columns, across, upright)
    )


# -------------------------------------------------------------------------------------------------
# Where many small panels of one kind and their legends stand on a sheet.


_LEFT_FACETS, _RIGHT_FACETS, _TOP, _GUTTER_FACETS = (
    0.46,
    0.08,
    0.06,
    0.18,
)  # inches, as all that follows
_HEAD: Final = 0.3  # two lines above a panel
_TICKS: Final = 0.24
_FOOT: Final = 0.22  # name of the horizontal axis
_LINE: Final = 0.145  # of a legend
_HANDLE_FACETS: Final = 0.34  # before and behind an entry of a legend
_ACROSS: Final = 4
_HEIGHTS_FACETS: Final = (1.15, 1.9)


@dataclass(frozen=True, slots=True)
class Facets:
    """Panels, row by row, and legends, in inches from the upper left corner of the sheet.

    Attributes
    ----------
    lefts, tops : tuple of float
        Edges of the columns and rows of panels.
    panel : (float, float)
        Width and height of each.
    legends : tuple of (entries, columns, top)
    size : (float, float)
        Width and height of the sheet.
    """

    lefts: tuple[float, ...]
    tops: tuple[float, ...]
    panel: tuple[float, float]
    legends: tuple[tuple[Sequence[Line2D], int, float], ...]
    size: tuple[float, float]

    def rectangle(self, number: int) -> tuple[float, float, float, float]:
        """Return the place of a panel as fractions of the sheet, as Matplotlib wants it."""
        row, column = divmod(number, len(self.lefts))
        (width, height), panel = self.size, self.panel
        bottom = 1 - (self.tops[row] + panel[1]) / height
        return self.lefts[column] / width, bottom, panel[0] / width, panel[1] / height

    def first(self, number: int) -> bool:
        """Whether a panel carries the numbers of the vertical axis."""
        return number % len(self.lefts) == 0

    def surround(self, figure: Figure, horizontal: str, vertical: str) -> None:
        """Write the names of the axes, and the legends below them."""
        width, height = self.size
        bottom = self.tops[-1] + self.panel[1]
        right = self.lefts[-1] + self.panel[0]
        figure.text(
            0.12 / width,
            1 - (self.tops[0] + bottom) / 2 / height,
            readable(vertical, 60),
            rotation=90,
            rotation_mode="anchor",
            ha="center",
            color=SOFT,
        )
        across, foot = (self.lefts[0] + right) / 2 / width, 1 - (bottom + _TICKS + 0.08) / height
        figure.text(across, foot, readable(horizontal, 60), ha="center", color=SOFT)
        for entries, columns, top in self.legends:
            figure.legend(
                handles=entries,
                ncols=columns,
                loc="upper left",
                bbox_to_anchor=(self.lefts[0] / width, 1 - top / height),
                borderaxespad=0.0,
                borderpad=0.0,
                labelspacing=0.25,
                handlelength=1.2,
                handletextpad=0.4,
                columnspacing=1.2,
                frameon=False,
                fontsize=6.5,
            )


def plan_facets(panels: int, legends: Sequence[Sequence[Line2D]]) -> Facets:
    """Place panels, at most four in a row and rows as even as may be, over two journal columns.

    One or two panels stand in one journal column. Each legend takes the lines that its labels need.
    """
    width = ONE_COLUMN if panels < 3 else TWO_COLUMNS
    rows = -(-panels // _ACROSS)
    columns = -(-panels // rows)
    across = (width - _LEFT_FACETS - _RIGHT_FACETS - _GUTTER_FACETS * (columns - 1)) / columns
    tall = min(max(0.75 * across, _HEIGHTS_FACETS[0]), _HEIGHTS_FACETS[1])
    pitch = _HEAD + tall + _TICKS
    top = _TOP + rows * pitch + _FOOT
    placed = []
    for entries in legends:
        widest = text_width([str(entry.get_label()) for entry in entries], 6.5) + _HANDLE_FACETS
        fitting = max(1, min(len(entries), int((width - _LEFT_FACETS) / widest)))
        placed.append((entries, fitting, top))
        top += _LINE * -(-len(entries) // fitting) + 0.03
    return Facets(
        lefts=tuple(_LEFT_FACETS + column * (across + _GUTTER_FACETS) for column in range(columns)),
        tops=tuple(_TOP + row * pitch + _HEAD for row in range(rows)),
        panel=(across, tall),
        legends=tuple(placed),
        size=(width, top + 0.05),
    )


# -------------------------------------------------------------------------------------------------
# What a figure along the network shows: the channels of each layer, and their order.


@dataclass(frozen=True, slots=True, eq=False)
class LayerChannels:
    """Distances of the channels of one layer.

    Attributes
    ----------
    layer : str
        One of the twelve, or a module name.
    values : float64, shape (D,)
        Hellinger distance of each channel, eq. (9), in [0, 1]; NaN is left out.
    mean : float, optional
        Mean over the channels, eq. (10); taken from ``values`` where it is not given.
    interval : (float, float), optional
        Interval of the mean, drawn if given.
    null : (float, float), optional
        Where the mean would lie without a shift, drawn as a grey band if given.
    """

    layer: str
    values: Float64
    mean: float | None = None
    interval: tuple[float, float] | None = None
    null: tuple[float, float] | None = None

    def finite(self) -> Float64:
        """Return the values that are there."""
        return self.values[np.isfinite(self.values)]

    def centre(self) -> float:
        """Return the mean over the channels, NaN where there is no value."""
        if self.mean is not None:
            return self.mean
        values = self.finite()
        return float(values.mean()) if values.size else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """One panel: a network with the skip levels that it has, and its layers.

    ``encoder`` also names the architecture where it is not ``unet``, see `skiptool.records.family`.
    """

    pruning: str
    encoder: str
    skips: tuple[int, ...]
    layers: tuple[LayerChannels, ...]

    def joined(self, order: Mapping[str, int]) -> list[tuple[int, int, int]]:
        """Level and the two ends of each skip connection whose layers are both on the axis."""
        ends = [(level, order.get(f"enc{level}"), order.get(f"dec{level}")) for level in self.skips]
        return [(level, a, b) for level, a, b in ends if a is not None and b is not None]


def layer_order(networks: Sequence[Network]) -> dict[str, int]:
    """Place of each layer on the axis: data flow for the twelve, then by first appearance.

    Raises
    ------
    ArgumentError
        If there is no layer at all, or two networks have the same pruning and encoder.
    """
    pairs = [(net.pruning, net.encoder) for net in networks]
    twice = sorted({" ".join(pair) for pair in pairs if pairs.count(pair) > 1})
    if twice:
        raise ArgumentError(
            f"violins: {', '.join(twice)} found more than once, expected one network for each "
            "pruning and encoder; pool the trainings first"
        )
    seen = in_data_flow(layer.layer for net in networks for layer in net.layers)
    if not seen:
        raise ArgumentError(
            "violins: found no layer, expected at least one network with a layer; give a table "
            "with the channels of one"
        )
    return {name: place for place, name in enumerate(seen)}


def greatest_distance(networks: Sequence[Network]) -> float:
    """Greatest distance that a figure of these networks has to show; 0 without any."""
    drawn = [0.0]
    for layer in (layer for net in networks for layer in net.layers):
        drawn += [float(layer.finite().max(initial=0.0)), float(np.nan_to_num(layer.centre()))]
        drawn += [*(layer.interval or ()), *(layer.null or ())]
    return max(drawn)


def settle(figure: Figure, widths: Sequence[float], heights: Sequence[float]) -> None:
    """Lay out a figure so that the columns and rows of its grid have their sizes in inches.

    The figure grows or shrinks by what the labels around its first panel, in the upper left
    corner, need. The layout does not change any more, whatever format is written.
    """
    layout = ConstrainedLayoutEngine()
    figure.set_layout_engine(layout)
    layout.execute(figure)
    width, height = figure.get_size_inches()
    first = figure.axes[0].get_position(original=True)
    width += (widths[0] - first.width * width) * sum(widths) / widths[0]
    height += (heights[0] - first.height * height) * sum(heights) / heights[0]
    figure.set_size_inches(width, height)
    layout.execute(figure)
    figure.set_layout_engine("none")
