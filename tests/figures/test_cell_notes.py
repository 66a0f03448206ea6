from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest

from skiptool.figures.cell_notes import plan_notes
from skiptool.figures.grid import Column, Plan, Row, plan_grid
from skiptool.figures.style import TWO_COLUMNS, drawing, text_width


def planned(columns: int, texts: Sequence[str]) -> tuple[Plan, float, Plan]:
    """Plan with texts, their size, and the plan that would be without."""
    blocks = [Column(str(place), f"block {place // 5}") for place in range(columns)]
    plan_of = partial(plan_grid, [Row("a row"), Row("another")], blocks)
    with drawing():
        return *plan_notes(plan_of, texts), plan_of(with_spread=False)


@pytest.mark.parametrize("columns", [1, 5, 12, 16, 20])
def test_texts_fit_into_their_cells(columns: int) -> None:
    texts = ["−.20, −.10", ".00, .01"]
    plan, size, without = planned(columns, texts)
    assert 4.0 - 1e-6 <= size <= 4.8
    assert text_width(texts, size) < min(width for _, width in plan.spans())
    assert plan.height > without.height


def test_they_are_as_large_as_there_is_room() -> None:
    assert planned(5, [".1, .2"])[1] == 4.8
    assert planned(16, ["−.20, −.10"])[1] < 4.8


def test_where_they_would_make_the_sheet_too_wide_they_are_left_out() -> None:
    plan, size, without = planned(31, ["−.20, −.10"])
    assert (plan, size) == (without, 0.0)
    assert planned(3, ["x" * 200])[1] == 0.0


def test_a_sheet_that_is_wide_anyway_keeps_texts_that_need_no_more() -> None:
    plan, size, without = planned(40, ["±0.02"])
    assert without.size[0] > 1.2 * TWO_COLUMNS
    assert (plan.size[0], size) == (without.size[0], 4.8)


def test_without_texts_rows_stay_low() -> None:
    plan, size, without = planned(5, [])
    assert (plan, size) == (without, 0.0)
