"""Estimated distances with their intervals: of channels, and of a layer as their mean, eq. (10).

The square of the Hellinger distance is a mean over bins, so a correction of bias works on it; the
distance itself is a root. Two things follow.

* Of one channel, the interval is taken on the square and its ends are rooted. Near 0 the standard
  error of a square goes to 0 with it, although its noise does not; the upper end therefore also
  allows for the noise of the square without a shift, as permutations show it.
* A layer's distance is the mean of the roots over its channels. The root of a noisy square is too
  low on average (by up to 0.29 times the root of its standard error), so in a layer of many weakly
  shifted channels the mean of the estimated roots is too low as well. Channels are therefore sorted
  by whether their square is more than three standard errors above 0. Those above enter by their
  root. The others enter together, by the root of their mean square, in which the noise of single
  channels averages out; it is lowered where their squares differ by more than their noise, as the
  mean of roots is below the root of the mean. The upper end of the interval is that of the root of
  the mean square, the lower end that of the mean of the roots: true for channels that are all alike
  and for channels that differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import gammaln

from skiptool.stats.jackknife import UNSURE, half_width, spread

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Float64, Int64

__all__ = ["Estimates", "LayerEstimate", "channel_intervals", "layer_estimate", "noise_of"]

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
