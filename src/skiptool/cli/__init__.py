"""The command line: one module per subcommand, each a thin shell over a step.

Subcommands: ``synth``, ``extract`` (``images``, ``mri``, ``wsi``), ``train``, ``predict``,
``features``, ``hellinger``, ``report``, ``study``, ``info``.

- ``options``: shared options, and parsers of option values; ``bins``: those of ``hellinger``.
- ``paths``: paths and URLs as typed, and checks of outputs.
- ``console``: common behaviour of subcommands; ``output``: everything that is printed.

May import every other package; imports steps inside functions so that ``--help`` is fast.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer
from typer.completion import completion_init  # type: ignore[attr-defined] # not re-exported

from skiptool.cli.console import Group, OnceCommand, open_streams, show_help
from skiptool.cli.output import print_error, print_versions

try:
    from typer.exceptions import TyperException
except ImportError:  # typer < 0.28
    from click import ClickException as TyperException  # type: ignore[assignment]

COMPLETION = "_SKIPTOOL_COMPLETE"

ORDER = ("synth", "extract", "train", "predict", "features", "hellinger", "report", "study", "info")
"""Subcommands in the order of use; each is the function or app of its name in its module."""


class _InOrder(Group):
    """List the subcommands in the order of use; typer would list groups last."""

    def list_commands(self, ctx: object) -> list[str]:
        return sorted(self.commands, key=ORDER.index)


def create_app(subcommands: Sequence[str] = ORDER) -> typer.Typer:
    """Create the command line of some subcommands, importing only their modules."""
    app = typer.Typer(
        name="skiptool",
        cls=_InOrder,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Measure how far a domain shift reaches into a U-net, find the skip connections that "
        "carry it to the decoder, and test whether the network segments better without them.",
        epilog="Guides, one page per command: examples/guide in the source folder.",
    )
    app.callback(invoke_without_command=True)(_root)
    for name in subcommands:
        subcommand = getattr(import_module(f"skiptool.cli.{name}"), name)
        if isinstance(subcommand, typer.Typer):
            app.add_typer(subcommand)
        else:
            app.command(cls=OnceCommand)(subcommand)
    return app


def _root(
    context: typer.Context,
    versions: Annotated[
        bool,
        typer.Option("--version", help="Print the versions of skiptool and its libraries."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --version: print one JSON object.")
    ] = False,
) -> None:
    if versions:
        print_versions(as_json)
        raise typer.Exit
    show_help(context)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words after ``skiptool``, by default those of the process.

    Returns
    -------
    int
        0 success, 1 failure, 2 wrong command line, 3 some inputs failed, 4 output exists,
        130 Ctrl-C, 143 SIGTERM.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    open_streams()
    if COMPLETION in os.environ:
        # typer's own --show-completion prints bash for every shell; this protocol does not.
        completion_init()
    if "--debug" not in words:
        # Warnings of libraries are nothing that a user can act on.
        warnings.simplefilter("ignore")
        if not logging.root.handlers:
            logging.root.addHandler(logging.NullHandler())
    # Building all subcommands would double the time of a help page, but a config file may have
    # tables for any of them.
    needs_all = COMPLETION in os.environ or any(word.startswith("--config") for word in words)
    named = [] if needs_all else [name for name in words[:1] if name in ORDER]
    try:
        code = create_app(named or ORDER)(words, prog_name="skiptool", standalone_mode=False)
    except TyperException as error:
        context = getattr(error, "ctx", None)
        path = "skiptool" if context is None else str(context.command_path)
        name = path.removeprefix("skiptool").strip()
        print_error(name, f"{error.format_message().rstrip('. ')} (see '{path} --help')")
        return 2
    except typer.Abort:  # the command has printed its line
        return 130
    except KeyboardInterrupt:
        code = 130
    if code == 130:  # typer returns it after Ctrl-C outside a command, and prints nothing
        print_error("", "interrupted")
    return int(code or 0)
