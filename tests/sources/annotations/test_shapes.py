"""Annotations in one form: what they say of themselves, worked by hand and against a loop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from skiptool.errors import SourceError
from skiptool.sources.annotations.shapes import (
    NO_VERTICES,
    TOO_FEW_VERTICES,
    AnnotationFile,
    Shape,
    Skipped,
    SlideAnnotations,
    box,
    circle,
    file_name,
    get_objects,
    largest_first,
    parse_vertices,
    point,
    polygon,
    record_ids,
    size,
    size_of,
    to_text,
)

RINGS = st.integers(3, 9).flatmap(
    lambda count: npst.arrays(
        np.float64, (count, 2), elements=st.integers(-50, 50).map(lambda value: value / 4)
    )
)


def shape(*rings: list[tuple[float, float]]) -> Shape:
    return Shape("tumor", tuple(np.array(ring, dtype=np.float64) for ring in rings), "1")


def test_point_has_a_centre_and_no_area() -> None:
    point = shape([(3, 4)])
    assert point.is_point
    assert (point.bounds, point.centre, point.area) == ((3, 4, 3, 4), (3, 4), 0)


def test_holes_reduce_the_area() -> None:
    ring = shape([(0, 0), (10, 0), (10, 10), (0, 10)], [(2, 2), (2, 4), (4, 4), (4, 2)])
    assert not ring.is_point
    assert (ring.bounds, ring.centre, ring.area) == ((0, 0, 10, 10), (5, 5), 96)
    assert shape([(0, 0), (2, 0), (2, 2)], [(0, 0), (9, 0), (9, 9)]).area == 0


@given(RINGS)
def test_area_equals_the_sum_of_triangles(ring: np.ndarray) -> None:
    total = 0.0
    for (x, y), (right, down) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        total += x * down - y * right
    assert Shape("", (ring,), "").area == pytest.approx(abs(total) / 2, abs=1e-9)


@given(RINGS, st.floats(-1e5, 1e5), st.sampled_from([0.5, 1.0, 2.0]))
def test_mapping_transforms_all_vertices(ring: np.ndarray, offset: float, scale: float) -> None:
    before = Shape("a", (ring, ring + 1), "7")
    after = before.mapped(lambda points: points * scale + offset)
    assert (after.name, after.record) == ("a", "7")
    np.testing.assert_allclose(after.centre, np.array(before.centre) * scale + offset, atol=1e-6)
    for moved, still in zip(after.rings, before.rings, strict=True):
        np.testing.assert_array_equal(moved, still * scale + offset)


# Vertices of files become shapes.


PAIRS = st.lists(st.tuples(st.integers(-999, 9999), st.floats(-1e6, 1e6)), min_size=2, max_size=9)


@given(PAIRS)
def test_flat_and_paired_vertices_are_equivalent(pairs: list[tuple[int, float]]) -> None:
    flat = [number for pair in pairs for number in pair]
    deep = [[*pair, 7] for pair in pairs]
    expected = [list(map(float, pair)) for pair in pairs]
    for values in (flat, pairs, deep):
        assert parse_vertices(values, "here").tolist() == expected


@pytest.mark.parametrize(
    "values", [[1, 2, 3], [[1], [2]], [[1, 2], [3]], "abc", [["a", 2]], None, {}, 5, [[[1, 2]]]]
)
def test_vertices_that_are_not_pairs_are_refused(values: object) -> None:
    with pytest.raises(SourceError, match=r"^a\.json: annotation 3: its vertices are not pairs"):
        parse_vertices(values, "a.json: annotation 3")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300, None])
def test_vertices_beyond_any_slide_are_named(bad: float | None) -> None:
    with pytest.raises(SourceError, match=r"^here: vertex 2 is \("):
        parse_vertices([[1, 2], [3, bad], [5, 6]], "here")


def test_rings_are_opened_and_holes_kept() -> None:
    outline = parse_vertices([0, 0, 9, 0, 9, 9, 0, 9, 0, 0], "")
    hole, scratch = parse_vertices([1, 1, 2, 1, 2, 2], ""), parse_vertices([1, 1, 2, 2, 1, 1], "")
    shape = polygon("a", [outline, hole, scratch], "7")
    assert isinstance(shape, Shape)
    assert [len(ring) for ring in shape.rings] == [4, 3]
    assert (shape.name, shape.record, shape.area) == ("a", "7", 80.5)


@pytest.mark.parametrize("flat", [[], [1, 2], [1, 2, 3, 4], [1, 2, 3, 4, 1, 2]])
def test_outlines_of_fewer_than_three_vertices_are_skipped(flat: list[int]) -> None:
    assert polygon("a", [parse_vertices(flat, "") if flat else np.empty((0, 2))], "1") == Skipped(
        TOO_FEW_VERTICES
    )


def test_shapes_without_vertices_are_skipped() -> None:
    none = np.empty((0, 2))
    assert polygon("a", [], "1") == Skipped(TOO_FEW_VERTICES)
    assert [make("a", none, "1") for make in (point, box, circle)] == [Skipped(NO_VERTICES)] * 3
    assert box("a", parse_vertices([1, 2], ""), "1") == Skipped(NO_VERTICES)


def test_boxes_take_corners_in_any_order() -> None:
    shape = box("a", parse_vertices([9, 2, 1, 8], ""), "1")
    assert isinstance(shape, Shape)
    assert shape.rings[0].tolist() == [[1, 2], [9, 2], [9, 8], [1, 8]]
    flat = box("a", parse_vertices([1, 2, 9, 2], ""), "1")
    assert isinstance(flat, Shape)
    assert (flat.area, flat.centre) == (0, (5, 2))


def test_circles_are_round() -> None:
    shape = circle("a", parse_vertices([110, 20, 10, 120], ""), "1")
    assert isinstance(shape, Shape)
    distance = np.hypot(*(shape.rings[0] - [60, 70]).T)
    np.testing.assert_allclose(distance, 50)
    assert shape.centre == pytest.approx((60, 70))
    assert shape.area == pytest.approx(np.pi * 50**2, rel=1e-3)


def test_nested_shapes_come_later() -> None:
    inner = box("inner", parse_vertices([2, 2, 4, 4], ""), "1")
    outer = box("outer", parse_vertices([0, 0, 9, 9], ""), "2")
    spots = [point(name, parse_vertices([1, 1], ""), name) for name in "xy"]
    found = largest_first([*spots, inner, Skipped(TOO_FEW_VERTICES), outer])
    order = [one.name if isinstance(one, Shape) else one.kind for one in found]
    assert order == ["outer", "inner", "x", "y", TOO_FEW_VERTICES]


# Records of annotation files.


def test_records_are_frozen_with_plain_defaults() -> None:
    annotated = SlideAnnotations((), None, False, "COCO")
    assert annotated.left_out == 0
    with pytest.raises(AttributeError):
        annotated.size = (1, 2)  # type: ignore[misc]
    opened = AnnotationFile("COCO", lambda listed: [])
    assert (opened.slides, opened.by_name, opened.in_bounds) == ((), True, False)
    assert list(opened.read(None)) == []


# Fields of parsed JSON: what is usable is taken, what is not is named.


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), (" a\n", "a"), (3, "3"), (None, ""), (True, ""), ({}, ""), ([1], "")],
)
def test_names_are_converted_to_text(value: object, text: str) -> None:
    assert to_text(value) == text


@given(st.text())
def test_names_can_be_stored(text: str) -> None:
    assert to_text(text).encode("utf-8").decode("utf-8") == to_text(text)


def test_lone_surrogate_can_be_stored() -> None:
    assert to_text("a\ud800") == "a?"


@pytest.mark.parametrize("path", ["a.svs", "/x/a.svs", "x\\a.svs", "D:\\x/y\\a.svs", "./a.svs "])
def test_folders_are_removed_from_file_names(path: str) -> None:
    assert file_name(path) == "a.svs"


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (30, 20, (30, 20)),
        (30.0, 20, (30, 20)),
        (0, 20, None),
        (None, 20, None),
        ("30", 20, None),
        (-3, 2, None),
        (float("nan"), 20, None),
        (float("inf"), 20, None),
    ],
)
def test_sizes_are_two_positive_numbers(width: object, height: object, expected: object) -> None:
    assert size(width, height) == size_of({"width": width, "height": height}) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "a.json: has no list 'images'"),
        ({"images": {}}, "a.json: has no list 'images'"),
        ({"images": [{}, 3]}, "a.json: entry 1 of 'images' is not an object"),
    ],
)
def test_lists_of_objects_are_checked(content: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        get_objects(content, "images", "a.json")


@given(st.lists(st.one_of(st.none(), st.integers(0, 5), st.sampled_from("ab"))))
def test_record_ids_are_unique(ids: list[object]) -> None:
    made = record_ids(ids)
    assert len(set(made)) == len(made) == len(ids)
