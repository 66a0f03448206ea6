"""Outlines give their mask back."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from skiptool.sources.patches.contours import outlines
from skiptool.sources.patches.painting import inside, paint
from skiptool.sources.patches.patch import Patch

MASKS = st.integers(1, 12).flatmap(lambda size: arrays(bool, (size, size)))
PLACES = st.tuples(st.floats(-50, 1e5), st.floats(-50, 1e5), st.floats(0.4, 17), st.floats(0.4, 17))


@given(MASKS, PLACES)
def test_painted_outlines_are_the_mask(
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
def test_vertices_stand_only_where_the_border_turns(mask: np.ndarray) -> None:
    for shape in outlines(mask, Patch(0.0, 0.0, len(mask)), "", ""):
        for ring in shape.rings:
            step = np.roll(ring, -1, axis=0) - ring
            assert ((step != 0).sum(axis=1) == 1).all()
            assert ((step[:, 0] == 0) != (np.roll(step, 1, axis=0)[:, 0] == 0)).all()


def test_an_empty_mask_has_no_outline() -> None:
    assert outlines(np.zeros((4, 4), dtype=bool), Patch(0.0, 0.0, 4), "", "") == ()
