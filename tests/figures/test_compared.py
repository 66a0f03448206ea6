from __future__ import annotations

import numpy as np
import pytest

from skiptool.errors import ArgumentError
from skiptool.figures.compared import WIDTHS, ComparedCells, compared_entries
from skiptool.figures.dots import dot_axes
from skiptool.figures.pens import compared_pens

CLASSES = ("background", "LV", "MYO")
IMAGE = np.zeros((8, 8, 3), dtype=np.uint8)


def mask(*labels: int) -> np.ndarray:
    """Return a mask with one pixel of each label."""
    found = np.zeros((8, 8), dtype=np.uint8)
    for place, label in enumerate(labels):
        found[2, 2 * place] = label
    return found


def test_the_key_names_truth_and_prediction_of_what_occurs() -> None:
    entries = compared_entries([mask(2), mask(255)], [mask(), mask(2)], CLASSES, (0.7, 0.3))
    assert [entry.name for entry in entries] == ["MYO, truth", "MYO, prediction", "ignored"]
    assert [entry.width for entry in entries] == [0.7, 0.3, 0.0]
    assert (entries[0].pen, entries[1].pen) == compared_pens(CLASSES[1:])["MYO"]
    assert compared_entries([], [], CLASSES) == []
    assert [entry.name for entry in compared_entries([], [mask(255)], CLASSES)] == []


def test_labels_without_a_class_and_masks_of_another_size_are_refused() -> None:
    with pytest.raises(ArgumentError, match="found label 3, expected labels below 3"):
        compared_entries([mask(1)], [mask(3)], CLASSES)
    cells = ComparedCells(dot_axes(50, 50)[1], (16, 16), CLASSES)
    for truth, predicted in ((mask()[1:], mask()), (mask(), mask()[:, 1:])):
        with pytest.raises(ArgumentError, match=r"found one of shape \(.*expected \(8, 8\)"):
            cells.add(IMAGE, truth, predicted, 0, 0)


def test_lines_follow_the_pixels_the_prediction_above_the_truth() -> None:
    _, axes = dot_axes(80, 40)
    cells = ComparedCells(axes, (16, 16), CLASSES)
    cells.add(IMAGE, mask(1), mask(0, 1), 10, 5)  # two dots a pixel
    cells.add(IMAGE, mask(), mask(1), 50, 5)
    cells.add_hole(30, 5)
    assert len(axes.images) == 2
    cells.outline()
    truth, predicted = compared_pens(CLASSES[1:])["LV"]
    lines = {each.get_colors()[0][:3].tobytes(): each for each in axes.collections}
    assert len(axes.collections) == 4  # each with its casing
    colours = [pen.colour for pen in (truth, predicted)]
    drawn = [axes.collections[1], axes.collections[3]]
    for each, colour, width in zip(drawn, colours, WIDTHS, strict=True):
        rgb = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        np.testing.assert_allclose(each.get_colors()[0][:3], rgb)
        assert each.get_linewidths()[0] == pytest.approx(2 * width)  # half of it is cut off
    corners = [path.vertices.min(axis=0).tolist() for path in drawn[1].get_paths()]
    assert corners == [[14.0, 9.0], [50.0, 9.0]]
    assert [path.vertices.min(axis=0).tolist() for path in drawn[0].get_paths()] == [[10.0, 9.0]]
    assert len(lines) == 3
