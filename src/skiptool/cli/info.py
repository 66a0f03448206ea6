"""``skiptool info``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from skiptool.cli.config import table_of
from skiptool.cli.console import command as subcommand
from skiptool.cli.paths import input_paths
from skiptool.errors import ArgumentError
from skiptool.records import Outcome, Progress


@subcommand
def info(
    context: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Stores, tables, models, .npy files, folders of them, URLs; or - for stdin."
        ),
    ],
    command: Annotated[
        bool, typer.Option("--command", help="Print only the commands that made them.")
    ] = False,
    config: Annotated[
        bool,
        typer.Option("--config", help="Print only a config file that makes them again (TOML)."),
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Read and verify every byte.")] = False,
    *,
    progress: Progress,
) -> Outcome:
    """Describe artifacts: contents, lineage, and the commands that made them.

    Example: skiptool info synth.zarr runs/resnet18-L1/fold0
    """
    places = input_paths(paths)
    if config:
        if command or check:
            raise ArgumentError("--config: cannot be combined with --command or --check; drop them")
        return _as_config(places, context.find_root().command, progress)
    from skiptool.steps.info import describe

    return describe(places, command=command, check=check, progress=progress)


def _as_config(places: Sequence[Path | str], root: Any, progress: Progress) -> Outcome:  # noqa: ANN401
    """Print the config file of artifacts; each has its table, named after the command."""
    from skiptool.steps.info import read_origins

    blocks: list[str] = []
    tables: dict[str, str] = {}
    for place, origin in read_origins(places, progress=progress).items():
        name, lines = table_of(origin["command"], root, place)
        if name in tables:
            raise ArgumentError(
                f"{place}: was made by skiptool {name}, as was {tables[name]}; a config file holds "
                "one table for each command, so name one of them"
            )
        tables[name] = place
        blocks.append("\n".join([f"# made {place} with skiptool {origin['version']}", *lines]))
    usage = "# skiptool COMMAND --config THIS_FILE; relative paths start from the current folder"
    return Outcome(summary=tables, text="\n\n".join([usage, *blocks]))
