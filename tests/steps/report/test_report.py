"""Tests of ``report``."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure

from skiptool.errors import ExistsError, FormatError, SourceError
from skiptool.names import PictureFormat, Precision
from skiptool.records import SILENT, Table
from skiptool.report.exhibit import Exhibit, name_exhibits
from skiptool.steps.hellinger import measure_shift
from skiptool.steps.predict.predict import predict_dataset
from skiptool.steps.report import (
    FigureFolder,
    as_columns,
    draw,
    write_report,
)
from small_models import sibling

IDS = re.compile(r'class="id">([0-9a-f]{32})<')


class Outside(HTMLParser):
    """Collects what a page would fetch from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href") and value and not value.startswith(("#", "data:")):
                self.found.append(f"{tag} {name}={value}")


def test_page_is_self_contained_and_shows_both_tables(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    out = tmp_path / "r.html"
    found = write_report([experiment.predictions, experiment.shift], out, title="Two & <three>")
    assert found.outputs == (out,)
    text = out.read_text()
    assert Outside(text).found == []
    assert "Two &amp; &lt;three&gt;" in text
    assert text.count("<svg") >= 2
    for word in ("cell IoU", "Hellinger", "L1-pruned", "14,328,354", "14,309,922"):
        assert word in text
    assert found.side_outputs == (tmp_path / "r-numbers.parquet",)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r-numbers.parquet", "r.html"]


@pytest.mark.long
def test_page_shows_names_not_folders(experiment: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    write_report([experiment.predictions, experiment.shift], out)
    text = out.read_text()
    assert str(experiment.folder) not in text
    assert str(tmp_path) not in text
    for part in (experiment.folder.name, tmp_path.name):
        assert not re.search(rf"/{part}/", text)
    assert "skiptool predict resnet18-L0/fold0 resnet18-L1/fold0" in text
    assert "--data s.zarr" in text


def test_numbers_are_returned_without_a_page(experiment: SimpleNamespace) -> None:
    found = write_report([experiment.predictions, experiment.shift])
    assert found.outputs == found.side_outputs == ()
    scores, difference, distances = found.tables
    assert list(difference.columns) == ["shift", "resnet18 L1-pruned"]
    assert list(scores.columns) == ["shift", "resnet18 baseline", "resnet18 L1-pruned"]
    assert [word.split()[0] for word in scores.columns["shift"]] == ["original", "brightness"]
    table = pq.read_table(experiment.shift).to_pylist()
    means = [row["corrected"] for row in table if row["channel"] is None]
    assert list(distances.columns["resnet18 baseline"]) == pytest.approx(means)


def test_table_given_twice_counts_once(experiment: SimpleNamespace, tmp_path: Path) -> None:
    copy = tmp_path / "copy.parquet"
    shutil.copy(experiment.predictions, copy)
    once, twice = (write_report(paths) for paths in ([copy], [copy, experiment.predictions]))
    assert once.tables == twice.tables
    write_report([copy, experiment.predictions], tmp_path / "r.html")
    assert len(IDS.findall((tmp_path / "r.html").read_text())) == 2  # the page, the table


@pytest.mark.long
def test_figures_are_files_in_all_formats(experiment: SimpleNamespace, tmp_path: Path) -> None:
    formats = (PictureFormat.PNG, PictureFormat.PDF, PictureFormat.SVG)
    tables, folder = [experiment.predictions, experiment.shift], tmp_path / "figures"
    found = write_report(tables, tmp_path / "r.html", figures=folder, formats=formats)
    numbers, *drawn = found.side_outputs
    assert numbers == tmp_path / "r-numbers.parquet"
    assert sorted(folder.iterdir()) == sorted(drawn)
    names = (
        "iou-1",
        "difference-1",
        "paired-1",
        "distance-brightness-0.5",
        "layers-brightness-0.5",
    )
    assert {path.name.rpartition(".")[0] for path in drawn} == {*names}
    assert len(drawn) == len(names) * 3
    magic = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}
    for path in drawn:
        assert path.read_bytes().startswith(magic[path.suffix])
    with pytest.raises(ExistsError, match=r"figures/.*exists already"):
        write_report(tables, figures=folder, formats=formats)
    write_report(tables[:1], figures=folder, formats=formats, overwrite=True)


@pytest.mark.long
def test_existing_figures_prevent_the_page(experiment: SimpleNamespace, tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    write_report([experiment.shift], figures=folder)
    with pytest.raises(ExistsError):
        write_report([experiment.shift], tmp_path / "r.html", figures=folder)
    assert not (tmp_path / "r.html").exists()


def test_refusals(experiment: SimpleNamespace, tmp_path: Path) -> None:
    for path in (experiment.baseline, experiment.plain):
        with pytest.raises(FormatError, match="which has no figure"):
            write_report([path])
    with pytest.raises(FormatError, match="no such"):
        write_report([tmp_path / "gone.parquet"])
    with pytest.raises(SourceError, match="does not exist"):
        write_report([experiment.shift], tmp_path / "gone" / "r.html")
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(experiment.shift.read_bytes()[:-100])
    with pytest.raises(FormatError, match="truncated"):
        write_report([cut])


def test_lineage_does_not_depend_on_paths(experiment: SimpleNamespace, tmp_path: Path) -> None:
    copy = tmp_path / "copy.parquet"
    shutil.copy(experiment.shift, copy)
    assert json.loads(pq.read_schema(copy).metadata[b"skiptool"])["kind"] == "shift"
    ids = []
    for number, path in enumerate((copy, experiment.shift)):
        write_report([path], tmp_path / f"{number}.html")
        ids.append(IDS.findall((tmp_path / f"{number}.html").read_text()))
    assert ids[0] == ids[1]
    assert len(ids[0]) == 2


@pytest.mark.long
def test_ensembles_are_drawn_separately(experiment: SimpleNamespace, tmp_path: Path) -> None:
    sibling(experiment.baseline, tmp_path / "fold1", 1)
    models = [experiment.baseline, tmp_path / "fold1"]
    tables = []
    for ensemble in (False, True):
        out = tmp_path / f"{ensemble}.parquet"
        how = {"ensemble": ensemble, "precision": Precision.FLOAT32}
        predict_dataset(models, experiment.data, out, **how)
        tables += write_report([out]).tables
    without, found = (dict(table.columns) for table in tables)
    alone = found.pop("resnet18 baseline, ensemble")
    assert found == without
    assert alone[0] is not None
    assert alone != found["resnet18 baseline"]
    write_report([tmp_path / "True.parquet"], tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "baseline, ensemble" in text
    assert "Ensemble: the mean of the class probabilities" in text
    assert "14,328,354" in text  # an ensemble does not replace the parameters of one network


def test_missing_estimates_are_not_zero(tmp_path: Path) -> None:
    """Two against four images, far apart: nothing is estimated, and the page says so."""
    rng = np.random.default_rng(3)
    for name, images, level in (("x", 2, 0), ("y", 4, 2)):
        np.save(tmp_path / f"{name}.npy", rng.normal(level, 1, (images, 8, 16)).astype("float32"))
    measure_shift(tmp_path / "x.npy", tmp_path / "y.npy", tmp_path / "s.parquet")
    with pytest.warns(UserWarning, match="No distance between feature maps could be estimated"):
        write_report([tmp_path / "s.parquet"], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "2 and 4 images are too few" in page
    rows = pq.read_table(tmp_path / "r-numbers.parquet").to_pylist()
    assert [row for row in rows if row["quantity"] == "distance" and row["value"] is not None] == []


def fake(topic: str, heading: str, **new: Any) -> Exhibit:  # noqa: ANN401
    """Return an exhibit of one number."""
    facts: dict[str, Any] = {
        "title": "A title",
        "caption": "n = 1",
        "table": Table("A title", {"value": [1.0]}),
        "numbers": [{"quantity": "IoU", "value": 1.0}],
        "draw": lambda: Figure(figsize=(1, 1)),
    }
    return Exhibit(topic=topic, heading=heading, **{**facts, **new})


A1, B1, A2 = fake("iou", "A"), fake("paired", "B"), fake("iou", "A", draw=None)


def test_every_figure_is_a_file(tmp_path: Path) -> None:
    folder = FigureFolder(tmp_path / "f", (PictureFormat.PNG, PictureFormat.SVG), overwrite=False)
    named = name_exhibits([A1, B1, A2])
    folder.make(each.anchor for each in named)
    drawn, paths = draw(named, folder, inline=True, progress=SILENT)
    assert [(each.anchor, each.figure is None) for each in drawn] == [
        ("iou-1", False),
        ("iou-2", True),
        ("paired-1", False),
    ]
    files = sorted(path.name for path in (tmp_path / "f").iterdir())
    assert files == ["iou-1.png", "iou-1.svg", "paired-1.png", "paired-1.svg"]
    assert sorted(path.name for path in paths) == files


def test_figures_are_not_inlined_without_a_page() -> None:
    (drawn,), paths = draw(name_exhibits([A1]), None, inline=False, progress=SILENT)
    assert drawn.figure is None
    assert paths == []


def test_existing_files_are_found_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "iou-2.pdf").touch()
    folder = FigureFolder(tmp_path, (PictureFormat.PDF,), overwrite=False)
    with pytest.raises(ExistsError, match=r"iou-2\.pdf: exists already"):
        folder.make(["iou-1", "iou-2"])
    FigureFolder(tmp_path, (PictureFormat.PDF,), overwrite=True).make(["iou-1", "iou-2"])


def test_missing_numbers_are_null() -> None:
    named = name_exhibits(
        [A1, fake("iou", "B", numbers=[{"quantity": "IoU", "value": float("nan")}])]
    )
    columns, rows = as_columns(named, ("figure", "title", "quantity", "value", "layer"))
    assert rows == 2
    assert columns == {
        "figure": ["iou-1", "iou-2"],
        "title": ["A title"] * 2,
        "quantity": ["IoU"] * 2,
        "value": [1.0, None],
        "layer": [None, None],
    }


def test_unknown_column_is_a_programming_error() -> None:
    with pytest.raises(KeyError, match="iou-1: numbers have a column 'colour'"):
        as_columns(
            name_exhibits([fake("iou", "A", numbers=[{"colour": 1.0}])]),
            ("figure", "title", "quantity"),
        )


def test_older_name_of_trainings_is_accepted() -> None:
    named = name_exhibits([fake("iou", "A", numbers=[{"folds": 3}])])
    columns, _ = as_columns(named, ("figure", "title", "quantity", "folds", "trainings"))
    assert (columns["folds"], columns["trainings"]) == ([3], [3])
