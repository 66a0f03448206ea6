"""Binned distributions of activations, eqs. (4) to (7): joint range, exact counts, frequencies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.errors import ArgumentError

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Float64, Int64

__all__ = ["Range", "constant_channels", "count", "extent", "frequencies", "joint_range"]

_BLOCK: Final = 1 << 16
"""Values binned at once: 0.5 MB in float64, so that the passes stay in the second-level cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Range:
    """Value range of each feature channel over all sets compared.

    Attributes
    ----------
    low : float64, shape (D,)
        beta of eq. (7).
    span : float64, shape (D,)
        alpha of eq. (6); 0 for a constant channel.
    """

    low: Float64
    span: Float64


def extent(x: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Lowest and highest activation of each image and channel.

    Parameters
    ----------
    x : float16, float32 or float64, shape (N, D, K)
        Activations of N images, D channels, K vectors an image.

    Returns
    -------
    low, high : of the type of ``x``, shape (N, D)
        NaN where a channel of an image holds one.

    Raises
    ------
    ArgumentError
        If ``x`` has another shape or type.
    """
    _check_features(x)
    return x.min(axis=2), x.max(axis=2)


def joint_range(*extents: tuple[AnyArray, AnyArray]) -> Range:
    """Range of each channel over all sets, eqs. (6) and (7).

    Parameters
    ----------
    *extents : pairs of arrays, shape (..., D)
        Lowest and highest values of each set, from ``extent`` or a feature store.

    Returns
    -------
    Range
        float64, shape (D,).

    Raises
    ------
    ArgumentError
        If a set is empty, the numbers of channels differ, or a value is not finite.

    Examples
    --------
    >>> x, y = np.array([[[0.0, 1.0]]]), np.array([[[3.0, 2.0]]])
    >>> joint_range(extent(x), extent(y))
    Range(low=array([0.]), span=array([3.]))
    """
    bounds = [bound for pair in extents for bound in pair]
    channels = {bound.shape[-1:] for bound in bounds}
    if len(channels) != 1 or () in channels or not all(bound.size for bound in bounds):
        shapes = ", ".join(str(bound.shape) for bound in bounds)
        raise ArgumentError(
            f"joint range: lowest and highest values have shapes {shapes or 'none'}; expected "
            "(..., D) with one D and at least one image"
        )
    width = bounds[0].shape[-1]
    low = np.min([a.reshape(-1, width).min(axis=0) for a, _ in extents], axis=0).astype(np.float64)
    high = np.max([b.reshape(-1, width).max(axis=0) for _, b in extents], axis=0).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        span = high - low
    _refuse(~np.isfinite(span), "NaN, infinite, or too far apart for float64")
    _refuse(span < 0, "lower at their highest than at their lowest")
    return Range(low, span)


def constant_channels(joint: Range) -> Bool:
    """Channels, shape (D,), that hold one value in all sets (dead ones among them)."""
    return np.asarray(joint.span == 0)


def count(x: AnyArray, joint: Range, bins: int, *, literal: bool = False) -> Int64:
    """Activations in each bin, per image and channel: the sums over k of eq. (4).

    Parameters
    ----------
    x : float16, float32 or float64, shape (N, D, K)
        Inside the joint range. The result takes N * D * B * 8 bytes: call it for some images at
        a time and add up over axis 0.
    joint : Range
        Of shape (D,), over all the sets that are to be compared.
    bins : int
        Number B of bins of equal width.
    literal : bool
        Eq. (5) as printed, for audit: every bin is open above, so the joint maximum and all of a
        constant channel are in no bin.

    Returns
    -------
    int64, shape (N, D, B)
        Each row adds up to K, or to less if ``literal``.

    Raises
    ------
    ArgumentError
        If shapes or types do not fit, ``bins`` < 1, or a value is not finite or outside of the
        joint range; the message names the channels.

    Notes
    -----
    Departures from eq. (5): the last bin is closed, and a channel of span 0 falls into bin 0
    (equal constants in both sets are at distance 0; different ones have a span and are at 1).

    The bin is floor((x - low) * B / span), in float64 and by division: a product with B / span
    misplaces values on inner edges, of which float16 has many. It is exact where span * B is
    below 2**53 steps of the finest value: for all float16 up to 4096 bins, at 100 bins for
    float32 unless a channel mixes magnitudes over 2**22. Else values at an edge may cross it.

    Examples
    --------
    >>> x = np.array([[[0.0, 0.5, 1.0, 2.0]]])
    >>> count(x, joint_range(extent(x)), bins=2)
    array([[[2, 2]]])
    >>> count(x, joint_range(extent(x)), bins=2, literal=True)
    array([[[2, 1]]])
    """
    _check_features(x)
    _check_binning(x, joint, bins)
    images, channels, vectors = x.shape
    rows = x.reshape(images * channels, vectors)
    counts = np.empty((len(rows), bins), dtype=np.int64)
    step = max(1, _BLOCK // max(vectors, bins))
    scratch = np.empty((step, vectors))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        channel = np.arange(start, start + len(part)) % channels
        offsets = scratch[: len(part)]
        np.subtract(part, joint.low[channel, np.newaxis], out=offsets)
        _check_inside(offsets, channel, joint)
        counts[start : start + step] = _count_rows(offsets, joint.span[channel], bins, literal)
    return counts.reshape(images, channels, bins)


def _count_rows(offsets: Float64, span: Float64, bins: int, literal: bool) -> Int64:
    """Count (R, B) in rows (R, K) of ``x - low``, overwriting them; a last bin is for the rest."""
    offsets *= bins
    offsets /= np.where(span > 0, span, 1.0)[:, np.newaxis]
    index = offsets.astype(np.int64)
    if literal:
        index[span == 0] = bins
    else:
        np.minimum(index, bins - 1, out=index)
    index += (bins + 1) * np.arange(len(span))[:, np.newaxis]
    counts = np.bincount(index.ravel(), minlength=len(span) * (bins + 1))
    return counts.reshape(len(span), bins + 1)[:, :bins]


def _check_inside(offsets: Float64, channel: Int64, joint: Range) -> None:
    """Refuse offsets out of range: rounding keeps order, so the others are within the span."""
    inside = (offsets.min(axis=1) >= 0) & (offsets.max(axis=1) <= joint.span[channel])
    outside = np.zeros(len(joint.span), dtype=np.bool_)
    outside[channel[~inside]] = True
    _refuse(outside, "NaN, infinite, or outside of the joint range (take it over all sets)")


def frequencies(counts: Int64, values: int | None = None) -> Float64:
    """Relative frequencies, eq. (4).

    Parameters
    ----------
    counts : int64, shape (..., B)
        Activations in each bin, added up over images.
    values : int or None
        K * N of eq. (4), for literal counts, which leave some out. None: each row's sum.

    Returns
    -------
    float64, shape (..., B)
        Each row adds up to 1 (to less where literal counts leave values out).

    Raises
    ------
    ArgumentError
        If a row holds no values, or more than ``values``.
    """
    sums = counts.sum(axis=-1, keepdims=True)
    totals = sums if values is None else np.full_like(sums, values)
    if not ((totals > 0) & (sums <= totals)).all():
        of = "" if values is None else f" of {values} values"
        raise ArgumentError(
            f"frequencies: rows add up to {sums.min()}..{sums.max()}{of}; expected 1 or more and "
            "no more than the values; give K * N as 'values' with literal counts"
        )
    return np.asarray(counts / totals, dtype=np.float64)


def _check_features(x: AnyArray) -> None:
    if x.ndim != 3 or x.dtype.kind != "f" or x.dtype.itemsize > 8 or 0 in x.shape[1:]:
        raise ArgumentError(
            f"features: shape {x.shape} and type {x.dtype}; expected float16, float32 or float64 "
            "(N, D, K), images, channels, vectors an image"
        )


def _check_binning(x: AnyArray, joint: Range, bins: int) -> None:
    if bins < 1:
        raise ArgumentError(f"bins is {bins}, expected at least 1; the default is 100")
    if joint.low.shape != x.shape[1:2]:
        raise ArgumentError(
            f"features have {x.shape[1]} channels, the joint range has shape {joint.low.shape}; "
            "both must be of one layer"
        )
    with np.errstate(over="ignore"):
        _refuse(~np.isfinite(joint.span * bins), "too far apart for float64")


def _refuse(bad: Bool, reason: str) -> None:
    """Raise an error that names the channels where ``bad``, if there are any."""
    channels = np.flatnonzero(bad).tolist()
    if channels:
        first = ", ".join(map(str, channels[:5]))
        raise ArgumentError(
            f"features: values are {reason} in {len(channels)} of {len(bad)} channels "
            f"({first}{', ...' if len(channels) > 5 else ''})"
        )
