from __future__ import annotations

from itertools import pairwise

import pytest

from skiptool.figures.forest_sheet import plan_forest
from skiptool.figures.grid import Column
from skiptool.figures.style import TWO_COLUMNS

SWEEP = [Column("original")] + [
    Column(f"{factor:g}", kind)
    for kind in ("brightness", "contrast", "saturation")
    for factor in (0.5, 0.75, 1.25, 1.5, 1.75)
]
KEYS = [["L1-pruned", "L2-pruned"], ["95 % interval over subjects", "p < 0.05", "p ≥ 0.05"]]


@pytest.mark.parametrize("rows", [SWEEP[:1], SWEEP, [Column("a scanner of some length")] * 8])
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
    sheet = plan_forest(SWEEP, 2, 4, KEYS)
    assert [name for name, _ in sheet.blocks] == ["brightness", "contrast", "saturation"]
    for (_, y), row in zip(sheet.blocks, (1, 6, 11), strict=True):
        assert sheet.edges[row - 1][1] < y < sheet.edges[row][0]


def test_entries_of_a_key_flow_over_lines() -> None:
    many = [[f"skips-1+2+{k}" for k in range(19)], KEYS[1]]
    sheet = plan_forest(SWEEP, 1, 19, many)
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
    sheets = [plan_forest(SWEEP, 2, places, KEYS) for places in (1, 4, 8, 12, 19)]
    assert [sheet.pitch for sheet in sheets] == sorted([s.pitch for s in sheets], reverse=True)
    assert [sheet.size[1] for sheet in sheets] == sorted(sheet.size[1] for sheet in sheets)


def test_an_empty_key_takes_no_line() -> None:
    with_key, without = (plan_forest(SWEEP, 1, 1, [KEYS[0], key]) for key in (KEYS[1], []))
    assert without.size[1] < with_key.size[1]
    assert without.keys[1] == ()
