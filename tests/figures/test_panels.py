from __future__ import annotations

from itertools import combinations

import pytest

from skiptool.figures.panels import plan_panels
from skiptool.figures.style import TWO_COLUMNS
from skiptool.names import LAYERS

FIVE = ["baseline", "L1-pruned", "L2-pruned", "L3-pruned", "L4-pruned"]


def keys(prunings: list[str], *encoders: str) -> list[tuple[str, str]]:
    return [(pruning, encoder) for encoder in encoders for pruning in prunings]


def test_names_that_are_cut_alike_head_a_column_each() -> None:
    long = [f"unetplusplus tu-efficient{middle}_rw_s.ra2_in1k_long_tail" for middle in "abc"]
    heads = plan_panels(keys(["baseline"], *long), LAYERS).encoders
    assert len({name for name, _ in heads}) == 1
    assert len({left for _, left in heads}) == 3


@pytest.mark.parametrize(
    "wanted",
    [
        keys(["baseline"], "resnet18"),
        keys(FIVE, "resnet18", "resnet34"),
        keys(FIVE[:2], "a", "b", "c", "d"),
        keys([f"skips-{place}" for place in range(20)], "resnet18"),
        [("baseline", "a"), ("L1-pruned", "b")],
        keys(FIVE[:2], *"abcdefghij"),
    ],
)
def test_panels_lie_on_the_sheet_and_apart(wanted: list[tuple[str, str]]) -> None:
    sheet = plan_panels(wanted, LAYERS)
    width, height = sheet.size
    for panel in sheet.panels:
        assert panel.left > 0
        assert panel.left + panel.width < width
        assert panel.bottom > 0
        assert panel.bottom + panel.height < height
    for a, b in combinations(sheet.panels, 2):
        beside = a.left + a.width < b.left or b.left + b.width < a.left
        assert beside or a.bottom + a.height < b.bottom or b.bottom + b.height < a.bottom


def test_prunings_go_down_and_encoders_across_whatever_the_order_given() -> None:
    wanted = keys(FIVE[::-1], "resnet34", "resnet18")
    sheet = plan_panels(wanted, LAYERS)
    place = dict(zip(wanted, sheet.panels, strict=True))
    assert place["baseline", "resnet34"].bottom > place["L4-pruned", "resnet34"].bottom
    assert place["baseline", "resnet34"].left < place["baseline", "resnet18"].left
    assert sheet.size[0] == pytest.approx(TWO_COLUMNS)
    assert [name for name, _ in sheet.encoders] == ["resnet34", "resnet18"]


def test_axes_are_labelled_at_the_outer_panels_only() -> None:
    wanted = [("baseline", "a"), ("L1-pruned", "a"), ("baseline", "b"), ("L2-pruned", "b")]
    panels = plan_panels(wanted, LAYERS).panels
    assert [panel.last for panel in panels] == [False, True, False, True]
    assert [panel.first for panel in panels] == [True, True, False, True]


def test_outer_brackets_hang_lower() -> None:
    panel = plan_panels(keys(FIVE, "a"), LAYERS).panels[0]
    lower = [panel.bracket(depth)[1] for depth in (0.0, 0.25, 0.5, 0.75)]
    assert lower == sorted(lower)
    assert lower[-1] < panel.bracket(0.0)[0] < 0.0


def test_many_networks_fit_a_page() -> None:
    """Journals have 9.5 inches or so; twenty panels need a little more."""
    many = [f"skips-{place}" for place in range(20)]
    for wanted in (keys(many, "a"), keys(FIVE, *"abcd")):
        width, height = plan_panels(wanted, LAYERS).size
        assert width == pytest.approx(TWO_COLUMNS)
        assert height < 11.0


def test_networks_of_many_encoders_stand_three_abreast_with_their_full_names() -> None:
    wanted = keys(FIVE[:2], *"abcd")
    sheet = plan_panels(wanted[::-1], LAYERS)
    assert sheet.encoders == ()
    assert [panel.name for panel in sheet.panels[:2]] == ["d L1-pruned", "d baseline"]
    assert len({panel.left for panel in sheet.panels}) == 3
    assert len({panel.bottom for panel in sheet.panels}) == 3


def test_panels_are_as_wide_as_the_names_of_their_layers_need() -> None:
    names = [f"encoder.layer{place}" for place in range(50)]
    assert plan_panels(keys(FIVE[:1], "a", "b"), names).panels[0].width == pytest.approx(5.0)
