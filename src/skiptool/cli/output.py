"""What goes to stdout: paths, tables or one JSON object, and nothing else."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from textwrap import wrap
from typing import Any, TypeVar

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.color import Color
from rich.color_triplet import ColorTriplet
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.style import Style
from rich.table import Table as Grid
from rich.text import Text

from skiptool.errors import LeftoverError, SkiptoolError
from skiptool.records import Outcome, Shade, Table, Task, luminance

# -------------------------------------------------------------------------------------------------
# Ground behind the numbers of a matrix on a terminal: the colour says how high each is.


_SEQUENTIAL = (
    *("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c"),
    *("#28ae80", "#5ec962", "#addc30", "#fde725"),
)
"""Viridis, as in the figures."""

_DIVERGING = (
    *("#67001f", "#b2182b", "#d6604d", "#f4a582", "#fddbc7", "#f7f7f7"),
    *("#d1e5f0", "#92c5de", "#4393c3", "#2166ac", "#053061"),
)
"""ColorBrewer's RdBu, as in the figures: red below, blue above."""

_DARKEST = 0.179
"""Luminance at which black and white letters are equally legible, 4.6 to 1 (WCAG 2.2, 1.4.3)."""


def cell_style(value: float, shade: Shade) -> Style:
    """Return the colour behind a number, and of its letters: black or white, as is more legible.

    Parameters
    ----------
    value : float
        Beyond the ends of the scale it has the colour of the end; not finite: no colour.
    shade : Shade

    Examples
    --------
    >>> str(cell_style(1.2, Shade(0.0, 1.0))), str(cell_style(float("nan"), Shade(0.0, 1.0)))
    ('#000000 on #fde725', 'none')
    """
    if not math.isfinite(value):
        return Style.null()
    share = (value - shade.low) / (shade.high - shade.low)
    colour = _between(_DIVERGING if shade.diverging else _SEQUENTIAL, min(max(share, 0.0), 1.0))
    letters = "#000000" if luminance(*colour.normalized) > _DARKEST else "#ffffff"
    return Style(color=letters, bgcolor=Color.from_triplet(colour))


def _between(anchors: tuple[str, ...], share: float) -> ColorTriplet:
    place = share * (len(anchors) - 1)
    below = min(int(place), len(anchors) - 2)
    low, high = list(pairwise(anchors))[below]
    ends = [(int(low[k : k + 2], 16), int(high[k : k + 2], 16)) for k in (1, 3, 5)]
    red, green, blue = (round(a + (b - a) * (place - below)) for a, b in ends)
    return ColorTriplet(red, green, blue)


# -------------------------------------------------------------------------------------------------
# What the user reads of an error, whoever raised it.


FULL = {
    errno.ENOSPC: "; free space there",
    errno.EDQUOT: "; free space there, or have your quota raised",
    errno.EFBIG: "; raise the limit of the size of files (ulimit -f)",
}
"""What helps where there is no space for an output."""


def error_text(error: Exception, goes_on: str = "") -> str:
    """Put an error into words: where, what, remedy.

    Parameters
    ----------
    error : Exception
    goes_on : str
        How to go on with what is done so far, for errors after which it is kept.

    Returns
    -------
    str
        Of one line, unless a message of other libraries has several.

    Examples
    --------
    >>> error_text(OSError(28, "No space left on device", "a.zarr"), "; give --resume")
    'a.zarr: No space left on device; free space there; give --resume'
    """
    if isinstance(error, LeftoverError) and goes_on:
        return f"{error}, or --resume to go on with it"
    if isinstance(error, SkiptoolError):
        return str(error)
    if isinstance(error, UnicodeEncodeError):
        letter = ascii(error.object[error.start : error.start + 1])
        return (
            f"a name contains {letter}, which the encoding of this system ({error.encoding}) "
            "cannot represent; set LC_ALL=C.UTF-8 or PYTHONUTF8=1"
        )
    if isinstance(error, FileNotFoundError) and not error.filename and _is_lost():
        return "the current working directory no longer exists; change to another one"
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        line = f"{place}{os.strerror(error.errno) if error.errno else error}"
        if error.errno in FULL and error.filename:  # else it is stdout
            return f"{line}{FULL[error.errno]}{goes_on}"
        return line
    if isinstance(error, MemoryError):
        known = str(error) or "no size known"
        return f"out of memory ({known}); take fewer or smaller inputs at once{goes_on}"
    return f"unexpected {type(error).__name__}: {error}; --debug shows where it comes from"


def _is_lost() -> bool:
    """Say whether the working directory was deleted."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def escape_controls(text: str) -> str:
    r"""Spell out control characters: names come from data and could rewrite the terminal.

    Examples
    --------
    >>> escape_controls("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


# -------------------------------------------------------------------------------------------------
# Matrices on a terminal: labels down, numbers on coloured grounds, as many blocks as it needs.


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
        found.append(Group(Text(escape_controls(title), style="italic"), grid, ""))
    return found


def _labels(table: Table) -> list[tuple[str, list[str]]]:
    """Return the columns before the numbers; what rows share with those above is written once."""
    found = []
    for place, (header, cells) in enumerate(table.columns.items()):
        if place and not any(isinstance(cell, str) for cell in cells):
            break
        names = [escape_controls("" if cell is None else str(cell)) for cell in cells]
        found.append((escape_controls(header), names))
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
        text.stylize(cell_style(column.values[place], shade))
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
    words = escape_controls(header).split(" ")
    return _Column(_lines(words, max(widest, _HEADER)), texts, values)


def _lines(words: Sequence[str], width: int) -> list[str]:
    return [line for word in words for line in wrap(word, width)] or [""]


def _text(value: float, shade: Shade) -> str:
    if math.isnan(value):
        return "–"
    sign = "+" if shade.diverging else ""
    return f"{value:{sign}z.{shade.digits}f}"


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
        print(
            "\n".join(map(escape_controls, outcome.text.split("\n")))
            if outcome.text
            else _paths(paths)
        )
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
    found = Grid(title=escape(escape_controls(table.title)), title_justify="left")
    for header, cells in columns.items():
        number = any(isinstance(value, int | float) for value in cells)
        found.add_column(
            escape(escape_controls(header)), justify="right" if number else "left", overflow="fold"
        )
    above = None
    for first, *rest in zip(*columns.values(), strict=True):
        # A name in the first column is written once for the rows that share it.
        texts = ["" if isinstance(first, str) and first == above else _short(first)]
        texts += [_short(value) for value in rest]
        found.add_row(*(escape(escape_controls(text)) for text in texts))
        above = first
    return found


def open_console(kind: type[ConsoleT], **how: Any) -> ConsoleT:  # noqa: ANN401 - rich's own
    """Open a rich console; where NO_COLOR is set it writes no style at all.

    Rich would leave bold and italic, which are escape codes too.
    """
    found = kind(highlight=False, **how)
    return kind(highlight=False, color_system=None, **how) if found.no_color else found


def print_table(table: Table, console: Console) -> None:
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
    return sum(max(len(escape_controls(text)) for text in each) + GAP for each in texts) + 1


def _print_tables(tables: Sequence[Table]) -> None:
    """Print rich tables on a terminal, elsewhere TSV blocks with an empty line between them.

    Floats in TSV are exact. Where there are several tables a first column says which it is.
    """
    for number, table in enumerate(tables):
        if sys.stdout.isatty():
            print_table(table, open_console(Console))
            continue
        if number:
            print()
        rows = zip(*table.columns.values(), strict=True)
        before = [("table", table.title)] if len(tables) > 1 else []
        print("\t".join(escape_controls(name) for name in [*dict(before), *table.columns]))
        for row in rows:
            print(
                "\t".join(
                    escape_controls(_exact(value)) for value in [*dict(before).values(), *row]
                )
            )


def _paths(paths: Sequence[str]) -> str:
    """Write paths as they are, for other programs; on a terminal nothing in them takes effect."""
    return "\n".join(map(escape_controls, paths) if sys.stdout.isatty() else paths)


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


# -------------------------------------------------------------------------------------------------
# What people read while a command works and beside its result: all of it on stderr.


PLAIN_SECONDS = 30.0
"""Where stderr is no terminal, a line about every so many seconds says how far the work is."""


PLAIN_WIDTH = 200
"""Columns of a table on stderr where it is no terminal: nothing is cut in a log."""


class _People(Console):
    """Stderr: whoever reads it may go away, the work goes on and its result reaches stdout."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Terminal:
    """Progress and warnings on stderr (see :class:`skiptool.records.Progress`)."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self._bars: Bars | None = None
        width = None if sys.stderr.isatty() else PLAIN_WIDTH
        self.console = open_console(_People, stderr=True, quiet=quiet, width=width)

    @contextmanager
    def task(self, text: str, total: int) -> Iterator[Task]:
        """Show a bar on a terminal, a plain line now and then elsewhere."""
        if self.quiet or not self.console.is_terminal:
            yield _Lines(self, text, total)
            return
        if self._bars is not None:  # a task within a task: one display for both
            bar = _Bar(self._bars, text, total)
            yield bar
            bar.remove()
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Bars(*columns, console=self.console, transient=True) as self._bars:
            try:
                yield _Bar(self._bars, text, total)
            finally:
                self._bars = None

    def warn(self, line: str) -> None:
        """Print one warning."""
        self.say(f"skiptool: warning: {line}")

    def say(self, line: str) -> None:
        """Print one line, however long it is."""
        self.console.print(escape(one_line(line)), soft_wrap=True)

    def show(self, outcome: Outcome) -> None:
        """Print what people read beside the result: side outputs, failures, the summary."""
        for path in outcome.side_outputs:
            self.say(f"wrote {path}")
        if not outcome.text:
            for key, value in outcome.summary.items():
                self.say(f"{key}: {_plain(value)}")
        if outcome.outputs:
            for table in outcome.tables:
                print_table(table, self.console)
        for line in outcome.failures:
            # Errors of single inputs: --quiet does not hide them.
            print_error("", f"failed: {line}")


class _Bar:
    def __init__(self, bars: Bars, text: str, total: int) -> None:
        self._bars = bars
        self._id = bars.add_task(escape(escape_controls(text)), total=total, note="")

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._bars.update(self._id, advance=steps, note=escape(escape_controls(note)))

    def remove(self) -> None:
        self._bars.remove_task(self._id)


class _Lines:
    def __init__(self, terminal: Terminal, text: str, total: int) -> None:
        self._terminal, self._text, self._total = terminal, text, total
        self._done, self._said = 0, time.monotonic()
        self._from: tuple[float, int] | None = None

    def advance(self, steps: int = 1, note: str = "") -> None:
        now = time.monotonic()
        self._done += steps
        if self._from is None:  # the first step may be what a resumed run had done before
            self._from = (now, self._done)
        if now - self._said >= PLAIN_SECONDS:
            self._said = now
            far = f"{self._text}: {self._done} of {self._total}{self._left(now)}"
            self._terminal.say(f"{far} {note}".rstrip())

    def _left(self, now: float) -> str:
        begun, before = self._from or (now, self._done)
        if self._done == before:
            return ""
        seconds = (now - begun) / (self._done - before) * (self._total - self._done)
        return f", about {timedelta(seconds=round(seconds))} left"


def print_error(name: str, line: str) -> None:
    """Print one error line of a command on stderr."""
    with suppress(BrokenPipeError):
        print(f"{f'skiptool {name}'.rstrip()}: {one_line(line)}", file=sys.stderr)


def one_line(text: str) -> str:
    """Join the lines of a text, and make visible what would move the cursor."""
    return escape_controls(re.sub(r"\s*[\r\n]+\s*", " ", text.strip()))


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)
