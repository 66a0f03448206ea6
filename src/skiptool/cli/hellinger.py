"""``skiptool hellinger``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skiptool.cli import inputs, options
from skiptool.cli.console import command
from skiptool.errors import ArgumentError
from skiptool.records import Outcome, Progress


@command
def hellinger(
    stores: Annotated[
        list[str],
        typer.Argument(
            metavar="REFERENCE OTHER...", help="Feature stores, the reference first; or -."
        ),
    ],
    out: Annotated[
        str | None, typer.Option("--out", "-o", metavar="PATH", help="Shift table (Parquet).")
    ] = None,
    bins: Annotated[int, typer.Option(help="Bins B over the joint range of a channel.")] = 100,
    per_channel: Annotated[bool, typer.Option(help="Print every channel too.")] = False,
    literal_eq5: Annotated[
        bool, typer.Option("--literal-eq5", help="Eq. (5) as printed, for audit only.")
    ] = False,
    overwrite: options.Overwrite = False,
    *,
    progress: Progress,
) -> Outcome:
    """Measure how far two sets of activations are apart, layer by layer (no GPU, no model).

    Example: skiptool hellinger feats_a.zarr feats_b.zarr
    """
    found = inputs.paths(stores)
    if len(found) < 2:
        raise ArgumentError(
            f"{found[0]}: one feature store given; name a reference and at least one other"
        )
    from skiptool.steps.hellinger import measure_shift

    return measure_shift(
        found[0],
        found[1:],
        None if out is None else Path(out),
        bins=bins,
        literal_eq5=literal_eq5,
        per_channel=per_channel,
        overwrite=overwrite,
        progress=progress,
    )
