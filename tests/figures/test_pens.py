from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from skiptool.figures.dots import dot_axes
from skiptool.figures.pens import PLAIN, Pen, class_pens, compared_pens, stamp, stroke
from skiptool.figures.style import TONES, architecture_colours

FIVE = ["baseline", "L1-pruned", "L2-pruned", "L3-pruned", "L4-pruned"]
SQUARE = np.array([(10.0, 10.0), (30.0, 10.0), (30.0, 30.0), (10.0, 30.0), (10.0, 10.0)])


def test_twenty_classes_differ_and_neighbours_in_more_than_colour() -> None:
    pens = list(class_pens(f"class {place}" for place in range(20)).values())
    assert len({(pen.colour, pen.dashes) for pen in pens}) == 20
    for pen, following in pairwise(pens):
        assert pen.colour != following.colour
        assert pen.dashes != following.dashes
        assert pen.marker != following.marker


def test_colours_are_those_told_apart_by_every_sight() -> None:
    colours = {pen.colour for pen in class_pens(map(str, range(5))).values()}
    assert len(colours) == 5
    assert colours > {architecture_colours(FIVE)[name] for name in FIVE if name != "baseline"}
    assert not colours & set(TONES)  # a dark page leaves pictures as they are


@pytest.mark.parametrize("corners", [50_000, 70_000])
def test_noise_becomes_dots_and_outlines_stay_lines(corners: int) -> None:
    _, axes = dot_axes(40, 40)
    stroke(axes, [np.zeros((corners, 2))], PLAIN, 0.96)
    assert {drawn.get_rasterized() for drawn in axes.collections} == {corners > 60_000}


def test_the_background_takes_no_colour_from_the_others() -> None:
    with_background = class_pens(["background", "tumor", "tumor", "cell"])
    assert list(with_background) == ["background", "tumor", "cell"]
    assert with_background.pop("background") is PLAIN
    assert with_background == class_pens(["tumor", "cell"])


def painted(inside: bool) -> np.ndarray:
    figure, axes = dot_axes(40, 40)
    stroke(axes, [SQUARE], Pen("#ff0000", "#0000ff"), 0.96, inside=inside)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def test_a_line_lies_on_its_casing() -> None:
    row = painted(inside=False)[20]
    assert row[10].tolist() == [255, 0, 0]
    assert row[7, 2] > row[7, 0]  # blue on either side
    assert row[12, 2] > row[12, 0]


def test_inside_nothing_is_drawn_beyond_the_edge() -> None:
    sheet = painted(inside=True)
    outside = np.ones((40, 40), dtype=bool)
    outside[10:30, 10:30] = False
    assert (sheet[outside] == 255).all()
    assert sheet[20, 11].tolist() == [255, 0, 0]
    assert sheet[20, 14, 2] > sheet[20, 14, 0]


def test_markers_with_and_without_a_face() -> None:
    figure, axes = dot_axes(60, 60)
    stamp(axes, np.array([(20.0, 20.0)]), Pen("#ff0000", "#0000ff"), 4.0)
    stamp(axes, np.array([(45.0, 45.0)]), PLAIN, 4.0)
    stamp(axes, np.zeros((0, 2)), PLAIN, 4.0)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    sheet = np.asarray(canvas.buffer_rgba())
    assert sheet[20, 20, :3].tolist() == [255, 0, 0]
    assert sheet[45, 45, :3].max() < 100


def test_truth_and_prediction_differ_in_colour_classes_in_dashes() -> None:
    pens = compared_pens(["LV", "MYO", "RV", "other"])
    assert len({truth.colour for truth, _ in pens.values()}) == 1
    assert len({predicted.colour for _, predicted in pens.values()}) == 1
    assert len({truth.dashes for truth, _ in pens.values()}) == 4
    for truth, predicted in pens.values():
        assert truth.colour != predicted.colour
        assert truth.dashes == predicted.dashes
