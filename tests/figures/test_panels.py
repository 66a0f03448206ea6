"""Tests of ``panels``."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from skiptool.errors import ArgumentError
from skiptool.figures.panels import (
    LayerChannels,
    Network,
    greatest_distance,
    layer_order,
    plan_curves,
    plan_facets,
    plan_panels,
)
from skiptool.figures.style import ONE_COLUMN, TWO_COLUMNS, drawing
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


MODULES = [f"encoder.layer{n}.0.conv1" for n in range(40)]


@pytest.mark.parametrize("panels", [1, 2, 3, 4, 5, 20])
@pytest.mark.parametrize("names", [LAYERS, MODULES, MODULES * 3], ids=len)
def test_panels_lie_on_the_sheet_and_apart_of_curve_sheet(panels: int, names: list[str]) -> None:
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


def test_outer_brackets_hang_lower_of_curve_sheet() -> None:
    sheet = plan_curves(1, LAYERS, ["x"])
    lower = [sheet.bracket(depth)[1] for depth in (0.0, 0.25, 0.5, 0.75)]
    assert lower == sorted(lower)
    assert lower[-1] < sheet.bracket(0.0)[0] < 0.0


Check = Callable[[Figure], list[str]]


def entries(count: int, name: str = "entry") -> list[Line2D]:
    return [Line2D([], [], label=f"{name} {number}") for number in range(count)]


@pytest.mark.parametrize(
    ("panels", "rows", "columns"),
    [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 1, 4), (5, 2, 3), (9, 3, 3), (12, 3, 4), (15, 4, 4)],
)
def test_rows_are_even_and_panels_apart(panels: int, rows: int, columns: int) -> None:
    facets = plan_facets(panels, [entries(3)])
    assert (len(facets.tops), len(facets.lefts)) == (rows, columns)
    assert facets.size[0] == (ONE_COLUMN if panels < 3 else TWO_COLUMNS)
    places = [facets.rectangle(number) for number in range(panels)]
    for place, (left, bottom, width, height) in enumerate(places):
        assert left > 0 < bottom
        assert left + width < 1 > bottom + height
        for other in places[:place]:
            aside = other[0] + other[2] < left or left + width < other[0]
            assert aside or bottom + height < other[1]
    assert [facets.first(number) for number in range(columns + 1)] == [
        *(number % columns == 0 for number in range(columns + 1)),
    ]


@pytest.mark.parametrize("count", [1, 5, 20, 60])
def test_legends_have_room_below_the_panels(labels: Check, count: int) -> None:
    with drawing():
        facets = plan_facets(5, [entries(count, "a rather long name"), entries(4)])
        figure = Figure(figsize=facets.size)
        for number in range(5):
            axes = figure.add_axes(facets.rectangle(number))
            axes.set_xticks([0.5], ["number"])
            axes.set_yticks([])
        facets.surround(figure, "distance", "loss")
    texts = labels(figure)
    assert {"distance", "loss", f"a rather long name {count - 1}", "entry 3"} <= {*texts}


def network(*layers: str, skips: tuple[int, ...] = (1, 2), pruning: str = "baseline") -> Network:
    return Network(
        pruning, "resnet18", skips, tuple(LayerChannels(name, np.array([0.5])) for name in layers)
    )


def test_mean_is_over_the_channels_that_are_there() -> None:
    layer = LayerChannels("enc1", np.array([0.2, np.nan, 0.4]))
    assert layer.centre() == pytest.approx(0.3)
    assert LayerChannels("enc1", layer.values, mean=0.7).centre() == 0.7
    assert math.isnan(LayerChannels("enc1", np.array([np.nan])).centre())


def test_layers_follow_the_data_and_others_come_after() -> None:
    one = network("head", "other.b", "enc2", "input")
    two = network("dec4", "enc2", "other.a", pruning="L1-pruned")
    assert list(layer_order([one, two])) == ["input", "enc2", "dec4", "head", "other.b", "other.a"]


def test_a_skip_needs_both_its_layers() -> None:
    net = network("enc1", "enc2", "dec2", skips=(1, 2))
    assert net.joined(layer_order([net])) == [(2, 1, 2)]


def test_two_of_a_kind_and_none_at_all() -> None:
    with pytest.raises(ArgumentError, match="baseline resnet18 found more than once"):
        layer_order([network("enc1"), network("enc2")])
    with pytest.raises(ArgumentError, match="found no layer"):
        layer_order([network()])
    with pytest.raises(ArgumentError, match="found no layer"):
        layer_order([])


def test_greatest_distance_counts_intervals_and_nulls() -> None:
    values = np.array([0.1, np.nan])
    layers = (LayerChannels("enc1", values), LayerChannels("enc2", np.array([np.nan])))
    assert greatest_distance([Network("baseline", "r", (), layers)]) == 0.1
    for more in ({"interval": (0.1, 0.6)}, {"null": (0.1, 0.6)}, {"mean": 0.6}):
        extended = (LayerChannels("enc1", values, **more),)  # type: ignore[arg-type]
        assert greatest_distance([Network("baseline", "r", (), extended)]) == 0.6
