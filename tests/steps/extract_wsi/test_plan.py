"""Plans: sites and painted slides, outlined objects, samples, and reasons for no patches."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pyramids import write_pyramid
from skiptool.names import IGNORE_LABEL, PatchMode, Split
from skiptool.records import Sample
from skiptool.sources.annotations.shapes import Shape
from skiptool.sources.patches.painting import Areas, Patch
from skiptool.sources.slides.tissue import Tissue
from skiptool.steps.extract_wsi import plan as plans
from skiptool.steps.extract_wsi import registration
from skiptool.steps.extract_wsi.plan import (
    PaintedSlide,
    PatchBatch,
    PatchPlan,
    Segmenter,
    make_plan,
    outline_objects,
    read_batch,
    reason_for_no_patches,
    reference_sites,
    unseen_classes,
)
from skiptool.steps.extract_wsi.registration import PatchSite, PatchView
from skiptool.steps.extract_wsi.settings import ExtractionContext, RegistrationCache
from skiptool.steps.extract_wsi.survey import SurveyedSlide, assign_labels
from skiptool.stores.lineage import Invocation
from slide_cases import (
    AREAS,
    SIZE,
    Affine,
    area,
    centres,
    covered,
    in_block,
    make_run,
    picture,
    point,
    surveyed,
    write_slide,
)

SHAPES = (
    area("SCC", (100, 100, 200, 200), "1"),
    area("Bone", (120, 120, 140, 140), "2"),
    point("SCC", 300, 200, "3"),
    area("Void", (400, 300, 450, 350), "4"),
)
CLASSES = "tumor=SCC;background=Void"
TRAIN, TEST = 1, -1


def make(
    run: ExtractionContext, slides: list[SurveyedSlide], folds: list[int] | None = None
) -> PatchPlan:
    labels, _ = assign_labels(slides, run.settings, run.progress)
    rows = [slide.row for slide in slides]
    return make_plan(run, slides, rows, labels, folds or [TRAIN] * len(slides))


def sampled(**settings: Any) -> ExtractionContext:  # noqa: ANN401
    given = {"mode": PatchMode.SAMPLED, "patch_size": 32, "patches": 6, "classes": CLASSES}
    return make_run(**(given | settings))


@pytest.mark.parametrize("classes", [CLASSES, f"{CLASSES};ignore=Bone"])
def test_painted_slides_have_areas_points_and_fold(classes: str) -> None:
    slides = [surveyed("a", SHAPES), surveyed("b", SHAPES[:1], key="b" * 32)]
    plan = make(sampled(draws=2, classes=classes), slides, [TRAIN, TEST])
    assert plan.failures == []
    assert [site.views[0].slide for site in plan.sites] == [0] * 12 + [1] * 6
    scene = plan.painted[0]
    # Names in no class and ignored names are painted as ignored; points are not painted.
    assert [(shape.record, label) for shape, label in scene.areas.shapes] == [
        *(("1", 1), ("2", IGNORE_LABEL), ("4", 0))
    ]
    assert [(shape.record, label) for shape, label in scene.points] == [("3", 1)]
    assert (scene.annotated, scene.split, scene.fold) == (True, Split.TRAIN, TRAIN)
    assert (plan.painted[1].split, plan.painted[1].fold) == (Split.TEST, TEST)


def test_dry_run_plans_the_same_sites() -> None:
    run, slides = sampled(draws=3), [surveyed("a", SHAPES), surveyed("b", SHAPES, key="b" * 32)]
    labels, _ = assign_labels(slides, run.settings, run.progress)
    assert (
        reference_sites(slides, labels, [TRAIN, TEST], run)
        == make(run, slides, [TRAIN, TEST]).sites
    )


def test_grid_needs_no_annotations() -> None:
    plan = make(make_run(patch_size=60), [surveyed("a")])
    assert len(plan.sites) > 10
    assert plan.painted[0].annotated is False
    assert plan.painted[0].areas.shapes == ()


@pytest.mark.parametrize("classes", [CLASSES, f"{CLASSES};ignore=Bone"])
def test_centred_sites_are_at_annotations_of_a_class(classes: str) -> None:
    slide = surveyed("a", SHAPES)
    run = make_run(mode=PatchMode.CENTRED, patch_size=32, mask="disc:2", classes=classes)
    plan = make(run, [slide])
    assert [site.id for site in plan.sites] == ["a-1", "a-3", "a-4"]
    painted = plan.painted[0].areas.shapes
    assert [(shape.record, label) for shape, label in painted] == [("1", 1), ("3", 1)]


BARE = surveyed("a", tissue=False)
BONE = surveyed("a", SHAPES[1:2], annotations=Path("a.json"))
LITTLE = replace(surveyed("a"), tissue=Tissue(np.eye(120, 150, dtype=bool), (4.0, 4.0), 200))
SPOTS = surveyed("a", [point("m", 50, 50), point("m", 60, 50)], annotations=Path("a.json"))
POINTS = "a.svs: a.json has 2 annotations of this slide, points without"
NONE_GIVES = "a.svs: a.json has 1 annotations of this slide, none of which gives a patch; see --cla"

WHY: dict[str, tuple[dict[str, Any], SurveyedSlide, str]] = {
    "no tissue": ({}, BARE, "a.svs: no patch of 60 px has more tissue than 0.5: no tis"),
    "little tissue": ({"min_tissue": 0.9}, LITTLE, "a.svs: no patch of 60 px has more tissue than"),
    "points to sample": ({"mode": PatchMode.SAMPLED}, SPOTS, f"{POINTS} an area to draw patch"),
    "no annotations": (
        {"mode": PatchMode.SAMPLED},
        surveyed("a"),
        "a.svs: has no annotations; fill in the column annotations, or use --mode grid",
    ),
    "none drawn": ({"mode": PatchMode.SAMPLED, "classes": "t=SCC"}, BONE, NONE_GIVES),
    "none centred": ({"mode": PatchMode.CENTRED, "classes": "t=SCC"}, BONE, NONE_GIVES),
}


def test_thresholds_that_would_give_patches_are_proposed() -> None:
    """Tissue on the left: patches of 200 px contain different shares of it."""
    mask = np.zeros((120, 150), bool)
    mask[:, :25] = True  # 100 px of 600
    mask[:20, 50:60] = True  # 80 x 40 px
    slide = replace(surveyed("a"), tissue=Tissue(mask, (4.0, 4.0), 200))
    line = reason_for_no_patches(slide, make_run(patch_size=200, min_tissue=0.8).settings)
    # the third row reaches 120 px beyond the slide, which counts as no tissue
    assert line == (
        "a.svs: no patch of 200 px has more tissue than 0.8: of 4 with any the median has 0.35, "
        "the best 0.5; --min-tissue 0.4 would give 2; --min-tissue 0.1 would give 3; --min-tissue "
        "0.05 would give 4"
    )
    small = surveyed("b", size=(150, 480))
    assert "smaller than a patch, see --patch-size" in reason_for_no_patches(
        small, make_run(patch_size=200, min_tissue=0.9).settings
    )


@pytest.mark.parametrize(
    ("mode", "shapes", "lines"),
    [
        (PatchMode.GRID, [("T", 100, 300), ("N", 150, 250)], []),
        # painted over by another area
        (PatchMode.GRID, [("N", 150, 250), ("T", 100, 300)], ["class N has no pixel in any mask"]),
        (PatchMode.GRID, [("T", 100, 300), ("T", 400, 400.3)], []),
        (PatchMode.GRID, [("T", 100, 300), ("N", 400.1, 400.3)], ["class N has no pixel"]),
        (PatchMode.GRID, [("T", 100, 300), ("N", -80, -20)], ["class N has no pixel"]),
        (PatchMode.GRID, [("T", 100, 300), ("N", 2, 40)], ["class N has no pixel"]),
        (PatchMode.GRID, [("T", 100, 300), ("background", 2, 40)], []),
    ],
)
def test_classes_without_a_pixel_give_a_warning(
    mode: PatchMode, shapes: list[tuple[str, float, float]], lines: list[str]
) -> None:
    drawn = [area(name, (low, low, high, high)) for name, low, high in shapes]
    run = make_run(mode=mode, patch_size=60)
    slide = surveyed("a", drawn)
    labels, _ = assign_labels([slide], run.settings, run.progress)
    plan = make_plan(run, [slide], [slide.row], labels, [TRAIN])
    found = unseen_classes(plan, labels, mode)
    assert len(found) == len(lines)
    for line, start in zip(found, lines, strict=True):
        assert line.startswith(start)


def test_classes_of_points_have_no_pixel_in_a_grid() -> None:
    slide = surveyed("a", [area("T", (100, 100, 300, 300)), point("m", 50, 50), point("m", 9, 9)])
    run = make_run(patch_size=60)
    labels, _ = assign_labels([slide], run.settings, run.progress)
    plan = make_plan(run, [slide], [slide.row], labels, [TRAIN])
    (line,) = unseen_classes(plan, labels, run.settings.mode)
    assert line.startswith("class m has no pixel in any mask: 2 annotations, points")
    assert "--mode centred" in line


@pytest.mark.parametrize("name", WHY)
def test_slide_without_patches_is_a_failure(name: str) -> None:
    settings, slide, words = WHY[name]
    good = surveyed("good", SHAPES[:1], key="9" * 32)
    mask = "polygons" if settings.get("mode") is PatchMode.CENTRED else None
    plan = make(make_run(patch_size=60, mask=mask, **settings), [slide, good])
    (line,) = plan.failures
    assert line.startswith(words)
    assert {site.views[0].slide for site in plan.sites} == {1}
    assert set(plan.painted) == {1}


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExtractionContext:
    """Return a context whose other scans are half as large, shifted, and perfectly aligned."""
    affine = Affine([[0.5, 0.0, 20.0], [0.0, 0.5, 10.0]])
    monkeypatch.setattr(registration, "_align", lambda *_: affine)
    monkeypatch.setattr(registration, "_measure_residual", lambda *_: (0.25, ""))
    cache = RegistrationCache(tmp_path / "d.zarr", Invocation("extract wsi"), resume=False)
    return replace(sampled(register="A"), cache=cache)


def test_annotations_and_patches_are_transferred(registered: ExtractionContext) -> None:
    slides = [
        replace(surveyed("b", (), subject="s", domain="B", key="b" * 32), name="s"),
        replace(surveyed("a", SHAPES, subject="s", domain="A", key="a" * 32), name="s"),
    ]
    plan = make(registered, slides)
    assert plan.failures == []
    assert len(plan.sites) == 6
    for site in plan.sites:
        first, second = site.views
        assert (first.slide, second.slide) == (1, 0)
        assert (first.residual, second.residual) == (0.0, 0.25)
        expected = np.array(first.patch.centre) * 0.5 + (20, 10)
        assert np.abs(np.array(second.patch.centre) - expected).max() <= 0.5
    there = plan.painted[0]
    assert there.annotated
    (first, _), (second, label), _ = there.areas.shapes
    assert first.bounds == (70, 60, 120, 110)
    assert (second.record, label) == ("2", IGNORE_LABEL)
    assert there.points[0][0].centre == (170, 110)
    assert [row["sample"] for row in plan.rows] == [site.id for site in plan.sites]
    assert [group.reference for group in plan.groups] == [1]


def test_dry_run_counts_the_sites_of_the_reference(registered: ExtractionContext) -> None:
    slides = [
        replace(surveyed("a", SHAPES, subject="s", domain="A", key="a" * 32), name="s"),
        replace(surveyed("b", (), subject="s", domain="B", key="b" * 32), name="s"),
    ]
    labels, _ = assign_labels(slides, registered.settings, registered.progress)
    assert len(reference_sites(slides, labels, [TRAIN] * 2, registered)) == 6


def test_glass_slide_with_an_unaligned_scan_is_left_out(
    registered: ExtractionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "_align", lambda *_: "b.svs: not registered")
    slides = [
        replace(surveyed("a", SHAPES, subject="s", domain="A", key="a" * 32), name="s"),
        replace(surveyed("b", (), subject="s", domain="B", key="b" * 32), name="s"),
        replace(surveyed("c", SHAPES, subject="t", domain="A", key="c" * 32), name="t"),
    ]
    plan = make(registered, slides)
    assert plan.failures == ["b.svs: not registered"]
    assert set(plan.painted) == {2}


def test_model_is_loaded_for_model_masks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Predicted:
        @staticmethod
        def load_segmenter(folder: Path) -> str:
            asked.append(folder)
            return "segment"

    monkeypatch.setitem(sys.modules, "skiptool.steps.extract_wsi.predicted", Predicted)
    seen = []
    monkeypatch.setattr(
        plans, "outline_objects", lambda *words: (seen.append(words[3]), ([], [], []))[1]
    )
    for mask in ("disc:2", "model:runs/x"):
        make(make_run(mode=PatchMode.CENTRED, mask=mask), [surveyed("a", SHAPES)])
    assert asked == [Path("runs/x")]
    assert seen == [None, "segment"]


# -------------------------------------------------------------------------------------------------
# Objects at annotations: annotated outlines, discs, stained nuclei, objects found by a model.


NUCLEI = ((100.0, 100.0, 14.0), (180.0, 120.0, 10.0))
"""x, y and radius of stained nuclei."""

EMPTY_PLACE = (250.0, 60.0)


def distance(x: float, y: float, size: tuple[int, int] = (300, 200)) -> NDArray[np.float64]:
    rows, columns = np.mgrid[: size[1], : size[0]] + 0.5
    return np.hypot(columns - x, rows - y)


@pytest.fixture(scope="module")
def tissue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eosin with two nuclei, 0.25 um/px."""
    image = np.full((200, 300, 3), (226, 160, 196), np.uint8)
    for x, y, radius in NUCLEI:
        image[distance(x, y) <= radius] = (84, 60, 130)
    noise = np.random.default_rng(0).integers(-5, 6, image.shape)
    image = np.clip(image + noise, 0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("objects") / "a.tiff"
    return write_pyramid(path, image, levels=1, mpp=0.25, quality=None)


Found = tuple[list[tuple[Shape, int | None]], list[tuple[Shape, int | None]], list[str]]


def find(
    path: Path,
    shapes: list[tuple[Shape, int | None]],
    mask: str | None = None,
    segment: Segmenter | None = None,
    **slide: Any,  # noqa: ANN401
) -> Found:
    run = make_run(mode=PatchMode.CENTRED, patch_size=96, mask=mask)
    with run.pool:
        return outline_objects(run, surveyed("a", path=path, **slide), shapes, segment)


def painted(objects: list[tuple[Shape, int | None]]) -> NDArray[Any]:
    areas = Areas.of([(shape, label or 0) for shape, label in objects])
    return areas.paint(Patch(0, 0, 300), np.zeros((300, 300), np.uint8))[:200]


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_nuclei_at_points_are_outlined(tissue: Path) -> None:
    shapes = [(point("m", x + 3, y - 2, str(i)), i + 1) for i, (x, y, _) in enumerate(NUCLEI)]
    kept, objects, failures = find(tissue, shapes)
    assert failures == []
    assert kept == shapes
    assert [(shape.record, label) for shape, label in objects] == [("0", 1), ("1", 2)]
    for label, (x, y, radius) in enumerate(NUCLEI, 1):
        assert overlap(painted(objects) == label, distance(x, y) <= radius) > 0.9


@pytest.mark.parametrize("mask", [None, "stain"])
def test_annotations_without_stain_are_left_out(tissue: Path, mask: str | None) -> None:
    shapes = [(point("m", *EMPTY_PLACE), 1), (point("m", *NUCLEI[0][:2]), 1)]
    kept, objects, (line,) = find(tissue, shapes, mask)
    assert kept == shapes[1:]
    assert len(objects) == 1
    assert line == f"{tissue}: 1 of 2 annotations left out: no object is found there"


def test_objects_in_boxes_are_outlined_and_outlines_kept(tissue: Path) -> None:
    box = area("m", (75, 75, 125, 125), "box")
    triangle = Shape("m", (np.array([[20.0, 20], [60, 20], [20, 60]]),), "triangle")
    _, objects, failures = find(tissue, [(box, 1), (triangle, 1)])
    assert failures == []
    nucleus, as_drawn = objects
    x, y, radius = NUCLEI[0]
    assert overlap(painted([nucleus]) == 1, distance(x, y) <= radius) > 0.9
    assert as_drawn[0] is triangle


def test_polygon_masks_leave_out_points(tissue: Path) -> None:
    box = area("m", (75, 75, 125, 125), "box")
    kept, objects, (line,) = find(tissue, [(box, 1), (point("m", 9, 9), 1)], "polygons")
    assert kept == objects == [(box, 1)]
    assert "1 of 2 annotations left out: points have no outline; choose --mask stain" in line


def test_discs_are_measured_in_micrometres_on_both_axes(tissue: Path) -> None:
    shapes = [(point("m", 100, 100), 1), (area("m", (180, 20, 220, 60)), 2)]
    _, objects, failures = find(tissue, shapes, "disc:5", mpp=(0.25, 0.5))
    assert failures == []
    for (disc, label), (x, y) in zip(objects, [(100, 100), (200, 40)], strict=True):
        assert disc.bounds == pytest.approx((x - 20, y - 10, x + 20, y + 10))
        assert disc.area == pytest.approx(np.pi * 200, rel=0.003)
        assert label in (1, 2)


def test_model_masks_contain_only_the_object_at_the_point(tissue: Path) -> None:
    seen: list[NDArray[np.uint8]] = []

    def dark(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
        seen.append(image)
        found: NDArray[np.bool_] = image[..., 0] < 150
        return found

    # Both nuclei lie within the patch; a point belongs to a nucleus up to 3 um away.
    x, y, radius = NUCLEI[1]
    near, far = point("m", x + radius + 8, y, "near"), point("m", x + radius + 16, y, "far")
    kept, objects, failures = find(tissue, [(near, 2), (far, 2)], "model:runs/x", dark)
    assert {image.shape for image in seen} == {(96, 96, 3)}
    assert kept == [(near, 2)]
    assert overlap(painted(objects) == 2, distance(x, y) <= radius) > 0.95
    assert len(failures) == 1


def test_background_annotations_are_kept_without_an_object(tissue: Path) -> None:
    shapes = [(point("void", *EMPTY_PLACE), 0)]
    assert find(tissue, shapes, "stain") == (shapes, [], [])


def test_unreadable_slide_is_a_failure(tmp_path: Path) -> None:
    shapes = [(point("m", 10, 10, str(number)), 1) for number in range(3)]
    kept, objects, (line,) = find(tmp_path / "gone.tiff", shapes, "stain")
    assert (kept, objects) == ([], [])
    assert "3 of 3 annotations left out" in line
    assert "no such slide" in line


# -------------------------------------------------------------------------------------------------
# Samples: pixels of the slide, masks against a slow reference.


SHAPES_PIXELS = [
    Shape(name, tuple(np.array(r, float) for r in rings), rec) for name, rings, rec in AREAS
]
LABELS = (2, 1, IGNORE_LABEL)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    path = write_slide(tmp_path_factory.mktemp("pixels") / "a.tiff")
    return SimpleNamespace(path=path, image=picture())


def read(
    path: Path,
    patch: Patch,
    annotated: bool = True,
    residual: float | None = 0.0,
    level: int = 0,
    **settings: Any,  # noqa: ANN401
) -> list[Sample] | str:
    run = make_run(**settings)
    where = surveyed("a", path=path, domain="B", subject="s", scale=patch.scale, level=level)
    painted = Areas.of(list(zip(SHAPES_PIXELS, LABELS, strict=True)) if annotated else [])
    scene = PaintedSlide(where.scan, painted, (), annotated, 2)
    work = PatchBatch([PatchSite("a-1", (PatchView(0, patch, residual),))], {0: scene})
    with run.pool:
        (found,) = read_batch(run.settings, run.pool, work)
    return found


def expected(patch: Patch, ground: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    x, y = centres(patch.x, patch.y, patch.size, patch.scale)
    for (_, rings, _), label in zip(AREAS, LABELS, strict=True):
        ground[covered(rings, x, y)] = label
    return ground


@pytest.mark.parametrize(
    ("x", "y", "scale"),
    [(90, 80, 1.0), (130, 120, 1.0), (64, 48, 2.0), (101.5, 97.25, 1.7), (-40, -30, 1.0)],
)
def test_patch_and_mask_match_the_slide(
    slide: SimpleNamespace, x: float, y: float, scale: float
) -> None:
    patch = Patch(x, y, 128, (scale, scale), {"tissue": 0.75})
    (sample,) = read(slide.path, patch)
    assert (sample.id, sample.subject, sample.domain) == ("a-1", "s", "B")
    assert (sample.split, sample.fold) == (Split.TRAIN, 2)

    across, down = centres(x, y, 128, (scale, scale))
    inside = (across >= 0) & (across < SIZE[0]) & (down >= 0) & (down < SIZE[1])
    if scale == 1.0:
        there = np.full((128, 128, 3), 255, np.uint8)
        there[inside] = slide.image[down[inside].astype(int), across[inside].astype(int)]
        assert (sample.image == there).all()

    # Between tissue and glass smoothed pixels decide: within 4 px either label is right.
    tissue, edge = in_block(across, down), in_block(across, down, -4 * scale)
    edge &= ~in_block(across, down, 4 * scale)
    mask = expected(patch, np.where(tissue, IGNORE_LABEL, 0).astype(np.uint8))
    mask[~inside] = IGNORE_LABEL
    painted = (expected(patch, np.full((128, 128), 77, np.uint8)) != 77) | ~inside
    assert ((sample.mask == mask) | (edge & ~painted)).all()
    assert {0, 1, 2, IGNORE_LABEL} >= set(np.unique(sample.mask))

    known = sample.mask != IGNORE_LABEL
    assert sample.columns["foreground"] == pytest.approx(float((sample.mask[known] > 0).mean()))
    facts = {"slide": "a", "x": x, "y": y, "mpp": 0.25 * scale, "level": 0, "tissue": 0.75}
    assert {name: sample.columns[name] for name in facts} == facts


def test_masks_without_annotations_are_ignored_everywhere(slide: SimpleNamespace) -> None:
    (sample,) = read(slide.path, Patch(0, 0, 100), annotated=False)
    assert (sample.mask == IGNORE_LABEL).all()
    assert sample.columns["foreground"] == 0.0


def test_centred_masks_are_background_outside_objects(slide: SimpleNamespace) -> None:
    patch = Patch(90, 80, 128)
    for annotated in (True, False):
        (sample,) = read(slide.path, patch, annotated, mode=PatchMode.CENTRED)
        ground = np.zeros((128, 128), np.uint8)
        assert (sample.mask == (expected(patch, ground) if annotated else ground)).all()


@pytest.mark.parametrize("mode", list(PatchMode))
@pytest.mark.parametrize(
    ("x", "y", "scale"),
    [
        *((-40, -30, (1.0, 1.0)), (550, 400, (1.0, 1.0)), (-20.5, 300, (1.5, 2.0))),
        *((560.25, -99.75, (0.7, 1.3)), (100, 100, (1.0, 1.0)), (700, 600, (1.0, 1.0))),
    ],
)
def test_pixels_outside_the_slide_are_ignored(
    slide: SimpleNamespace, mode: PatchMode, x: float, y: float, scale: tuple[float, float]
) -> None:
    patch, run = Patch(x, y, 128, scale), make_run(mode=mode)
    generous = np.array([[-900, -900], [1900, -900], [1900, 1900], [-900, 1900]], float)
    where = surveyed("a", path=slide.path, scale=scale)
    areas = Areas.of([(Shape("tumor", (generous,), "1"), 1)])
    scene = PaintedSlide(where.scan, areas, (), True, 0)
    with run.pool:
        ((sample,),) = read_batch(
            run.settings,
            run.pool,
            PatchBatch([PatchSite("a-1", (PatchView(0, patch),))], {0: scene}),
        )
    across, down = centres(x, y, 128, scale)
    inside = (across >= 0) & (across < SIZE[0]) & (down >= 0) & (down < SIZE[1])
    assert (sample.mask == np.where(inside, 1, IGNORE_LABEL)).all()


def test_unknown_pixel_size_is_recorded_as_nan(slide: SimpleNamespace) -> None:
    run, patch = make_run(), Patch(90, 80, 32)
    where = surveyed("a", path=slide.path, mpp=None)
    scene = PaintedSlide(where.scan, Areas.of([]), (), True, 0)
    with run.pool:
        ((sample,),) = read_batch(
            run.settings,
            run.pool,
            PatchBatch([PatchSite("a-1", (PatchView(0, patch),))], {0: scene}),
        )
    assert np.isnan([sample.columns["mpp"], sample.columns["mpp_y"]]).all()
    assert "relative_mpp" not in sample.columns


def test_columns_hold_level_and_residual(slide: SimpleNamespace) -> None:
    patch = Patch(90, 80, 32, (2.0, 2.0))
    (sample,) = read(slide.path, patch, level=1)
    assert sample.columns["level"] == 1
    assert "residual" not in sample.columns
    (sample,) = read(slide.path, patch, mpp=0.5)
    assert sample.columns["level"] == -1
    (sample,) = read(slide.path, patch, residual=0.25, register="A")
    assert sample.columns["residual"] == 0.25
    assert sample.columns["relative_mpp"] == 1.0
    (sample,) = read(slide.path, patch, residual=None, register="A")
    assert np.isnan(sample.columns["residual"])


def test_site_gives_a_sample_per_view_or_fails(slide: SimpleNamespace, tmp_path: Path) -> None:
    run, gone = make_run(), tmp_path / "gone.tiff"
    patch = Patch(90, 80, 32)
    scenes = {
        place: PaintedSlide(
            surveyed(name, path=path, domain=name).scan, Areas.of([]), (), False, -1
        )
        for place, (name, path) in enumerate([("A", slide.path), ("B", slide.path), ("C", gone)])
    }
    sites = [
        PatchSite("one", (PatchView(0, patch), PatchView(1, patch))),
        PatchSite("two", (PatchView(0, patch),)),
    ]
    sites.insert(1, PatchSite("bad", (PatchView(0, patch), PatchView(2, patch))))
    with run.pool:
        first, bad, last = read_batch(run.settings, run.pool, PatchBatch(sites, scenes))
    assert [sample.domain for sample in first] == ["A", "B"]
    assert isinstance(bad, str)
    assert bad.startswith(f"{gone}: no such slide")
    assert [sample.id for sample in last] == ["two"]
