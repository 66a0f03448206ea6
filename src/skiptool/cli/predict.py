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
    split: options.SplitOption = "test",
    domain: options.Domains = None,
    out: Annotated[
        str,
        typer.Option(
            "--out", "-o", metavar="PATH", help="Prediction table (Parquet); a path or URL."
        ),
    ] = "predictions.parquet",
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Also average all trainings of each architecture.")
    ] = False,
    clean_skips: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PARTS",
            help="Feed the decoder these feature maps of the unshifted image: 1,3, bottleneck, "
            "all, each.",
        ),
    ] = None,
    shifted_skips: Annotated[
        list[str] | None,
        typer.Option(metavar="PARTS", help="Feed it only these of the shifted image."),
    ] = None,
    clean_domain: Annotated[
        str | None,
        typer.Option(help="Domain with the clean image of each sample."),
    ] = None,
    masks: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Also write the predicted masks to this store."),
    ] = None,
    overlays: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Also draw truth and prediction of each sample, in this folder.",
        ),
    ] = None,
    overlay_count: Annotated[
        int | None,
        typer.Option(min=1, help="Draw only the N lowest IoUs of each model and domain."),
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
    """Segment images under shifts and count the pixels of each sample by true and predicted class.

    A folder that holds models stands for all of them. With --clean-skips or --shifted-skips only
    predictions with substituted feature maps are written.

    Example: skiptool predict runs --data synth.zarr --sweep paper --ensemble
    """
    model_paths = paths.input_paths(models)
    from skiptool.model.device import use_threads
    from skiptool.steps.predict.predict import predict_dataset

    with use_threads(threads, device, progress):
        return predict_dataset(
            model_paths,
            [paths.parse_path(store) for store in data],
            out,
            shifts=options.parse_shifts(shift),
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
