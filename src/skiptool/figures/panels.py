"""Grids of panels that share their axes, and common parts of figures along layers of networks.

The grids use Matplotlib's constrained layout; figures are sized to fit their panels and labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.path import Path
from matplotlib.transforms import Bbox, ScaledTranslation, blended_transform_factory

from skiptool.errors import ArgumentError
from skiptool.figures.style import INK, TWO_COLUMNS, label_text, text_width
from skiptool.names import SKIP_LEVELS, in_data_flow

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.backend_bases import RendererBase

    from skiptool.records import Float64

# Grids of panels

_LEFT: Final = 0.6  # approximate inches of the ticks and name of the vertical axis
_GUTTER: Final = 0.12  # inches between panels
_HANDLE: Final = 0.55  # inches of a legend entry without its text
_BRACKETS: Final = 0.22  # inches of the brackets of skip connections below a panel
_NARROWEST: Final = 0.1  # inches of a layer with a vertical name
_NAME_SIZE: Final = 6.5
_SPACE: Final = 1.0  # inches between panels while their labels are measured


class Panel(Axes):
    """Axes whose labels are measured once, not in each round of Matplotlib's layout."""

    _margins: Float64 | None = None  # pixels from each edge to the end of its labels

    def measure(self) -> None:
        """Measure the labels around the panel at its present size, for the layouts that follow."""
        for axis in (self.xaxis, self.yaxis):
            if not axis.get_label_text():
                axis.set_label_coords(0.5, 0.0)  # otherwise looked for at each drawing
        self._margins = None
        around = super().get_tightbbox(for_layout_only=True)
        if around is not None:
            self._margins = np.subtract(around.extents, self.bbox.extents)

    def get_tightbbox(
        self,
        renderer: RendererBase | None = None,
        *,
        call_axes_locator: bool = True,
        bbox_extra_artists: Sequence[Artist] | None = None,
        for_layout_only: bool = False,
    ) -> Bbox | None:
        """Return the bounding box of the panel with its labels, for a layout as measured."""
        if self._margins is None or not for_layout_only:
            return super().get_tightbbox(
                renderer,
                call_axes_locator=call_axes_locator,
                bbox_extra_artists=bbox_extra_artists,
                for_layout_only=for_layout_only,
            )
        self.apply_aspect()
        return Bbox.from_extents(*(self.bbox.extents + self._margins))


def panel_grid(
    cells: Sequence[tuple[int, int]],
    *,
    width: float = TWO_COLUMNS,
    sharex: bool = True,
    sharey: bool = True,
) -> tuple[Figure, list[Axes]]:
    """Make a figure with panels in the given rows and columns.

    Shared axes have tick labels only at the leftmost panels of rows or the lowest of columns.
    """
    rows, columns = (1 + max(places) for places in zip(*cells, strict=True))
    figure = Figure(figsize=(width, 2.5 * rows + 2.0))
    grid = figure.add_gridspec(rows, columns)
    panels: list[Axes] = []
    for row, column in cells:
        first = panels[0] if panels else None
        axes = figure.add_subplot(
            grid[row, column],
            axes_class=Panel,
            sharex=first if sharex else None,
            sharey=first if sharey else None,
        )
        if sharex:
            axes.tick_params(
                "x", which="both", labelbottom=row == max(r for r, c in cells if c == column)
            )
        if sharey:
            axes.tick_params(
                "y", which="both", labelleft=column == min(c for r, c in cells if r == row)
            )
        panels.append(axes)
    return figure, panels


def panel_width(columns: int, width: float = TWO_COLUMNS) -> float:
    """Return the approximate width in inches of panels side by side."""
    return (width - _LEFT) / columns - _GUTTER


def label_across(row: Sequence[Axes], label: str) -> None:
    """Name the horizontal axis once, below the middle of the lowest row of panels."""
    middle, odd = divmod(len(row) - 1, 2)
    row[middle].set_xlabel(label, x=1.0 if odd else 0.5)


def legend_below(figure: Figure, handles: Sequence[Artist]) -> None:
    """Put a legend below the panels, in as many columns as fit."""
    widest = text_width([str(handle.get_label()) for handle in handles], 6.5) + _HANDLE
    fitting = int((figure.get_figwidth() - 0.1) / widest)
    columns = max(1, min(len(handles), fitting))
    figure.legend(handles=[*handles], loc="outside lower left", ncols=columns)


def fit_layout(
    figure: Figure, heights: Sequence[float], widths: Sequence[float] | None = None
) -> None:
    """Resize a figure so that the rows (and columns) of its grid have given sizes in inches.

    The first panel must be in the first row and column, or in ones of equal size. The layout is
    then fixed for all output formats.
    """
    width = figure.get_figwidth() if widths is None else sum(widths) + _SPACE * (len(widths) + 1)
    height = sum(heights) + _SPACE * (len(heights) + 1)
    figure.set_size_inches(width, height)
    edge = _SPACE / height
    figure.subplots_adjust(bottom=edge, top=1.0 - edge, hspace=_SPACE / float(np.mean(heights)))
    if widths is not None:
        edge = _SPACE / width
        figure.subplots_adjust(left=edge, right=1.0 - edge, wspace=_SPACE / float(np.mean(widths)))
    for axes in figure.axes:  # now of their final height (and width)
        if isinstance(axes, Panel):
            axes.measure()
    layout = ConstrainedLayoutEngine()
    layout.execute(figure)
    first = figure.axes[0].get_position(original=True)
    if widths is not None:
        width += (widths[0] - first.width * width) * sum(widths) / widths[0]
    height += (heights[0] - first.height * height) * sum(heights) / heights[0]
    figure.set_size_inches(width, height)
    layout.execute(figure)


# Panels along the layers of networks

_BRACKET: Final = Path([(-1.0, 0.7), (-1.0, -0.4), (1.0, -0.4), (1.0, 0.7)])


def layer_grid(
    cells: Sequence[tuple[int, int]], names: Sequence[str]
) -> tuple[Figure, list[Axes], float]:
    """Make a grid of panels with layers along the horizontal axis; also return their width.

    The figure is wider than two journal columns if the names of its layers require it.
    """
    columns = 1 + max(column for _, column in cells)
    width = max(panel_width(columns), _NARROWEST * len(names))
    figure, panels = panel_grid(cells, width=(width + _GUTTER) * columns + _LEFT)
    for axes, (row, column) in zip(panels, cells, strict=True):
        if row == max(r for r, c in cells if c == column):
            layer_axes(axes, names, width)
        else:
            axes.xaxis.set_visible(False)
            axes.grid(axis="y")
    return figure, panels, width


def layer_axes(axes: Axes, names: Sequence[str], width: float) -> None:
    """Name layers below Axes of a width in inches, vertically if the names would touch."""
    labels = [label_text(name, 40) for name in names]
    vertical = text_width(labels, _NAME_SIZE) > width / (len(labels) + 0.4) - 0.02
    axes.set_xlim(-0.7, len(labels) - 0.3)
    axes.set_xticks(range(len(labels)), labels, rotation=90 if vertical else 0)
    axes.tick_params("x", length=0.0, pad=72.0 * _BRACKETS + 2.0)
    axes.grid(axis="y")


def draw_skips(axes: Axes, ends: Sequence[tuple[int, int, int]], colour: str) -> None:
    """Draw skip connections as brackets below Axes, outer ones lower.

    ``ends`` are the level of each and the positions of its two layers.
    """
    corner: Any = axes.transAxes
    foot = axes.figure.dpi_scale_trans + ScaledTranslation(0.0, 0.0, corner)
    inches = blended_transform_factory(axes.transData, foot)
    for level, start, end in ends:
        low = -_BRACKETS * (0.9 - 0.7 * SKIP_LEVELS.index(level) / len(SKIP_LEVELS))
        bracket = Line2D([start, start, end, end], [-0.03, low, low, -0.03], color=colour)
        bracket.set(linewidth=1.0, clip_on=False, transform=inches)
        axes.add_line(bracket)


def skip_handle(colour: str = INK) -> Line2D:
    """Return the legend entry of the brackets."""
    handle = Line2D([], [], color=colour, linewidth=0, marker=_BRACKET, label="skip connection")
    handle.set(markersize=8, markerfacecolor="none")
    return handle


@dataclass(frozen=True, slots=True, eq=False)
class LayerChannels:
    """Distances of the channels of one layer.

    Attributes
    ----------
    layer : str
        One of `skiptool.names.LAYERS`, or a module name.
    values : float64, shape (D,)
        Hellinger distance of each channel, eq. (9), in [0, 1]; NaN is ignored.
    mean : float, optional
        Mean over the channels, eq. (10); by default that of ``values``.
    interval : (float, float), optional
        Interval of the mean.
    null : (float, float), optional
        Range of the mean without a shift, drawn as a grey band.
    """

    layer: str
    values: Float64
    mean: float | None = None
    interval: tuple[float, float] | None = None
    null: tuple[float, float] | None = None

    def finite(self) -> Float64:
        """Return the finite values."""
        return self.values[np.isfinite(self.values)]

    def centre(self) -> float:
        """Return the mean over the channels, NaN without values."""
        if self.mean is not None:
            return self.mean
        values = self.finite()
        return float(values.mean()) if values.size else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A network with its skip levels and layers.

    ``encoder`` includes the architecture if that is not ``unet``, see
    `skiptool.records.architecture_family`.
    """

    pruning: str
    encoder: str
    skips: tuple[int, ...]
    layers: tuple[LayerChannels, ...]

    def joined(self, order: Mapping[str, int]) -> list[tuple[int, int, int]]:
        """Return the level and ends of each skip connection whose layers are both on the axis."""
        ends = [(level, order.get(f"enc{level}"), order.get(f"dec{level}")) for level in self.skips]
        return [(level, a, b) for level, a, b in ends if a is not None and b is not None]


def layer_order(networks: Sequence[Network]) -> dict[str, int]:
    """Return the position of each layer on the axis: in data flow, then by first appearance.

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
    return {name: position for position, name in enumerate(seen)}


def greatest_distance(networks: Sequence[Network]) -> float:
    """Return the greatest distance in a figure of networks, including intervals; 0 without any."""
    drawn = [0.0]
    for layer in (layer for net in networks for layer in net.layers):
        drawn += [float(layer.finite().max(initial=0.0)), float(np.nan_to_num(layer.centre()))]
        drawn += [*(layer.interval or ()), *(layer.null or ())]
    return max(drawn)
