"""Round numbers on an axis, linear or logarithmic, none of them beyond its ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skiptool.records import Float64

__all__ = ["round_ticks", "set_scale", "spans_decades"]

_STEPS: Final = (1, 2, 2.5, 5, 10)


def spans_decades(values: Float64, decades: float = 2.0) -> bool:
    """Say whether values are above 0 and their greatest is so many decades above their least.

    Examples
    --------
    >>> spans_decades(np.array([0.01, 1.5])), spans_decades(np.array([0.1, 1.5]))
    (True, False)
    """
    found = values[np.isfinite(values)]
    return bool(found.size and found.min() > 0.0 and found.max() > found.min() * 10.0**decades)


def round_ticks(low: float, high: float, *, log: bool = False, most: int = 5) -> list[float]:
    """Choose round numbers from ``low`` to ``high``: powers of ten on a logarithmic scale.

    Examples
    --------
    >>> round_ticks(1.3, 9.2), round_ticks(0.02, 30.0, log=True)
    ([2.0, 4.0, 6.0, 8.0], [0.1, 1.0, 10.0])
    """
    if log:
        first, last = np.ceil(np.log10(low)), np.floor(np.log10(high))
        step = max(1, -(-int(last - first + 1) // most))
        return [float(10.0**power) for power in np.arange(first, last + 1, step)]
    found = MaxNLocator(most, steps=_STEPS).tick_values(low, high)
    return [float(tick) for tick in found if low <= tick <= high]


def set_scale(axes: Axes, which: Literal["x", "y"], low: float, high: float, *, log: bool) -> None:
    """Let an axis go from ``low`` to ``high``, with round numbers as they are written by hand."""
    kind = "log" if log else "linear"
    if which == "x":
        axes.set_xscale(kind)
    else:
        axes.set_yscale(kind)
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks(round_ticks(low, high, log=log))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
    if which == "x":
        axes.set_xlim(low, high)
    else:
        axes.set_ylim(low, high)
