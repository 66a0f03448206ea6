"""Results as rows: the columns of a shift table that do not come from a store's attributes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.comparison.binned import Design
from skiptool.comparison.results import Measured
from skiptool.comparison.sets import Activations, Settings
from skiptool.distances.binned import DISTANCES

if TYPE_CHECKING:
    from skiptool.records import AnyArray

__all__ = ["PRINTED", "columns_of", "in_order", "scarce", "squeezed"]

STATISTICS = (
    *("value", "corrected", "ci_low", "ci_high", "null_mean", "null_high", "p_value"),
    *("effective_bins", "range_used"),
)
"""Columns that channels and layers share."""

OF_LAYERS = (
    *("value_live", "p_adjusted", "input_value", "input_z"),
    *("transmission", "transmission_low", "transmission_high"),
)

PRINTED = (
    *("layer", "channel", "metric", "bins", "value", "corrected", "ci_low", "ci_high"),
    *("null_mean", "p_value", "p_adjusted", "input_value"),
    *("transmission", "transmission_low", "transmission_high"),
    *("value_live", "constant_channels"),
)
"""What people read, in this order."""

ENOUGH = 5
"""Values a bin on average, below which statistics are not to be trusted."""

SQUEEZED = 0.1
"""Share of the range below which the middle 99.8 % of values count as squeezed."""


def columns_of(measured: Measured, design: Design, settings: Settings) -> dict[str, Any]:
    """Return columns of the layer's row, whose channel is None, and of one row a channel.

    A measure of the whole layer (:data:`skiptool.names.LAYERWISE`) has the first row alone.
    """
    size = len(measured.constant) if measured.channels else 0
    constant = [int(measured.constant.sum()), *measured.constant[:size].astype(int)]
    columns: dict[str, Any] = {
        **{"layer": measured.layer, "layer_index": measured.index},
        "channel": [None, *range(size)],
        **{"metric": measured.metric.value, "bins": measured.bins},
        "range_rule": None if measured.range_rule is None else measured.range_rule.value,
        "constant_channels": constant,
    }
    for name in STATISTICS:
        alone = np.full(size, np.nan)
        columns[name] = _null(measured.mean.get(name), measured.channels.get(name, alone))
    for name in OF_LAYERS:
        columns[name] = _null(measured.mean.get(name), np.full(size, np.nan))
    return columns | {
        "paired": design.paired,
        "unit": settings.group or "image",
        **{"units_reference": len(design.reference), "units_other": len(design.other)},
        **{"n_reference": len(design.reference.order), "n_other": len(design.other.order)},
        "permutations": design.permutations,
        "skiptool_version": version("skiptool"),
    }


def in_order(measured: Sequence[Measured], settings: Settings) -> list[Measured]:
    """Sort results of a pair by metric as they were asked for, bins, and layer."""
    rank = {metric: place for place, metric in enumerate(settings.metrics)}
    return sorted(measured, key=lambda each: (rank[each.metric], each.bins or 0, each.index))


def squeezed(measured: Sequence[Measured]) -> dict[str, int]:
    """Count, by layer, live channels whose range a few values stretch to ten times what is used."""
    found: dict[str, int] = {}
    for each in measured:
        used = each.channels.get("range_used")
        if used is not None:
            channels = int(((used < SQUEEZED) & ~each.constant).sum())
            found[each.layer] = max(channels, found.get(each.layer, 0))
    return {layer: channels for layer, channels in found.items() if channels}


def scarce(sets: Sequence[Activations], settings: Settings) -> int | None:
    """Return the fewest values of a channel, where they are too few to fill its bins.

    With less than five a bin, leaving out a unit empties bins, and neither the correction of bias
    nor its interval can be trusted (simulated).
    """
    shapes = [each.shape(layer) for each in sets for layer in each.layers]
    fewest = min(images * vectors for images, _, vectors in shapes)
    binned = any(metric in DISTANCES for metric in settings.metrics)
    return fewest if binned and fewest < ENOUGH * max(settings.bins) else None


def _null(mean: float | None, channels: AnyArray) -> list[float | None]:
    values = [float("nan") if mean is None else mean, *channels.tolist()]
    return [None if np.isnan(value) else value for value in values]
