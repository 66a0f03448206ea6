"""Violins of the distance of each channel, layer by layer (Fig. 8).

One small panel for each network, all on the same axes, encoders side by side: five violins at each
layer would be hard to tell apart at the width of a page. Each panel shows the means of the
unpruned network for comparison. Brackets below a panel join ``enc{l}`` and ``dec{l}`` for each skip
connection.
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
_FLAT: Final = 1e-9
_REACH: Final = 7.0


def density_outline(values: Float64) -> tuple[Float64, Float64] | None:
    """Estimate the density of values between their minimum and maximum, scaled to a maximum of 1.

    Parameters
    ----------
    values : float64, shape (D,)
        Finite values, one per channel, not below 0.

    Returns
    -------
    (float64, shape (P,), float64, shape (P,)) or None
        Positions and the density there; None where all values are equal or there is none.

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
        far = _REACH * width  # values farther away add nothing visible
        mirrored = mirrored[(mirrored > places[0] - far) & (mirrored < places[-1] + far)]
        density += np.exp(-0.5 * ((places[:, None] - mirrored) / width) ** 2).sum(axis=1)
    return places, density / density.max()


def _bandwidth(values: Float64) -> float:
    """Silverman's rule, but at least the distance between two positions."""
    quarter, three_quarters = np.quantile(values, (0.25, 0.75))
    scale = float(np.std(values, ddof=1))
    if three_quarters > quarter:
        scale = min(scale, float(three_quarters - quarter) / 1.349)
    return max(0.9 * scale * math.pow(values.size, -0.2), float(np.ptp(values)) / _POINTS)


# Panels

_BASELINE: Final = "baseline"
_FEW: Final = 8  # fewer channels are too few for a density: the values are shown
_HALF: Final = 0.4  # half width of a violin, in steps between layers
_DOT: Final[dict[str, Any]] = {
    "marker": "o",
    "markersize": 3.4,
    "color": INK,
    "markeredgecolor": "#ffffff",
    "markeredgewidth": 0.6,
}
_HEIGHTS: Final = {1: 1.9, 2: 1.4, 3: 1.15}
_LOWEST: Final = (0.95, 0.55)  # height of a panel of many: where a page has room, and at least
_PAGE: Final = 8.2  # inches of all panels, what is between them included
_BETWEEN: Final = 0.45
_WRAP: Final = 6  # more networks of one encoder take two columns
_BESIDE: Final = 3  # networks of more encoders follow one another, in as many columns


def layer_violins(
    networks: Sequence[Network], *, title: str, measure: str = "Hellinger distance"
) -> Figure:
    """Draw the distribution of per-channel distances along each network.

    Parameters
    ----------
    networks : sequence of Network
        One for each pruning and encoder, trainings pooled, in any order; panels follow the paper's
        order of prunings and the first appearance of encoders.
    title : str
        The shift and the number of bins B.
    measure : str
        Name of the vertical axis.

    Returns
    -------
    Figure
        As wide as two journal columns, wider where the names of layers need it.

    Raises
    ------
    ArgumentError
        If there is no network, none has a layer, or two have the same pruning and encoder.
    """
    order = layer_order(networks)
    encoders = list(dict.fromkeys(net.encoder for net in networks))
    headed = len(encoders) <= _BESIDE and any(encoders)
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
        free = _PAGE / rows - _BETWEEN
        height = _HEIGHTS.get(rows, min(_LOWEST[0], max(_LOWEST[1], free)))
        fit_layout(figure, [height] * rows)
    return figure


def _cells(networks: Sequence[Network], encoders: Sequence[str]) -> list[tuple[int, int]]:
    """Row and column of each panel: prunings down, encoders across, as far as they are few."""
    prunings = in_paper_order(net.pruning for net in networks)
    places = [(encoders.index(net.encoder), prunings.index(net.pruning)) for net in networks]
    if len(encoders) > _BESIDE:
        ranked = sorted(places)
        return [divmod(ranked.index(place), _BESIDE) for place in places]
    if len(encoders) == 1 and len(prunings) > _WRAP:
        return [divmod(pruning, 2) for _, pruning in places]
    return [(pruning, encoder) for encoder, pruning in places]


def _top(greatest: float) -> float:
    """Upper end of the distance axis: the next round number."""
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
    axes : Axes
    network : Network
    order : mapping of layer to int, optional
        Position of each layer; by default those of the network in the order of data flow, whose
        names are then written below.
    baseline : Network, optional
        Its means are drawn as ticks.
    colour : str, optional
        By default that of the pruning.
    """
    if order is None:
        order = layer_order([network])
        layer_axes(axes, list(order), axes.get_window_extent().width / axes.figure.dpi)
    colour = colour or architecture_colours([network.pruning])[network.pruning]
    shapes = []
    for layer in network.layers:
        values = layer.finite()
        if 1 < values.size < _FEW:
            sides = order[layer.layer] + 0.22 * (-1.0) ** np.arange(values.size)  # beside the mean
            rings: dict[str, Any] = {"markersize": 3.2, "markerfacecolor": "none", "mew": 0.9}
            axes.plot(sides, np.sort(values), "o", color=colour, clip_on=False, **rings)
        elif values.size:
            shapes.append(_shape(order[layer.layer], values))
    # collections: an artist for each layer would take half of the time of a page
    look: dict[str, Any] = {"facecolors": [to_rgba(colour, 0.5)], "edgecolors": [colour]}
    axes.add_collection(PolyCollection(shapes, linewidths=0.6, zorder=2, **look), autolim=False)
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
    places, centres = [x for x, _ in placed], [layer.centre() for _, layer in placed]
    axes.plot(places, centres, linestyle="", clip_on=False, zorder=5, **_DOT)
    axes.set_ylim(0.0, 1.02 * _top(greatest_distance([network])))
    axes.yaxis.set_major_locator(RoundLocator(4))
    draw_skips(axes, network.joined(order), colour)


def _shape(x: float, values: Float64) -> Float64:
    """Return the corners (V, 2) of a violin, of a flat line where all values are equal."""
    found = density_outline(values)
    if found is None:
        return np.array([[x - _HALF, values[0]], [x + _HALF, values[0]]])
    places, density = found
    half = _HALF * density
    sides = np.concatenate([x - half, (x + half)[::-1]])
    return np.column_stack([sides, np.concatenate([places, places[::-1]])])


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
