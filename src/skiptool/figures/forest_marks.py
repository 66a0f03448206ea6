"""Marks of a forest plot: a difference, its interval, its spread, in the look of its network."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba

from skiptool.figures.style import architecture_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skiptool.figures.forest_sheet import ForestSheet

__all__ = ["MARK_SIZE", "PALE", "Mark", "Network", "Pen", "draw_marks", "pens_of"]

MARK_SIZE: Final = 4.2
"""Points of the largest mark."""

PALE: Final = 0.3
"""Opacity of the bars behind the marks."""

_SHAPES: Final = "os^v"  # the next where a colour comes anew
_ENSEMBLE: Final = "D"

Network: TypeAlias = tuple[str, bool]
"""A pruning, and whether it is the ensemble of its trainings."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One difference.

    Attributes
    ----------
    row : int
    family, pruning : str
    ensemble : bool
    value, low, high, spread : float
        Difference, its interval and its standard deviation between trainings. NaN is not drawn.
    sure : bool
        Drawn filled.
    """

    row: int
    family: str
    pruning: str
    ensemble: bool
    value: float
    low: float
    high: float
    spread: float
    sure: bool


@dataclass(frozen=True, slots=True)
class Pen:
    """Colour and shape of a network."""

    colour: str
    shape: str = "o"

    def looks(self, size: float, *, sure: bool) -> dict[str, Any]:
        """Return how Matplotlib is to draw a mark of so many points."""
        return {
            **{"linestyle": "", "marker": self.shape, "color": self.colour, "clip_on": False},
            "markersize": size * (0.85 if self.shape == _ENSEMBLE else 1.0),
            "markerfacecolor": self.colour if sure else "none",
            "markeredgewidth": 0.9,
        }


def pens_of(marks: Sequence[Mark]) -> dict[Network, Pen]:
    """Give each network its pen, in the order in which they stand in a row."""
    found = {(mark.pruning, mark.ensemble) for mark in marks}
    pens: dict[Network, Pen] = {}
    seen: Counter[str] = Counter()
    for pruning, colour in architecture_colours(name for name, _ in found).items():
        shape = _SHAPES[seen[colour] % len(_SHAPES)]
        seen[colour] += 1
        for ensemble in (False, True):
            if (pruning, ensemble) in found:
                pens[pruning, ensemble] = Pen(colour, _ENSEMBLE if ensemble else shape)
    return pens


def draw_marks(
    axes: Axes, sheet: ForestSheet, marks: Sequence[Mark], pens: Mapping[Network, Pen]
) -> None:
    """Draw all marks of a panel, those that look alike at once."""
    low, high = axes.get_xlim()
    size = min(MARK_SIZE, 0.72 * sheet.pitch * 72)
    inside = size / 2 / 72 * (high - low) / sheet.width  # of an open mark, which lines must spare
    thick = 0.75 * sheet.pitch * 72
    for place, (network, pen) in enumerate(pens.items()):
        mine = [
            (mark, sheet.height(mark.row, place, len(pens)))
            for mark in marks
            if (mark.pruning, mark.ensemble) == network and not math.isnan(mark.value)
        ]
        bars = [
            [(mark.value - mark.spread, y), (mark.value + mark.spread, y)]
            for mark, y in mine
            if not math.isnan(mark.spread)
        ]
        lines = [line for mark, y in mine for line in _interval(mark, y, inside)]
        pale = to_rgba(pen.colour, PALE)
        axes.add_collection(LineCollection(bars, colors=[pale], linewidths=thick, zorder=1.0))
        axes.add_collection(LineCollection(lines, colors=[pen.colour], linewidths=1.0, zorder=2.0))
        for sure in (False, True):
            some = [(mark.value, y) for mark, y in mine if mark.sure == sure]
            if some:
                axes.plot(*zip(*some, strict=True), zorder=3.0, **pen.looks(size, sure=sure))


def _interval(mark: Mark, y: float, inside: float) -> list[list[tuple[float, float]]]:
    """Lines of an interval; they stop where an open mark begins."""
    if math.isnan(mark.low):
        return []
    if mark.sure:
        return [[(mark.low, y), (mark.high, y)]]
    ends = (min(mark.high, mark.value - inside), max(mark.low, mark.value + inside))
    lines = [(mark.low, ends[0]), (ends[1], mark.high)]
    return [[(start, y), (end, y)] for start, end in lines if start < end]
