"""From a range rule to the bins of a layer, for two sets that are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.comparison.reading import key_totals, values_of
from skiptool.comparison.sets import Activations, Settings
from skiptool.distances.counting import (
    Binning,
    Range,
    equal_width,
    joint_range,
    quantile_bins,
    sweep,
)
from skiptool.distances.exact import wasserstein
from skiptool.distances.float16 import KEYS, quantiles_from_keys, wasserstein_from_keys
from skiptool.names import RangeRule

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Float64

__all__ = ["binning_of", "exact_wasserstein", "reference_bins"]

_TAIL: Final = 0.001
"""Share of values that rule ``p0.1`` leaves to the end bins on either side."""

_LEAST: Final = 2.0**-160
"""Far below the least difference of float32, and not so near 0 that a quotient overflows."""


def binning_of(
    reference: Activations,
    other: Activations,
    layer: str,
    bounds: Sequence[tuple[AnyArray, AnyArray]],
    settings: Settings,
) -> Binning:
    """Return the bins of a layer, given lowest and highest values of both sets.

    Where a set holds counts, they are the bins of these: all the rules are for values.

    ``minmax`` is eqs. (6) and (7). ``reference`` takes the range of the reference alone, ``p0.1``
    the pooled values between their 0.1 % and 99.9 % quantiles; both count what lies outside in
    the end bins. A channel that varies, but not within such a range, gets one bin below it, one
    of it and one above it. ``quantile`` puts the same share of the pooled values into each bin, as
    far as equal values allow. Quantiles are values of the sets.

    Raises
    ------
    FormatError
        If activations are not finite or damaged.
    """
    rule, sets = settings.range_rule, (reference, other)
    known = [found.binning for each in sets if (found := each.counted(layer)) is not None]
    if known:
        return known[0]
    if rule is RangeRule.QUANTILE:
        return quantile_bins(_quantiles(*sets, layer, settings, _shares(settings.bins[0])))
    if rule is RangeRule.PERCENTILES:
        ends = _quantiles(*sets, layer, settings, np.array([_TAIL, 1 - _TAIL]))
        joint = Range(ends[:, 0].copy(), ends[:, 1] - ends[:, 0])
    else:
        taken = bounds[:1] if rule is RangeRule.REFERENCE else bounds
        joint = joint_range(*taken)
    clamp = rule in (RangeRule.PERCENTILES, RangeRule.REFERENCE)
    if clamp:
        joint = _opened(joint, joint_range(*bounds).span > 0)
    if len(settings.bins) > 1:
        return sweep(joint, settings.bins, clamp=clamp)
    return equal_width(joint, settings.bins[0], clamp=clamp, literal=settings.literal)


def reference_bins(low: AnyArray, high: AnyArray, bins: int) -> Binning:
    """Return the bins that rule ``reference`` makes of a reference, whatever is compared with it.

    Parameters
    ----------
    low, high : floats, shape (..., D)
        Lowest and highest values of the reference.
    bins : int
        B.

    Raises
    ------
    ArgumentError
        If values are not finite, or the number of bins is out of range.

    Notes
    -----
    What is compared may vary in a channel in which the reference is constant, so that one bin of
    it, one below and one above are made in any case. Where it turns out to be constant in both
    sets, all values are in one bin under either rule, and every distance is 0.
    """
    own = joint_range((low, high))
    return equal_width(_opened(own, np.ones(own.span.shape, dtype=np.bool_)), bins, clamp=True)


def exact_wasserstein(
    reference: Activations, other: Activations, layer: str, settings: Settings
) -> Float64:
    """Wasserstein-1 distance (D,) of all activations, without bins, a few channels at a time."""
    sets, found = (reference, other), []
    for part in _parts(sets, layer, settings):
        if _all_float16(sets, layer):
            found.append(wasserstein_from_keys(*(key_totals(each, layer, part) for each in sets)))
        else:
            found.append(wasserstein(*(values_of(each, layer, part) for each in sets)))
    return np.concatenate(found)


def _opened(narrow: Range, varies: Bool) -> Range:
    """Widen ranges of one value, in channels that vary, by next to nothing on either side."""
    lost = (narrow.span == 0) & varies
    reach = np.where(lost, np.maximum(4 * np.spacing(np.abs(narrow.low)), _LEAST), 0.0)
    return Range(narrow.low - reach, narrow.span + 2 * reach)


def _shares(bins: int) -> Float64:
    return np.arange(1, bins) / bins


def _quantiles(
    reference: Activations, other: Activations, layer: str, settings: Settings, shares: Float64
) -> Float64:
    """Quantiles (D, Q) of the pooled activations of each channel."""
    found, sets = [], (reference, other)
    for part in _parts(sets, layer, settings):
        if _all_float16(sets, layer):
            pooled = key_totals(reference, layer, part).astype(np.int64)
            pooled += key_totals(other, layer, part)
            found.append(quantiles_from_keys(pooled, shares))
        else:
            values = np.concatenate([values_of(each, layer, part) for each in sets])
            found.append(_ranked(values, shares))
    return np.concatenate(found)


def _ranked(values: AnyArray, shares: Float64) -> Float64:
    """Lowest of the values (n, d) up to which at least such shares of them lie, (d, Q)."""
    n = len(values)
    rank = np.ceil(shares * n)
    rank -= (rank - 1) / n >= shares  # shares are compared, not products
    rank += rank / n < shares
    rows = np.sort(values.T, axis=1)
    return rows[:, np.maximum(rank, 1).astype(np.int64) - 1].astype(np.float64)


def _all_float16(sets: Sequence[Activations], layer: str) -> bool:
    return all(each.dtype(layer) == np.float16 for each in sets)


def _parts(sets: Sequence[Activations], layer: str, settings: Settings) -> Iterator[slice]:
    """Blocks of channels, so few that their keys or values, and copies of them, fit."""
    shapes = [each.shape(layer) for each in sets]
    size = max(each.dtype(layer).itemsize for each in sets)
    values = sum(images * vectors for images, _, vectors in shapes)
    bytes_each = 3 * KEYS * 8 if _all_float16(sets, layer) else 5 * size * values
    width, channels = max(1, settings.budget // bytes_each), shapes[0][1]
    return (slice(start, min(start + width, channels)) for start in range(0, channels, width))
