from __future__ import annotations

from itertools import combinations

import pytest

from skiptool.figures.heat_plan import HEIGHT, HeatRow, plan_heat
from skiptool.figures.style import TWO_COLUMNS
from skiptool.names import LAYERS

ROWS = [HeatRow(f"{factor}", kind) for kind in ("brightness", "contrast") for factor in (0.5, 1.5)]
LONG = [HeatRow("Panoramic 250 Flash III"), HeatRow("x" * 200)]


@pytest.mark.parametrize("blocks", [1, 2, 5])
@pytest.mark.parametrize("rows", [ROWS, LONG, ROWS * 8], ids=len)
@pytest.mark.parametrize("layers", [LAYERS, LAYERS[:1], [f"layer{n}" for n in range(60)]], ids=len)
def test_matrices_lie_on_the_sheet_and_apart(
    blocks: int, rows: list[HeatRow], layers: list[str]
) -> None:
    plan = plan_heat(blocks, rows, layers)
    ends = len(rows) - 1, len(layers) - 1
    boxes = [(plan.box(corner, 0, 0)[0], plan.box(corner, *ends)[2]) for corner in plan.corners]
    assert len(boxes) == blocks
    for (left, top), (right, bottom) in boxes:
        assert 0 < left < right < plan.size[0]
        assert 0 < top < bottom < plan.size[1]
    for (a, b), (c, d) in combinations(boxes, 2):
        assert b[0] < c[0] or d[0] < a[0] or b[1] < c[1] or d[1] < a[1]


def test_two_stand_side_by_side_where_there_is_room() -> None:
    assert [plan_heat(n, ROWS, LAYERS).across for n in (1, 2, 3)] == [1, 2, 2]
    assert plan_heat(2, LONG, LAYERS).across == 1
    assert plan_heat(2, ROWS, LAYERS * 2).across == 1
    for rows in (ROWS, LONG):
        assert plan_heat(2, rows, LAYERS).size[0] == pytest.approx(TWO_COLUMNS)


def test_kinds_stand_apart() -> None:
    first, second, third, _ = plan_heat(1, ROWS, LAYERS).offsets
    assert second - first == pytest.approx(HEIGHT)
    assert third - second > HEIGHT


def test_names_stand_upright_where_they_would_touch() -> None:
    assert not plan_heat(2, ROWS, LAYERS).upright
    assert plan_heat(1, ROWS, ["encoder.layer1.0.conv1"] * 12).upright
