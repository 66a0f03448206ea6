"""``skiptool predict``."""

from __future__ import annotations

from typing import Annotated

import typer

from skiptool.cli import options, paths
from skiptool.cli.console import command
from skiptool.names import Precision
from skiptool.records import Outcome, Progress


@command
def predict(
    models: options.Models,
    data: options.DataStores,
    shift: options.Shifts = None,
    sweep: options.Sweep = None,
    split: Annotated[
        str, typer.Option(help="Samples: train, test, all, or fold (each model's validation fold).")
    ] = "test",
    domain: options.Domains = None,
    out: Annotated[
        str,
        typer.Option(
            "--out", "-o", metavar="PATH", help="Prediction table (Parquet); a path or URL."
        ),
    ] = "predictions.parquet",
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Also average the trainings of each architecture.")
    ] = False,
    clean_skips: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PARTS",
            help=(
                "Feed the decoder these feature maps of the unshifted image: 1,3, bottleneck, "
                "all, each."
            ),
        ),
    ] = None,
    shifted_skips: Annotated[
        list[str] | None,
        typer.Option(metavar="PARTS", help="Feed it these of the shifted image, all others clean."),
    ] = None,
    clean_domain: Annotated[
        str | None,
        typer.Option(help="Domain whose image of the same sample is the clean one."),
    ] = None,
    masks: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Also keep the predicted masks in this store."),
    ] = None,
    overlays: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Also draw truth and prediction into this folder, lowest IoU first.",
        ),
    ] = None,
    overlay_count: Annotated[
        int | None,
        typer.Option(min=1, help="Draw the N lowest of a model and domain [default: all]."),
    ] = None,
    precision: options.PrecisionOption = Precision.AUTO,
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
    """Segment images under shifts and count true against predicted pixels of every sample.

    A folder that holds models stands for all of them. With --clean-skips or --shifted-skips only
    predictions with such a substitution are written.

    Example: skiptool predict runs --data synth.zarr --sweep paper --ensemble
    """
    found = paths.input_paths(models)
    shifts = options.parse_shifts(shift)
    from skiptool.model.device import use_threads
    from skiptool.steps.predict.predict import predict_dataset

    with use_threads(threads, device, progress):
        return predict_dataset(
            found,
            [paths.parse_path(each) for each in data],
            out,
            shifts=shifts,
            sweep=sweep,
            domains=domain or (),
            split=split,
            ensemble=ensemble,
            clean_skips=clean_skips or (),
            shifted_skips=shifted_skips or (),
            clean_domain=clean_domain,
            masks=masks,
            overlays=overlays,
            overlay_count=overlay_count,
            normalise=normalise,
            device=device,
            precision=precision,
            overwrite=overwrite,
            resume=resume,
            dry_run=dry_run,
            workers=workers,
            progress=progress,
        )
