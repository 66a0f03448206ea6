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
            help="Tables of predict, hellinger, train (history.parquet) and extract wsi "
            "(registration.parquet); stores of images and of predicted masks. Paths, URLs, or - "
            "for paths on stdin."
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="PATH",
            help="HTML page (path or URL), next to NAME-numbers.parquet with its numbers [print "
            "the numbers; with inputs from stdin: report.html].",
        ),
    ] = None,
    figures: Annotated[
        str | None, typer.Option(metavar="PATH", help="Folder for the figures, as files.")
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help="Formats of the figures: pdf,svg,png.")
    ] = "pdf",
    title: Annotated[str, typer.Option(help="Title of the page.")] = "skiptool report",
    level: Annotated[
        float, typer.Option(help="Confidence level of the intervals computed here.")
    ] = 0.95,
    seed: options.Seed = 0,
    forecast: Annotated[
        bool, typer.Option("--forecast", help="Forecast the loss of IoU on unlabelled data.")
    ] = False,
    overwrite: options.Overwrite = False,
    *,
    progress: Progress,
) -> Outcome:
    """Report on tables: IoU under shift, distances by layer, and how the two are related.

    Example: skiptool report predictions.parquet shift.parquet -o report.html
    """
    inputs = paths.input_paths(tables)
    if out is None and figures is None and "-" in tables:
        out = PAGE  # the end of a pipe
    from skiptool.steps.report import write_report

    return write_report(
        inputs,
        out,
        figures=figures,
        formats=options.parse_choices(formats, PictureFormat, "--format"),
        title=title,
        level=level,
        seed=seed,
        forecast=forecast,
        overwrite=overwrite,
        progress=progress,
    )
