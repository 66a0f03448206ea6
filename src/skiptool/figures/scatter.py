"""Distance of layers against the loss of IoU: scatter plots by layer, and rank correlations.

Colour gives the pruning, the marker the kind of shift. Panels share the axis of the loss; each has
its own axis of distance, because what matters is whether the points rise, not how far they reach.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.lines import Line2D

from skiptool.errors import ArgumentError
from skiptool.figures.panels import fit_layout, label_across, legend_below, panel_grid, panel_width
from skiptool.figures.style import (
    INK,
    LINE,
    ONE_COLUMN,
    SOFT,
    TWO_COLUMNS,
    RoundLocator,
    architecture_colours,
    drawing_style,
    label_text,
    shorten,
    text_width,
)
from skiptool.names import ShiftKind, in_data_flow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from skiptool.analysis.correlation import Association, Mean

_KINDS: Final = [kind.value for kind in ShiftKind if kind is not ShiftKind.ORIGINAL]
_SHAPES: Final = ("o", "s", "^", "v", "P", "p", "h", "<", ">", "*")
_MARKERS: Final = {**dict(zip(_KINDS, cycle(_SHAPES), strict=False)), "domain": "D"}
_ACROSS: Final = 4
_HEIGHTS: Final = (1.15, 1.9)  # least and greatest height of a panel in inches


def loss_by_distance(found: Association, measure: str) -> Figure:
    """Draw the loss of IoU against the distance of each layer.

    Parameters
    ----------
    found : Association
        Each point is the mean of the networks of a pruning under a shift, with whiskers of one
        standard deviation where there are several; of one network the whisker is the 95 %
        interval of the distance. The layer of the greatest correlation is framed.
    measure : str
        Name of the distance.

    Returns
    -------
    Figure
        As wide as two journal columns; as one, with one layer or two.

    Raises
    ------
    ArgumentError
        If there is no layer.
    """
    layers = found.joined.layers
    if not layers:
        raise ArgumentError("distance against loss: found no layer, expected one at least")
    rows = -(-len(layers) // _ACROSS)
    columns = -(-len(layers) // rows)
    width = ONE_COLUMN if len(layers) < 3 else TWO_COLUMNS
    with drawing_style():
        means = found.means()
        colours = architecture_colours(mean.pruning for mean in means)
        cells = [divmod(place, columns) for place in range(len(layers))]
        figure, panels = panel_grid(cells, width=width, sharex=False)
        across = panel_width(columns, width)
        for layer, axes in enumerate(panels):
            draw_losses(axes, found, layer, colours)
            weight = "bold" if layer == found.best else "normal"
            axes.set_title(shorten(layers[layer], 8.0, across), weight=weight, pad=13)
            rho: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
            axes.annotate(f"ρ = {interval_text(found, layer)}", (0, 1), (0, 4), size=6.2, **rho)
        label_across(panels[(rows - 1) * columns :], label_text(measure, 60))
        figure.supylabel("loss of IoU", color=SOFT)
        legend_below(figure, _handles(means, colours))
        fit_layout(figure, [float(np.clip(0.75 * across, *_HEIGHTS))] * rows)
    return figure


def draw_losses(
    axes: Axes, found: Association, layer: int, colours: Mapping[str, str] | None = None
) -> None:
    """Draw the loss of IoU against the distance of one layer, by its place, into Axes."""
    means = found.means()
    colours = colours or architecture_colours(mean.pruning for mean in means)
    axes.axhline(0.0, color=SOFT, linewidth=0.6, zorder=1)
    axes.grid(axis="y")
    here = [mean for mean in means if math.isfinite(mean.distances[layer])]
    for pruning, colour in colours.items():
        own = [mean for mean in here if mean.pruning == pruning]
        axes.plot(*_whiskers(own, layer), color=colour, linewidth=0.5, alpha=0.55, zorder=2)
        for kind in dict.fromkeys(mean.change.kind for mean in own):
            some = [mean for mean in own if mean.change.kind == kind]
            x, y = [mean.distances[layer] for mean in some], [mean.loss for mean in some]
            look: dict[str, Any] = {"markersize": 3.0, "alpha": 0.85, "mew": 0, "zorder": 3}
            axes.plot(x, y, marker_of(kind), color=colour, **look)
    pairs = [(mean.distances[layer], mean.sd_distances[layer]) for mean in here]
    pairs += [(end, 0.0) for mean in here if mean.folds == 1 for end in _interval(mean, layer)]
    axes.set_xlim(*_limits(pairs, zero=False))
    axes.set_ylim(*_limits([(mean.loss, mean.sd_loss) for mean in means], zero=True))
    set_ticks(axes)
    if layer == found.best:
        axes.spines[:].set(visible=True, linewidth=0.9)


def set_ticks(axes: Axes) -> None:
    """Set about five round ticks on each axis, on the horizontal one clear of its ends."""
    axes.xaxis.set_major_locator(RoundLocator(edge=0.08))
    axes.yaxis.set_major_locator(RoundLocator())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda tick, _: f"{tick:.3g}")


def _handles(means: Sequence[Mean], colours: Mapping[str, str]) -> list[Line2D]:
    """Legend entries: prunings by colour, kinds of shift by marker, whiskers."""
    prunings = [
        Line2D([], [], lw=0, marker="o", ms=4.2, mew=0, color=colour, label=_label(name))
        for name, colour in colours.items()
    ]
    kinds = dict.fromkeys(mean.change.kind for mean in means)
    others = [
        Line2D(
            [], [], lw=0, marker=marker_of(kind), ms=4, mfc="none", color=INK, label=_label(kind)
        )
        for kind in kinds
    ]
    if any(mean.folds > 1 for mean in means):
        label = "± standard deviation of trainings"
        others.append(Line2D([], [], lw=0.7, color=SOFT, label=label))
    if any(mean.folds == 1 and np.isfinite(mean.low).any() for mean in means):
        others.append(Line2D([], [], lw=0.7, color=SOFT, label="95 % interval of the distance"))
    return [*prunings, *others]


def marker_of(kind: str) -> str:
    """Marker of a kind of shift, or of a change of domain."""
    return _MARKERS.get(kind, "X")


def kind_handle(kind: str) -> Line2D:
    """Legend entry of a kind of shift."""
    look: dict[str, Any] = {"marker": marker_of(kind), "markersize": 4, "markerfacecolor": "none"}
    return Line2D([], [], linewidth=0, color=INK, label=_label(kind), **look)


def _label(name: str) -> str:
    return label_text(name, 24) or "not named"


def _limits(pairs: Iterable[tuple[float, float]], *, zero: bool) -> tuple[float, float]:
    """Return the ends of an axis that holds values with their deviations, and a margin."""
    values, spreads = np.nan_to_num(np.array(list(pairs), dtype=np.float64).reshape(-1, 2)).T
    reach = [*(values - spreads), *(values + spreads), *[0.0] * zero]
    low, high = min(reach, default=0.0), max(reach, default=0.0)
    air = 0.07 * (high - low) or 0.05 * abs(high) or 0.05
    return low - air, high + air


def _whiskers(means: Sequence[Mean], layer: int) -> tuple[list[float], list[float]]:
    """Crosses of one standard deviation, or intervals, as a single line to keep files small."""
    x: list[float] = []
    y: list[float] = []
    for mean in means:
        if mean.folds > 1:
            at, loss = mean.distances[layer], mean.loss
            aside, up = np.nan_to_num((mean.sd_distances[layer], mean.sd_loss)).tolist()
            x += [at - aside, at + aside, math.nan, at, at, math.nan]
            y += [loss, loss, math.nan, loss - up, loss + up, math.nan]
        elif ends := _interval(mean, layer):
            x += [*ends, math.nan]
            y += [mean.loss, mean.loss, math.nan]
    return x, y


def _interval(mean: Mean, layer: int) -> tuple[float, ...]:
    ends = mean.low[layer], mean.high[layer]
    return ends if all(map(math.isfinite, ends)) else ()


def interval_text(found: Association, layer: int) -> str:
    """Write the correlation at a layer with its interval, as far as there is one."""
    value, low, high = (float(ends[layer]) for ends in (found.correlation, found.low, found.high))
    if math.isnan(value):
        return "–"
    return signed(value) + ("" if math.isnan(low) else f" [{signed(low)}, {signed(high)}]")


def signed(value: float) -> str:
    """Write with two digits, more where it would look perfect, and no minus before 0.

    Examples
    --------
    >>> signed(-0.004), signed(-0.5), signed(0.9963), signed(1.0)
    ('0.00', '−0.50', '0.996', '1.00')
    """
    digits = next((n for n in (2, 3, 4) if abs(round(value, n)) < 1), 2)
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "\N{MINUS SIGN}")


# Rank correlation of each layer's distance with the loss of IoU, with intervals

_NAMES: Final = 1.4  # greatest width of the names of layers in inches
_ROW: Final = 0.17  # inches of a layer
_FAMILIES: Final = 3  # side by side


def layers_of(found: Sequence[Association]) -> list[str]:
    """Return all layers in the order of data flow, others behind.

    Examples
    --------
    >>> layers_of([])
    []
    """
    return in_data_flow(layer for one in found for layer in one.joined.layers)


def correlation_strip(found: Sequence[Association]) -> Figure:
    """Draw the rank correlation of each layer with its interval.

    Parameters
    ----------
    found : sequence of Association
        One for each family of networks, whose names are the titles of the panels.

    Returns
    -------
    Figure
        As wide as one journal column for one family, as two for several, three in a row.

    Raises
    ------
    ArgumentError
        If there is no layer.
    """
    layers = layers_of(found)
    if not layers:
        raise ArgumentError("rank correlation by layer: found no layer, expected one at least")
    columns = min(len(found), _FAMILIES)
    width = ONE_COLUMN if columns == 1 else TWO_COLUMNS
    cells = [divmod(place, columns) for place in range(len(found))]
    with drawing_style():
        figure, panels = panel_grid(cells, width=width)
        names = [shorten(layer, 6.5, _NAMES) for layer in layers]
        across = (width - text_width(names, 6.8) - 0.2) / columns - 0.12
        for association, axes in zip(found, panels, strict=True):
            draw_correlations(axes, association, layers)
            axes.set_title(shorten(association.joined.setting.family, 8.0, across), weight="bold")
        low = _lowest(found)
        panels[0].set_xlim(low, 1.0)
        panels[0].set_xticks(np.arange(low, 1.01, 0.5 if low < -0.5 else 0.25))
        panels[0].set_yticks(range(len(names)), names)
        figure.supxlabel("rank correlation with loss of IoU", color=SOFT)
        fit_layout(figure, [_ROW * len(layers)] * (1 + cells[-1][0]))
    return figure


def _lowest(found: Sequence[Association]) -> float:
    """Lower end of the axis, a round number: 0, -0.25, -0.5 or -1."""
    ends = np.concatenate([np.concatenate([one.correlation, one.low]) for one in found])
    lowest = float(np.nanmin([*ends, 0.0]))
    return next(end for end in (0.0, -0.25, -0.5, -1.0) if end <= lowest)


def draw_correlations(axes: Axes, found: Association, layers: Sequence[str] | None = None) -> None:
    """Draw the rank correlation of each layer with its interval into Axes, layers from the top."""
    layers = layers_of([found]) if layers is None else layers
    axes.set(xlim=(_lowest([found]), 1.0), ylim=(len(layers) - 0.5, -0.5))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}"))
    axes.set_yticks(range(len(layers)), [label_text(layer) for layer in layers])
    axes.tick_params("y", labelcolor=INK)
    axes.grid(axis="x")
    for place in range(len(layers)):
        axes.axhline(place, color=LINE, linewidth=0.3, zorder=0.5)
    axes.axvline(0.0, color=SOFT, linewidth=0.6, zorder=1)
    rows = zip(found.joined.layers, found.correlation, found.low, found.high, strict=True)
    for number, (layer, value, low, high) in enumerate(rows):
        size, line = (5.2, 1.6) if number == found.best else (3.6, 0.8)
        error = [[value - low], [high - value]]
        look: dict[str, Any] = {"color": INK, "elinewidth": line, "markersize": size, "mew": 0}
        axes.errorbar([value], [layers.index(layer)], xerr=error, fmt="o", zorder=3, **look)
