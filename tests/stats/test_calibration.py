"""A part of ``tests/benchmarks/calibration.py``, with other random draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.calibration import BINS, EQUAL, UNEQUAL, Cell, Design, alarms, coverage, outcome
from benchmarks.populations import POPULATIONS, SHIFTS, population_sample, shifted, true_distance

REPEATS = 300
CHANCE = 0.02
"""Probability that repeats exceed a bound that the true rate just meets."""

SEED = 77
"""Different from that of the printed tables."""


def within(hits: int, low: float, high: float) -> bool:
    """Return True if ``hits`` of ``REPEATS`` are consistent with a rate between two bounds."""
    return bool(binom.ppf(CHANCE, REPEATS, low) <= hits <= binom.isf(CHANCE, REPEATS, high))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("design", "population"),
    [
        (EQUAL[0], "gauss"),
        (EQUAL[1], "sparse"),
        (EQUAL[3], "lognormal"),
        (UNEQUAL[0], "gauss"),
        (UNEQUAL[1], "smooth field"),
        (UNEQUAL[3], "t(3)"),
    ],
    ids=str,
)
def test_false_positives_are_five_percent(design: Design, population: str) -> None:
    found = round(alarms(design, population, REPEATS, SEED) * REPEATS)
    assert within(found, 0.03, 0.07), found / REPEATS


@pytest.mark.slow
@pytest.mark.parametrize(
    "cell",
    [
        Cell("gauss", "none", (15, 15), False),
        Cell("t(3)", "strong", (8, 8), False),
        Cell("sparse", "middle", (15, 15), True),
        Cell("lognormal", "weak", (15, 15), False),
        Cell("bimodal", "middle", (8, 8), False),
        Cell("gamma", "middle", (50, 50), True),
    ],
    ids=str,
)
def test_intervals_cover_the_true_distance(cell: Cell) -> None:
    repeats = 100
    found = coverage(cell, repeats, SEED)
    assert found["told"] >= 0.9  # a few sets of a sparse population have too few values
    # 90 % at least; the standard error of the repeats is 3 %.
    assert found["coverage"] * repeats >= binom.ppf(CHANCE, repeats, 0.90)
    # Not because it is wide: the upper end is at most three times as far off as the plain value.
    assert found["true"] <= found["high"] <= 3 * max(found["value"], found["true"])


def test_an_obvious_shift_is_detected_and_covered() -> None:
    found = [outcome(Cell("gauss", "strong", (12, 12), False), SEED, repeat) for repeat in (0, 1)]
    for each in found:
        assert 0 < each.low <= each.corrected <= each.high <= 1
        assert abs(each.corrected - each.true) < 0.1
        assert each.true <= each.true_on_all + 1e-3
    assert alarms(EQUAL[1], "gauss", 2, SEED, move=1.5) == 1


def test_the_true_distance_by_hand() -> None:
    # Normals of equal spread s: H^2 = 1 - exp(-(d / s)^2 / 8), apart from the bin width.
    edges = np.linspace(-6, 6, 4 * BINS)
    for shift, (move, _) in SHIFTS.items():
        exact = np.sqrt(1 - np.exp(-(move**2) / 1.25 / 8))
        assert true_distance("gauss", shift, edges) == pytest.approx(exact, abs=3e-3)
    # Half of the values on either side of an edge, then 30.9 % and 69.1 %.
    middle = np.median(population_sample("gauss", "none"))
    p = (population_sample("gauss", "none") < middle - 1.0).mean()
    overlap = np.sqrt(0.5 * p) + np.sqrt(0.5 * (1 - p))
    found = true_distance("gauss", "strong", np.array([middle]))
    assert found == pytest.approx(np.sqrt(1 - overlap), abs=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("population", POPULATIONS)
def test_images_are_drawn_from_the_population(population: str) -> None:
    drawn = POPULATIONS[population](np.random.default_rng(SEED), 600, 2, 64)
    assert drawn.shape == (600, 2, 64)
    whole = population_sample(population, "none")
    for share in (0.3, 0.7, 0.9):
        cut = np.quantile(whole, share)
        expected = (whole <= cut).mean()
        assert (drawn <= cut).mean() == pytest.approx(expected, abs=0.06)
    moved = shifted(population, "strong", drawn)
    assert (np.diff(np.sort(drawn.ravel())) >= 0).all()
    assert (moved >= drawn).all() or population in ("gauss", "t(3)")
