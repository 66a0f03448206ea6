"""Exhibits become figures, in files and in the page, and rows of the table of numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from skiptool.figures.style import picture
from skiptool.names import Kind, PictureFormat
from skiptool.records import Progress
from skiptool.report.exhibit import known
from skiptool.report.page import Exhibit, Section, as_svg
from skiptool.stores.staging import check_free, staged

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.report.exhibit import Shown

__all__ = ["Folder", "as_columns", "draw", "with_names"]

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
