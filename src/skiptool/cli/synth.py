"""``skiptool synth``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skiptool.cli import options
from skiptool.cli.console import command
from skiptool.records import Outcome, Progress


@command
def synth(
    n: Annotated[int, typer.Option("--n", help="Number of images.")] = 1000,
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="PATH", help="Dataset store, a path or URL.")
    ] = "synth.zarr",
    templates: Annotated[
        Path | None, typer.Option(help="Folder with background*, cell* and artifact*.png.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option(help="BBBC041 image to cut the templates from.")
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="Its boxes: training.json of BBBC041.")
    ] = None,
    artifact_box: Annotated[
        list[str] | None,
        typer.Option(metavar="TOP,LEFT,BOTTOM,RIGHT", help="Artifact in --source, repeatable."),
    ] = None,
    size: Annotated[int, typer.Option(help="Side of the images, pixels.")] = 512,
    canvas: Annotated[int, typer.Option(help="Side of the canvas they are composed on.")] = 1500,
    cells: Annotated[str, typer.Option(help="Fewest and most cells in an image.")] = "1:100",
    artifacts: Annotated[int, typer.Option(help="Artifacts in an image.")] = 3,
    test_fraction: Annotated[float, typer.Option(help="Share of test images.")] = 0.2,
    folds: Annotated[int, typer.Option(help="Validation folds of the training images.")] = 5,
    export: Annotated[
        tuple[str, Path] | None,
        typer.Option("--export", metavar="png DIR", help="Also write image and mask pairs."),
    ] = None,
    save_templates: Annotated[
        Path | None, typer.Option(help="Folder to keep the templates in.")
    ] = None,
    seed: options.Seed = 0,
    workers: options.Workers = None,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    *,
    progress: Progress,
) -> Outcome:
    """Make the synthetic malaria dataset: blood smears with infected cells, and their masks.

    Example: skiptool synth --n 1000 -o synth.zarr
    """
    from skiptool.steps.synth import synthesise_dataset

    return synthesise_dataset(
        out,
        n=n,
        templates=templates,
        source=source,
        annotations=annotations,
        artifact_boxes=options.parse_boxes(artifact_box, "--artifact-box"),
        size=size,
        canvas=canvas,
        cells=options.parse_range(cells, "--cells"),
        artifacts=artifacts,
        test_fraction=test_fraction,
        folds=folds,
        seed=seed,
        workers=workers,
        export=options.export_folder(export),
        save_templates_to=save_templates,
        overwrite=overwrite,
        resume=resume,
        progress=progress,
    )
