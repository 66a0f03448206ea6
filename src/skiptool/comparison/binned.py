"""All distances on bins of a block of channels, and their statistics, from counts of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.comparison.counts import Counts
from skiptool.comparison.estimates import Estimates
from skiptool.comparison.results import Partial
from skiptool.comparison.sets import Settings
from skiptool.comparison.units import IMAGE, Draw, Units, least_p_value
from skiptool.distances.binned import DISTANCES, Distance, hellinger_literal, pool_bins, pooled_bins
from skiptool.distances.counting import Binning, frequencies, merged
from skiptool.distances.resampling import left_out, permuted
from skiptool.names import Metric
from skiptool.stats.jackknife import corrected

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float64, Int64

__all__ = ["Bins", "Design", "measure_channels", "metrics_on_bins"]

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
