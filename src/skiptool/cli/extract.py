"""``skiptool extract``: one subcommand for each kind of source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skiptool.cli import options, paths
from skiptool.cli.console import Group, OnceCommand, command, show_help
from skiptool.names import ExportFormat, PatchMode
from skiptool.records import Outcome, Progress

extract = typer.Typer(
    name="extract",
    cls=Group,
    rich_markup_mode=None,
    help="Extract a dataset store from images and masks.",
)
extract.callback(invoke_without_command=True)(show_help)

TestFraction = Annotated[float, typer.Option(help="Fraction of test subjects.")]
Folds = Annotated[int, typer.Option(help="Validation folds, grouped by subject.")]
PictureFolder = Annotated[
    Path | None, typer.Option(help="Folder of pictures for inspection [NAME-qc].")
]
Pictures = Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw these pictures.")]


@extract.command("images", cls=OnceCommand)
@command
def extract_images(
    manifest: Annotated[
        str | None,
        typer.Argument(
            help="CSV or TSV: image, mask, domain, subject; optionally id, split, fold; - for "
            "stdin. Or a folder: nnU-Net's, or one made by --export png."
        ),
    ] = None,
    out: options.DatasetOut = "data.zarr",
    images: Annotated[Path | None, typer.Option(help="Folder of images.")] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder of masks, matched by file name without suffix.")
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option(help="Domain of the images in a folder [names of subfolders; images]."),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="Pattern of the file names in a folder, such as {domain}/{subject}_{}.png; also "
            "{split}, {id} [DOMAIN/SUBJECT/NAME].",
        ),
    ] = None,
    mask_pattern: Annotated[
        str | None,
        typer.Option(
            metavar="[IMAGE=]MASK",
            help="Pattern of mask names, where {} is the image name: {}_mask, or {}_img={}_mask "
            "[{}].",
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="Class names in the order of their labels [of --labels; background,foreground]."
        ),
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
        typer.Option(help="3: 8-bit colour; 1: grey, float32 [1 for grey of more than 8 bits]."),
    ] = None,
    scale: Annotated[
        str,
        typer.Option(
            metavar="full|LOW:HIGH|minmax|pP",
            help="Values of black and white: range of the data type, given range, or range of "
            "each image.",
        ),
    ] = "full",
    patch_size: Annotated[
        int | None, typer.Option(help="Cut tiles of this size in pixels [whole images].")
    ] = None,
    stride: Annotated[
        int | None, typer.Option(help="Distance between tiles in pixels [patch size].")
    ] = None,
    upright: Annotated[
        bool,
        typer.Option(
            "--upright",
            help="Rotate images by their EXIF orientation; masks match them as displayed.",
        ),
    ] = False,
    test_fraction: TestFraction = 0.2,
    folds: Folds = 5,
    train_domain: options.TrainDomain = None,
    qc: PictureFolder = None,
    pictures: Pictures = True,
    export: Annotated[
        tuple[str, Path] | None,
        typer.Option(
            "--export",
            metavar="png|nnunet DIR",
            help="Also write pairs of image and mask, or an nnU-Net folder.",
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
    """Extract a dataset store from image files and their masks.

    Example: skiptool extract images --images photos --masks labels -o data.zarr
    """
    source = None if manifest is None else _manifest(manifest)
    exported = options.parse_export(export, list(ExportFormat))
    from skiptool.steps.extract_images import extract_images as step

    return step(
        out,
        manifest=source,
        images=images,
        masks=masks,
        domain=domain,
        pattern=pattern,
        mask_pattern=mask_pattern,
        classes=None if classes is None else options.parse_list([classes]),
        labels=options.parse_labels(labels, "--labels"),
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
        export=exported,
        workers=workers,
        overwrite=overwrite,
        resume=resume,
        dry_run=dry_run,
        progress=progress,
    )


def _manifest(word: str) -> Path | str:
    """Return the path of a manifest, or its text if it is on stdin."""
    return paths.stdin_text("the manifest") if word == "-" else Path(word)


@extract.command("mri", cls=OnceCommand)
@command
def extract_mri(
    source: Annotated[
        str,
        typer.Argument(
            help="CSV or TSV: image, domain, subject; optionally mask, frames (0;9 or ED=0;ES=9), "
            "split, centre, id; - for stdin. Or the folder of the M&Ms challenge."
        ),
    ],
    out: options.DatasetOut = "data.zarr",
    table: Annotated[
        Path | None,
        typer.Option(
            help="CSV of an M&Ms folder: External code, Vendor, Centre, ED, ES [found in it]."
        ),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VALUE=CLASS", help="Mask value of a class, repeatable [1=LV,2=MYO,3=RV]."
        ),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[DOMAIN=]PIXELS",
            help="Crop or pad slices about their centre to this size, repeatable [smallest "
            "multiple of 32 that holds all slices of the domain].",
        ),
    ] = None,
    spacing: Annotated[
        float | None,
        typer.Option(
            metavar="MM", help="Resample to this pixel size in millimetres [as acquired]."
        ),
    ] = None,
    percentiles: Annotated[
        str | None,
        typer.Option(
            metavar="LOW,HIGH", help="Percentiles of grey values that become 0 and 1 [0,100]."
        ),
    ] = None,
    slice_axis: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[DOMAIN=]1|2|3",
            help="Slice axis of the files, repeatable [from header and sizes].",
        ),
    ] = None,
    centre: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DOMAIN=CENTRE", help="Hospital to which a domain is restricted, repeatable."
        ),
    ] = None,
    domain: options.Domains = None,
    train_subjects: Annotated[
        list[str] | None,
        typer.Option(metavar="[DOMAIN=]N", help="Training subjects to draw, repeatable [all]."),
    ] = None,
    test_subjects: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[DOMAIN=]N", help="Test subjects to draw, repeatable [the test fraction]."
        ),
    ] = None,
    keep_unlabelled: Annotated[
        bool,
        typer.Option("--keep-unlabelled", help="Keep unlabelled frames, masked as ignored (255)."),
    ] = False,
    test_fraction: TestFraction = 0.2,
    folds: Folds = 5,
    train_domain: options.TrainDomain = None,
    qc: PictureFolder = None,
    pictures: Pictures = True,
    seed: options.Seed = 0,
    workers: options.Workers = None,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
    *,
    progress: Progress,
) -> Outcome:
    """Extract slices and masks from volumes of cardiac or other MR (NIfTI, cine or single).

    Example: skiptool extract mri volumes.csv --size A=192 --size B=320 -o data.zarr
    """
    from skiptool.steps.extract_mri.extract_mri import extract_mri as step
    from skiptool.steps.extract_mri.settings import SliceSettings

    return step(
        _manifest(source),
        out,
        table=table,
        settings=SliceSettings(
            labels=options.parse_values(labels, "--labels"),
            sizes=options.parse_numbers(size, "--size"),
            spacing=spacing,
            percentiles=options.parse_interval(percentiles, "--percentiles"),
            centres=options.parse_words(centre, "--centre"),
            train_subjects=options.parse_numbers(train_subjects, "--train-subjects"),
            test_subjects=options.parse_numbers(test_subjects, "--test-subjects"),
            keep_unlabelled=keep_unlabelled,
            slice_axes=options.parse_numbers(slice_axis, "--slice-axis"),
        ),
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
    """Accept ``--export png DIR``, the form of other commands, for ``--export DIR``."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Remove the word png between ``--export`` and a folder."""
        for index in range(len(args) - 2):
            option, form, folder = args[index : index + 3]
            if option == "--export" and form == "png" and not folder.startswith("-"):
                args = [*args[: index + 1], *args[index + 2 :]]
                break
        return super().parse_args(ctx, args)


@extract.command("wsi", cls=ExportCommand)
@command
def extract_wsi(
    manifest: Annotated[
        str,
        typer.Argument(
            help="CSV or TSV: path, domain, subject; optionally slide, annotations, annotated_as, "
            "split, mpp, mpp_y, level, x_offset, y_offset, label_map; - for stdin."
        ),
    ],
    out: options.DatasetOut = "data.zarr",
    mode: Annotated[
        PatchMode,
        typer.Option(help="grid: all tissue; centred: at annotations; sampled: by class weights."),
    ] = PatchMode.GRID,
    patch_size: Annotated[
        int | None, typer.Option(help="Side of a patch in pixels [512; centred: 128].")
    ] = None,
    mpp: Annotated[
        float | None,
        typer.Option(help="Resample to this pixel size in micrometres [each slide's own level]."),
    ] = None,
    classes: Annotated[
        str,
        typer.Option(
            metavar="CLASS=NAME,...;...",
            help="Annotated names by class, tumor=Melanoma,SCC;non-tumor=Dermis [one class each].",
        ),
    ] = "",
    mask: Annotated[
        str | None,
        typer.Option(
            metavar="polygons|disc:UM|stain|model:FOLDER",
            help="centred: source of masks [annotated outlines; stain at points and boxes].",
        ),
    ] = None,
    min_tissue: Annotated[float, typer.Option(help="grid: minimum fraction of tissue.")] = 0.5,
    stride: Annotated[
        int | None, typer.Option(help="grid: distance between patches in pixels [patch size].")
    ] = None,
    patches: Annotated[int, typer.Option(help="sampled: patches per slide.")] = 32,
    draws: Annotated[
        int, typer.Option(help="sampled: draws of training patches, used in turn by epochs.")
    ] = 1,
    background: Annotated[
        float, typer.Option(help="sampled: fraction of patches on slide background.")
    ] = 0.1,
    register: Annotated[
        str | None,
        typer.Option(
            metavar="DOMAIN", help="Transfer this domain's annotations and patches to all others."
        ),
    ] = None,
    max_residual: Annotated[
        float,
        typer.Option(help="Leave out patches misaligned by more pixels of that domain."),
    ] = 2.0,
    domain: options.Domains = None,
    split: Annotated[str, typer.Option(help="Slides to extract: train, test or all.")] = "all",
    test_fraction: TestFraction = 0.2,
    folds: Folds = 5,
    train_domain: options.TrainDomain = None,
    qc: Annotated[
        Path | None,
        typer.Option(help="Folder of registration.parquet and pictures for inspection [NAME-qc]."),
    ] = None,
    pictures: Pictures = True,
    export: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also write pairs of PNG, for correction by hand."),
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
    """Extract patches and masks from whole-slide images of one or several scanners.

    Example: skiptool extract wsi slides.csv --mode sampled --classes "tumor=SCC;non-tumor=Dermis"
    """
    from skiptool.steps.extract_wsi.extract_wsi import extract_slides
    from skiptool.steps.extract_wsi.settings import PatchSettings

    return extract_slides(
        _manifest(manifest),
        out,
        settings=PatchSettings(
            mode=mode,
            patch_size=patch_size,
            mpp=mpp,
            classes=classes,
            mask=mask,
            min_tissue=min_tissue,
            stride=stride,
            patches=patches,
            draws=draws,
            background=background,
            register=register,
            max_residual=max_residual,
        ),
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
