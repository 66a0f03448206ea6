"""Tests of ``panels``."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from unittest.mock import patch

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from skiptool.errors import ArgumentError
from skiptool.figures.panels import (
    LayerChannels,
    Network,
    draw_skips,
    fit_layout,
    greatest_distance,
    label_across,
    layer_grid,
    layer_order,
    legend_below,
    panel_grid,
)
from skiptool.figures.style import TWO_COLUMNS, drawing_style
from skiptool.names import LAYERS

Check = Callable[[Figure], list[str]]
MODULES = [f"encoder.layer{n}.0.conv1" for n in range(40)]
Cells = list[tuple[int, int]]


def entries(count: int, name: str = "entry") -> list[Line2D]:
    return [Line2D([], [], label=f"{name} {number}") for number in range(count)]


def grid(cells: Cells, **shared: bool) -> tuple[Figure, list[Axes]]:
    """Make a grid with everything around its panels that figures have."""
    with drawing_style():
        figure, panels = panel_grid(cells, **shared)
        rows = 1 + max(row for row, _ in cells)
        for axes in panels:
            axes.set_title("title")
        label_across([a for a, (row, _) in zip(panels, cells, strict=True) if row == rows - 1], "x")
        figure.supylabel("loss")
        figure.suptitle("all", x=0.01, ha="left")
        legend_below(figure, entries(5, "a rather long name"))
        fit_layout(figure, [1.25] * rows)
    return figure, panels


GRIDS: list[Cells] = [
    [(0, 0)],
    [(row, column) for row in range(3) for column in range(2)],
    [divmod(place, 3) for place in range(7)],
    [(0, 0), (1, 1)],
]


@pytest.mark.parametrize("cells", GRIDS, ids=len)
@pytest.mark.parametrize("shared", [True, False])
def test_panels_have_their_height_and_do_not_overlap(
    labels: Check, cells: Cells, shared: bool
) -> None:
    figure, panels = grid(cells, sharex=shared, sharey=shared)
    texts = labels(figure)
    assert {"x", "loss", "all", *(f"a rather long name {n}" for n in range(5))} <= {*texts}
    boxes = [axes.get_window_extent() for axes in panels]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert [box.height / figure.dpi for box in boxes] == pytest.approx(
        [1.25] * len(boxes), abs=1e-6
    )
    assert figure.get_figwidth() == TWO_COLUMNS


def test_labels_are_measured_once_and_saving_does_not_repeat_the_layout() -> None:
    figure, panels = grid([(0, 0), (0, 1)])
    assert figure.get_layout_engine() is None
    with patch.object(Axes, "get_tightbbox", side_effect=AssertionError):
        fitted = [axes.get_tightbbox(for_layout_only=True) for axes in panels]
    with drawing_style():
        measured = [Axes.get_tightbbox(axes, for_layout_only=True) for axes in panels]
    for once, again in zip(fitted, measured, strict=True):
        assert once.extents == pytest.approx(again.extents, abs=0.1)


def test_axes_are_labelled_at_the_outer_panels_only() -> None:
    _, panels = grid([divmod(place, 3) for place in range(5)])
    below, left = (
        [any(label.get_visible() for label in labels) for labels in found]
        for found in (
            [axes.get_xticklabels() for axes in panels],
            [axes.get_yticklabels() for axes in panels],
        )
    )
    assert below == [False, False, True, True, True]
    assert left == [True, False, False, True, False]


@pytest.mark.parametrize("count", [1, 5, 20, 60])
def test_legends_have_room_below_the_panels(labels: Check, count: int) -> None:
    with drawing_style():
        figure, _ = panel_grid([(0, 0), (0, 1)])
        legend_below(figure, entries(count, "a rather long name"))
        fit_layout(figure, [1.0])
    assert f"a rather long name {count - 1}" in labels(figure)


def layered(panels: int, names: list[str]) -> Figure:
    with drawing_style():
        figure, _, _ = layer_grid([(0, place) for place in range(panels)], names)
        fit_layout(figure, [1.0])
    return figure


def test_panels_are_as_wide_as_the_names_of_their_layers_need(labels: Check) -> None:
    for names in (list(LAYERS), MODULES):
        figure = layered(1, names)
        assert set(names) <= set(labels(figure))
        assert figure.get_figwidth() == pytest.approx(TWO_COLUMNS)
    wide = layered(1, [f"{name}x" for name in MODULES] + MODULES * 2)
    assert wide.axes[0].get_window_extent().width / wide.dpi > 11.5


def test_names_are_vertical_if_they_would_touch(labels: Check) -> None:
    rotations = [
        layered(n, list(LAYERS)).axes[0].get_xticklabels()[0].get_rotation() for n in (2, 3)
    ]
    assert rotations == [0, 90]
    labels(layered(3, list(LAYERS)))


def test_outer_brackets_hang_lower() -> None:
    figure = layered(1, list(LAYERS))
    axes = figure.axes[0]
    draw_skips(axes, [(level, level + 1, 9 - level) for level in (1, 2, 3, 4)], "red")
    lines = [child for child in axes.get_children() if isinstance(child, Line2D)]
    lower = [
        line.get_transform().transform(line.get_xydata())[:, 1].min()
        for line in lines
        if len(line.get_xdata()) == 4
    ]
    assert len(lower) == 4
    assert lower == sorted(lower)
    assert lower[-1] < axes.get_window_extent().y0


def network(*layers: str, skips: tuple[int, ...] = (1, 2), pruning: str = "baseline") -> Network:
    return Network(
        pruning, "resnet18", skips, tuple(LayerChannels(name, np.array([0.5])) for name in layers)
    )


def test_mean_ignores_missing_channels() -> None:
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


def test_duplicate_networks_and_missing_layers_are_refused() -> None:
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
