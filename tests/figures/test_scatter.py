"""Tests of ``scatter``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from skiptool.analysis.correlation import Association, associations
from skiptool.errors import ArgumentError
from skiptool.figures.scatter import correlation_strip, draw_losses, layers_of, loss_by_distance
from skiptool.figures.style import (
    ONE_COLUMN,
    TWO_COLUMNS,
    architecture_colours,
    drawing_style,
    figure_bytes,
)
from skiptool.names import LAYERS, PictureFormat, ShiftKind
from skiptool.records import Shift
from sweeps import SHIFTS, as_layers, distance, score, sweep

Check = Callable[[Figure], list[str]]


def one(*given: Any, **facts: Any) -> Association:  # noqa: ANN401 - as sweep
    (found,) = associations(*sweep(*given, **facts))
    return found


def drawn(figure: Figure, panel: int) -> list[tuple[str, str, list[float], list[float]]]:
    """Colour, marker and places of the points in a panel."""
    return [
        (
            to_hex(line.get_color()),
            str(line.get_marker()),
            np.asarray(line.get_xdata(), dtype=np.float64).tolist(),
            np.asarray(line.get_ydata(), dtype=np.float64).tolist(),
        )
        for line in figure.axes[panel].lines
        if line.get_marker() != "None"
    ]


def test_every_mean_is_a_point_of_its_colour_and_shape() -> None:
    found = one(layers=("enc1", "head"))
    figure = loss_by_distance(found, "Hellinger distance")
    colours = architecture_colours(("baseline", "L1-pruned"))
    shapes = {"brightness": "o", "contrast": "s", "saturation": "^"}
    for layer in range(2):
        points = {
            (colour, marker, x, y)
            for colour, marker, xs, ys in drawn(figure, layer)
            for x, y in zip(xs, ys, strict=True)
        }
        assert points == {
            (colours[m.pruning], shapes[m.change.kind], m.distances[layer], m.loss)
            for m in found.means()
        }


def test_panels_share_the_loss_and_not_the_distance(labels: Check) -> None:
    found = one()
    figure = loss_by_distance(found, "Hellinger distance")
    texts = labels(figure)
    assert {"loss of IoU", "Hellinger distance", "baseline", "L1-pruned", "contrast"} <= {*texts}
    assert "± standard deviation of trainings" in texts
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert len({axes.get_xlim() for axes in figure.axes}) == 3
    heads = [axes.get_title("left") for axes in figure.axes]
    assert heads == ["input", "enc1", "head"]
    bold = [any(text.get_weight() == "bold" for text in axes.findobj(Text)) for axes in figure.axes]
    framed = [axes.spines["top"].get_visible() for axes in figure.axes]
    assert bold == framed == [number == found.best for number in range(3)]
    assert figure.axes[2].texts[0].get_text().startswith(f"ρ = {found.correlation[2]:.2f} [")


def test_whiskers_are_one_deviation_and_need_folds(labels: Check) -> None:
    found = one(prunings=("baseline",), layers=("enc1",), shifts=SHIFTS[:4], folds=3)
    figure = loss_by_distance(found, "Hellinger distance")
    (line,) = [each for each in figure.axes[0].lines if len(np.atleast_1d(each.get_xdata())) == 24]
    x, y = (np.asarray(each, dtype=np.float64) for each in (line.get_xdata(), line.get_ydata()))
    mean = found.means()[0]
    np.testing.assert_allclose(
        x[:2], np.add(mean.distances[0], [-1, 1] * np.array(mean.sd_distances))
    )
    np.testing.assert_allclose(y[3:5], [mean.loss - mean.sd_loss, mean.loss + mean.sd_loss])
    assert "95 % interval of the distance" not in labels(figure)


def test_whisker_of_one_fold_is_the_interval_of_the_distance(labels: Check) -> None:
    found = one(prunings=("baseline",), layers=("enc1",), shifts=SHIFTS[:4], folds=1)
    figure = loss_by_distance(found, "Hellinger distance")
    texts = labels(figure)
    assert "± standard deviation of trainings" not in texts
    assert "95 % interval of the distance" in texts
    (line,) = [each for each in figure.axes[0].lines if len(np.atleast_1d(each.get_xdata())) == 12]
    x, y = (np.asarray(each, dtype=np.float64) for each in (line.get_xdata(), line.get_ydata()))
    np.testing.assert_allclose(x[0::3], found.joined.low[0])
    np.testing.assert_allclose(x[1::3], found.joined.high[0])
    np.testing.assert_array_equal(y[0::3], found.joined.loss)
    low, high = figure.axes[0].get_xlim()
    assert low < found.joined.low.min() < found.joined.high.max() < high


MANY = [
    *("baseline", "L1-pruned", "L2-pruned", "L3-pruned", "L4-pruned"),
    *(f"skips-{name}" for name in "abcdefghijklmn"),
    "<script>alert(1)</script>" * 9,
]
SWEEP = [Shift(kind, n / 9) for kind in list(ShiftKind)[1:] for n in (1, 4)]


@pytest.mark.long
@pytest.mark.parametrize(
    "facts",
    [
        {"prunings": MANY, "layers": (*LAYERS, "x" * 200, "$a_b^", "c"), "shifts": SWEEP},
        {"prunings": ("baseline",), "layers": ("enc1",), "shifts": SHIFTS[:4], "folds": 1},
        {"layers": ("enc1", "x" * 200), "shifts": SHIFTS[:5], "folds": 5},
        {"prunings": ("",), "layers": LAYERS[:5], "folds": 1},
    ],
    ids=["many", "one", "two", "five"],
)
def test_any_number_of_panels_fits(labels: Check, facts: dict[str, Any]) -> None:
    found = one(**facts)
    figure = loss_by_distance(found, "Hellinger distance")
    labels(figure)
    count = len(facts["layers"])
    assert len(figure.axes) == count
    assert figure.get_figwidth() == (ONE_COLUMN if count < 3 else TWO_COLUMNS)
    assert figure.get_figheight() < 9.3
    svg = figure_bytes(figure, PictureFormat.SVG)
    assert b"<script" not in svg
    assert svg == figure_bytes(loss_by_distance(found, "Hellinger distance"), PictureFormat.SVG)


def test_a_layer_without_values_and_a_constant_one_are_drawn(labels: Check) -> None:
    scores, layers = sweep(layers=("input", "enc1", "head"))
    for place, name in enumerate(layers["layer"]):
        layers["corrected"][place] = {"input": None, "enc1": 0.5}.get(
            name, layers["corrected"][place]
        )
    (found,) = associations(scores, layers)
    figure = loss_by_distance(found, "Hellinger distance")
    labels(figure)
    assert [axes.texts[0].get_text() for axes in figure.axes[:2]] == ["ρ = –", "ρ = –"]
    assert drawn(figure, 0) == []


def test_unknown_kinds_have_a_marker(labels: Check) -> None:
    scores = [
        score(shift, 0.9 - 0.1 * n, domain=f"d{n}") for n, shift in enumerate([SHIFTS[0]] * 5)
    ]
    sides = {"reference_domain": "d0", "reference_shift": "brightness", "reference_factor": 0.25}
    rows = [distance(SHIFTS[0], n / 10, domain=f"d{n}", **sides) for n in range(1, 5)]
    (found,) = associations(scores, as_layers(rows))
    figure = loss_by_distance(found, "Hellinger distance")
    assert {marker for _, marker, _, _ in drawn(figure, 0)} == {"D"}
    assert "domain" in labels(figure)


def test_missing_layers_are_refused() -> None:
    found = one()
    empty = replace(found, joined=replace(found.joined, layers=()))
    with pytest.raises(ArgumentError, match="found no layer"):
        loss_by_distance(empty, "Hellinger distance")


def test_scatter_plot_is_drawn_into_given_axes(labels: Check) -> None:
    found = one()
    with drawing_style():
        figure = Figure(layout="constrained")
        draw_losses(figure.add_subplot(), found, 1)
    labels(figure)
    heights = {y for _, _, _, ys in drawn(figure, 0) for y in ys}
    assert heights == {mean.loss for mean in found.means()}


def families(count: int, layers: tuple[str, ...] = LAYERS) -> list[Association]:
    return [
        found
        for number in range(count)
        for found in associations(*sweep(layers=layers, encoder=f"resnet{number}"))
    ]


def test_dot_and_interval_are_in_the_row_of_their_layer(labels: Check) -> None:
    (found,) = families(1, ("input", "enc1", "head"))
    figure = correlation_strip([found])
    texts = labels(figure)
    assert {"input", "enc1", "head", "resnet0"} <= {*texts}
    (axes,) = figure.axes
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [float(np.ravel(dot.get_xdata())[0]) for dot in dots] == found.correlation.tolist()
    assert [float(np.ravel(dot.get_ydata())[0]) for dot in dots] == [0, 1, 2]
    assert axes.get_ylim() == (2.5, -0.5)  # the input above
    ends = [bar.lines[2][0].get_segments()[0][:, 0] for bar in axes.containers]
    np.testing.assert_allclose(ends, np.transpose([found.low, found.high]))
    sizes = [dot.get_markersize() for dot in dots]
    assert int(np.argmax(sizes)) == found.best


def test_a_layer_that_only_one_family_has_is_in_the_same_row_for_all() -> None:
    (first,), (second,) = families(1, ("input", "head")), families(1, ("input", "dec0", "head"))
    assert layers_of([first, second]) == ["input", "dec0", "head"]
    figure = correlation_strip([first, second])
    rows = [
        [float(np.ravel(line.get_ydata())[0]) for line in axes.lines if line.get_marker() == "o"]
        for axes in figure.axes
    ]
    assert rows == [[0, 2], [0, 1, 2]]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_families_are_side_by_side(labels: Check, count: int) -> None:
    found = families(count, (*LAYERS, "y" * 200, "<script>"))
    figure = correlation_strip(found)
    texts = labels(figure)
    assert figure.get_figwidth() == (ONE_COLUMN if count == 1 else TWO_COLUMNS)
    assert {f"resnet{number}" for number in range(count)} <= {*texts}
    assert len({axes.get_xlim() for axes in figure.axes}) == 1


@pytest.mark.parametrize(
    ("lowest", "end"), [(0.3, 0.0), (-0.1, -0.25), (-0.3, -0.5), (-0.51, -1.0), (-1.0, -1.0)]
)
def test_the_axis_begins_at_a_round_number(labels: Check, lowest: float, end: float) -> None:
    (found,) = families(1, ("input", "enc1"))
    figure = correlation_strip([replace(found, low=np.array([0.5, lowest]))])
    assert figure.axes[0].get_xlim() == (end, 1.0)
    assert {"0", "1"} <= {*labels(figure)}


def test_unknown_correlations_are_not_drawn(labels: Check) -> None:
    (found,) = families(1, ("input", "enc1"))
    nothing = np.full(2, np.nan)
    figure = correlation_strip([replace(found, correlation=nothing, low=nothing, high=nothing)])
    assert "enc1" in labels(figure)
    with pytest.raises(ArgumentError, match="found no layer"):
        correlation_strip([])
