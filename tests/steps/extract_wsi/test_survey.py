"""Looking at slides: what is found, what fails in one line, names that are told apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from heard import Heard
from pyramids import write_pyramid
from skiptool.names import PatchMode
from skiptool.sources.annotations.shapes import PLANE, SLIP
from skiptool.sources.slides.manifest import SlideRow
from skiptool.sources.slides.pool import SlidePool
from skiptool.sources.slides.slide import Slide
from skiptool.steps.extract_wsi.run import Run
from skiptool.steps.extract_wsi.survey import Scan, Surveyed, survey
from slide_cases import (
    SIZE,
    in_block,
    make_run,
    write_geojson,
    write_slide,
    write_sliderunner,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Slides and annotation files by name, all in ``folder``."""
    folder = tmp_path_factory.mktemp("survey")
    (folder / "sub").mkdir()
    sizes = {"a.tiff": SIZE, "b.tiff": SIZE, "wide.tiff": (700, 480)}
    lines = [("x", [[(0, 0), (1, 1)]], "1")]
    return SimpleNamespace(
        folder=folder,
        a=write_slide(folder / "a.tiff", 1),
        same_stem=write_slide(folder / "sub" / "a.tiff", 2),
        b=write_slide(folder / "b.tiff", 3, mpp=None),
        odd=write_slide(folder / "odd.tiff", 4, mpp=1000.0),
        areas=write_geojson(folder / "areas.json"),
        none=write_geojson(folder / "none.json", []),
        lines=write_geojson(folder / "lines.json", lines),
        outside=write_geojson(folder / "out.json", [], [("m", (5000.0, 20.0), "1")]),
        points=write_sliderunner(folder / "points.sqlite", sizes),
    )


def row(path: Path, **columns: Any) -> SlideRow:  # noqa: ANN401
    return SlideRow(**({"path": path, "domain": "A", "subject": path.stem} | columns))


def look(*rows: SlideRow, **settings: Any) -> tuple[list[Surveyed], list[str], list[str]]:  # noqa: ANN401
    """Return the slides, failures and warnings."""
    run = make_run(**settings)
    with run.pool:
        slides, failures = survey(run, rows)
    assert not any("\n" in line for line in failures)
    return slides, failures, cast("Heard", run.progress).lines


def test_all_that_is_on_a_slide_is_found(made: SimpleNamespace) -> None:
    (slide,), failures, warned = look(row(made.a, annotations=made.areas), mpp=0.5)
    assert (failures, warned) == ([], [])
    assert (slide.name, slide.vendor, slide.size, slide.levels) == ("a", "generic-tiff", SIZE, 2)
    assert slide.mpp == pytest.approx((0.25, 0.25), rel=1e-4)
    assert slide.scale == pytest.approx((2.0, 2.0), rel=1e-4)
    assert slide.patch_mpp == pytest.approx((0.5, 0.5))
    assert slide.format == "QuPath GeoJSON"
    assert [(shape.name, shape.record) for shape in slide.shapes] == [
        *(("Dermis", "a1"), ("Bone", "a3"), ("SCC", "a2"))
    ]
    grid = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
    assert slide.tissue.mask.shape == (SIZE[1], SIZE[0])
    assert (slide.tissue.mask != in_block(*grid)).mean() < 0.02
    assert slide.threshold == slide.tissue.threshold


def test_what_travels_is_small(made: SimpleNamespace) -> None:
    (slide,), _, _ = look(row(made.a, annotations=made.areas))
    assert type(slide.scan) is Scan
    assert (slide.scan.key, slide.scan.scale) == (slide.key, slide.scale)
    assert not hasattr(slide.scan, "tissue")


def test_the_manifest_rules_resolution_and_level(made: SimpleNamespace) -> None:
    (slide,), _, _ = look(row(made.b, mpp=(0.25, 0.26), level=1))
    assert slide.mpp == (0.25, 0.26)
    assert slide.scale == (2.0, 2.0)
    assert slide.patch_mpp == (0.5, 0.52)


def test_annotations_of_a_database_are_those_of_the_slide(made: SimpleNamespace) -> None:
    slides, failures, _ = look(
        row(made.a, annotations=made.points),
        row(made.odd, mpp=(0.25, 0.25), annotations=made.points, annotated_as="b.tiff"),
    )
    assert failures == []
    assert [len(slide.shapes) for slide in slides] == [2, 2]
    assert slides[1].shapes[0].record.startswith("100")


def test_offsets_are_added(made: SimpleNamespace) -> None:
    rows = [row(made.a, annotations=made.areas, offset=offset) for offset in ((0, 0), (30, -12))]
    (plain,), _, _ = look(rows[0])
    (moved,), _, _ = look(rows[1])
    for before, after in zip(plain.shapes, moved.shapes, strict=True):
        for ring, shifted in zip(before.rings, after.rings, strict=True):
            assert (shifted - ring == (30, -12)).all()


@pytest.mark.parametrize(("file", "added"), [("areas", (40, 25)), ("points", (3, 4))])
def test_bounds_are_added_where_the_format_counts_from_them(
    made: SimpleNamespace, file: str, added: tuple[int, int]
) -> None:
    """A stand-in, since no slide that a test can write has bounds."""

    class Bounded(SlidePool):
        @contextmanager
        def get(self, path: Path, mpp: Any = (None, None)) -> Iterator[Slide]:  # noqa: ANN401
            with super().get(path, mpp) as slide:
                slide.bounds_offset = (37, 21)
                yield slide

    one = row(made.a, annotations=getattr(made, file), offset=(3, 4))
    run = make_run()
    bounded = Run(run.settings, 0, Bounded(), run.mapper, run.progress)
    (slide,), _ = survey(bounded, [one])
    (plain,), _, _ = look(row(made.a, annotations=getattr(made, file)))
    for before, after in zip(plain.shapes, slide.shapes, strict=True):
        assert (after.rings[0] - before.rings[0] == added).all()


def test_each_fault_is_a_line_and_the_others_stay(made: SimpleNamespace) -> None:
    cut, text = made.folder / "cut.tiff", made.folder / "text.svs"
    whole = made.a.read_bytes()
    cut.write_bytes(whole[: len(whole) // 3])
    text.write_text("no slide")
    broken = made.folder / "broken.json"
    broken.write_text('{"type": "Feature')
    empty = made.folder / "empty.json"
    empty.write_text("")
    other = row(made.same_stem, annotations=made.points, annotated_as="wide.tiff")
    rows = {
        "gone.tiff: no such slide": row(made.folder / "gone.tiff"),
        "cut.tiff": row(cut),
        "text.svs": row(text),
        "b.tiff: no usable pixel size": row(made.b),
        "odd.tiff: no usable pixel size": row(made.odd),
        "a.tiff: the manifest's column mpp says 1000": row(made.a, mpp=(1000.0, 1000.0)),
        "broken.json: is no whole JSON": row(made.a, annotations=broken),
        "empty.json: is empty": row(made.a, annotations=empty),
        "nowhere.json: cannot be read": row(made.a, annotations=made.folder / "nowhere.json"),
        "out.json: 1 of 1 annotations lie outside of": row(made.a, annotations=made.outside),
        "points.sqlite": other,
        "a.tiff: column label_map": row(made.a, label_map="t=SCC;u=SCC"),
    }
    slides, failures, _ = look(row(made.a), *rows.values(), row(made.same_stem), mpp=0.5)
    assert [slide.row.path for slide in slides] == [made.a, made.same_stem]
    assert len(failures) == len(rows)
    for line, words in zip(failures, rows, strict=True):
        assert words in line
    assert "column mpp" in failures[3]
    assert "700" in failures[10]
    _, (line,), _ = look(row(made.a, level=5))
    assert "a.tiff: has no level 5" in line


def test_an_unknown_size_of_pixels_is_told_and_no_fault(made: SimpleNamespace) -> None:
    slides, failures, (line,) = look(row(made.a), row(made.b), row(made.odd, level=1))
    assert failures == []
    assert [slide.mpp is None for slide in slides] == [False, True, True]
    assert [slide.patch_mpp is None for slide in slides] == [False, True, True]
    assert [slide.scale for slide in slides] == [(1.0, 1.0), (1.0, 1.0), (2.0, 2.0)]
    assert line.startswith("no plausible size of pixels (0.05 to 20 um): b.tiff, odd.tiff;")
    # A scan to be registered may get it from its reference; that needs one of its own.
    rows = [row(made.a, subject="s"), row(made.b, subject="s", domain="B")]
    assert look(*rows, register="A", mpp=0.5)[1] == []
    assert len(look(*rows, register="B", mpp=0.5)[1]) == 1


def test_records_that_cannot_be_read_cost_themselves(made: SimpleNamespace) -> None:
    content = json.loads(made.areas.read_text())
    content["features"][1]["geometry"] = {"type": "Circle"}
    content["features"][2]["geometry"] = 7
    odd = made.folder / "odd.geojson"
    odd.write_text(json.dumps(content))
    (slide,), (line,), _ = look(row(made.a, annotations=odd))
    assert len(slide.shapes) == 1
    assert line.startswith(f"{odd}: 2 annotations of a.tiff cannot be read and are left out, the")
    assert "feature a2: its geometry is of type Circle" in line


def test_what_is_left_out_is_told_in_a_line_a_kind(made: SimpleNamespace) -> None:
    line = {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}
    above = {"type": "Point", "coordinates": [9, 9], "plane": {"z": 2}}
    paths = []
    for name, geometries in (("x", [line, above, above]), ("y", [line])):
        features = [{"type": "Feature", "geometry": each} for each in geometries]
        paths.append(made.folder / f"{name}.geojson")
        paths[-1].write_text(json.dumps(features))
    _, failures, warned = look(
        row(made.a, annotations=paths[0]), row(made.same_stem, annotations=paths[1])
    )
    assert failures == []
    assert [each for each in warned if "left out" in each] == [
        f"left out of the annotations: 2 lines ({paths[0]} and 1 more files)",
        f"left out of the annotations: 2 {PLANE} ({paths[0]})",
    ]


def test_points_among_areas_are_told_where_masks_do_not_show_them(made: SimpleNamespace) -> None:
    path = write_geojson(made.folder / "both.json", points=[("m", (50.0, 20.0), "9")])
    (slide,), failures, warned = look(row(made.a, annotations=path))
    (line,) = warned
    assert failures == []
    assert line.startswith(f"1 of {len(slide.shapes)} annotations are points, which have no area")
    assert look(row(made.a, annotations=path), mode=PatchMode.CENTRED)[2] == []


def test_what_is_taken_for_granted_of_tissue_is_told(made: SimpleNamespace) -> None:
    black, full = np.full((400, 500, 3), 240, np.uint8), np.zeros((400, 500, 3), np.uint8)
    rng = np.random.default_rng(0)
    full[:] = np.clip(rng.normal((200, 140, 180), 20, full.shape), 0, 255)
    black[100:200, 100:200] = full[:100, :100]
    black[:, 300:] = 3
    for name, image in (("black", black), ("full", full)):
        write_pyramid(made.folder / f"{name}.tiff", image, mpp=0.25)
    rows = [row(made.folder / f"{name}.tiff") for name in ("black", "full")]
    slides, _, warned = look(row(made.a), *rows)
    assert [slide.tissue.has_glass for slide in slides] == [True, True, False]
    assert slides[1].scan.black >= 3
    assert warned == [
        "no glass is seen, all is taken for tissue: full.tiff",
        "black, so taken for not scanned and no tissue: 39% of black.tiff",
    ]
    assert look(*rows, mode=PatchMode.CENTRED)[2] == []


def test_an_annotation_file_of_lines_or_of_nothing_is_no_fault(made: SimpleNamespace) -> None:
    (lines, none), failures, warned = look(
        row(made.a, annotations=made.lines), row(made.same_stem, annotations=made.none)
    )
    assert failures == []
    assert (lines.shapes, none.shapes) == ((), ())
    assert (lines.dropped, none.dropped) == ({SLIP: 1}, {})
    assert sum("has no annotation of" in line for line in warned) == 2


def test_two_slides_of_one_stem_are_told_apart(made: SimpleNamespace) -> None:
    slides, failures, warned = look(row(made.a), row(made.same_stem))
    assert failures == []
    assert [slide.name for slide in slides] == [f"a-{slide.key[:6]}" for slide in slides]
    assert len(warned) == 2
    assert all("several slides named a" in line for line in warned)
    # In two domains it is one glass slide.
    slides, _, warned = look(row(made.a), row(made.same_stem, domain="B"))
    assert [slide.name for slide in slides] == ["a", "a"]
    assert warned == []


def test_a_file_listed_twice_is_taken_once(made: SimpleNamespace) -> None:
    copy = made.folder / "copy.tiff"
    copy.write_bytes(made.a.read_bytes())
    slides, (line,), _ = look(row(made.a), row(copy))
    assert [slide.row.path for slide in slides] == [made.a]
    assert line.startswith(f"{copy}: is the same file as {made.a}")


def test_slides_of_one_subject_are_named_by_it_and_the_column_slide(made: SimpleNamespace) -> None:
    rows = [row(made.a, subject="s", slide="1"), row(made.same_stem, subject="t", slide="1")]
    for settings in ({}, {"register": "A"}):
        slides, failures, warned = look(*rows, **settings)
        assert (failures, warned) == ([], [])
        assert [slide.name for slide in slides] == ["s-1", "t-1"]


def test_scans_are_named_by_slide_or_subject_where_they_are_registered(
    made: SimpleNamespace,
) -> None:
    rows = [
        row(made.a, subject="s", annotations=made.areas),
        row(made.same_stem, subject="s", domain="B", annotations=made.folder / "no.json"),
        row(made.odd, subject="t", slide="block 2", mpp=(0.25, 0.25)),
    ]
    slides, failures, _ = look(*rows, register="A")
    assert [slide.name for slide in slides] == ["s", "s", "t-block 2"]
    # What is carried over is not read.
    assert failures == []
    assert [len(slide.shapes) for slide in slides] == [3, 0, 0]
