"""Turn functions into subcommands: shared options, error lines, exit codes.

stdout carries only the result; everything else goes to stderr (see ``output``).
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
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from skiptool.cli.config import command_path, expand
from skiptool.cli.output import Terminal, error_text, print_error, print_result
from skiptool.cli.paths import WRITTEN, check_outputs, typed_inputs, writes_to_url
from skiptool.errors import ArgumentError, ExistsError
from skiptool.records import Outcome
from skiptool.stores.staging import protect_inputs

# Signals: SIGTERM ends a command as Ctrl-C does, so that finished work is kept and the rest removed


class Terminated(KeyboardInterrupt):
    """Raised by SIGTERM; code that handles Ctrl-C handles it too."""


RAISED = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}
DEFAULT_HANDLERS = (signal.SIG_DFL, signal.default_int_handler)


@contextmanager
def terminable() -> Iterator[None]:
    """Raise :class:`Terminated` on SIGTERM, KeyboardInterrupt on SIGINT while the block runs.

    Either leaves the block even if a library, such as compiled code, has turned it into another
    exception. Handlers other than the default ones are kept, and nothing changes outside the main
    thread, the only one in which Python handles signals.
    """
    received: list[signal.Signals] = []

    def interrupt(number: int, _: FrameType | None) -> None:
        received.append(signal.Signals(number))
        raise RAISED[received[0]]

    previous = {}
    if threading.current_thread() is threading.main_thread():
        previous = {number: signal.getsignal(number) for number in RAISED}
    for number, handler in previous.items():
        if handler in DEFAULT_HANDLERS:
            signal.signal(number, interrupt)
    try:
        yield
    except (Exception, SystemExit) as error:
        if received:
            raise RAISED[received[0]] from error
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


# Subcommands


_SHARED = {
    "as_json": Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout instead of paths.")
    ],
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors on stderr.")],
    "debug": Annotated[bool, typer.Option("--debug", help="Show a traceback on an error.")],
}


_CONFIG = {
    "config": Annotated[
        str | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Read options from this file (TOML or YAML); those on the command line win.",
        ),
    ]
}


_ACCEPTED = {
    "workers": Annotated[
        int | None,
        typer.Option("--workers", min=0, help="Accepted by every command; has no effect here."),
    ],
    "seed": Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Accepted by every command; has no effect here."),
    ],
}
"""Options that scripts may pass to every subcommand; those without a use for them ignore them."""


def command(function: Callable[..., Outcome]) -> Callable[..., int]:
    """Turn a function that calls a step and returns its outcome into a subcommand.

    Adds ``--json``, ``--quiet`` and ``--debug``, and ``--config``, ``--workers`` and ``--seed`` if
    the function lacks them; passes a :class:`Terminal` as ``progress``; prints the outcome and
    returns the exit code. After Ctrl-C, raises `typer.Abort` once it has printed its line.
    """
    name = function.__name__.replace("_", " ")
    signature = inspect.signature(function, eval_str=True)
    parameters = [value for key, value in signature.parameters.items() if key != "progress"]
    ignored = {
        key: kind
        for key, kind in {**_CONFIG, **_ACCEPTED}.items()
        if key not in signature.parameters
    }
    parameters += _keyword_parameters(ignored, None) + _keyword_parameters(_SHARED, False)

    @wraps(function)
    def run(**arguments: Any) -> int:  # noqa: ANN401 - typer calls with what the signature says
        flags = {key: bool(arguments.pop(key)) for key in _SHARED}
        inputs = typed_inputs(name, arguments)
        for key in ignored:
            arguments.pop(key)
        terminal = Terminal(flags["quiet"])
        started = time.monotonic()
        hint = _resume_hint(name, arguments)
        try:
            with terminable(), protect_inputs(inputs):
                check_outputs(name, arguments)
                outcome = function(**arguments, progress=terminal)
        except Terminated:
            print_error(name, f"terminated{hint}")
            return 143
        except KeyboardInterrupt:
            print_error(name, f"interrupted{hint}")
            raise typer.Abort from None
        except Exception as error:  # every error becomes one line for the user
            return _fail(name, error, flags["debug"], hint)
        if outcome.silent:
            return 0
        try:
            terminal.show(outcome)
            seconds = time.monotonic() - started
            print_result(name, outcome, arguments.get("out"), flags["as_json"], seconds)
        except OSError as error:
            # Otherwise Python would write a traceback when it flushes stdout at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if not isinstance(error, BrokenPipeError):
                return _fail(name, error, flags["debug"])
        return 3 if outcome.failures else 0

    del run.__wrapped__
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=parameters, return_annotation=int
    )
    run.__annotations__ = {item.name: item.annotation for item in parameters}
    return run


def _keyword_parameters(annotations: dict[str, Any], default: object) -> list[inspect.Parameter]:
    return [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for key, kind in annotations.items()
    ]


def _resume_hint(name: str, arguments: dict[str, Any]) -> str:
    """Tell how to continue after an interruption, if that is possible."""
    if name == "study":
        return "; run the same line again to go on where it stopped"
    if "resume" in arguments and not writes_to_url(name, arguments):
        return "; give --resume to go on where it stopped"
    return ""


def _fail(name: str, error: Exception, debug: bool, hint: str = "") -> int:
    if debug:
        traceback.print_exception(error)
    print_error(name, error_text(error, hint))
    return exit_code(error)


def exit_code(error: BaseException) -> int:
    """Return 2 for a wrong command line, 4 for an output that exists, 1 for any other error."""
    if isinstance(error, ArgumentError):
        return 2
    return 4 if isinstance(error, ExistsError) else 1


class OnceCommand(TyperCommand):
    """A command that reads ``--config``, and refuses a repeated option of a single value.

    Its help lists the parameters in panels by topic.
    """

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Parse the arguments of the command."""
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        typed, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for option in dict.fromkeys(order):
            count = order.count(option)
            if count > 1 and _takes_one_value(option):
                ctx.fail(f"{option.opts[0]} is given {count} times, but takes one value")
        file = typed.get("config")
        if not isinstance(file, str) or typed.get("help") is True:
            return super().parse_args(ctx, args)
        try:
            expansion = expand(file, ctx, typed)
        except ArgumentError as error:
            ctx.fail(str(error))
        try:
            return super().parse_args(ctx, expansion.around(args))
        except typer.BadParameter as error:
            place = expansion.places.get(getattr(error.param, "name", None) or "")
            if place is None:
                raise
            ctx.fail(f"{place}: {error.message}")

    def format_options(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]  # noqa: ANN401
        """Write the parameters in panels."""
        panels: dict[str, list[tuple[str, str]]] = {name: [] for name in _PANELS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                text = record[1].replace("\\[", "[")  # typer 0.15 escapes for rich
                panels[_panel_of(parameter, command_path(ctx))].append((record[0], text))
        for name, records in panels.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PANELS: Final[Mapping[str, frozenset[str]]] = {
    "Inputs": _names(
        "annotations artifact_box data domain images mask_pattern masks models pattern ranges "
        "reference source split table templates test train_domain"
    ),
    "Protocol": frozenset(),
    "Statistics": _names(
        "all_pairs bins forecast group level literal_eq5 metric paired permutations range_rule "
        "sweep_bins"
    ),
    "Outputs": _names(
        "check command figures formats keep_features last out overlay_count per_channel pictures "
        "qc title"
    ),
    "Run": _names(
        "as_json compile_ config dask debug deterministic device devices dry_run help logger "
        "memory nodes overwrite precision quiet resume seed threads workers"
    ),
}
"""Panels of a help page in order, with their options; all other options are in "Protocol"."""


def _panel_of(parameter: Any, command: str) -> str:  # noqa: ANN401 - of typer's own click
    """Return the panel of a parameter: arguments are inputs, and whatever is written an output."""
    if parameter.param_type_name == "argument":
        return "Inputs"
    if parameter.name in WRITTEN.get(command, {}):
        return "Outputs"
    return next((name for name, own in _PANELS.items() if parameter.name in own), "Protocol")


def _takes_one_value(option: Any) -> bool:  # noqa: ANN401 - a parameter of typer's own click
    if not isinstance(option, TyperOption) or option.multiple or option.count:
        return False
    return bool(option.secondary_opts) or not option.is_flag  # a repeated flag changes nothing


class Group(TyperGroup):
    """A group of subcommands whose help pages appear without delay."""

    def get_help_option(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's own click
        """Return ``--help``, false where it is not given: to convert None, typer loads pydantic."""
        option = super().get_help_option(ctx)
        if option is not None and option.default is None:
            option.default = False
        return option


def show_help(context: typer.Context) -> None:
    """Print the help of a group called without a subcommand, and exit with 2."""
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(2)


def open_streams() -> None:
    """Open the null device as stdout or stderr of a process started without them."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - open as long as the process
