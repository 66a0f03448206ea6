from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scans import turned
from skiptool.sources.registration.alignment import Alignment, Field, applied

SMALL = st.floats(-8.0, 8.0)


@st.composite
def alignments(draw: st.DrawFn) -> Alignment:
    """Draw scans turned and scaled, with a field that bends by a few pixels over hundreds."""
    affine = turned(
        draw(st.floats(0, 360)),
        draw(st.floats(0.3, 3.0)),
        (draw(st.floats(-1e4, 1e4)), draw(st.floats(-1e4, 1e4))),
        draw(st.booleans()),
    )
    if draw(st.booleans()):
        return Alignment(affine, 7)
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    drawn = draw(st.lists(SMALL, min_size=rows * columns * 2, max_size=rows * columns * 2))
    nodes = np.array(drawn).reshape(rows, columns, 2) * np.hypot(*affine[:, 0])
    return Alignment(affine, 7, Field((100.0, -50.0), (300.0, 400.0), nodes))


POINTS = np.array([[0.0, 0.0], [100.0, -50.0], [431.5, 222.25], [900.0, 700.0], [-500.0, 3000.0]])


@given(alignments())
def test_there_and_back_is_the_same_place(alignment: Alignment) -> None:
    back = alignment.to_reference(alignment.to_other(POINTS))
    np.testing.assert_allclose(back, POINTS, atol=0.01)


@given(alignments())
def test_json_keeps_every_bit(alignment: Alignment) -> None:
    again = Alignment.from_json(json.loads(json.dumps(alignment.as_json())))
    np.testing.assert_array_equal(again.to_other(POINTS), alignment.to_other(POINTS))
    assert again.inliers == alignment.inliers
    assert again.mirrored == alignment.mirrored


@given(alignments())
def test_the_local_affine_passes_through_the_point_and_follows_the_slope(
    alignment: Alignment,
) -> None:
    local = alignment.local_affine((350.0, 250.0), 10.0)
    point, step = np.array([[350.0, 250.0]]), np.array([[10.0, 0.0]])
    np.testing.assert_allclose(applied(local, point), alignment.to_other(point), atol=1e-6)
    slope = (alignment.to_other(point + step) - alignment.to_other(point - step)) / 20
    np.testing.assert_allclose(local[:, 0], slope[0], atol=1e-9)


def test_a_field_is_linear_between_its_nodes_and_constant_outside() -> None:
    nodes = np.array([[[0.0, 0.0], [4.0, 0.0]], [[0.0, 8.0], [4.0, 8.0]]])
    field = Field((10.0, 20.0), (100.0, 200.0), nodes)
    points = np.array([[10.0, 20.0], [60.0, 120.0], [110.0, 220.0], [500.0, -90.0], [35.0, 20.0]])
    expected = [[0, 0], [2, 4], [4, 8], [4, 0], [1, 0]]
    np.testing.assert_allclose(field.at(points), expected)
    one = Field((0.0, 0.0), (1.0, 1.0), np.array([[[3.0, -2.0]]]))
    np.testing.assert_array_equal(one.at(points), [[3.0, -2.0]] * len(points))


def test_mirror_images_are_told() -> None:
    assert Alignment(turned(30, 1.1, (0, 0), True), 3).mirrored
    assert not Alignment(turned(30, 1.1, (0, 0)), 3).mirrored
