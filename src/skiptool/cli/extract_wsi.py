"""``skiptool extract wsi``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skiptool.cli import options, paths
from skiptool.cli.console import OnceCommand, command
from skiptool.names import PatchMode
from skiptool.records import Outcome, Progress

__all__ = ["ExportCommand", "extract_wsi"]


class ExportCommand(OnceCommand):
    """Takes ``--export png DIR``, as other commands have it, for ``--export DIR``."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Leave out the word png behind ``--export`` where a folder follows it."""
        for place in range(len(args) - 2):
            if args[place : place + 2] == ["--export", "png"] and args[place + 2][:1] != "-":
                args = [*args[: place + 1], *args[place + 2 :]]
                break
        return super().parse_args(ctx, args)


@command
def extract_wsi(
    manifest: Annotated[
        str,
        typer.Argument(
            help="CSV or TSV: path, domain, subject; if wanted slide, annotations, annotated_as, "
            "split, mpp, mpp_y, level, x_offset, y_offset, label_map. - for stdin."
        ),
    ],
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="PATH", help="Dataset store, a path or URL.")
    ] = "data.zarr",
    mode: Annotated[
        PatchMode,
        typer.Option(help="grid: all tissue. centred: at annotations. sampled: by class weights."),
    ] = PatchMode.GRID,
    patch_size: Annotated[
        int | None, typer.Option(help="Pixels of a patch [512; centred: 128].")
    ] = None,
    mpp: Annotated[
        float | None,
        typer.Option(help="Resample to so many micrometres per pixel [each slide's own level]."),
    ] = None,
    classes: Annotated[
        str,
        typer.Option(
            metavar="CLASS=NAME,...;...",
            help="Annotated names by class, tumor=Melanoma,SCC;non-tumor=Dermis [each its own].",
        ),
    ] = "",
    mask: Annotated[
        str | None,
        typer.Option(
            metavar="polygons|disc:UM|stain|model:FOLDER",
            help="centred: masks [outlines as drawn; at points and boxes what is stained].",
        ),
    ] = None,
    min_tissue: Annotated[float, typer.Option(help="grid: least share of tissue.")] = 0.5,
    stride: Annotated[
        int | None, typer.Option(help="grid: pixels from patch to patch [patch size].")
    ] = None,
    patches: Annotated[int, typer.Option(help="sampled: patches a slide.")] = 32,
    draws: Annotated[
        int, typer.Option(help="sampled: draws of training patches, one an epoch in turn.")
    ] = 1,
    background: Annotated[
        float, typer.Option(help="sampled: share of patches on slide background.")
    ] = 0.1,
    register: Annotated[
        str | None,
        typer.Option(
            metavar="DOMAIN", help="Carry that domain's annotations and patches over to all others."
        ),
    ] = None,
    max_residual: Annotated[
        float,
        typer.Option(help="Leave patches out that are misaligned by more pixels of that domain."),
    ] = 2.0,
    domain: options.Domains = None,
    split: Annotated[str, typer.Option(help="Slides to take: train, test or all.")] = "all",
    test_fraction: Annotated[float, typer.Option(help="Share of test subjects.")] = 0.2,
    folds: Annotated[int, typer.Option(help="Validation folds, grouped by subject.")] = 5,
    train_domain: options.TrainDomain = None,
    qc: Annotated[
        Path | None,
        typer.Option(help="Folder of pictures to check and registration.parquet [NAME-qc]."),
    ] = None,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw them.")] = True,
    export: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also write PNG pairs, to be corrected by hand."),
    ] = None,
    seed: options.Seed = 0,
    workers: options.Workers = None,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS|local", help="Read slides on a Dask cluster.")
    ] = None,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
    *,
    progress: Progress,
) -> Outcome:
    """Cut whole-slide images of one or several scanners into patches with masks.

    Example: skiptool extract wsi slides.csv --mode sampled --classes "tumor=SCC;non-tumor=Dermis"
    """
    from skiptool.steps.extract_wsi.extract_wsi import extract_slides
    from skiptool.steps.extract_wsi.settings import PatchSettings

    chosen = PatchSettings(
        mode,
        patch_size,
        mpp,
        classes,
        mask,
        min_tissue,
        stride,
        patches,
        draws,
        background,
        register,
        max_residual,
    )
    return extract_slides(
        paths.stdin_text("the manifest") if manifest == "-" else Path(manifest),
        out,
        settings=chosen,
        domains=options.listed(domain),
        split=split,
        test_fraction=test_fraction,
        folds=folds,
        train_domain=train_domain,
        seed=seed,
        qc=qc,
        pictures=pictures,
        export=export,
        workers=workers,
        dask=dask,
        overwrite=overwrite,
        resume=resume,
        dry_run=dry_run,
        progress=progress,
    )
