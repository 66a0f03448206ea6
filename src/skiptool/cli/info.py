"""``skiptool info``."""

from __future__ import annotations

from typing import Annotated

import typer

from skiptool.cli.console import command as subcommand
from skiptool.cli.paths import input_paths
from skiptool.records import Outcome, Progress


@subcommand
def info(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Stores, tables, models, .npy files, folders of them, URLs; or - for stdin."
        ),
    ],
    command: Annotated[
        bool, typer.Option("--command", help="Print only the commands that made them.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Read and verify every byte.")] = False,
    *,
    progress: Progress,
) -> Outcome:
    """Describe artifacts: contents, lineage, and the commands that made them.

    Example: skiptool info synth.zarr runs/resnet18-L1/fold0
    """
    places = input_paths(paths)
    from skiptool.steps.info import describe

    return describe(places, command=command, check=check, progress=progress)
