"""What the table of ``tests/benchmarks/calibration.py`` shows, from other draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.calibration import (
    ALARMS,
    BINS,
    COLUMNS,
    COVERAGE,
    LOW,
    SHIFTS,
    SPAN,
    Setting,
    drawn,
    times,
    truth,
)

PAIRED = pytest.mark.parametrize("paired", [False, True], ids=["unpaired", "paired"])
CELLS = pytest.mark.parametrize(("images", "effect"), COLUMNS)
REPEATS = 1000
CHANCE = 0.02
"""That repeats put a rate beyond a bound which it just keeps: two standard errors are allowed."""


@pytest.mark.parametrize("shift", SHIFTS)
@PAIRED
def test_images_are_drawn_from_the_mixture_of_the_truth(shift: str, paired: bool) -> None:
    setting = Setting(images=4000, effect=0.6, shift=shift, paired=paired)
    p, q = (counts.sum(axis=(0, 1)) for counts in drawn(np.random.default_rng(0), setting))
    assert p.shape == (BINS,)
    middles = LOW + SPAN * (np.arange(BINS) + 0.5) / BINS
    move, scale = SHIFTS[shift]
    for counts, mean, spread in ((p, 0.0, 1.36**0.5), (q, move, scale * 1.36**0.5)):
        assert np.average(middles, weights=counts) == pytest.approx(mean, abs=0.03)
        second = np.average((middles - mean) ** 2, weights=counts)
        assert second == pytest.approx(spread**2, rel=0.05)
    found = np.sqrt(np.square(np.sqrt(p / p.sum()) - np.sqrt(q / q.sum())).sum() / 2)
    assert found == pytest.approx(truth(setting), abs=0.01)


def test_the_true_distance_by_hand() -> None:
    # Between normals of one spread s: H^2 = 1 - exp(-(d / s)^2 / 8), but for the width of bins.
    exact = np.sqrt(1 - np.exp(-(0.3**2) / 1.09 / 8))
    assert truth(Setting(50, 0.3, "strong", False)) == pytest.approx(exact, rel=2e-3)
    assert truth(Setting(50, 0.3, "none", True)) == 0
    exact = np.sqrt(1 - np.sqrt(2 * 0.75 / (1 + 0.75**2)))
    assert truth(Setting(50, 0.6, "scale", True)) == pytest.approx(exact, rel=2e-3)


@pytest.mark.slow
@PAIRED
@CELLS
def test_false_alarms_are_five_in_a_hundred(images: int, effect: float, paired: bool) -> None:
    # 5 +- 3 % without allowance: the standard error of the repeats is 0.7 %.
    alarms = times(ALARMS, Setting(images, effect, "none", paired), REPEATS, seed=1)
    assert 0.02 * REPEATS <= alarms <= 0.08 * REPEATS


@pytest.mark.slow
@PAIRED
@CELLS
@pytest.mark.parametrize("shift", SHIFTS)
def test_intervals_cover_the_truth(images: int, effect: float, paired: bool, shift: str) -> None:
    low, high = binom.ppf(CHANCE, REPEATS, 0.90), binom.isf(CHANCE, REPEATS, 0.99)
    assert (low, high) == (880, 996)
    hits = times(COVERAGE, Setting(images, effect, shift, paired), REPEATS, seed=1)
    assert low <= hits <= high
