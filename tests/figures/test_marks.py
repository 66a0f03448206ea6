from __future__ import annotations

import numpy as np
import pytest

from skiptool.errors import ArgumentError
from skiptool.figures.marks import box_lines, gather_marks

SQUARE = np.array([(0.0, 0.0), (100.0, 0.0), (100.0, 100.0), (0.0, 100.0)])


def test_annotations_are_sorted_by_name_and_scaled() -> None:
    marks = gather_marks(
        [("tumor", (SQUARE, SQUARE / 2)), ("cell", (SQUARE / 50,))],
        [("cell", (10.0, 20.0)), ("other", (0.0, 0.0))],
        (1.0, 0.5),
    )
    assert list(marks) == ["tumor", "cell", "other"]
    assert marks["tumor"].lines[0].tolist() == [[0, 0], [100, 0], [100, 50], [0, 50], [0, 0]]
    assert len(marks["tumor"].lines) == 2
    assert [point.tolist() for point in marks["cell"].points] == [[1.0, 0.5], [10.0, 10.0]]
    assert marks["cell"].label("cell") == "cell (areas 1, points 1)"
    assert marks["other"].label("other") == "other (1)"


def test_vertices_that_cannot_be_told_apart_are_left_out() -> None:
    angles = np.linspace(0.0, 2 * np.pi, 100_000)
    circle = 1000 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    (line,) = gather_marks([("a", (circle,))], [], (0.02, 0.02))["a"].lines
    assert len(line) < 500
    assert np.hypot(*line.T) == pytest.approx(20.0)


def test_boxes_become_closed_rings() -> None:
    lines = box_lines(np.array([[2.0, 4.0, 6.0, 8.0]]), (0.5, 0.25))
    assert lines.tolist() == [[[1, 1], [3, 1], [3, 2], [1, 2], [1, 1]]]
    assert box_lines(np.zeros((0, 4)), (1.0, 1.0)).shape == (0, 5, 2)


@pytest.mark.parametrize("shape", [(4,), (3, 5)])
def test_other_boxes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError, match=r"expected \(N, 4\)"):
        box_lines(np.zeros(shape), (1.0, 1.0))
