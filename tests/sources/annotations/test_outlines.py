"""Vertices of files become shapes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.errors import SourceError
from skiptool.sources.annotations.annotated import NOWHERE, SLIP, LeftOut
from skiptool.sources.annotations.outlines import (
    box,
    circle,
    outer_first,
    point,
    polygon,
    vertices,
)
from skiptool.sources.shapes import Shape

PAIRS = st.lists(st.tuples(st.integers(-999, 9999), st.floats(-1e6, 1e6)), min_size=2, max_size=9)


@given(PAIRS)
def test_flat_and_paired_vertices_are_the_same(pairs: list[tuple[int, float]]) -> None:
    flat = [number for pair in pairs for number in pair]
    deep = [[*pair, 7] for pair in pairs]
    expected = [list(map(float, pair)) for pair in pairs]
    for values in (flat, pairs, deep):
        assert vertices(values, "here").tolist() == expected


@pytest.mark.parametrize(
    "values", [[1, 2, 3], [[1], [2]], [[1, 2], [3]], "abc", [["a", 2]], None, {}, 5, [[[1, 2]]]]
)
def test_what_is_no_pair_of_numbers_is_refused(values: object) -> None:
    with pytest.raises(SourceError, match=r"^a\.json: annotation 3: its vertices are no pairs"):
        vertices(values, "a.json: annotation 3")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300, None])
def test_vertices_beyond_any_slide_are_named(bad: float | None) -> None:
    with pytest.raises(SourceError, match=r"^here: vertex 2 is \("):
        vertices([[1, 2], [3, bad], [5, 6]], "here")


def test_rings_are_opened_and_holes_kept() -> None:
    outline = vertices([0, 0, 9, 0, 9, 9, 0, 9, 0, 0], "")
    hole, scratch = vertices([1, 1, 2, 1, 2, 2], ""), vertices([1, 1, 2, 2, 1, 1], "")
    shape = polygon("a", [outline, hole, scratch], "7")
    assert isinstance(shape, Shape)
    assert [len(ring) for ring in shape.rings] == [4, 3]
    assert (shape.name, shape.record, shape.area) == ("a", "7", 80.5)


@pytest.mark.parametrize("flat", [[], [1, 2], [1, 2, 3, 4], [1, 2, 3, 4, 1, 2]])
def test_outlines_of_fewer_than_three_vertices_are_left_out(flat: list[int]) -> None:
    assert polygon("a", [vertices(flat, "") if flat else np.empty((0, 2))], "1") == LeftOut(SLIP)


def test_shapes_without_vertices_are_left_out() -> None:
    none = np.empty((0, 2))
    assert polygon("a", [], "1") == LeftOut(SLIP)
    assert [make("a", none, "1") for make in (point, box, circle)] == [LeftOut(NOWHERE)] * 3
    assert box("a", vertices([1, 2], ""), "1") == LeftOut(NOWHERE)


def test_boxes_take_corners_in_any_order() -> None:
    shape = box("a", vertices([9, 2, 1, 8], ""), "1")
    assert isinstance(shape, Shape)
    assert shape.rings[0].tolist() == [[1, 2], [9, 2], [9, 8], [1, 8]]
    flat = box("a", vertices([1, 2, 9, 2], ""), "1")
    assert isinstance(flat, Shape)
    assert (flat.area, flat.centre) == (0, (5, 2))


def test_circles_are_round() -> None:
    shape = circle("a", vertices([110, 20, 10, 120], ""), "1")
    assert isinstance(shape, Shape)
    distance = np.hypot(*(shape.rings[0] - [60, 70]).T)
    np.testing.assert_allclose(distance, 50)
    assert shape.centre == pytest.approx((60, 70))
    assert shape.area == pytest.approx(np.pi * 50**2, rel=1e-3)


def test_what_lies_within_comes_later() -> None:
    inner = box("inner", vertices([2, 2, 4, 4], ""), "1")
    outer = box("outer", vertices([0, 0, 9, 9], ""), "2")
    spots = [point(name, vertices([1, 1], ""), name) for name in "xy"]
    found = outer_first([*spots, inner, LeftOut(SLIP), outer])
    order = [one.name if isinstance(one, Shape) else one.what for one in found]
    assert order == ["outer", "inner", "x", "y", SLIP]
