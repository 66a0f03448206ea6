"""``skiptool predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skiptool.cli import inputs, options
from skiptool.cli.console import command
from skiptool.names import Precision
from skiptool.records import Outcome, Progress


@command
def predict(
    models: options.Models,
    data: options.Data,
    shift: options.Shifts = None,
    sweep: options.Sweep = None,
    split: options.SplitOption = "test",
    domain: options.Domains = None,
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="PATH", help="Prediction table (Parquet).")
    ] = "predictions.parquet",
    masks: Annotated[
        Path | None, typer.Option(help="Also keep the predicted masks in this store.")
    ] = None,
    precision: options.PrecisionOption = Precision.AUTO,
    device: options.Device = "auto",
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
    *,
    progress: Progress,
) -> Outcome:
    """Segment images under shifts and count true against predicted pixels of every sample.

    Example: skiptool predict runs/resnet18-L1/fold0 --data synth.zarr --sweep paper
    """
    found = inputs.paths(models)
    shifts = options.shifts(shift, sweep)
    from skiptool.steps.predict import predict_dataset

    return predict_dataset(
        found,
        data,
        Path(out),
        shifts=shifts,
        domains=domain or (),
        split=split,
        masks=masks,
        device=device,
        precision=precision,
        overwrite=overwrite,
        resume=resume,
        dry_run=dry_run,
        progress=progress,
    )
