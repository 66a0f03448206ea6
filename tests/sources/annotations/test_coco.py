"""COCO's JSON: MIDOG's boxes, CATCH's flat polygons, and the form everybody else writes."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.errors import SourceError
from skiptool.sources.annotations.coco import has_corners, is_coco, open_coco
from skiptool.sources.annotations.read import read_annotations
from skiptool.sources.annotations.shapes import TOO_FEW_VERTICES, SlideAnnotations

Writer = Callable[..., Path]
Faults = Callable[[SlideAnnotations], tuple[str, int]]

SQUARE = [2, 3, 12, 3, 12, 13, 2, 13]
CATEGORIES = [{"id": 1, "name": "Dermis"}, {"id": 7, "name": "Melanoma"}]


def coco(*annotations: dict[str, Any], info: str = "", size: int = 9000) -> dict[str, Any]:
    common = {"image_id": 1, "category_id": 7}
    return {
        "info": {"description": info},
        "images": [
            {"id": 1, "file_name": "a.svs", "width": size, "height": size},
            {"id": 2, "file_name": "b/B.tif", "width": 50, "height": 60},
        ],
        "categories": CATEGORIES,
        "annotations": [{"id": at + 5, **common, **one} for at, one in enumerate(annotations)],
    }


@pytest.mark.parametrize(
    "segmentation",
    [SQUARE, [SQUARE], [[2, 3], [12, 3], [12, 13], [2, 13]], [[*SQUARE, 2, 3]], [*SQUARE, 2, 3]],
)
def test_flat_nested_and_paired_outlines_are_the_same(
    written: Writer, segmentation: list[Any]
) -> None:
    path = written(coco({"segmentation": segmentation, "bbox": [2, 3, 10, 10]}))
    read = read_annotations(path, "a.svs", (9000, 9000))
    (shape,) = read.shapes
    assert (read.format, read.size, read.in_bounds) == ("COCO", (9000, 9000), False)
    assert (shape.name, shape.record, shape.area) == ("Melanoma", "5", 100)
    assert shape.rings[0].tolist() == [[2, 3], [12, 3], [12, 13], [2, 13]]


def test_each_ring_of_a_record_is_a_shape(written: Writer) -> None:
    triangle = [0, 0, 4, 0, 4, 4]
    path = written(coco({"segmentation": [SQUARE, triangle, [1, 1, 2, 2]]}))
    read = read_annotations(path, "a.svs")
    assert [(shape.record, shape.area) for shape in read.shapes] == [("5", 100), ("5", 8)]
    assert read.dropped == {TOO_FEW_VERTICES: 1}


def test_catch_keeps_the_file_order_as_paint_order(written: Writer) -> None:
    large = [0, 0, 99, 0, 99, 99]
    path = written(
        coco(
            {"segmentation": SQUARE, "category_id": 1},
            {"segmentation": large},
            {"segmentation": SQUARE, "image_id": 2},
            {"segmentation": SQUARE},
        )
    )
    assert [shape.record for shape in read_annotations(path, "a.svs").shapes] == ["5", "6", "8"]
    assert [shape.record for shape in read_annotations(path, "b.tif").shapes] == ["7"]


def test_boxes_follow_the_coco_definition(written: Writer) -> None:
    boxes = [[10, 20, 30, 40], [5.5, 6.5, 7, 8]]
    path = written(coco(*({"bbox": one, "segmentation": []} for one in boxes)))
    bounds = [shape.bounds for shape in read_annotations(path, "a.svs").shapes]
    assert bounds == [(10, 20, 40, 60), (5.5, 6.5, 12.5, 14.5)]


@pytest.mark.parametrize(
    ("boxes", "info", "size", "corners"),
    [
        ([[100, 200, 150, 250], [4, 5, 54, 55]], "", 9000, True),  # one size, as MIDOG's
        ([[100, 200, 150, 250]], "", 9000, False),  # may be either: COCO's meaning
        ([[100, 200, 150, 250]], "MIDOG 2021", 9000, True),
        ([[100, 200, 150, 250]], "", 260, True),  # would leave the image otherwise
        ([[100, 200, 150, 250], [4, 5, 60, 55]], "", 9000, False),
        ([[100, 200, 50, 50], [4, 5, 50, 50]], "MIDOG 2021", 9000, False),  # converted by someone
        ([[100, 200, 50, 50], [4, 5, 50, 50]], "", 260, False),
    ],
)
def test_corner_boxes_are_distinguished_from_sizes(
    boxes: list[list[int]], info: str, size: int, corners: bool
) -> None:
    content = coco(*({"bbox": one} for one in boxes), info=info, size=size)
    assert has_corners(content, {"1": (size, size)}) is corners
    assert open_coco(content, "f").format == ("MIDOG" if corners else "COCO")


@given(
    st.lists(st.tuples(st.integers(0, 8000), st.integers(0, 8000)), min_size=2, unique=True),
    st.integers(1, 200),
)
def test_boxes_of_one_size_are_recognised_as_corners(
    places: list[tuple[int, int]], side: int
) -> None:
    corners = coco(*({"bbox": [x, y, x + side, y + side]} for x, y in places))
    sizes = coco(*({"bbox": [x, y, side, side]} for x, y in places))
    assert has_corners(corners, {})
    assert not has_corners(sizes, {})


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (
            {"segmentation": {"counts": [1], "size": [2, 2]}},
            r"run-length encoded \(RLE\); .*polygons",
        ),
        ({"segmentation": [1, 2, 3]}, "not pairs of numbers"),
        ({"segmentation": [["a", "b", "c", "d", "e", "f"]]}, "not pairs of numbers"),
        ({"segmentation": "m10"}, "not pairs of numbers"),
        ({"segmentation": [1, 2, 3, 4, float("nan"), 6]}, r"vertex 3 is \(nan, 6\)"),
        ({}, "neither a segmentation nor a bbox"),
        ({"bbox": [1, 2, 3]}, "neither a segmentation nor a bbox"),
        ({"bbox": [10, 10, -3, 4]}, "has a negative side"),
        ({"bbox": [1, 2, 3, "x"]}, "not pairs of numbers"),
        ({"bbox": [1, 2, 3, 1e999]}, r"vertex 2 is \(3, inf\)"),
        ({"bbox": [1, 2, 3, 4], "category_id": 9}, "category_id 9 is not among the categories"),
        ({"bbox": [1, 2, 3, 4], "category_id": None}, "category_id missing is not among"),
    ],
)
def test_damaged_annotation_is_reported_and_skipped(
    written: Writer, faults: Faults, annotation: dict[str, Any], message: str
) -> None:
    path = written(coco({"bbox": [1, 2, 3, 4]}, annotation))
    line, shapes = faults(read_annotations(path, "a.svs"))
    assert re.match(rf"{path}: annotation 6: .*{message}", line)
    assert shapes == 1
    with pytest.raises(SourceError, match=rf"^{path}: annotation 5: .*{message}"):
        read_annotations(written(coco(annotation)), "a.svs")


def test_records_that_are_not_objects_are_skipped(written: Writer, faults: Faults) -> None:
    content = coco({"segmentation": [SQUARE]})
    content["annotations"].append("m10")
    line, shapes = faults(read_annotations(written(content), "a.svs"))
    assert "annotation #1: is not an object" in line
    assert shapes == 1


@pytest.mark.parametrize("nothing", [None, [], {}, [[]], [[], []]])
def test_box_is_used_if_the_outline_is_empty(written: Writer, nothing: object) -> None:
    outline = {"segmentation": [SQUARE], "bbox": [2, 3, 10, 10]}
    path = written(coco(outline, {"segmentation": nothing, "bbox": [2, 3, 10, 10]}))
    first, second = read_annotations(path, "a.svs").shapes
    assert first.rings[0].tolist() == second.rings[0].tolist()


def test_empty_parts_of_an_outline_are_ignored(written: Writer) -> None:
    (shape,) = read_annotations(written(coco({"segmentation": [[], SQUARE]})), "a.svs").shapes
    assert shape.area == 100


@pytest.mark.parametrize("odd", [None, [1, 2, 3], [1, 2, 3, "x"], [9, 9, 5, 5, 0.5], "box"])
def test_invalid_box_does_not_affect_the_others(written: Writer, odd: object) -> None:
    boxes = [{"bbox": [100, 200, 150, 250]}, {"bbox": odd}, {"bbox": [4, 5, 54, 55]}]
    read = read_annotations(written(coco(*boxes)), "a.svs")
    assert read.format == "MIDOG"
    assert sorted(shape.bounds for shape in read.shapes) == [(4, 5, 54, 55), (100, 200, 150, 250)]
    assert len(read.faults) == 1


@pytest.mark.parametrize("inner_first", [True, False])
def test_nested_areas_stay_on_top_in_plain_coco(written: Writer, inner_first: bool) -> None:
    outer = {"segmentation": [[0, 0, 99, 0, 99, 99]], "category_id": 1}
    both = (
        [{"segmentation": [SQUARE]}, outer] if inner_first else [outer, {"segmentation": [SQUARE]}]
    )
    shapes = read_annotations(written(coco(*both)), "a.svs").shapes
    assert [shape.name for shape in shapes] == ["Dermis", "Melanoma"]


def test_annotations_of_unlisted_images_are_counted(written: Writer) -> None:
    path = written(coco({"segmentation": [SQUARE]}, {"segmentation": [SQUARE], "image_id": 77}))
    read = read_annotations(path, "a.svs")
    assert len(read.shapes) == 1
    assert read.notes == (f"{path}: 1 annotations are of no image that it lists",)


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_missing_list_is_named(key: str) -> None:
    content = coco({"bbox": [1, 2, 3, 4]})
    content[key] = None
    with pytest.raises(SourceError, match=f"^f: has no list '{key}'"):
        open_coco(content, "f")


def test_coco_is_recognised_by_its_lists() -> None:
    assert is_coco(coco())
    assert not is_coco([coco()])
    assert not is_coco({"annotations": []})


def test_annotations_of_another_size_are_refused(written: Writer) -> None:
    with pytest.raises(SourceError, match=r"annotates a\.svs as 9000 x 9000 pixels, the slide has"):
        read_annotations(written(coco({"bbox": [1, 2, 3, 4]})), "a.svs", (4500, 4500))


def test_midog(shared_data: Path) -> None:
    path = shared_data / "annotations" / "MIDOG.json"
    names = [image["file_name"] for image in json.loads(path.read_text())["images"]]
    read = [read_annotations(path, name) for name in names]
    found = [shape for one in read for shape in one.shapes]
    assert (len(names), sum(1 for one in read if not one.shapes), len(found)) == (200, 50, 4435)
    assert {one.format for one in read} == {"MIDOG"}
    bounds = np.array([shape.bounds for shape in found])
    np.testing.assert_array_equal(bounds[:, 2:] - bounds[:, :2], 50)
    assert Counter(shape.name for shape in found) == {
        "mitotic figure": 1721,
        "not mitotic figure": 2714,
    }
    first = read_annotations(path, "001.tiff", (7215, 5412)).shapes[0]
    assert (first.centre, first.record) == ((4361, 371), "1")
