"""All distances on bins of a block of channels, and their statistics, from counts of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.comparison.counts import Counts
from skiptool.comparison.results import Partial
from skiptool.comparison.sets import Settings
from skiptool.comparison.units import Units
from skiptool.distances.binned import DISTANCES, Distance, hellinger_literal
from skiptool.distances.binning import Binning, merged
from skiptool.distances.histograms import frequencies
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
    """

    reference: Units
    other: Units
    paired: bool
    labellings: AnyArray

    @property
    def permutations(self) -> int:
        """R."""
        return len(self.labellings) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Counts of one layer of both sets, K each, and what to make of them."""

    binning: Binning
    reference: Counts
    other: Counts
    vectors: tuple[int, int]
    design: Design
    settings: Settings


def metrics_on_bins(settings: Settings) -> list[tuple[Metric, int]]:
    """List which metrics are measured with how many bins, in order."""
    return [(m, bins) for m in settings.metrics if m in DISTANCES for bins in settings.bins]


def measure_channels(layer: Bins, first: int) -> list[Partial]:
    """Measure a block of channels: one result for each of :func:`metrics_on_bins`."""
    design, settings = layer.design, layer.settings
    if settings.literal:
        return [_literal(layer, first)]
    units = [
        who.gathered(counts.channels(first))
        for who, counts in ((design.reference, layer.reference), (design.other, layer.other))
    ]
    found = {}
    for bins in settings.bins:
        a, b = (np.ascontiguousarray(merged(each, layer.binning, bins)) for each in units)
        for metric in settings.metrics:
            if metric in DISTANCES:
                found[metric, bins] = _measure(a, b, DISTANCES[metric], layer)
    return [found[key] for key in metrics_on_bins(settings)]


def _measure(a: AnyArray, b: AnyArray, distance: Distance, layer: Bins) -> Partial:
    design = layer.design
    totals = [each.sum(axis=0, dtype=np.int64) for each in (a, b)]
    values = distance.function(*(frequencies(each) for each in totals))
    scaled = np.square(values) if distance.squared else values
    without = _left_out(a, b, distance, design.paired)
    estimate, replicates = corrected(scaled, without, squared=distance.squared)
    null = permuted(a, b, design.labellings, distance) if design.permutations else None
    pooled = totals[0] + totals[1]
    occupied = np.asarray((pooled > 0).sum(axis=1), dtype=np.float64)
    used = None if layer.binning.edges is not None else _used(pooled)
    return Partial(values, estimate, replicates, null, occupied, used)


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
