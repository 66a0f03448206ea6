from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from skiptool.analysis.correlation import Association, associations
from skiptool.errors import ArgumentError
from skiptool.figures.strip import correlation_strip, layers_of
from skiptool.figures.style import ONE_COLUMN, TWO_COLUMNS
from skiptool.names import LAYERS
from sweeps import sweep

Check = Callable[[Figure], list[str]]


def families(count: int, layers: tuple[str, ...] = LAYERS) -> list[Association]:
    return [
        found
        for number in range(count)
        for found in associations(*sweep(layers=layers, encoder=f"resnet{number}"))
    ]


def test_a_dot_and_an_interval_stand_in_the_row_of_their_layer(labels: Check) -> None:
    (found,) = families(1, ("input", "enc1", "head"))
    figure = correlation_strip([found])
    texts = labels(figure)
    assert {"input", "enc1", "head", "resnet0"} <= {*texts}
    (axes,) = figure.axes
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [float(np.ravel(dot.get_xdata())[0]) for dot in dots] == found.correlation.tolist()
    assert [float(np.ravel(dot.get_ydata())[0]) for dot in dots] == [0, 1, 2]
    assert axes.get_ylim() == (2.5, -0.5)  # the input above
    ends = [list(line.get_xdata()) for line in axes.lines if line.get_linewidth() in (0.8, 1.6)]
    assert [low, high] in ends if (low := found.low[0]) and (high := found.high[0]) else False
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
def test_families_stand_side_by_side(labels: Check, count: int) -> None:
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


def test_what_is_not_known_is_left_out(labels: Check) -> None:
    (found,) = families(1, ("input", "enc1"))
    nothing = np.full(2, np.nan)
    figure = correlation_strip([replace(found, correlation=nothing, low=nothing, high=nothing)])
    assert "enc1" in labels(figure)
    with pytest.raises(ArgumentError, match="found no layer"):
        correlation_strip([])
