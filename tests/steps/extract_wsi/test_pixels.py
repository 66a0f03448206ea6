"""Sites to samples: pixels as they lie on the slide, masks against a slow reference."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from skiptool.names import IGNORE, PatchMode, Split
from skiptool.records import Sample
from skiptool.sources.annotations.shapes import Shape
from skiptool.sources.patches.painting import Areas, Patch
from skiptool.steps.extract_wsi.pixels import Scene, Work, read_work
from skiptool.steps.extract_wsi.sites import Site, View
from slide_cases import (
    AREAS,
    SIZE,
    centres,
    covered,
    in_block,
    make_run,
    picture,
    surveyed,
    write_slide,
)

SHAPES = [Shape(name, tuple(np.array(r, float) for r in rings), rec) for name, rings, rec in AREAS]
LABELS = (2, 1, IGNORE)


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
    painted = Areas.of(list(zip(SHAPES, LABELS, strict=True)) if annotated else [])
    scene = Scene(where.scan, painted, (), annotated, Split.TRAIN, 2)
    work = Work([Site("a-1", (View(0, patch, residual),))], {0: scene})
    with run.pool:
        (found,) = read_work(run.settings, run.pool, work)
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
def test_a_patch_is_what_lies_there(
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

    # Between tissue and glass it is the smoothed pixels that decide: within 4 px either is right.
    tissue, edge = in_block(across, down), in_block(across, down, -4 * scale)
    edge &= ~in_block(across, down, 4 * scale)
    mask = expected(patch, np.where(tissue, IGNORE, 0).astype(np.uint8))
    mask[~inside] = IGNORE
    painted = (expected(patch, np.full((128, 128), 77, np.uint8)) != 77) | ~inside
    assert ((sample.mask == mask) | (edge & ~painted)).all()
    assert {0, 1, 2, IGNORE} >= set(np.unique(sample.mask))

    known = sample.mask != IGNORE
    assert sample.columns["foreground"] == pytest.approx(float((sample.mask[known] > 0).mean()))
    facts = {"slide": "a", "x": x, "y": y, "mpp": 0.25 * scale, "level": 0, "tissue": 0.75}
    assert {name: sample.columns[name] for name in facts} == facts


def test_without_annotations_all_is_ignored(slide: SimpleNamespace) -> None:
    (sample,) = read(slide.path, Patch(0, 0, 100), annotated=False)
    assert (sample.mask == IGNORE).all()
    assert sample.columns["foreground"] == 0.0


def test_centred_patches_are_background_where_no_object_is(slide: SimpleNamespace) -> None:
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
def test_what_lies_beside_the_slide_is_ignored_whatever_is_drawn_there(
    slide: SimpleNamespace, mode: PatchMode, x: float, y: float, scale: tuple[float, float]
) -> None:
    patch, run = Patch(x, y, 128, scale), make_run(mode=mode)
    generous = np.array([[-900, -900], [1900, -900], [1900, 1900], [-900, 1900]], float)
    where = surveyed("a", path=slide.path, scale=scale)
    areas = Areas.of([(Shape("tumor", (generous,), "1"), 1)])
    scene = Scene(where.scan, areas, (), True, Split.TRAIN, 0)
    with run.pool:
        ((sample,),) = read_work(
            run.settings, run.pool, Work([Site("a-1", (View(0, patch),))], {0: scene})
        )
    across, down = centres(x, y, 128, scale)
    inside = (across >= 0) & (across < SIZE[0]) & (down >= 0) & (down < SIZE[1])
    assert (sample.mask == np.where(inside, 1, IGNORE)).all()


def test_pixels_of_unknown_size_are_recorded_as_such(slide: SimpleNamespace) -> None:
    run, patch = make_run(), Patch(90, 80, 32)
    where = surveyed("a", path=slide.path, mpp=None)
    scene = Scene(where.scan, Areas.of([]), (), True, Split.TRAIN, 0)
    with run.pool:
        ((sample,),) = read_work(
            run.settings, run.pool, Work([Site("a-1", (View(0, patch),))], {0: scene})
        )
    assert np.isnan([sample.columns["mpp"], sample.columns["mpp_y"]]).all()
    assert "relative_mpp" not in sample.columns


def test_columns_tell_the_level_and_what_registration_left(slide: SimpleNamespace) -> None:
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


def test_every_view_of_a_site_is_a_sample_or_the_site_fails(
    slide: SimpleNamespace, tmp_path: Path
) -> None:
    run, gone = make_run(), tmp_path / "gone.tiff"
    patch = Patch(90, 80, 32)
    scenes = {
        place: Scene(
            surveyed(name, path=path, domain=name).scan, Areas.of([]), (), False, Split.TEST, -1
        )
        for place, (name, path) in enumerate([("A", slide.path), ("B", slide.path), ("C", gone)])
    }
    sites = [Site("one", (View(0, patch), View(1, patch))), Site("two", (View(0, patch),))]
    sites.insert(1, Site("bad", (View(0, patch), View(2, patch))))
    with run.pool:
        first, bad, last = read_work(run.settings, run.pool, Work(sites, scenes))
    assert [sample.domain for sample in first] == ["A", "B"]
    assert isinstance(bad, str)
    assert bad.startswith(f"{gone}: no such slide")
    assert [sample.id for sample in last] == ["two"]
