"""Distances of one layer between two sets of activations, channel by channel.

From top to bottom: the ranges of the values and their bins, eqs. (6) and (7); counts of all images,
made once; sums over statistical units; distances, eqs. (4), (5) and (9); their null distribution
under relabelling; estimates without bias; and the result of the layer, eq. (10).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.comparison.activations import (
    Activations,
    Mapper,
    Settings,
    count_blocks,
    extents,
    key_totals,
    read_values,
    vectors_per_image,
)
from skiptool.comparison.buffers import Counts
from skiptool.comparison.results import BlockResult, ChannelEstimates, LayerResult, combine_blocks
from skiptool.comparison.units import (
    IMAGE,
    EqualDraw,
    Units,
    draw_vectors,
    images_per_row,
    smallest_p_value,
)
from skiptool.distances.binned import (
    DISTANCES,
    Distance,
    hellinger_literal,
    leave_one_out_distances,
    permuted_distances,
    pool_bins,
    pooled_bins,
)
from skiptool.distances.bins import (
    Binning,
    Range,
    constant_channels,
    equal_width,
    joint_range,
    merge_counts,
    quantile_bins,
    sweep_binning,
)
from skiptool.distances.counting import frequencies
from skiptool.distances.exact import (
    leave_one_out_wasserstein,
    permuted_wasserstein,
    representation_shift,
    subset_wasserstein,
    wasserstein,
)
from skiptool.distances.float16 import KEYS, quantiles_from_keys, wasserstein_from_keys
from skiptool.names import LAYERWISE, Metric, RangeRule
from skiptool.parallel import ordered_map
from skiptool.records import Task
from skiptool.stats.jackknife import correct_bias

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Float64, Int64

TAIL: Final = 0.001
"""Share of values on either side that rule ``p0.1`` leaves to the end bins, and ``range_used``
leaves out."""

_LEAST: Final = 2.0**-160
"""Far below the least difference of float32, but not so near 0 that a quotient overflows."""


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """Statistical design of a pair of sets, the same in all layers.

    Attributes
    ----------
    labellings : int32, shape (1 + R, n)
        Pooled units that are labelled as the reference: as given, then in R relabellings, shared
        by all layers so that their values can be compared.
    unit : str
        Column whose values are the units, or ``image``.
    draw : EqualDraw or None
        Equal draw of images if the units of the two sets differ in size. Units from which nothing
        can be drawn are missing from it and from ``labellings``.
    seed : int
        Seed of the equal draw of vectors.
    """

    reference: Units
    other: Units
    paired: bool
    labellings: AnyArray
    unit: str = IMAGE
    draw: EqualDraw | None = None
    seed: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def permutations(self) -> int:
        """R."""
        return len(self.labellings) - 1

    @property
    def tested(self) -> EqualDraw:
        """The units of the permutation test."""
        return self.draw or EqualDraw(self.reference, self.other)

    @property
    def least_p(self) -> float:
        """Smallest p-value that the number of units allows."""
        sides = self.tested
        return smallest_p_value(len(sides.reference), len(sides.other), paired=self.paired)


@dataclass(frozen=True, slots=True, eq=False)
class PairComparison:
    """A reference and another set, and how they are compared."""

    sets: tuple[Activations, Activations]
    design: Design
    settings: Settings
    mapper: Mapper
    task: Task


def measure_layer(pair: PairComparison, layer: str) -> list[LayerResult]:
    """Measure all distances of channels, for all numbers of bins, between two sets."""
    settings, least_p = pair.settings, pair.design.least_p
    if all(metric in LAYERWISE for metric in settings.metrics):
        return []
    bounds = [extents(activations, layer, pair.mapper) for activations in pair.sets]
    constant = constant_channels(joint_range(*bounds))
    binning = layer_binning(*pair.sets, layer, bounds, settings)
    width = _block_width(pair, layer, binning)
    with ExitStack() as stack:
        counts, means = _count_layer(pair, layer, binning, width, stack)
        starts = range(0, len(constant), width)
        blocks = list(ordered_map(partial(measure_channels, counts), starts, settings.workers))
    drawn = counts.tested is not None
    index, rule = pair.sets[0].layers.index(layer), settings.range_rule
    results = []
    for number, (metric, bins) in enumerate(binned_metrics(settings)):
        result = LayerResult(layer, index, metric, bins, rule, constant, drawn=drawn)
        parts, bounded = [block[number] for block in blocks], DISTANCES[metric].bounded
        results.append(combine_blocks(result, parts, bounded=bounded, least_p=least_p))
    for metric in settings.metrics:
        if metric not in DISTANCES and metric not in LAYERWISE:
            part = measure_unbinned(metric, pair.sets, layer, means, pair.design, settings)
            result = LayerResult(layer, index, metric, None, None, constant, drawn=drawn)
            results.append(combine_blocks(result, [part], bounded=False, least_p=least_p))
    return results


def binned_metrics(settings: Settings) -> list[tuple[Metric, int]]:
    """Return the metrics that need bins, each with every number of bins, in order."""
    return [(m, bins) for m in settings.metrics if m in DISTANCES for bins in settings.bins]


# Ranges and bins


def layer_binning(
    reference: Activations,
    other: Activations,
    layer: str,
    bounds: Sequence[tuple[AnyArray, AnyArray]],
    settings: Settings,
) -> Binning:
    """Return the bins of a layer, given minima and maxima of both sets.

    Stored counts determine the bins; the following rules are for activations.

    ``minmax`` is eqs. (6) and (7). ``reference`` takes the range of the reference alone, ``p0.1``
    the range between the 0.1 % and 99.9 % quantiles of the pooled values; both count values outside
    in the end bins. A channel that varies only outside such a range gets one bin for the value
    inside, one below and one above. ``quantile`` puts the same share of the pooled values into each
    bin, as far as ties allow. Quantiles are values of the sets.
    """
    rule, sets = settings.range_rule, (reference, other)
    for activations in sets:
        layout = activations.count_layout(layer)
        if layout is not None:
            return layout.binning
    if rule is RangeRule.QUANTILE:
        shares = np.arange(1, settings.bins[0]) / settings.bins[0]
        return quantile_bins(_pooled_quantiles(sets, layer, settings, shares))
    if rule is RangeRule.PERCENTILES:
        ends = _pooled_quantiles(sets, layer, settings, np.array([TAIL, 1 - TAIL]))
        joint = Range(ends[:, 0].copy(), ends[:, 1] - ends[:, 0])
    else:
        joint = joint_range(*(bounds[:1] if rule is RangeRule.REFERENCE else bounds))
    clamp = rule in (RangeRule.PERCENTILES, RangeRule.REFERENCE)
    if clamp:
        joint = _widen(joint, joint_range(*bounds).span > 0)
    if len(settings.bins) > 1:
        return sweep_binning(joint, settings.bins, clamp=clamp)
    return equal_width(joint, settings.bins[0], clamp=clamp, literal=settings.literal)


def reference_bins(low: AnyArray, high: AnyArray, bins: int) -> Binning:
    """Return the bins of rule ``reference``, before the other set is known.

    ``low`` and ``high`` (..., D) are minima and maxima of the reference.

    Notes
    -----
    The other set may vary in a channel in which the reference is constant, so such channels always
    get one bin for that value, one below and one above. If a channel is constant in both sets, all
    values are in one bin under either rule, and every distance is 0.
    """
    own = joint_range((low, high))
    return equal_width(_widen(own, np.ones(own.span.shape, dtype=np.bool_)), bins, clamp=True)


def _widen(narrow: Range, varies: Bool) -> Range:
    """Widen single-value ranges of channels that vary by a minimal margin on either side."""
    empty = (narrow.span == 0) & varies
    margin = np.where(empty, np.maximum(4 * np.spacing(np.abs(narrow.low)), _LEAST), 0.0)
    return Range(narrow.low - margin, narrow.span + 2 * margin)


def _pooled_quantiles(
    sets: tuple[Activations, Activations], layer: str, settings: Settings, shares: Float64
) -> Float64:
    """Return quantiles (D, Q) of the pooled activations of each channel."""
    quantiles = []
    for channels in _channel_blocks(sets, layer, settings):
        if _all_float16(sets, layer):
            pooled = key_totals(sets[0], layer, channels).astype(np.int64)
            pooled += key_totals(sets[1], layer, channels)
            quantiles.append(quantiles_from_keys(pooled, shares))
        else:
            parts = [read_values(activations, layer, channels) for activations in sets]
            quantiles.append(_quantiles(np.concatenate(parts), shares))
    return np.concatenate(quantiles)


def _quantiles(values: AnyArray, shares: Float64) -> Float64:
    """Return the smallest values (d, Q) that at least these shares of (n, d) do not exceed."""
    n = len(values)
    rank = np.ceil(shares * n)
    rank -= (rank - 1) / n >= shares  # shares are compared, since products are rounded
    rank += rank / n < shares
    rows = np.sort(values.T, axis=1)
    return rows[:, np.maximum(rank, 1).astype(np.int64) - 1].astype(np.float64)


def _all_float16(sets: Sequence[Activations], layer: str) -> bool:
    return all(activations.dtype(layer) == np.float16 for activations in sets)


def _channel_blocks(sets: Sequence[Activations], layer: str, settings: Settings) -> Iterator[slice]:
    """Yield blocks of channels whose values or keys, with temporary copies, fit into memory."""
    shapes = [activations.shape(layer) for activations in sets]
    size = max(activations.dtype(layer).itemsize for activations in sets)
    values = sum(images * vectors for images, _, vectors in shapes)
    channel_bytes = 3 * KEYS * 8 if _all_float16(sets, layer) else 5 * size * values
    width, channels = max(1, settings.budget // channel_bytes), shapes[0][1]
    return (slice(start, min(start + width, channels)) for start in range(0, channels, width))


# Counts of images


@dataclass(frozen=True, slots=True, eq=False)
class LayerCounts:
    """Counts of the images of both sets at one layer.

    ``vectors`` is K in each set; ``tested`` holds the counts of the equal draw, None without one.
    """

    binning: Binning
    reference: Counts
    other: Counts
    vectors: tuple[int, int]
    design: Design
    settings: Settings
    tested: tuple[Counts, Counts] | None = None


def _count_layer(
    pair: PairComparison, layer: str, binning: Binning, width: int, stack: ExitStack
) -> tuple[LayerCounts, list[list[Float64]]]:
    """Count both sets; also return mean activations (N, D) of images if a metric needs them.

    Counts and means of each set are those of all vectors, then of the drawn vectors if the set has
    more vectors than the other one.
    """
    settings, design = pair.settings, pair.design
    vectors = (vectors_per_image(pair.sets[0], layer), vectors_per_image(pair.sets[1], layer))
    least, needs_means = min(vectors), Metric.REPRESENTATION_SHIFT in settings.metrics
    counts: list[list[Counts]] = []
    means: list[list[Float64]] = []
    for side, activations in enumerate(pair.sets):
        images, channels, _ = activations.shape(layer)
        shape = (images, channels, binning.counters)
        limit = settings.budget * images // sum(map(len, pair.sets))
        row_images = images_per_row(activations)
        most = vectors[side] * (1 if row_images is None else int(row_images.max()))
        buffers = [stack.enter_context(Counts(shape, most, width, limit))]
        drawn = None
        if vectors[side] > least and design.permutations:
            rng = np.random.default_rng([design.seed, vectors[side], least])
            grids = (activations.grid, pair.sets[1 - side].grid)
            drawn = draw_vectors(images, vectors[side], least, grids, rng)
            buffers.append(stack.enter_context(Counts(shape, least, width, limit // 2)))
        averages = [np.empty((images if needs_means else 0, channels)) for _ in buffers]
        for block in count_blocks(
            activations, layer, binning, pair.mapper, means=needs_means, drawn=drawn
        ):
            for buffer, part in zip(buffers, block.counts, strict=True):
                buffer.put(block.start, part)
            for average, part in zip(averages, block.means, strict=False):
                average[block.start : block.start + len(part)] = part
            pair.task.advance(len(block.counts[0]), note=layer)
        counts.append(buffers)
        means.append(averages)
    whole = design.draw is None and len(counts[0]) == len(counts[1]) == 1
    tested = None if whole else (counts[0][-1], counts[1][-1])
    layer_counts = LayerCounts(
        binning, counts[0][0], counts[1][0], vectors, design, settings, tested
    )
    return layer_counts, means


def _block_width(pair: PairComparison, layer: str, binning: Binning) -> int:
    """Return how many channels to process at once, given memory and number of threads."""
    units = len(pair.design.reference) + len(pair.design.other)
    resampled = units + len(pair.design.labellings)
    slow = any(m in DISTANCES and m is not Metric.HELLINGER for m in pair.settings.metrics)
    # The Hellinger distance keeps one number per resample, the others all its frequencies.
    results = resampled * 8 * 6 * (max(pair.settings.bins) if slow else 1)
    channel_bytes = sum(map(len, pair.sets)) * binning.counters * 4 + results
    fits = pair.settings.budget // (2 * pair.settings.workers * channel_bytes)
    shared = -(-pair.sets[0].shape(layer)[1] // (4 * pair.settings.workers))
    return max(1, min(fits, shared))


# Distances on bins, their null distribution and estimates


def measure_channels(layer: LayerCounts, first: int) -> list[BlockResult]:
    """Measure the block of channels from ``first``: a result for each of :func:`binned_metrics`."""
    design, settings = layer.design, layer.settings
    sides = (design.reference, design.other)
    blocks = [counts.channels(first) for counts in (layer.reference, layer.other)]
    totals = [block.sum(axis=0, dtype=np.int64) for block in blocks]
    if settings.literal:
        sizes = [len(u.order) * vectors for u, vectors in zip(sides, layer.vectors, strict=True)]
        return [BlockResult(hellinger_literal(*map(frequencies, totals, sizes)))]
    units = tested = _unit_counts(sides, blocks)
    if layer.tested is not None:
        drawn = (design.tested.reference, design.tested.other)
        tested = _unit_counts(drawn, [counts.channels(first) for counts in layer.tested])
    metrics = [metric for metric in settings.metrics if metric in DISTANCES]
    results = {}
    for bins in settings.bins:
        a, b, tested_a, tested_b = (
            np.ascontiguousarray(merge_counts(counts, layer.binning, bins))
            for counts in (*units, *tested)
        )
        total_a, total_b = (merge_counts(total, layer.binning, bins) for total in totals)
        p, q, pooled = frequencies(total_a), frequencies(total_b), total_a + total_b
        occupied = np.asarray((pooled > 0).sum(axis=1), dtype=np.float64)
        used = _range_used(pooled) if layer.binning.edges is None else None
        by_pooling = {
            pool: _pooled_counts(a, b, pool=pool, paired=design.paired)
            for pool in {DISTANCES[metric].pooled for metric in metrics}
        }
        for metric in metrics:
            distance = DISTANCES[metric]
            values = distance.function(p, q)
            own, other, left = by_pooling[distance.pooled]
            estimates = _estimate(own, other, left, values, distance, paired=design.paired)
            null = None
            if design.permutations:
                null = permuted_distances(tested_a, tested_b, design.labellings, distance)
            results[metric, bins] = BlockResult(values, estimates, null, occupied, used)
    return [results[key] for key in binned_metrics(settings)]


def _unit_counts(units: tuple[Units, Units], counts: Sequence[AnyArray]) -> list[AnyArray]:
    """Sum the counts of images to counts of units; if sizes are unequal, both sets are scaled."""
    scaled = not all(own.equal for own in units)
    return [u.sum_counts(own, scaled=scaled) for u, own in zip(units, counts, strict=True)]


def _range_used(pooled: Int64) -> Float64:
    """Return the share of bins (D,) that the middle 99.8 % of values span."""
    cumulative = np.cumsum(pooled, axis=1) / pooled.sum(axis=1, keepdims=True)
    low = (cumulative <= TAIL).sum(axis=1)
    high = (cumulative < 1 - TAIL).sum(axis=1)
    return np.asarray((high - low + 1) / pooled.shape[1])


def _pooled_counts(
    a: AnyArray, b: AnyArray, *, pool: bool, paired: bool
) -> tuple[AnyArray, AnyArray, Int64]:
    """Pool bins that too few units share, if requested; also return the number of bins, (d,)."""
    if not pool:
        return a, b, np.full(a.shape[1], a.shape[2])
    bins = pooled_bins(a, b, paired=paired)
    return pool_bins(a, bins), pool_bins(b, bins), bins.max(axis=1) + 1


def _estimate(
    a: AnyArray, b: AnyArray, bins: Int64, values: Float64, distance: Distance, *, paired: bool
) -> ChannelEstimates:
    """Estimate the distance between the populations from pooled counts (U, d, B) of units."""
    p, q = (frequencies(counts.sum(axis=0, dtype=np.int64)) for counts in (a, b))
    plain, ceiling = distance.function(p, q), values
    if distance.squared:
        plain, ceiling = np.square(plain), np.square(ceiling)
    if min(len(a), len(b)) < 2:
        without: tuple[Float64, ...] = _undefined_replicates(a.shape[1])
    else:
        # Made contiguous: NumPy rounds sums along and across memory differently, and the layout
        # depends on the block.
        without = tuple(
            map(np.ascontiguousarray, leave_one_out_distances(a, b, distance, paired=paired))
        )
    estimate, replicates = correct_bias(plain, without)
    return ChannelEstimates(distance.squared, plain, estimate, replicates, bins, ceiling)


def _undefined_replicates(channels: int) -> tuple[Float64, Float64]:
    """Return leave-one-out values for a set with a single unit."""
    return np.full((channels, 1), np.nan), np.full((channels, 1), np.nan)


# Distances without bins


def measure_unbinned(
    metric: Metric,
    sets: tuple[Activations, Activations],
    layer: str,
    means: Sequence[Sequence[Float64]],
    design: Design,
    settings: Settings,
) -> BlockResult:
    """Measure a distance that has no bins, for all channels of a layer.

    Parameters
    ----------
    means : pair of sequences of float64, shapes (N, D), (N', D)
        Mean activation of each image, for the representation shift: over all vectors, then over
        those of the equal draw, if any. Its statistics are those of the means of units. The exact
        distance of all activations has no statistics, as activations are not kept.
    """
    if metric is Metric.WASSERSTEIN_EXACT:
        return BlockResult(exact_wasserstein(*sets, layer, settings))
    x, y = design.reference.average(means[0][0]), design.other.average(means[1][0])
    values = representation_shift(x, y)
    estimate, replicates = correct_bias(values, _leave_one_out_shifts(x, y, design.paired))
    bins = np.full(len(values), 2)
    estimates = ChannelEstimates(False, values, estimate, replicates, bins, values)
    null = None
    if design.permutations:
        chosen = np.zeros((len(design.labellings), len(x) + len(y)), dtype=np.bool_)
        np.put_along_axis(chosen, design.labellings.astype(np.int64), True, axis=1)
        first = design.tested.reference.average(means[0][-1])
        second = design.tested.other.average(means[1][-1])
        null = permuted_wasserstein(np.concatenate([first, second]), chosen).T
    return BlockResult(values, estimates, null)


def exact_wasserstein(
    reference: Activations, other: Activations, layer: str, settings: Settings
) -> Float64:
    """Wasserstein-1 distance (D,) of all activations, without bins, a few channels at a time."""
    sets, distances = (reference, other), []
    for channels in _channel_blocks(sets, layer, settings):
        if _all_float16(sets, layer):
            keys = (key_totals(activations, layer, channels) for activations in sets)
            distances.append(wasserstein_from_keys(*keys))
        else:
            values = (read_values(activations, layer, channels) for activations in sets)
            distances.append(wasserstein(*values))
    return np.concatenate(distances)


def _leave_one_out_shifts(x: Float64, y: Float64, paired: bool) -> tuple[Float64, ...]:
    """Return the representation shift without each unit, (D, U) and (D, V); for pairs (D, U)."""
    if min(len(x), len(y)) < 2:
        return _undefined_replicates(x.shape[1])
    if not paired:
        first, second = leave_one_out_wasserstein(x, y)
        return first.T, second.T
    others: Bool = ~np.eye(len(x), dtype=np.bool_)
    none = np.zeros_like(others)
    pooled = np.concatenate([x, y])
    return (subset_wasserstein(pooled, np.hstack([others, none]), np.hstack([none, others])).T,)
