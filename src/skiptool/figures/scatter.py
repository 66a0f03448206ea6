"""Loss of IoU against the distance of a layer, one small panel a layer in the order of data flow.

Colour tells the pruning, the marker what was changed. All panels share the axis of the loss; each
has its own axis of distance, for what is asked is whether the points rise, not how far they reach.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from skiptool.errors import ArgumentError
from skiptool.figures.masks import BOLD, DOTS, fitted
from skiptool.figures.panels import plan_facets
from skiptool.figures.style import (
    INK,
    LINE,
    ONE_COLUMN,
    SOFT,
    TWO_COLUMNS,
    architecture_colours,
    drawing,
    readable,
    text_width,
)
from skiptool.names import ShiftKind, in_data_flow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skiptool.analysis.correlation import Association, Mean

__all__ = [
    "MARKERS",
    "correlation_strip",
    "interval_text",
    "layers_of",
    "loss_by_distance",
    "signed",
    "ticks_between",
]

MARKERS: Final = {
    ShiftKind.BRIGHTNESS.value: "o",
    ShiftKind.CONTRAST.value: "s",
    ShiftKind.SATURATION.value: "^",
    "domain": "D",
}
"""What was changed, by marker."""
_OTHER: Final = "X"
_STEPS: Final = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
_EDGE: Final = 0.1  # inches at either end of an axis of distance that no number stands below


def loss_by_distance(found: Association, measure: str) -> Figure:
    """Draw the loss of IoU against the distance of each layer.

    Parameters
    ----------
    found : Association
        Each point drawn is the mean of the networks of a pruning under a shift, with whiskers of
        one standard deviation where there are several; of one network the whisker is the 95 %
        interval of the distance. The layer of the greatest correlation is framed.
    measure : str
        What the distance is, in words.

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
    with drawing():
        means = found.means()
        colours = architecture_colours(mean.pruning for mean in means)
        facets = plan_facets(len(layers), _legends(means, colours))
        figure = Figure(figsize=facets.size)
        limits = _limits([(mean.loss, mean.sd_loss) for mean in means], zero=True)
        for number in range(len(layers)):
            axes = figure.add_axes(facets.rectangle(number))
            _frame(axes, limits, first=facets.first(number), best=number == found.best)
            _distances(axes, means, number, facets.panel[0])
            _points(axes, means, number, colours)
            _head(axes, found, number, facets.panel)
        facets.surround(figure, measure, "loss of IoU")
    return figure


def _legends(means: Sequence[Mean], colours: dict[str, str]) -> list[list[Line2D]]:
    """Legends: prunings by colour; what was changed by marker, and the whiskers."""
    prunings = [
        Line2D([], [], lw=0, marker="o", ms=4.2, mew=0, color=colour, label=_label(name))
        for name, colour in colours.items()
    ]
    kinds = dict.fromkeys(mean.change.kind for mean in means)
    others = [
        Line2D([], [], lw=0, marker=_marker(kind), ms=4, mfc="none", color=INK, label=_label(kind))
        for kind in kinds
    ]
    if any(mean.folds > 1 for mean in means):
        label = "± standard deviation of trainings"
        others.append(Line2D([], [], lw=0.7, color=SOFT, label=label))
    if any(mean.folds == 1 and np.isfinite(mean.low).any() for mean in means):
        others.append(Line2D([], [], lw=0.7, color=SOFT, label="95 % interval of the distance"))
    return [prunings, others]


def _label(name: str) -> str:
    return readable(name, 24) or "not named"


def _marker(kind: str) -> str:
    return MARKERS.get(kind, _OTHER)


def _limits(pairs: Iterable[tuple[float, float]], *, zero: bool) -> tuple[float, float]:
    """Return the ends of an axis that holds values with their deviations, and some air."""
    values, spreads = np.nan_to_num(np.array(list(pairs), dtype=np.float64).reshape(-1, 2)).T
    reach = [*(values - spreads), *(values + spreads), *[0.0] * zero]
    low, high = min(reach, default=0.0), max(reach, default=0.0)
    air = 0.07 * (high - low) or 0.05 * abs(high) or 0.05
    return low - air, high + air


def _frame(axes: Axes, limits: tuple[float, float], *, first: bool, best: bool) -> None:
    axes.set_ylim(*limits)
    axes.set_yticks(ticks_between(*limits))
    axes.grid(axis="y")
    axes.axhline(0.0, color=SOFT, linewidth=0.6, zorder=1)
    axes.tick_params(axis="y", labelleft=first)
    if best:
        axes.spines[:].set(visible=True, linewidth=0.9)


def _distances(axes: Axes, means: Sequence[Mean], layer: int, width: float) -> None:
    """Set the panel's own axis of distance; its numbers keep clear of the panels beside it."""
    pairs = [(mean.distances[layer], mean.sd_distances[layer]) for mean in means]
    pairs += [(end, 0.0) for mean in means if mean.folds == 1 for end in _interval(mean, layer)]
    low, high = _limits([pair for pair in pairs if math.isfinite(pair[0])], zero=False)
    edge = _EDGE * (high - low) / width
    ticks = ticks_between(low + edge, high - edge)
    axes.set_xlim(low, high)
    axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])


def ticks_between(low: float, high: float) -> list[float]:
    """Choose about five round numbers from ``low`` to ``high``; none of them lies outside."""
    least = 1e-9 * (high - low)  # what rounding may leave of 0
    found = [0.0 if abs(tick) < least else float(tick) for tick in _STEPS.tick_values(low, high)]
    return [tick for tick in found if low <= tick <= high]


def _points(axes: Axes, means: Sequence[Mean], layer: int, colours: dict[str, str]) -> None:
    here = [mean for mean in means if math.isfinite(mean.distances[layer])]
    for pruning, colour in colours.items():
        own = [mean for mean in here if mean.pruning == pruning]
        axes.plot(*_whiskers(own, layer), color=colour, linewidth=0.5, alpha=0.55, zorder=2)
        for kind in dict.fromkeys(mean.change.kind for mean in own):
            x, y = zip(
                *((mean.distances[layer], mean.loss) for mean in own if mean.change.kind == kind),
                strict=True,
            )
            axes.plot(
                *(x, y, _marker(kind)), color=colour, markersize=3.0, alpha=0.85, mew=0, zorder=3
            )


def _whiskers(means: Sequence[Mean], layer: int) -> tuple[list[float], list[float]]:
    """Crosses of one standard deviation, or intervals, as one line, which keeps files small."""
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


def _head(axes: Axes, found: Association, layer: int, size: tuple[float, float]) -> None:
    width, height = size
    name = fitted(found.joined.layers[layer], 7.0 * BOLD, width * DOTS)
    weight = "bold" if layer == found.best else "normal"
    place: dict[str, Any] = {"transform": axes.transAxes}
    axes.text(0.0, 1 + 0.17 / height, name, size=7.0, weight=weight, **place)
    axes.text(0.0, 1 + 0.05 / height, f"ρ = {interval_text(found, layer)}", size=6.2, **place)


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


# -------------------------------------------------------------------------------------------------
# Rank correlation of each layer's distance with the loss of IoU: a dot and its interval a layer.
#
# Layers stand below one another in the order of data flow, families of networks side by side.


_NAMES: Final = 1.4  # inches that names of layers get at most, as all that follows
_EDGE_STRIP, _GUTTER, _TOP = 0.08, 0.2, 0.1
_HEAD: Final = 0.2
_ROW: Final = 0.17
_TICKS: Final = 0.22
_FOOT: Final = 0.2
_ACROSS: Final = 3
_DOT: Final[dict[str, Any]] = {"marker": "o", "linestyle": "none", "clip_on": False, "zorder": 3}


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
        One for each family of networks, by whose names the panels are headed.

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
    columns = min(len(found), _ACROSS)
    width = ONE_COLUMN if columns == 1 else TWO_COLUMNS
    with drawing():
        names = [fitted(layer, 6.5, _NAMES * DOTS) for layer in layers]
        left = _EDGE_STRIP + text_width(names, 6.8) + 0.08
        across = (width - left - 2 * _EDGE_STRIP - _GUTTER * (columns - 1)) / columns
        pitch = _HEAD + _ROW * len(layers) + _TICKS
        height = _TOP + -(-len(found) // columns) * pitch + _FOOT
        figure = Figure(figsize=(width, height))
        low = _lowest(found)
        for number, one in enumerate(found):
            row, column = divmod(number, columns)
            x, y = left + column * (across + _GUTTER), _TOP + row * pitch + _HEAD
            tall = _ROW * len(layers)
            axes = figure.add_axes(
                (x / width, 1 - (y + tall) / height, across / width, tall / height)
            )
            _strip_frame(axes, names if column == 0 else [""] * len(names), low)
            _dots(axes, one, layers)
            head = fitted(one.joined.kin.family, 7.0 * BOLD, across * DOTS)
            axes.text(0.0, 1 + 0.07 / tall, head, weight="bold", transform=axes.transAxes)
        middle = (left + (columns * (across + _GUTTER) - _GUTTER) / 2) / width
        text = "rank correlation with loss of IoU"
        figure.text(middle, 0.08 / height, text, ha="center", color=SOFT)
    return figure


def _lowest(found: Sequence[Association]) -> float:
    """Lower end of the axis, a number that stands below it: 0, -0.25, -0.5 or -1."""
    ends = np.concatenate([np.concatenate([one.correlation, one.low]) for one in found])
    lowest = float(np.nanmin([*ends, 0.0]))
    return next(end for end in (0.0, -0.25, -0.5, -1.0) if end <= lowest)


def _strip_frame(axes: Axes, names: Sequence[str], low: float) -> None:
    axes.set_xlim(low, 1.0)
    axes.set_xticks(np.arange(low, 1.01, 0.5 if low < -0.5 else 0.25))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}"))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.grid(axis="x")
    for place in range(len(names)):
        axes.axhline(place, color=LINE, linewidth=0.3, zorder=0.5)
    axes.axvline(0.0, color=SOFT, linewidth=0.6, zorder=1)


def _dots(axes: Axes, found: Association, layers: Sequence[str]) -> None:
    for number, layer in enumerate(found.joined.layers):
        place = layers.index(layer)
        best = number == found.best
        ends = [found.low[number], found.high[number]]
        axes.plot(ends, [place, place], color=INK, linewidth=1.6 if best else 0.8, zorder=2)
        size = 5.2 if best else 3.6
        axes.plot([found.correlation[number]], [place], color=INK, markersize=size, mew=0, **_DOT)
