"""``skiptool report``: figures and one self-contained page from metric tables."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from skiptool.errors import FormatError
from skiptool.figures.inline import as_svg
from skiptool.figures.page import Exhibit, Origin, Section, render_page
from skiptool.figures.parameters import parameter_table
from skiptool.figures.scores import ScoreMatrix, by_domain, by_shift
from skiptool.figures.shifts import Comparison, comparisons
from skiptool.figures.style import save
from skiptool.metrics.scores import KEYS, Score, scores
from skiptool.names import Kind, PictureFormat
from skiptool.readings.distances import CHANNEL_KEYS, LAYER_COLUMNS
from skiptool.records import SILENT, Outcome, Progress, Table, family
from skiptool.stores.header import Lineage, Making, lineage
from skiptool.stores.lookup import kind_of
from skiptool.stores.staging import check_free, staged
from skiptool.stores.tables import MetricTable, open_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["write_report"]

_GATHERED = ("channel", "value")


@dataclass(frozen=True, slots=True)
class _Material:
    """What the tables hold, each table once."""

    tables: Sequence[MetricTable]
    matrices: Sequence[ScoreMatrix] = ()
    comparisons: Sequence[Comparison] = ()
    parameters: Table | None = None
    figures: list[tuple[str, Figure]] = field(default_factory=list)


def write_report(
    tables: Sequence[Path],
    out: Path | None = None,
    *,
    figures: Path | None = None,
    formats: Sequence[PictureFormat] = (PictureFormat.PDF,),
    title: str = "skiptool report",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Outcome:
    """Draw what metric tables allow: Figs. 7 to 9 and Table II of the paper.

    Parameters
    ----------
    tables : sequence of Path
        Prediction tables and shift tables, in any mixture.
    out : Path, optional
        HTML page to write; without it the outcome's tables hold the numbers.
    figures : Path, optional
        Folder for the figures as files; made if its parent exists.
    formats : sequence of PictureFormat
    title : str
    overwrite : bool
    progress : Progress

    Returns
    -------
    Outcome
        Output: the page. Side outputs: the figures. Tables: IoU and distances by layer.

    Raises
    ------
    FormatError
        If a table is missing, damaged, or of a kind that has no figure.
    ExistsError
        If an output exists.
    """
    if out is not None:
        check_free(out, overwrite=overwrite, resume=False)
    material = _read(tables)
    drawn = out is not None or figures is not None
    sections = _sections(material, progress) if drawn else []
    side = () if figures is None else _save(material, figures, formats, overwrite)
    printed = tuple(
        [matrix.table() for matrix in material.matrices]
        + [comparison.table() for comparison in material.comparisons]
    )
    if out is None:
        return Outcome((), side, tables=printed)
    making = Making("report", tuple(tables), {"title": title}, {"out": out})
    header = lineage(Kind.REPORT, making, [table.lineage.id for table in material.tables])
    origins = [_origin(out.name, header)]
    origins += [_origin(table.path.name, table.lineage) for table in material.tables]
    with staged(out, overwrite=overwrite) as partial:
        partial.write_text(render_page(title, sections, origins), encoding="utf-8")
    return Outcome((out,), side, tables=printed)


def _read(paths: Sequence[Path]) -> _Material:
    found: dict[str, MetricTable] = {}
    for path in paths:
        kind = kind_of(path)
        if kind not in (Kind.PREDICTIONS, Kind.SHIFT):
            raise FormatError(
                f"{path}: of kind {kind.value}, which has no figure; give tables of 'skiptool "
                "predict' and 'skiptool hellinger'"
            )
        table = open_table(path, kind)
        found.setdefault(table.lineage.id, table)
    tables = list(found.values())
    rated: list[Score] = []
    layers: dict[str, list[object]] = {name: [] for name in LAYER_COLUMNS}
    channels: dict[str, list[object]] = {name: [] for name in (*CHANNEL_KEYS, *_GATHERED)}
    for table in tables:
        if table.lineage.kind is Kind.PREDICTIONS:
            rated += scores(table.totals(KEYS, "pixels"))
        else:
            for name, values in table.lacking("channel").columns(LAYER_COLUMNS).items():
                layers[name] += values
            for name, values in table.gathered(CHANNEL_KEYS, _GATHERED).items():
                channels[name] += values
    matrices = [*by_shift(rated), *by_domain(rated)]
    shown = comparisons(layers, channels)
    violins = [one for one in shown if isinstance(one, Comparison)]
    return _Material(tables, matrices, violins, _parameters(tables))


def _parameters(tables: Sequence[MetricTable]) -> Table | None:
    counts: dict[tuple[str, str], int] = {}
    for table in tables:
        names = ("arch", "encoder", "pruning", "parameter_count")
        groups = table.totals(names, "pixels" if "pixels" in table.data.column_names else "bins")
        rows = zip(*(groups[name] for name in names), strict=True)
        for arch, encoder, pruning, count in rows:
            if count is not None:
                counts[family(arch, encoder), pruning] = count
    return parameter_table(counts) if counts else None


def _sections(material: _Material, progress: Progress) -> list[Section]:
    shown: list[tuple[str, str, ScoreMatrix | Comparison]] = [
        *((f"iou-{n}", one.title, one) for n, one in enumerate(material.matrices, start=1)),
        *(
            (f"distance-{n}", one.heading, one)
            for n, one in enumerate(material.comparisons, start=1)
        ),
    ]
    found: list[Section] = []
    with progress.task("figures", len(shown)) as task:
        for name, title, one in shown:
            figure = one.draw()
            material.figures.append((name, figure))
            exhibit = Exhibit(one.caption, as_svg(figure, title, one.caption), one.table())
            sentences = " ".join(one.sentences())
            found.append(Section(name, title, (sentences,) if sentences else (), (exhibit,)))
            task.advance()
    if material.parameters is not None:
        caption = (
            "Trainable parameters of each network (Table II of the paper): for each pruned level a "
            "U-net loses the skip's input channels of one convolution and nothing else."
        )
        exhibit = Exhibit(caption, table=material.parameters)
        found.append(Section("parameters", "Parameters", (), (exhibit,)))
    return found


def _save(
    material: _Material, folder: Path, formats: Sequence[PictureFormat], overwrite: bool
) -> tuple[Path, ...]:
    if not folder.is_dir():
        check_free(folder, overwrite=False, resume=False)
        folder.mkdir()
    paths = [
        (folder / f"{name}.{kind.value}", figure)
        for name, figure in material.figures
        for kind in formats
    ]
    for path, _ in paths:
        check_free(path, overwrite=overwrite, resume=False)
    for path, figure in paths:
        save(figure, path)
    return tuple(path for path, _ in paths)


def _origin(name: str, header: Lineage) -> Origin:
    command = shlex.join(map(_without_folders, shlex.split(header.command)))
    return Origin(
        name, header.kind.value, header.id, command, header.skiptool_version, header.created
    )


def _without_folders(word: str) -> str:
    """Name a path by its last part, a model by its run and fold: pages travel, folders are ours."""
    if "/" not in word:
        return word
    parts = Path(word).parts
    return "/".join(parts[-2 if parts[-1].startswith("fold") else -1 :])
