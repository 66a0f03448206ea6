"""Tests of ``forest``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from skiptool.errors import ArgumentError
from skiptool.figures.forest import Mark, draw_forest, forest
from skiptool.figures.heatmap import Column
from skiptool.figures.style import TWO_COLUMNS, architecture_colours, drawing_style, figure_bytes
from skiptool.names import PictureFormat

Check = Callable[[Figure], list[str]]
KEY = {"label": "cell IoU minus that of the baseline", "interval": "95 % interval over subjects"}
LEGEND = {"significant": "p < 0.05 (Holm)", "not_significant": "p ≥ 0.05"}
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
    return forest(found, rows, **KEY, **LEGEND)


@pytest.mark.parametrize(
    ("rows", "networks", "families"),
    [(1, 1, 1), (1, 4, 2), (16, 4, 2), (31, 19, 1), (8, 8, 3), (4, 2, 5)],
)
def test_labels_do_not_overlap(labels: Check, rows: int, networks: int, families: int) -> None:
    figure = drawn(marks(rows, networks, families), SWEEP[:rows])
    texts = labels(figure)
    assert len(figure.axes) == families
    assert {*KEY.values(), *LEGEND.values(), "L1-pruned", "original", "0"} <= set(texts)
    assert "± SD between trainings" in texts
    assert ("brightness" in texts) == (rows > 1)
    assert (figure.get_size_inches()[0] <= TWO_COLUMNS + 1e-6) == (families <= 3)
    assert not [text for text in texts if "-0." in text]


def test_panels_share_an_axis_that_includes_everything_and_zero() -> None:
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


def test_legend_lists_only_what_is_drawn(labels: Check) -> None:
    nan = math.nan
    found = [replace(mark, spread=nan) for mark in marks(1, 2, 1, ensemble=True)]
    texts = labels(drawn(found, SWEEP[:1]))
    assert {"L1-pruned", "L1-pruned, ensemble", *LEGEND.values()} <= set(texts)
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
    svg = figure_bytes(figure, PictureFormat.SVG)
    assert b"<script" not in svg
    assert b"&lt;script&gt;" in svg


def test_figure_is_deterministic() -> None:
    first, second = (
        figure_bytes(drawn(marks(3, 4, 2), SWEEP[:3]), PictureFormat.SVG) for _ in range(2)
    )
    assert first == second


def test_empty_input_and_unknown_rows_are_refused() -> None:
    with pytest.raises(ArgumentError, match="0 marks in 1 rows; expected at least one"):
        drawn([], SWEEP[:1])
    with pytest.raises(ArgumentError, match="2 marks in 1 rows"):
        drawn(marks(2, 1, 1), SWEEP[:1])


def test_legend_states_that_intervals_are_cut() -> None:
    wide = marks(2, 1, 1)
    wide[0] = replace(wide[0], low=-1.4)
    texts = [
        [text.get_text() for text in drawn(each, SWEEP[:2]).legends[0].get_texts()]
        for each in (marks(2, 1, 1), wide)
    ]
    cut = f"{KEY['interval']}, cut at a difference of 1"
    assert [cut in each for each in texts] == [False, True]


NAN = math.nan
ROWS = [Column("a"), Column("b")]


def mark(**facts: Any) -> Mark:  # noqa: ANN401 - any field
    plain = {"row": 0, "family": "resnet18", "pruning": "L1-pruned", "ensemble": False}
    numbers = {"value": 0.2, "low": 0.1, "high": 0.4, "spread": 0.05, "significant": True}
    return Mark(**{**plain, **numbers, **facts})


def panel(*marks: Mark) -> Axes:
    with drawing_style():
        axes = Figure().add_subplot()
        draw_forest(axes, marks, ROWS)
    return axes


def bars(axes: Axes, width: float) -> list[list[float]]:
    """Start and end of each bar of a width: the spreads are wide, the intervals thin."""
    groups = [group for each in axes.containers for group in each.lines[2]]
    lines = [
        line
        for group in groups
        for line in group.get_segments()
        if group.get_linewidth()[0] == pytest.approx(width)
    ]
    return [line[:, 0].tolist() for line in lines if line.size and np.isfinite(line).all()]


def points(axes: Axes) -> list[Any]:
    return [line for line in axes.lines if line.get_marker() in ("o", "s", "^", "v", "D")]


def test_a_significant_mark_is_filled() -> None:
    axes = panel(mark(row=1))
    assert bars(axes, 0.75 * 0.09 * 72) == [pytest.approx([0.15, 0.25])]
    assert bars(axes, 1.0) == [pytest.approx([0.1, 0.4])]
    (line,) = points(axes)
    assert line.get_xdata() == pytest.approx([0.2])
    assert line.get_ydata() == pytest.approx([axes.get_yticks()[1]])
    assert line.get_markerfacecolor() == architecture_colours(["L1-pruned"])["L1-pruned"]


def test_a_mark_that_is_not_significant_is_open() -> None:
    (filled,) = points(panel(mark(significant=True)))
    (hollow,) = points(panel(mark(significant=False)))
    assert filled.get_color() == hollow.get_color() == filled.get_markerfacecolor()
    assert to_hex(hollow.get_markerfacecolor()) == "#eaeef2"


@pytest.mark.parametrize(("low", "high"), [(0.3, 0.4), (0.0, 0.1), (0.199, 0.201)])
def test_an_interval_need_not_hold_the_value(low: float, high: float) -> None:
    """A percentile interval may lie beside the value."""
    assert bars(panel(mark(low=low, high=high, significant=False)), 1.0) == [
        pytest.approx([low, high])
    ]


def test_unknown_values_are_not_drawn() -> None:
    axes = panel(mark(low=NAN, high=NAN, spread=NAN, significant=False), mark(row=1, value=NAN))
    assert bars(axes, 1.0) == bars(axes, 0.75 * 0.09 * 72) == []
    (line,) = points(axes)
    assert len(line.get_xdata()) == 1


def test_repeated_colours_and_ensembles_have_distinct_markers() -> None:
    names = ["L1-pruned", *(f"skips-{place:02d}" for place in range(15))]
    found = points(panel(*(mark(pruning=name) for name in names), mark(ensemble=True)))
    assert [line.get_marker() for line in found[:2]] == ["o", "D"]
    assert found[0].get_color() == found[1].get_color()
    assert len({(line.get_color(), line.get_marker()) for line in found}) == len(found) == 17


def test_networks_of_a_row_are_stacked_within_it() -> None:
    axes = panel(*(mark(row=row, pruning=f"skips-{n:02d}") for row in (0, 1) for n in range(19)))
    heights = np.array([line.get_ydata() for line in points(axes)])
    assert (np.diff(heights, axis=0) > 0).all()
    np.testing.assert_allclose(heights.mean(axis=0), axes.get_yticks())
    assert heights[-1, 0] < heights[0, 1]
    assert 0.0 < heights.min() < heights.max() < axes.get_ylim()[0]


def test_each_kind_has_its_head_before_its_first_row() -> None:
    axes = drawn(marks(16, 4, 2), SWEEP[:16]).axes[0]
    heads = {text.get_text(): text.xy[1] for text in axes.texts}
    assert list(heads) == ["brightness", "contrast"]
    rows = axes.get_yticks()
    for y, first in zip(heads.values(), (1, 11), strict=True):
        assert rows[first - 1] < y < rows[first]


def test_more_networks_take_more_height() -> None:
    heights = [drawn(marks(4, n, 1), SWEEP[:4]).axes[0].get_ylim()[0] for n in (1, 4, 8, 12, 19)]
    assert heights == sorted(set(heights))
