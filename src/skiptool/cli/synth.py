"""``skiptool synth``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skiptool.cli import options
from skiptool.cli.console import command
from skiptool.names import ExportFormat
from skiptool.records import Outcome, Progress


@command
def synth(
    n: Annotated[int, typer.Option("--n", help="Number of images.")] = 1000,
    out: options.DatasetOut = "synth.zarr",
    templates: Annotated[
        Path | None, typer.Option(help="Folder with background*.png, cell*.png and artifact*.png.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option(help="BBBC041 image from which the templates are cut.")
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="Its annotations: training.json of BBBC041.")
    ] = None,
    artifact_box: Annotated[
        list[str] | None,
        typer.Option(metavar="TOP,LEFT,BOTTOM,RIGHT", help="Artifact in --source, repeatable."),
    ] = None,
    size: Annotated[int, typer.Option(help="Side of the images in pixels.")] = 512,
    canvas: Annotated[
        int, typer.Option(help="Side of the canvas on which they are composed, in pixels.")
    ] = 1500,
    cells: Annotated[str, typer.Option(help="Fewest and most cells per image.")] = "1:100",
    artifacts: Annotated[int, typer.Option(help="Artifacts per image.")] = 3,
    test_fraction: Annotated[float, typer.Option(help="Fraction of test images.")] = 0.2,
    folds: Annotated[int, typer.Option(help="Validation folds of the training images.")] = 5,
    export: Annotated[
        tuple[str, Path] | None,
        typer.Option("--export", metavar="png DIR", help="Also write pairs of image and mask."),
    ] = None,
    save_templates: Annotated[
        Path | None, typer.Option(help="Folder to which the templates are saved.")
    ] = None,
    seed: options.Seed = 0,
    workers: options.Workers = None,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    *,
    progress: Progress,
) -> Outcome:
    """Synthesise a malaria dataset: blood smears with infected cells, and their masks.

    Example: skiptool synth --n 1000 -o synth.zarr
    """
    pairs = options.parse_export(export, [ExportFormat.PNG])
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
        export=None if pairs is None else pairs[1],
        save_templates_to=save_templates,
        overwrite=overwrite,
        resume=resume,
        progress=progress,
    )
