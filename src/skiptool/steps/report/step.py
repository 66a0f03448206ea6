"""Draw what metric tables allow, and write it: page, figures, numbers."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from skiptool.errors import ArgumentError, FormatError
from skiptool.names import Kind, PictureFormat
from skiptool.records import SILENT, Outcome, Progress, Table, as_path, as_places
from skiptool.report.page import Origin, render_page
from skiptool.steps.report.drawing import Folder, as_columns, draw, with_names
from skiptool.steps.report.exhibits import exhibits, pictures, printed_tables, unmet
from skiptool.steps.report.inputs import read_inputs
from skiptool.steps.report.overview import not_estimated, once_trained, overview
from skiptool.stores.addresses import last_part, located, public
from skiptool.stores.lineage import Lineage, Making, lineage
from skiptool.stores.staging import Form, check_form, check_free, guarded, staged
from skiptool.stores.tables import REPORT, write_table
from skiptool.stores.transfers import places_may_be_urls

if TYPE_CHECKING:
    pass

__all__ = ["NUMBERS", "write_report"]

NUMBERS = "report.parquet"
"""The table of a report whose figures alone are written."""

NUMBERS_OF_PAGE = "numbers.parquet"
"""What the table beside a page is called behind the page's name: ``report-numbers.parquet``."""


@places_may_be_urls(out=Form.PAGE, figures=Form.FILLED)
def write_report(
    tables: Sequence[Path | str] | Path | str,
    out: Path | str | None = None,
    *,
    figures: Path | str | None = None,
    formats: Sequence[PictureFormat] = (PictureFormat.PDF,),
    title: str = "skiptool report",
    level: float = 0.95,
    seed: int = 0,
    forecast: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Outcome:
    """Draw what metric tables allow: Figs. 7 to 9 and Table II of the paper, and what goes past it.

    Parameters
    ----------
    tables : sequence of Path or str
        Tables of predictions, shifts, training and registration, in any mixture; dataset stores
        for sheets of their images, mask stores for examples of predictions. Paths or URLs.
    out : Path or str, optional
        HTML page to write, a path or a URL; its numbers go beside it as a table,
        ``NAME-numbers.parquet``. Without a page the outcome's tables hold the numbers.
    figures : Path or str, optional
        Folder for the figures as files; made if its parent exists.
    formats : sequence of PictureFormat
    title : str
    level : float
        Of the intervals that are computed here, in (0, 1).
    seed : int
        Of their resampling.
    forecast : bool
        Fit the loss of IoU under the shifts of one domain to the distance of a layer, and forecast
        it where nothing is labelled (:mod:`skiptool.analysis.forecast`).
    overwrite : bool
    progress : Progress

    Returns
    -------
    Outcome
        Output: the page. Side outputs: its numbers, the figures. Tables, without a page: the
        matrices of IoU and of distances, the rank correlations, training and registration.

    Warns
    -----
    UserWarning
        If an architecture was trained once only, or distances could not be estimated.

    Raises
    ------
    ArgumentError
        If ``level`` is no level, the page has the suffix of another format, or an output would
        take the place of an input.
    FormatError
        If a table is missing, damaged, or of a kind that has no figure; or if, without a page or
        figures, there is no number to print.
    ExistsError
        If an output exists.
    """
    tables, out, figures = as_places(tables), as_path(out), as_path(figures)
    if not 0 < level < 1:
        raise ArgumentError(f"level {level:g}: expected a number above 0 and below 1, such as 0.95")
    if out is not None:
        check_form(out, Form.PAGE)
    with guarded(tables):
        numbers = _numbers(out, figures)
        for path in filter(None, (out, numbers)):
            if path.parent != figures or figures.is_dir():  # else it has to be made
                check_free(path, overwrite=overwrite, resume=False)
        inputs = read_inputs(tables)
        shown = exhibits(inputs, level, seed, forecast=forecast)
        _tell(unmet(inputs, shown, forecast), progress)
        caution = " ".join(filter(None, (not_estimated(inputs), once_trained(inputs))))
        printed = () if out is not None else printed_tables(shown)
        if numbers is None:
            _caution(caution, progress)
            return Outcome(tables=_some(printed, tables))
        drawn, lacking = pictures(inputs)
        _tell(lacking, progress)
        named = with_names([*shown, *drawn])
        folder = None if figures is None else Folder(figures, tuple(formats), overwrite)
        if folder is not None:
            folder.make([name for name, _ in named])
        _caution(caution, progress)
        sections, files = draw(named, folder, inline=out is not None, progress=progress)
        asked = {"forecast": True} if forecast else {}
        parameters = {"title": title, "level": level, "seed": seed, **asked}
        arguments = [public(str(table)) for table in tables]
        making = Making("report", arguments, parameters, {"out": out, "figures": figures})
        ids = [header.id for _, header in inputs.origins]
        header = lineage(Kind.REPORT, making, [ids, level, seed, *asked])
        with staged(numbers, overwrite=overwrite) as partial:
            write_table(partial, header, *as_columns(named, REPORT))
        if out is not None:
            origins = [_origin(*each) for each in [(out.name, header), *inputs.origins]]
            summary, facts = overview(inputs, named)
            page = render_page(
                title, sections, origins, summary=summary, facts=facts, caution=caution
            )
            with staged(out, overwrite=overwrite) as partial:
                partial.write_text(page, encoding="utf-8")
        return Outcome(() if out is None else (out,), (numbers, *files), tables=printed)


def _caution(text: str, progress: Progress) -> None:
    """Warn in the terminal and in Python; the command line silences the second warning."""
    if text:
        progress.warn(text)
        warnings.warn(text, UserWarning, stacklevel=3)


def _tell(lines: Sequence[str], progress: Progress) -> None:
    for line in lines:
        progress.warn(line)


def _some(printed: tuple[Table, ...], given: Sequence[Path | str]) -> tuple[Table, ...]:
    if not printed:
        names = ", ".join(last_part(located(place)) for place in given)
        raise FormatError(
            f"{names}: no numbers to print; give tables with rows, or --out for a page of images"
        )
    return printed


def _numbers(out: Path | None, figures: Path | None) -> Path | None:
    """Where the numbers go: beside the page under a name of their own, else among the figures."""
    if out is None:
        return None if figures is None else figures / NUMBERS
    page = out.suffix.lower() in Form.PAGE.value[1]
    return out.with_name(f"{out.stem if page else out.name}-{NUMBERS_OF_PAGE}")


def _origin(name: str, header: Lineage) -> Origin:
    command = shlex.join(map(_without_folders, shlex.split(header.command)))
    return Origin(
        name, header.kind.value, header.id, command, header.skiptool_version, header.created
    )


def _without_folders(word: str) -> str:
    """Name a path by its last part, a model and what is in it by run and fold.

    Pages travel, folders are ours.
    """
    if "/" not in word:
        return word
    parts = Path(word).parts
    folds = [place for place, part in enumerate(parts) if part.startswith("fold")]
    start = folds[-1] - 1 if folds and len(parts) - folds[-1] <= 2 else len(parts) - 1
    return "/".join(parts[max(start, 0) :])
