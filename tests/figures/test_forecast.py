from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from skiptool.analysis.correlation import ImagePair
from skiptool.analysis.forecast import Expected, Fitted, fit_losses
from skiptool.figures.forecast import MOST, forecast_sheet
from skiptool.figures.style import ONE_COLUMN, TWO_COLUMNS
from sweeps import sweep

Check = Callable[[Figure], list[str]]


def made(rows: int) -> Fitted:
    one = fit_losses(*sweep())[0]
    change = one.points[0].change
    return replace(one, expected=tuple(row(change, n) for n in range(rows)))


def row(change: ImagePair, number: int = 0, *, seen: bool = True) -> Expected:
    """Return a forecast; every second one has labels."""
    labelled = number % 2
    return Expected(
        *(change, 0.1, 0.05, 0.15, 0.005 if seen else 0.6, seen, 0.2 if seen else math.nan),
        *(
            0.1 if seen else -0.1,
            0.3,
            2,
            24,
            8,
            8,
            "image",
            0.25 if labelled else math.nan,
            labelled,
            "test",
        ),
    )


@pytest.mark.parametrize("rows", [0, 1, 8, MOST + 7])
def test_each_forecast_has_a_row_up_to_a_limit(rows: int, labels: Check) -> None:
    names = [f"domain {n}" for n in range(rows)]
    figure = forecast_sheet(made(rows), names, "Hellinger distance")
    found = labels(figure)
    assert [name for name in found if name.startswith("domain")] == names[:MOST]
    assert figure.get_figwidth() == (TWO_COLUMNS if rows else ONE_COLUMN)
    assert ("true loss" in _legends(figure)) == (rows > 1)
    assert ("interval" in _legends(figure)) == (rows > 0)
    assert "no shift seen" not in _legends(figure)


def _legends(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_points_line_and_intervals_are_those_of_the_fit() -> None:
    found = made(1)
    left, right = forecast_sheet(found, ["b"], "Hellinger distance").axes
    drawn = [line for line in left.lines if line.get_marker() in ("o", "s", "^")]
    heights = np.concatenate([np.asarray(line.get_ydata()) for line in drawn])
    np.testing.assert_array_equal(np.sort(heights), np.sort(found.loss))
    (bars,) = left.collections
    assert isinstance(bars, LineCollection)
    ends = np.array([segment[:, 0] for segment in bars.get_segments()])
    np.testing.assert_allclose(ends, np.stack([found.low, found.high], axis=1))
    assert left.get_xlim()[0] < 0.0 < found.high.max() < left.get_xlim()[1]
    assert [0.1, 0.3] in [np.asarray(line.get_xdata()).tolist() for line in right.lines]


def test_forecasts_without_a_shift_are_dashed_without_a_dot(labels: Check) -> None:
    found = made(1)
    hidden = replace(found, expected=(row(found.points[0].change, seen=False),))
    figure = forecast_sheet(hidden, ["b"], "Hellinger distance")
    assert "b" in labels(figure)
    right = figure.axes[1]
    (line,) = [line for line in right.lines if list(line.get_xdata()) == [-0.1, 0.3]]
    assert line.is_dashed()
    assert not [line for line in right.lines if line.get_marker() == "o"]
    assert "no shift seen" in _legends(figure)
    assert "interval" not in _legends(figure)[3:]


def test_a_fit_no_better_than_the_mean_has_no_forecasts(labels: Check) -> None:
    found = made(4)
    worse = [one._replace(error=one.error_of_mean) for one in found.cross_validation.held]
    poor = replace(found, cross_validation=found.cross_validation._replace(held=tuple(worse)))
    figure = forecast_sheet(poor, ["b"] * 4, "Hellinger distance")
    assert "fit under controlled shifts: no better than the mean" in labels(figure)
    assert len(figure.axes) == 1
