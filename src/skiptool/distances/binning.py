"""Bins of each channel and how many activations are in each, eqs. (4) and (5), exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.distances import kernel
from skiptool.distances.histograms import Range, check_features
from skiptool.distances.terms import division_terms, product_terms
from skiptool.errors import ArgumentError

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float64

__all__ = [
    "MAX_BINS",
    "Binning",
    "Misfit",
    "count",
    "equal_width",
    "merged",
    "quantile_bins",
    "sweep",
]

MAX_BINS: Final = 4096
"""Most bins of a channel: up to here the rule of eq. (5) is exact for all of float16."""

_MOST_FINE: Final = 1 << 20
"""Most bins of the fine grid behind a sweep."""


class Misfit(ArgumentError):
    """An activation that is NaN, infinite or out of range; says in which row of the block."""

    def __init__(self, image: int, channel: int, value: float) -> None:
        reason = "outside of the range of its channel" if np.isfinite(value) else "not finite"
        super().__init__(f"image {image}, channel {channel}: activation {value:g} is {reason}")
        self.image, self.channel, self.value = image, channel, value


@dataclass(frozen=True, slots=True, eq=False)
class Binning:
    """How the activations of each channel are put into bins; from one of the functions below.

    Attributes
    ----------
    bins : int
        B, or the number of fine bins of a sweep.
    low, span : float64, shape (D,)
        Range that is divided into bins of equal width; span 0 for a constant channel.
    clamp : bool
        Values outside of the range count in the end bins; else they are refused.
    literal : bool
        Eq. (5) as printed.
    edges : float64, shape (D, B - 1), or None
        Inner edges, rising, of bins that are not of equal width; an edge opens a bin.
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
        Count what is outside of the range in the end bins (for ranges that are not joint).
    literal : bool
        Eq. (5) as printed, for audit: every bin is open above, so the joint maximum and all of a
        constant channel are in no bin.

    Raises
    ------
    ArgumentError
        If ``bins`` is out of range, or a span times B is beyond float64.

    Notes
    -----
    Departures from eq. (5) unless ``literal``: the last bin is closed, and a channel of span 0
    falls into bin 0 (equal constants in both sets are at distance 0; different ones have a span
    and are at 1), but for clamped values above it, which are in the last.
    """
    if not 1 <= bins <= MAX_BINS:
        raise ArgumentError(f"bins is {bins}, expected 1 to {MAX_BINS}; the default is 100")
    _check_spans(joint, bins)
    return Binning(bins, joint.low, joint.span, clamp, literal)


def quantile_bins(edges: Float64) -> Binning:
    """Bins between given inner edges of each channel, open to both sides.

    Parameters
    ----------
    edges : float64, shape (D, B - 1)
        Rising along axis 1; equal edges leave the bin between them empty.
    """
    bins = edges.shape[1] + 1
    unused = np.zeros(len(edges))
    return Binning(bins, unused, unused, edges=np.ascontiguousarray(edges))


def sweep(joint: Range, bins: Sequence[int], *, clamp: bool = False) -> Binning:
    """Count once for several numbers of bins; :func:`merged` gives the counts of each.

    All edges of all the numbers of bins lie on a grid of their least common multiple; between two
    neighbours among those edges one counter serves. What :func:`count` says about being exact
    holds with the least common multiple for B.

    Raises
    ------
    ArgumentError
        If a number is out of range, or the grid is beyond 2**20 bins.
    """
    if not bins:
        raise ArgumentError("sweep: no number of bins is given")
    for each in bins:
        equal_width(joint, each)
    fine = lcm(*bins)
    if fine > _MOST_FINE:
        raise ArgumentError(
            f"sweep of bins {', '.join(map(str, bins))}: their least common multiple is {fine}, at "
            f"most {_MOST_FINE} can be counted; take rounder or fewer numbers"
        )
    _check_spans(joint, fine)
    starts = np.zeros(fine, dtype=np.int32)
    for each in bins:
        starts[:: fine // each] = 1
    return Binning(fine, joint.low, joint.span, clamp, cells=np.cumsum(starts, dtype=np.int32) - 1)


def merged(counts: AnyArray, binning: Binning, bins: int) -> AnyArray:
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


def count(x: AnyArray, binning: Binning) -> AnyArray:
    """Activations in each bin, per image and channel: the sums over k of eq. (4).

    Parameters
    ----------
    x : float16, float32 or float64, shape (N, D, K)
    binning : Binning
        For D channels.

    Returns
    -------
    uint16, or uint32 where K > 65,535, shape (N, D, C)
        Each row adds up to K, or to less if the binning is literal.

    Raises
    ------
    ArgumentError
        If shapes or types do not fit.
    Misfit
        If a value is not finite, or outside of the range and not to be clamped.

    Notes
    -----
    The bin is floor((x - low) * B / span), in float64 and by division: a product with B / span
    misplaces values on inner edges, of which float16 has many. It is exact where span * B is
    below 2**53 steps of the finest value: for all float16 up to 4096 bins, at 100 bins for
    float32 unless a channel mixes magnitudes over 2**22. Else values at an edge may cross it.

    Examples
    --------
    >>> x = np.array([[[0.0, 0.5, 1.0, 2.0]]])
    >>> count(x, equal_width(Range(np.zeros(1), np.full(1, 2.0)), bins=2))
    array([[[2, 2]]], dtype=uint16)
    """
    check_features(x)
    if len(binning.low) != x.shape[1]:
        raise ArgumentError(
            f"features have {x.shape[1]} channels, the bins are of {len(binning.low)}; both must "
            "be of one layer"
        )
    images, channels, vectors = x.shape
    dtype = np.uint16 if vectors <= np.iinfo(np.uint16).max else np.uint32
    counts = np.zeros((images * channels, binning.counters), dtype)
    # One table where clearing and adding up four would cost more than the waiting they save.
    tables = np.zeros((4 if 2 * binning.counters <= vectors else 1, binning.counters + 1), dtype)
    native = np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("="))
    rows = native.reshape(images * channels, vectors)
    wrong = _count_rows(rows, binning, tables, counts)
    if wrong >= 0:
        raise _misfit(rows[wrong], wrong, binning)
    return counts.reshape(images, channels, binning.counters)


def _count_rows(rows: AnyArray, binning: Binning, tables: AnyArray, counts: AnyArray) -> int:
    half = rows.dtype == np.float16
    wide = np.dtype(np.float32) if half else rows.dtype
    index, bits = np.empty((2, rows.shape[1]), np.uint32)
    cells = np.empty(0, np.int32) if binning.cells is None else binning.cells
    rest = (cells, index, tables, counts)
    if binning.edges is not None:
        return int(kernel.count_between_edges(np.asarray(rows, wide), binning.edges, *rest))
    rule = (binning.low, binning.span, binning.bins, binning.clamp, binning.literal)
    exact, quick = division_terms(*rule), product_terms(*rule, wide)
    if not half:
        return int(kernel.count_equal_width(rows, exact, quick, *rest))
    patterns, values = rows.view(np.uint16), bits.view(np.float32)
    return int(kernel.count_equal_width_half(patterns, bits, values, exact, quick, *rest))


def _check_spans(joint: Range, bins: int) -> None:
    with np.errstate(over="ignore"):
        wide = np.flatnonzero(~np.isfinite(joint.span * bins))
    if wide.size:
        raise ArgumentError(f"features: values of channel {wide[0]} are too far apart for float64")


def _misfit(row: AnyArray, place: int, binning: Binning) -> Misfit:
    image, channel = divmod(place, len(binning.low))
    offset = row.astype(np.float64) - binning.low[channel]
    outside = ~((offset >= 0) & (offset <= binning.span[channel]))
    wrong = ~np.isfinite(row) if binning.clamp or binning.edges is not None else outside
    return Misfit(image, channel, float(row[np.flatnonzero(wrong)[0]]))
