"""Where the cells and labels of matrices by layer stand, in inches from the upper left corner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from skiptool.figures.style import TWO_COLUMNS, readable, text_width

__all__ = ["BAR", "HEIGHT", "MARGIN", "HeatPlan", "HeatRow", "plan_heat"]

MARGIN: Final = 0.06
"""Free edge of the sheet."""

HEIGHT: Final = 0.155
"""Height of a cell."""

BAR: Final = (1.6, 0.08, 0.36)
"""Length and thickness of the colour bar, and the room for it."""

_TITLE: Final = 0.26
_NAME: Final = 0.18
_CELL: Final = (0.24, 0.5)  # least and greatest width
_KIND_GAP: Final = 0.05
_GUTTER: Final = 0.16
_BELOW: Final = 0.12  # between one block and the next
_INSET: Final = 0.006


@dataclass(frozen=True, slots=True)
class HeatRow:
    """A row: its label, and the kind that it shares with its neighbours."""

    label: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class HeatPlan:
    """The sheet of some matrices."""

    size: tuple[float, float]
    corners: tuple[tuple[float, float], ...]  # of the cells of each block
    offsets: tuple[float, ...]  # of the rows below it
    width: float  # of a cell
    across: int  # blocks side by side
    upright: bool

    def box(self, corner: tuple[float, float], row: int, column: int) -> list[tuple[float, float]]:
        """Return the corners of a cell, less the hairline around it."""
        left, top = corner[0] + column * self.width, corner[1] + self.offsets[row]
        x0, x1 = left + _INSET, left + self.width - _INSET
        y0, y1 = top + _INSET, top + HEIGHT - _INSET
        return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def plan_heat(blocks: int, rows: Sequence[HeatRow], names: Sequence[str]) -> HeatPlan:
    """Place some matrices, two side by side where two journal columns have room for them.

    Parameters
    ----------
    blocks : int
    rows : sequence of HeatRow
    names : sequence of str
        Layers, as they are written.
    """
    stub = MARGIN + _stub(rows) + 0.06
    count = len(names)
    across = 2 if blocks > 1 and _across(stub, 2, count) >= _CELL[0] else 1
    width = min(_CELL[1], max(_CELL[0], _across(stub, across, count)))
    widest = text_width(names, 6.0)
    upright = widest > width - 0.02
    head = _NAME + (widest if upright else 0.1) + 0.05
    offsets, offset = [], 0.0
    for place, row in enumerate(rows):
        offset += _KIND_GAP if place and row.kind != rows[place - 1].kind else 0.0
        offsets.append(offset)
        offset += HEIGHT
    pitch = head + offset + _BELOW
    down = math.ceil(blocks / across)
    corners = tuple(
        (stub + column * (count * width + _GUTTER), _TITLE + row * pitch + head)
        for row, column in (divmod(place, across) for place in range(blocks))
    )
    right = stub + across * count * width + (across - 1) * _GUTTER + MARGIN
    size = (max(right, TWO_COLUMNS), _TITLE + down * pitch + BAR[2])
    return HeatPlan(size, corners, tuple(offsets), width, across, upright)


def _across(stub: float, blocks: int, layers: int) -> float:
    """Width of a cell if so many blocks stand side by side."""
    return (TWO_COLUMNS - stub - MARGIN - _GUTTER * (blocks - 1)) / (blocks * layers)


def _stub(rows: Sequence[HeatRow]) -> float:
    kinds, labels = [readable(row.kind) for row in rows], [readable(row.label) for row in rows]
    return text_width(kinds, 6.0) + text_width(labels, 6.0) + (0.06 if any(kinds) else 0.0)
