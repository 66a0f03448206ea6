"""Where the cells and labels of a matrix stand, in inches from the upper left corner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from skiptool.figures.style import TWO_COLUMNS, readable, text_width

__all__ = ["BAR_HEIGHT", "MARGIN", "Block", "Column", "Plan", "Row", "plan_grid"]

MARGIN: Final = 0.06
"""Free edge of the sheet."""

BAR_HEIGHT: Final = (0.7, 1.5)
"""Least and greatest height of the colour bar."""

_CELL_WIDTH: Final = (0.28, 0.46)  # what a value of 6.5 points needs; what still looks like a cell
_ALONE_WIDTH: Final = 0.56  # a cell that is a block of its own may grow to fit its label
_CELL_HEIGHT: Final = 0.24
_SPREAD_HEIGHT: Final = 0.1
_BLOCK_GAP: Final = 0.1
_GROUP_HEAD: Final = 0.25
_BAR: Final = 0.62  # colour bar with its gap, ticks and label
_SIGNED: Final = 0.1  # what ticks with signs need more


@dataclass(frozen=True, slots=True)
class Row:
    """A row: a choice of skips, and the group (its encoder and arch) under whose head it stands."""

    label: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: a factor or a domain, and the block (kind of shift) that it belongs to.

    Neighbours of equal block stand together; a block of its own sets ``original`` apart.
    """

    label: str
    block: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A run of columns: its name, the left edges of its cells, their width, its right edge."""

    name: str
    labels: tuple[str, ...]
    lefts: tuple[float, ...]
    width: float
    right: float
    upright: bool  # labels turned by 90 degrees


@dataclass(frozen=True, slots=True)
class Plan:
    """The sheet of a matrix."""

    blocks: tuple[Block, ...]
    tops: tuple[float, ...]  # upper edge of each row
    height: float  # of a cell
    head: float  # foot of the column labels
    size: tuple[float, float]

    @property
    def right(self) -> float:
        """Right edge of the last block."""
        return self.blocks[-1].right

    def spans(self) -> list[tuple[float, float]]:
        """Left edge and width of every column."""
        return [(left, block.width) for block in self.blocks for left in block.lefts]


def plan_grid(
    rows: Sequence[Row],
    columns: Sequence[Column],
    *,
    with_spread: bool,
    signed: bool = False,
    beside: float = 0.0,
    least: float = 0.0,
) -> Plan:
    """Fit the cells into two journal columns, or as far beyond as their numbers need.

    ``beside`` is the length in inches of what is written along the colour bar, whose ticks may
    have signs. No cell is narrower than ``least`` inches.
    """
    bar = _BAR + (_SIGNED if signed else 0.0)
    groups = [(readable(name), len(list(run))) for name, run in groupby(r.group for r in rows)]
    stub = max(
        text_width([readable(row.label) for row in rows], 7.0),
        text_width([name for name, _ in groups], 7.7),  # bold is a tenth wider
    )
    blocks = _blocks(columns, MARGIN + stub + 0.1, bar, least)
    turned = [text_width(block.labels, 6.5) for block in blocks if block.upright]
    head = MARGIN + (0.2 if any(block.name for block in blocks) else 0.0)
    head += max(turned, default=0.1) + 0.04
    height = _CELL_HEIGHT + (_SPREAD_HEIGHT if with_spread else 0.0)
    tops, bottom = _tops(groups, head + 0.04, height)
    bottom = max(bottom, tops[0] + max(BAR_HEIGHT[0], beside))
    return Plan(blocks, tops, height, head, (blocks[-1].right + bar, bottom + MARGIN))


def _blocks(columns: Sequence[Column], start: float, bar: float, least: float) -> tuple[Block, ...]:
    runs = [
        (readable(name), tuple(readable(column.label) for column in run))
        for name, run in groupby(columns, key=lambda column: column.block)
    ]
    room = TWO_COLUMNS - start - bar - _BLOCK_GAP * (len(runs) - 1)
    alone = [_alone_width(labels) for _, labels in runs]
    shared = room - sum(alone)
    count = sum(len(labels) for (_, labels), own in zip(runs, alone, strict=True) if not own)
    low, high = (max(width, least) for width in _CELL_WIDTH)
    common = min(high, max(low, shared / max(count, 1)))
    blocks = []
    for (name, labels), own in zip(runs, alone, strict=True):
        width = max(own, common)
        lefts = tuple(start + place * width for place in range(len(labels)))
        # a block is never narrower than its name
        right = start + max(len(labels) * width, text_width([name], 7.0) + 0.06)
        upright = text_width(labels, 6.5) > width - 0.04
        blocks.append(Block(name, labels, lefts, width, right, upright))
        start = right + _BLOCK_GAP
    return tuple(blocks)


def _alone_width(labels: tuple[str, ...]) -> float:
    need = text_width(labels, 6.5) + 0.06
    return need if len(labels) == 1 and need <= _ALONE_WIDTH else 0.0


def _tops(
    groups: list[tuple[str, int]], start: float, height: float
) -> tuple[tuple[float, ...], float]:
    tops: list[float] = []
    for place, (_, count) in enumerate(groups):
        start += _GROUP_HEAD if place else 0.0
        tops += [start + row * height for row in range(count)]
        start += count * height
    return tuple(tops), start
