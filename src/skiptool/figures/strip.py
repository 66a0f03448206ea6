"""Rank correlation of each layer's distance with the loss of IoU: a dot and its interval a layer.

Layers stand below one another in the order of data flow, families of networks side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.figure import Figure

from skiptool.errors import ArgumentError
from skiptool.figures.dots import DOTS
from skiptool.figures.labels import BOLD, fitted
from skiptool.figures.style import INK, LINE, ONE_COLUMN, SOFT, TWO_COLUMNS, drawing, text_width
from skiptool.names import in_data_flow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skiptool.analysis.correlation import Association

__all__ = ["correlation_strip", "layers_of"]

_NAMES: Final = 1.4  # inches that names of layers get at most, as all that follows
_EDGE, _GUTTER, _TOP = 0.08, 0.2, 0.1
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
        left = _EDGE + text_width(names, 6.8) + 0.08
        across = (width - left - 2 * _EDGE - _GUTTER * (columns - 1)) / columns
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
            _frame(axes, names if column == 0 else [""] * len(names), low)
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


def _frame(axes: Axes, names: Sequence[str], low: float) -> None:
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
