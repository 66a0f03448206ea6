"""Results of one layer: distances, estimates, intervals and p-values of channels and of the layer.

The square of the Hellinger distance is a mean over bins, so bias is corrected on the square; the
distance itself is its root. This has two consequences.

* The interval of a channel is computed on the square and its ends are rooted. Near 0 the standard
  error of a square vanishes with it, although its noise does not; the upper end therefore also
  allows for the noise of the square without a shift, estimated by permutation.
* The distance of a layer, eq. (10), is the mean of the roots over its channels. The root of a noisy
  square is too low on average (by up to 0.29 times the root of its standard error), so in a layer
  of many weakly shifted channels the mean of the estimated roots is too low as well. Channels are
  therefore split into those whose square is more than three standard errors above 0, which enter by
  their root, and the others, which enter together by the root of their mean square, in which the
  noise of single channels averages out. That root is lowered if their squares differ by more than
  their noise, since the mean of roots is below the root of the mean. The upper end of the interval
  uses the root of the mean square, the lower end the mean of the roots: valid for channels that are
  alike and for channels that differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.distances.binned import layer_mean
from skiptool.names import Metric, RangeRule
from skiptool.stats.jackknife import UNSURE, half_width, jackknife_variance
from skiptool.stats.permutation import p_values

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Float64, Int64

HIGH = 0.95
"""Quantile of the null distribution that is reported."""

ALPHA = 0.05
"""An interval reaches 0 if the p-value is above this, so that the two never contradict."""

CLEAR: Final = 3.0
"""Standard errors above 0 from which a channel's square enters by its own root."""

UNSURE_CLEAR: Final = 0.3
"""Standard error of the bias correction of clear channels, as a share of it. About a quarter of the
bias remains if one set leaves bins nearly empty that the other fills (simulated)."""

MOST_UNRESOLVED: Final = 0.5
"""Share of the channels that vary above which a layer has no interval."""


@dataclass(frozen=True, slots=True, eq=False)
class ChannelEstimates:
    """Estimates of some channels of a layer, on the scale on which bias is corrected.

    Attributes
    ----------
    squared : bool
        The scale is the square of the distance, else the distance itself.
    plain : float64, shape (d,)
        Distance on the pooled bins, not corrected.
    corrected : float64, shape (d,)
        The same without its bias; below 0 if noise exceeds the distance, NaN if a set has only
        one unit.
    replicates : tuple of float64, shapes (d, U), (d, V)
        ``corrected`` without each unit; one array if the sets are paired.
    bins : int64, shape (d,)
        Pooled bins. With a single one the channel is unresolved: only an upper end is known.
    ceiling : float64, shape (d,)
        Distance on all bins, not corrected: too high on average, hence an upper end.
    """

    squared: bool
    plain: Float64
    corrected: Float64
    replicates: tuple[Float64, ...]
    bins: Int64
    ceiling: Float64

    @staticmethod
    def concatenate(parts: Sequence[ChannelEstimates]) -> ChannelEstimates:
        """Concatenate blocks of channels."""
        replicates = zip(*(part.replicates for part in parts), strict=True)
        return ChannelEstimates(
            parts[0].squared,
            plain=np.concatenate([part.plain for part in parts]),
            corrected=np.concatenate([part.corrected for part in parts]),
            replicates=tuple(np.concatenate(arrays) for arrays in replicates),
            bins=np.concatenate([part.bins for part in parts]),
            ceiling=np.concatenate([part.ceiling for part in parts]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class BlockResult:
    """One distance of a block of channels.

    Attributes
    ----------
    values : float64, shape (d,)
    null : float64, shape (d, 1 + R), or None
        The test statistic as labelled, then relabelled, by one formula so that ties stay ties.
    occupied : float64, shape (d,), or None
        Bins that hold a value of either set.
    used : float64, shape (d,), or None
        Share of the range that holds the middle 99.8 % of all values.
    """

    values: Float64
    estimates: ChannelEstimates | None = None
    null: Float64 | None = None
    occupied: Float64 | None = None
    used: Float64 | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LayerResult:
    """One distance of one layer between two sets.

    Attributes
    ----------
    bins, range_rule : int, RangeRule
        None if the metric has no bins.
    constant : bool, shape (D,)
        Channels with a single value in both sets.
    channels : mapping of str to float64, shape (D,)
        Columns of the shift table for the channels that were computed; none for measures of a
        whole layer.
    mean : dict of str to float
        The same for the layer, eq. (10), and ``value_live``.
    null : float64, shape (1 + R,), or None
        Test statistic of the layer as labelled, then under each relabelling.
    estimate : float
        Corrected value of the layer, may be negative; NaN if not computed.
    replicates : tuple of float64, shapes (U,), (V,)
        The same without each unit; empty if not computed.
    drawn : bool
        Whether the test statistic is that of an equal draw.
    """

    layer: str
    index: int
    metric: Metric
    bins: int | None
    range_rule: RangeRule | None
    constant: Bool
    channels: Mapping[str, Float64] = field(default_factory=dict)
    mean: dict[str, float] = field(default_factory=dict)
    null: Float64 | None = None
    estimate: float = math.nan
    replicates: tuple[Float64, ...] = ()
    drawn: bool = False


# Columns of channels and layer


def combine_blocks(
    result: LayerResult, blocks: Sequence[BlockResult], *, bounded: bool, least_p: float = 0.0
) -> LayerResult:
    """Fill in the columns of a layer from the blocks of its channels.

    Parameters
    ----------
    result : LayerResult
        Without columns.
    bounded : bool
        The distance is at most 1.
    least_p : float
        Smallest p-value that the number of units allows. Above ``ALPHA`` there is no p-value, and
        every interval reaches 0.

    Notes
    -----
    Sums run channel by channel, so that results do not depend on the blocks.
    """
    constant = result.constant
    channels = {"value": np.concatenate([block.values for block in blocks])}
    value, live = layer_mean(channels["value"], constant)
    mean = {"value": value, "value_live": live}
    for name, arrays in (
        ("effective_bins", [block.occupied for block in blocks if block.occupied is not None]),
        ("range_used", [block.used for block in blocks if block.used is not None]),
    ):
        if arrays:
            channels[name] = np.concatenate(arrays)
            mean[name] = _mean_of_live(channels[name], constant)
    nulls = [block.null for block in blocks if block.null is not None]
    null = layer_null = None
    if nulls:
        null = np.concatenate(nulls)
        total = np.zeros(null.shape[1])
        for row in null:
            total += row
        layer_null = total / len(constant)
        channels |= _null_columns(null, least_p)
        mean |= {name: float(value) for name, value in _null_columns(layer_null, least_p).items()}
    result = replace(result, channels=channels, mean=mean, null=layer_null)
    estimates = [block.estimates for block in blocks if block.estimates is not None]
    if not estimates:
        return result
    return _with_estimates(result, ChannelEstimates.concatenate(estimates), null, bounded=bounded)


def _mean_of_live(column: AnyArray, constant: Bool) -> float:
    live = column[~constant]
    return float(live.mean()) if live.size else math.nan


def _null_columns(labelled: Float64, least_p: float) -> dict[str, Float64]:
    observed, null = labelled[..., 0], labelled[..., 1:]
    p = p_values(observed, null)
    return {
        "tested": observed,
        "null_mean": null.mean(axis=-1),
        "null_high": np.quantile(null, HIGH, axis=-1),
        "p_value": np.full_like(p, np.nan) if least_p > ALPHA else p,
    }


def _with_estimates(
    result: LayerResult, estimates: ChannelEstimates, null: Float64 | None, *, bounded: bool
) -> LayerResult:
    """Add the columns of estimates; ``null`` (D, 1 + R) is that of the channels."""
    channels, mean, constant = dict(result.channels), dict(result.mean), result.constant
    most = 1.0 if bounded else np.inf
    excess = null_excess(None if null is None else null[..., 1:], estimates)
    estimate, low, high = channel_intervals(estimates, constant, excess)
    if "p_value" in channels:
        not_significant = np.isnan(channels["p_value"]) | (channels["p_value"] > ALPHA)
        low = np.where(not_significant & ~np.isnan(low), 0.0, low)
    for name, column in (("corrected", estimate), ("ci_low", low), ("ci_high", high)):
        channels[name] = np.clip(column, 0.0, most)
    channels["unresolved_channels"] = ((estimates.bins < 2) & ~constant).astype(np.float64)
    if "effective_bins" in channels:  # the metric has bins
        channels["inference_bins"] = estimates.bins.astype(np.float64)
        mean["inference_bins"] = _mean_of_live(estimates.bins, constant)
    own = None if result.null is None else result.null[np.newaxis, 1:]
    layer = layer_estimate(estimates, constant, float(np.mean(null_excess(own, estimates))))
    if math.isnan(layer.low):  # most channels are unresolved and count as 0
        layer = replace(layer, value=math.nan)
    layer_low = layer.low
    if "p_value" in mean and not mean["p_value"] <= ALPHA and not math.isnan(layer_low):
        layer_low = 0.0
    for name, end in (("corrected", layer.value), ("ci_low", layer_low), ("ci_high", layer.high)):
        mean[name] = float(np.clip(end, 0.0, most))
    mean["unresolved_channels"] = float(layer.unresolved)
    return replace(
        result,
        channels=channels,
        mean=mean,
        estimate=layer.value,
        replicates=layer.replicates,
    )


# Estimates and intervals


def null_excess(null: Float64 | None, estimates: ChannelEstimates, level: float = 0.95) -> Float64:
    """Return by how much noise alone may raise a distance (its square, if ``squared``), (d,).

    ``null`` (d, R) are distances under relabelling; without any, half of the bias is used instead.
    """
    if null is None or not null.shape[-1]:
        return np.asarray(np.abs(estimates.plain - estimates.corrected) / 2)
    scaled = np.square(null) if estimates.squared else null
    high = np.quantile(scaled, (1 + level) / 2, axis=-1)
    return np.asarray(high - scaled.mean(axis=-1))


def channel_intervals(
    estimates: ChannelEstimates, constant: Bool, noise: Float64, level: float = 0.95
) -> tuple[Float64, Float64, Float64]:
    """Return the estimated distance of each channel, and the ends of its interval.

    ``noise`` (D,) is that of :func:`null_excess`. Values are below 0 if noise exceeds the distance,
    NaN for unresolved channels that are not ``constant``.
    """
    bias = estimates.plain - estimates.corrected
    half = half_width(estimates.replicates, level, correction=bias)
    centre = estimates.corrected
    columns = [centre, centre - half, centre + half + noise]
    if estimates.squared:
        columns = [_signed_root(column) for column in columns]
    unresolved = (estimates.bins < 2) & ~constant
    estimate, low, high = (np.where(unresolved, np.nan, column) for column in columns)
    return estimate, low, high


@dataclass(frozen=True, slots=True, eq=False)
class LayerEstimate:
    """The estimated distance of a layer.

    Attributes
    ----------
    value : float
        Below 0 if noise exceeds the distance; NaN if a set has only one unit.
    low, high : float
        Ends of the interval, not clipped; NaN if there is none.
    replicates : tuple of float64, shapes (U,), (V,)
        ``value`` without each unit.
    unresolved : int
        Channels that vary, but in too few units to be estimated.
    """

    value: float
    low: float
    high: float
    replicates: tuple[Float64, ...]
    unresolved: int


def layer_estimate(
    estimates: ChannelEstimates, constant: Bool, noise: float, level: float = 0.95
) -> LayerEstimate:
    """Estimate the mean distance over channels, eq. (10).

    ``noise`` is that of the layer, see :func:`null_excess`. Constant and unresolved channels count
    as 0 in the value; the upper end of the interval allows for the distance of the latter on all
    bins. If more than half of the channels that vary are unresolved, there is no interval.
    """
    is_unresolved = (estimates.bins < 2) & ~constant
    unresolved = int(is_unresolved.sum())
    if np.isnan(estimates.corrected).any():  # a set has only one unit
        replicates = tuple(np.full(part.shape[1], np.nan) for part in estimates.replicates)
        return LayerEstimate(math.nan, math.nan, math.nan, replicates, unresolved)
    # Sums over channels run along memory for any blocks, so their bits never change.
    if estimates.squared:
        value, low, high, replicates = _mean_of_roots(estimates, noise, level)
    else:
        value = float(estimates.corrected.mean())
        replicates = tuple(part.mean(axis=0) for part in estimates.replicates)
        bias = float(estimates.plain.mean()) - value
        half = float(half_width(replicates, level, correction=bias))
        low, high = value - half, value + half + noise
    ceilings = np.sqrt(estimates.ceiling) if estimates.squared else estimates.ceiling
    high += float(ceilings[is_unresolved].sum()) / len(constant)
    if unresolved > MOST_UNRESOLVED * max(1, len(constant) - int(constant.sum())):
        low = high = math.nan
    return LayerEstimate(value, low, high, replicates, unresolved)


def _mean_of_roots(
    estimates: ChannelEstimates, noise: float, level: float
) -> tuple[float, float, float, tuple[Float64, ...]]:
    """Estimate the mean of the roots: value, ends of its interval, replicates."""
    squares, bias = estimates.corrected, estimates.plain - estimates.corrected
    variance, _ = jackknife_variance(estimates.replicates)
    variance = variance + np.square(UNSURE * bias)
    clear: Bool = squares > CLEAR * np.sqrt(variance)

    def parts(values: AnyArray) -> tuple[AnyArray, AnyArray]:
        """Return the roots of clear channels as a share of the mean, mean square of the others."""
        strong = _signed_root(values[clear]).sum(axis=0) / len(clear)
        weak = values[~clear]
        return strong, weak.mean(axis=0) if len(weak) else np.zeros(values.shape[1:])

    ratio = _root_ratio(squares[~clear], variance[~clear])
    weight = float((~clear).mean())
    strong, weak = parts(squares)
    sides = [parts(replicates) for replicates in estimates.replicates]
    value = float(strong + weight * ratio * _signed_root(weak))
    replicates = tuple(own + weight * ratio * _signed_root(rest) for own, rest in sides)
    # Upper end: clear channels by their roots, the others by the root of their mean square.
    removed = (np.sqrt(estimates.plain[clear]) - np.sqrt(squares[clear])).sum() / len(clear)
    above = float(
        half_width([own for own, _ in sides], level, correction=removed, unsure=UNSURE_CLEAR)
    )
    weak_bias = bias[~clear].mean() if weight else 0.0
    mean_square = float(weak + half_width([rest for _, rest in sides], level, correction=weak_bias))
    high = float(strong) + above + weight * float(np.sqrt(max(0.0, mean_square + noise)))
    # Lower end: the mean of all roots, which is biased downwards.
    roots = float(_signed_root(squares).mean())
    removed = float(np.sqrt(estimates.plain).mean()) - roots
    roots_without = [_signed_root(each).mean(axis=0) for each in estimates.replicates]
    below = half_width(roots_without, level, correction=removed, unsure=UNSURE_CLEAR)
    low = min(roots - float(below), value)
    return value, low, max(high, value), replicates


def _root_ratio(squares: Float64, noise: Float64) -> float:
    """Return mean of roots over root of mean, for squares that differ beyond their noise.

    It is that of a gamma distribution of the same mean and variance; 1 if they do not differ.
    """
    if len(squares) < 2 or not squares.mean() > 0:
        return 1.0
    beyond = float(squares.var(ddof=1) - noise.mean())
    if not beyond > 0:
        return 1.0
    from scipy.special import gammaln  # lazy, as in `skiptool.stats.jackknife`

    shape = float(squares.mean()) ** 2 / beyond
    return float(np.exp(gammaln(shape + 0.5) - gammaln(shape)) / np.sqrt(shape))


def _signed_root(values: AnyArray) -> Float64:
    """Return the square root of the absolute value, with the sign of the value."""
    return np.asarray(np.sign(values) * np.sqrt(np.abs(values)))
