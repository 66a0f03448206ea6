from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from skiptool.errors import ArgumentError
from skiptool.figures.epoch_curves import draw_curves
from skiptool.figures.style import TWO_COLUMNS, architecture_colours, picture
from skiptool.names import PictureFormat
from training_cases import run

Check = Callable[[Figure], list[str]]
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
def test_every_label_has_its_own_place_on_the_sheet(
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


def test_the_mean_of_folds_goes_as_far_as_all_of_them() -> None:
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


def test_the_rate_s_falls_are_marked_on_the_axis() -> None:
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
def test_same_runs_same_bytes() -> None:
    first, second = (picture(draw_curves([run(epochs=3)]), PictureFormat.SVG) for _ in range(2))
    assert first == second
    assert b"validation mIoU</text>" in first


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ArgumentError, match="found no run"):
        draw_curves([])
