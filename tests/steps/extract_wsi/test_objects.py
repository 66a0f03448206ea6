"""Outlines at annotations: as drawn, discs, stained nuclei, what a model marks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pyramids import write_pyramid
from skiptool.names import PatchMode
from skiptool.sources.annotations.shapes import Shape
from skiptool.sources.patches.painting import Areas, Patch
from skiptool.steps.extract_wsi.objects import Segment, outlined
from slide_cases import area, make_run, point, surveyed

NUCLEI = ((100.0, 100.0, 14.0), (180.0, 120.0, 10.0))
"""x, y and radius of what is stained."""

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
    segment: Segment | None = None,
    **slide: Any,  # noqa: ANN401
) -> Found:
    run = make_run(mode=PatchMode.CENTRED, patch_size=96, mask=mask)
    with run.pool:
        return outlined(run, surveyed("a", path=path, **slide), shapes, segment)


def painted(objects: list[tuple[Shape, int | None]]) -> NDArray[Any]:
    areas = Areas.of([(shape, label or 0) for shape, label in objects])
    return areas.paint(Patch(0, 0, 300), np.zeros((300, 300), np.uint8))[:200]


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_points_get_the_nucleus_they_mean(tissue: Path) -> None:
    shapes = [(point("m", x + 3, y - 2, str(i)), i + 1) for i, (x, y, _) in enumerate(NUCLEI)]
    kept, objects, failures = find(tissue, shapes)
    assert failures == []
    assert kept == shapes
    assert [(shape.record, label) for shape, label in objects] == [("0", 1), ("1", 2)]
    for label, (x, y, radius) in enumerate(NUCLEI, 1):
        assert overlap(painted(objects) == label, distance(x, y) <= radius) > 0.9


@pytest.mark.parametrize("mask", [None, "stain"])
def test_where_nothing_is_stained_the_annotation_is_left_out(
    tissue: Path, mask: str | None
) -> None:
    shapes = [(point("m", *EMPTY_PLACE), 1), (point("m", *NUCLEI[0][:2]), 1)]
    kept, objects, (line,) = find(tissue, shapes, mask)
    assert kept == shapes[1:]
    assert len(objects) == 1
    assert line == f"{tissue}: 1 of 2 annotations left out: no object is found there"


def test_boxes_say_where_and_outlines_what(tissue: Path) -> None:
    box = area("m", (75, 75, 125, 125), "box")
    triangle = Shape("m", (np.array([[20.0, 20], [60, 20], [20, 60]]),), "triangle")
    _, objects, failures = find(tissue, [(box, 1), (triangle, 1)])
    assert failures == []
    nucleus, as_drawn = objects
    x, y, radius = NUCLEI[0]
    assert overlap(painted([nucleus]) == 1, distance(x, y) <= radius) > 0.9
    assert as_drawn[0] is triangle


def test_polygons_are_painted_and_points_refused(tissue: Path) -> None:
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


def test_a_model_marks_the_object_at_the_point_only(tissue: Path) -> None:
    seen: list[NDArray[np.uint8]] = []

    def dark(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
        seen.append(image)
        found: NDArray[np.bool_] = image[..., 0] < 150
        return found

    # Both nuclei lie within the patch; 2 um beside the nucleus it is still meant, farther not.
    x, y, radius = NUCLEI[1]
    near, far = point("m", x + radius + 8, y, "near"), point("m", x + radius + 16, y, "far")
    kept, objects, failures = find(tissue, [(near, 2), (far, 2)], "model:runs/x", dark)
    assert {image.shape for image in seen} == {(96, 96, 3)}
    assert kept == [(near, 2)]
    assert overlap(painted(objects) == 2, distance(x, y) <= radius) > 0.95
    assert len(failures) == 1


def test_background_is_kept_but_not_outlined(tissue: Path) -> None:
    shapes = [(point("void", *EMPTY_PLACE), 0)]
    assert find(tissue, shapes, "stain") == (shapes, [], [])


def test_a_slide_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    shapes = [(point("m", 10, 10, str(number)), 1) for number in range(3)]
    kept, objects, (line,) = find(tmp_path / "gone.tiff", shapes, "stain")
    assert (kept, objects) == ([], [])
    assert "3 of 3 annotations left out" in line
    assert "no such slide" in line
