"""What a comparison of one layer yields: numbers of each channel, and of the layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.distances.binned import layer_mean
from skiptool.names import Metric, RangeRule
from skiptool.stats.jackknife import interval
from skiptool.stats.permutation import p_values

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Float64

__all__ = ["Measured", "Partial", "joined"]

HIGH = 0.95
"""Quantile of the null that stands beside a value."""


@dataclass(frozen=True, slots=True, eq=False)
class Partial:
    """One distance of some channels, with what the layer's own statistics are made of.

    Attributes
    ----------
    values : float64, shape (d,)
    estimate : float64, shape (d,), or None
        Corrected for bias, with a sign.
    replicates : tuple of float64, shapes (d, U), (d, V)
        The same without each unit.
    null : float64, shape (d, 1 + R), or None
        As the units are labelled, then relabelled: by one formula, so that ties are ties.
    occupied : float64, shape (d,), or None
        Bins that hold a value of either set.
    used : float64, shape (d,), or None
        Share of the range in which the middle 99.8 % of all values lie.
    """

    values: Float64
    estimate: Float64 | None = None
    replicates: tuple[Float64, ...] = ()
    null: Float64 | None = None
    occupied: Float64 | None = None
    used: Float64 | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One distance of one layer between two sets.

    Attributes
    ----------
    layer, index : str, int
    metric : Metric
    bins, range_rule : int, RangeRule
        None where the metric knows no bins.
    constant : bool, shape (D,)
        Channels of one value over both sets.
    channels : mapping of str to float64, shape (D,)
        Columns of the shift table for the channels; those missing were not computed, and all are
        for measures of a layer as a whole.
    mean : dict of str to float
        The same for the layer, eq. (10), and ``value_live``.
    null : float64, shape (1 + R,), or None
        The layer's value as labelled, then under each relabelling.
    estimate : float
        The layer's corrected value, with a sign; NaN where it was not computed.
    replicates : tuple of float64, shapes (U,), (V,)
        The same without each unit; empty where it was not computed.
    """

    layer: str
    index: int
    metric: Metric
    bins: int | None
    range_rule: RangeRule | None
    constant: Bool
    channels: Mapping[str, Float64]
    mean: dict[str, float] = field(default_factory=dict)
    null: Float64 | None = None
    estimate: float = math.nan
    replicates: tuple[Float64, ...] = ()


def joined(parts: Sequence[Partial], constant: Bool, *, bounded: bool) -> dict[str, Any]:
    """Put blocks of channels together: what `Measured` holds of their layer, by its fields.

    Sums run channel by channel, so that results do not depend on how channels were blocked.
    """
    columns = [_channel_columns(part, bounded) for part in parts]
    channels = {name: np.concatenate([each[name] for each in columns]) for name in columns[0]}
    value, live = layer_mean(channels["value"], constant)
    mean = {"value": value, "value_live": live}
    for name in ("effective_bins", "range_used"):
        if name in channels:
            kept = channels[name][~constant]
            mean[name] = float(kept.mean()) if kept.size else float("nan")
    size = len(constant)
    found: dict[str, Any] = {"channels": channels, "mean": mean, "null": None}
    if parts[0].estimate is not None:
        estimate = np.concatenate([p.estimate for p in parts if p.estimate is not None]).mean()
        replicates = tuple(
            _sum(each) / size for each in zip(*(p.replicates for p in parts), strict=True)
        )
        corrected = _bias_columns(np.asarray(value), estimate, replicates, bounded)
        mean |= {name: float(column) for name, column in corrected.items()}
        found |= {"estimate": float(estimate), "replicates": replicates}
    nulls = [part.null for part in parts if part.null is not None]
    if nulls:
        null = _sum(nulls) / size
        mean |= {name: float(column) for name, column in _null_columns(null).items()}
        found["null"] = null
    return found


def _sum(parts: Sequence[Float64]) -> Float64:
    """Add up rows (n,) of blocks (d, n)."""
    total = np.zeros(parts[0].shape[1])
    for part in parts:
        for row in part:
            total += row
    return total


def _channel_columns(part: Partial, bounded: bool) -> dict[str, Float64]:
    columns: dict[str, Float64] = {"value": part.values}
    if part.occupied is not None:
        columns["effective_bins"] = part.occupied
    if part.used is not None:
        columns["range_used"] = part.used
    if part.estimate is not None:
        columns |= _bias_columns(part.values, part.estimate, part.replicates, bounded)
    if part.null is not None:
        columns |= _null_columns(part.null)
    return columns


def _bias_columns(
    values: Float64, estimate: AnyArray, replicates: Sequence[Float64], bounded: bool
) -> dict[str, Float64]:
    low, high = interval(estimate, replicates, correction=values - estimate)
    most = 1.0 if bounded else np.inf
    found = {"corrected": estimate, "ci_low": low, "ci_high": high}
    return {name: np.clip(column, 0.0, most) for name, column in found.items()}


def _null_columns(labelled: Float64) -> dict[str, Float64]:
    observed, null = labelled[..., 0], labelled[..., 1:]
    return {
        "null_mean": null.mean(axis=-1),
        "null_high": np.quantile(null, HIGH, axis=-1),
        "p_value": p_values(observed, null),
    }
