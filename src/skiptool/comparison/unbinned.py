"""Distances without bins: exact Wasserstein-1, and the representation shift of means of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from skiptool.comparison.binned import Design
from skiptool.comparison.estimates import Estimates
from skiptool.comparison.ranges import exact_wasserstein
from skiptool.comparison.results import Partial
from skiptool.comparison.sets import Activations, Settings
from skiptool.comparison.units import Draw
from skiptool.distances.exact import (
    leave_one_out_wasserstein,
    permuted_wasserstein,
    representation_shift,
    subset_wasserstein,
)
from skiptool.names import Metric
from skiptool.stats.jackknife import corrected

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64

__all__ = ["measure_unbinned"]


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
    without = _left_out(x, y, design.paired)
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


def _left_out(x: Float64, y: Float64, paired: bool) -> tuple[Float64, ...]:
    if min(len(x), len(y)) < 2:
        return np.full((x.shape[1], 1), np.nan), np.full((x.shape[1], 1), np.nan)
    if not paired:
        first, second = leave_one_out_wasserstein(x, y)
        return first.T, second.T
    kept: Bool = ~np.eye(len(x), dtype=np.bool_)
    none = np.zeros_like(kept)
    pooled = np.concatenate([x, y])
    return (subset_wasserstein(pooled, np.hstack([kept, none]), np.hstack([none, kept])).T,)
