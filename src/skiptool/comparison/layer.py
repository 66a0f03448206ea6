"""One layer of two sets: counted once, then every distance and statistic from the counts."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from skiptool.comparison.binned import Bins, Design, measure_channels, metrics_on_bins
from skiptool.comparison.counts import Counts
from skiptool.comparison.ranges import binning_of
from skiptool.comparison.reading import Mapper, counted, extents
from skiptool.comparison.results import Measured, joined
from skiptool.comparison.sets import Activations, Settings
from skiptool.comparison.unbinned import measure_unbinned
from skiptool.distances.binned import DISTANCES
from skiptool.distances.binning import Binning
from skiptool.distances.histograms import constant_channels, joint_range
from skiptool.engine import mapped
from skiptool.names import LAYERWISE, Metric
from skiptool.records import Task

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["Comparison", "measure_layer"]


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
    with ExitStack() as stack:
        counts, means = [], []
        for each in pair.sets:
            counts.append(stack.enter_context(_empty(pair, each, layer, binning, width)))
            means.append(_fill(counts[-1], pair, each, layer, binning))
        vectors = (pair.sets[0].shape(layer)[2], pair.sets[1].shape(layer)[2])
        bins = Bins(binning, counts[0], counts[1], vectors, pair.design, pair.settings)
        starts = range(0, len(constant), width)
        parts = list(mapped(lambda at: measure_channels(bins, at), starts, pair.settings.workers))
    index, rule, found = pair.sets[0].layers.index(layer), pair.settings.range_rule, []
    for place, (metric, size) in enumerate(metrics_on_bins(pair.settings)):
        whole = joined([part[place] for part in parts], constant, bounded=_bounded(metric))
        found.append(Measured(layer, index, metric, size, rule, constant, **whole))
    for metric in pair.settings.metrics:
        if metric not in DISTANCES and metric not in LAYERWISE:
            part = measure_unbinned(metric, pair.sets, layer, means, pair.design, pair.settings)
            whole = joined([part], constant, bounded=False)
            found.append(Measured(layer, index, metric, None, None, constant, **whole))
    return found


def _bounded(metric: Metric) -> bool:
    return DISTANCES[metric].bounded


def _empty(
    pair: Comparison, activations: Activations, layer: str, binning: Binning, width: int
) -> Counts:
    images, channels, vectors = activations.shape(layer)
    share = pair.settings.budget * images // sum(map(len, pair.sets))
    return Counts((images, channels, binning.counters), vectors, width, share)


def _fill(
    counts: Counts, pair: Comparison, activations: Activations, layer: str, binning: Binning
) -> Float64:
    """Count all images; return their mean activations (N, D) where a metric asks for them."""
    wanted = Metric.REPRESENTATION_SHIFT in pair.settings.metrics
    images, channels, _ = activations.shape(layer)
    means = np.empty((images if wanted else 0, channels))
    for block in counted(activations, layer, binning, pair.mapper, means=wanted):
        counts.put(block.start, block.counts)
        if block.means is not None:
            means[block.start : block.start + len(block.means)] = block.means
        pair.task.advance(len(block.counts), note=layer)
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
