from __future__ import annotations

from itertools import combinations

import pytest
from matplotlib.figure import Figure

from skiptool.figures.curve_sheet import plan_curves
from skiptool.figures.style import TWO_COLUMNS
from skiptool.names import LAYERS

MODULES = [f"encoder.layer{n}.0.conv1" for n in range(40)]


@pytest.mark.parametrize("panels", [1, 2, 3, 4, 5, 20])
@pytest.mark.parametrize("names", [LAYERS, MODULES, MODULES * 3], ids=len)
def test_panels_lie_on_the_sheet_and_apart(panels: int, names: list[str]) -> None:
    sheet = plan_curves(panels, names, ["baseline", "interval of the mean"])
    (width, height), (wide, high) = sheet.panel, sheet.size
    for left, low in sheet.corners:
        assert 0 < left < left + width < wide
        assert 0 < low < low + height < high
    for (a, b), (c, d) in combinations(sheet.corners, 2):
        assert abs(a - c) > width or abs(b - d) > height
    assert len(sheet.corners) == panels
    assert width >= 0.1 * len(names)


def test_two_journal_columns_hold_what_fits() -> None:
    assert plan_curves(4, LAYERS, ["x"]).columns == 2
    assert [plan_curves(n, LAYERS, ["x"]).columns for n in (1, 2, 3, 6)] == [1, 2, 3, 3]
    assert plan_curves(3, MODULES, ["x"]).columns == 1
    for names in (LAYERS, MODULES):
        assert plan_curves(3, names, ["x"]).size[0] == pytest.approx(TWO_COLUMNS)
    assert plan_curves(1, MODULES * 3, ["x"]).size[0] > TWO_COLUMNS


def test_names_stand_upright_where_they_would_touch() -> None:
    assert not plan_curves(2, LAYERS, ["x"]).upright
    assert plan_curves(3, LAYERS, ["x"]).upright


def test_long_entries_make_a_narrow_legend() -> None:
    assert plan_curves(1, LAYERS, ["x"]).legend > plan_curves(1, LAYERS, ["x" * 60]).legend >= 1


@pytest.mark.parametrize(
    ("top", "end"), [(0.5, 0.5), (0.51, 0.6), (0.02, 0.02), (1.0, 1.0), (7.1, 8.0)]
)
def test_the_scale_ends_at_the_next_round_number(top: float, end: float) -> None:
    axes = plan_curves(1, LAYERS, ["x"]).frame(Figure(), 0, "resnet18", top)
    assert axes.get_yticks()[-1] == pytest.approx(end)
    assert axes.get_ylim() == (0.0, pytest.approx(1.02 * end))


def test_outer_brackets_hang_lower() -> None:
    sheet = plan_curves(1, LAYERS, ["x"])
    lower = [sheet.bracket(depth)[1] for depth in (0.0, 0.25, 0.5, 0.75)]
    assert lower == sorted(lower)
    assert lower[-1] < sheet.bracket(0.0)[0] < 0.0
