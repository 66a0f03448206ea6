"""What goes to stdout: paths, tables or one JSON object, and nothing else."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from skiptool.cli.matrices import matrices
from skiptool.cli.wording import visible
from skiptool.records import Outcome, Table

__all__ = ["as_given", "grid", "open_console", "print_result", "show"]

ConsoleT = TypeVar("ConsoleT", bound=Console)


def print_result(
    name: str, outcome: Outcome, out: str | None, as_json: bool, seconds: float
) -> None:
    """Print the result of a command on stdout.

    Parameters
    ----------
    name : str
        Of the command.
    outcome : Outcome
    out : str or None
        What the user typed behind ``--out``; outputs are printed in that spelling.
    as_json : bool
    seconds : float
    """
    paths = [as_given(path, out) for path in outcome.outputs]
    if as_json:
        found = {
            "command": name,
            "version": version("skiptool"),
            "outputs": paths,
            "side_outputs": [str(path) for path in outcome.side_outputs],
            "summary": _json(outcome.summary),
            "failures": list(outcome.failures),
            "tables": [
                {"title": table.title, "columns": _json(table.columns)} for table in outcome.tables
            ],
            "seconds": round(seconds, 3),
        }
        print(json.dumps(found, allow_nan=False))
    elif outcome.text or paths:
        print("\n".join(map(visible, outcome.text.split("\n"))) if outcome.text else _paths(paths))
    else:
        _print_tables(outcome.tables)
    sys.stdout.flush()


def as_given(path: Path | str, out: str | None) -> str:
    """Spell a path below ``out`` as the user did; ``pathlib`` drops ``./`` and doubled slashes.

    Examples
    --------
    >>> as_given(Path("runs/resnet18-L0/fold0"), "./runs/"), as_given(Path("s.zarr"), None)
    ('./runs/resnet18-L0/fold0', 's.zarr')
    """
    if out is None or isinstance(path, str) or not path.is_relative_to(Path(out)):
        return str(path)
    below = path.relative_to(Path(out))
    return f"{out.rstrip('/')}/{below}" if below.parts else out


def grid(table: Table, width: int | None = None) -> Grid:
    """Lay a table out for people: numbers right, four decimals, nothing cut off.

    Parameters
    ----------
    table : Table
    width : int, optional
        Of the terminal; columns without any value are left out, and those that can be spared.
    """
    columns = table.columns if width is None else _fitting(table, width)
    found = Grid(title=escape(visible(table.title)), title_justify="left")
    for header, cells in columns.items():
        number = any(isinstance(value, int | float) for value in cells)
        found.add_column(
            escape(visible(header)), justify="right" if number else "left", overflow="fold"
        )
    above = None
    for first, *rest in zip(*columns.values(), strict=True):
        # A name in the first column is written once for the rows that share it.
        texts = ["" if isinstance(first, str) and first == above else _short(first)]
        texts += [_short(value) for value in rest]
        found.add_row(*(escape(visible(text)) for text in texts))
        above = first
    return found


def open_console(kind: type[ConsoleT], **how: Any) -> ConsoleT:  # noqa: ANN401 - rich's own
    """Open a rich console; where NO_COLOR is set it writes no style at all.

    Rich would leave bold and italic, which are escape codes too.
    """
    found = kind(highlight=False, **how)
    return kind(highlight=False, color_system=None, **how) if found.no_color else found


def show(table: Table, console: Console) -> None:
    """Print a table for people, a matrix with its numbers shaded where there are the colours."""
    if table.shade is None:
        console.print(grid(table, console.width))
        return
    coloured = console.color_system in ("256", "truecolor")
    for block in matrices(table, table.shade, console.width, coloured):
        console.print(block)


GAP = 3
"""Columns of the terminal between two of the table, a line among them."""


def _fitting(table: Table, width: int) -> dict[str, Sequence[str | int | float | None]]:
    columns = {name: cells for name, cells in table.columns.items() if set(cells) != {None}}
    for name in (*table.uniform, *table.spare):
        if _width(columns) <= width:
            break
        if name in table.spare or len(set(columns.get(name, ()))) == 1:
            columns.pop(name, None)
    return columns


def _width(columns: Mapping[str, Sequence[str | int | float | None]]) -> int:
    texts = [[header, *map(_short, cells)] for header, cells in columns.items()]
    return sum(max(len(visible(text)) for text in each) + GAP for each in texts) + 1


def _print_tables(tables: Sequence[Table]) -> None:
    """Print rich tables on a terminal, elsewhere TSV blocks with an empty line between them.

    Floats in TSV are exact. Where there are several tables a first column says which it is.
    """
    for number, table in enumerate(tables):
        if sys.stdout.isatty():
            show(table, open_console(Console))
            continue
        if number:
            print()
        rows = zip(*table.columns.values(), strict=True)
        before = [("table", table.title)] if len(tables) > 1 else []
        print("\t".join(visible(name) for name in [*dict(before), *table.columns]))
        for row in rows:
            print("\t".join(visible(_exact(value)) for value in [*dict(before).values(), *row]))


def _paths(paths: Sequence[str]) -> str:
    """Write paths as they are, for other programs; on a terminal nothing in them takes effect."""
    return "\n".join(map(visible, paths) if sys.stdout.isatty() else paths)


def _short(value: object) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.4f}"
    return _exact(value)


def _exact(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value)


def _json(value: object) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Return JSON types; what JSON has no number for (NaN, infinity) is null."""
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
