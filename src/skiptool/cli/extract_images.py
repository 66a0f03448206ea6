"""``skiptool extract images``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skiptool.cli import options, paths
from skiptool.cli.console import command
from skiptool.cli.options import label_words
from skiptool.records import Outcome, Progress

__all__ = ["extract_images"]


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
    from skiptool.steps.extract_images.extract_images import extract_images as step

    return step(
        out,
        manifest=_manifest(manifest),
        images=images,
        masks=masks,
        domain=domain,
        pattern=pattern,
        mask_pattern=mask_pattern,
        classes=None if classes is None else options.listed([classes]),
        labels=label_words(labels, "--labels"),
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
