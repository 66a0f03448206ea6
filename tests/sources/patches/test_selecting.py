"""The component at a point."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from skiptool.sources.patches.selecting import component_at

MASKS = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


@given(MASKS, st.floats(-2, 11), st.floats(-2, 11), st.floats(0, 15))
def test_it_is_one_component_or_nothing(mask: np.ndarray, x: float, y: float, reach: float) -> None:
    found = component_at(mask, (x, y), reach)
    assert found.dtype == bool
    assert not (found & ~mask).any()
    assert ndimage.label(found)[1] == int(found.any())
    assert not (ndimage.binary_dilation(found) & mask & ~found).any()
    rows, columns = np.nonzero(mask)
    on = ((rows == np.floor(y)) & (columns == np.floor(x))).any()
    near = (np.hypot(columns + 0.5 - x, rows + 0.5 - y) <= reach).any()
    assert found.any() == (on or near)


def test_the_nearest_within_reach_is_taken() -> None:
    mask = np.zeros((5, 9), dtype=bool)
    mask[2, :2], mask[2, 6:] = True, True
    assert not component_at(mask, (4.0, 2.5)).any()
    assert np.argwhere(component_at(mask, (4.0, 2.5), 2.5)).tolist() == [[2, 0], [2, 1]]
    assert component_at(mask, (4.1, 2.5), 9).sum() == 3


@pytest.mark.parametrize("at", [(0.99, 0.99), (0.0, 0.0)])
def test_corners_do_not_join(at: tuple[float, float]) -> None:
    assert component_at(np.eye(2, dtype=bool), at).tolist() == [[True, False], [False, False]]
