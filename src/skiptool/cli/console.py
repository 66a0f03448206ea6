"""How a function becomes a subcommand: shared flags, error lines, exit codes.

stdout carries the result and nothing else (see ``results``); all the rest is stderr, from here and
``terminal``.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from skiptool.cli.output import Terminal, error_text, print_error, print_result
from skiptool.cli.paths import check_outputs, goes_to_url, typed_inputs
from skiptool.errors import ArgumentError, ExistsError
from skiptool.records import Outcome
from skiptool.stores.staging import protect_inputs

# -------------------------------------------------------------------------------------------------
# SIGTERM ends a command as Ctrl-C does: what can be resumed is kept, the rest is cleared away.


class Terminated(KeyboardInterrupt):
    """A SIGTERM, raised where the work is: whatever heeds Ctrl-C heeds it too."""


RAISED = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}
DEFAULT = (signal.SIG_DFL, signal.default_int_handler)


@contextmanager
def terminable() -> Iterator[None]:
    """Raise :class:`Terminated` at SIGTERM, KeyboardInterrupt at SIGINT while the block runs.

    Either comes out of the block even where a library has made another error of it on the way, as
    compiled code does. Python hears signals in its main thread only; elsewhere, and where somebody
    listens already, nothing is changed.
    """
    heard: list[signal.Signals] = []

    def interrupt(number: int, _: FrameType | None) -> None:
        heard.append(signal.Signals(number))
        raise RAISED[heard[0]]

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in RAISED}
    for number, handler in before.items():
        if handler in DEFAULT:
            signal.signal(number, interrupt)
    try:
        yield
    except (Exception, SystemExit) as error:
        if heard:
            raise RAISED[heard[0]] from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_GOES_ON = {"study": "; run the same line again to go on where it stopped"}
"""What to do after an interruption, for commands without ``--resume``."""


def command(function: Callable[..., Outcome]) -> Callable[..., int]:
    """Make a subcommand of a function that calls one step and returns its outcome.

    Adds ``--json``, ``--quiet`` and ``--debug``, and ``--workers`` and ``--seed`` where it has
    none; hands a :class:`Terminal` to the parameter ``progress``; prints the outcome and returns
    the exit code.
    """
    name = function.__name__.replace("_", " ")
    signature = inspect.signature(function, eval_str=True)
    own = [value for key, value in signature.parameters.items() if key != "progress"]
    unused = {key: kind for key, kind in _EVERYWHERE.items() if key not in signature.parameters}
    shared = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for kinds, default in ((unused, None), (_SHARED, False))
        for key, kind in kinds.items()
    ]

    @wraps(function)
    def run(**given: Any) -> int:  # noqa: ANN401 - typer calls with what the signature says
        flags = {key: bool(given.pop(key)) for key in _SHARED}
        for key in unused:
            given.pop(key)
        terminal = Terminal(flags["quiet"])
        begun = time.monotonic()
        resumed = "resume" in given and not goes_to_url(name, given)
        goes_on = "; give --resume to go on where it stopped" if resumed else _GOES_ON.get(name, "")
        try:
            _check(given)
            with terminable(), protect_inputs(typed_inputs(name, given)):
                check_outputs(name, given)
                outcome = function(**given, progress=terminal)
        except Terminated:
            print_error(name, f"terminated{goes_on}")
            return 143
        except KeyboardInterrupt:
            print_error(name, f"interrupted{goes_on}")
            return 130
        except Exception as error:  # whatever it is, the user reads one line
            return _fail(name, error, flags["debug"], goes_on)
        if outcome.silent:
            return 0
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


_EVERYWHERE = {
    "workers": Annotated[
        int | None,
        typer.Option("--workers", min=0, help="Taken by every command; one worker is enough here."),
    ],
    "seed": Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Taken by every command; nothing is random here."),
    ],
}
"""Options that a script may give to every step, so that those without a use for them take them."""


class OnceCommand(TyperCommand):
    """A command that refuses an option of one value that is given twice: the last would win."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Read the words behind the command."""
        if not ctx.resilient_parsing:
            order = self.make_parser(ctx).parse_args(args=list(args))[2]
            for option in dict.fromkeys(order):
                if order.count(option) > 1 and _takes_one(option):
                    ctx.fail(
                        f"{option.opts[0]} is given {order.count(option)} times, it takes one value"
                    )
        return super().parse_args(ctx, args)


def _takes_one(option: Any) -> bool:  # noqa: ANN401 - a parameter of typer's own click
    if not isinstance(option, TyperOption) or option.multiple or option.count:
        return False
    return bool(option.secondary_opts) or not option.is_flag  # --this twice is this all the same


def exit_code(error: BaseException) -> int:
    """Return the exit code of an error: 2 wrong command line, 4 output exists, 1 the rest."""
    if isinstance(error, ArgumentError):
        return 2
    return 4 if isinstance(error, ExistsError) else 1


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


def _fail(name: str, error: Exception, debug: bool, goes_on: str = "") -> int:
    if debug:
        traceback.print_exception(error)
    print_error(name, error_text(error, goes_on))
    return exit_code(error)
