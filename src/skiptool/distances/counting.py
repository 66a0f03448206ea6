"""Value ranges, bins and counts of activations, eqs. (4) to (7), exact to the last value.

Features are (N, D, K): N images, D channels, K vectors per image. The inner loops are in
`skiptool.distances.kernels`; the terms from which they compute the bin of a value are prepared
here, for all channels at once, because every line inside the compiled loops lengthens the first
start on a machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from skiptool.distances import kernels
from skiptool.distances.kernels import compiled
from skiptool.errors import ArgumentError

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Float64, Int64

# Value ranges


@dataclass(frozen=True, slots=True, eq=False)
class Range:
    """Value range of each channel over all sets compared.

    Attributes
    ----------
    low : float64, shape (D,)
        beta of eq. (7).
    span : float64, shape (D,)
        alpha of eq. (6); 0 for a constant channel.
    """

    low: Float64
    span: Float64


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


def joint_range(*extents: tuple[AnyArray, AnyArray]) -> Range:
    """Range of each channel over all sets, eqs. (6) and (7).

    Parameters
    ----------
    *extents : pairs of arrays, shape (..., D)
        Lowest and highest values of each set, from ``activation_extremes`` or a feature store.

    Raises
    ------
    ArgumentError
        If a set is empty, the numbers of channels differ, or a value is not finite.

    Examples
    --------
    >>> x, y = np.array([[[0.0, 1.0]]]), np.array([[[3.0, 2.0]]])
    >>> joint_range(activation_extremes(x), activation_extremes(y))
    Range(low=array([0.]), span=array([3.]))
    """
    bounds = [bound for pair in extents for bound in pair]
    channels = {bound.shape[-1:] for bound in bounds}
    if len(channels) != 1 or () in channels or not all(bound.size for bound in bounds):
        shapes = ", ".join(str(bound.shape) for bound in bounds)
        raise ArgumentError(
            f"joint range: lowest and highest values have shapes {shapes or 'none'}; expected "
            "(..., D) with the same D and at least one image"
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
    """Channels, shape (D,), with one value in all sets (dead channels among them)."""
    return np.asarray(joint.span == 0)


def check_features(x: AnyArray) -> None:
    """Raise ArgumentError unless ``x`` is a float array (N, D, K)."""
    if x.ndim != 3 or x.dtype.kind != "f" or x.dtype.itemsize > 8 or 0 in x.shape[1:]:
        raise ArgumentError(
            f"features: shape {x.shape} and type {x.dtype}; expected float16, float32 or float64 "
            "(N, D, K), images, channels, vectors per image"
        )


def listed_channels(bad: Bool) -> str:
    """List the first channels where ``bad`` (D,) is true, for an error message.

    Examples
    --------
    >>> listed_channels(np.array([True, False, True]))
    '2 of 3 channels (0, 2)'
    """
    channels = np.flatnonzero(bad).tolist()
    first = ", ".join(map(str, channels[:5])) + (", ..." if len(channels) > 5 else "")
    return f"{len(channels)} of {len(bad)} channels ({first})"


def _refuse(bad: Bool, reason: str) -> None:
    if bad.any():
        raise ArgumentError(f"features: values are {reason} in {listed_channels(bad)}")


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
    """Terms of the exact rule, floor((x - low) * B / span).

    A constant channel has its values in bin 0; values clamped from above are at the upper end.

    Parameters
    ----------
    low, span : float64, shape (D,)
    bins : int
        B.
    clamp : bool
        Count values outside the range in the end bins.
    literal : bool
        Eq. (5) as printed: the maximum and constant channels are in no bin, their index is B.

    Returns
    -------
    float64, shape (D, 7)
        Low; smallest and largest offset from it that is in range; the offset above which a value is
        at the upper end; B; the divisor; the position of the upper end, half a bin off its edge.
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
    """Terms of the fast rule, floor((x - low) * (B / span)).

    Parameters
    ----------
    low, span, bins, clamp, literal
        As for :func:`division_terms`.
    dtype : float32 or float64
        Type of the values and of the terms.

    Returns
    -------
    of ``dtype``, shape (D, 7)
        Low; B / span, or 0 where the rule does not apply; smallest offset from low and largest
        position for which it applies; the position of the upper end; the distance to an edge up to
        which it does not apply, in bins; and 0.5.
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


# Bins and counts

MAX_BINS: Final = 4096
"""Maximum number of bins of a channel: up to here the rule of eq. (5) is exact for all float16."""

_MOST_FINE: Final = 1 << 20
"""Maximum number of bins of the fine grid behind a sweep."""


class UnbinnedActivation(ArgumentError):
    """An activation that is NaN, infinite or out of range, with its position in the block."""

    def __init__(self, image: int, channel: int, value: float) -> None:
        reason = "outside the range of its channel" if np.isfinite(value) else "not finite"
        super().__init__(f"image {image}, channel {channel}: activation {value:g} is {reason}")
        self.image, self.channel, self.value = image, channel, value


@dataclass(frozen=True, slots=True, eq=False)
class Binning:
    """How activations of each channel are assigned to bins; made by the functions below.

    Attributes
    ----------
    bins : int
        B, or the number of fine bins of a sweep.
    low, span : float64, shape (D,)
        Range divided into bins of equal width; span 0 for a constant channel.
    clamp : bool
        Count values outside the range in the end bins, else refuse them.
    literal : bool
        Eq. (5) as printed.
    edges : float64, shape (D, B - 1), or None
        Ascending inner edges of bins of unequal width; an edge belongs to the bin above it.
    cells : int32, shape (bins,), or None
        Counter of each fine bin of a sweep.
    """

    bins: int
    low: Float64
    span: Float64
    clamp: bool = False
    literal: bool = False
    edges: Float64 | None = None
    cells: AnyArray | None = None

    @property
    def counters(self) -> int:
        """Length C of a row of counts: B, or fewer in a sweep."""
        return self.bins if self.cells is None else int(self.cells[-1]) + 1


def equal_width(joint: Range, bins: int, *, clamp: bool = False, literal: bool = False) -> Binning:
    """B bins of equal width over the range of each channel, eq. (5).

    Parameters
    ----------
    joint : Range
    bins : int
        B, 1 to :data:`MAX_BINS`.
    clamp : bool
        Count values outside the range in the end bins (for ranges that are not joint).
    literal : bool
        Eq. (5) as printed, for audit: every bin is open above, so the joint maximum and all values
        of a constant channel are in no bin.

    Raises
    ------
    ArgumentError
        If ``bins`` is out of range, or a span times B exceeds float64.

    Notes
    -----
    Departures from eq. (5) unless ``literal``: the last bin is closed, and a channel of span 0
    falls into bin 0 (equal constants in both sets have distance 0; different ones have a span, and
    distance 1), except for clamped values above it, which are in the last bin.
    """
    if not 1 <= bins <= MAX_BINS:
        raise ArgumentError(f"bins is {bins}, expected 1 to {MAX_BINS}; the default is 100")
    _check_spans(joint, bins)
    return Binning(bins, joint.low, joint.span, clamp, literal)


def quantile_bins(edges: Float64) -> Binning:
    """Bins between given inner edges of each channel, open to both sides.

    ``edges``, float64 (D, B - 1), ascend along axis 1; equal edges leave the bin between them
    empty.
    """
    bins = edges.shape[1] + 1
    unused = np.zeros(len(edges))
    return Binning(bins, unused, unused, edges=np.ascontiguousarray(edges))


def sweep_binning(joint: Range, bins: Sequence[int], *, clamp: bool = False) -> Binning:
    """Count once for several numbers of bins; :func:`merge_counts` gives the counts of each.

    The edges of all binnings lie on a grid of their least common multiple, with one counter between
    two neighbouring edges. The exactness of :func:`count_activations` holds with the least common
    multiple in place of B.

    Raises
    ------
    ArgumentError
        If a number is out of range, or the grid exceeds 2**20 bins.
    """
    if not bins:
        raise ArgumentError("sweep: no number of bins is given")
    for number in bins:
        equal_width(joint, number)
    fine = lcm(*bins)
    if fine > _MOST_FINE:
        raise ArgumentError(
            f"sweep of bins {', '.join(map(str, bins))}: their least common multiple is {fine}, at "
            f"most {_MOST_FINE} can be counted; use rounder or fewer numbers"
        )
    _check_spans(joint, fine)
    starts = np.zeros(fine, dtype=np.int32)
    for number in bins:
        starts[:: fine // number] = 1
    return Binning(fine, joint.low, joint.span, clamp, cells=np.cumsum(starts, dtype=np.int32) - 1)


def merge_counts(counts: AnyArray, binning: Binning, bins: int) -> AnyArray:
    """Turn counts (..., C) of a sweep into the counts (..., B) of one of its numbers of bins.

    Raises ArgumentError if the edges of that number were not counted.
    """
    if binning.cells is None and bins == binning.bins:
        return counts
    if binning.cells is not None and binning.bins % bins == 0:
        edges = np.arange(bins) * (binning.bins // bins)
        first = binning.cells[edges]
        if (first[1:] > binning.cells[edges[1:] - 1]).all():
            return np.asarray(np.add.reduceat(counts, first, axis=-1, dtype=counts.dtype))
    raise ArgumentError(f"counts are not of {bins} bins and cannot be merged into them")


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


def _check_spans(joint: Range, bins: int) -> None:
    with np.errstate(over="ignore"):
        wide = np.flatnonzero(~np.isfinite(joint.span * bins))
    if wide.size:
        raise ArgumentError(f"features: values of channel {wide[0]} are too far apart for float64")


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
