"""``skiptool report``."""

from __future__ import annotations

from typing import Annotated

import typer

from skiptool.cli import options, paths
from skiptool.cli.console import command
from skiptool.names import PictureFormat
from skiptool.records import Outcome, Progress

PAGE = "report.html"


@command
def report(
    tables: Annotated[
        list[str],
        typer.Argument(
            help=(
                "Tables of predict, hellinger, train (history.parquet) and extract wsi "
                "(registration.parquet); stores of images and of predicted masks. Paths, URLs, or "
                "- for paths on stdin."
            )
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            *("--out", "-o"),
            metavar="PATH",
            help=(
                "HTML page (path or URL); its numbers go to NAME-numbers.parquet [print the "
                "numbers; report.html at the end of a pipe]."
            ),
        ),
    ] = None,
    figures: Annotated[
        str | None, typer.Option(metavar="PATH", help="Folder for the figures as files.")
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help="Formats of the figures: pdf,svg,png.")
    ] = "pdf",
    title: Annotated[str, typer.Option(help="Title of the page.")] = "skiptool report",
    level: Annotated[float, typer.Option(help="Level of the intervals computed here.")] = 0.95,
    seed: options.Seed = 0,
    forecast: Annotated[
        bool, typer.Option("--forecast", help="Forecast the loss of IoU where nothing is labelled.")
    ] = False,
    overwrite: options.Overwrite = False,
    *,
    progress: Progress,
) -> Outcome:
    """Draw what the tables allow: IoU under shift, distance by layer, and what joins the two.

    Example: skiptool report predictions.parquet shift.parquet -o report.html
    """
    found = paths.input_paths(tables)
    chosen = options.parse_choices(formats, PictureFormat, "--format")
    if out is None and figures is None and "-" in tables:
        # The last command of a pipe has nobody to read its numbers: it leaves the page.
        out = PAGE
    from skiptool.steps.report import write_report

    return write_report(
        found,
        out,
        figures=figures,
        formats=chosen,
        title=title,
        level=level,
        seed=seed,
        forecast=forecast,
        overwrite=overwrite,
        progress=progress,
    )
