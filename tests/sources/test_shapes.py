"""Annotations in one form: what they say of themselves, worked by hand and against a loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from skiptool.sources.shapes import Shape

RINGS = st.integers(3, 9).flatmap(
    lambda count: npst.arrays(
        np.float64, (count, 2), elements=st.integers(-50, 50).map(lambda value: value / 4)
    )
)


def shape(*rings: list[tuple[float, float]]) -> Shape:
    return Shape("tumor", tuple(np.array(ring, dtype=np.float64) for ring in rings), "1")


def test_a_point_has_a_place_and_no_area() -> None:
    point = shape([(3, 4)])
    assert point.is_point
    assert (point.bounds, point.centre, point.area) == ((3, 4, 3, 4), (3, 4), 0)


def test_holes_are_no_area() -> None:
    ring = shape([(0, 0), (10, 0), (10, 10), (0, 10)], [(2, 2), (2, 4), (4, 4), (4, 2)])
    assert not ring.is_point
    assert (ring.bounds, ring.centre, ring.area) == ((0, 0, 10, 10), (5, 5), 96)
    assert shape([(0, 0), (2, 0), (2, 2)], [(0, 0), (9, 0), (9, 9)]).area == 0


@given(RINGS)
def test_area_is_that_of_the_triangles(ring: np.ndarray) -> None:
    total = 0.0
    for (x, y), (right, down) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        total += x * down - y * right
    assert Shape("", (ring,), "").area == pytest.approx(abs(total) / 2, abs=1e-9)


@given(RINGS, st.floats(-1e5, 1e5), st.sampled_from([0.5, 1.0, 2.0]))
def test_mapping_moves_all_vertices(ring: np.ndarray, offset: float, scale: float) -> None:
    before = Shape("a", (ring, ring + 1), "7")
    after = before.mapped(lambda vertices: vertices * scale + offset)
    assert (after.name, after.record) == ("a", "7")
    np.testing.assert_allclose(after.centre, np.array(before.centre) * scale + offset, atol=1e-6)
    for moved, still in zip(after.rings, before.rings, strict=True):
        np.testing.assert_array_equal(moved, still * scale + offset)
