"""The key of a picture: what its lines and markers mean, set in rows outside of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.patches import Rectangle

from skiptool.figures.dots import DOTS
from skiptool.figures.labels import fitted
from skiptool.figures.pens import Pen, stamp, stroke
from skiptool.figures.style import text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["KEY_SIZE", "Entry", "Key", "plan_key"]

KEY_SIZE: Final = 6.5
"""Points of the key's text."""

_SAMPLE: Final = 66  # dots of the line before a name
_GAP: Final = 14
_BETWEEN: Final = 44
_ROW: Final = 40
_HATCH: Final = "/////"
_VEILED: Final = "#b9bec6"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the key.

    Attributes
    ----------
    name : str
    pen : Pen, optional
        Without one there is no line and no marker.
    width : float
        Of its line in points; 0 for no line.
    marker : float
        Of its marker in points; 0 for no marker.
    boxed : bool
        A small box in place of a line.
    striped : bool
        A striped field, as ignored pixels are shown.
    """

    name: str
    pen: Pen | None = None
    width: float = 0.0
    marker: float = 0.0
    boxed: bool = False
    striped: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """Entries with their places in dots from the key's upper left corner."""

    entries: tuple[Entry, ...]
    places: tuple[tuple[int, int], ...]
    width: int
    height: int

    def draw(self, axes: Axes, left: int, top: int) -> None:
        """Draw the key on a sheet measured in dots."""
        for entry, (x, y) in zip(self.entries, self.places, strict=True):
            x, middle = x + left, y + top + _ROW / 2
            _sample(axes, entry, x, middle)
            axes.text(x + _SAMPLE + _GAP, middle, entry.name, size=KEY_SIZE, va="center_baseline")


def plan_key(entries: Sequence[Entry], width: int, limit: int = 24) -> Key:
    """Set entries in rows of at most ``width`` dots; names are cut where one alone is wider.

    Beyond ``limit`` entries the last says how many more there are.
    """
    shown = list(entries[:limit])
    if len(entries) > limit:
        shown[-1] = Entry(f"and {len(entries) - limit + 1} more")
    room = width - _SAMPLE - _GAP
    placed, places = [], []
    x = y = right = 0
    for entry in shown:
        name = fitted(entry.name, KEY_SIZE, room)
        need = _SAMPLE + _GAP + round(text_width([name], KEY_SIZE) * DOTS)
        if x and x + need > width:
            x, y = 0, y + _ROW
        placed.append(replace(entry, name=name))
        places.append((x, y))
        right = max(right, x + need)
        x += need + _BETWEEN
    return Key(tuple(placed), tuple(places), right, y + _ROW if placed else 0)


def _sample(axes: Axes, entry: Entry, x: float, y: float) -> None:
    low, high = y - 0.26 * _ROW, y + 0.26 * _ROW
    box = (x + _SAMPLE / 2 - 0.26 * _ROW, x + _SAMPLE / 2 + 0.26 * _ROW)
    if entry.striped:
        field = Rectangle((x, low), _SAMPLE, high - low, facecolor=_VEILED, edgecolor="#ffffff")
        field.set(hatch=_HATCH, linewidth=0.0)
        axes.add_patch(field)
    if entry.pen is None:
        return
    if entry.boxed:
        corners = [(box[0], low), (box[1], low), (box[1], high), (box[0], high), (box[0], low)]
        stroke(axes, [np.array(corners)], entry.pen, entry.width)
    elif entry.width:
        stroke(axes, [np.array([(x, y), (x + _SAMPLE, y)])], entry.pen, entry.width)
    if entry.marker:
        stamp(axes, np.array([(x + _SAMPLE / 2, y)]), entry.pen, entry.marker)
