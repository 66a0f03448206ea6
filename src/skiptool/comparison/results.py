"""What a comparison of one layer yields: numbers of each channel, and of the layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.comparison.estimates import Estimates, channel_intervals, layer_estimate, noise_of
from skiptool.distances.binned import layer_mean
from skiptool.names import Metric, RangeRule
from skiptool.stats.permutation import p_values

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64

__all__ = ["ALPHA", "Measured", "Partial", "joined"]

HIGH = 0.95
"""Quantile of the null distribution that is reported."""

ALPHA = 0.05
"""An interval reaches 0 where the p-value is above this: the two columns never contradict."""


@dataclass(frozen=True, slots=True, eq=False)
class Partial:
    """One distance of some channels, with what the layer's own statistics are made of.

    Attributes
    ----------
    values : float64, shape (d,)
    estimates : Estimates or None
    null : float64, shape (d, 1 + R), or None
        The tested statistic with the units as they are labelled, then relabelled: by one formula,
        so that ties are ties.
    occupied : float64, shape (d,), or None
        Bins that hold a value of either set.
    used : float64, shape (d,), or None
        Share of the range in which the middle 99.8 % of all values lie.
    """

    values: Float64
    estimates: Estimates | None = None
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
        The layer's tested statistic as labelled, then under each relabelling.
    estimate : float
        The layer's corrected value, with a sign; NaN where it was not computed.
    replicates : tuple of float64, shapes (U,), (V,)
        The same without each unit; empty where it was not computed.
    drawn : bool
        The tested statistic is that of an equal draw, not of everything.
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
    drawn: bool = False


def joined(
    parts: Sequence[Partial], constant: Bool, *, bounded: bool, least_p: float = 0.0
) -> dict[str, Any]:
    """Put blocks of channels together: what `Measured` holds of their layer, by its fields.

    Parameters
    ----------
    parts : sequence of Partial
    constant : bool, shape (D,)
    bounded : bool
        The distance is at most 1.
    least_p : float
        Smallest p-value that the number of units allows. Above ``ALPHA`` none is given, and every
        interval reaches 0.

    Notes
    -----
    Sums run channel by channel, so that results do not depend on how channels were blocked.
    """
    channels = _channel_columns(parts)
    value, live = layer_mean(channels["value"], constant)
    mean = {"value": value, "value_live": live}
    for name in ("effective_bins", "range_used"):
        if name in channels:
            kept = channels[name][~constant]
            mean[name] = float(kept.mean()) if kept.size else float("nan")
    found: dict[str, Any] = {"channels": channels, "mean": mean, "null": None}
    nulls = [part.null for part in parts if part.null is not None]
    if nulls:
        channels |= _null_columns(np.concatenate(nulls), least_p)
        found["null"] = _sum(nulls) / len(constant)
        mean |= {name: float(each) for name, each in _null_columns(found["null"], least_p).items()}
    estimates = [part.estimates for part in parts if part.estimates is not None]
    if estimates:
        null = np.concatenate(nulls) if nulls else None
        lifted = (null, found["null"])
        found |= _estimated(
            Estimates.joined(estimates), constant, (channels, mean), lifted, bounded
        )
    return found


def _sum(parts: Sequence[Float64]) -> Float64:
    """Add up rows (n,) of blocks (d, n)."""
    total = np.zeros(parts[0].shape[1])
    for part in parts:
        for row in part:
            total += row
    return total


def _channel_columns(parts: Sequence[Partial]) -> dict[str, Float64]:
    columns = {"value": np.concatenate([part.values for part in parts])}
    for name, arrays in (
        ("effective_bins", [part.occupied for part in parts if part.occupied is not None]),
        ("range_used", [part.used for part in parts if part.used is not None]),
    ):
        if arrays:
            columns[name] = np.concatenate(arrays)
    return columns


def _estimated(
    estimates: Estimates,
    constant: Bool,
    columns: tuple[dict[str, Float64], dict[str, float]],
    nulls: tuple[Float64 | None, Float64 | None],
    bounded: bool,
) -> dict[str, Any]:
    """Add the columns of estimates to those of channels and layer; return the layer's own.

    ``nulls`` are (D, 1 + R) of the channels and (1 + R,) of the layer.
    """
    channels, mean = columns
    own, whole = (None if null is None else null[..., 1:] for null in nulls)
    most = 1.0 if bounded else np.inf
    estimate, low, high = channel_intervals(estimates, constant, noise_of(own, estimates))
    silent = (
        np.isnan(channels["p_value"]) | (channels["p_value"] > ALPHA)
        if ("p_value" in channels)
        else np.zeros(len(constant), dtype=np.bool_)
    )
    low = np.where(silent & ~np.isnan(low), 0.0, low)
    for name, column in (("corrected", estimate), ("ci_low", low), ("ci_high", high)):
        channels[name] = np.clip(column, 0.0, most)
    if "effective_bins" in channels:  # else the metric knows no bins
        channels["inference_bins"] = estimates.bins.astype(np.float64)
    channels["unresolved_channels"] = ((estimates.bins < 2) & ~constant).astype(np.float64)
    noise = float(np.mean(noise_of(None if whole is None else whole[np.newaxis], estimates)))
    layer = layer_estimate(estimates, constant, noise)
    if math.isnan(layer.low):  # most channels are unresolved: they count as 0, which says nothing
        layer = replace(layer, value=math.nan)
    low_end = layer.low
    if "p_value" in mean and not mean["p_value"] <= ALPHA and not math.isnan(low_end):
        low_end = 0.0
    for name, end in (("corrected", layer.value), ("ci_low", low_end), ("ci_high", layer.high)):
        mean[name] = float(np.clip(end, 0.0, most))
    if "inference_bins" in channels:
        live = estimates.bins[~constant]
        mean["inference_bins"] = float(live.mean()) if live.size else float("nan")
    mean["unresolved_channels"] = float(layer.unresolved)
    return {"estimate": layer.value, "replicates": layer.replicates}


def _null_columns(labelled: Float64, least_p: float) -> dict[str, Float64]:
    observed, null = labelled[..., 0], labelled[..., 1:]
    p = p_values(observed, null)
    return {
        "tested": observed,
        "null_mean": null.mean(axis=-1),
        "null_high": np.quantile(null, HIGH, axis=-1),
        "p_value": np.full_like(p, np.nan) if least_p > ALPHA else p,
    }
