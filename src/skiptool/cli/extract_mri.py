"""``skiptool extract mri``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skiptool.cli import options, paths
from skiptool.cli.console import command
from skiptool.cli.options import value_words
from skiptool.records import Outcome, Progress

__all__ = ["extract_mri"]


@command
def extract_mri(
    source: Annotated[
        str,
        typer.Argument(
            help="CSV or TSV: image, domain, subject; if wanted mask, frames (0;9 or ED=0;ES=9), "
            "split, centre, id. - for stdin. Or the folder of the M&Ms challenge."
        ),
    ],
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="PATH", help="Dataset store, a path or URL.")
    ] = "data.zarr",
    table: Annotated[
        Path | None,
        typer.Option(help="CSV of an M&Ms folder: External code, Vendor, Centre, ED, ES [in it]."),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VALUE=CLASS", help="Value of a class in masks, repeatable [1=LV,2=MYO,3=RV]."
        ),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[DOMAIN=]PIXELS",
            help="Crop or pad slices about their centre, repeatable [the smallest multiple of 32 "
            "that holds the domain].",
        ),
    ] = None,
    spacing: Annotated[
        float | None,
        typer.Option(metavar="MM", help="Resample to so many millimetres a pixel [as acquired]."),
    ] = None,
    percentiles: Annotated[
        str | None,
        typer.Option(metavar="LOW,HIGH", help="Grey values that become 0 and 1 [0,100]."),
    ] = None,
    slice_axis: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[DOMAIN=]1|2|3",
            help="Axis of the files from slice to slice, repeatable [told by header and sizes].",
        ),
    ] = None,
    centre: Annotated[
        list[str] | None,
        typer.Option(metavar="DOMAIN=CENTRE", help="The one hospital of a domain, repeatable."),
    ] = None,
    domain: options.Domains = None,
    train_subjects: Annotated[
        list[str] | None,
        typer.Option(metavar="[DOMAIN=]N", help="Training subjects to draw, repeatable [all]."),
    ] = None,
    test_subjects: Annotated[
        list[str] | None,
        typer.Option(metavar="[DOMAIN=]N", help="Test subjects to draw, repeatable [a share]."),
    ] = None,
    keep_unlabelled: Annotated[
        bool,
        typer.Option("--keep-unlabelled", help="Take what has no labels too, as ignored (255)."),
    ] = False,
    test_fraction: Annotated[float, typer.Option(help="Share of test subjects.")] = 0.2,
    folds: Annotated[int, typer.Option(help="Validation folds, grouped by subject.")] = 5,
    train_domain: options.TrainDomain = None,
    qc: Annotated[Path | None, typer.Option(help="Folder of pictures to check [NAME-qc].")] = None,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw them.")] = True,
    seed: options.Seed = 0,
    workers: options.Workers = None,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
    *,
    progress: Progress,
) -> Outcome:
    """Cut volumes of cardiac or other MR (NIfTI, cine or single) into slices with masks.

    Example: skiptool extract mri volumes.csv --size A=192 --size B=320 -o data.zarr
    """
    from skiptool.steps.extract_mri.extract_mri import extract_mri as step
    from skiptool.steps.extract_mri.settings import SliceSettings

    chosen = SliceSettings(
        value_words(labels, "--labels"),
        options.numbers(size, "--size"),
        spacing,
        options.pair(percentiles, "--percentiles"),
        options.words(centre, "--centre"),
        options.numbers(train_subjects, "--train-subjects"),
        options.numbers(test_subjects, "--test-subjects"),
        keep_unlabelled,
        options.numbers(slice_axis, "--slice-axis"),
    )
    return step(
        paths.stdin_text("the manifest") if source == "-" else Path(source),
        out,
        table=table,
        settings=chosen,
        domains=options.listed(domain),
        test_fraction=test_fraction,
        folds=folds,
        train_domain=train_domain,
        seed=seed,
        qc=qc,
        pictures=pictures,
        workers=workers,
        overwrite=overwrite,
        resume=resume,
        dry_run=dry_run,
        progress=progress,
    )
