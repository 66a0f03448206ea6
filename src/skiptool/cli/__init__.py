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
from typing import Annotated

import typer
from typer.completion import completion_init  # type: ignore[attr-defined] # not re-exported
from typer.core import TyperGroup

from skiptool.cli.console import OnceCommand, open_streams, show_help
from skiptool.cli.extract import extract
from skiptool.cli.features import features
from skiptool.cli.hellinger import hellinger
from skiptool.cli.info import info
from skiptool.cli.output import print_error, print_versions
from skiptool.cli.predict import predict
from skiptool.cli.report import report
from skiptool.cli.study import study
from skiptool.cli.synth import synth
from skiptool.cli.train import train

try:
    from typer.exceptions import TyperException
except ImportError:  # typer < 0.28
    from click import ClickException as TyperException  # type: ignore[assignment]

__all__ = ["app", "main"]

COMPLETION = "_SKIPTOOL_COMPLETE"

ORDER = ("synth", "extract", "train", "predict", "features", "hellinger", "report", "study", "info")


class _InOrder(TyperGroup):
    """List the subcommands in the order of use; typer would list groups last."""

    def list_commands(self, ctx: object) -> list[str]:
        return sorted(self.commands, key=ORDER.index)


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


@app.callback(invoke_without_command=True)
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


app.command(cls=OnceCommand)(synth)
app.add_typer(extract)
for subcommand in (train, predict, features, hellinger, report, study, info):
    app.command(cls=OnceCommand)(subcommand)


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
    try:
        code = app(words, prog_name="skiptool", standalone_mode=False)
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
