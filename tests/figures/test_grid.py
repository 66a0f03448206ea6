from __future__ import annotations

from itertools import pairwise

import pytest

from skiptool.figures.grid import Column, Row, plan_grid
from skiptool.figures.style import TWO_COLUMNS

FACTORS = ("0.5", "0.75", "1.25", "1.5", "1.75")
SWEEP = [
    Column("original"),
    *(Column(factor, "brightness factor") for factor in FACTORS),
    *(Column(factor, "contrast factor") for factor in FACTORS),
    *(Column(factor, "saturation factor") for factor in ("0", "0.25", "0.5", "0.75")),
]
ROWS = [Row(name, encoder) for encoder in ("resnet18", "resnet34") for name in ("baseline", "L1")]


def test_the_sweep_of_the_paper_fills_two_journal_columns() -> None:
    plan = plan_grid(ROWS, SWEEP, with_spread=True)
    assert plan.size[0] == pytest.approx(TWO_COLUMNS)
    assert [len(block.labels) for block in plan.blocks] == [1, 5, 5, 4]
    assert not any(block.upright for block in plan.blocks)


def test_cells_follow_one_another_and_blocks_stand_apart() -> None:
    spans = plan_grid(ROWS, SWEEP, with_spread=False).spans()
    gaps = [b[0] - sum(a) for a, b in pairwise(spans)]
    apart = [place for place, gap in enumerate(gaps) if gap > 1e-9]
    assert apart == [0, 5, 10]
    assert all(abs(gap) < 1e-9 for place, gap in enumerate(gaps) if place not in apart)


def test_a_group_leaves_room_for_its_head() -> None:
    plan = plan_grid(ROWS, SWEEP, with_spread=False)
    steps = [b - a for a, b in pairwise(plan.tops)]
    assert steps == pytest.approx([plan.height, plan.height + 0.25, plan.height])


def test_long_labels_stand_upright_short_ones_do_not() -> None:
    columns = [Column("0.5", "factor"), Column("1", "factor"), Column("Pannoramic 250", "scanner")]
    blocks = plan_grid(ROWS, columns, with_spread=False).blocks
    assert [block.upright for block in blocks] == [False, True]


def test_thirty_columns_grow_beyond_the_page_instead_of_shrinking() -> None:
    plan = plan_grid(ROWS, [Column(str(place)) for place in range(30)], with_spread=False)
    assert plan.blocks[0].width == pytest.approx(0.28)
    assert plan.size[0] > TWO_COLUMNS
