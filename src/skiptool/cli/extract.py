"""``skiptool extract``: one subcommand for each kind of source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skiptool.cli import inputs, options
from skiptool.cli.console import command, show_help
from skiptool.cli.extract_mri import extract_mri
from skiptool.cli.extract_wsi import ExportCommand, extract_wsi
from skiptool.records import Outcome, Progress

extract = typer.Typer(
    name="extract",
    rich_markup_mode=None,
    help="Bring images and masks into a dataset store.",
)
extract.callback(invoke_without_command=True)(show_help)
extract.command("wsi", cls=ExportCommand)(extract_wsi)
extract.command("mri")(extract_mri)


@extract.command("images")
@command
def extract_images(
    manifest: Annotated[
        str | None,
        typer.Argument(help="CSV or TSV: image, mask, domain, subject; - for stdin."),
    ] = None,
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="PATH", help="Dataset store.")
    ] = "data.zarr",
    images: Annotated[Path | None, typer.Option(help="Folder of images.")] = None,
    masks: Annotated[Path | None, typer.Option(help="Folder of masks, matched by stem.")] = None,
    domain: Annotated[str, typer.Option(help="Domain of the images in a folder.")] = "images",
    classes: Annotated[
        str, typer.Option(help="Class names, index = label.")
    ] = "background,foreground",
    labels: Annotated[
        list[str] | None,
        typer.Option(metavar="VALUE=CLASS", help="Pixel value of a class, repeatable."),
    ] = None,
    test_fraction: Annotated[float, typer.Option(help="Share of test subjects.")] = 0.2,
    folds: Annotated[int, typer.Option(help="Validation folds, grouped by subject.")] = 5,
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
    from skiptool.steps.extract import extract_images as step

    return step(
        Path(out),
        manifest=_manifest(manifest),
        images=images,
        masks=masks,
        domain=domain,
        classes=options.listed([classes]),
        labels=options.values(labels, "--labels"),
        test_fraction=test_fraction,
        folds=folds,
        seed=seed,
        workers=workers,
        overwrite=overwrite,
        resume=resume,
        dry_run=dry_run,
        progress=progress,
    )


def _manifest(word: str | None) -> Path | str | None:
    if word == "-":
        return inputs.stdin_text("the manifest")
    return None if word is None else Path(word)
