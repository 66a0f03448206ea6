"""What a comparison of one layer yields: numbers of each channel, and of the layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.special import gammaln

from skiptool.distances.binned import layer_mean
from skiptool.names import Metric, RangeRule
from skiptool.stats.jackknife import UNSURE, half_width, spread
from skiptool.stats.permutation import p_values

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Float64, Int64

__all__ = [
    "ALPHA",
    "Estimates",
    "LayerEstimate",
    "Measured",
    "Partial",
    "channel_intervals",
    "joined",
    "layer_estimate",
    "noise_of",
]

# -------------------------------------------------------------------------------------------------
# Estimated distances with their intervals: of channels, and of a layer as their mean, eq. (10).
#
# The square of the Hellinger distance is a mean over bins, so a correction of bias works on it; the
# distance itself is a root. Two things follow.
#
# * Of one channel, the interval is taken on the square and its ends are rooted. Near 0 the standard
#   error of a square goes to 0 with it, although its noise does not; the upper end therefore also
#   allows for the noise of the square without a shift, as permutations show it.
# * A layer's distance is the mean of the roots over its channels. The root of a noisy square is too
#   low on average (by up to 0.29 times the root of its standard error), so in a layer of many
# weakly
#   shifted channels the mean of the estimated roots is too low as well. Channels are therefore
# sorted
#   by whether their square is more than three standard errors above 0. Those above enter by their
#   root. The others enter together, by the root of their mean square, in which the noise of single
#   channels averages out; it is lowered where their squares differ by more than their noise, as the
#   mean of roots is below the root of the mean. The upper end of the interval is that of the root
# of
#   the mean square, the lower end that of the mean of the roots: true for channels that are all
# alike
#   and for channels that differ.


CLEAR: Final = 3.0
"""Standard errors above 0 from which a channel's square enters by its own root."""

UNSURE_CLEAR: Final = 0.3
"""Share of the correction of channels far above 0 that counts as one more standard error. Where one
set leaves bins nearly empty that the other fills, about a quarter of the bias stays (simulated)."""

MOST_UNRESOLVED: Final = 0.5
"""Share of the channels that vary, above which a layer has no interval."""


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Estimates of some channels of a layer, on the scale on which bias is corrected.

    Attributes
    ----------
    squared : bool
        The scale is the square of the distance, else the distance itself.
    plain : float64, shape (d,)
        Distance on the pooled bins, not corrected.
    corrected : float64, shape (d,)
        The same without its bias; below 0 where noise exceeds the distance. NaN where a set has
        one unit only.
    replicates : tuple of float64, shapes (d, U), (d, V)
        ``corrected`` without each unit; of pairs one array.
    bins : int64, shape (d,)
        Pooled bins. With a single one nothing is known of the channel but an upper end.
    ceiling : float64, shape (d,)
        Distance on all bins, not corrected: too high on average, so an upper end at any rate.
    """

    squared: bool
    plain: Float64
    corrected: Float64
    replicates: tuple[Float64, ...]
    bins: Int64
    ceiling: Float64

    @staticmethod
    def joined(parts: Sequence[Estimates]) -> Estimates:
        """Put blocks of channels together."""
        arrays = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("plain", "corrected", "bins", "ceiling")
        }
        replicates = zip(*(part.replicates for part in parts), strict=True)
        return Estimates(
            parts[0].squared,
            replicates=tuple(np.concatenate(each) for each in replicates),
            **arrays,
        )


@dataclass(frozen=True, slots=True, eq=False)
class LayerEstimate:
    """The estimated distance of a layer.

    Attributes
    ----------
    value : float
        Below 0 where noise exceeds the distance; NaN if a set has one unit only.
    low, high : float
        Ends of the interval, not cut; NaN where none holds.
    replicates : tuple of float64, shapes (U,), (V,)
        ``value`` without each unit.
    unresolved : int
        Channels that vary, but whose values too few units share to tell anything of them.
    """

    value: float
    low: float
    high: float
    replicates: tuple[Float64, ...]
    unresolved: int


def noise_of(null: Float64 | None, found: Estimates, level: float = 0.95) -> Float64:
    """Return how far noise alone may lift a distance (its square, if ``squared``), shape (d,).

    Parameters
    ----------
    null : float64, shape (d, R), or None
        Distances of permuted units.
    found : Estimates
        Of as many channels; half of their bias stands in where there are no permutations.
    level : float
    """
    if null is None or not null.shape[-1]:
        return np.asarray(np.abs(found.plain - found.corrected) / 2)
    scaled = np.square(null) if found.squared else null
    high = np.quantile(scaled, (1 + level) / 2, axis=-1)
    return np.asarray(high - scaled.mean(axis=-1))


def channel_intervals(
    found: Estimates, constant: Bool, noise: Float64, level: float = 0.95
) -> tuple[Float64, Float64, Float64]:
    """Return the estimated distance of each channel, and the ends of its interval.

    Parameters
    ----------
    found : Estimates
        Of D channels.
    constant : bool, shape (D,)
        Channels of one value over both sets: their distance is 0.
    noise : float64, shape (D,)
        See :func:`noise_of`.
    level : float

    Returns
    -------
    estimate, low, high : float64, shape (D,)
        Below 0 where noise exceeds the distance. All NaN for unresolved channels.
    """
    half = half_width(found.replicates, level, correction=found.plain - found.corrected)
    columns = [found.corrected, found.corrected - half, found.corrected + half + noise]
    if found.squared:
        columns = [_root(each) for each in columns]
    unknown = (found.bins < 2) & ~constant
    estimate, low, high = (np.where(unknown, np.nan, each) for each in columns)
    return estimate, low, high


def layer_estimate(
    found: Estimates, constant: Bool, noise: float, level: float = 0.95
) -> LayerEstimate:
    """Estimate the mean distance over channels, eq. (10).

    Parameters
    ----------
    found : Estimates
        Of all D channels.
    constant : bool, shape (D,)
        Channels of one value over both sets: they count as 0.
    noise : float
        How far noise alone may lift the layer's distance, see :func:`noise_of`.
    level : float

    Returns
    -------
    LayerEstimate
        Unresolved channels count as 0 in the value; the upper end of the interval allows for
        their distance on all bins. Where more than half of the channels that vary are
        unresolved, there is no interval.
    """
    unknown = (found.bins < 2) & ~constant
    unresolved, size = int(unknown.sum()), len(constant)
    if np.isnan(found.corrected).any():  # a set has one unit only
        nothing = tuple(np.full(each.shape[1], np.nan) for each in found.replicates)
        return LayerEstimate(float("nan"), float("nan"), float("nan"), nothing, unresolved)
    # Sums over channels run along memory whatever the blocks were, so their bits never change.
    if found.squared:
        value, low, high, replicates = _mean_of_roots(found, noise, level)
    else:
        value = float(found.corrected.mean())
        replicates = tuple(each.mean(axis=0) for each in found.replicates)
        half = half_width(replicates, level, correction=float(found.plain.mean()) - value)
        low, high = value - float(half), value + float(half) + noise
    ceilings = np.sqrt(found.ceiling) if found.squared else found.ceiling
    high += float(ceilings[unknown].sum()) / size
    if unresolved > MOST_UNRESOLVED * max(1, size - int(constant.sum())):
        low = high = float("nan")
    return LayerEstimate(value, low, high, replicates, unresolved)


def _mean_of_roots(
    found: Estimates, lift: float, level: float
) -> tuple[float, float, float, tuple[Float64, ...]]:
    """Estimate the mean of the roots: value, ends of its interval, replicates."""
    squares, bias = found.corrected, found.plain - found.corrected
    variance, _ = spread(found.replicates)
    noise = variance + np.square(UNSURE * bias)
    clear: Bool = squares > CLEAR * np.sqrt(noise)
    share = _share_of_weak(squares[~clear], noise[~clear])

    def parts(values: AnyArray) -> tuple[AnyArray, AnyArray]:
        strong = _root(values[clear]).sum(axis=0) / len(clear)
        weak = values[~clear]
        return strong, weak.mean(axis=0) if len(weak) else np.zeros(values.shape[1:])

    weight = float((~clear).mean())
    strong, weak = parts(squares)
    sides = [parts(each) for each in found.replicates]
    value = float(strong + weight * share * _root(weak))
    replicates = tuple(own + weight * share * _root(rest) for own, rest in sides)
    # Upper end: clear channels by their roots, the others by the root of their mean square.
    taken_off = (np.sqrt(found.plain[clear]) - np.sqrt(squares[clear])).sum() / len(clear)
    above = float(
        half_width([own for own, _ in sides], level, correction=taken_off, unsure=UNSURE_CLEAR)
    )
    most = bias[~clear].mean() if weight else 0.0
    mean_square = float(weak + half_width([rest for _, rest in sides], level, correction=most))
    high = float(strong) + above + weight * float(np.sqrt(max(0.0, mean_square + lift)))
    # Lower end: the mean of all roots, which errs downwards.
    roots = float(_root(squares).mean())
    off = float(np.sqrt(found.plain).mean()) - roots
    roots_without = [_root(each).mean(axis=0) for each in found.replicates]
    below = half_width(roots_without, level, correction=off, unsure=UNSURE_CLEAR)
    low = min(roots - float(below), value)
    return value, low, max(high, value), replicates


def _share_of_weak(squares: Float64, noise: Float64) -> float:
    """Mean of the roots over the root of the mean, for squares that differ beyond their noise.

    That of a gamma distribution of the same mean and variance; 1 where they do not differ.
    """
    if len(squares) < 2 or not squares.mean() > 0:
        return 1.0
    beyond = float(squares.var(ddof=1) - noise.mean())
    if not beyond > 0:
        return 1.0
    shape = float(squares.mean()) ** 2 / beyond
    return float(np.exp(gammaln(shape + 0.5) - gammaln(shape)) / np.sqrt(shape))


def _root(values: AnyArray) -> Float64:
    """Return the square root with the sign of the value."""
    return np.asarray(np.sign(values) * np.sqrt(np.abs(values)))


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
