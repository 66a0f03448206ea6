"""Output of the command line: results on stdout; progress, warnings and errors on stderr."""

from __future__ import annotations

import errno
import json
import math
import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from textwrap import wrap
from typing import Any, Final, TypeAlias, TypeVar

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.color import Color
from rich.color_triplet import ColorTriplet
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressDisplay
from rich.style import Style
from rich.table import Table as RichTable
from rich.text import Text

from skiptool.errors import LeftoverError, SkiptoolError, missing_extra
from skiptool.records import Outcome, Shade, Table, Task, luminance

ConsoleT = TypeVar("ConsoleT", bound=Console)
Cells: TypeAlias = Sequence[str | int | float | None]

# Results


def print_result(
    name: str, outcome: Outcome, out: str | None, as_json: bool, seconds: float
) -> None:
    """Print the result of a command: paths, text or tables, or one JSON object.

    Parameters
    ----------
    name : str
        Name of the command.
    out : str or None
        Value of ``--out`` as typed; outputs are printed in that spelling.
    seconds : float
        Duration of the command.
    """
    paths = [as_given(path, out) for path in outcome.outputs]
    if as_json:
        from importlib.metadata import version  # lazy: it takes a tenth of the start

        result = {
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
        print(json.dumps(result, allow_nan=False))
    elif outcome.text:
        print("\n".join(map(escape_controls, outcome.text.split("\n"))))
    elif paths:
        # Exact for other programs; harmless on a terminal.
        print("\n".join(map(escape_controls, paths) if sys.stdout.isatty() else paths))
    else:
        _print_tables(outcome.tables)
    sys.stdout.flush()


def print_versions(as_json: bool) -> None:
    """Print the versions that a bug report needs, without importing the libraries."""
    from importlib.metadata import version  # lazy, as in print_result

    python, system, libraries = platform.python_version(), platform.platform(), _libraries()
    if as_json:
        found = {"skiptool": version("skiptool"), "python": python, "platform": system}
        print(json.dumps({**found, "libraries": libraries}))
        return
    print(f"skiptool {version('skiptool')}\nPython {python}\nplatform {system}")
    for name, installed in libraries.items():
        print(f"{name} {installed or 'not installed'}")


def _libraries() -> dict[str, str | None]:
    """Return the versions of the requirements of skiptool and of its extras, except for tests."""
    from importlib.metadata import PackageNotFoundError, requires, version  # lazy, as above

    versions: dict[str, str | None] = {}
    for line in requires("skiptool") or ():
        if not re.search(r"extra == .test.", line):
            name = re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]
            try:
                versions[name] = version(name)
            except PackageNotFoundError:
                versions[name] = None
    return versions


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


def _json(value: object) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Convert to JSON types; NaN and infinity become null."""
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print_tables(tables: Sequence[Table]) -> None:
    """Print rich tables on a terminal, else TSV blocks separated by an empty line.

    TSV has exact floats. If there are several tables, a first column holds their titles.
    """
    for number, table in enumerate(tables):
        if sys.stdout.isatty():
            print_table(table, open_console(Console))
            continue
        if number:
            print()
        several = len(tables) > 1
        _print_tsv(["table", *table.columns] if several else table.columns)
        for row in zip(*table.columns.values(), strict=True):
            _print_tsv([table.title, *row] if several else row)


def _print_tsv(values: Iterable[object]) -> None:
    print("\t".join(escape_controls(_exact_text(value)) for value in values))


# Tables on a terminal


def open_console(kind: type[ConsoleT], **options: Any) -> ConsoleT:  # noqa: ANN401 - rich's own
    """Open a rich console that writes no escape codes if NO_COLOR is set.

    Rich itself would still write bold and italic.
    """
    console = kind(highlight=False, **options)
    if console.no_color:
        return kind(highlight=False, color_system=None, **options)
    return console


def print_table(table: Table, console: Console) -> None:
    """Print a table, or a matrix with shaded numbers if the terminal has enough colours."""
    if table.shade is None:
        console.print(rich_table(table, console.width))
        return
    shaded = console.color_system in ("256", "truecolor")
    for block in matrix_blocks(table, table.shade, console.width, shaded):
        console.print(block)


def rich_table(table: Table, width: int | None = None) -> RichTable:
    """Lay out a table: numbers right-aligned with four decimals, no cell truncated.

    If the ``width`` of the terminal is given, empty columns are left out, and as many of the spare
    ones as necessary.
    """
    columns = table.columns if width is None else _fitting_columns(table, width)
    layout = RichTable(title=escape(escape_controls(table.title)), title_justify="left")
    for header, cells in columns.items():
        numeric = any(isinstance(value, int | float) for value in cells)
        layout.add_column(
            escape(escape_controls(header)), justify="right" if numeric else "left", overflow="fold"
        )
    previous = None
    for first, *others in zip(*columns.values(), strict=True):
        # A name in the first column is written once for consecutive rows that share it.
        repeated = isinstance(first, str) and first == previous
        texts = ["" if repeated else _rounded_text(first), *map(_rounded_text, others)]
        layout.add_row(*(escape(escape_controls(text)) for text in texts))
        previous = first
    return layout


COLUMN_GAP: Final = 3
"""Characters between two columns, including the line."""


def _fitting_columns(table: Table, width: int) -> dict[str, Cells]:
    columns = {name: cells for name, cells in table.columns.items() if set(cells) != {None}}
    for name in (*table.uniform, *table.spare):
        if _table_width(columns) <= width:
            break
        if name in table.spare or len(set(columns.get(name, ()))) == 1:
            columns.pop(name, None)
    return columns


def _table_width(columns: Mapping[str, Cells]) -> int:
    width = 1
    for header, cells in columns.items():
        texts = [header, *map(_rounded_text, cells)]
        width += max(len(escape_controls(text)) for text in texts) + COLUMN_GAP
    return width


def _rounded_text(value: object) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.4f}"
    return _exact_text(value)


def _exact_text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value)


# Matrices on a terminal: labelled rows of numbers on coloured backgrounds


_HEADER_WIDTH: Final = 14
"""Headers are broken into lines of at most this width, or that of the numbers if larger."""


@dataclass(frozen=True, slots=True)
class _NumberColumn:
    """A column of a matrix, laid out: lines of its header, its numbers and their texts."""

    header: Sequence[str]
    texts: Sequence[str]
    values: Sequence[float]

    @property
    def width(self) -> int:
        return max(map(cell_len, [*self.header, *self.texts]))


def matrix_blocks(table: Table, shade: Shade, width: int, shaded: bool) -> list[RenderableType]:
    """Lay out a matrix in as many blocks of columns as the terminal needs; no number is folded.

    Parameters
    ----------
    table : Table
        Its first columns hold labels, repeated in every block, and the others numbers.
    width : int
        Width of the terminal.
    shaded : bool
        Shade the numbers by the colour scale.
    """
    labels = _label_columns(table)
    limit = max(width // 2 // len(labels) - 2, 8)
    widths = [min(max(map(cell_len, [header, *texts])), limit) + 1 for header, texts in labels]
    available = width - sum(widths) - 2 * len(widths)
    blocks: list[RenderableType] = []
    for title, columns in _column_blocks(table, len(labels), shade, available):
        height = max((len(column.header) for column in columns), default=1)
        layout = RichTable(box=SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
        for (header, _), label_width in zip(labels, widths, strict=True):
            text = Text("\n" * (height - 1) + header)
            layout.add_column(text, width=label_width, overflow="fold")
        for column in columns:
            # The background covers the padding, which is therefore part of the text.
            lines = [""] * (height - len(column.header)) + [*column.header]
            text = Text("\n".join(_padded(line, column.width) for line in lines))
            layout.add_column(text, no_wrap=True)
        for row, names in enumerate(zip(*(texts for _, texts in labels), strict=True)):
            cells = [_number_cell(column, row, shade if shaded else None) for column in columns]
            layout.add_row(*map(Text, names), *cells)
        blocks.append(Group(Text(escape_controls(title), style="italic"), layout, ""))
    return blocks


def _label_columns(table: Table) -> list[tuple[str, list[str]]]:
    """Return header and texts of the columns before the numbers.

    The first of several is blank where it repeats the row above.
    """
    labels: list[tuple[str, list[str]]] = []
    for header, cells in table.columns.items():
        if labels and not any(isinstance(cell, str) for cell in cells):
            break
        texts = [escape_controls("" if cell is None else str(cell)) for cell in cells]
        labels.append((escape_controls(header), texts))
    if len(labels) > 1:
        header, texts = labels[0]
        above = ["", *texts[:-1]]
        unrepeated = [
            "" if text == previous else text for text, previous in zip(texts, above, strict=True)
        ]
        labels[0] = (header, unrepeated)
    return labels


def _number_cell(column: _NumberColumn, row: int, shade: Shade | None) -> Text:
    text = Text(_padded(column.texts[row], column.width))
    if shade is not None:
        text.stylize(cell_style(column.values[row], shade))
    return text


def _padded(text: str, width: int) -> str:
    return f" {' ' * (width - cell_len(text))}{text} "


def _column_blocks(
    table: Table, labels: int, shade: Shade, available: int
) -> list[tuple[str, list[_NumberColumn]]]:
    """Divide the columns into titled blocks: one if they fit, else one per group or more."""
    names = [*table.columns][labels:]
    columns = [_number_column(table, name, name, shade) for name in names]
    if _block_width(columns) <= available:
        return [(table.title, columns)]
    blocks: list[tuple[str, list[_NumberColumn]]] = []
    for group in dict.fromkeys(_group_of(table, name) for name in names):
        title = f"{table.title}, {group}" if group else table.title
        block: list[_NumberColumn] = []
        for name in names:
            if _group_of(table, name) != group:
                continue
            column = _number_column(table, name, name.removeprefix(group).strip() or name, shade)
            if block and _block_width([*block, column]) > available:
                blocks.append((title, block))
                block = []
            block.append(column)
        blocks.append((title, block))
    return blocks


def _block_width(columns: Sequence[_NumberColumn]) -> int:
    return sum(column.width + 3 for column in columns)


def _group_of(table: Table, name: str) -> str:
    """Return the longest group that a header begins with, or an empty string."""
    matching = [group for group in table.groups if name.startswith(f"{group} ")]
    return max(matching, key=len, default="")


def _number_column(table: Table, name: str, header: str, shade: Shade) -> _NumberColumn:
    values = [math.nan if cell is None else float(cell) for cell in table.columns[name]]
    sign = "+" if shade.diverging else ""
    texts = ["–" if math.isnan(v) else f"{v:{sign}z.{shade.digits}f}" for v in values]
    width = max([_HEADER_WIDTH, *map(cell_len, texts)])
    lines = [line for word in escape_controls(header).split(" ") for line in wrap(word, width)]
    return _NumberColumn(lines or [""], texts, values)


# Colours behind the numbers of a matrix


def _colours(codes: str) -> list[ColorTriplet]:
    return [Color.parse(code).get_truecolor() for code in codes.split()]


_SEQUENTIAL: Final = _colours(
    "#440154 #472d7b #3b528b #2c728e #21918c #28ae80 #5ec962 #addc30 #fde725"
)
"""Viridis, as in the figures."""

_DIVERGING: Final = _colours(
    "#67001f #b2182b #d6604d #f4a582 #fddbc7 #f7f7f7 #d1e5f0 #92c5de #4393c3 #2166ac #053061"
)
"""ColorBrewer's RdBu, as in the figures: red below, blue above."""

_EQUAL_CONTRAST: Final = 0.179
"""Luminance on which black and white text have equal contrast, 4.6 to 1 (WCAG 2.2, 1.4.3)."""


def cell_style(value: float, shade: Shade) -> Style:
    """Return the background of a number on a colour scale, with black or white text.

    Values beyond the scale get the colour of its end, NaN and infinity none.

    Examples
    --------
    >>> str(cell_style(1.2, Shade(0.0, 1.0))), str(cell_style(float("nan"), Shade(0.0, 1.0)))
    ('#000000 on #fde725', 'none')
    """
    if not math.isfinite(value):
        return Style.null()
    share = min(max((value - shade.low) / (shade.high - shade.low), 0.0), 1.0)
    background = _interpolate(_DIVERGING if shade.diverging else _SEQUENTIAL, share)
    text = "#000000" if luminance(*background.normalized) > _EQUAL_CONTRAST else "#ffffff"
    return Style(color=text, bgcolor=Color.from_triplet(background))


def _interpolate(anchors: Sequence[ColorTriplet], share: float) -> ColorTriplet:
    position = share * (len(anchors) - 1)
    index = min(int(position), len(anchors) - 2)
    red, green, blue = (
        round(low + (high - low) * (position - index))
        for low, high in zip(anchors[index], anchors[index + 1], strict=True)
    )
    return ColorTriplet(red, green, blue)


# Errors


SPACE_REMEDIES: Final = {
    errno.ENOSPC: "; free space there",
    errno.EDQUOT: "; free space there, or have your quota raised",
    errno.EFBIG: "; raise the limit of the size of files (ulimit -f)",
}


def error_text(error: Exception, resume_hint: str = "") -> str:
    """Describe any error in one line: place, finding, remedy.

    Parameters
    ----------
    error : Exception
    resume_hint : str
        Remedy to append to errors after which finished work is kept.

    Examples
    --------
    >>> error_text(OSError(28, "No space left on device", "a.zarr"), "; give --resume")
    'a.zarr: No space left on device; free space there; give --resume'
    """
    if isinstance(error, LeftoverError) and resume_hint:
        return f"{error}, or --resume to go on with it"
    if isinstance(error, SkiptoolError):
        return str(error)
    if line := missing_extra(error):
        return line
    if isinstance(error, UnicodeEncodeError):
        letter = ascii(error.object[error.start : error.start + 1])
        return (
            f"a name contains {letter}, which the encoding of this system ({error.encoding}) "
            "cannot represent; set LC_ALL=C.UTF-8 or PYTHONUTF8=1"
        )
    if isinstance(error, FileNotFoundError) and not error.filename and _working_directory_is_gone():
        return "the current working directory no longer exists; change to another one"
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        line = f"{place}{os.strerror(error.errno) if error.errno else error}"
        if error.errno in SPACE_REMEDIES and error.filename:  # otherwise it is stdout
            return f"{line}{SPACE_REMEDIES[error.errno]}{resume_hint}"
        return line
    if isinstance(error, MemoryError):
        size = str(error) or "size unknown"
        return f"out of memory ({size}); take fewer or smaller inputs at once{resume_hint}"
    return f"unexpected {type(error).__name__}: {error}; --debug shows where it comes from"


def _working_directory_is_gone() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def print_error(name: str, line: str) -> None:
    """Print one error line of a command on stderr."""
    with suppress(BrokenPipeError):
        print(f"{f'skiptool {name}'.rstrip()}: {one_line(line)}", file=sys.stderr)


def one_line(text: str) -> str:
    """Join the lines of a text, and escape its control characters."""
    return escape_controls(re.sub(r"\s*[\r\n]+\s*", " ", text.strip()))


def escape_controls(text: str) -> str:
    r"""Escape control characters: names come from data and could rewrite the terminal.

    Examples
    --------
    >>> escape_controls("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


# Progress, warnings and summaries on stderr


LOG_INTERVAL: Final = 30.0
"""Seconds between two lines of progress if stderr is no terminal."""

LOG_WIDTH: Final = 200
"""Width of a table on stderr if it is no terminal: nothing is left out of a log."""


class _StderrConsole(Console):
    """Console that falls silent if its reader goes away; the command continues."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Terminal:
    """Progress and messages on stderr, a :class:`skiptool.records.Progress`."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self._display: ProgressDisplay | None = None
        width = None if sys.stderr.isatty() else LOG_WIDTH
        self.console = open_console(_StderrConsole, stderr=True, quiet=quiet, width=width)

    @contextmanager
    def task(self, text: str, total: int) -> Iterator[Task]:
        """Show a progress bar on a terminal, else a line every 30 seconds."""
        if self.quiet or not self.console.is_terminal:
            yield _LoggedTask(self, text, total)
            return
        if self._display is not None:  # nested tasks share one display
            bar = _BarTask(self._display, text, total)
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
        with ProgressDisplay(*columns, console=self.console, transient=True) as self._display:
            try:
                yield _BarTask(self._display, text, total)
            finally:
                self._display = None

    def warn(self, line: str) -> None:
        """Print a warning."""
        self.say(f"skiptool: warning: {line}")

    def say(self, line: str) -> None:
        """Print a line without wrapping it."""
        self.console.print(escape(one_line(line)), soft_wrap=True)

    def show(self, outcome: Outcome) -> None:
        """Print the parts of an outcome that are not on stdout: side outputs, summary, failures."""
        for path in outcome.side_outputs:
            self.say(f"wrote {path}")
        if not outcome.text:
            for key, value in outcome.summary.items():
                self.say(f"{key}: {_summary_text(value)}")
        if outcome.outputs:
            for table in outcome.tables:
                print_table(table, self.console)
        for line in outcome.failures:
            print_error("", f"failed: {line}")  # shown even with --quiet


class _BarTask:
    def __init__(self, display: ProgressDisplay, text: str, total: int) -> None:
        self._display = display
        self._id = display.add_task(escape(escape_controls(text)), total=total, note="")

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._display.update(self._id, advance=steps, note=escape(escape_controls(note)))

    def remove(self) -> None:
        self._display.remove_task(self._id)


class _LoggedTask:
    def __init__(self, terminal: Terminal, text: str, total: int) -> None:
        self._terminal, self._text, self._total = terminal, text, total
        self._done = 0
        self._logged_at = time.monotonic()
        self._first: tuple[float, int] | None = None  # time and steps of the first advance

    def advance(self, steps: int = 1, note: str = "") -> None:
        now = time.monotonic()
        self._done += steps
        if self._first is None:  # may include the work of an interrupted run, so it is not timed
            self._first = (now, self._done)
        if now - self._logged_at >= LOG_INTERVAL:
            self._logged_at = now
            status = f"{self._text}: {self._done} of {self._total}{self._time_left(now)}"
            self._terminal.say(f"{status} {note}".rstrip())

    def _time_left(self, now: float) -> str:
        started, before = self._first or (now, self._done)
        if self._done == before:
            return ""
        seconds = (now - started) / (self._done - before) * (self._total - self._done)
        return f", about {timedelta(seconds=round(seconds))} left"


def _summary_text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_summary_text(item)}" for key, item in value.items())
    return ", ".join(map(_summary_text, value)) if isinstance(value, list | tuple) else str(value)
