from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from skiptool.figures.forecast_sheet import MOST, forecast_sheet
from skiptool.figures.style import ONE_COLUMN, TWO_COLUMNS
from skiptool.readings.forecast import Expected, Fitted, fit_losses
from sweeps import sweep

Check = Callable[[Figure], list[str]]


def made(rows: int) -> Fitted:
    one = fit_losses(*sweep())[0]
    change = one.points[0].change
    expected = [
        Expected(change, 0.1, 0.2, 0.1, 0.3, 2, 0.25 if n % 2 else float("nan"), n % 2, "test")
        for n in range(rows)
    ]
    return replace(one, expected=tuple(expected))


@pytest.mark.parametrize("rows", [0, 1, 8, MOST + 7])
def test_a_row_a_forecast_as_far_as_there_is_room(rows: int, labels: Check) -> None:
    names = [f"domain {n}" for n in range(rows)]
    figure = forecast_sheet(made(rows), names, "Hellinger distance")
    found = labels(figure)
    assert [name for name in found if name.startswith("domain")] == names[:MOST]
    assert figure.get_figwidth() == (TWO_COLUMNS if rows else ONE_COLUMN)
    assert ("true loss" in _legends(figure)) == (rows > 1)


def _legends(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_points_line_and_intervals_are_those_of_the_fit() -> None:
    found = made(1)
    left, right = forecast_sheet(found, ["b"], "Hellinger distance").axes
    drawn = [line for line in left.lines if line.get_marker() in ("o", "s", "^")]
    heights = np.concatenate([np.asarray(line.get_ydata()) for line in drawn])
    np.testing.assert_array_equal(np.sort(heights), np.sort(found.loss))
    assert [0.1, 0.3] in [np.asarray(line.get_xdata()).tolist() for line in right.lines]
