"""Draw what metric tables allow, and write it: page, figures, numbers."""

from __future__ import annotations

import re
import shlex
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from skiptool.errors import ArgumentError, FormatError
from skiptool.figures.style import picture
from skiptool.names import Kind, PictureFormat
from skiptool.records import SILENT, Outcome, Progress, Table, as_path, as_places
from skiptool.report.exhibit import known
from skiptool.report.page import Exhibit, Origin, Section, as_svg, render_page
from skiptool.steps.report.exhibits import (
    exhibits,
    not_estimated,
    once_trained,
    overview,
    pictures,
    printed_tables,
    read_inputs,
    unmet,
)
from skiptool.stores.addresses import last_part, located, public
from skiptool.stores.lineage import Lineage, Making, lineage
from skiptool.stores.staging import Form, check_form, check_free, guarded, staged
from skiptool.stores.tables import REPORT, write_table
from skiptool.stores.transfers import places_may_be_urls

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.report.exhibit import Shown

    pass

__all__ = ["NUMBERS", "Folder", "as_columns", "draw", "with_names", "write_report"]

# -------------------------------------------------------------------------------------------------
# Exhibits become figures, in files and in the page, and rows of the table of numbers.


Named = Sequence[tuple[str, "Shown"]]
"""Exhibits by their anchors in the page, which are the stems of their files."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Where figures go as files, in which formats."""

    path: Path
    formats: tuple[PictureFormat, ...]
    overwrite: bool

    def make(self, names: Iterable[str]) -> None:
        """Make the folder; raise `ExistsError` if a file of one of the names is there already."""
        if not self.path.is_dir():
            check_free(self.path, overwrite=False, resume=False)
            self.path.mkdir()
        for name in names:
            for path in self._paths(name):
                check_free(path, overwrite=self.overwrite, resume=False)

    def save(self, name: str, figure: Figure) -> list[Path]:
        """Write a figure in every format, each file whole or not at all."""
        paths = self._paths(name)
        for path, kind in zip(paths, self.formats, strict=True):
            with staged(path, overwrite=self.overwrite) as partial:
                partial.write_bytes(picture(figure, kind))
        return paths

    def _paths(self, name: str) -> list[Path]:
        return [self.path / f"{name}.{kind.value}" for kind in self.formats]


def with_names(shown: Iterable[Shown]) -> Named:
    """Name exhibits by topic and part, or number, and bring those of one heading together.

    Returns
    -------
    list of (str, Shown)
        Headings in the order of their first exhibits. No two names differ in case alone.
    """
    found = list(shown)
    headings = {each.heading: place for place, each in reversed([*enumerate(found)])}
    counts: Counter[str] = Counter()
    named: dict[str, Shown] = {}
    for each in sorted(found, key=lambda each: headings[each.heading]):
        part = _in_a_name(getattr(each, "part", ""))
        stem = f"{each.topic}-{part}" if part else each.topic
        counts[stem] += 1
        name = stem if part and counts[stem] == 1 else f"{stem}-{counts[stem]}"
        while name in named:  # a part may end in a number
            counts[stem] += 1
            name = f"{stem}-{counts[stem]}"
        named[name] = each
    return [*named.items()]


def _in_a_name(text: str) -> str:
    """Write a text as a part of an anchor and of a file's name.

    Examples
    --------
    >>> _in_a_name("Aperio CS2 brightness 0.5"), _in_a_name("../α")
    ('aperio-cs2-brightness-0.5', '')
    """
    return re.sub(r"[^a-z0-9.]+", "-", text.lower())[:_LONGEST].strip("-.")


_LONGEST = 60

_MADE_FROM: Final[Mapping[str, tuple[Kind, ...]]] = {
    **dict.fromkeys(("iou", "difference", "paired"), (Kind.PREDICTIONS,)),
    **dict.fromkeys(("substitution", "regained"), (Kind.PREDICTIONS,)),
    **dict.fromkeys(("reach", "distance", "layers", "transmission"), (Kind.SHIFT,)),
    **dict.fromkeys(("decoder-inputs", "beyond"), (Kind.SHIFT,)),
    **dict.fromkeys(
        ("forecast-by-layer", "rank-correlation", "forecast", "parameters"),
        (Kind.PREDICTIONS, Kind.SHIFT),
    ),
    "training": (Kind.HISTORY,),
    "registration": (Kind.REGISTRATION,),
    "examples": (Kind.DATASET, Kind.PREDICTIONS, Kind.MASKS),
    "data": (Kind.DATASET,),
}
"""Topic of an exhibit to the kinds of files that it is made from."""


def draw(
    named: Named, folder: Folder | None, *, inline: bool, progress: Progress
) -> tuple[list[Section], list[Path]]:
    """Draw every exhibit once, for the page (``inline``) and for the folder of figures.

    Returns
    -------
    sections, paths
        Parts of the page, one a heading; files written.
    """
    sections: list[Section] = []
    paths: list[Path] = []
    with progress.task("figures", len(named)) as task:
        for heading, group in groupby(named, key=lambda each: each[1].heading):
            held: list[Exhibit] = []
            anchor = ""
            for name, each in group:
                figure = each.draw()
                svg = None
                if figure is not None:
                    paths += folder.save(name, figure) if folder is not None else []
                    svg = as_svg(figure, each.title, each.caption) if inline else None
                words = (each.title, each.sentences())
                kinds = tuple(kind.value for kind in _MADE_FROM.get(each.topic, ()))
                held.append(Exhibit(each.caption, svg, each.table(), name, *words, kinds))
                anchor = anchor or f"about-{name}"
                task.advance()
            sections.append(Section(anchor, heading, (), tuple(held)))
    return sections, paths


def as_columns(named: Named, names: Iterable[str]) -> tuple[dict[str, list[Any]], int]:
    """Return the numbers of all exhibits as columns of the table ``report``, and their count.

    Raises
    ------
    KeyError
        If an exhibit has a number of a column that is not among ``names``.
    """
    columns: dict[str, list[Any]] = {name: [] for name in names}
    rows = 0
    for name, each in named:
        for number in each.numbers():
            row = {**number, "figure": name, "title": each.title}
            if "folds" in row:  # the older name of the same count
                row.setdefault("trainings", row["folds"])
            unknown = row.keys() - columns.keys()
            if unknown:
                raise KeyError(f"{name}: numbers have a column {unknown.pop()!r}")
            for key, column in columns.items():
                value = row.get(key)
                column.append(known(value) if isinstance(value, float) else value)
            rows += 1
    return columns, rows


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
