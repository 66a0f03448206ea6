"""SlideRunner's databases: every type, both versions, and what goes wrong with SQLite files."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from skiptool.errors import SourceError
from skiptool.sources.annotations.read import read_annotations
from skiptool.sources.annotations.shapes import DELETED, OTHER_PLANE, Shape, SlideAnnotations
from skiptool.sources.annotations.sliderunner import open_sliderunner
from slide_cases import write_sliderunner

Writer = Callable[..., Path]
Faults = Callable[[SlideAnnotations], tuple[str, int]]


def by_record(path: Path, slide: str = "a.svs") -> dict[str, Shape]:
    return {shape.record: shape for shape in read_annotations(path, slide).shapes}


def test_every_type_becomes_its_shape(sliderunner: Writer) -> None:
    path = sliderunner(
        [
            (1, 1, 1, 1, [(10, 20)]),
            (2, 1, 2, 2, [(10, 20), (50, 80)]),
            (3, 1, 3, 1, [(0, 0), (30, 0), (30, 40)]),
            (4, 1, 4, 0, [(70, 80)]),
            (5, 1, 5, 2, [(100, 100), (200, 200)]),
            (6, 1, 6, 1, [(1, 1)]),
            (7, 1, 3, 1, [(1, 1), (2, 2)]),
            (8, 1, 1, 1, []),
            (9, 1, 255, 1, [(1, 1)]),
        ]
    )
    read = read_annotations(path, "a.svs", (1000, 800))
    assert (read.format, read.size, read.in_bounds) == ("SlideRunner v0", (1000, 800), False)
    assert read.left_out == 4
    shapes = by_record(path)
    assert {key: shape.name for key, shape in shapes.items()} == {
        "1": "mitosis",
        "2": "look-alike",
        "3": "mitosis",
        "4": "",
        "5": "look-alike",
    }
    assert {key for key, shape in shapes.items() if shape.is_point} == {"1", "4"}
    assert shapes["2"].rings[0].tolist() == [[10, 20], [50, 20], [50, 80], [10, 80]]
    assert shapes["3"].area == 600
    assert shapes["5"].centre == pytest.approx((150, 150))
    assert shapes["5"].area == pytest.approx(np.pi * 50**2, rel=1e-3)


def test_deleted_rows_are_skipped(sliderunner: Writer) -> None:
    path = sliderunner([(at, 1, 1, 1, [(at, at)]) for at in range(1, 5)], deleted=[2, 3])
    assert read_annotations(path, "a.svs").format == "SlideRunner v3"
    assert sorted(by_record(path)) == ["1", "4"]


@pytest.mark.parametrize("order", [[3, 1, 2, 0], [1, 1, 1, 1], [None] * 4])
def test_vertices_are_sorted_by_order_then_uid(
    sliderunner: Writer, order: list[int | None]
) -> None:
    corners = [(0, 0), (9, 0), (9, 9), (0, 9)]
    path = sliderunner([(1, 1, 3, 1, [(*at, by) for at, by in zip(corners, order, strict=True)])])
    expected = [corners[at] for at in np.argsort([by or 0 for by in order], kind="stable")]
    assert by_record(path)["1"].rings[0].tolist() == [list(at) for at in expected]


def test_inner_areas_are_painted_over_outer_ones(sliderunner: Writer) -> None:
    small, large = [(4, 4), (6, 4), (6, 6)], [(0, 0), (99, 0), (99, 99)]
    path = sliderunner([(1, 1, 1, 1, [(5, 5)]), (2, 1, 3, 1, small), (3, 1, 3, 2, large)])
    assert [shape.record for shape in read_annotations(path, "a.svs").shapes] == ["3", "2", "1"]


def test_classes_are_identified_by_name(sliderunner: Writer) -> None:
    spots = [(1, 1, 1, 2, [(1, 1)]), (2, 1, 1, None, [(2, 2)]), (3, 1, 1, 77, [(3, 3)])]
    path = sliderunner(spots, classes=[(1, "non-mitosis"), (2, " mitosis ")])
    assert {key: shape.name for key, shape in by_record(path).items()} == {
        "1": "mitosis",
        "2": "",
        "3": "",
    }


def test_annotations_are_read_per_slide(sliderunner: Writer) -> None:
    slides = [(1, "a.svs", None, None), (2, "C:\\slides\\b.svs", 30, 20), (3, "c.svs", 0, 0)]
    path = sliderunner([(1, 2, 1, 1, [(5, 6)]), (2, 1, 1, 1, [(7, 8)])], slides=slides)
    sizes = [read_annotations(path, f"{name}.svs").size for name in "abc"]
    assert sizes == [None, (30, 20), None]
    assert read_annotations(path, "b.tif", (30, 20)).shapes[0].centre == (5, 6)
    assert read_annotations(path, "c.svs").shapes == ()


def test_any_path_opens_read_only(sliderunner: Writer, tmp_path: Path) -> None:
    path = sliderunner([(1, 1, 1, 1, [(5, 6)])], name="50% of #1? ü'.db")
    path.chmod(0o444)
    before = path.read_bytes()
    assert len(read_annotations(path, "a.svs").shapes) == 1
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_database_in_use_is_read_with_its_journal(sliderunner: Writer) -> None:
    path = sliderunner([(1, 1, 1, 1, [(5, 6)])])
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode = wal")
    writer.execute("DELETE FROM Annotations")
    writer.commit()
    assert path.with_name("a.sqlite-wal").stat().st_size > 0
    assert read_annotations(path, "a.svs").shapes == ()
    writer.close()


@pytest.mark.parametrize("bad", ["x", float("inf"), None, b"\xff"])
def test_coordinates_must_be_numbers(sliderunner: Writer, faults: Faults, bad: object) -> None:
    path = sliderunner([(1, 1, 1, 1, [(5, 6)]), (12, 1, 1, 1, [(bad, 3)])])
    line, shapes = faults(read_annotations(path, "a.svs"))
    assert line.startswith(f"{path}: annotation 12: ")
    assert shapes == 1


def test_annotations_on_other_planes_are_counted(sliderunner: Writer) -> None:
    path = sliderunner([(at, 1, 1, 1, [(5, 6)]) for at in range(1, 5)], deleted=[4])
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE Annotations_coordinates ADD coordinateZ INTEGER DEFAULT 0")
        database.execute("UPDATE Annotations_coordinates SET coordinateZ = 3 WHERE annoId = 2")
        database.execute("UPDATE Annotations_coordinates SET coordinateZ = NULL WHERE annoId = 3")
    database.close()
    read = read_annotations(path, "a.svs")
    assert [shape.record for shape in read.shapes] == ["1", "3"]
    assert read.dropped == {OTHER_PLANE: 1, DELETED: 1}


def test_annotations_of_unlisted_slides_are_counted(sliderunner: Writer) -> None:
    path = sliderunner([(1, 1, 1, 1, [(5, 6)]), (2, 9, 1, 1, [(5, 6)])])
    read = read_annotations(path, "a.svs")
    assert len(read.shapes) == 1
    assert read.notes == (f"{path}: 1 annotations are of no slide that it lists",)


def test_damaged_database_is_refused(sliderunner: Writer, written: Writer) -> None:
    whole = sliderunner([(at, 1, 1, 1, [(at, at)]) for at in range(1, 3000)]).read_bytes()
    for size in (16, 99, 3000, len(whole) // 2, len(whole) - 1):
        with pytest.raises(SourceError, match=rf"half\.db: is an incomplete .* \({size} of "):
            read_annotations(written(whole[:size], "half.db"), "a.svs")
    filled = whole[:4096] + b"\x07" * (len(whole) - 4096)
    for garbled in (filled, whole.replace(b"CREATE TABLE Slides", b"CREATE TABLX \xb6lides")):
        with pytest.raises(
            SourceError, match=r"garbled\.db: cannot be read as a SlideRunner database"
        ):
            read_annotations(written(garbled, "garbled.db"), "a.svs")


def test_other_databases_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE Slides (a)")
    database.commit()
    with pytest.raises(SourceError, match=r"is an SQLite database without table Classes; expected"):
        open_sliderunner(path)
    for table in ("Classes", "Annotations", "Annotations_coordinates"):
        database.execute(f"CREATE TABLE {table} (a)")
    database.commit()
    database.close()
    with pytest.raises(SourceError, match=r"cannot be read as .*no such column"):
        open_sliderunner(path)


@pytest.mark.parametrize(
    ("name", "version", "slides", "annotated", "kinds"),
    [
        ("HighMCAreas.sqlite", 0, 32, 32, {2: 33}),
        ("MITOS2012_test.sqlite", 0, 15, 15, {1: 101}),
        ("MITOS_WSI_CCMCT_Tumorzone.sqlite", 0, 32, 32, {1: 2, 3: 113, 4: 466}),
        ("TUPAC_Mitosis_ROI.sqlite", 0, 150, 148, {2: 444}),
        ("TUPAC_stitched.sqlite", 3, 73, 66, {1: 1552}),
        ("sliderunner_demo.sqlite", 0, 1, 1, {1: 2, 2: 1, 3: 1, 5: 1}),
        ("sliderunner_empty.sqlite", 0, 1, 0, {}),
    ],
)
def test_real_databases(
    shared_data: Path, name: str, version: int, slides: int, annotated: int, kinds: dict[int, int]
) -> None:
    path = shared_data / "annotations" / name
    database = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    types = dict(database.execute("SELECT uid, type FROM Annotations"))
    database.close()
    read = [read_annotations(path, slide.name) for slide in open_sliderunner(path).slides]
    found = [shape for one in read for shape in one.shapes]
    assert {one.format for one in read} == {f"SlideRunner v{version}"}
    assert (len(read), sum(1 for one in read if one.shapes)) == (slides, annotated)
    assert Counter(types[int(shape.record)] for shape in found) == kinds
    assert {types[int(shape.record)] for shape in found if shape.is_point} == kinds.keys() & {1, 4}


def test_real_polygons_keep_their_vertices(shared_data: Path) -> None:
    path = shared_data / "annotations" / "MITOS_WSI_CCMCT_Tumorzone.sqlite"
    areas = [
        shape
        for slide in open_sliderunner(path).slides
        for shape in read_annotations(path, slide.name).shapes
        if not shape.is_point
    ]
    assert (len(areas), sum(len(shape.rings[0]) for shape in areas)) == (113, 67_489)
    assert Counter(shape.name for shape in areas) == {
        "Tumorzone": 41,
        "Nekrosezone": 6,
        "unscharfe scan-area": 3,
        "nicht tumorgewebe excludieren": 63,
    }


def test_view_is_not_accepted_as_a_table(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    write_sliderunner(path, {"a.svs": (9, 9)})
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE Slides")
        database.execute("CREATE VIEW Slides AS SELECT 1 AS uid")
    database.close()
    with pytest.raises(SourceError, match="without table Slides"):
        open_sliderunner(path)
