"""Distances and their statistics, value by value from their definitions: slow, and on their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import floor
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.distance import jensenshannon
from scipy.special import loggamma
from scipy.stats import entropy, gamma, t, wasserstein_distance

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

CUMULATED = ("kolmogorov-smirnov", "wasserstein")
"""Distances of cumulated frequencies: their bins are not pooled."""

NO_METRIC = ("bhattacharyya", "kl")
"""Distances without the triangle inequality."""

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


REACHED = Fraction(5, 2)
"""Units of the smaller set that are expected to reach each pooled bin."""

CLEAR, MOST_UNRESOLVED, ALPHA = 3.0, 0.5, 0.05


def grouped_bins(units: Sequence[Sequence[Fraction]], need: Fraction) -> list[list[int]]:
    """Pool bins from low to high until so many units, (sum)^2 / sum of squares, reach each."""
    found: list[list[int]] = []
    open_bins: list[int] = []
    for place in range(len(units[0])):
        open_bins.append(place)
        held = [sum(unit[k] for k in open_bins) for unit in units]
        if any(held) and sum(held) ** 2 >= need * sum(each**2 for each in held):
            found.append(open_bins)
            open_bins = []
    if not found:
        return [open_bins]
    found[-1] += open_bins
    return found


def pooled_groups(
    first: Sequence[Sequence[int]], second: Sequence[Sequence[int]], paired: bool
) -> list[list[int]]:
    """Pooled bins of counts of units (U, B) and (V, B) that weigh equally."""
    shares = [
        [[Fraction(int(value), int(sum(unit))) for value in unit] for unit in side]
        for side in (first, second)
    ]
    if paired:
        both = [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(*shares, strict=True)]
        return grouped_bins(both, 2 * REACHED)
    n, m = map(len, shares)
    return grouped_bins([*shares[0], *shares[1]], REACHED * (n + m) / min(n, m))


class Channel:
    """One channel of two sets, (N, K) and (N', K'), by units, as one distance sees it.

    ``tested`` are the units of an equal draw, ``vectors`` (N, k) those drawn of each image.
    """

    def __init__(
        self,
        x: Any,  # noqa: ANN401
        y: Any,  # noqa: ANN401
        units: tuple[Units, Units],
        metric: str,
        bins: int,
        tested: tuple[Units, Units] | None = None,
        vectors: tuple[Any, Any] = (None, None),
    ) -> None:
        self.metric, self.bins = metric, bins
        low = float(min(x.min(), y.min()))  # eq. (7)
        span = float(max(x.max(), y.max())) - low  # eq. (6)
        self.constant = span == 0
        self.whole = [counts(each, low, span, bins) for each in (x, y)]

        def gathered(chosen: tuple[Units, Units], drawn: tuple[Any, Any]) -> list[list[Row]]:
            found = []
            for part, groups, places in zip((x, y), chosen, drawn, strict=True):
                kept = part if places is None else np.take_along_axis(part, places, axis=1)
                rows = [kept[list(images)].astype(np.float64) for images in groups]
                found.append(
                    [np.array([row.mean()]) for row in rows]
                    if metric == "representation-shift"
                    else [counts(row, low, span, bins) for row in rows]
                )
            return found

        self.sides = gathered(units, (None, None))
        self.tested = gathered(tested or units, vectors)

    def between(self, first: Sequence[Row], second: Sequence[Row]) -> float:
        """Distance between two sets of units, each with the same weight."""
        if self.metric == "representation-shift":
            return float(wasserstein_distance(np.ravel(first), np.ravel(second)))
        p, q = (np.mean([unit / unit.sum() for unit in side], axis=0) for side in (first, second))
        return DEFINITIONS[self.metric](p, q)

    @property
    def value(self) -> float:
        """Distance between all values."""
        if self.metric == "representation-shift":
            return self.between(*self.sides)
        p, q = self.whole
        return DEFINITIONS[self.metric](p / p.sum(), q / q.sum())

    @property
    def effective_bins(self) -> int:
        return int((sum(self.whole) > 0).sum())

    @property
    def range_used(self) -> float:
        """Share of bins between those that hold the 0.1 % and the 99.9 % quantile."""
        pooled = sum(self.whole)
        share = np.cumsum(pooled) / pooled.sum()
        low = next(b for b, up in enumerate(share) if up > 0.001)
        high = next(b for b, up in enumerate(share) if up >= 0.999)
        return (high - low + 1) / len(pooled)

    def null(self, labellings: Any) -> list[float]:  # noqa: ANN401 - (R, n)
        """Return the statistic of the test: as labelled, then under each relabelling."""
        pool = [*self.tested[0], *self.tested[1]]
        rows = [list(range(len(self.tested[0]))), *labellings.tolist()]
        return [
            self.between(
                [pool[i] for i in row], [pool[i] for i in range(len(pool)) if i not in set(row)]
            )
            for row in rows
        ]

    def pooled(self, paired: bool) -> tuple[list[list[Row]], int]:
        """Units on the bins of the estimate, and how many these are; those left over are empty."""
        if self.metric == "representation-shift":
            return self.sides, 2
        if self.metric in CUMULATED:
            return self.sides, self.bins
        groups = pooled_groups(*(np.asarray(side, dtype=int).tolist() for side in self.sides),
                               paired)  # fmt: skip
        sides = []
        for side in self.sides:
            rows = np.zeros((len(side), self.bins))
            for place, members in enumerate(groups):
                rows[:, place] = [unit[members].sum() for unit in side]
            sides.append(list(rows))
        return sides, len(groups)

    def estimate(self, paired: bool) -> Estimate:
        """Jackknife on pooled bins, on the scale on which bias is corrected."""
        (first, second), bins = self.pooled(paired)
        squared = self.metric in SQUARED

        def scaled(a: Sequence[Row], b: Sequence[Row]) -> float:
            found = self.between(a, b)
            return found**2 if squared else found

        def less(side: Sequence[Row], place: int) -> list[Row]:
            return [*side[:place], *side[place + 1 :]]

        if paired:
            sets = [[scaled(less(first, i), less(second, i)) for i in range(len(first))]]
        else:
            sets = [
                [scaled(less(first, i), second) for i in range(len(first))],
                [scaled(first, less(second, i)) for i in range(len(second))],
            ]
        plain = scaled(first, second)
        bias = sum((len(each) - 1) * (np.mean(each) - plain) for each in sets)
        ceiling = self.value
        replicates = [[float(value - bias) for value in each] for each in sets]
        return Estimate(squared, plain, float(plain - bias), replicates, bins, ceiling,
                        self.constant)  # fmt: skip


class Estimate(NamedTuple):
    """Estimate of one channel: ``ceiling`` is a distance, the others squares where ``squared``."""

    squared: bool
    plain: float
    corrected: float
    replicates: list[list[float]]
    bins: int
    ceiling: float
    constant: bool

    @property
    def unresolved(self) -> bool:
        return self.bins < 2 and not self.constant


def root(value: float) -> float:
    """Square root with the sign of the value."""
    return float(np.sign(value) * np.sqrt(abs(value)))


def variance(replicates: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Jackknife variance and degrees of freedom after Welch and Satterthwaite."""
    parts = []
    for each in replicates:
        n = len(each)
        parts.append(((n - 1) / n * sum((value - np.mean(each)) ** 2 for value in each), n - 1))
    total = sum(part for part, _ in parts)
    below = sum(part**2 / units for part, units in parts)
    return total, (total**2 / below if below else 1.0)


def half_width(
    replicates: Sequence[Sequence[float]], correction: float, unsure: float = 0.1
) -> float:
    """Half of a 95 % interval; a share of the correction counts as one more standard error."""
    total, freedom = variance(replicates)
    return float(t.ppf(0.975, freedom) * np.sqrt(total + (unsure * correction) ** 2))


def noise_of(null: Sequence[float], squared: bool) -> float:
    """How far the 97.5 % quantile of permuted distances (their squares) is above their mean."""
    scaled = np.square(null) if squared else np.asarray(null)
    return float(np.quantile(scaled, 0.975) - scaled.mean())


def interval(
    value: float, estimate: float, replicates: Sequence[Sequence[float]]
) -> tuple[float, float]:
    """95 % interval of a jackknife around an estimate, for the value before its correction."""
    half = half_width(replicates, value - estimate)
    return estimate - half, estimate + half


def channel_interval(found: Estimate, lift: float) -> tuple[float, float, float]:
    """Estimate and ends of the interval of one channel, on the scale of the distance.

    ``lift`` is what noise alone may add.
    """
    if found.unresolved:
        return np.nan, np.nan, np.nan
    low, high = interval(found.plain, found.corrected, found.replicates)
    ends = (found.corrected, low, high + lift)
    return tuple(map(root, ends)) if found.squared else ends


def averages(parts: Sequence[Sequence[Sequence[float]]]) -> list[list[float]]:
    """Means over channels of the replicates of each set."""
    return [np.mean(each, axis=0).tolist() for each in zip(*parts, strict=True)]


def layer_interval(
    channels: Sequence[Estimate], lift: float
) -> tuple[float, float, float, list[list[float]]]:
    """Estimate of a layer, the ends of its interval, and its replicates."""
    size = len(channels)
    if channels[0].squared:
        value, low, high, replicates = mean_of_roots(channels, lift)
    else:
        value = float(np.mean([each.corrected for each in channels]))
        replicates = averages([each.replicates for each in channels])
        low, high = interval(float(np.mean([each.plain for each in channels])), value, replicates)
        high += lift
    high += sum(each.ceiling for each in channels if each.unresolved) / size
    unresolved = sum(each.unresolved for each in channels)
    if unresolved > MOST_UNRESOLVED * sum(not each.constant for each in channels):
        low = high = np.nan
    return value, low, high, replicates


def share_of_roots(squares: Sequence[float], noise: Sequence[float]) -> float:
    """E root(X) / root(E X) of a gamma variable of the mean and spread beyond noise of squares."""
    if len(squares) < 2 or np.mean(squares) <= 0:
        return 1.0
    beyond = float(np.var(squares, ddof=1) - np.mean(noise))
    if beyond <= 0:
        return 1.0
    shape = float(np.mean(squares)) ** 2 / beyond
    distribution = gamma(shape, scale=1 / shape)
    return (
        float(distribution.expect(np.sqrt))
        if shape > 0.5
        else float(np.exp(loggamma(shape + 0.5) - loggamma(shape)) / np.sqrt(shape))
    )


def mean_of_roots(
    channels: Sequence[Estimate], lift: float
) -> tuple[float, float, float, list[list[float]]]:
    """Clear channels by their roots; the others by the root of their mean square."""
    size = len(channels)
    noise = [
        variance(each.replicates)[0] + ((each.plain - each.corrected) / 10) ** 2
        for each in channels
    ]
    clear = [
        each.corrected > CLEAR * np.sqrt(error) for each, error in zip(channels, noise, strict=True)
    ]
    strong = [each for each, is_clear in zip(channels, clear, strict=True) if is_clear]
    weak = [each for each, is_clear in zip(channels, clear, strict=True) if not is_clear]
    share = share_of_roots(
        [each.corrected for each in weak],
        [error for error, is_clear in zip(noise, clear, strict=True) if not is_clear],
    )

    def clear_part(values: Sequence[float]) -> float:
        return sum(map(root, values)) / size

    def mean_square(values: Sequence[float]) -> float:
        return float(np.mean(values)) if len(values) else 0.0

    def whole(own: float, rest: float) -> float:
        return own + len(weak) / size * share * root(rest)

    value = whole(
        clear_part([each.corrected for each in strong]),
        mean_square([each.corrected for each in weak]),
    )
    own, rest, replicates, roots = [], [], [], []
    for side in range(len(channels[0].replicates)):
        units = range(len(channels[0].replicates[side]))
        own.append([clear_part([each.replicates[side][u] for each in strong]) for u in units])
        rest.append([mean_square([each.replicates[side][u] for each in weak]) for u in units])
        replicates.append([whole(a, b) for a, b in zip(own[-1], rest[-1], strict=True)])
        roots.append([np.mean([root(c.replicates[side][u]) for c in channels]) for u in units])
    taken_off = sum(root(each.plain) - root(each.corrected) for each in strong) / size
    most = mean_square([each.plain - each.corrected for each in weak])
    upper = mean_square([each.corrected for each in weak]) + half_width(rest, most)
    high = (
        clear_part([each.corrected for each in strong])
        + half_width(own, taken_off, 0.3)
        + len(weak) / size * np.sqrt(max(0.0, upper + lift))
    )
    middle = float(np.mean([root(each.corrected) for each in channels]))
    before = float(np.mean([root(each.plain) for each in channels]))
    low = middle - half_width(roots, before - middle, 0.3)
    return value, min(low, value), max(high, value), replicates


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


def columns_of_channels(
    channels: Sequence[Channel],
    labellings: Any,  # noqa: ANN401
    paired: bool,
    *,
    least_p: float = 0.0,
) -> Any:  # noqa: ANN401
    """Columns of a shift table: the layer's row first, then a row a channel; and the null."""
    most = np.inf if channels[0].metric in UNBOUNDED else 1.0
    live = [place for place, each in enumerate(channels) if not each.constant]
    rows: list[dict[str, float | None]] = []
    estimates = [each.estimate(paired) for each in channels]
    nulls = [each.null(labellings) for each in channels]
    for each, found, null in zip(channels, estimates, nulls, strict=True):
        ends = channel_interval(found, noise_of(null[1:], found.squared))
        rows.append(_row(each.value, ends, null, most, least_p))
        rows[-1]["unresolved_channels"] = int(found.unresolved)
        if each.metric != "representation-shift":
            rows[-1] |= {"effective_bins": each.effective_bins, "range_used": each.range_used}
            rows[-1]["inference_bins"] = found.bins
    values = [each.value for each in channels]
    null = np.mean(nulls, axis=0).tolist()
    ends = layer_interval(estimates, noise_of(null[1:], estimates[0].squared))[:3]
    whole = _row(float(np.mean(values)), ends, null, most, least_p)
    whole["value_live"] = float(np.mean([values[i] for i in live])) if live else None
    whole["unresolved_channels"] = sum(each.unresolved for each in estimates)
    for name in ("effective_bins", "range_used", "inference_bins"):
        if name in rows[0]:
            whole[name] = float(np.mean([rows[i][name] for i in live])) if live else None
    return [whole, *rows], null


def _row(
    value: float,
    ends: tuple[float, float, float],
    null: Sequence[float],
    most: float,
    least_p: float,
) -> dict[str, float | None]:
    """``null`` is the statistic as labelled, then relabelled."""
    p = p_value(null[0], null[1:])
    corrected, low, high = ends
    if least_p > ALPHA or p > ALPHA:
        low = low if np.isnan(low) else 0.0
    cut = {"corrected": corrected, "ci_low": low, "ci_high": high}
    return {
        "value": value,
        **{n: None if np.isnan(end) else float(np.clip(end, 0, most)) for n, end in cut.items()},
        "tested": null[0],
        "null_mean": float(np.mean(null[1:])),
        "null_high": float(np.quantile(null[1:], 0.95)),
        "p_value": None if least_p > ALPHA else p,
    }
