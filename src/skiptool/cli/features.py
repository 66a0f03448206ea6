"""``skiptool features``."""

from __future__ import annotations

from typing import Annotated

import typer

from skiptool.cli import options, paths
from skiptool.cli.console import command
from skiptool.names import LAYERS
from skiptool.records import Outcome, Progress


@command
def features(
    models: options.Models,
    data: options.DataStores,
    shift: options.Shifts = None,
    sweep: options.Sweep = None,
    split: options.SplitOption = "test",
    domain: options.Domains = None,
    layers: Annotated[
        list[str] | None,
        typer.Option(
            metavar="enc1,...",
            help="Layers, or module names [default: all twelve].",
            autocompletion=options.complete_with(*LAYERS),
        ),
    ] = None,
    transmission: Annotated[
        bool,
        typer.Option(
            "--transmission",
            help="Also extract the inputs of each decoder block, from its skip and from below.",
        ),
    ] = False,
    grid: Annotated[
        str | None,
        typer.Option(metavar="8x8", help="Pool to this grid [default: 1/32 of the image size]."),
    ] = None,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="PATH",
            help="Store (*.zarr), or folder of several stores; a path or URL.",
        ),
    ] = "feats.zarr",
    dtype: Annotated[str, typer.Option(help="float16 or float32.")] = "float16",
    counts: Annotated[
        bool,
        typer.Option(
            "--counts", help="Keep histograms of the activations instead of the activations."
        ),
    ] = False,
    bins: Annotated[
        int | None, typer.Option(metavar="B", help="Bins of --counts [default: 100].")
    ] = None,
    reference_domain: Annotated[
        str | None,
        typer.Option(
            metavar="DOMAIN",
            help="Domain whose unshifted images define the bins of --counts [training domain].",
        ),
    ] = None,
    ranges: Annotated[
        str | None,
        typer.Option(
            metavar="STORE_OR_FOLDER",
            help="Use the bins of these stores for --counts, to add to them.",
        ),
    ] = None,
    pool_images: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Images per histogram [default: 1, more above 1,000 images]."
        ),
    ] = None,
    normalise: options.Normalise = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
    workers: options.Workers = None,
    *,
    progress: Progress,
) -> Outcome:
    """Extract pooled activations of named layers, for later analysis without a GPU.

    With --counts only their histograms are kept, which take a fraction of the space.

    Example: skiptool features runs/resnet18-L0/fold0 --data synth.zarr --shift original
    --shift brightness=0.75 -o feats
    """
    model_paths = paths.input_paths(models)
    range_source = None if ranges is None else paths.input_path(ranges, "store or folder")
    from skiptool.model.device import use_threads
    from skiptool.steps.features.features import extract_features

    with use_threads(threads, device, progress):
        return extract_features(
            model_paths,
            [paths.parse_path(store) for store in data],
            out,
            shifts=options.parse_shifts(shift),
            sweep=sweep,
            domains=domain or (),
            split=split,
            layers=options.parse_list(layers),
            transmission=transmission,
            grid=None if grid is None else options.parse_grid(grid),
            dtype=dtype,
            counts=counts,
            bins=bins,
            ranges=range_source,
            reference_domain=reference_domain,
            pool_images=pool_images,
            normalise=normalise,
            device=device,
            overwrite=overwrite,
            resume=resume,
            dry_run=dry_run,
            workers=workers,
            progress=progress,
        )
