from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from skiptool.errors import ExistsError
from skiptool.names import PictureFormat
from skiptool.records import SILENT, Table
from skiptool.report.exhibit import Number
from skiptool.steps.report.drawing import Folder, as_columns, draw, with_names


@dataclass(frozen=True)
class Fake:
    """An exhibit of one number."""

    topic: str
    heading: str
    value: float = 1.0
    column: str = "value"
    drawn: bool = True
    title: str = "A title"
    caption: str = "n = 1"

    def draw(self) -> Figure | None:
        return Figure(figsize=(1, 1)) if self.drawn else None

    def table(self) -> Table:
        return Table(self.title, {"value": [self.value]})

    def numbers(self) -> list[Number]:
        return [{"quantity": "IoU", self.column: self.value}]

    def sentences(self) -> tuple[str, ...]:
        return ("It is one.",)


A1, B1, A2 = Fake("iou", "A"), Fake("paired", "B"), Fake("iou", "A", drawn=False)


def test_headings_come_together_and_topics_are_counted() -> None:
    named = with_names([A1, B1, A2])
    assert [(name, each.heading) for name, each in named] == [
        *(("iou-1", "A"), ("iou-2", "A"), ("paired-1", "B")),
    ]


@dataclass(frozen=True)
class Parted(Fake):
    part: str = ""


def test_parts_name_what_is_drawn() -> None:
    parts = ("brightness 0.5", "Brightness 0.5", "contrast", "contrast 2", "contrast", "é/..", "")
    named = with_names([Parted("layers", "A", part=part) for part in parts])
    assert [name for name, _ in named] == [
        *("layers-brightness-0.5", "layers-brightness-0.5-2", "layers-contrast"),
        *("layers-contrast-2", "layers-contrast-3", "layers-1", "layers-2"),
    ]


def test_a_section_for_each_heading_and_a_file_for_each_figure(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "f", (PictureFormat.PNG, PictureFormat.SVG), overwrite=False)
    named = with_names([A1, B1, A2])
    folder.make(name for name, _ in named)
    sections, paths = draw(named, folder, inline=True, progress=SILENT)
    assert [(part.anchor, part.title) for part in sections] == [
        *(("about-iou-1", "A"), ("about-paired-1", "B")),
    ]
    first, second = sections[0].exhibits
    assert (first.anchor, first.figure is None) == ("iou-1", False)
    assert (second.anchor, second.figure is None) == ("iou-2", True)
    assert first.sentences == ("It is one.",)
    files = sorted(path.name for path in (tmp_path / "f").iterdir())
    assert files == ["iou-1.png", "iou-1.svg", "paired-1.png", "paired-1.svg"]
    assert sorted(path.name for path in paths) == files


def test_no_picture_in_the_page_where_none_is_asked_for() -> None:
    sections, paths = draw(with_names([A1]), None, inline=False, progress=SILENT)
    assert sections[0].exhibits[0].figure is None
    assert paths == []


def test_a_file_that_is_there_is_found_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "iou-2.pdf").touch()
    folder = Folder(tmp_path, (PictureFormat.PDF,), overwrite=False)
    with pytest.raises(ExistsError, match=r"iou-2\.pdf: exists already"):
        folder.make(["iou-1", "iou-2"])
    Folder(tmp_path, (PictureFormat.PDF,), overwrite=True).make(["iou-1", "iou-2"])


def test_numbers_become_columns_and_what_is_not_there_is_null() -> None:
    named = with_names([A1, Fake("iou", "B", float("nan"))])
    columns, rows = as_columns(named, ("figure", "title", "quantity", "value", "layer"))
    assert rows == 2
    assert columns == {
        "figure": ["iou-1", "iou-2"],
        "title": ["A title"] * 2,
        "quantity": ["IoU"] * 2,
        "value": [1.0, None],
        "layer": [None, None],
    }


def test_an_unknown_column_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError, match="iou-1: numbers have a column 'colour'"):
        as_columns(with_names([Fake("iou", "A", column="colour")]), ("figure", "title", "quantity"))


def test_trainings_are_counted_under_their_older_name_too() -> None:
    named = with_names([Fake("iou", "A", column="folds", value=3)])
    columns, _ = as_columns(named, ("figure", "title", "quantity", "folds", "trainings"))
    assert (columns["folds"], columns["trainings"]) == ([3], [3])
