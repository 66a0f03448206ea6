"""Places without tissue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from skiptool.sources.patches.background import EMPTY, draw_empty, empty_cells


@dataclass(frozen=True)
class Map:
    mask: np.ndarray
    scale: tuple[float, float] = (10.0, 10.0)


def share(tissue: Map, left: float, top: float, right: float, bottom: float) -> float:
    """Of tissue in a box, by the overlap of each cell with it."""
    height, width = tissue.mask.shape
    columns, rows = np.arange(width) * tissue.scale[0], np.arange(height) * tissue.scale[1]
    wide = np.clip(
        np.minimum(columns + tissue.scale[0], right) - np.maximum(columns, left), 0, None
    )
    high = np.clip(np.minimum(rows + tissue.scale[1], bottom) - np.maximum(rows, top), 0, None)
    return float(high @ tissue.mask @ wide / (right - left) / (bottom - top))


@given(st.integers(0, 2**32 - 1), st.floats(5, 250), st.floats(5, 250), st.floats(0.02, 0.6))
def test_a_patch_around_a_drawn_point_shows_background(
    seed: int, width: float, height: float, much: float
) -> None:
    rng = np.random.default_rng(seed)
    tissue = Map(np.kron(rng.random((7, 9)) < much, np.ones((6, 6))).astype(bool), (10.0, 12.0))
    cells = empty_cells(tissue, (width, height))
    if len(cells):
        x, y = draw_empty(cells, tissue.scale, rng)
        assert not tissue.mask[int(y // 12), int(x // 10)]
        box = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        assert share(tissue, *box) <= EMPTY + 1e-6


def test_patches_wholly_on_the_slide_come_first() -> None:
    tissue = Map(np.zeros((20, 30), dtype=bool))
    cells = empty_cells(tissue, (60.0, 100.0))
    assert (cells.min(axis=0).tolist(), cells.max(axis=0).tolist()) == ([5, 3], [14, 26])
    assert len(empty_cells(tissue, (250.0, 250.0))) == 600


def test_a_slide_full_of_tissue_has_no_place() -> None:
    full = Map(np.ones((20, 30), dtype=bool))
    assert empty_cells(full, (40.0, 40.0)).shape == (0, 2)
    full.mask[10, 10] = False
    assert empty_cells(full, (40.0, 40.0)).shape == (0, 2)


def test_all_places_are_drawn_alike() -> None:
    cells = np.array([[0, 0], [5, 7]])
    rng = np.random.default_rng(0)
    points = np.array([draw_empty(cells, (10.0, 20.0), rng) for _ in range(2000)])
    far = points[:, 0] >= 70
    assert abs(far.mean() - 0.5) < 0.05
    assert (points[far] // [10, 20] == [7, 5]).all()
    assert (points[~far] // [10, 20] == [0, 0]).all()
