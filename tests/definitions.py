"""Distances and their statistics, value by value from their definitions: slow, and on their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy, t, wasserstein_distance

Row = Any  # float64, shape (B,)
Units = Sequence[Sequence[int]]

SMOOTHING = 1e-6
"""Weight of the uniform distribution in Kullback-Leibler."""

DEFINITIONS: dict[str, Callable[[Row, Row], float]] = {
    "hellinger": lambda p, q: float(np.sqrt(((np.sqrt(p) - np.sqrt(q)) ** 2).sum() / 2)),
    "bhattacharyya": lambda p, q: float(1 - np.sqrt(p * q).sum()),
    "jensen-shannon": lambda p, q: float(jensenshannon(p, q, base=2)),
    "total-variation": lambda p, q: float(np.abs(p - q).sum() / 2),
    "kl": lambda p, q: float(entropy(smoothed(p), smoothed(q))),
    "kolmogorov-smirnov": lambda p, q: float(np.abs(np.cumsum(p - q)).max()),
    "wasserstein": lambda p, q: float(np.abs(np.cumsum(p - q)).sum() / len(p)),
}
"""Distances of relative frequencies over the same bins."""

SQUARED = ("hellinger", "jensen-shannon")
"""Distances whose square is a mean over bins: their bias is corrected on the square."""

UNBOUNDED = ("kl", "wasserstein-exact", "representation-shift")


def smoothed(p: Row) -> Row:
    return (1 - SMOOTHING) * p + SMOOTHING / len(p)


def bin_of(value: float, low: float, span: float, bins: int) -> int:
    """Bin of eq. (5), the last one closed, in whole fractions; outside counts at the ends."""
    if not span:
        return 0
    place = (Fraction(float(value)) - Fraction(low)) * bins / Fraction(span)
    return min(max(floor(place), 0), bins - 1)


def counts(x: Any, low: float, span: float, bins: int) -> Row:  # noqa: ANN401 - (n,)
    found = np.zeros(bins)
    for value in np.ravel(x):
        found[bin_of(value, low, span, bins)] += 1
    return found


class Channel:
    """One channel of two sets, (N, K) and (N', K), by units, as one distance sees it."""

    def __init__(self, x: Any, y: Any, units: tuple[Units, Units], metric: str, bins: int) -> None:  # noqa: ANN401
        self.metric, self.units, self.size = metric, units, len(units[0])
        low = float(min(x.min(), y.min()))  # eq. (7)
        span = float(max(x.max(), y.max())) - low  # eq. (6)
        self.pooled = [
            part[list(images)].astype(np.float64)
            for part, groups in ((x, units[0]), (y, units[1]))
            for images in groups
        ]
        self.counts = [counts(unit, low, span, bins) for unit in self.pooled]
        self.means = [unit.mean(axis=1).mean() for unit in self.pooled]
        self.constant = span == 0

    def between(self, first: Sequence[int], second: Sequence[int]) -> float:
        """Distance between two sets of pooled units."""
        if self.metric == "representation-shift":
            return float(
                wasserstein_distance(
                    [self.means[i] for i in first], [self.means[i] for i in second]
                )
            )
        p, q = (np.sum([self.counts[i] for i in side], axis=0) for side in (first, second))
        return DEFINITIONS[self.metric](p / p.sum(), q / q.sum())

    @property
    def sides(self) -> tuple[list[int], list[int]]:
        return list(range(self.size)), list(range(self.size, len(self.pooled)))

    @property
    def value(self) -> float:
        return self.between(*self.sides)

    @property
    def effective_bins(self) -> int:
        return int((np.sum(self.counts, axis=0) > 0).sum())

    @property
    def range_used(self) -> float:
        """Share of bins between those that hold the 0.1 % and the 99.9 % quantile."""
        pooled = np.sum(self.counts, axis=0)
        share = np.cumsum(pooled) / pooled.sum()
        low = next(b for b, up in enumerate(share) if up > 0.001)
        high = next(b for b, up in enumerate(share) if up >= 0.999)
        return (high - low + 1) / len(pooled)

    def null(self, labellings: Any) -> list[float]:  # noqa: ANN401 - (R, n)
        everyone = range(len(self.pooled))
        return [
            self.between(list(row), [i for i in everyone if i not in set(row)])
            for row in labellings.tolist()
        ]

    def jackknife(self, paired: bool) -> tuple[float, list[list[float]]]:
        """Corrected value, with its sign, and the same without each unit of each set."""
        first, second = self.sides
        squared = self.metric in SQUARED

        def scaled(a: Sequence[int], b: Sequence[int]) -> float:
            found = self.between(a, b)
            return found**2 if squared else found

        def less(side: Sequence[int], place: int) -> list[int]:
            return [*side[:place], *side[place + 1 :]]

        if paired:
            sets = [[scaled(less(first, i), less(second, i)) for i in range(len(first))]]
        else:
            sets = [
                [scaled(less(first, i), second) for i in range(len(first))],
                [scaled(first, less(second, i)) for i in range(len(second))],
            ]
        whole = scaled(first, second)
        bias = sum((len(each) - 1) * (np.mean(each) - whole) for each in sets)

        def root(value: float) -> float:
            return float(np.sign(value) * np.sqrt(abs(value))) if squared else float(value)

        return root(whole - bias), [[root(value - bias) for value in each] for each in sets]


def interval(
    value: float, estimate: float, replicates: Sequence[Sequence[float]]
) -> tuple[float, float]:
    """95 % interval of a jackknife, degrees of freedom after Welch and Satterthwaite.

    A tenth of the correction counts as one more standard error.
    """
    parts = []
    for each in replicates:
        n = len(each)
        parts.append(((n - 1) / n * sum((value - np.mean(each)) ** 2 for value in each), n - 1))
    variance = sum(part for part, _ in parts)
    below = sum(part**2 / units for part, units in parts)
    freedom = variance**2 / below if below else 1.0
    half = float(t.ppf(0.975, freedom)) * np.sqrt(variance + ((value - estimate) / 10) ** 2)
    return estimate - half, estimate + half


def p_value(observed: float, null: Sequence[float]) -> float:
    return (1 + sum(value >= observed - 1e-11 for value in null)) / (1 + len(null))


def adjusted(observed: Sequence[float], null: Sequence[Sequence[float]]) -> list[float]:
    """Step-down maximum statistic of Westfall and Young over layers, (L,) and (L, R)."""
    scores = []
    for value, relabelled in zip(observed, null, strict=True):
        every = np.array([value, *relabelled])
        spread = every.std()
        scores.append((every - every.mean()) / spread if spread > 1e-12 else 0 * every)
    order = sorted(range(len(scores)), key=lambda layer: -scores[layer][0])
    found, so_far = [0.0] * len(scores), 0.0
    for step, layer in enumerate(order):
        highest = np.max([scores[each][1:] for each in order[step:]], axis=0)
        so_far = max(so_far, p_value(scores[layer][0], list(highest)))
        found[layer] = so_far
    return found


def columns_of_channels(channels: Sequence[Channel], labellings: Any, paired: bool) -> Any:  # noqa: ANN401
    """Columns of a shift table: the layer's row first, then a row a channel; and the null."""
    most = np.inf if channels[0].metric in UNBOUNDED else 1.0
    live = [place for place, each in enumerate(channels) if not each.constant]
    rows: list[dict[str, float | None]] = []
    estimates, replicates, nulls = [], [], []
    for each in channels:
        estimate, without = each.jackknife(paired)
        estimates.append(estimate)
        replicates.append(without)
        nulls.append(each.null(labellings))
        rows.append(_row(each.value, estimate, without, nulls[-1], most))
        if each.metric != "representation-shift":
            rows[-1] |= {"effective_bins": each.effective_bins, "range_used": each.range_used}
    values = [each.value for each in channels]
    null = np.mean(nulls, axis=0).tolist()
    sets = [np.mean(each, axis=0).tolist() for each in zip(*replicates, strict=True)]
    whole = _row(float(np.mean(values)), float(np.mean(estimates)), sets, null, most)
    whole["value_live"] = float(np.mean([values[i] for i in live])) if live else None
    for name in ("effective_bins", "range_used"):
        if name in rows[0]:
            whole[name] = float(np.mean([rows[i][name] for i in live])) if live else None
    return [whole, *rows], null


def _row(
    value: float,
    estimate: float,
    replicates: Sequence[Sequence[float]],
    null: Sequence[float],
    most: float,
) -> dict[str, float | None]:
    low, high = interval(value, estimate, replicates)
    cut = {"corrected": estimate, "ci_low": low, "ci_high": high}
    return {
        "value": value,
        **{name: float(np.clip(end, 0, most)) for name, end in cut.items()},
        "null_mean": float(np.mean(null)),
        "null_high": float(np.quantile(null, 0.95)),
        "p_value": p_value(value, null),
    }
