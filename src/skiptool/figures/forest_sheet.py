"""Where the rows, panels and keys of a forest plot stand, in inches from the upper left corner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, TypeAlias

from skiptool.figures.grid import Column
from skiptool.figures.style import TWO_COLUMNS, readable, text_width

__all__ = ["ForestSheet", "plan_forest"]

_MARGIN: Final = 0.06
_AXIS: Final = 0.46  # ticks and name of the axis
_KEY_LINE: Final = 0.15
_GUTTER: Final = 0.16
_PANEL: Final = (1.6, 3.6)  # least and greatest width
_HEAD: Final = 0.26
_BLOCK: Final = 0.22  # head of a block of rows
_APART: Final = 0.08  # between blocks without a name
_PITCHES: Final = ((4, 0.09), (8, 0.075), (12, 0.062))  # up to so many networks: inches for each
_TIGHT: Final = 0.045
_ROW: Final = 0.17  # what a label needs
_BETWEEN: Final = 0.07  # rows
_HANDLE: Final = 0.28  # mark of an entry of the key, with its gap
_SPACE: Final = 0.2  # between entries

_Places: TypeAlias = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class ForestSheet:
    """The sheet of a forest plot.

    Attributes
    ----------
    size : (float, float)
    labels : tuple of (text, height)
        Names of rows, at the middle of each.
    blocks : tuple of (text, height)
        Names of blocks, at their foot.
    edges : tuple of (top, bottom)
        Of each row.
    pitch : float
        Height of one network within a row.
    lefts, width : tuple of float, float
        Panels.
    top, bottom : float
        Of all panels.
    keys : tuple of tuple of (left, height)
        Entries of each key below the panels.
    stub : float
        Left edge of the labels.
    """

    size: tuple[float, float]
    labels: tuple[tuple[str, float], ...]
    blocks: tuple[tuple[str, float], ...]
    edges: tuple[tuple[float, float], ...]
    pitch: float
    lefts: tuple[float, ...]
    width: float
    top: float
    bottom: float
    keys: tuple[_Places, ...]
    stub: float = _MARGIN

    def height(self, row: int, place: int, places: int) -> float:
        """Height of one of several networks in a row."""
        top, bottom = self.edges[row]
        return (top + bottom) / 2 + (place - (places - 1) / 2) * self.pitch

    def rectangle(self, panel: int) -> tuple[float, float, float, float]:
        """Return the place of a panel as fractions of the sheet, as Matplotlib wants it."""
        width, height = self.size
        low = (height - self.bottom) / height
        return self.lefts[panel] / width, low, self.width / width, (self.bottom - self.top) / height


def plan_forest(
    rows: Sequence[Column], panels: int, places: int, keys: Sequence[Sequence[str]]
) -> ForestSheet:
    """Give each row room for its networks.

    Parameters
    ----------
    rows : sequence of Column
        Rows of one block stand together.
    panels, places : int
        Encoders side by side, and networks in each row of each.
    keys : sequence of sequence of str
        Texts of the entries of each key below the panels.
    """
    names = [readable(row.label) for row in rows]
    blocks = [readable(row.block) for row in rows]
    stub = max(text_width(names, 7.0), text_width(blocks, 7.7)) + 0.12
    left = _MARGIN + stub
    low, high = _PANEL
    room = (TWO_COLUMNS - left - _MARGIN - _GUTTER * (panels - 1)) / panels
    width = min(max(room, low), high)
    lefts = tuple(left + panel * (width + _GUTTER) for panel in range(panels))
    pitch = next((pitch for most, pitch in _PITCHES if places <= most), _TIGHT)
    each = max(places * pitch, _ROW - _BETWEEN) + _BETWEEN
    edges: list[tuple[float, float]] = []
    heads: list[tuple[str, float]] = []
    y = _MARGIN + _HEAD
    for name, run in groupby(blocks):
        if name:
            heads.append((name, y + _BLOCK - 0.06))
        y += _BLOCK if name else _APART
        for _ in run:
            edges.append((y, y + each))
            y += each
    total = lefts[-1] + width + _MARGIN
    placed, foot = _flow(keys, y + _AXIS, total - _MARGIN)
    labels = tuple((name, sum(edge) / 2) for name, edge in zip(names, edges, strict=True))
    size = (total, foot + _MARGIN)
    return ForestSheet(
        size=size,
        labels=labels,
        blocks=tuple(heads),
        edges=tuple(edges),
        pitch=pitch,
        lefts=lefts,
        width=width,
        top=_MARGIN + _HEAD,
        bottom=y,
        keys=placed,
    )


def _flow(
    keys: Sequence[Sequence[str]], top: float, right: float
) -> tuple[tuple[_Places, ...], float]:
    """Set entries one after another, each key from a new line on; return places and foot."""
    found: list[_Places] = []
    for key in keys:
        x = _MARGIN
        places: list[tuple[float, float]] = []
        for text in key:
            width = _HANDLE + text_width([text], 6.5)
            if places and x + width > right:
                x, top = _MARGIN, top + _KEY_LINE
            places.append((x, top + _KEY_LINE / 2))
            x += width + _SPACE
        found.append(tuple(places))
        top += _KEY_LINE if key else 0.0
    return tuple(found), top
