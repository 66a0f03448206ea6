"""``skiptool extract``: one subcommand for each kind of source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skiptool.cli import options, paths
from skiptool.cli.console import OnceCommand, command, show_help
from skiptool.cli.options import parse_labels, parse_values
from skiptool.names import PatchMode
from skiptool.records import Outcome, Progress

extract = typer.Typer(
    name="extract",
    rich_markup_mode=None,
    help="Bring images and masks into a dataset store.",
)
extract.callback(invoke_without_command=True)(show_help)


@extract.command("images", cls=OnceCommand)
@command
def extract_images(
    manifest: Annotated[
        str | None,
        typer.Argument(
            help="CSV or TSV: image, mask, domain, subject; if wanted id, split, fold; - for "
            "stdin. Or a folder: nnU-Net's, or one that --export png has made."
        ),
    ] = None,
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="PATH", help="Dataset store, a path or URL.")
    ] = "data.zarr",
    images: Annotated[Path | None, typer.Option(help="Folder of images.")] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder of masks, matched by name without suffix.")
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option(help="Domain of the images in a folder [its first folders; images]."),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="What names in a folder say, such as {domain}/{subject}_{}.png; also {split}, "
            "{id} [DOMAIN/SUBJECT/NAME].",
        ),
    ] = None,
    mask_pattern: Annotated[
        str | None,
        typer.Option(
            metavar="[IMAGE=]MASK",
            help="What masks are called, {} being the name of the image: {}_mask, or "
            "{}_img={}_mask [{}].",
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Class names, index = label [of --labels; background,foreground]."),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VALUE|COLOUR=CLASS",
            help="Pixel value or colour (#ff0000) of a class, or of 'ignore'; repeatable.",
        ),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(help="3: colour, 8 bits; 1: grey, float32 [1 for grey of more than 8 bits]."),
    ] = None,
    scale: Annotated[
        str,
        typer.Option(
            metavar="full|LOW:HIGH|minmax|pP",
            help="Black and white: of the file's type, given, or of each image itself.",
        ),
    ] = "full",
    patch_size: Annotated[
        int | None, typer.Option(help="Cut tiles of so many pixels [whole images].")
    ] = None,
    stride: Annotated[
        int | None, typer.Option(help="Pixels from tile to tile [patch size].")
    ] = None,
    upright: Annotated[
        bool,
        typer.Option(
            "--upright", help="Turn images that are stored turned (EXIF); masks lie on them then."
        ),
    ] = False,
    test_fraction: Annotated[float, typer.Option(help="Share of test subjects.")] = 0.2,
    folds: Annotated[int, typer.Option(help="Validation folds, grouped by subject.")] = 5,
    train_domain: options.TrainDomain = None,
    qc: Annotated[Path | None, typer.Option(help="Folder of pictures to check [NAME-qc].")] = None,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw them.")] = True,
    export: Annotated[
        tuple[str, Path] | None,
        typer.Option(
            "--export",
            metavar="png|nnunet DIR",
            help="Also write image and mask pairs, or nnU-Net's folder.",
        ),
    ] = None,
    seed: options.Seed = 0,
    workers: options.Workers = None,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
    *,
    progress: Progress,
) -> Outcome:
    """Bring pictures and their masks into a dataset store.

    Example: skiptool extract images --images photos --masks labels -o data.zarr
    """
    from skiptool.steps.extract_images import extract_images as step

    return step(
        out,
        manifest=_manifest(manifest),
        images=images,
        masks=masks,
        domain=domain,
        pattern=pattern,
        mask_pattern=mask_pattern,
        classes=None if classes is None else options.parse_list([classes]),
        labels=parse_labels(labels, "--labels"),
        channels=channels,
        scale=scale,
        patch_size=patch_size,
        stride=stride,
        upright=upright,
        test_fraction=test_fraction,
        folds=folds,
        train_domain=train_domain,
        seed=seed,
        qc=qc,
        pictures=pictures,
        export=options.export_form(export),
        workers=workers,
        overwrite=overwrite,
        resume=resume,
        dry_run=dry_run,
        progress=progress,
    )


def _manifest(word: str | None) -> Path | str | None:
    if word == "-":
        return paths.stdin_text("the manifest")
    return None if word is None else Path(word)


@extract.command("mri", cls=OnceCommand)
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
        parse_values(labels, "--labels"),
        options.parse_numbers(size, "--size"),
        spacing,
        options.parse_interval(percentiles, "--percentiles"),
        options.parse_words(centre, "--centre"),
        options.parse_numbers(train_subjects, "--train-subjects"),
        options.parse_numbers(test_subjects, "--test-subjects"),
        keep_unlabelled,
        options.parse_numbers(slice_axis, "--slice-axis"),
    )
    return step(
        paths.stdin_text("the manifest") if source == "-" else Path(source),
        out,
        table=table,
        settings=chosen,
        domains=options.parse_list(domain),
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


class ExportCommand(OnceCommand):
    """Takes ``--export png DIR``, as other commands have it, for ``--export DIR``."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Leave out the word png behind ``--export`` where a folder follows it."""
        for place in range(len(args) - 2):
            if args[place : place + 2] == ["--export", "png"] and args[place + 2][:1] != "-":
                args = [*args[: place + 1], *args[place + 2 :]]
                break
        return super().parse_args(ctx, args)


@extract.command("wsi", cls=ExportCommand)
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
        domains=options.parse_list(domain),
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
