"""Masks from areas, against one test a pixel."""

from __future__ import annotations

import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from skiptool.sources.annotations.shapes import Shape
from skiptool.sources.patches.painting import (
    Areas,
    Patch,
    crossings,
    inside,
    outlines,
    paint,
)

NUMBERS = st.floats(-30, 50).map(lambda number: round(number, 6))
RINGS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=3, max_size=12).map(np.array)
PATCHES = st.builds(
    Patch,
    st.floats(-20, 30),
    st.floats(-20, 30),
    st.integers(1, 24),
    st.tuples(st.floats(0.3, 5), st.floats(0.3, 5)),
)


def area(*rings: object, name: str = "") -> Shape:
    return Shape(name, tuple(np.array(ring, dtype=float) for ring in rings), "")


def box(left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def centres(patch: Patch) -> tuple[np.ndarray, np.ndarray]:
    line = np.arange(patch.size) + 0.5
    x, y = np.meshgrid(patch.x + line * patch.scale[0], patch.y + line * patch.scale[1])
    return x, y


def by_pixel(ring: np.ndarray, patch: Patch) -> tuple[np.ndarray, np.ndarray]:
    """Send a ray from each centre alone; and tell how near the border each is."""
    x, y = centres(patch)
    odd, near = np.zeros(x.shape, dtype=bool), np.full(x.shape, np.inf)
    for start, end in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        run, fall = end - start
        across, down = x - start[0], y - start[1]
        along = np.clip((across * run + down * fall) / max(run**2 + fall**2, 1e-300), 0, 1)
        near = np.minimum(near, np.hypot(along * run - across, along * fall - down))
        if fall != 0:
            odd ^= ((start[1] > y) != (end[1] > y)) & (across < down / fall * run)
    return odd, near


@given(st.lists(RINGS, min_size=1, max_size=3), PATCHES)
def test_pixel_is_inside_if_its_centre_is(rings: list[np.ndarray], patch: Patch) -> None:
    (expected, near), *holes = [by_pixel(ring, patch) for ring in rings]
    for hole, border in holes:
        expected, near = expected & ~hole, np.minimum(near, border)
    sure = near > 1e-9
    assert np.array_equal(inside(Shape("", tuple(rings), ""), patch)[sure], expected[sure])


@given(st.integers(0, 2**32 - 1))
def test_areas_that_share_edges_neither_overlap_nor_leave_gaps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = np.stack(np.meshgrid(np.arange(5), np.arange(5), indexing="ij"), axis=-1) * 8.0
    corners[1:-1, 1:-1] += rng.uniform(-3, 3, (3, 3, 2))
    cells = [
        area([corners[i, j], corners[i + 1, j], corners[i + 1, j + 1], corners[i, j + 1]])
        for i in range(4)
        for j in range(4)
    ]
    patch = Patch(0.0, 0.0, 25, (1.28, 1.28))
    counts = sum(inside(cell, patch).astype(int) for cell in cells)
    assert (counts == 1).all()


def test_borders_through_centres_belong_to_upper_and_left_sides() -> None:
    found = inside(area(box(0.5, 0.5, 2.5, 2.5)), Patch(0.0, 0.0, 4))
    assert np.argwhere(found).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_later_areas_cover_earlier_ones_and_holes_are_transparent() -> None:
    base = np.full((10, 10), 255, np.uint8)
    ring = area(box(1, 1, 9, 9), box(3, 3, 7, 7))
    below, above = area(box(0, 0, 5, 10)), area(box(8, 0, 10, 2))
    point = area([(2, 2)])
    painted = paint([(below, 1), (ring, 2), (above, 0), (point, 9)], Patch(0.0, 0.0, 10), base)
    assert painted[5].tolist() == [1, 2, 2, 1, 1, 255, 255, 2, 2, 255]
    assert painted[1].tolist() == [1, 2, 2, 2, 2, 2, 2, 2, 0, 0]
    assert (base == 255).all()


def test_scaled_patch_shows_the_same_area() -> None:
    shape = area(box(100, 200, 140, 220))
    found = inside(shape, Patch(90.0, 190.0, 20, (4.0, 2.0)))
    rows, columns = np.nonzero(found)
    assert (rows.min(), rows.max()) == (5, 14)
    assert (columns.min(), columns.max()) == (2, 11)
    assert found.sum() * 8 == shape.area


def test_only_areas_near_a_patch_are_painted() -> None:
    areas = Areas.of([(area(box(i, 0, i + 1, 9)), i) for i in range(100)])
    assert areas.near(Patch(10.0, 2.0, 4)).tolist() == [10, 11, 12, 13]
    assert Areas.of([]).paint(Patch(0.0, 0.0, 2), np.zeros((2, 2), np.uint8)).sum() == 0


@pytest.mark.parametrize("ring", [[(1, 1), (5, 5), (1, 1)], box(1, 2.2, 9, 2.2), [(1, 1), (9, 9)]])
def test_empty_area_paints_nothing(ring: list[tuple[float, float]]) -> None:
    assert not inside(area(ring), Patch(0.0, 0.0, 10)).any()


@pytest.mark.slow
def test_many_vertices_are_painted_quickly() -> None:
    rng = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, 600, endpoint=False)
    shapes = []
    for x, y in rng.uniform(0, 20000, (113, 2)):
        radius = 3000 * (1 + 0.1 * rng.standard_normal(600))
        ring = np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)
        shapes.append((area(ring), 1))
    areas, base = Areas.of(shapes), np.zeros((512, 512), np.uint8)
    corners = rng.uniform(0, 19000, (40, 2))
    began = time.perf_counter()
    for x, y in corners:
        areas.paint(Patch(x, y, 512), base)
    assert (time.perf_counter() - began) / len(corners) < 0.02


# Where a patch lies.


def test_box_and_centre_are_in_pixels_of_level_0() -> None:
    patch = Patch(10.0, -4.0, 8, (2.0, 0.5))
    assert patch.box == (10.0, -4.0, 26.0, 0.0)
    assert patch.centre == (18.0, -2.0)
    assert patch.columns == {}


# Crossings of outlines with lines, against a loop over the edges.


NUMBERS_SCANLINES = st.integers(-40, 40).map(lambda number: number / 4)
RINGS_SCANLINES = st.lists(
    st.tuples(NUMBERS_SCANLINES, NUMBERS_SCANLINES), min_size=3, max_size=9
).map(np.array)


def by_hand(ring: np.ndarray, heights: np.ndarray) -> list[tuple[int, float]]:
    found = []
    for (x, y), (x_to, y_to) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        for line, height in enumerate(heights):
            if min(y, y_to) <= height < max(y, y_to):
                part = (Fraction(height) - Fraction(y)) / (Fraction(y_to) - Fraction(y))
                found.append((line, float(Fraction(x) + part * (Fraction(x_to) - Fraction(x)))))
    return sorted(found)


@given(st.lists(RINGS_SCANLINES, min_size=1, max_size=3), st.lists(NUMBERS_SCANLINES, unique=True))
def test_crossings_are_those_of_the_edges(rings: list[np.ndarray], heights: list[float]) -> None:
    lines = np.array(sorted(heights), dtype=float)
    line, x = crossings(rings, lines)
    expected = sorted(pair for ring in rings for pair in by_hand(ring, lines))
    assert sorted(line.tolist()) == [index for index, _ in expected]
    order = np.lexsort((x, line))
    assert np.allclose(x[order], [at for _, at in expected], rtol=0, atol=1e-12)


@given(RINGS_SCANLINES, st.floats(-11, 11))
def test_each_line_is_crossed_an_even_number_of_times(ring: np.ndarray, height: float) -> None:
    line, _ = crossings([ring], np.array([height]))
    assert len(line) % 2 == 0


@given(RINGS_SCANLINES)
def test_direction_of_a_ring_does_not_matter(ring: np.ndarray) -> None:
    heights = np.linspace(-10, 10, 33)
    one, other = crossings([ring], heights), crossings([ring[::-1]], heights)
    assert sorted(zip(*map(np.ndarray.tolist, one), strict=True)) == sorted(
        zip(*map(np.ndarray.tolist, other), strict=True)
    )


# Outlines give their mask back.


MASKS = st.integers(1, 12).flatmap(lambda size: arrays(bool, (size, size)))
PLACES = st.tuples(st.floats(-50, 1e5), st.floats(-50, 1e5), st.floats(0.4, 17), st.floats(0.4, 17))


@given(MASKS, PLACES)
def test_painted_outlines_reproduce_the_mask(
    mask: np.ndarray, place: tuple[float, float, float, float]
) -> None:
    x, y, across, down = place
    patch = Patch(x, y, len(mask), (across, down))
    shapes = outlines(mask, patch, "nucleus", "4")
    painted = paint([(shape, 1) for shape in shapes], patch, np.zeros(mask.shape, np.uint8))
    assert np.array_equal(painted == 1, mask)
    assert {(shape.name, shape.record) for shape in shapes} <= {("nucleus", "4")}


@given(MASKS)
def test_each_component_is_one_shape_with_its_holes(mask: np.ndarray) -> None:
    patch = Patch(0.0, 0.0, len(mask))
    labels, count = ndimage.label(mask)
    shapes = outlines(mask, patch, "", "")
    assert len(shapes) == count
    for index, shape in enumerate(shapes, start=1):
        component = labels == index
        assert np.array_equal(inside(shape, patch), component)
        assert shape.area == component.sum()
        holes = ndimage.label(~np.pad(component, 1), structure=np.ones((3, 3)))[1] - 1
        assert len(shape.rings) == 1 + holes


@given(MASKS)
def test_vertices_lie_only_at_turns_of_the_border(mask: np.ndarray) -> None:
    for shape in outlines(mask, Patch(0.0, 0.0, len(mask)), "", ""):
        for ring in shape.rings:
            step = np.roll(ring, -1, axis=0) - ring
            assert ((step != 0).sum(axis=1) == 1).all()
            assert ((step[:, 0] == 0) != (np.roll(step, 1, axis=0)[:, 0] == 0)).all()


def test_empty_mask_has_no_outline() -> None:
    assert outlines(np.zeros((4, 4), dtype=bool), Patch(0.0, 0.0, 4), "", "") == ()
