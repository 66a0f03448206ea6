"""Extremes and counts of activations, eqs. (4) and (5), exact to the last value.

Features are (N, D, K): N images, D channels, K vectors per image. The inner loops are in
`skiptool.distances.kernels`; the terms from which they compute the bin of a value are prepared
here, for all channels at once, because every line inside the compiled loops lengthens the first
start on a machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.distances import kernels
from skiptool.distances.bins import Binning, check_features
from skiptool.distances.kernels import compiled
from skiptool.errors import ArgumentError

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Float64, Int64

# Extremes


def activation_extremes(x: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Lowest and highest activation of each image and channel, (N, D), of the type of ``x``.

    ``x`` is float16, float32 or float64 (N, D, K), else ArgumentError. The result is NaN where a
    channel of an image contains NaN.
    """
    check_features(x)
    # NumPy has no fast loops for float16, and float32 holds all of its values.
    wide = np.float32 if x.dtype.itemsize == 2 else x.dtype.newbyteorder("=")
    rows = np.ascontiguousarray(x, dtype=wide).reshape(-1, x.shape[2])
    low, high = np.empty((2, len(rows)), rows.dtype)
    lowest_and_highest(rows, low, high)
    return low.reshape(x.shape[:2]).astype(x.dtype), high.reshape(x.shape[:2]).astype(x.dtype)


@compiled
def lowest_and_highest(x: AnyArray, low: AnyArray, high: AnyArray) -> None:
    """Write the extremes of rows (R, K) of floats to (R,); NaN for a row that contains NaN."""
    for r in range(x.shape[0]):
        least = x[r, 0]
        most = x[r, 0]
        nans = 0
        for k in range(x.shape[1]):
            value = x[r, k]
            least = value if value < least else least
            most = value if value > most else most
            nans += value != value
        low[r], high[r] = (np.nan, np.nan) if nans else (least, most)


# Terms of the inner loops

_NEAR = 1e-9
"""Distance to an edge, in bins, at which a product of float64 may be wrong: its error is at most
5e-10 with 2**20 bins."""

_NEAR_SHORT = 2.5e-7
"""The same for products of float32, as a fraction of B: their rounding is below 1.8e-7."""

_SHORT_BINS = 1024
"""Maximum number of bins for which float32 pays: beyond, too many values are near an edge."""

_FAR = 1e30
"""Larger offsets and positions are left to division, which tells large from infinite."""


def division_terms(low: Float64, span: Float64, bins: int, clamp: bool, literal: bool) -> Float64:
    """Terms (D, 7) of the exact rule, floor((x - low) * B / span).

    Low; smallest and largest offset from it that is in range; the offset above which a value is at
    the upper end; B; the divisor; the position of the upper end, half a bin off its edge.

    A constant channel has its values in bin 0; values clamped from above are at the upper end. In
    literal counts, eq. (5) as printed, the maximum and constant channels are in no bin, their index
    is B.
    """
    constant = span == 0.0
    terms = np.empty((len(low), 7))
    terms[:, 0] = low
    terms[:, 1] = -np.inf if clamp else 0.0
    terms[:, 2] = np.inf if clamp else span
    # In literal counts the maximum is at the upper end even where its position rounds below B.
    below = np.where(constant, -np.inf, np.nextafter(span, -np.inf))
    terms[:, 3] = below if literal else span
    terms[:, 4] = bins
    terms[:, 5] = np.where(constant, 1.0, span)
    terms[:, 6] = _upper_end(bins, literal)
    return terms


def product_terms(
    low: Float64, span: Float64, bins: int, clamp: bool, literal: bool, dtype: np.dtype[Any]
) -> AnyArray:
    """Terms (D, 7) of the fast rule, floor((x - low) * (B / span)), of the type of the values.

    Low; B / span, or 0 where the rule does not apply; smallest offset from low and largest position
    for which it applies; the position of the upper end; the distance to an edge up to which it does
    not apply, in bins; and 0.5.
    """
    short = dtype == np.float32
    close = _NEAR_SHORT * bins if short else _NEAR
    terms = np.empty((len(low), 7), dtype)
    with np.errstate(divide="ignore", over="ignore"):
        terms[:, 0] = low
        terms[:, 1] = np.where(_fits(low, span, bins) if short else span > 0.0, bins / span, 0.0)
    terms[:, 2] = -_FAR if clamp else 0.0
    terms[:, 3] = _FAR if clamp else bins - 2.0 * close
    terms[:, 4] = _upper_end(bins, literal)
    terms[:, 5] = close
    terms[:, 6] = 0.5
    return terms


def _upper_end(bins: int, literal: bool) -> float:
    """Return the position of the upper end: in the last bin or, for literal counts, after it."""
    return bins + 0.5 if literal else bins - 0.5


def _fits(low: Float64, span: Float64, bins: int) -> Bool:
    """Return channels in which float32 neither overflows nor loses digits below 2**-126."""
    exact = low.astype(np.float32) == low
    return np.asarray((bins <= _SHORT_BINS) & (span > 1e-30) & (span < 1e30) & exact)


# Counts


class UnbinnedActivation(ArgumentError):
    """An activation that is NaN, infinite or out of range, with its position in the block."""

    def __init__(self, image: int, channel: int, value: float) -> None:
        reason = "outside the range of its channel" if np.isfinite(value) else "not finite"
        super().__init__(f"image {image}, channel {channel}: activation {value:g} is {reason}")
        self.image, self.channel, self.value = image, channel, value


def count_activations(x: AnyArray, binning: Binning) -> AnyArray:
    """Activations in each bin, per image and channel: the sums over k of eq. (4).

    Parameters
    ----------
    x : float16, float32 or float64, shape (N, D, K)
    binning : Binning
        For D channels.

    Returns
    -------
    uint16, or uint32 where K > 65,535, shape (N, D, C)
        Each row sums to K, or to less if the binning is literal.

    Raises
    ------
    ArgumentError
        If the shape or type does not fit.
    UnbinnedActivation
        If a value is not finite, or out of range and not to be clamped.

    Notes
    -----
    The bin is floor((x - low) * B / span), in float64 and by division: a product with B / span
    misplaces values on inner edges, which are frequent in float16. It is exact where span * B is
    below 2**53 steps of the finest value: for all float16 up to 4096 bins, and at 100 bins for
    float32 unless a channel mixes magnitudes over 2**22. Otherwise values at an edge may cross it.

    Examples
    --------
    >>> from skiptool.distances.bins import Range, equal_width
    >>> x = np.array([[[0.0, 0.5, 1.0, 2.0]]])
    >>> count_activations(x, equal_width(Range(np.zeros(1), np.full(1, 2.0)), bins=2))
    array([[[2, 2]]], dtype=uint16)
    """
    check_features(x)
    if len(binning.low) != x.shape[1]:
        raise ArgumentError(
            f"features have {x.shape[1]} channels, the bins {len(binning.low)}; both must belong "
            "to the same layer"
        )
    images, channels, vectors = x.shape
    dtype = np.uint16 if vectors <= np.iinfo(np.uint16).max else np.uint32
    counts = np.zeros((images * channels, binning.counters), dtype)
    # A single table if clearing and summing four would cost more than the stalls they avoid.
    tables = np.zeros((4 if 2 * binning.counters <= vectors else 1, binning.counters + 1), dtype)
    native = np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("="))
    rows = native.reshape(images * channels, vectors)
    failed = _count_rows(rows, binning, tables, counts)
    if failed >= 0:
        raise _unbinned(rows[failed], failed, binning)
    return counts.reshape(images, channels, binning.counters)


def _count_rows(rows: AnyArray, binning: Binning, tables: AnyArray, counts: AnyArray) -> int:
    half = rows.dtype == np.float16
    wide = np.dtype(np.float32) if half else rows.dtype
    index, bits = np.empty((2, rows.shape[1]), np.uint32)
    cells = np.empty(0, np.int32) if binning.cells is None else binning.cells
    buffers = (cells, index, tables, counts)
    if binning.edges is not None:
        return int(kernels.count_between_edges(np.asarray(rows, wide), binning.edges, *buffers))
    rule = (binning.low, binning.span, binning.bins, binning.clamp, binning.literal)
    exact, quick = division_terms(*rule), product_terms(*rule, wide)
    if not half:
        return int(kernels.count_equal_width(rows, exact, quick, *buffers))
    patterns, values = rows.view(np.uint16), bits.view(np.float32)
    return int(kernels.count_equal_width_half(patterns, bits, values, exact, quick, *buffers))


def _unbinned(row: AnyArray, index: int, binning: Binning) -> UnbinnedActivation:
    image, channel = divmod(index, len(binning.low))
    offset = row.astype(np.float64) - binning.low[channel]
    outside = ~((offset >= 0) & (offset <= binning.span[channel]))
    wrong = ~np.isfinite(row) if binning.clamp or binning.edges is not None else outside
    return UnbinnedActivation(image, channel, float(row[np.flatnonzero(wrong)[0]]))


def frequencies(counts: AnyArray, values: int | None = None) -> Float64:
    """Relative frequencies, eq. (4).

    Parameters
    ----------
    counts : integers, shape (..., B)
        Activations in each bin, summed over images.
    values : int, optional
        K * N of eq. (4), for literal counts, which leave some values out. Default: each row's sum.

    Returns
    -------
    float64, shape (..., B)
        Each row sums to 1 (to less where literal counts leave values out).

    Raises
    ------
    ArgumentError
        If a row holds no values, or more than ``values``.
    """
    sums: Int64 = counts.sum(axis=-1, keepdims=True, dtype=np.int64)
    totals = sums if values is None else np.full_like(sums, values)
    if not ((totals > 0) & (sums <= totals)).all():
        limit = "" if values is None else f" of {values} values"
        raise ArgumentError(
            f"frequencies: rows sum to {sums.min()}..{sums.max()}{limit}; expected 1 or more and "
            "no more than the values; pass K * N as 'values' with literal counts"
        )
    return np.asarray(counts / totals, dtype=np.float64)
