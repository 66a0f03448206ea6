"""``skiptool hellinger``."""

from __future__ import annotations

from typing import Annotated

import typer

from skiptool.cli import options, paths
from skiptool.cli.console import command
from skiptool.names import LAYERWISE, Metric
from skiptool.records import Outcome, Progress

_BY_CHANNEL = [
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
            help="Feature stores (Zarr, .npy), counts stores and folders of them, of one or more "
            "models; paths, URLs, or - for paths on stdin. The first of two stores is the "
            "reference.",
        ),
    ],
    reference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STORE",
            help="Reference of a model, repeatable [original images of the training domain].",
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
            help=f"{options.alternatives(_BY_CHANNEL)}; of whole layers: "
            f"{options.alternatives(LAYERWISE)}. Repeatable.",
            autocompletion=options.complete_with(*Metric),
        ),
    ] = None,
    bins: Annotated[
        str,
        typer.Option(
            metavar="B|quantile", help="Number of bins of equal width; quantile:50: equal counts."
        ),
    ] = "100",
    sweep_bins: Annotated[
        str | None,
        typer.Option(metavar="10..110", help="Several numbers of bins, in steps of 10; or 10,50."),
    ] = None,
    range_rule: Annotated[
        str,
        typer.Option("--range", help="minmax, p0.1 (outer 0.1 % in the outer bins) or reference."),
    ] = "minmax",
    permutations: Annotated[
        int, typer.Option(help="Permutations of the null distribution; 0 leaves it out.")
    ] = 199,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Statistical unit: subject, image or another column [subject if subjects repeat].",
        ),
    ] = None,
    paired: Annotated[
        bool | None,
        typer.Option(
            "--paired/--unpaired", help="Permute within pairs of equal id [if images are the same]."
        ),
    ] = None,
    all_pairs: Annotated[
        bool, typer.Option("--all-pairs", help="Compare all pairs of stores.")
    ] = False,
    per_channel: Annotated[bool, typer.Option(help="Also print every channel.")] = False,
    literal_eq5: Annotated[
        bool, typer.Option("--literal-eq5", help="Eq. (5) as printed; for audits only.")
    ] = False,
    seed: options.Seed = 0,
    memory: Annotated[
        int,
        typer.Option(help="Memory limit in megabytes; beyond it, counts go to a temporary file."),
    ] = 512,
    workers: options.Workers = None,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS|local", help="Count on a Dask cluster.")
    ] = None,
    overwrite: options.Overwrite = False,
    *,
    progress: Progress,
) -> Outcome:
    """Measure the distance between two sets of activations, layer by layer (no GPU, no model).

    Each store is compared with the reference of its model.

    Example: skiptool hellinger features -o shift.parquet
    """
    places = paths.input_paths(stores)
    from skiptool.cli.bins import comparison_settings
    from skiptool.steps.hellinger import measure_shifts

    return measure_shifts(
        places,
        out,
        references=paths.input_paths(reference or ()),
        settings=comparison_settings(
            metric=metric,
            bins=bins,
            sweep_bins=sweep_bins,
            range_rule=range_rule,
            literal_eq5=literal_eq5,
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
