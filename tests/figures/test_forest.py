"""Tests of ``forest``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from skiptool.errors import ArgumentError
from skiptool.figures.forest import (
    Mark,
    Pen,
    draw_marks,
    forest,
    pens_of,
    plan_forest,
)
from skiptool.figures.heatmap import Column
from skiptool.figures.style import TWO_COLUMNS, PictureFormat, architecture_colours, picture

Check = Callable[[Figure], list[str]]
KEY = {"label": "cell IoU minus that of the baseline", "interval": "95 % interval over subjects"}
SURE = {"sure": "p < 0.05 (Holm)", "unsure": "p ≥ 0.05"}
SWEEP = [Column("original")] + [
    Column(f"{factor:g}", kind)
    for kind in ("brightness", "contrast", "saturation")
    for factor in (0.25, 0.5, 0.75, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)[:10]
]


def marks(rows: int, networks: int, families: int, ensemble: bool = False) -> list[Mark]:
    rng = np.random.default_rng(0)
    names = [*(f"L{k}-pruned" for k in range(1, 5)), *(f"skips-{k}" for k in range(20))]
    return [
        Mark(row, f"resnet{family}", name, together, value, value - 0.02, value + 0.02, 0.03, sure)
        for family in range(families)
        for row in range(rows)
        for name in names[:networks]
        for together in ((False, True) if ensemble else (False,))
        for value, sure in [(float(rng.uniform(-0.3, 0.3)), bool(rng.integers(2)))]
    ]


def drawn(found: list[Mark], rows: list[Column]) -> Figure:
    return forest(found, rows, **KEY, **SURE)


@pytest.mark.parametrize(
    ("rows", "networks", "families"),
    [(1, 1, 1), (1, 4, 2), (16, 4, 2), (31, 19, 1), (8, 8, 3), (4, 2, 5)],
)
def test_every_label_has_its_own_place_on_the_sheet(
    labels: Check, rows: int, networks: int, families: int
) -> None:
    figure = drawn(marks(rows, networks, families), SWEEP[:rows])
    texts = labels(figure)
    assert len(figure.axes) == families
    assert {*KEY.values(), *SURE.values(), "L1-pruned", "original", "0"} <= set(texts)
    assert "± SD between trainings" in texts
    assert ("brightness" in texts) == (rows > 1)
    assert (figure.get_size_inches()[0] <= TWO_COLUMNS + 1e-6) == (families <= 3)
    assert not [text for text in texts if "-0." in text]


def test_panels_share_an_axis_that_holds_all_and_zero() -> None:
    found = [replace(mark, value=0.5, low=0.4, high=0.7) for mark in marks(2, 2, 2)]
    found[0] = replace(found[0], value=0.5, spread=0.45)
    limits = {axes.get_xlim() for axes in drawn(found, SWEEP[:2]).axes}
    ((low, high),) = limits
    assert low < 0.0
    assert high > 0.95


def test_intervals_of_two_trainings_do_not_squeeze_the_axis() -> None:
    """Differences of IoU are never beyond 1, t-intervals with one degree of freedom may be."""
    (mark,) = marks(1, 1, 1)
    (axes,) = drawn([replace(mark, low=-7.0, high=9.0)], SWEEP[:1]).axes
    low, high = axes.get_xlim()
    assert -1.1 < low < -1.0
    assert 1.0 < high < 1.1


def test_a_row_without_any_value_is_drawn_empty(labels: Check) -> None:
    nan = math.nan
    found = [replace(mark, value=nan, low=nan, high=nan, spread=nan) for mark in marks(1, 1, 1)]
    texts = labels(drawn(found, SWEEP[:1]))
    assert "original" in texts
    assert KEY["interval"] not in texts
    assert "nan" not in " ".join(texts)


def test_the_key_explains_what_is_there_alone(labels: Check) -> None:
    nan = math.nan
    found = [replace(mark, spread=nan) for mark in marks(1, 2, 1, ensemble=True)]
    texts = labels(drawn(found, SWEEP[:1]))
    assert {"L1-pruned", "L1-pruned, ensemble", *SURE.values()} <= set(texts)
    assert "± SD between trainings" not in texts


def test_names_from_data_cannot_break_it(labels: Check) -> None:
    names = ["<script>alert(1)</script>", "x" * 200, "two\nlines", "a$b$c_{", "nul\x00"]
    found = [
        Mark(row, family, pruning, False, 0.1, 0.0, 0.2, 0.1, True)
        for row in range(5)
        for family in names[:2]
        for pruning in names
    ]
    figure = drawn(found, [Column(name) for name in names])
    labels(figure)
    svg = picture(figure, PictureFormat.SVG)
    assert b"<script" not in svg
    assert b"&lt;script&gt;" in svg


def test_the_same_bytes_again() -> None:
    first, second = (picture(drawn(marks(3, 4, 2), SWEEP[:3]), PictureFormat.SVG) for _ in range(2))
    assert first == second


def test_refuses_nothing_and_unknown_rows() -> None:
    with pytest.raises(ArgumentError, match="0 marks in 1 rows; expected at least one"):
        drawn([], SWEEP[:1])
    with pytest.raises(ArgumentError, match="2 marks in 1 rows"):
        drawn(marks(2, 1, 1), SWEEP[:1])


def test_an_interval_that_is_cut_is_told() -> None:
    wide = marks(2, 1, 1)
    wide[0] = replace(wide[0], low=-1.4)
    texts = [
        [text.get_text() for text in drawn(each, SWEEP[:2]).texts]
        for each in (marks(2, 1, 1), wide)
    ]
    cut = f"{KEY['interval']}, cut at a difference of 1"
    assert [cut in each for each in texts] == [False, True]


SHEET = plan_forest([Column("a"), Column("b")], 1, 1, [["L1-pruned"], []])
NAN = math.nan


def mark(**facts: Any) -> Mark:  # noqa: ANN401 - any field
    plain = {"row": 0, "family": "resnet18", "pruning": "L1-pruned", "ensemble": False}
    numbers = {"value": 0.2, "low": 0.1, "high": 0.4, "spread": 0.05, "sure": True}
    return Mark(**{**plain, **numbers, **facts})


def drawn_of_forest_marks(*marks: Mark) -> Axes:
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
    axes = drawn_of_forest_marks(mark(row=1))
    assert segments(axes, 0) == [pytest.approx([0.15, 0.25])]
    assert segments(axes, 1) == [[0.1, 0.4]]
    (line,) = axes.lines
    assert line.get_xdata() == pytest.approx([0.2])
    assert line.get_ydata() == pytest.approx([SHEET.labels[1][1]])
    assert line.get_markerfacecolor() == architecture_colours(["L1-pruned"])["L1-pruned"]


def test_the_line_of_an_open_mark_stops_at_its_edge() -> None:
    axes = drawn_of_forest_marks(mark(sure=False))
    (left, right) = segments(axes, 1)
    assert (left[0], right[1]) == (0.1, 0.4)
    assert left[1] < 0.2 < right[0]
    assert right[0] - 0.2 == pytest.approx(0.2 - left[1])
    assert axes.lines[0].get_markerfacecolor() == "none"


@pytest.mark.parametrize(("low", "high"), [(0.3, 0.4), (0.0, 0.1), (0.199, 0.201)])
def test_a_line_never_leaves_its_interval(low: float, high: float) -> None:
    """A percentile interval may lie beside the value, or within the open mark."""
    for start, end in segments(drawn_of_forest_marks(mark(low=low, high=high, sure=False)), 1):
        assert low <= start < end <= high


def test_what_is_not_known_is_not_drawn() -> None:
    axes = drawn_of_forest_marks(
        mark(low=NAN, high=NAN, spread=NAN, sure=False), mark(row=1, value=NAN)
    )
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


SWEEP_FOREST_SHEET = [Column("original")] + [
    Column(f"{factor:g}", kind)
    for kind in ("brightness", "contrast", "saturation")
    for factor in (0.5, 0.75, 1.25, 1.5, 1.75)
]
KEYS = [["L1-pruned", "L2-pruned"], ["95 % interval over subjects", "p < 0.05", "p ≥ 0.05"]]


@pytest.mark.parametrize(
    "rows", [SWEEP_FOREST_SHEET[:1], SWEEP_FOREST_SHEET, [Column("a scanner of some length")] * 8]
)
@pytest.mark.parametrize(("panels", "places"), [(1, 1), (2, 4), (2, 19), (3, 8), (6, 4)])
def test_all_stands_on_the_sheet_and_apart(rows: list[Column], panels: int, places: int) -> None:
    sheet = plan_forest(rows, panels, places, KEYS)
    width, height = sheet.size
    assert sheet.lefts[-1] + sheet.width < width
    assert sheet.bottom < height
    assert (width <= TWO_COLUMNS + 1e-9) == (panels <= 3)
    edges = sheet.edges
    assert len(edges) == len(rows)
    assert all(low >= high - 1e-9 for (_, high), (low, _) in pairwise(edges))
    assert edges[-1][1] == pytest.approx(sheet.bottom)
    for row, (top, bottom) in enumerate(edges):
        first, last = (sheet.height(row, place, places) for place in (0, places - 1))
        assert top < first <= last < bottom
        assert (first + last) / 2 == pytest.approx((top + bottom) / 2)
        assert sheet.labels[row][1] == pytest.approx((top + bottom) / 2)
    left, low, wide, tall = sheet.rectangle(panels - 1)
    assert 0 < left < left + wide < 1
    assert 0 < low < low + tall < 1


def test_each_kind_has_its_head_before_its_first_row() -> None:
    sheet = plan_forest(SWEEP_FOREST_SHEET, 2, 4, KEYS)
    assert [name for name, _ in sheet.blocks] == ["brightness", "contrast", "saturation"]
    for (_, y), row in zip(sheet.blocks, (1, 6, 11), strict=True):
        assert sheet.edges[row - 1][1] < y < sheet.edges[row][0]


def test_entries_of_a_key_flow_over_lines() -> None:
    many = [[f"skips-1+2+{k}" for k in range(19)], KEYS[1]]
    sheet = plan_forest(SWEEP_FOREST_SHEET, 1, 19, many)
    first, second = sheet.keys
    assert (len(first), len(second)) == (19, 3)
    lines = sorted({y for _, y in first})
    assert len(lines) > 1
    assert min(y for _, y in second) > lines[-1]
    assert all(0 < x < sheet.size[0] for x, _ in (*first, *second))
    assert max(y for _, y in second) < sheet.size[1]
    for line in lines:
        xs = [x for x, y in first if y == line]
        assert xs == sorted(set(xs))


def test_more_networks_stand_closer_and_take_more_height() -> None:
    sheets = [plan_forest(SWEEP_FOREST_SHEET, 2, places, KEYS) for places in (1, 4, 8, 12, 19)]
    assert [sheet.pitch for sheet in sheets] == sorted([s.pitch for s in sheets], reverse=True)
    assert [sheet.size[1] for sheet in sheets] == sorted(sheet.size[1] for sheet in sheets)


def test_an_empty_key_takes_no_line() -> None:
    with_key, without = (
        plan_forest(SWEEP_FOREST_SHEET, 1, 1, [KEYS[0], key]) for key in (KEYS[1], [])
    )
    assert without.size[1] < with_key.size[1]
    assert without.keys[1] == ()
