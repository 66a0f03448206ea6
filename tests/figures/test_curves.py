"""Tests of ``curves``."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from skiptool.analysis.training import Run
from skiptool.errors import ArgumentError
from skiptool.figures.curves import (
    LayerCurve,
    draw_curves,
    draw_layer_curves,
    drops_to_mark,
    layer_curves,
)
from skiptool.figures.style import TWO_COLUMNS, architecture_colours, drawing_style, figure_bytes
from skiptool.names import LAYERS, PictureFormat
from training_cases import run

Check = Callable[[Figure], list[str]]
SKIPS = {"baseline": (1, 2, 3, 4), "L1-pruned": (2, 3, 4), "L4-pruned": ()}


def curve(pruning: str, encoder: str = "resnet18", *, bands: bool = True) -> LayerCurve:
    values = {layer: 0.5 - 0.03 * place for place, layer in enumerate(LAYERS)}
    around = {layer: (value - 0.1, value + 0.05) for layer, value in values.items()}
    return LayerCurve(
        *(pruning, encoder, SKIPS.get(pruning, (1, 3)), values),
        bands=around if bands else {},
        nulls=dict.fromkeys(LAYERS, 0.04),
    )


def draw(*curves: LayerCurve, mark: float | None = None) -> Figure:
    return layer_curves(curves, LAYERS, title="t", vertical="distance", mark=mark)


@pytest.mark.long
@pytest.mark.parametrize("encoders", [1, 2, 4, 7])
@pytest.mark.parametrize("prunings", [["baseline"], [f"skips-{n}" for n in range(20)]])
def test_layer_curve_labels_do_not_overlap(
    labels: Check, encoders: int, prunings: list[str]
) -> None:
    figure = draw(*(curve(p, f"resnet{e}") for e in range(encoders) for p in prunings))
    texts = labels(figure)
    assert {*LAYERS, *prunings, *(f"resnet{e}" for e in range(encoders))} <= set(texts)
    assert len(figure.axes) == encoders
    assert figure.get_size_inches()[0] == pytest.approx(7.16)


def test_lines_run_through_their_values_in_the_colour_of_their_architecture() -> None:
    (axes,) = draw(curve("baseline"), curve("L1-pruned")).axes
    colours = architecture_colours(SKIPS)
    lines = {line.get_color(): line for line in axes.lines if line.get_marker() == "o"}
    assert set(lines) == {colours["baseline"], colours["L1-pruned"]}
    for line in lines.values():
        assert list(line.get_xdata()) == list(range(12))
        assert line.get_ydata() == pytest.approx([0.5 - 0.03 * place for place in range(12)])


def test_lines_of_one_colour_differ_in_their_dashes() -> None:
    names = [f"skips-{n}" for n in range(20)]
    (axes,) = draw(*map(curve, names)).axes
    pens = {
        (line.get_color(), str(line._dash_pattern))
        for line in axes.lines
        if len(line.get_xdata()) == 12
    }  # type: ignore[attr-defined]
    assert len(pens) == len(names)


def test_bands_of_few_lines_are_drawn_within_the_scale() -> None:
    few = draw(*map(curve, ("baseline", "L1-pruned")))
    many = draw(*(curve(f"skips-{n}") for n in range(7)))
    assert [len(figure.axes[0].collections) for figure in (few, many)] == [2, 0]
    assert few.axes[0].get_ylim()[1] >= 0.55
    assert many.axes[0].get_ylim()[1] < 0.55
    band = few.axes[0].collections[-1]  # the baseline's, on top
    assert to_hex(band.get_facecolor()[0]) == architecture_colours(["baseline"])["baseline"]
    corners = band.get_paths()[0].vertices
    assert (np.min(corners[:, 1]), np.max(corners[:, 1])) == pytest.approx((0.07, 0.55))


def test_null_is_the_highest_of_a_panel() -> None:
    low = LayerCurve("baseline", "r", (), {"enc1": 0.5}, nulls={"enc1": 0.1})
    high = LayerCurve("L1-pruned", "r", (), {"enc1": 0.5}, nulls={"enc1": 0.2})
    (axes,) = layer_curves([low, high], ["enc1", "dec1"], title="t", vertical="v").axes
    (bar,) = axes.patches
    assert (bar.get_x(), bar.get_width(), bar.get_height()) == pytest.approx((-0.5, 1.0, 0.2))  # type: ignore[attr-defined]


def test_skips_of_any_line_are_joined_below_the_axis() -> None:
    def ends(figure: Figure) -> list[tuple[float, float]]:
        lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 4]
        return [(line.get_xdata()[0], line.get_xdata()[-1]) for line in lines]

    assert ends(draw(curve("L4-pruned"))) == []
    assert ends(draw(curve("L4-pruned"), curve("L1-pruned"))) == [(2, 8), (3, 7), (4, 6)]


def test_layer_legend_lists_only_what_is_drawn(labels: Check) -> None:
    plain = LayerCurve("baseline", "r", (), {"enc1": 0.5, "dec1": 0.1})
    texts = labels(layer_curves([plain], ["enc1", "dec1"], title="t", vertical="v"))
    extra = {"interval of the mean", "possible without a shift", "skip connection", "0.5"}
    assert extra.isdisjoint(set(texts) - {"0.5"})
    assert extra <= set(labels(draw(curve("baseline"), mark=0.5)))


@pytest.mark.parametrize("values", [{}, {"enc1": math.nan}, {"enc1": 0.0}, {"enc1": math.inf}])
def test_degenerate_lines(labels: Check, values: dict[str, float]) -> None:
    line = LayerCurve("baseline", "", (), values, bands={"enc1": (math.nan, math.nan)})
    figure = layer_curves([line], ["enc1"], title="t", vertical="v")
    assert "enc1" in labels(figure)
    assert 0.0 < figure.axes[0].get_ylim()[1] < 1.0


def test_missing_values_are_gaps_and_missing_layers_are_not() -> None:
    line = LayerCurve("baseline", "r", (), {"dec1": 0.1, "enc1": 0.5, "enc3": math.nan})
    (axes,) = layer_curves([line], ["enc1", "enc2", "enc3", "dec1"], title="t", vertical="v").axes
    (drawn,) = axes.lines
    assert list(drawn.get_xdata()) == [0, 2, 3]
    np.testing.assert_array_equal(drawn.get_ydata(), [0.5, math.nan, 0.1])


def test_layer_curves_are_deterministic() -> None:
    first, second = (figure_bytes(draw(curve("baseline")), PictureFormat.SVG) for _ in range(2))
    assert first == second


def test_layer_curves_refuse_empty_input() -> None:
    with pytest.raises(ArgumentError, match="found none"):
        draw()
    with pytest.raises(ArgumentError, match="found none"):
        layer_curves([curve("baseline")], [], title="t", vertical="v")


PRUNINGS = ["baseline", "L1-pruned", "L2-pruned", "L3-pruned", "L4-pruned"]


def lines(axes: Axes) -> list[tuple[list[float], list[float]]]:
    """Points of the curves; marks and ticks on the axis left out."""
    return [
        (list(line.get_xdata()), list(line.get_ydata()))
        for line in axes.lines
        if line.get_linestyle() != "None" and list(line.get_ydata()) != [0.0, 0.05]
    ]


@pytest.mark.long
@pytest.mark.parametrize("encoders", [1, 2, 4])
@pytest.mark.parametrize("prunings", [1, 5])
@pytest.mark.parametrize("folds", [1, 3])
def test_epoch_curve_labels_do_not_overlap(
    labels: Check, encoders: int, prunings: int, folds: int
) -> None:
    figure = draw_curves(
        [
            run(encoder=f"resnet{e}", pruning=p, fold=f, epochs=5 + f, fall=2)
            for e in range(encoders)
            for p in PRUNINGS[:prunings]
            for f in range(folds)
        ]
    )
    texts = labels(figure)
    assert {*PRUNINGS[:prunings], *(f"resnet{e}" for e in range(encoders))} <= set(texts)
    assert {"validation mIoU", "loss", "learning rate falls"} <= set(texts)
    assert ("mean over trainings" in texts) == (folds > 1)
    assert len(figure.axes) == 2 * encoders
    assert figure.get_size_inches()[0] == TWO_COLUMNS


def test_the_curve_of_a_single_run_is_its_values() -> None:
    one = run(epochs=3, pruning="L2-pruned")
    left, right = draw_curves([one]).axes
    assert lines(left) == [([0, 1, 2], [0.25, 0.625, 0.75])]
    assert lines(right) == [([0, 1, 2], [1.5, 0.75, 0.5]), ([0, 1, 2], [1.0, 0.5, 1 / 3])]
    assert left.lines[0].get_color() == architecture_colours(["L2-pruned"])["L2-pruned"]
    assert not right.lines[0].is_dashed()
    assert right.lines[1].is_dashed()
    dot = left.lines[-1]
    assert (list(dot.get_xdata()), list(dot.get_ydata())) == ([2], [0.75])


def test_mean_of_folds_ends_with_the_shortest() -> None:
    found = [run(miou=[0.25, 0.5, 0.75]), run(miou=[0.75, 0.5], fold=1)]
    left, _ = draw_curves(found).axes
    drawn = lines(left)
    assert drawn[:2] == [([0, 1, 2], [0.25, 0.5, 0.75]), ([0, 1], [0.75, 0.5])]
    assert drawn[2] == ([0, 1], [0.5, 0.5])
    thin, _, thick = (line.get_linewidth() for line in left.lines[:3])
    assert thick > 2 * thin


def test_a_value_between_two_gaps_is_a_dot() -> None:
    left, _ = draw_curves([run(miou=[0.5, None, 0.25, None, 0.75, 0.5])]).axes
    dots = [line for line in left.lines if line.get_marker() == "o"]
    assert list(dots[0].get_xdata()) == [0, 2]
    assert list(dots[-1].get_xdata()) == [4]
    values = lines(left)[0][1]
    assert math.isnan(values[1])


def test_runs_without_a_miou_are_drawn(labels: Check) -> None:
    figure = draw_curves([run(miou=[None, None], encoder="")])
    texts = labels(figure)
    assert "weights kept" not in texts
    assert "loss" in texts


def test_drops_of_the_learning_rate_are_marked_on_the_axis() -> None:
    left, right = draw_curves([run(epochs=7, fall=3), run(epochs=7, fall=3, fold=1)]).axes
    for axes in (left, right):
        ticks = [line for line in axes.lines if list(line.get_ydata()) == [0.0, 0.05]]
        assert [list(line.get_xdata()) for line in ticks] == [[3, 3], [6, 6]]


def test_panels_of_one_measure_share_their_scale() -> None:
    axes = draw_curves([run(epochs=9), run(epochs=4, encoder="x", scale=3.0)]).axes
    assert len({each.get_xlim() for each in axes}) == 1
    assert axes[0].get_ylim() == axes[2].get_ylim()
    assert axes[1].get_ylim() == axes[3].get_ylim()
    assert axes[1].get_ylim()[1] > 4.5
    assert axes[0].get_ylim()[0] < 0.25


@pytest.mark.parametrize(("epochs", "scale"), [(10, "linear"), (200, "log")])
def test_the_loss_is_on_a_log_scale_over_more_than_two_decades(
    labels: Check, epochs: int, scale: str
) -> None:
    figure = draw_curves([run(epochs=epochs)])
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", scale]
    labels(figure)


def test_names_from_data_are_text(labels: Check) -> None:
    long = "resnet" * 40
    texts = labels(draw_curves([run(encoder="<script>"), run(encoder=long, pruning="$x$" * 20)]))
    assert "<script>" in texts
    assert all(len(text) <= 60 for text in texts)


@pytest.mark.long
def test_epoch_curves_are_deterministic() -> None:
    first, second = (
        figure_bytes(draw_curves([run(epochs=3)]), PictureFormat.SVG) for _ in range(2)
    )
    assert first == second
    assert b"validation mIoU</text>" in first


def test_epoch_curves_refuse_empty_input() -> None:
    with pytest.raises(ArgumentError, match="found no run"):
        draw_curves([])


SUBSETS = ["skips-" + "+".join(levels) for k in (1, 2, 3) for levels in combinations("1234", k)]


def test_every_subset_of_skip_connections_has_a_distinct_pen() -> None:
    """There are sixteen, and eleven colours."""
    others = [name for name in SUBSETS if name not in ("skips-2+3+4", "skips-3+4", "skips-4")]
    figure = draw_curves([run(pruning=name) for name in PRUNINGS + others])
    entries = dict(zip(told(figure), figure.legends[0].get_lines(), strict=True))
    assert list(entries)[:5] == PRUNINGS
    pens = {(line.get_color(), str(line._dash_pattern)) for line in list(entries.values())[:16]}  # type: ignore[attr-defined]
    assert len(pens) == 16
    assert len({colour for colour, _ in pens}) == 11


def told(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_epoch_legend_lists_only_what_is_drawn() -> None:
    def kinds(*runs: Run) -> list[str]:
        return [text for text in told(draw_curves(runs)) if text not in PRUNINGS]

    assert kinds(run()) == ["training loss", "weights kept"]
    assert kinds(run(), run(fold=1))[:2] == ["mean over trainings", "one training"]
    assert kinds(run(), run(encoder="x"), run(pruning="L1-pruned"))[0] == "training loss"
    assert kinds(run(epochs=4, fall=2))[-1] == "learning rate falls"
    assert kinds(run(miou=[None])) == ["training loss"]


def test_rates_that_fall_often_are_not_marked() -> None:
    assert drops_to_mark([run(epochs=30, fall=10), run(epochs=30, fall=15)]) == [10, 15, 20]
    assert drops_to_mark([run(epochs=30, fall=1)]) == []


def test_long_names_fit_the_legend(labels: Check) -> None:
    figure = draw_curves([run(pruning=f"{name} of a long name") for name in SUBSETS])
    assert {f"{name} of a long name" for name in SUBSETS} <= set(labels(figure))


@pytest.mark.parametrize(
    ("top", "end"), [(0.5, 0.5), (0.51, 0.6), (0.02, 0.02), (1.0, 1.0), (7.1, 8.0)]
)
def test_the_scale_ends_at_the_next_round_number(top: float, end: float) -> None:
    line = LayerCurve("baseline", "r", (), {"enc1": top})
    (axes,) = layer_curves([line], ["enc1"], title="t", vertical="v").axes
    assert axes.get_ylim() == (0.0, pytest.approx(1.02 * end))


def test_curves_are_drawn_into_given_axes(labels: Check) -> None:
    with drawing_style():
        figure = Figure(layout="constrained")
        draw_layer_curves(figure.add_subplot(), [curve("baseline")], LAYERS)
    assert set(LAYERS) <= set(labels(figure))
