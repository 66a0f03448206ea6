"""One layer of two sets: counted once, then every distance and statistic from the counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.comparison.activations import (
    Activations,
    Mapper,
    Settings,
    counted,
    extents,
    key_totals,
    values_of,
    vectors_of,
)
from skiptool.comparison.buffers import Counts
from skiptool.comparison.results import Estimates, Measured, Partial, joined
from skiptool.comparison.units import IMAGE, Draw, Units, drawn_vectors, held_images, least_p_value
from skiptool.distances.binned import DISTANCES, Distance, hellinger_literal, pool_bins, pooled_bins
from skiptool.distances.counting import (
    Binning,
    Range,
    constant_channels,
    equal_width,
    frequencies,
    joint_range,
    merged,
    quantile_bins,
    sweep,
)
from skiptool.distances.exact import (
    leave_one_out_wasserstein,
    permuted_wasserstein,
    representation_shift,
    subset_wasserstein,
    wasserstein,
)
from skiptool.distances.float16 import KEYS, quantiles_from_keys, wasserstein_from_keys
from skiptool.distances.resampling import left_out, permuted
from skiptool.names import LAYERWISE, Metric, RangeRule
from skiptool.parallel import mapped
from skiptool.records import Task
from skiptool.stats.jackknife import corrected

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Float64, Int64

__all__ = [
    "Bins",
    "Comparison",
    "Design",
    "binning_of",
    "exact_wasserstein",
    "measure_channels",
    "measure_layer",
    "measure_unbinned",
    "metrics_on_bins",
    "reference_bins",
]

# -------------------------------------------------------------------------------------------------
# From a range rule to the bins of a layer, for two sets that are compared.


_TAIL: Final = 0.001
"""Share of values that rule ``p0.1`` leaves to the end bins on either side."""

_LEAST: Final = 2.0**-160
"""Far below the least difference of float32, and not so near 0 that a quotient overflows."""


def binning_of(
    reference: Activations,
    other: Activations,
    layer: str,
    bounds: Sequence[tuple[AnyArray, AnyArray]],
    settings: Settings,
) -> Binning:
    """Return the bins of a layer, given lowest and highest values of both sets.

    Where a set holds counts, they are the bins of these: all the rules are for values.

    ``minmax`` is eqs. (6) and (7). ``reference`` takes the range of the reference alone, ``p0.1``
    the pooled values between their 0.1 % and 99.9 % quantiles; both count what lies outside in
    the end bins. A channel that varies, but not within such a range, gets one bin below it, one
    of it and one above it. ``quantile`` puts the same share of the pooled values into each bin, as
    far as equal values allow. Quantiles are values of the sets.

    Raises
    ------
    FormatError
        If activations are not finite or damaged.
    """
    rule, sets = settings.range_rule, (reference, other)
    known = [found.binning for each in sets if (found := each.counted(layer)) is not None]
    if known:
        return known[0]
    if rule is RangeRule.QUANTILE:
        return quantile_bins(_quantiles(*sets, layer, settings, _shares(settings.bins[0])))
    if rule is RangeRule.PERCENTILES:
        ends = _quantiles(*sets, layer, settings, np.array([_TAIL, 1 - _TAIL]))
        joint = Range(ends[:, 0].copy(), ends[:, 1] - ends[:, 0])
    else:
        taken = bounds[:1] if rule is RangeRule.REFERENCE else bounds
        joint = joint_range(*taken)
    clamp = rule in (RangeRule.PERCENTILES, RangeRule.REFERENCE)
    if clamp:
        joint = _opened(joint, joint_range(*bounds).span > 0)
    if len(settings.bins) > 1:
        return sweep(joint, settings.bins, clamp=clamp)
    return equal_width(joint, settings.bins[0], clamp=clamp, literal=settings.literal)


def reference_bins(low: AnyArray, high: AnyArray, bins: int) -> Binning:
    """Return the bins that rule ``reference`` makes of a reference, whatever is compared with it.

    Parameters
    ----------
    low, high : floats, shape (..., D)
        Lowest and highest values of the reference.
    bins : int
        B.

    Raises
    ------
    ArgumentError
        If values are not finite, or the number of bins is out of range.

    Notes
    -----
    What is compared may vary in a channel in which the reference is constant, so that one bin of
    it, one below and one above are made in any case. Where it turns out to be constant in both
    sets, all values are in one bin under either rule, and every distance is 0.
    """
    own = joint_range((low, high))
    return equal_width(_opened(own, np.ones(own.span.shape, dtype=np.bool_)), bins, clamp=True)


def exact_wasserstein(
    reference: Activations, other: Activations, layer: str, settings: Settings
) -> Float64:
    """Wasserstein-1 distance (D,) of all activations, without bins, a few channels at a time."""
    sets, found = (reference, other), []
    for part in _parts(sets, layer, settings):
        if _all_float16(sets, layer):
            found.append(wasserstein_from_keys(*(key_totals(each, layer, part) for each in sets)))
        else:
            found.append(wasserstein(*(values_of(each, layer, part) for each in sets)))
    return np.concatenate(found)


def _opened(narrow: Range, varies: Bool) -> Range:
    """Widen ranges of one value, in channels that vary, by next to nothing on either side."""
    lost = (narrow.span == 0) & varies
    reach = np.where(lost, np.maximum(4 * np.spacing(np.abs(narrow.low)), _LEAST), 0.0)
    return Range(narrow.low - reach, narrow.span + 2 * reach)


def _shares(bins: int) -> Float64:
    return np.arange(1, bins) / bins


def _quantiles(
    reference: Activations, other: Activations, layer: str, settings: Settings, shares: Float64
) -> Float64:
    """Quantiles (D, Q) of the pooled activations of each channel."""
    found, sets = [], (reference, other)
    for part in _parts(sets, layer, settings):
        if _all_float16(sets, layer):
            pooled = key_totals(reference, layer, part).astype(np.int64)
            pooled += key_totals(other, layer, part)
            found.append(quantiles_from_keys(pooled, shares))
        else:
            values = np.concatenate([values_of(each, layer, part) for each in sets])
            found.append(_ranked(values, shares))
    return np.concatenate(found)


def _ranked(values: AnyArray, shares: Float64) -> Float64:
    """Lowest of the values (n, d) up to which at least such shares of them lie, (d, Q)."""
    n = len(values)
    rank = np.ceil(shares * n)
    rank -= (rank - 1) / n >= shares  # shares are compared, not products
    rank += rank / n < shares
    rows = np.sort(values.T, axis=1)
    return rows[:, np.maximum(rank, 1).astype(np.int64) - 1].astype(np.float64)


def _all_float16(sets: Sequence[Activations], layer: str) -> bool:
    return all(each.dtype(layer) == np.float16 for each in sets)


def _parts(sets: Sequence[Activations], layer: str, settings: Settings) -> Iterator[slice]:
    """Blocks of channels, so few that their keys or values, and copies of them, fit."""
    shapes = [each.shape(layer) for each in sets]
    size = max(each.dtype(layer).itemsize for each in sets)
    values = sum(images * vectors for images, _, vectors in shapes)
    bytes_each = 3 * KEYS * 8 if _all_float16(sets, layer) else 5 * size * values
    width, channels = max(1, settings.budget // bytes_each), shapes[0][1]
    return (slice(start, min(start + width, channels)) for start in range(0, channels, width))


# -------------------------------------------------------------------------------------------------
# All distances on bins of a block of channels, and their statistics, from counts of images.


TAIL: Final = 0.001
"""Share of values on either side that ``range_used`` leaves out."""


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """The statistics of a pair of sets, the same in all layers.

    Attributes
    ----------
    reference, other : Units
    paired : bool
    labellings : int32, shape (1 + R, n)
        Which of the pooled units play the reference: as they are labelled, then R relabellings,
        shared by all layers so that their values can be compared.
    unit : str
        Name of the column that the units are values of, or ``image``.
    draw : Draw or None
        Equal draw of images, where the units of the two sets are of other sizes. Units of which
        nothing can be drawn are left out of it, and of ``labellings``.
    seed : int
        Of the equal draw of vectors.
    warnings : tuple of str
        What a reader must know of these statistics.
    """

    reference: Units
    other: Units
    paired: bool
    labellings: AnyArray
    unit: str = IMAGE
    draw: Draw | None = None
    seed: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def permutations(self) -> int:
        """R."""
        return len(self.labellings) - 1

    @property
    def tested(self) -> Draw:
        """The units of the permutation test."""
        return self.draw or Draw(self.reference, self.other)

    @property
    def least_p(self) -> float:
        """Smallest p-value that the number of units allows."""
        sides = self.tested
        return least_p_value(len(sides.reference), len(sides.other), paired=self.paired)


Sides = tuple[tuple[Units, Counts], tuple[Units, Counts]]
"""Units and counts of the reference and of the other set."""


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Counts of one layer of both sets, K each, and what to make of them.

    ``tested`` holds units and counts of both sets in the equal draw; None where all is tested.
    """

    binning: Binning
    reference: Counts
    other: Counts
    vectors: tuple[int, int]
    design: Design
    settings: Settings
    tested: Sides | None = None


def metrics_on_bins(settings: Settings) -> list[tuple[Metric, int]]:
    """List which metrics are measured with how many bins, in order."""
    return [(m, bins) for m in settings.metrics if m in DISTANCES for bins in settings.bins]


def measure_channels(layer: Bins, first: int) -> list[Partial]:
    """Measure a block of channels: one result for each of :func:`metrics_on_bins`."""
    design, settings = layer.design, layer.settings
    if settings.literal:
        return [_literal(layer, first)]
    whole = ((design.reference, layer.reference), (design.other, layer.other))
    units = _gathered(whole, first)
    tested = units if layer.tested is None else _gathered(layer.tested, first)
    totals = [
        each.sum(axis=0, dtype=np.int64)
        if all(who.equal for who, _ in whole)
        else counts.channels(first).sum(axis=0, dtype=np.int64)
        for (_, counts), each in zip(whole, units, strict=True)
    ]
    found = {}
    for bins in settings.bins:
        a, b = (np.ascontiguousarray(merged(each, layer.binning, bins)) for each in units)
        sums = [merged(each, layer.binning, bins) for each in totals]
        drawn = [np.ascontiguousarray(merged(each, layer.binning, bins)) for each in tested]
        wanted = {DISTANCES[metric].pooled for metric in settings.metrics if metric in DISTANCES}
        sides = {each: _pooled(a, b, design.paired, pool=each) for each in wanted}
        for metric in settings.metrics:
            if metric in DISTANCES:
                distance = DISTANCES[metric]
                part = _described(sums, distance, layer.binning)
                mine, theirs, left = sides[distance.pooled]
                found[metric, bins] = replace(
                    part,
                    estimates=_estimates(
                        mine, theirs, left, part.values, distance, paired=design.paired
                    ),
                    null=permuted(drawn[0], drawn[1], design.labellings, distance)
                    if design.permutations
                    else None,
                )
    return [found[key] for key in metrics_on_bins(settings)]


def _gathered(sets: Sides, first: int) -> list[AnyArray]:
    scaled = not all(who.equal for who, _ in sets)
    return [who.gathered(counts.channels(first), scaled=scaled) for who, counts in sets]


def _described(totals: Sequence[Int64], distance: Distance, binning: Binning) -> Partial:
    """Measure the distance between all values of both sets, as the paper defines it."""
    values = distance.function(*(frequencies(each) for each in totals))
    together = totals[0] + totals[1]
    occupied = np.asarray((together > 0).sum(axis=1), dtype=np.float64)
    used = None if binning.edges is not None else _used(together)
    return Partial(values, occupied=occupied, used=used)


def _pooled(
    a: AnyArray, b: AnyArray, paired: bool, *, pool: bool
) -> tuple[AnyArray, AnyArray, Int64]:
    """Pool the bins of counts of units, if asked to; the last is the number of bins left, (d,)."""
    if not pool:
        return a, b, np.full(a.shape[1], a.shape[2])
    bins = pooled_bins(a, b, paired=paired)
    return pool_bins(a, bins), pool_bins(b, bins), bins.max(axis=1) + 1


def _estimates(
    a: AnyArray,
    b: AnyArray,
    bins: Int64,
    ceiling: Float64,
    distance: Distance,
    *,
    paired: bool,
) -> Estimates:
    """Estimate the distance between the populations from counts of units that weigh equally."""
    plain = distance.function(*(frequencies(each.sum(axis=0, dtype=np.int64)) for each in (a, b)))
    scaled, ceiling = (np.square(e) if distance.squared else e for e in (plain, ceiling))
    without = _left_out(a, b, distance, paired)
    estimate, replicates = corrected(scaled, without)
    return Estimates(distance.squared, scaled, estimate, replicates, bins, ceiling)


def _left_out(a: AnyArray, b: AnyArray, distance: Distance, paired: bool) -> tuple[Float64, ...]:
    if min(len(a), len(b)) < 2:  # nothing would be left
        return np.full((a.shape[1], 1), np.nan), np.full((a.shape[1], 1), np.nan)
    # Sums along memory and across it round differently, and which it is depends on the block.
    return tuple(map(np.ascontiguousarray, left_out(a, b, distance, paired=paired)))


def _used(pooled: Int64) -> Float64:
    """Share of bins (D,) that the middle 99.8 % of values span."""
    cumulated = np.cumsum(pooled, axis=1) / pooled.sum(axis=1, keepdims=True)
    low = (cumulated <= TAIL).sum(axis=1)
    high = (cumulated < 1 - TAIL).sum(axis=1)
    return np.asarray((high - low + 1) / pooled.shape[1])


def _literal(layer: Bins, first: int) -> Partial:
    p, q = (
        frequencies(counts.channels(first).sum(axis=0, dtype=np.int64), len(who.order) * vectors)
        for counts, who, vectors in (
            (layer.reference, layer.design.reference, layer.vectors[0]),
            (layer.other, layer.design.other, layer.vectors[1]),
        )
    )
    return Partial(hellinger_literal(p, q))


# -------------------------------------------------------------------------------------------------
# Distances without bins: exact Wasserstein-1, and the representation shift of means of images.


def measure_unbinned(
    metric: Metric,
    sets: tuple[Activations, Activations],
    layer: str,
    means: Sequence[Sequence[Float64]],
    design: Design,
    settings: Settings,
) -> Partial:
    """Measure one metric that knows no bins, of all channels of a layer.

    Parameters
    ----------
    means : pair of sequences of float64, shapes (N, D), (N', D)
        Mean activation of each image, for the representation shift: of all vectors, then of those
        of the equal draw, if any. Its statistics are those of the means of units. The exact
        distance of all activations has none: they are not kept.
    """
    if metric is Metric.WASSERSTEIN_EXACT:
        return Partial(exact_wasserstein(*sets, layer, settings))
    x, y = design.reference.averaged(means[0][0]), design.other.averaged(means[1][0])
    values = representation_shift(x, y)
    without = _left_out_unbinned(x, y, design.paired)
    estimate, replicates = corrected(values, without)
    bins = np.full(len(values), 2)
    estimates = Estimates(False, values, estimate, replicates, bins, values)
    null = None
    if design.permutations:
        chosen = np.zeros((len(design.labellings), len(x) + len(y)), dtype=np.bool_)
        np.put_along_axis(chosen, design.labellings.astype(np.int64), True, axis=1)
        null = permuted_wasserstein(np.concatenate(_drawn(means, design)), chosen).T
    return Partial(values, estimates, null)


def _drawn(means: Sequence[Sequence[Float64]], design: Design) -> list[Float64]:
    """Return the means (U, D) of the units of both sets in the equal draw, else of everything."""
    units = design.draw or Draw(design.reference, design.other)
    return [units.reference.averaged(means[0][-1]), units.other.averaged(means[1][-1])]


def _left_out_unbinned(x: Float64, y: Float64, paired: bool) -> tuple[Float64, ...]:
    if min(len(x), len(y)) < 2:
        return np.full((x.shape[1], 1), np.nan), np.full((x.shape[1], 1), np.nan)
    if not paired:
        first, second = leave_one_out_wasserstein(x, y)
        return first.T, second.T
    kept: Bool = ~np.eye(len(x), dtype=np.bool_)
    none = np.zeros_like(kept)
    pooled = np.concatenate([x, y])
    return (subset_wasserstein(pooled, np.hstack([kept, none]), np.hstack([none, kept])).T,)


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """A reference and another set, and how they are compared."""

    sets: tuple[Activations, Activations]
    design: Design
    settings: Settings
    mapper: Mapper
    task: Task


def measure_layer(pair: Comparison, layer: str) -> list[Measured]:
    """Measure all metrics of channels, for all numbers of bins, between two sets.

    Raises
    ------
    FormatError
        If activations are damaged or not finite.
    """
    if all(metric in LAYERWISE for metric in pair.settings.metrics):
        return []
    bounds = [extents(each, layer, pair.mapper) for each in pair.sets]
    constant = constant_channels(joint_range(*bounds))
    binning = binning_of(*pair.sets, layer, bounds, pair.settings)
    width = _width(pair, layer, binning)
    vectors = (vectors_of(pair.sets[0], layer), vectors_of(pair.sets[1], layer))
    drawn = _drawn_vectors(pair, vectors)
    with ExitStack() as stack:
        counts, means = [], []
        for each, chosen in zip(pair.sets, drawn, strict=True):
            filled = [
                stack.enter_context(_empty(pair, each, layer, binning, width, part))
                for part in ([None] if chosen is None else [None, chosen])
            ]
            means.append(_fill(filled, pair, each, layer, binning, chosen))
            counts.append(filled)
        tested = _tested(pair.design, *counts)
        bins = Bins(
            binning, counts[0][0], counts[1][0], vectors, pair.design, pair.settings, tested
        )
        starts = range(0, len(constant), width)
        parts = list(mapped(lambda at: measure_channels(bins, at), starts, pair.settings.workers))
    index, rule, found = pair.sets[0].layers.index(layer), pair.settings.range_rule, []
    for place, (metric, size) in enumerate(metrics_on_bins(pair.settings)):
        whole = joined(
            [part[place] for part in parts],
            constant,
            bounded=_bounded(metric),
            least_p=pair.design.least_p,
        )
        found.append(
            Measured(layer, index, metric, size, rule, constant, **whole, drawn=tested is not None)
        )
    for metric in pair.settings.metrics:
        if metric not in DISTANCES and metric not in LAYERWISE:
            part = measure_unbinned(metric, pair.sets, layer, means, pair.design, pair.settings)
            whole = joined([part], constant, bounded=False, least_p=pair.design.least_p)
            found.append(
                Measured(
                    layer, index, metric, None, None, constant, **whole, drawn=tested is not None
                )
            )
    return found


def _bounded(metric: Metric) -> bool:
    return DISTANCES[metric].bounded


def _drawn_vectors(pair: Comparison, vectors: tuple[int, int]) -> list[Int64 | None]:
    """Draw vectors of the images that have more of them than those of the other set."""
    least = min(vectors)
    found: list[Int64 | None] = []
    grids = [each.grid for each in pair.sets]
    for own, images, known in zip(vectors, map(len, pair.sets), (grids, grids[::-1]), strict=True):
        rng = np.random.default_rng([pair.design.seed, own, least])
        drawn = own > least and pair.design.permutations
        found.append(
            drawn_vectors(images, own, least, (known[0], known[1]), rng) if drawn else None
        )
    return found


def _tested(design: Design, reference: Sequence[Counts], other: Sequence[Counts]) -> Sides | None:
    """Put together units and counts of the equal draw; None where everything is tested."""
    if design.draw is None and len(reference) == len(other) == 1:
        return None
    units = design.tested
    return (units.reference, reference[-1]), (units.other, other[-1])


def _empty(
    pair: Comparison,
    activations: Activations,
    layer: str,
    binning: Binning,
    width: int,
    drawn: Int64 | None,
) -> Counts:
    images, channels, _ = activations.shape(layer)
    held, vectors = held_images(activations), vectors_of(activations, layer)
    vectors *= 1 if held is None else int(held.max())
    share = pair.settings.budget * images // sum(map(len, pair.sets))
    if drawn is not None:  # beside the counts of all vectors
        share, vectors = share // 2, drawn.shape[1]
    return Counts((images, channels, binning.counters), vectors, width, share)


def _fill(
    filled: Sequence[Counts],
    pair: Comparison,
    activations: Activations,
    layer: str,
    binning: Binning,
    drawn: Int64 | None,
) -> list[Float64]:
    """Count all images; return their mean activations (N, D) where a metric asks for them.

    Of all vectors first, then of those drawn.
    """
    wanted = Metric.REPRESENTATION_SHIFT in pair.settings.metrics
    images, channels, _ = activations.shape(layer)
    means = [np.empty((images if wanted else 0, channels)) for _ in filled]
    blocks = counted(activations, layer, binning, pair.mapper, means=wanted, drawn=drawn)
    for block in blocks:
        for own, counts in zip(filled, block.counts, strict=True):
            own.put(block.start, counts)
        for into, part in zip(means, block.means, strict=False):
            into[block.start : block.start + len(part)] = part
        pair.task.advance(len(block.counts[0]), note=layer)
    return means


def _width(pair: Comparison, layer: str, binning: Binning) -> int:
    """Channels worked off at once: few enough for memory, and enough blocks for the threads."""
    units = len(pair.design.reference) + len(pair.design.other)
    resampled = units + len(pair.design.labellings)
    slow = any(m in DISTANCES and m is not Metric.HELLINGER for m in pair.settings.metrics)
    # Fast paths keep numbers of each resampling, the others its frequencies, some copies of both.
    kept = resampled * 8 * 6 * (max(pair.settings.bins) if slow else 1)
    each = sum(map(len, pair.sets)) * binning.counters * 4 + kept
    fits = pair.settings.budget // (2 * pair.settings.workers * each)
    shared = -(-pair.sets[0].shape(layer)[1] // (4 * pair.settings.workers))
    return max(1, min(fits, shared))
