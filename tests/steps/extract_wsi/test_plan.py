"""Plans: sites and scenes of every slide, what is painted, and why a slide gives nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skiptool.names import IGNORE, PatchMode, Split
from skiptool.sources.slides.tissue import Tissue
from skiptool.steps.extract_wsi import matching
from skiptool.steps.extract_wsi import plan as plans
from skiptool.steps.extract_wsi.labels import labelling
from skiptool.steps.extract_wsi.notes import Notes
from skiptool.steps.extract_wsi.plan import (
    Plan,
    make_plan,
    reference_sites,
    unseen,
    why_nothing,
)
from skiptool.steps.extract_wsi.run import Run
from skiptool.steps.extract_wsi.survey import Surveyed
from skiptool.stores.lineage import Making
from slide_cases import Affine, area, make_run, point, surveyed

SHAPES = (
    area("SCC", (100, 100, 200, 200), "1"),
    area("Bone", (120, 120, 140, 140), "2"),
    point("SCC", 300, 200, "3"),
    area("Void", (400, 300, 450, 350), "4"),
)
CLASSES = "tumor=SCC;background=Void"
TRAIN, TEST = (Split.TRAIN, 1), (Split.TEST, -1)


def make(run: Run, slides: list[Surveyed], dealing: list[tuple[Split, int]] | None = None) -> Plan:
    labels, _ = labelling(slides, run.settings, run.progress)
    rows = [slide.row for slide in slides]
    return make_plan(run, slides, rows, labels, dealing or [TRAIN] * len(slides))


def sampled(**settings: Any) -> Run:  # noqa: ANN401
    given = {"mode": PatchMode.SAMPLED, "patch_size": 32, "patches": 6, "classes": CLASSES}
    return make_run(**(given | settings))


@pytest.mark.parametrize("classes", [CLASSES, f"{CLASSES};ignore=Bone"])
def test_scenes_hold_what_is_painted_and_where_samples_belong(classes: str) -> None:
    slides = [surveyed("a", SHAPES), surveyed("b", SHAPES[:1], key="b" * 32)]
    plan = make(sampled(draws=2, classes=classes), slides, [TRAIN, TEST])
    assert plan.failures == []
    assert [site.views[0].slide for site in plan.sites] == [0] * 12 + [1] * 6
    scene = plan.scenes[0]
    # What is in no class or may be ignored is painted as ignored; points are not painted.
    assert [(shape.record, label) for shape, label in scene.painted.shapes] == [
        *(("1", 1), ("2", IGNORE), ("4", 0))
    ]
    assert [(shape.record, label) for shape, label in scene.points] == [("3", 1)]
    assert (scene.annotated, scene.split, scene.fold) == (True, *TRAIN)
    assert (plan.scenes[1].split, plan.scenes[1].fold) == TEST


def test_the_dry_run_plans_the_same_sites() -> None:
    run, slides = sampled(draws=3), [surveyed("a", SHAPES), surveyed("b", SHAPES, key="b" * 32)]
    labels, _ = labelling(slides, run.settings, run.progress)
    assert (
        reference_sites(slides, labels, [TRAIN, TEST], run)
        == make(run, slides, [TRAIN, TEST]).sites
    )


def test_grid_needs_no_annotations() -> None:
    plan = make(make_run(patch_size=60), [surveyed("a")])
    assert len(plan.sites) > 10
    assert plan.scenes[0].annotated is False
    assert plan.scenes[0].painted.shapes == ()


@pytest.mark.parametrize("classes", [CLASSES, f"{CLASSES};ignore=Bone"])
def test_centred_sites_and_objects_are_of_some_class(classes: str) -> None:
    slide = surveyed("a", SHAPES)
    run = make_run(mode=PatchMode.CENTRED, patch_size=32, mask="disc:2", classes=classes)
    plan = make(run, [slide])
    assert [site.id for site in plan.sites] == ["a-1", "a-3", "a-4"]
    painted = plan.scenes[0].painted.shapes
    assert [(shape.record, label) for shape, label in painted] == [("1", 1), ("3", 1)]


BARE = surveyed("a", tissue=False)
BONE = surveyed("a", SHAPES[1:2], annotations=Path("a.json"))
LITTLE = replace(surveyed("a"), tissue=Tissue(np.eye(120, 150, dtype=bool), (4.0, 4.0), 200))
SPOTS = surveyed("a", [point("m", 50, 50), point("m", 60, 50)], annotations=Path("a.json"))
POINTS = "a.svs: a.json has 2 annotations of this slide, points without"
NONE_GIVES = "a.svs: a.json has 1 annotations of this slide, none of which gives a patch; see --cla"

WHY: dict[str, tuple[dict[str, Any], Surveyed, str]] = {
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


def test_what_would_give_patches_is_proposed() -> None:
    """A tissue of a left half: patches of 200 px have 1, 0.5 or none of it."""
    mask = np.zeros((120, 150), bool)
    mask[:, :25] = True  # 100 px of 600
    mask[:20, 50:60] = True  # 80 x 40 px
    slide = replace(surveyed("a"), tissue=Tissue(mask, (4.0, 4.0), 200))
    line = why_nothing(slide, make_run(patch_size=200, min_tissue=0.8).settings)
    # the third row reaches 120 px beyond the slide, which counts as no tissue
    assert line == (
        "a.svs: no patch of 200 px has more tissue than 0.8: of 4 with any the median has 0.35, "
        "the best 0.5; --min-tissue 0.4 would give 2; --min-tissue 0.1 would give 3; --min-tissue "
        "0.05 would give 4"
    )
    small = surveyed("b", size=(150, 480))
    assert "smaller than a patch, see --patch-size" in why_nothing(
        small, make_run(patch_size=200, min_tissue=0.9).settings
    )


@pytest.mark.parametrize(
    ("mode", "shapes", "lines"),
    [
        (PatchMode.GRID, [("T", 100, 300), ("N", 150, 250)], []),
        # painted over, whatever paints it
        (PatchMode.GRID, [("N", 150, 250), ("T", 100, 300)], ["class N has no pixel in any mask"]),
        (PatchMode.GRID, [("T", 100, 300), ("T", 400, 400.3)], []),
        (PatchMode.GRID, [("T", 100, 300), ("N", 400.1, 400.3)], ["class N has no pixel"]),
        (PatchMode.GRID, [("T", 100, 300), ("N", -80, -20)], ["class N has no pixel"]),
        (PatchMode.GRID, [("T", 100, 300), ("N", 2, 40)], ["class N has no pixel"]),
        (PatchMode.GRID, [("T", 100, 300), ("background", 2, 40)], []),
    ],
)
def test_classes_without_a_pixel_are_told(
    mode: PatchMode, shapes: list[tuple[str, float, float]], lines: list[str]
) -> None:
    drawn = [area(name, (low, low, high, high)) for name, low, high in shapes]
    run = make_run(mode=mode, patch_size=60)
    slide = surveyed("a", drawn)
    labels, _ = labelling([slide], run.settings, run.progress)
    plan = make_plan(run, [slide], [slide.row], labels, [TRAIN])
    found = unseen(plan, labels, mode)
    assert len(found) == len(lines)
    for line, start in zip(found, lines, strict=True):
        assert line.startswith(start)


def test_classes_of_points_have_no_pixel_in_a_grid() -> None:
    slide = surveyed("a", [area("T", (100, 100, 300, 300)), point("m", 50, 50), point("m", 9, 9)])
    run = make_run(patch_size=60)
    labels, _ = labelling([slide], run.settings, run.progress)
    plan = make_plan(run, [slide], [slide.row], labels, [TRAIN])
    (line,) = unseen(plan, labels, run.settings.mode)
    assert line.startswith("class m has no pixel in any mask: 2 annotations, points")
    assert "--mode centred" in line


@pytest.mark.parametrize("name", WHY)
def test_a_slide_that_gives_nothing_is_told_and_the_others_stay(name: str) -> None:
    settings, slide, words = WHY[name]
    good = surveyed("good", SHAPES[:1], key="9" * 32)
    mask = "polygons" if settings.get("mode") is PatchMode.CENTRED else None
    plan = make(make_run(patch_size=60, mask=mask, **settings), [slide, good])
    (line,) = plan.failures
    assert line.startswith(words)
    assert {site.views[0].slide for site in plan.sites} == {1}
    assert set(plan.scenes) == {1}


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a run whose scans lie half as large and shifted, perfectly aligned."""
    affine = Affine([[0.5, 0.0, 20.0], [0.0, 0.5, 10.0]])
    monkeypatch.setattr(matching, "_align", lambda *_: affine)
    monkeypatch.setattr(matching, "_judged", lambda *_: (0.25, ""))
    notes = Notes(tmp_path / "d.zarr", Making("extract wsi"), resume=False)
    return replace(sampled(register="A"), notes=notes)


def test_annotations_and_patches_are_carried_over(registered: Run) -> None:
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
    there = plan.scenes[0]
    assert there.annotated
    (first, _), (second, label), _ = there.painted.shapes
    assert first.bounds == (70, 60, 120, 110)
    assert (second.record, label) == ("2", IGNORE)
    assert there.points[0][0].centre == (170, 110)
    assert [row["sample"] for row in plan.rows] == [site.id for site in plan.sites]
    assert [group.reference for group in plan.groups] == [1]


def test_the_dry_run_counts_the_sites_of_the_reference(registered: Run) -> None:
    slides = [
        replace(surveyed("a", SHAPES, subject="s", domain="A", key="a" * 32), name="s"),
        replace(surveyed("b", (), subject="s", domain="B", key="b" * 32), name="s"),
    ]
    labels, _ = labelling(slides, registered.settings, registered.progress)
    assert len(reference_sites(slides, labels, [TRAIN] * 2, registered)) == 6


def test_a_glass_slide_of_which_a_scan_is_not_aligned_is_left_out(
    registered: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "_align", lambda *_: "b.svs: not registered")
    slides = [
        replace(surveyed("a", SHAPES, subject="s", domain="A", key="a" * 32), name="s"),
        replace(surveyed("b", (), subject="s", domain="B", key="b" * 32), name="s"),
        replace(surveyed("c", SHAPES, subject="t", domain="A", key="c" * 32), name="t"),
    ]
    plan = make(registered, slides)
    assert plan.failures == ["b.svs: not registered"]
    assert set(plan.scenes) == {2}


def test_a_model_is_loaded_for_its_masks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Predicted:
        @staticmethod
        def segmenter(folder: Path) -> tuple[str, str]:
            asked.append(folder)
            return "segment", "id"

    monkeypatch.setattr(plans, "import_module", lambda _: Predicted)
    seen = []
    monkeypatch.setattr(plans, "outlined", lambda *words: (seen.append(words[3]), ([], [], []))[1])
    for mask in ("disc:2", "model:runs/x"):
        make(make_run(mode=PatchMode.CENTRED, mask=mask), [surveyed("a", SHAPES)])
    assert asked == [Path("runs/x")]
    assert seen == [None, "segment"]
