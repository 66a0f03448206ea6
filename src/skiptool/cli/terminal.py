"""What people read while a command works and beside its result: all of it on stderr."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from skiptool.cli.results import open_console, show
from skiptool.cli.wording import visible
from skiptool.records import Outcome, Task

__all__ = ["Terminal", "complain", "one_line"]

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
                self.say(f"{key}: {_text(value)}")
        if outcome.outputs:
            for table in outcome.tables:
                show(table, self.console)
        for line in outcome.failures:
            # Errors of single inputs: --quiet does not hide them.
            complain("", f"failed: {line}")


class _Bar:
    def __init__(self, bars: Bars, text: str, total: int) -> None:
        self._bars = bars
        self._id = bars.add_task(escape(visible(text)), total=total, note="")

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._bars.update(self._id, advance=steps, note=escape(visible(note)))

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


def complain(name: str, line: str) -> None:
    """Print one error line of a command on stderr."""
    with suppress(BrokenPipeError):
        print(f"{f'skiptool {name}'.rstrip()}: {one_line(line)}", file=sys.stderr)


def one_line(text: str) -> str:
    """Join the lines of a text, and make visible what would move the cursor."""
    return visible(re.sub(r"\s*[\r\n]+\s*", " ", text.strip()))


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return ", ".join(map(_text, value)) if isinstance(value, list | tuple) else str(value)
