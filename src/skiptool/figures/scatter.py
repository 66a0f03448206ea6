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
from skiptool.figures.dots import DOTS
from skiptool.figures.facets import plan_facets
from skiptool.figures.labels import BOLD, fitted
from skiptool.figures.style import (
    INK,
    SOFT,
    architecture_colours,
    drawing,
    readable,
)
from skiptool.names import ShiftKind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skiptool.analysis.correlation import Association, Mean

__all__ = ["MARKERS", "interval_text", "loss_by_distance", "signed", "ticks_between"]

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
