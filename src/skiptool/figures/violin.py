"""Violins of the distance of each channel, layer by layer (Fig. 8).

Each network has a small panel on the same axes, as several violins at each layer would be hard to
tell apart. Panels of pruned networks show the means of the baseline for comparison. Brackets below
a panel join ``enc{l}`` and ``dec{l}`` for each skip connection.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from skiptool.figures.panels import (
    Network,
    draw_skips,
    fit_layout,
    greatest_distance,
    layer_axes,
    layer_grid,
    layer_order,
    legend_below,
    skip_handle,
)
from skiptool.figures.style import (
    BASELINE_COLOUR,
    HOLE,
    INK,
    SOFT,
    RoundLocator,
    architecture_colours,
    drawing_style,
    in_paper_order,
    label_text,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from skiptool.records import Float64

# Outline of a violin: a kernel density estimate of distances

_POINTS: Final = 48
_FLAT: Final = 1e-9  # range of values that are considered equal
_REACH: Final = 7.0  # bandwidths beyond which a value is negligible


def density_outline(values: Float64) -> tuple[Float64, Float64] | None:
    """Estimate the density of values between their minimum and maximum, scaled to a maximum of 1.

    Parameters
    ----------
    values : float64, shape (D,)
        Finite values, one per channel, not below 0.

    Returns
    -------
    (float64, shape (P,), float64, shape (P,)) or None
        Positions and density; None if all values are equal or there are none.

    Notes
    -----
    Gaussian kernel with Silverman's rule, reflected at 0, and at 1 where no value is greater;
    Matplotlib's violins have no such boundary correction. The outline ends at the extreme values.

    Examples
    --------
    >>> places, density = density_outline(np.array([0.2, 0.3, 0.3, 0.4]))
    >>> float(places[0]), float(places[-1]), float(density.max())
    (0.2, 0.4, 1.0)
    >>> density_outline(np.zeros(64)) is None
    True
    """
    if values.size < 2 or np.ptp(values) < _FLAT:
        return None
    places = np.linspace(values.min(), values.max(), _POINTS)
    width = _bandwidth(values)
    density = np.zeros(_POINTS)
    for mirrored in (values, -values, *([2.0 - values] if values.max() <= 1.0 else [])):
        far = _REACH * width
        mirrored = mirrored[(mirrored > places[0] - far) & (mirrored < places[-1] + far)]
        density += np.exp(-0.5 * ((places[:, None] - mirrored) / width) ** 2).sum(axis=1)
    return places, density / density.max()


def _bandwidth(values: Float64) -> float:
    """Return Silverman's bandwidth, but at least the distance between two positions."""
    quarter, three_quarters = np.quantile(values, (0.25, 0.75))
    scale = float(np.std(values, ddof=1))
    if three_quarters > quarter:
        scale = min(scale, float(three_quarters - quarter) / 1.349)
    return max(0.9 * scale * math.pow(values.size, -0.2), float(np.ptp(values)) / _POINTS)


# Panels

_BASELINE: Final = "baseline"
_FEW: Final = 8  # values of fewer channels are shown instead of a density
_HALF: Final = 0.4  # half width of a violin, in steps between layers
_DOT: Final[dict[str, Any]] = {
    "marker": "o",
    "markersize": 3.4,
    "color": INK,
    "markeredgecolor": "#ffffff",
    "markeredgewidth": 0.6,
}
_HEIGHTS: Final = {1: 1.9, 2: 1.4, 3: 1.15}
_LOWEST: Final = (0.55, 0.95)  # least and greatest height of a panel with more rows
_PAGE: Final = 8.2  # inches of all panels and the gaps between them
_GAP: Final = 0.45
_WRAP: Final = 6  # more networks of a single encoder take two columns
_MAX_COLUMNS: Final = 3  # of encoders; networks of more encoders are wrapped


def layer_violins(
    networks: Sequence[Network], *, title: str, measure: str = "Hellinger distance"
) -> Figure:
    """Draw the distribution of the distances of channels at each layer of networks.

    Parameters
    ----------
    networks : sequence of Network
        One for each pruning and encoder, with trainings pooled, in any order. Panels follow the
        paper's order of prunings and the first appearance of encoders.
    measure : str
        Name of the vertical axis.

    Returns
    -------
    Figure
        As wide as two journal columns, or wider if the names of layers require it.

    Raises
    ------
    ArgumentError
        If there is no network, none has a layer, or two have the same pruning and encoder.
    """
    order = layer_order(networks)
    encoders = list(dict.fromkeys(net.encoder for net in networks))
    headed = len(encoders) <= _MAX_COLUMNS and any(encoders)
    cells = _cells(networks, encoders)
    with drawing_style():
        figure, panels, width = layer_grid(cells, list(order))
        colours = architecture_colours(net.pruning for net in networks)
        baselines = {net.encoder: net for net in networks if net.pruning == _BASELINE}
        for net, axes in zip(networks, panels, strict=True):
            baseline = None if net.pruning == _BASELINE else baselines.get(net.encoder)
            colour = colours[net.pruning]
            draw_violins(axes, net, order, baseline=baseline, colour=colour)
            name = net.pruning if headed else f"{net.encoder} {net.pruning}".strip()
            above: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
            axes.annotate("■", (0, 1), (0, 4), color=colour, **above)
            axes.annotate(shorten(name, 7.0, width - 0.1), (0, 1), (8, 4), **above)
        for column, encoder in enumerate(encoders if headed else ()):
            highest = min(row for row, other in cells if other == column)
            axes = panels[cells.index((highest, column))]
            axes.set_title(shorten(label_text(encoder), 8.0, width), weight="bold", pad=17)
        panels[0].set_ylim(0.0, 1.02 * _top(greatest_distance(networks)))
        figure.suptitle(label_text(title, 100), x=0.01, ha="left")
        figure.supylabel(measure.split(",")[0], color=SOFT)
        legend_below(figure, _legend(networks, order))
        rows = 1 + max(row for row, _ in cells)
        height = _HEIGHTS.get(rows, float(np.clip(_PAGE / rows - _GAP, *_LOWEST)))
        fit_layout(figure, [height] * rows)
    return figure


def _cells(networks: Sequence[Network], encoders: Sequence[str]) -> list[tuple[int, int]]:
    """Return row and column of each panel: prunings by encoders, wrapped if there are too many."""
    prunings = in_paper_order(net.pruning for net in networks)
    places = [(encoders.index(net.encoder), prunings.index(net.pruning)) for net in networks]
    if len(encoders) > _MAX_COLUMNS:
        ranked = sorted(places)
        return [divmod(ranked.index(place), _MAX_COLUMNS) for place in places]
    if len(encoders) == 1 and len(prunings) > _WRAP:
        return [divmod(pruning, 2) for _, pruning in places]
    return [(pruning, encoder) for encoder, pruning in places]


def _top(greatest: float) -> float:
    """Return the upper end of the distance axis, the next round number."""
    step = 0.02 if greatest <= 0.1 else 0.1
    return max(math.ceil(greatest / step - 1e-9) * step, 0.02)


def draw_violins(
    axes: Axes,
    network: Network,
    order: Mapping[str, int] | None = None,
    *,
    baseline: Network | None = None,
    colour: str | None = None,
) -> None:
    """Draw the distances of one network, layer by layer, into Axes.

    Parameters
    ----------
    order : mapping of layer to int, optional
        Position of each layer. By default, the layers of the network are placed in the order of
        data flow and labelled.
    baseline : Network, optional
        Draw its means as ticks.
    colour : str, optional
        By default, the colour of the pruning.
    """
    if order is None:
        order = layer_order([network])
        layer_axes(axes, list(order), axes.get_window_extent().width / axes.figure.dpi)
    colour = colour or architecture_colours([network.pruning])[network.pruning]
    shapes = []
    for layer in network.layers:
        values = layer.finite()
        if 1 < values.size < _FEW:
            # rings on alternating sides of the mean
            sides = order[layer.layer] + 0.22 * (-1.0) ** np.arange(values.size)
            (rings,) = axes.plot(sides, np.sort(values), "o", color=colour, clip_on=False)
            rings.set(markersize=3.2, markerfacecolor="none", markeredgewidth=0.9)
        elif values.size:
            shapes.append(_shape(order[layer.layer], values))
    # Collections, as an artist for each layer would double the time to draw a page.
    violins = PolyCollection(
        shapes,
        facecolors=[to_rgba(colour, 0.5)],
        edgecolors=[colour],
        linewidths=0.6,
        zorder=2,
    )
    axes.add_collection(violins, autolim=False)
    placed = [(order[layer.layer], layer) for layer in network.layers]
    if nulls := [(x, layer.null) for x, layer in placed if layer.null]:
        x, ends = (np.array(part) for part in zip(*nulls, strict=True))
        axes.bar(x, ends[:, 1] - ends[:, 0], 0.96, ends[:, 0], color=HOLE, zorder=1)
    if intervals := [(x, layer.interval) for x, layer in placed if layer.interval]:
        x, ends = (np.array(part) for part in zip(*intervals, strict=True))
        axes.vlines(x, ends[:, 0], ends[:, 1], color=INK, linewidth=1.1, zorder=4)
    if baseline is not None:
        means = [(order[layer.layer], layer.centre()) for layer in baseline.layers]
        x, y = np.array([mean for mean in means if math.isfinite(mean[1])]).reshape(-1, 2).T
        axes.hlines(y, x - 0.46, x + 0.46, color=BASELINE_COLOUR, linewidth=0.9, zorder=3)
    positions, centres = [x for x, _ in placed], [layer.centre() for _, layer in placed]
    axes.plot(positions, centres, linestyle="", clip_on=False, zorder=5, **_DOT)
    axes.set_ylim(0.0, 1.02 * _top(greatest_distance([network])))
    axes.yaxis.set_major_locator(RoundLocator(4))
    draw_skips(axes, network.joined(order), colour)


def _shape(x: float, values: Float64) -> Float64:
    """Return the corners (V, 2) of a violin, or of a flat line if all values are equal."""
    outline = density_outline(values)
    if outline is None:
        return np.array([[x - _HALF, values[0]], [x + _HALF, values[0]]])
    positions, density = outline
    half = _HALF * density
    sides = np.concatenate([x - half, (x + half)[::-1]])
    return np.column_stack([sides, np.concatenate([positions, positions[::-1]])])


def _legend(networks: Sequence[Network], order: Mapping[str, int]) -> list[Artist]:
    layers = [layer for net in networks for layer in net.layers]
    prunings = {net.pruning for net in networks}
    handles: list[Artist] = [Line2D([], [], lw=0, label="mean over channels", **_DOT)]
    if _BASELINE in prunings and len(prunings) > 1:
        handles.append(Line2D([], [], color=BASELINE_COLOUR, lw=0.9, label="mean of the baseline"))
    if any(layer.interval for layer in layers):
        handles.append(Line2D([], [], color=INK, lw=0, marker="|", label="interval of the mean"))
    if any(layer.null for layer in layers):
        handles.append(Patch(color=HOLE, label="possible without a shift"))
    if any(net.joined(order) for net in networks):
        handles.append(skip_handle())
    return handles
