"""Terminal and streams: progress, warnings, error lines, exit codes.

stdout carries the result and nothing else (see ``results``); all the rest is stderr, from here.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from skiptool.cli.results import grid, print_result, visible
from skiptool.cli.wording import explain
from skiptool.errors import ArgumentError, ExistsError
from skiptool.records import Outcome, Task

__all__ = ["Terminal", "command", "complain", "exit_code", "open_streams", "show_help"]

PLAIN_SECONDS = 30.0
"""Where stderr is no terminal, a line about every so many seconds says how far the work is."""


PLAIN_WIDTH = 200
"""Columns of a table on stderr where it is no terminal: nothing is cut in a log."""


INPUTS = (
    *("data", "models", "stores", "tables", "manifest"),
    *("images", "masks", "overlays", "templates"),
)
"""Parameters that name what a command reads (or writes beside): no place for its output."""


class _People(Console):
    """Stderr: whoever reads it may go away, the work goes on and its result reaches stdout."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Terminal:
    """Progress and warnings on stderr (see :class:`skiptool.records.Progress`)."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        width = None if sys.stderr.isatty() else PLAIN_WIDTH
        self.console = _People(stderr=True, quiet=quiet, highlight=False, width=width)

    @contextmanager
    def task(self, text: str, total: int) -> Iterator[Task]:
        """Show a bar on a terminal, a plain line now and then elsewhere."""
        if self._quiet or not self.console.is_terminal:
            yield _Lines(self, text, total)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Bars(*columns, console=self.console, transient=True) as bars:
            yield _Bar(bars, text, total)

    def warn(self, line: str) -> None:
        """Print one warning."""
        self.say(f"skiptool: warning: {line}")

    def say(self, line: str) -> None:
        """Print one line, however long it is."""
        self.console.print(escape(_one_line(line)), soft_wrap=True)

    def show(self, outcome: Outcome) -> None:
        """Print what people read beside the result: side outputs, failures, the summary."""
        for path in outcome.side_outputs:
            self.say(f"wrote {path}")
        if not outcome.text:
            for key, value in outcome.summary.items():
                self.say(f"{key}: {_text(value)}")
        if outcome.outputs:
            for table in outcome.tables:
                self.console.print(grid(table, self.console.width))
        for line in outcome.failures:
            # Errors of single inputs: --quiet does not hide them.
            complain("", f"failed: {line}")


class _Bar:
    def __init__(self, bars: Bars, text: str, total: int) -> None:
        self._bars = bars
        self._id = bars.add_task(escape(visible(text)), total=total, note="")

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._bars.update(self._id, advance=steps, note=escape(visible(note)))


class _Lines:
    def __init__(self, terminal: Terminal, text: str, total: int) -> None:
        self._terminal, self._text, self._total = terminal, text, total
        self._done, self._said = 0, time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._done += steps
        if time.monotonic() - self._said >= PLAIN_SECONDS:
            self._said = time.monotonic()
            self._terminal.say(f"{self._text}: {self._done} of {self._total} {note}".rstrip())


def command(function: Callable[..., Outcome]) -> Callable[..., int]:
    """Make a subcommand of a function that calls one step and returns its outcome.

    Adds ``--json``, ``--quiet`` and ``--debug``; hands a :class:`Terminal` to the parameter
    ``progress``; prints the outcome and returns the exit code.
    """
    name = function.__name__.replace("_", " ")
    shared = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for key, kind in _SHARED.items()
    ]
    signature = inspect.signature(function, eval_str=True)
    own = [value for key, value in signature.parameters.items() if key != "progress"]

    @wraps(function)
    def run(**given: Any) -> int:  # noqa: ANN401 - typer calls with what the signature says
        flags = {key: bool(given.pop(key)) for key in _SHARED}
        terminal = Terminal(flags["quiet"])
        begun = time.monotonic()
        goes_on = "; give --resume to go on where it stopped" if "resume" in given else ""
        try:
            _check(given)
            outcome = function(**given, progress=terminal)
        except KeyboardInterrupt:
            complain(name, f"interrupted{goes_on}")
            return 130
        except Exception as error:  # whatever it is, the user reads one line
            return _fail(name, error, flags["debug"], goes_on)
        try:
            terminal.show(outcome)
            seconds = time.monotonic() - begun
            print_result(name, outcome, given.get("out"), flags["as_json"], seconds)
        except OSError as error:
            _close_quietly()
            if not isinstance(error, BrokenPipeError):
                return _fail(name, error, flags["debug"])
        return 3 if outcome.failures else 0

    del run.__wrapped__
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*own, *shared], return_annotation=int
    )
    run.__annotations__ = {item.name: item.annotation for item in [*own, *shared]}
    return run


_SHARED = {
    "as_json": Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout instead of paths.")
    ],
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")],
    "debug": Annotated[bool, typer.Option("--debug", help="Show a traceback on an error.")],
}


def exit_code(error: BaseException) -> int:
    """Return the exit code of an error: 2 wrong command line, 4 output exists, 1 the rest."""
    if isinstance(error, ArgumentError):
        return 2
    return 4 if isinstance(error, ExistsError) else 1


def complain(name: str, line: str) -> None:
    """Print one error line of a command on stderr."""
    with suppress(BrokenPipeError):
        print(f"{f'skiptool {name}'.rstrip()}: {_one_line(line)}", file=sys.stderr)


def show_help(context: typer.Context) -> None:
    """Print the help of a group that was called without a subcommand, and exit with 2."""
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(2)


def open_streams() -> None:
    """Give a process that was started without stdout or stderr one that leads to nothing."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - open as long as the process


def _close_quietly() -> None:
    """Point stdout at nothing once nobody takes it, so that exit writes no traceback."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check(given: Mapping[str, Any]) -> None:
    if given.get("overwrite") and given.get("resume"):
        raise ArgumentError("--overwrite starts again and --resume goes on; give one of them")
    out = given.get("out")
    for name in INPUTS:
        words = given.get(name) or ()
        for word in words if isinstance(words, list | tuple) else (words,):
            if out and Path(word).resolve() == Path(out).resolve():
                raise ArgumentError(f"--out {out}: is given as {name} too; give another path")


def _fail(name: str, error: Exception, debug: bool, goes_on: str = "") -> int:
    if debug:
        traceback.print_exception(error)
    complain(name, explain(error, goes_on))
    return exit_code(error)


def _one_line(text: str) -> str:
    return visible(re.sub(r"\s*[\r\n]+\s*", " ", text.strip()))


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return ", ".join(map(_text, value)) if isinstance(value, list | tuple) else str(value)
