"""Ranges and relative frequencies of activations, eqs. (4), (6) and (7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from skiptool.distances.compiled import compiled
from skiptool.errors import ArgumentError

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Float64, Int64

__all__ = [
    "Range",
    "check_features",
    "constant_channels",
    "extent",
    "frequencies",
    "joint_range",
    "lowest_and_highest",
]


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
    check_features(x)
    # NumPy has no fast loops for float16, and float32 holds all of its values.
    wide = np.float32 if x.dtype.itemsize == 2 else x.dtype.newbyteorder("=")
    rows = np.ascontiguousarray(x, dtype=wide).reshape(-1, x.shape[2])
    low, high = np.empty((2, len(rows)), rows.dtype)
    lowest_and_highest(rows, low, high)
    return low.reshape(x.shape[:2]).astype(x.dtype), high.reshape(x.shape[:2]).astype(x.dtype)


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


def frequencies(counts: AnyArray, values: int | None = None) -> Float64:
    """Relative frequencies, eq. (4).

    Parameters
    ----------
    counts : integers, shape (..., B)
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
    sums: Int64 = counts.sum(axis=-1, keepdims=True, dtype=np.int64)
    totals = sums if values is None else np.full_like(sums, values)
    if not ((totals > 0) & (sums <= totals)).all():
        of = "" if values is None else f" of {values} values"
        raise ArgumentError(
            f"frequencies: rows add up to {sums.min()}..{sums.max()}{of}; expected 1 or more and "
            "no more than the values; give K * N as 'values' with literal counts"
        )
    return np.asarray(counts / totals, dtype=np.float64)


def check_features(x: AnyArray) -> None:
    """Refuse what is no float array (N, D, K)."""
    if x.ndim != 3 or x.dtype.kind != "f" or x.dtype.itemsize > 8 or 0 in x.shape[1:]:
        raise ArgumentError(
            f"features: shape {x.shape} and type {x.dtype}; expected float16, float32 or float64 "
            "(N, D, K), images, channels, vectors an image"
        )


def _refuse(bad: Bool, reason: str) -> None:
    """Raise an error that names the channels where ``bad``, if there are any."""
    channels = np.flatnonzero(bad).tolist()
    if channels:
        first = ", ".join(map(str, channels[:5]))
        raise ArgumentError(
            f"features: values are {reason} in {len(channels)} of {len(bad)} channels "
            f"({first}{', ...' if len(channels) > 5 else ''})"
        )


@compiled
def lowest_and_highest(x: AnyArray, low: AnyArray, high: AnyArray) -> None:
    """Write the extremes of rows (R, K) of floats to (R,); NaN where a row holds one."""
    for r in range(x.shape[0]):
        least = x[r, 0]
        most = x[r, 0]
        odd = 0
        for k in range(x.shape[1]):
            value = x[r, k]
            least = value if value < least else least
            most = value if value > most else most
            odd += value != value
        low[r], high[r] = (np.nan, np.nan) if odd else (least, most)
