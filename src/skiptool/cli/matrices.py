"""Matrices on a terminal: labels down, numbers on coloured grounds, as many blocks as it needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from skiptool.cli.shading import ground
from skiptool.cli.wording import visible
from skiptool.records import Shade, Table

__all__ = ["matrices"]

_HEADER = 14
"""A header that is wider than its numbers is broken into lines of so many columns at most."""


@dataclass(frozen=True, slots=True)
class _Column:
    """One column of numbers, as it will stand on the terminal."""

    header: Sequence[str]
    texts: Sequence[str]
    values: Sequence[float]

    @property
    def width(self) -> int:
        return max(map(cell_len, [*self.header, *self.texts]))


def matrices(table: Table, shade: Shade, width: int, coloured: bool) -> list[RenderableType]:
    """Lay a matrix out in as many blocks of columns as a terminal needs; no cell is folded.

    Parameters
    ----------
    table : Table
        Its first columns hold labels, the others numbers.
    shade : Shade
    width : int
        Of the terminal.
    coloured : bool
        Whether the terminal has the colours of a scale; without them the numbers stand alone.

    Returns
    -------
    list of rich renderables
        One for each block; each repeats the labels.
    """
    labels = _labels(table)
    most = max(width // 2 // len(labels) - 2, 8)
    widths = [min(max(map(cell_len, [name, *cells])), most) + 1 for name, cells in labels]
    found: list[RenderableType] = []
    for title, columns in _blocks(table, len(labels), shade, width - sum(widths) - 2 * len(widths)):
        above = max((len(column.header) for column in columns), default=1) - 1
        grid = Grid(box=SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
        for (name, _), size in zip(labels, widths, strict=True):
            grid.add_column(Text("\n" * above + name), width=size, overflow="fold")
        for column in columns:
            # The ground reaches over the padding, which therefore is part of the text.
            lines = [""] * (above + 1 - len(column.header)) + [*column.header]
            head = "\n".join(_padded(line, column.width) for line in lines)
            grid.add_column(Text(head), no_wrap=True)
        for place, names in enumerate(zip(*(cells for _, cells in labels), strict=True)):
            cells = [_cell(column, place, shade if coloured else None) for column in columns]
            grid.add_row(*map(Text, names), *cells)
        found.append(Group(Text(visible(title), style="italic"), grid, ""))
    return found


def _labels(table: Table) -> list[tuple[str, list[str]]]:
    """Return the columns before the numbers; what rows share with those above is written once."""
    found = []
    for place, (header, cells) in enumerate(table.columns.items()):
        if place and not any(isinstance(cell, str) for cell in cells):
            break
        names = [visible("" if cell is None else str(cell)) for cell in cells]
        found.append((visible(header), names))
    if len(found) > 1:
        header, names = found[0]
        found[0] = (
            header,
            [n if n != m else "" for n, m in zip(names, ["", *names[:-1]], strict=True)],
        )
    return found


def _cell(column: _Column, place: int, shade: Shade | None) -> Text:
    text = Text(_padded(column.texts[place], column.width))
    if shade is not None:
        text.stylize(ground(column.values[place], shade))
    return text


def _padded(text: str, width: int) -> str:
    return f" {' ' * (width - cell_len(text))}{text} "


def _blocks(table: Table, labels: int, shade: Shade, room: int) -> list[tuple[str, list[_Column]]]:
    """Divide the columns: all together, else by group, else as many at a time as there is room."""
    names = [*table.columns][labels:]
    whole = [_column(table, name, name, shade) for name in names]
    if _room(whole) <= room:
        return [(table.title, whole)]
    blocks: list[tuple[str, list[_Column]]] = []
    for group in _groups(table, names):
        title = f"{table.title}, {group}" if group else table.title
        block: list[_Column] = []
        for name in (each for each in names if _group(table, each) == group):
            column = _column(table, name, name.removeprefix(group).strip() or name, shade)
            if block and _room([*block, column]) > room:
                blocks.append((title, block))
                block = []
            block.append(column)
        blocks.append((title, block))
    return blocks


def _room(columns: Sequence[_Column]) -> int:
    return sum(column.width + 3 for column in columns)


def _groups(table: Table, names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(_group(table, name) for name in names))


def _group(table: Table, name: str) -> str:
    """Return the longest group whose words a header begins with, or an empty one."""
    return max((g for g in table.groups if name.startswith(f"{g} ")), key=len, default="")


def _column(table: Table, name: str, header: str, shade: Shade) -> _Column:
    values = [float("nan") if v is None else float(v) for v in table.columns[name]]
    texts = [_text(value, shade) for value in values]
    widest = max(map(cell_len, texts), default=0)
    words = visible(header).split(" ")
    return _Column(_lines(words, max(widest, _HEADER)), texts, values)


def _lines(words: Sequence[str], width: int) -> list[str]:
    return [line for word in words for line in wrap(word, width)] or [""]


def _text(value: float, shade: Shade) -> str:
    if math.isnan(value):
        return "–"
    sign = "+" if shade.diverging else ""
    return f"{value:{sign}z.{shade.digits}f}"
