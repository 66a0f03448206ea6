"""Survey of slides: facts, failures, names, splits, labels, groups of scans."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from heard import Heard
from pyramids import write_pyramid
from skiptool.errors import ArgumentError, SourceError
from skiptool.names import IGNORE_LABEL, PatchMode, Split
from skiptool.records import SILENT, Progress
from skiptool.sources.annotations.shapes import OTHER_PLANE, TOO_FEW_VERTICES
from skiptool.sources.slides.manifest import SlideRow
from skiptool.sources.slides.pool import SlidePool
from skiptool.sources.slides.slide import Slide
from skiptool.splits import SplitOptions, split_of
from skiptool.steps.extract_wsi.settings import ExtractionContext, PatchSettings
from skiptool.steps.extract_wsi.survey import (
    ScanGroup,
    SlideScan,
    SurveyedSlide,
    assign_labels,
    assign_slides,
    group_scans,
    survey_slides,
)
from slide_cases import (
    SIZE,
    area,
    in_block,
    make_run,
    point,
    surveyed,
    write_geojson,
    write_slide,
    write_sliderunner,
)
from small_stores import refused


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


def look(*rows: SlideRow, **settings: Any) -> tuple[list[SurveyedSlide], list[str], list[str]]:  # noqa: ANN401
    """Return the slides, failures and warnings."""
    run = make_run(**settings)
    with run.pool:
        slides, failures = survey_slides(run, rows)
    assert not any("\n" in line for line in failures)
    return slides, failures, cast("Heard", run.progress).lines


def test_slide_facts_annotations_and_tissue_are_found(made: SimpleNamespace) -> None:
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


def test_scan_has_only_what_readers_need(made: SimpleNamespace) -> None:
    (slide,), _, _ = look(row(made.a, annotations=made.areas))
    assert type(slide.scan) is SlideScan
    assert (slide.scan.key, slide.scan.scale) == (slide.key, slide.scale)
    assert not hasattr(slide.scan, "tissue")


def test_manifest_sets_resolution_and_level(made: SimpleNamespace) -> None:
    (slide,), _, _ = look(row(made.b, mpp=(0.25, 0.26), level=1))
    assert slide.mpp == (0.25, 0.26)
    assert slide.scale == (2.0, 2.0)
    assert slide.patch_mpp == (0.5, 0.52)


def test_annotations_of_a_database_are_selected_by_slide(made: SimpleNamespace) -> None:
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
def test_bounds_are_added_for_formats_relative_to_them(
    made: SimpleNamespace, file: str, added: tuple[int, int]
) -> None:
    """Uses a stand-in, as tests cannot write slides with bounds."""

    class Bounded(SlidePool):
        @contextmanager
        def get(self, path: Path, mpp: Any = (None, None)) -> Iterator[Slide]:  # noqa: ANN401
            with super().get(path, mpp) as slide:
                slide.bounds_offset = (37, 21)
                yield slide

    one = row(made.a, annotations=getattr(made, file), offset=(3, 4))
    run = make_run()
    bounded = ExtractionContext(run.settings, 0, Bounded(), run.mapper, run.progress)
    (slide,), _ = survey_slides(bounded, [one])
    (plain,), _, _ = look(row(made.a, annotations=getattr(made, file)))
    for before, after in zip(plain.shapes, slide.shapes, strict=True):
        assert (after.rings[0] - before.rings[0] == added).all()


def test_every_failure_is_one_line_and_the_others_are_kept(made: SimpleNamespace) -> None:
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
        "broken.json: is not valid JSON": row(made.a, annotations=broken),
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


def test_unknown_pixel_size_gives_a_warning(made: SimpleNamespace) -> None:
    slides, failures, (line,) = look(row(made.a), row(made.b), row(made.odd, level=1))
    assert failures == []
    assert [slide.mpp is None for slide in slides] == [False, True, True]
    assert [slide.patch_mpp is None for slide in slides] == [False, True, True]
    assert [slide.scale for slide in slides] == [(1.0, 1.0), (1.0, 1.0), (2.0, 2.0)]
    assert line.startswith("no plausible pixel size (0.05 to 20 um): b.tiff, odd.tiff;")
    # A scan to be registered may get its pixel size from the reference, which must have one.
    rows = [row(made.a, subject="s"), row(made.b, subject="s", domain="B")]
    assert look(*rows, register="A", mpp=0.5)[1] == []
    assert len(look(*rows, register="B", mpp=0.5)[1]) == 1


def test_unreadable_records_are_left_out(made: SimpleNamespace) -> None:
    content = json.loads(made.areas.read_text())
    content["features"][1]["geometry"] = {"type": "Circle"}
    content["features"][2]["geometry"] = 7
    odd = made.folder / "odd.geojson"
    odd.write_text(json.dumps(content))
    (slide,), (line,), _ = look(row(made.a, annotations=odd))
    assert len(slide.shapes) == 1
    assert line.startswith(f"{odd}: 2 annotations of a.tiff cannot be read and are left out, the")
    assert "feature a2: its geometry has type Circle" in line


def test_dropped_annotations_give_one_warning_per_kind(made: SimpleNamespace) -> None:
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
        f"left out of the annotations: 2 {OTHER_PLANE} ({paths[0]})",
    ]


def test_points_among_areas_give_a_warning(made: SimpleNamespace) -> None:
    path = write_geojson(made.folder / "both.json", points=[("m", (50.0, 20.0), "9")])
    (slide,), failures, warned = look(row(made.a, annotations=path))
    (line,) = warned
    assert failures == []
    assert line.startswith(f"1 of {len(slide.shapes)} annotations are points, which have no area")
    assert look(row(made.a, annotations=path), mode=PatchMode.CENTRED)[2] == []


def test_assumptions_about_tissue_give_warnings(made: SimpleNamespace) -> None:
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
        "no glass is visible, so everything is taken for tissue: full.tiff",
        "black and therefore taken for unscanned: 39% of black.tiff",
    ]
    assert look(*rows, mode=PatchMode.CENTRED)[2] == []


def test_annotation_file_without_areas_gives_a_warning(made: SimpleNamespace) -> None:
    (lines, none), failures, warned = look(
        row(made.a, annotations=made.lines), row(made.same_stem, annotations=made.none)
    )
    assert failures == []
    assert (lines.shapes, none.shapes) == ((), ())
    assert (lines.dropped, none.dropped) == ({TOO_FEW_VERTICES: 1}, {})
    assert sum("has no annotation of" in line for line in warned) == 2


def test_slides_with_equal_stems_are_renamed(made: SimpleNamespace) -> None:
    slides, failures, warned = look(row(made.a), row(made.same_stem))
    assert failures == []
    assert [slide.name for slide in slides] == [f"a-{slide.key[:6]}" for slide in slides]
    assert len(warned) == 2
    assert all("several slides named a" in line for line in warned)
    # In two domains they are one glass slide.
    slides, _, warned = look(row(made.a), row(made.same_stem, domain="B"))
    assert [slide.name for slide in slides] == ["a", "a"]
    assert warned == []


def test_file_listed_twice_fails(made: SimpleNamespace) -> None:
    copy = made.folder / "copy.tiff"
    copy.write_bytes(made.a.read_bytes())
    slides, (line,), _ = look(row(made.a), row(copy))
    assert [slide.row.path for slide in slides] == [made.a]
    assert line.startswith(f"{copy}: is the same file as {made.a}")


def test_slides_are_named_by_subject_and_column_slide(made: SimpleNamespace) -> None:
    rows = [row(made.a, subject="s", slide="1"), row(made.same_stem, subject="t", slide="1")]
    for settings in ({}, {"register": "A"}):
        slides, failures, warned = look(*rows, **settings)
        assert (failures, warned) == ([], [])
        assert [slide.name for slide in slides] == ["s-1", "t-1"]


def test_registered_scans_are_named_by_slide_or_subject(
    made: SimpleNamespace,
) -> None:
    rows = [
        row(made.a, subject="s", annotations=made.areas),
        row(made.same_stem, subject="s", domain="B", annotations=made.folder / "no.json"),
        row(made.odd, subject="t", slide="block 2", mpp=(0.25, 0.25)),
    ]
    slides, failures, _ = look(*rows, register="A")
    assert [slide.name for slide in slides] == ["s", "s", "t-block 2"]
    # Annotations of scans to be registered are not read.
    assert failures == []
    assert [len(slide.shapes) for slide in slides] == [3, 0, 0]


# -------------------------------------------------------------------------------------------------
# Splits and folds: as listed in the manifest, or by subject over all domains.


TRAIN, TEST = Split.TRAIN, Split.TEST


def scans(subjects: int, domains: str = "AB", **row: Any) -> list[SurveyedSlide]:  # noqa: ANN401
    """Return scans of every subject in every domain, annotated more from one to the next."""
    return [
        surveyed(
            f"{domain}{number}",
            [area("tumor", (100, 100, 120 + 10 * number, 200))],
            **({"domain": domain, "subject": f"s{number}"} | row),
        )
        for domain in domains
        for number in range(subjects)
    ]


def assign(
    slides: Sequence[SurveyedSlide],
    fraction: float,
    folds: int,
    seed: int,
    progress: Progress,
    train_domain: str | None = None,
) -> list[tuple[Split, int]]:
    """Return split and fold of each slide."""
    options = SplitOptions(fraction, folds, seed, train_domain)
    return [(split_of(fold), fold) for fold in assign_slides(slides, options, progress)]


def test_subjects_keep_split_and_fold_in_all_domains() -> None:
    slides = scans(10)
    found = assign(slides, 0.2, 4, 0, SILENT)
    sides: dict[str, set[tuple[Split, int]]] = {}
    for slide, side in zip(slides, found, strict=True):
        sides.setdefault(slide.row.subject, set()).add(side)
    assert all(len(side) == 1 for side in sides.values())
    numbers = [fold for side in sides.values() for _, fold in side]
    assert sorted(set(numbers)) == [-1, 0, 1, 2, 3]
    assert numbers.count(-1) == 2
    assert all((fold == -1) == (side is TEST) for side, fold in found)


def test_split_depends_on_the_seed_but_not_on_the_order() -> None:
    slides = scans(12, "A")

    def by_name(seed: int, order: list[SurveyedSlide]) -> dict[str, tuple[Split, int]]:
        found = assign(order, 0.25, 3, seed, SILENT)
        return {slide.name: side for slide, side in zip(order, found, strict=True)}

    assert by_name(0, slides) == by_name(0, slides[::-1])
    assert any(by_name(0, slides) != by_name(seed, slides) for seed in range(1, 5))


def test_column_split_is_used() -> None:
    slides = [
        *scans(4, "A", split=TRAIN),
        surveyed("t", domain="A", subject="t", split=TEST),
        surveyed("u", domain="B", subject="t", split=TEST),
    ]
    heard = Heard()
    found = assign(slides, 0.5, 2, 0, heard)
    assert [side for side, _ in found] == [TRAIN] * 4 + [TEST] * 2
    assert sorted(fold for _, fold in found) == [-1, -1, 0, 0, 1, 1]
    assert heard.lines == []


def test_subject_in_both_splits_is_refused() -> None:
    slides = [
        surveyed("a", subject="s", split=TRAIN),
        surveyed("b", subject="s", split=TEST, domain="B"),
    ]
    with refused(SourceError, "b.svs: split is test", "but train for", "subject s", "one side"):
        assign(slides, 0.2, 2, 0, SILENT)


@pytest.mark.parametrize("same", [True, False])
def test_partly_filled_column_is_refused(same: bool) -> None:
    slides = [
        surveyed("a", subject="s", split=TRAIN),
        surveyed("b", subject="s" if same else "t"),
    ]
    with refused(SourceError, "b.svs: split is empty"):
        assign(slides, 0.2, 2, 0, SILENT)


def test_single_subject_is_for_testing() -> None:
    heard = Heard()
    assert assign(scans(1), 0.2, 5, 0, heard) == [(TEST, -1)] * 2
    (line,) = heard.lines
    assert "single subject" in line
    assert "training needs at least two subjects" in line


@pytest.mark.parametrize("folds", [1, 5])
def test_single_training_subject_gives_a_warning(folds: int) -> None:
    heard = Heard()
    assert assign(scans(1), 0.0, folds, 0, heard) == [(TRAIN, 0)] * 2
    slides = [*scans(1, split=TRAIN), surveyed("t", subject="t", split=TEST)]
    assert assign(slides, 0.2, folds, 0, heard) == [(TRAIN, 0)] * 2 + [(TEST, -1)]
    assert len(heard.lines) == 2
    for line in heard.lines:
        assert line.startswith("one training subject (s0) cannot be trained on")


def test_folds_are_limited_to_the_number_of_subjects() -> None:
    heard = Heard()
    found = assign(scans(3, "A"), 0.0, 5, 0, heard)
    assert sorted(found) == [(TRAIN, 0), (TRAIN, 1), (TRAIN, 2)]
    (line,) = heard.lines
    assert "--folds 5" in line
    assert "3 folds are made" in line


@pytest.mark.parametrize(("fraction", "folds"), [(1.0, 5), (-0.1, 5), (float("nan"), 5), (0.2, 0)])
def test_options_out_of_range_are_refused(fraction: float, folds: int) -> None:
    with refused(ArgumentError):
        assign(scans(5, "A"), fraction, folds, 0, SILENT)


def test_train_domain_tests_all_other_domains() -> None:
    slides = [*scans(10, "A"), *scans(4, "B", subject="b"), *scans(2, "A", subject="s3")]
    heard = Heard()
    found = assign(slides, 0.2, 4, 0, heard, "A")
    assert [side for side, _ in found[:10]].count(TEST) == 2
    assert found[10:14] == [(TEST, -1)] * 4
    assert found[14:] == [found[3]] * 2
    assert heard.lines == []
    with refused(ArgumentError, "--train-domain: the source lists"):
        assign([*scans(1, "A", split=TRAIN), *scans(1, "B", split=TRAIN)], 0.2, 1, 0, heard, "A")
    with refused(ArgumentError, "--train-domain C: expected one of A, B"):
        assign(slides, 0.2, 4, 0, heard, "C")
    paired = assign(scans(5), 0.2, 4, 0, heard, "B")
    assert paired[:5] == paired[5:]
    (line,) = heard.lines
    assert line.startswith("--train-domain B: 4 inputs of domain A are of training subjects")


def test_similar_subject_names_give_a_warning() -> None:
    heard = Heard()
    assign([*scans(1, "A", subject="p1"), *scans(1, "B", subject="P1")], 0.5, 1, 0, heard)
    assert any("are spelled almost alike" in line for line in heard.lines)


# -------------------------------------------------------------------------------------------------
# Labels of annotations; names in no class or on no slide.


BOX = (0.0, 0.0, 9.0, 9.0)
SHAPES = [area(name, BOX) for name in ("SCC", "Dermis", "Bone", "scc ")]
PAPER = PatchSettings(classes="tumor=SCC,Melanoma;non-tumor=Dermis")


def test_class_map_gives_labels_and_reports_other_names() -> None:
    heard, slide = Heard(), surveyed(shapes=SHAPES)
    found, (unsorted,) = assign_labels([slide], PAPER, heard)
    assert found.classes == ("background", "tumor", "non-tumor")
    assert [found.label(slide, shape) for shape in slide.shapes] == [1, 2, None, 1]
    assert [found.name(label) for label in (0, 2, None, IGNORE_LABEL)] == [
        *("background", "non-tumor", "in no class", "ignored")
    ]
    assert unsorted == (
        "--classes: annotations in no class are ignored (255): Bone (1); sort them into a class, "
        "or say that they may be ignored: 'ignore=Bone'"
    )
    (nowhere,) = heard.lines
    assert "no slide has annotations named 'Melanoma'" in nowhere


def test_names_in_no_class_are_listed_by_frequency() -> None:
    more = [*SHAPES, area("Fat", BOX), area("Fat", BOX)]
    _, (line,) = assign_labels([surveyed(shapes=more)], PAPER, Heard())
    assert "Fat (2), Bone (1); sort them" in line
    assert line.endswith("'ignore=Fat'")


def test_centred_patches_leave_out_names_in_no_class() -> None:
    heard = Heard()
    settings = PatchSettings(mode=PatchMode.CENTRED, classes="cell=SCC,Dermis")
    shapes = [*SHAPES, point("", 1, 1)]
    _, (line,) = assign_labels([surveyed(shapes=shapes)], settings, heard)
    assert "annotations in no class are left out: Bone (1);" in line
    assert heard.lines == ["1 annotations have no class in their file and are left out"]


@pytest.mark.parametrize(
    "classes", ["tumor=SCC;ignore=Bone,Dermis", "Ignore=bone,dermis;tumor=SCC"]
)
def test_ignored_names_are_neither_class_nor_failure(classes: str) -> None:
    heard, slide = Heard(), surveyed(shapes=SHAPES)
    found, failures = assign_labels([slide], PatchSettings(classes=classes), heard)
    assert (failures, heard.lines) == ([], [])
    assert found.classes == ("background", "tumor")
    assert [found.label(slide, shape) for shape in slide.shapes] == [
        1,
        IGNORE_LABEL,
        IGNORE_LABEL,
        1,
    ]


STARRED = [area(name, BOX) for name in ("Ignore*", "Artefact*", "Tumor: Fold *", "SCC", "Ignore*")]
TOLD = "Ignore* (2), Artefact* (1), Tumor: Fold * (1)"


@pytest.mark.parametrize("classes", ["", "tumor=SCC"])
@pytest.mark.parametrize("mode", [PatchMode.GRID, PatchMode.CENTRED])
def test_names_with_a_star_are_ignored_and_counted(classes: str, mode: PatchMode) -> None:
    heard, slide = Heard(), surveyed(shapes=STARRED)
    found, failures = assign_labels([slide], PatchSettings(classes=classes, mode=mode), heard)
    assert failures == []
    assert len(found.classes) == 2
    labels = [found.label(slide, shape) for shape in slide.shapes]
    assert labels == [IGNORE_LABEL, IGNORE_LABEL, IGNORE_LABEL, 1, IGNORE_LABEL]
    fate = "left out" if mode is PatchMode.CENTRED else "ignored (255)"
    assert heard.lines == [
        f"annotations whose names say that they are to be ignored are {fate}: {TOLD}"
    ]


def test_names_with_a_star_can_be_classes() -> None:
    heard, slide = Heard(), surveyed(shapes=STARRED)
    classes = "tumor=SCC;fold=tumor: fold*;ignore=ignore*"
    found, _ = assign_labels([slide], PatchSettings(classes=classes), heard)
    labels = [found.label(slide, shape) for shape in slide.shapes]
    assert labels == [IGNORE_LABEL, IGNORE_LABEL, 2, 1, IGNORE_LABEL]
    assert heard.lines == [
        "annotations whose names say that they are to be ignored are ignored (255): Artefact* (1)"
    ]


def test_names_that_mean_ignored_are_counted() -> None:
    heard, slide = Heard(), surveyed(shapes=[area("ignore", BOX), area("SCC", BOX)])
    found, _ = assign_labels([slide], PatchSettings(), heard)
    assert [found.label(slide, shape) for shape in slide.shapes] == [IGNORE_LABEL, 1]
    assert "ignore (1)" in heard.lines[0]


def test_similar_name_is_suggested() -> None:
    heard = Heard()
    assign_labels(
        [surveyed(shapes=[area("Melanoma", BOX)])], PatchSettings(classes="t=Melanom"), heard
    )
    assert any("'Melanom'" in line and "did you mean Melanoma" in line for line in heard.lines)


def test_each_name_is_a_class_without_a_class_map() -> None:
    heard, slides = Heard(), [surveyed(shapes=SHAPES[:2]), surveyed("b", SHAPES[2:])]
    found, failures = assign_labels(slides, PatchSettings(), heard)
    assert found.classes == ("background", "Bone", "Dermis", "SCC")
    assert [found.label(slides[1], shape) for shape in slides[1].shapes] == [1, 3]
    assert (failures, heard.lines) == ([], [])


def test_only_background_without_annotations() -> None:
    found, failures = assign_labels([surveyed()], PatchSettings(), Heard())
    assert (found.classes, failures) == (("background",), [])


def test_slide_may_have_its_own_class_map() -> None:
    slides = [
        surveyed("a", SHAPES, key="a" * 32),
        surveyed("b", SHAPES, key="b" * 32, label_map="non-tumor=SCC;tumor=Bone"),
    ]
    found, (line,) = assign_labels(slides, PAPER, Heard())
    labels = [[found.label(slide, shape) for shape in slide.shapes] for slide in slides]
    assert labels == [[1, 2, None, 1], [2, None, 1, 2]]
    assert "Bone (1), Dermis (1)" in line


def test_file_in_two_domains_may_have_two_class_maps() -> None:
    slides = [
        surveyed("a", SHAPES, label_map="tumor=SCC;ignore=Bone,Dermis"),
        surveyed("a", SHAPES, domain="B", label_map="non-tumor=SCC,Dermis,Bone"),
        surveyed("a", SHAPES, domain="C"),
    ]
    found, _ = assign_labels(slides, PAPER, Heard())
    labels = [[found.label(slide, shape) for shape in SHAPES] for slide in slides]
    assert labels == [[1, IGNORE_LABEL, IGNORE_LABEL, 1], [2, 2, 2, 2], [1, 2, None, 1]]


def test_class_maps_of_slides_add_classes() -> None:
    slides = [
        surveyed("a", SHAPES[:1], key="a" * 32),
        surveyed("b", SHAPES[1:2], key="b" * 32, label_map="stroma=Dermis"),
    ]
    found, _ = assign_labels(slides, PatchSettings(), Heard())
    assert found.label(slides[1], SHAPES[1]) == found.classes.index("stroma")
    assert found.label(slides[0], SHAPES[0]) == found.classes.index("SCC")
    assert "Dermis" not in found.classes


def test_class_only_in_label_map_is_refused() -> None:
    slide = surveyed("b", SHAPES, label_map="tumour=SCC")
    with refused(SourceError, "b.svs: label_map names class tumour", "background, tumor"):
        assign_labels([slide], PAPER, Heard())


def test_malformed_label_map_is_refused() -> None:
    with refused(ArgumentError, "'SCC' occurs twice"):
        assign_labels([surveyed("b", SHAPES, label_map="t=SCC;u=SCC")], PatchSettings(), Heard())


@pytest.mark.parametrize("classes", ["void=x;background=Bone", "void=x;Background=bone"])
def test_names_may_be_mapped_to_background(classes: str) -> None:
    slide = surveyed(shapes=SHAPES)
    found, _ = assign_labels([slide], PatchSettings(classes=classes), Heard())
    assert found.label(slide, SHAPES[2]) == 0


# -------------------------------------------------------------------------------------------------
# Groups of the scans of one glass slide.


def scan(domain: str, subject: str = "s", slide: str = "", **new: Any) -> SurveyedSlide:  # noqa: ANN401
    name = f"{domain}-{subject}{slide}"
    facts = {"domain": domain, "subject": subject, "slide": slide, "path": Path(f"{name}.svs")}
    facts["key"] = name.encode().hex().ljust(32, "0")
    return replace(surveyed(subject, **(facts | new)), name=slide or subject)


def rows_of(slides: Sequence[SurveyedSlide]) -> list[SlideRow]:
    return [slide.row for slide in slides]


def test_scans_are_grouped_with_the_reference() -> None:
    slides = [
        *(scan("B"), scan("A"), scan("A", "t", "1"), scan("A", "t", "2"), scan("B", "t", "2")),
        *(scan("C"), scan("B", "t", "1")),
    ]
    groups, failures = group_scans(slides, rows_of(slides), "A")
    assert failures == []
    assert groups == [
        ScanGroup(1, {0: None, 5: None}),
        ScanGroup(2, {6: None}),
        ScanGroup(3, {4: None}),
    ]


def test_slide_scanned_once_is_its_own_group() -> None:
    assert group_scans([scan("A")], [scan("A").row], "A") == ([ScanGroup(0, {})], [])


def test_incomplete_groups_are_failures() -> None:
    slides = [scan("B", "no-reference"), scan("A", "torn"), scan("A", "twice"), scan("A", "good")]
    slides += [scan("A", "twice", path=Path("again.svs")), scan("B", "good")]
    rows = [*rows_of(slides), scan("B", "torn").row, scan("B", "twice").row]
    groups, failures = group_scans(slides, rows, "A")
    assert groups == [ScanGroup(3, {5: None})]
    without, torn, twice = failures
    assert "slide no-reference: the manifest has no scan of it in domain A" in without
    assert "slide torn: its scan in domain B failed" in torn
    assert "slide twice: the manifest has 2 scans of it in domain A" in twice
    assert "column slide" in twice
