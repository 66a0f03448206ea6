"""Measures of a layer as a whole, which see what the distributions of single channels do not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.comparison.binned import Design
from skiptool.comparison.classifier import measure_classifier
from skiptool.comparison.covariance import measure_covariance
from skiptool.comparison.paired_difference import check_paired, measure_paired_difference
from skiptool.comparison.reading import Mapper, extents
from skiptool.comparison.results import ALPHA, HIGH, Measured
from skiptool.comparison.sets import Settings
from skiptool.comparison.standardised import Sets
from skiptool.distances.counting import constant_channels, joint_range
from skiptool.names import LAYERWISE, Metric
from skiptool.stats.permutation import p_values

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64

__all__ = ["check_layerwise", "measure_layerwise"]

_NULLS: Final = {Metric.COVARIANCE: measure_covariance, Metric.CLASSIFIER: measure_classifier}


def check_layerwise(sets: Sets, design: Design, settings: Settings) -> None:
    """Refuse, before anything is read, what a measure asked for cannot be computed of.

    Raises
    ------
    MismatchError
        If ``paired-difference`` is asked for of sets that are not paired image by image.
    """
    if Metric.PAIRED_DIFFERENCE in settings.metrics:
        check_paired(sets, design)


def measure_layerwise(
    sets: Sets,
    layer: str,
    design: Design,
    settings: Settings,
    mapper: Mapper,
    measured: Sequence[Measured] = (),
) -> list[Measured]:
    """Measure what is asked for of :data:`skiptool.names.LAYERWISE`.

    Parameters
    ----------
    sets : pair of Activations
    layer : str
    design : Design
    settings : Settings
    mapper : Mapper
        Spreads a pass over all values, where no other metric has found the constant channels.
    measured : sequence of Measured
        What is known of the layer by other metrics.

    Raises
    ------
    FormatError
        If an activation is not finite.
    """
    metrics = [metric for metric in settings.metrics if metric in LAYERWISE]
    if not metrics:
        return []
    if measured:
        constant = measured[0].constant
    else:
        bounds = [extents(each, layer, mapper) for each in sets]
        constant = constant_channels(joint_range(*bounds))
    return [_measured(metric, sets, layer, constant, design, settings) for metric in metrics]


def _measured(
    metric: Metric, sets: Sets, layer: str, constant: Bool, design: Design, settings: Settings
) -> Measured:
    null: Float64 | None = None
    if metric is Metric.PAIRED_DIFFERENCE:
        mean, _ = measure_paired_difference(sets, layer, constant, design, settings.workers)
    else:
        value, null = _NULLS[metric](sets, layer, constant, design, settings)
        mean = {"value": value}
    if null is not None:
        mean |= {
            "null_mean": float(null[1:].mean()),
            "null_high": float(np.quantile(null[1:], HIGH)),
            "tested": float(null[0]),
            "p_value": math.nan if design.least_p > ALPHA else float(p_values(null[0], null[1:])),
        }
    index = sets[0].layers.index(layer)
    return Measured(layer, index, metric, None, None, constant, {}, mean, null)
