from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from skiptool.figures.forest_marks import Mark, Pen, draw_marks, pens_of
from skiptool.figures.forest_sheet import plan_forest
from skiptool.figures.grid import Column
from skiptool.figures.style import architecture_colours

SHEET = plan_forest([Column("a"), Column("b")], 1, 1, [["L1-pruned"], []])
NAN = math.nan


def mark(**facts: Any) -> Mark:  # noqa: ANN401 - any field
    plain = {"row": 0, "family": "resnet18", "pruning": "L1-pruned", "ensemble": False}
    numbers = {"value": 0.2, "low": 0.1, "high": 0.4, "spread": 0.05, "sure": True}
    return Mark(**{**plain, **numbers, **facts})


def drawn(*marks: Mark) -> Axes:
    axes = Figure().add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(-1.0, 1.0)
    draw_marks(axes, SHEET, marks, pens_of(marks))
    return axes


def segments(axes: Axes, place: int) -> list[list[float]]:
    """Start and end of each line of a collection: the bars are the first, then the intervals."""
    found = axes.collections[place]
    assert isinstance(found, LineCollection)
    return [line[:, 0].tolist() for line in found.get_segments() if len(line)]


def test_a_sure_mark_by_hand() -> None:
    axes = drawn(mark(row=1))
    assert segments(axes, 0) == [pytest.approx([0.15, 0.25])]
    assert segments(axes, 1) == [[0.1, 0.4]]
    (line,) = axes.lines
    assert line.get_xdata() == pytest.approx([0.2])
    assert line.get_ydata() == pytest.approx([SHEET.labels[1][1]])
    assert line.get_markerfacecolor() == architecture_colours(["L1-pruned"])["L1-pruned"]


def test_the_line_of_an_open_mark_stops_at_its_edge() -> None:
    axes = drawn(mark(sure=False))
    (left, right) = segments(axes, 1)
    assert (left[0], right[1]) == (0.1, 0.4)
    assert left[1] < 0.2 < right[0]
    assert right[0] - 0.2 == pytest.approx(0.2 - left[1])
    assert axes.lines[0].get_markerfacecolor() == "none"


@pytest.mark.parametrize(("low", "high"), [(0.3, 0.4), (0.0, 0.1), (0.199, 0.201)])
def test_a_line_never_leaves_its_interval(low: float, high: float) -> None:
    """A percentile interval may lie beside the value, or within the open mark."""
    for start, end in segments(drawn(mark(low=low, high=high, sure=False)), 1):
        assert low <= start < end <= high


def test_what_is_not_known_is_not_drawn() -> None:
    axes = drawn(mark(low=NAN, high=NAN, spread=NAN, sure=False), mark(row=1, value=NAN))
    assert segments(axes, 0) == segments(axes, 1) == []
    (line,) = axes.lines
    assert len(line.get_xdata()) == 1


def test_colours_that_come_anew_have_another_shape_and_ensembles_theirs() -> None:
    names = ["L1-pruned", *(f"skips-{place:02d}" for place in range(15))]
    marks = [mark(pruning=name) for name in names]
    pens = pens_of([*marks, mark(ensemble=True)])
    assert list(pens)[:3] == [("L1-pruned", False), ("L1-pruned", True), ("skips-00", False)]
    assert pens["L1-pruned", True].shape != pens["L1-pruned", False].shape
    looks = {(pen.colour, pen.shape) for pen in pens.values()}
    assert len(looks) == len(pens) == 17


def test_looks() -> None:
    filled, empty = (Pen("#123456").looks(4.0, sure=sure) for sure in (True, False))
    assert (filled["markerfacecolor"], empty["markerfacecolor"]) == ("#123456", "none")
    assert filled["color"] == empty["color"] == "#123456"
    assert np.isclose(filled["markersize"], 4.0)
