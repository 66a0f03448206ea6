"""``skiptool info``."""

from __future__ import annotations

from typing import Annotated

import typer

from skiptool.cli import paths as inputs
from skiptool.cli.console import command as subcommand
from skiptool.records import Outcome, Progress


@subcommand
def info(
    paths: Annotated[
        list[str],
        typer.Argument(help="Stores, tables, models, .npy files, folders of them, URLs; or -."),
    ],
    command: Annotated[
        bool, typer.Option("--command", help="Print only the command that makes it again.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Read and verify every byte.")] = False,
    *,
    progress: Progress,
) -> Outcome:
    """Say what an artifact is, what made it and what is inside.

    Example: skiptool info synth.zarr runs/resnet18-L1/fold0
    """
    found = inputs.input_paths(paths)
    from skiptool.steps.info import describe

    return describe(found, command=command, check=check, progress=progress)
