"""One layer of two sets: counted once, then every distance and statistic from the counts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from skiptool.comparison.binned import Bins, Design, Sides, measure_channels, metrics_on_bins
from skiptool.comparison.counts import Counts
from skiptool.comparison.ranges import binning_of
from skiptool.comparison.reading import Mapper, counted, extents
from skiptool.comparison.results import Measured, joined
from skiptool.comparison.sets import Activations, Settings, vectors_of
from skiptool.comparison.unbinned import measure_unbinned
from skiptool.comparison.units import drawn_vectors, held_images
from skiptool.distances.binned import DISTANCES
from skiptool.distances.counting import Binning, constant_channels, joint_range
from skiptool.names import LAYERWISE, Metric
from skiptool.parallel import mapped
from skiptool.records import Task

if TYPE_CHECKING:
    from skiptool.records import Float64, Int64

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
