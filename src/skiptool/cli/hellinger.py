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
            metavar="REFERENCE OTHER...",
            help="Feature stores (folders, URLs, .npy files), the reference first; or -.",
        ),
    ],
    out: Annotated[
        str | None, typer.Option("--out", "-o", metavar="PATH", help="Shift table (Parquet).")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="hellinger [default], bhattacharyya, jensen-shannon, total-variation, kl, "
            "kolmogorov-smirnov, wasserstein, wasserstein-exact or representation-shift; of whole "
            "layers: covariance, classifier or paired-difference. May be repeated.",
        ),
    ] = None,
    bins: Annotated[
        str,
        typer.Option(
            metavar="B|quantile", help="Bins of equal width; or of equal shares, quantile:50."
        ),
    ] = "100",
    sweep_bins: Annotated[
        str | None,
        typer.Option(metavar="10..110", help="Several numbers of bins (steps of 10), or 10,50."),
    ] = None,
    range_rule: Annotated[
        str,
        typer.Option("--range", help="minmax, p0.1 (outer 0.1 % in the end bins) or reference."),
    ] = "minmax",
    permutations: Annotated[
        int, typer.Option(help="Relabellings behind the null; 0 leaves it out.")
    ] = 199,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Unit of statistics: subject, image or another column [subject where it repeats].",
        ),
    ] = None,
    paired: Annotated[
        bool | None,
        typer.Option(
            "--paired/--unpaired", help="Relabel within pairs of one id [same images: paired]."
        ),
    ] = None,
    all_pairs: Annotated[bool, typer.Option("--all-pairs", help="Compare all with all.")] = False,
    per_channel: Annotated[bool, typer.Option(help="Print every channel too.")] = False,
    literal_eq5: Annotated[
        bool, typer.Option("--literal-eq5", help="Eq. (5) as printed, for audit only.")
    ] = False,
    seed: options.Seed = 0,
    memory: Annotated[
        int, typer.Option(help="Megabytes to stay below; then counts go to a temporary file.")
    ] = 512,
    workers: options.Workers = None,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS|local", help="Count on a Dask cluster.")
    ] = None,
    overwrite: options.Overwrite = False,
    *,
    progress: Progress,
) -> Outcome:
    """Measure how far two sets of activations are apart, layer by layer (no GPU, no model).

    Example: skiptool hellinger feats_a.zarr feats_b.zarr
    """
    found = inputs.places(stores)
    if len(found) < 2:
        raise ArgumentError("one feature store given; name a reference and at least one other")
    from skiptool.cli.bins import comparison
    from skiptool.steps.hellinger import measure_shift

    return measure_shift(
        found[0],
        found[1:],
        None if out is None else Path(out),
        settings=comparison(
            (metric, bins, sweep_bins, range_rule, literal_eq5),
            permutations=permutations,
            group=group,
            paired=paired,
            seed=seed,
            memory=memory,
            workers=workers,
        ),
        all_pairs=all_pairs,
        per_channel=per_channel,
        dask=dask,
        overwrite=overwrite,
        progress=progress,
    )
