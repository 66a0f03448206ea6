"""False alarms of the image permutation, and coverage of the jackknife interval, by simulation.

Run: ``python tests/benchmarks/calibration.py [REPEATS [SEED]]`` (1000, 0). Prints a table in
Markdown. Every cell draws that many pairs of sets of N images (8 channels, 64 vectors) afresh.
Vectors are normal around an effect of their image; half of its variance is common to all channels.
Paired sets share the effects. Shifts move (0.05 weak, 0.3 strong) or scale (0.75) the second set,
in standard deviations within an image. Counts are of 100 bins over a fixed range, and the true
distance is that of the mixture of all images over the same bins.
``tests/stats/test_calibration.py`` asserts what the table shows, from other draws.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from skiptool.distances.binned import DISTANCES
from skiptool.distances.binning import count, equal_width
from skiptool.distances.histograms import Range, frequencies
from skiptool.distances.resampling import left_out, permuted
from skiptool.names import Metric
from skiptool.stats.jackknife import corrected, interval
from skiptool.stats.permutation import p_values, relabellings

CHANNELS, VECTORS, BINS, RELABELLINGS = 8, 64, 100, 99
COMMON = 0.5
LOW, SPAN = -5.0, 10.0
HELLINGER = DISTANCES[Metric.HELLINGER]
SHIFTS = {"none": (0.0, 1.0), "weak": (0.05, 1.0), "strong": (0.3, 1.0), "scale": (0.0, 0.75)}
"""What is added to the second set, and by what it is multiplied before."""

ALARMS = "false alarms at 5 %"
COVERAGE = "coverage of 95 %"


@dataclass(frozen=True)
class Setting:
    """One cell of the table: N images, and the standard deviation of their effects."""

    images: int
    effect: float
    shift: str
    paired: bool


COLUMNS = ((50, 0.3), (50, 0.6), (200, 0.3), (200, 0.6))
ROWS = [
    *((ALARMS, "none", paired) for paired in (False, True)),
    *((COVERAGE, shift, paired) for shift in SHIFTS for paired in (False, True)),
]


def drawn(rng: np.random.Generator, setting: Setting) -> tuple[Any, Any]:
    """Draw two sets of images and return their counts (N, D, B)."""
    shape = (setting.images, CHANNELS, VECTORS)
    move, scale = SHIFTS[setting.shift]
    effects = [_effects(rng, setting) for _ in range(2)]
    if setting.paired:
        effects[1] = effects[0]
    x, y = (effect + rng.standard_normal(shape, np.float32) for effect in effects)
    binning = equal_width(Range(np.full(CHANNELS, LOW), np.full(CHANNELS, SPAN)), BINS, clamp=True)
    return count(x, binning), count(y * np.float32(scale) + np.float32(move), binning)


def _effects(rng: np.random.Generator, setting: Setting) -> Any:  # noqa: ANN401
    common = rng.standard_normal((setting.images, 1, 1), np.float32)
    own = rng.standard_normal((setting.images, CHANNELS, 1), np.float32)
    return np.float32(setting.effect) * (COMMON**0.5 * common + (1 - COMMON) ** 0.5 * own)


def truth(setting: Setting) -> float:
    """Hellinger distance over the bins between the mixtures that the images are drawn from."""
    move, scale = SHIFTS[setting.shift]
    spread = np.sqrt(1 + setting.effect**2)
    edges = [-np.inf, *np.linspace(LOW, LOW + SPAN, BINS + 1)[1:-1], np.inf]
    p, q = (np.diff(norm.cdf(edges, *of)) for of in ((0, spread), (move, scale * spread)))
    return float(np.sqrt(np.square(np.sqrt(p) - np.sqrt(q)).sum() / 2))


def alarmed(rng: np.random.Generator, setting: Setting) -> bool:
    """Whether the null calls a pair of sets different at 5 %."""
    a, b = drawn(rng, setting)
    n, m = len(a), len(b)
    chosen = relabellings(n, m, RELABELLINGS, paired=setting.paired, rng=rng)
    null = permuted(a, b, chosen, HELLINGER).mean(axis=0)
    p, q = (frequencies(each.sum(axis=0, dtype=np.int64)) for each in (a, b))
    return bool(p_values(HELLINGER.function(p, q).mean(), null) <= 0.05)


def covered(rng: np.random.Generator, setting: Setting) -> bool:
    """Whether the 95 % interval of the layer's mean, not cut at 0, holds the true value."""
    a, b = drawn(rng, setting)
    p, q = (frequencies(each.sum(axis=0, dtype=np.int64)) for each in (a, b))
    values = HELLINGER.function(p, q)
    without = left_out(a, b, HELLINGER, paired=setting.paired)
    estimate, replicates = corrected(np.square(values), without, squared=True)
    low, high = interval(
        estimate.mean(),
        [each.mean(axis=0) for each in replicates],
        correction=values.mean() - estimate.mean(),
    )
    return bool(low <= truth(setting) <= high)


QUESTIONS: dict[str, Callable[[np.random.Generator, Setting], bool]] = {
    ALARMS: alarmed,
    COVERAGE: covered,
}


def times(question: str, setting: Setting, repeats: int, seed: int) -> int:
    """Count how often the answer is yes; the draws of a cell do not depend on other cells."""
    place = list(SHIFTS).index(setting.shift)
    key = (seed, setting.images, round(100 * setting.effect), place, setting.paired)
    rng = np.random.default_rng(key)
    return sum(QUESTIONS[question](rng, setting) for _ in range(repeats))


def table(repeats: int, seed: int) -> Iterator[tuple[str, str, bool, list[float]]]:
    """Yield the rows: question, shift, whether paired, and a share for each of ``COLUMNS``."""
    for question, shift, paired in ROWS:
        settings = [Setting(images, effect, shift, paired) for images, effect in COLUMNS]
        shares = [times(question, each, repeats, seed) / repeats for each in settings]
        yield question, shift, paired, shares


def main() -> None:
    """Print the table."""
    repeats, seed = [*map(int, sys.argv[1:]), *(1000, 0)[len(sys.argv) - 1 :]]
    heads = [f"N = {images}, effect {effect}" for images, effect in COLUMNS]
    print(f"| | shift | sets | {' | '.join(heads)} |")
    print("|---|---|---|" + "---:|" * len(heads))
    for question, shift, paired, shares in table(repeats, seed):
        cells = " | ".join(f"{100 * share:.1f} %" for share in shares)
        print(f"| {question} | {shift} | {'paired' if paired else 'unpaired'} | {cells} |")
        sys.stdout.flush()
    error = 100 * np.sqrt(0.05 * 0.95 / repeats)
    print(f"\n{repeats} repeats a cell (standard error at 5 or 95 %: {error:.1f} %), seed {seed}.")


if __name__ == "__main__":
    main()
