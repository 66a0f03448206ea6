from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from matplotlib.path import Path

from skiptool.figures.outlines import outlines

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.booleans())


def signed_area(ring: np.ndarray) -> float:
    x, y = ring.T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


@given(MASKS)
def test_filling_the_rings_gives_the_mask_back(mask: np.ndarray) -> None:
    y, x = np.indices(mask.shape)
    middles = np.stack([x.ravel(), y.ravel()], axis=1) + 0.5
    crossings = np.zeros(mask.size, dtype=np.int64)
    for ring in outlines(mask):
        crossings += Path(ring).contains_points(middles)
    assert (crossings.reshape(mask.shape) % 2 == mask).all()
    assert sum(map(signed_area, outlines(mask))) == mask.sum()  # holes run the other way


@given(MASKS)
def test_rings_are_closed_and_turn_at_every_vertex(mask: np.ndarray) -> None:
    for ring in outlines(mask):
        assert (ring[0] == ring[-1]).all()
        steps = np.diff(ring, axis=0)
        assert (steps[::2, 1] == 0).all()
        assert (steps[1::2, 0] == 0).all()
        assert (np.abs(steps).sum(axis=1) >= 1).all()


def test_pixels_that_touch_at_a_corner_stay_apart() -> None:
    assert sorted(map(signed_area, outlines(np.eye(3, dtype=bool)))) == [1.0, 1.0, 1.0]
    ring = np.ones((3, 3), dtype=bool)
    ring[1, 1] = False
    assert sorted(map(signed_area, outlines(ring))) == [-1.0, 9.0]


def test_nothing_has_no_outline() -> None:
    assert outlines(np.zeros((3, 4), dtype=bool)) == []
