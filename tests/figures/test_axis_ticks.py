from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from skiptool.figures.axis_ticks import round_ticks, set_scale, spans_decades


def test_decades() -> None:
    assert not spans_decades(np.array([0.0, 1000.0]))
    assert not spans_decades(np.array([math.nan]))
    assert not spans_decades(np.array([0.01, 1.0]))
    assert spans_decades(np.array([0.0099, math.nan, 1.0]))


@given(st.floats(1e-6, 1e6), st.floats(1.001, 1e9), st.booleans())
def test_ticks_are_few_and_lie_between_the_ends(low: float, factor: float, log: bool) -> None:
    high = low * factor
    found = round_ticks(low, high, log=log)
    assert all(low * (1 - 1e-12) <= tick <= high * (1 + 1e-12) for tick in found)
    assert found == sorted(set(found))
    assert len(found) <= 6
    if not log or factor >= 10.0:
        assert len(found) >= 1


@pytest.mark.parametrize("which", ["x", "y"])
@pytest.mark.parametrize("log", [False, True])
def test_an_axis_ends_where_it_should(which: Literal["x", "y"], log: bool) -> None:
    axes = Figure().add_subplot()
    set_scale(axes, which, 0.02, 30.0, log=log)
    axis, ends = (axes.xaxis, axes.get_xlim()) if which == "x" else (axes.yaxis, axes.get_ylim())
    assert ends == (0.02, 30.0)
    assert axis.get_scale() == ("log" if log else "linear")
    texts = [label.get_text() for label in axis.get_ticklabels()]
    assert texts == (["0.1", "1", "10"] if log else ["10", "20", "30"])
    assert list(axis.get_minorticklocs()) == []
