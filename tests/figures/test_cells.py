from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from skiptool.errors import ArgumentError
from skiptool.figures.cells import Cells, cell_size, mask_entries
from skiptool.figures.dots import dot_axes

CLASSES = ("background", "cell", "artefact")


def image(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 90, dtype=np.uint8)


def drawn(picture: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """One cell of 60 dots at (10, 10) on a sheet of 80."""
    figure, axes = dot_axes(80, 80)
    cells = Cells(axes, (60, 60), CLASSES)
    cells.add(picture, mask, 10, 10)
    cells.outline()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([(128, 128)], (256, 256)),
        ([(512, 512)], (256, 256)),
        ([(300, 300)], (300, 300)),
        ([(64, 128)], (256, 128)),
        ([(128, 128), (200, 200), (64, 64)], (256, 256)),
        ([(1, 4000)], (250, 1)),
    ],
)
def test_cells_are_whole_multiples_close_to_what_is_wanted(
    shapes: list[tuple[int, int]], expected: tuple[int, int]
) -> None:
    assert cell_size([image(*shape) for shape in shapes], 256) == expected


def test_the_key_names_what_occurs() -> None:
    masks = [np.array([[0, 2]], dtype=np.uint8), None, np.array([[255]], dtype=np.uint8)]
    entries = mask_entries(masks, CLASSES)
    assert [entry.name for entry in entries] == ["artefact", "ignored"]
    assert [entry.striped for entry in entries] == [False, True]
    assert mask_entries([None, np.zeros((2, 2), dtype=np.uint8)], CLASSES) == []


def test_a_label_without_a_class_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"found label 3 in a mask, expected labels below 3"):
        mask_entries([np.array([[0, 3]], dtype=np.uint8)], CLASSES)


def test_the_outline_lies_at_the_edge_of_the_pixels_and_inside() -> None:
    mask = np.zeros((20, 20), dtype=np.uint8)
    mask[5:15, 5:15] = 1
    changed = (drawn(image(20, 20), mask) != drawn(image(20, 20), None)).any(axis=2)
    y, x = np.nonzero(changed)
    assert (x.min(), y.min(), x.max(), y.max()) == (25, 25, 54, 54)  # three dots a pixel
    assert not changed[32:48, 32:48].any()


def test_neighbours_do_not_cover_one_another() -> None:
    mask = np.ones((20, 20), dtype=np.uint8)
    mask[:, 10:] = 2
    row = drawn(image(20, 20), mask)[40]
    assert row[39, 1] > row[39, 0]  # green to the left of the edge
    assert row[40, 0] > row[40, 2] or row[40].max() < 60  # amber or its casing to the right


def test_what_is_ignored_is_lighter_and_striped_and_the_rest_is_untouched() -> None:
    mask = np.zeros((20, 20), dtype=np.uint8)
    mask[:, 10:] = 255
    sheet = drawn(image(20, 20), mask)[10:70, 10:70]
    assert (sheet[:, :30] == 90).all()
    assert len(np.unique(sheet[:, 30:])) == 2
    assert sheet[:, 30:].min() > 120


def test_a_smaller_image_stands_in_the_middle() -> None:
    sheet = drawn(image(20, 40), None)
    inside = (sheet == 90).all(axis=2)
    y, x = np.nonzero(inside)
    assert (x.min(), y.min(), x.max(), y.max()) == (20, 30, 59, 49)


def test_a_hole_is_seen() -> None:
    figure, axes = dot_axes(80, 80)
    Cells(axes, (60, 60), CLASSES).add_hole(10, 10)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    assert (np.asarray(canvas.buffer_rgba())[12:68, 12:68, :3] < 255).any(axis=2).all()


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"mask of shape \(4, 5\), expected \(20, 20\)"):
        drawn(image(20, 20), np.zeros((4, 5), dtype=np.uint8))
