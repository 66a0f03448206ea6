"""Objects lifted off a smear whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from skiptool.errors import SourceError
from skiptool.sources.backdrop import free_pixels
from skiptool.sources.bbbc041 import Box
from skiptool.sources.lifting import Slide

SIDE = 260


def cell(row: int, column: int, radius: int) -> np.ndarray:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return np.hypot(rows - row, columns - column) <= radius


def slide(*cells: tuple[int, int, int], boxed: int | None = None) -> Slide:
    """Draw round cells on grainy glass; the first ``boxed`` of them have boxes."""
    rng = np.random.default_rng(0)
    image = (
        np.array((224, 222, 216))
        + ndimage.gaussian_filter(8 * rng.standard_normal((SIDE, SIDE)), 1.0)[..., None]
    )
    for at, (row, column, radius) in enumerate(cells):
        soft = ndimage.gaussian_filter(cell(row, column, radius).astype(float), 1.2)[..., None]
        image = (1 - soft) * image + soft * (np.array((120, 90, 150)) - 15 * at)
    boxes = [Box(r - s, c - s, r + s + 1, c + s + 1) for r, c, s in cells[:boxed]]
    picture = np.rint(image).astype(np.uint8)
    return Slide.of(picture, boxes, free_pixels(picture, boxes), np.random.default_rng(1))


def overlap(mask: np.ndarray, truth: np.ndarray) -> float:
    """Return the IoU of a template's mask and its truth, cut to the same window."""
    return float((mask & truth).sum() / (mask | truth).sum())


def window(one: Slide, box: Box) -> tuple[slice, slice]:
    return box.grown(14, *one.free.shape).slices


def test_a_cell_alone_is_cut_along_its_outline() -> None:
    one = slide((120, 130, 30))
    box = one.boxes[0]
    template = one.lift("cell-1", box)
    assert overlap(template.mask, cell(120, 130, 30)[window(one, box)]) > 0.95
    assert one.crowding(box) == (False, 0.0)
    outside = ndimage.binary_dilation(template.mask, iterations=6)
    assert np.abs(template.image[~outside].astype(int) - (224, 222, 216)).max() < 25


def test_cells_that_touch_are_parted_along_the_rim() -> None:
    one = slide((120, 100, 30), (120, 158, 30))
    for at, column in enumerate((100, 158)):
        template = one.lift("cell", one.boxes[at])
        assert overlap(template.mask, cell(120, column, 30)[window(one, one.boxes[at])]) > 0.9


def test_a_cell_that_runs_into_one_without_box_is_rounded_off() -> None:
    one = slide((120, 100, 30), (120, 140, 30), boxed=1)
    template = one.lift("cell", one.boxes[0])
    assert overlap(template.mask, cell(120, 100, 30)[window(one, one.boxes[0])]) > 0.9


def test_crowding_grows_with_the_neighbour() -> None:
    shares = [slide((120, 90, 30), (120, 90 + gap, 30)) for gap in (90, 50, 25)]
    values = [one.crowding(one.boxes[0])[1] for one in shares]
    assert values[0] == 0.0
    assert values[0] < values[1] < values[2]


def test_a_cell_at_the_border_is_cut_off() -> None:
    one = slide((20, 130, 30), (150, 130, 30))
    edge = Box(0, 100, 51, 161)
    assert one.cut_off(edge)
    assert not one.cut_off(one.boxes[1])


def test_pieces_are_kept_for_artifacts_alone() -> None:
    one = slide((80, 100, 14), (80, 140, 8), boxed=0)
    box = Box(60, 80, 100, 155)
    assert ndimage.label(one.lift("cell", box).mask)[1] == 1
    assert ndimage.label(one.lift("artifact", box, pieces=True).mask)[1] == 2


def test_a_box_on_empty_glass_is_refused() -> None:
    one = slide((120, 130, 30))
    with pytest.raises(SourceError, match="template cell: nothing in it stands out"):
        one.lift("cell", Box(10, 10, 50, 50))
