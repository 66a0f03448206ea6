"""``skiptool report``: a page, figures and numbers from metric tables."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from skiptool.errors import ArgumentError, FormatError
from skiptool.figures.style import figure_bytes
from skiptool.names import Kind, PictureFormat, ShiftKind
from skiptool.records import SILENT, Outcome, Progress, Table, as_path, as_paths_or_urls
from skiptool.report.contents import image_exhibits, printed_tables, table_exhibits
from skiptool.report.exhibit import Exhibit, name_exhibits, nan_to_none
from skiptool.report.inputs import Inputs
from skiptool.report.page import Origin, as_svg, render_page
from skiptool.report.summary import (
    facts,
    findings,
    missing_estimates,
    single_training_warning,
    unused_inputs,
)
from skiptool.stores.addresses import last_part, path_or_url, redact
from skiptool.stores.artifacts import kind_of, lineage_of, local_file
from skiptool.stores.dataset import open_dataset
from skiptool.stores.lineage import Invocation, Lineage, create_lineage
from skiptool.stores.masks import open_masks
from skiptool.stores.staging import (
    OutputType,
    atomic_output,
    check_output_type,
    check_writable,
    protect_inputs,
)
from skiptool.stores.tables import REPORT, MetricTable, open_table, write_table
from skiptool.stores.transfers import is_store_at
from skiptool.stores.urls import accept_urls

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_NUMBERS: Final = "report.parquet"
"""Name of the table of numbers in the folder of figures."""

_NUMBERS_OF_PAGE: Final = "numbers.parquet"
"""Suffix of the table of numbers next to a page: ``report-numbers.parquet``."""


@accept_urls(out=OutputType.PAGE, figures=OutputType.FILES)
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
    """Build a report from metric tables: Figs. 7 to 9 and Table II of the paper, and more.

    Parameters
    ----------
    tables : sequence of Path or str
        Any of the tables of predictions, shifts, training and registration; dataset stores for
        sheets of their images, mask stores for examples of predictions. Paths or URLs.
    out : Path or str, optional
        HTML page to write, a path or a URL, with its numbers next to it,
        ``NAME-numbers.parquet``. Without a page the tables of the outcome hold the numbers.
    figures : Path or str, optional
        Folder for the figures as files; created if its parent exists.
    level : float
        Confidence level of the intervals computed here, in (0, 1).
    seed : int
        Seed of their resampling.
    forecast : bool
        Fit the loss of IoU under the shifts of one domain to the distance of a layer, and forecast
        it for images without labels (:mod:`skiptool.analysis.forecast`).

    Returns
    -------
    Outcome
        Outputs: the page. Side outputs: its numbers, the figures. Tables, without a page:
        matrices of IoU and of distances, rank correlations, training and registration.

    Warns
    -----
    UserWarning
        If an architecture was trained only once, or distances could not be estimated.

    Raises
    ------
    ArgumentError
        If ``level`` is out of range, the page has the suffix of another format, or an output would
        replace an input.
    FormatError
        If a table is missing, damaged, or of a kind that has no figure; or if there is nothing to
        print without a page or figures.
    ExistsError
        If an output exists.
    """
    tables, out, figures = as_paths_or_urls(tables), as_path(out), as_path(figures)
    if not 0 < level < 1:
        raise ArgumentError(f"level {level:g}: expected a number above 0 and below 1, such as 0.95")
    if out is not None:
        check_output_type(out, OutputType.PAGE)
    with protect_inputs(tables):
        numbers = _numbers_path(out, figures)
        for path in filter(None, (out, numbers)):
            if path.parent != figures or figures.is_dir():  # otherwise it does not exist yet
                check_writable(path, overwrite=overwrite, resume=False)
        inputs = read_inputs(tables)
        exhibits = table_exhibits(inputs, level, seed, forecast=forecast)
        _warn_all(unused_inputs(inputs, exhibits, forecast=forecast), progress)
        caution = " ".join(
            filter(None, (missing_estimates(inputs), single_training_warning(inputs)))
        )
        printed = () if out is not None else printed_tables(exhibits)
        if numbers is None:
            _warn_twice(caution, progress)
            return Outcome(tables=_require_tables(printed, tables))
        images, missing = image_exhibits(inputs)
        _warn_all(missing, progress)
        exhibits = name_exhibits([*exhibits, *images])
        folder = None if figures is None else FigureFolder(figures, tuple(formats), overwrite)
        if folder is not None:
            folder.make(exhibit.anchor for exhibit in exhibits)
        _warn_twice(caution, progress)
        drawn, files = draw(exhibits, folder, inline=out is not None, progress=progress)
        parameters: dict[str, Any] = {"title": title, "level": level, "seed": seed}
        determinants: list[Any] = [[header.id for _, header in inputs.origins], level, seed]
        if forecast:
            parameters["forecast"] = True
            determinants.append("forecast")
        arguments = [redact(str(table)) for table in tables]
        invocation = Invocation("report", arguments, parameters, {"out": out, "figures": figures})
        header = create_lineage(Kind.REPORT, invocation, determinants)
        with atomic_output(numbers, overwrite=overwrite) as partial:
            write_table(partial, header, *as_columns(drawn, REPORT))
        if out is not None:
            page = render_page(
                title,
                drawn,
                [
                    _describe_origin(name, made)
                    for name, made in [(out.name, header), *inputs.origins]
                ],
                summary=findings(drawn),
                facts=facts(inputs),
                caution=caution,
            )
            with atomic_output(out, overwrite=overwrite) as partial:
                partial.write_text(page, encoding="utf-8")
        return Outcome(() if out is None else (out,), (numbers, *files), tables=printed)


@dataclass(frozen=True, slots=True)
class FigureFolder:
    """Folder of figures, each in several formats."""

    path: Path
    formats: tuple[PictureFormat, ...]
    overwrite: bool

    def make(self, names: Iterable[str]) -> None:
        """Create the folder; raise `ExistsError` if a file of one of the names exists."""
        if not self.path.is_dir():
            check_writable(self.path, overwrite=False, resume=False)
            self.path.mkdir()
        for name in names:
            for path in self._paths(name):
                check_writable(path, overwrite=self.overwrite, resume=False)

    def save(self, name: str, figure: Figure) -> list[Path]:
        """Write a figure in every format, each file whole or not at all."""
        paths = self._paths(name)
        for path, kind in zip(paths, self.formats, strict=True):
            with atomic_output(path, overwrite=self.overwrite) as partial:
                partial.write_bytes(figure_bytes(figure, kind))
        return paths

    def _paths(self, name: str) -> list[Path]:
        return [self.path / f"{name}.{kind.value}" for kind in self.formats]


def draw(
    exhibits: Sequence[Exhibit], folder: FigureFolder | None, *, inline: bool, progress: Progress
) -> tuple[list[Exhibit], list[Path]]:
    """Draw each named exhibit once, for the page (``inline``) and for the folder of figures.

    Returns
    -------
    exhibits, paths
        The exhibits, with their figures if ``inline``; files written.
    """
    drawn: list[Exhibit] = []
    paths: list[Path] = []
    with progress.task("figures", len(exhibits)) as task:
        for exhibit in exhibits:
            figure = None if exhibit.draw is None else exhibit.draw()
            svg = None
            if figure is not None:
                paths += folder.save(exhibit.anchor, figure) if folder is not None else []
                svg = as_svg(figure, exhibit.title, exhibit.caption) if inline else None
            drawn.append(replace(exhibit, figure=svg))
            task.advance()
    return drawn, paths


def as_columns(
    exhibits: Sequence[Exhibit], names: Iterable[str]
) -> tuple[dict[str, list[Any]], int]:
    """Return the numbers of named exhibits as columns of the table ``report``, and their count."""
    columns: dict[str, list[Any]] = {name: [] for name in names}
    rows = 0
    for exhibit in exhibits:
        for number in exhibit.numbers:
            row = {**number, "figure": exhibit.anchor, "title": exhibit.title}
            if "folds" in row:  # older name of the column
                row.setdefault("trainings", row["folds"])
            unknown = row.keys() - columns.keys()
            if unknown:
                raise KeyError(f"{exhibit.anchor}: numbers have a column {unknown.pop()!r}")
            for key, column in columns.items():
                value = row.get(key)
                column.append(nan_to_none(value) if isinstance(value, float) else value)
            rows += 1
    return columns, rows


def _warn_twice(text: str, progress: Progress) -> None:
    """Warn on the terminal and in Python; the command line silences the Python warning."""
    if text:
        progress.warn(text)
        warnings.warn(text, UserWarning, stacklevel=3)


def _warn_all(lines: Sequence[str], progress: Progress) -> None:
    for line in lines:
        progress.warn(line)


def _require_tables(printed: tuple[Table, ...], places: Sequence[Path | str]) -> tuple[Table, ...]:
    if not printed:
        names = ", ".join(last_part(path_or_url(place)) for place in places)
        raise FormatError(
            f"{names}: no numbers to print; give tables with rows, or --out for a page of images"
        )
    return printed


def _numbers_path(out: Path | None, figures: Path | None) -> Path | None:
    """Return the path of the numbers, next to the page or else among the figures."""
    if out is None:
        return None if figures is None else figures / _NUMBERS
    page = out.suffix.lower() in OutputType.PAGE.suffixes
    return out.with_name(f"{out.stem if page else out.name}-{_NUMBERS_OF_PAGE}")


def _describe_origin(name: str, header: Lineage) -> Origin:
    command = shlex.join(map(_without_folders, shlex.split(header.command)))
    return Origin(
        name, header.kind.value, header.id, command, header.skiptool_version, header.created
    )


def _without_folders(word: str) -> str:
    """Shorten a path to its last part, or to run and fold of a model, as pages may be shared."""
    if "/" not in word:
        return word
    parts = Path(word).parts
    folds = [index for index, part in enumerate(parts) if part.startswith("fold")]
    start = folds[-1] - 1 if folds and len(parts) - folds[-1] <= 2 else len(parts) - 1
    return "/".join(parts[max(start, 0) :])


_REQUIRED: Final = {
    Kind.PREDICTIONS: (
        "dataset",
        "dataset_id",
        "domain",
        "split",
        "arch",
        "encoder",
        "pruning",
        "model_id",
        "shift",
        "sample",
        "subject",
        "truth",
        "predicted",
        "pixels",
    ),
    Kind.SHIFT: ("reference", "other", "layer", "metric", "value"),
}
"""Columns that need a value in every row; stores of other programs have no id."""

_SHIFT_COLUMNS: Final = {
    Kind.PREDICTIONS: ("shift",),
    Kind.SHIFT: ("shift", "reference_shift"),
}


def read_inputs(places: Sequence[Path | str]) -> Inputs:
    """Open the inputs of a report; artifacts with the same id count once.

    Parameters
    ----------
    places : sequence of Path or str
        Tables of predictions, shifts, training and registration; dataset and mask stores. Local
        paths or URLs.

    Raises
    ------
    FormatError
        If something is missing, damaged, of a kind that has no figure, or fails
        :func:`check_table`.
    ArgumentError, SourceError
        If a URL cannot be read.
    """
    inputs = Inputs()
    known: set[tuple[Kind, str]] = set()
    for place in map(path_or_url, places):
        if isinstance(place, str) and is_store_at(place):
            _add_input(inputs, place, known)
            continue
        with local_file(place) as path:
            _add_input(inputs, path, known)
    return inputs


def _add_input(inputs: Inputs, path: Path | str, known: set[tuple[Kind, str]]) -> None:
    """Open an input and add it to those of its kind, unless its id is known."""
    tables = {
        Kind.PREDICTIONS: inputs.predictions,
        Kind.SHIFT: inputs.shifts,
        Kind.HISTORY: inputs.histories,
        Kind.REGISTRATION: inputs.registrations,
    }
    kind = kind_of(path)
    if kind not in (*tables, Kind.DATASET, Kind.MASKS):
        raise FormatError(
            f"{path}: of kind {kind.value}, which has no figure; give tables of 'skiptool "
            "predict', 'hellinger', 'train' and 'extract wsi', or the stores of the images and "
            "of the predicted masks"
        )
    table = open_table(path, kind) if kind in tables and isinstance(path, Path) else None
    header = lineage_of(path) if table is None else table.lineage
    if header is None or (kind, header.id) in known:
        return
    known.add((kind, header.id))
    inputs.origins.append((_input_name(path, kind), header))
    if table is not None:
        check_table(table)
        tables[kind].append(table)
    elif kind is Kind.DATASET:
        inputs.datasets.append(open_dataset(path))
    else:
        inputs.masks.append(open_masks(path))


def _input_name(path: Path | str, kind: Kind) -> str:
    """Name an input; histories, which share a file name, by run and fold."""
    if isinstance(path, Path) and kind is Kind.HISTORY and path.parent.name.startswith("fold"):
        return "/".join(path.parts[-3:])
    return last_part(path)


def check_table(table: MetricTable) -> None:
    """Check the values of a table, which another program may have written.

    Raises
    ------
    FormatError
        If a required column is empty in some row, a shift is of an unknown kind, or a distance is
        infinite.
    """
    kind = table.lineage.kind
    for name in _REQUIRED.get(kind, ()):
        if table.data.column(name).null_count:
            raise FormatError(f"{table.path}: column {name} is empty in some rows; make it again")
    for name in _SHIFT_COLUMNS.get(kind, ()):
        unknown = set(table.distinct([name])[name]) - {None, *ShiftKind}
        if unknown:
            raise FormatError(
                f"{table.path}: {name} {min(unknown)!r}, expected one of {', '.join(ShiftKind)}; "
                "make it again with this version"
            )
    if kind is Kind.SHIFT and np.isinf(table.data.column("value").to_numpy()).any():
        raise FormatError(f"{table.path}: a distance is infinite; make it again")
