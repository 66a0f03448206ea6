"""``skiptool hellinger``."""

from __future__ import annotations

from typing import Annotated

import typer

from skiptool.cli import options, paths
from skiptool.cli.console import command
from skiptool.names import LAYERWISE, Metric
from skiptool.records import Outcome, Progress

_OF_CHANNELS = [
    f"{metric} [default]" if metric is Metric.HELLINGER else metric.value
    for metric in Metric
    if metric not in LAYERWISE
]


@command
def hellinger(
    stores: Annotated[
        list[str],
        typer.Argument(
            metavar="STORE_OR_FOLDER...",
            help="Feature stores (Zarr, .npy), counts stores, and folders of them, paths or URLs, "
            "of any number of models; of two stores the first is the reference. Or - for paths "
            "on stdin.",
        ),
    ],
    reference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STORE",
            help="Reference, at most one a model, repeatable [original, training domain].",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="PATH", help="Shift table (Parquet); a path or URL."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"{options.alternatives(_OF_CHANNELS)}; of whole layers: "
            f"{options.alternatives(LAYERWISE)}. May be repeated.",
            autocompletion=options.complete_with(*Metric),
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

    Each store is compared with the reference of its model.

    Example: skiptool hellinger features -o shift.parquet
    """
    found = paths.input_paths(stores)
    from skiptool.cli.bins import comparison_settings
    from skiptool.steps.hellinger import measure_shifts

    return measure_shifts(
        found,
        out,
        references=paths.input_paths(reference or ()),
        settings=comparison_settings(
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
