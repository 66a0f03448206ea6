"""Violins of the distance of each channel, layer by layer (Fig. 8).

One small panel a network, all on the same axes, encoders side by side: the paper's five violins
on each layer would be hard to tell apart at the width of a page. What the eye compares across
panels is drawn in each: the means of the unpruned network. Below a panel, brackets join
``enc{l}`` and ``dec{l}`` for each skip connection that is there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from skiptool.figures.panels import (
    LayerChannels,
    Network,
    Panel,
    Sheet,
    greatest_distance,
    layer_order,
    plan_panels,
)
from skiptool.figures.style import (
    BASELINE_COLOUR,
    HOLE,
    INK,
    architecture_colours,
    drawing,
    readable,
)
from skiptool.names import SKIP_LEVELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skiptool.records import Float64

__all__ = ["LayerChannels", "Network", "layer_violins", "outline"]

# -------------------------------------------------------------------------------------------------
# Outline of a violin: a kernel density estimate of distances.


_POINTS: Final = 48
_FLAT: Final = 1e-9
_REACH: Final = 7.0


def outline(values: Float64) -> tuple[Float64, Float64] | None:
    """Density of values between their least and greatest, greatest density 1.

    Parameters
    ----------
    values : float64, shape (D,)
        Finite values, one a channel, not below 0.

    Returns
    -------
    (float64, shape (P,), float64, shape (P,)) or None
        Places and the density there; None where all values are equal or there is none.

    Notes
    -----
    Gaussian kernel, Silverman's rule. What the kernel would put below 0 is reflected, and beyond 1
    where no value is greater. The outline ends at the extreme values: it claims no distance that
    no channel has.

    Examples
    --------
    >>> places, density = outline(np.array([0.2, 0.3, 0.3, 0.4]))
    >>> float(places[0]), float(places[-1]), float(density.max())
    (0.2, 0.4, 1.0)
    >>> outline(np.zeros(64)) is None
    True
    """
    if values.size < 2 or np.ptp(values) < _FLAT:
        return None
    places = np.linspace(values.min(), values.max(), _POINTS)
    width = _bandwidth(values)
    density = np.zeros(_POINTS)
    for mirrored in (values, -values, *([2.0 - values] if values.max() <= 1.0 else [])):
        far = _REACH * width  # what is farther away adds nothing that could be seen
        mirrored = mirrored[(mirrored > places[0] - far) & (mirrored < places[-1] + far)]
        density += np.exp(-0.5 * ((places[:, None] - mirrored) / width) ** 2).sum(axis=1)
    return places, density / density.max()


def _bandwidth(values: Float64) -> float:
    """Silverman's rule, but never so narrow that the density falls between the places."""
    quarter, three_quarters = np.quantile(values, (0.25, 0.75))
    scale = float(np.std(values, ddof=1))
    if three_quarters > quarter:
        scale = min(scale, float(three_quarters - quarter) / 1.349)
    return max(0.9 * scale * math.pow(values.size, -0.2), float(np.ptp(values)) / _POINTS)


_BASELINE: Final = "baseline"
_FEW: Final = 8  # with fewer channels a density would be invention: the values are shown
_HALF: Final = 0.4  # half width of a violin, in steps between layers
_DOT: Final[dict[str, Any]] = {
    "marker": "o",
    "markersize": 3.4,
    "color": INK,
    "markeredgecolor": "#ffffff",
    "markeredgewidth": 0.6,
}
_STEPS: Final = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10])
_BRACKET: Final = Path([(-1.0, 0.7), (-1.0, -0.4), (1.0, -0.4), (1.0, 0.7)])


def layer_violins(
    networks: Sequence[Network], *, title: str, measure: str = "Hellinger distance"
) -> Figure:
    """Draw the distribution of per-channel distances along each network.

    Parameters
    ----------
    networks : sequence of Network
        One for each pruning and encoder (trainings pooled by the caller), in any order; panels
        follow the paper's order of prunings and the first appearance of encoders.
    title : str
        The shift and the number of bins B, as the caption gives them.
    measure : str
        Name of the vertical axis.

    Returns
    -------
    Figure
        As wide as two journal columns up to three encoders, wider beyond.

    Raises
    ------
    ArgumentError
        If there is no network, none has a layer, or two have the same pruning and encoder.
    """
    order = layer_order(networks)
    with drawing():
        names = [readable(name, 40) for name in order]
        sheet = plan_panels([(net.pruning, net.encoder) for net in networks], names)
        figure = Figure(figsize=sheet.size)
        colours = architecture_colours(net.pruning for net in networks)
        baselines = {net.encoder: net for net in networks if net.pruning == _BASELINE}
        top = _top(greatest_distance(networks))
        for net, panel in zip(networks, sheet.panels, strict=True):
            axes = _frame(figure, sheet, panel, names, top)
            _violins(axes, net, order, colours[net.pruning])
            if net.pruning != _BASELINE and net.encoder in baselines:
                _baseline_means(axes, baselines[net.encoder], order)
            _brackets(axes, net, order, panel, colours[net.pruning])
            sheet.head(figure, panel, colours[net.pruning])
        sheet.label(figure, readable(title, 100), measure.split(",")[0])
        figure.legend(handles=_legend(networks, order), **sheet.legend_place())
    return figure


def _top(greatest: float) -> float:
    """Upper end of the distance axis: the next round number."""
    step = 0.02 if greatest <= 0.1 else 0.1
    return max(math.ceil(greatest / step - 1e-9) * step, 0.02)


def _frame(figure: Figure, sheet: Sheet, panel: Panel, names: list[str], top: float) -> Axes:
    axes = figure.add_axes(sheet.rectangle(panel))
    axes.set_xlim(-0.7, len(names) - 0.3)
    axes.set_ylim(0.0, top * 1.02)
    axes.set_yticks([tick for tick in _STEPS.tick_values(0.0, top) if 0.0 <= tick <= top * 1.01])
    axes.grid(axis="y")
    axes.tick_params(axis="y", labelleft=panel.first)
    axes.set_xticks(range(len(names)), names if panel.last else [""] * len(names))
    axes.tick_params(axis="x", length=0, pad=sheet.label_pad)
    if sheet.upright:
        for label in axes.get_xticklabels():
            label.set(rotation=90, rotation_mode="anchor", ha="right", va="center_baseline")
    return axes


def _violins(axes: Axes, net: Network, order: dict[str, int], colour: str) -> None:
    shapes = []
    for layer in net.layers:
        values = layer.finite()
        if 1 < values.size < _FEW:
            _rings(axes, order[layer.layer], values, colour)
        elif values.size:
            shapes.append(_shape(order[layer.layer], values))
    ground = to_rgba(colour, 0.5)
    # Collections: an artist for each layer would take half of the time of a page.
    axes.add_collection(
        PolyCollection(shapes, facecolors=[ground], edgecolors=[colour], linewidths=0.6, zorder=2),
        autolim=False,
    )
    placed = [(order[layer.layer], layer) for layer in net.layers]
    nulls = [
        [(x - 0.48, low), (x + 0.48, low), (x + 0.48, high), (x - 0.48, high)]
        for x, (low, high) in ((x, layer.null) for x, layer in placed if layer.null)
    ]
    if nulls:
        grey = PolyCollection(nulls, facecolors=[HOLE], linewidths=0, zorder=1)
        axes.add_collection(grey, autolim=False)
    bars = [
        [(x, low), (x, high)]
        for x, (low, high) in ((x, layer.interval) for x, layer in placed if layer.interval)
    ]
    if bars:
        axes.add_collection(
            LineCollection(bars, colors=[INK], linewidths=1.1, zorder=4), autolim=False
        )
    means = [layer.centre() for _, layer in placed]
    places = [x for x, _ in placed]
    axes.plot(places, means, linestyle="", clip_on=False, zorder=5, **_DOT)


def _rings(axes: Axes, x: float, values: Float64, colour: str) -> None:
    """Show a few values one by one."""
    sides = x + 0.22 * (-1.0) ** np.arange(values.size)  # clear of the mean in the middle
    rings: dict[str, Any] = {
        "markersize": 3.2,
        "markerfacecolor": "none",
        "markeredgewidth": 0.9,
    }
    axes.plot(sides, np.sort(values), "o", color=colour, clip_on=False, **rings)


def _shape(x: float, values: Float64) -> Float64:
    """Return the corners (V, 2) of a violin, of a flat line where all values are equal."""
    found = outline(values)
    if found is None:
        return np.array([[x - _HALF, values[0]], [x + _HALF, values[0]]])
    places, density = found
    half = _HALF * density
    sides = np.concatenate([x - half, (x + half)[::-1]])
    return np.column_stack([sides, np.concatenate([places, places[::-1]])])


def _baseline_means(axes: Axes, baseline: Network, order: dict[str, int]) -> None:
    means = [(order[layer.layer], layer.centre()) for layer in baseline.layers]
    ticks = [[(x - 0.46, y), (x + 0.46, y)] for x, y in means if math.isfinite(y)]
    pen: dict[str, Any] = {"colors": [BASELINE_COLOUR], "linewidths": 0.9}
    axes.add_collection(LineCollection(ticks, zorder=3, **pen), autolim=False)


def _brackets(axes: Axes, net: Network, order: dict[str, int], panel: Panel, colour: str) -> None:
    for level, start, end in net.joined(order):
        upper, lower = panel.bracket(SKIP_LEVELS.index(level) / len(SKIP_LEVELS))
        axes.plot(
            [start, start, end, end],
            [upper, lower, lower, upper],
            transform=axes.get_xaxis_transform(),
            color=colour,
            linewidth=1.0,
            clip_on=False,
        )


def _legend(networks: Sequence[Network], order: dict[str, int]) -> list[Line2D | Patch]:
    layers = [layer for net in networks for layer in net.layers]
    prunings = {net.pruning for net in networks}
    handles: list[Line2D | Patch] = [Line2D([], [], lw=0, label="mean over channels", **_DOT)]
    if _BASELINE in prunings and len(prunings) > 1:
        handles.append(Line2D([], [], color=BASELINE_COLOUR, lw=0.9, label="mean of the baseline"))
    if any(layer.interval for layer in layers):
        handles.append(Line2D([], [], color=INK, lw=0, marker="|", label="interval of the mean"))
    if any(layer.null for layer in layers):
        handles.append(Patch(color=HOLE, label="possible without a shift"))
    if any(net.joined(order) for net in networks):
        bracket: dict[str, Any] = {"marker": _BRACKET, "markerfacecolor": "none", "markersize": 8}
        handles.append(Line2D([], [], color=INK, lw=0, label="skip connection", **bracket))
    return handles
