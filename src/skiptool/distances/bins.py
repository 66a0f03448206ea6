"""Value ranges of channels and their division into bins, eqs. (5) to (7).

`skiptool.distances.counting` counts activations in these bins; its loops are compiled by numba,
which readers of stores do not need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING, Final

import numpy as np

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


def check_features(x: AnyArray) -> None:
    """Raise ArgumentError unless ``x`` is a float array (N, D, K)."""
    if x.ndim != 3 or x.dtype.kind != "f" or x.dtype.itemsize > 8 or 0 in x.shape[1:]:
        raise ArgumentError(
            f"features: shape {x.shape} and type {x.dtype}; expected float16, float32 or float64 "
            "(N, D, K), images, channels, vectors per image"
        )


def joint_range(*extents: tuple[AnyArray, AnyArray]) -> Range:
    """Range of each channel over all sets, eqs. (6) and (7).

    ``extents`` are minima and maxima (..., D) of each set, from ``counting.activation_extremes`` or
    a feature store.

    Examples
    --------
    >>> low, high = np.array([[0.0]]), np.array([[1.0]])
    >>> joint_range((low, high), (low + 2.0, high + 2.0))
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
    """Return the channels, (D,), that hold a single value in all sets, such as dead ones."""
    return np.asarray(joint.span == 0)


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


# Bins

MAX_BINS: Final = 4096
"""Maximum number of bins of a channel: up to here the rule of eq. (5) is exact for all float16."""

_MOST_FINE: Final = 1 << 20
"""Maximum number of bins of the fine grid behind a sweep."""


@dataclass(frozen=True, slots=True, eq=False)
class Binning:
    """Assignment of the activations of each channel to bins; made by the functions below.

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


@dataclass(frozen=True, slots=True, eq=False)
class CountLayout:
    """Bins and sizes of a layer that is stored as counts, without its activations.

    Attributes
    ----------
    binning : Binning
        Bins of equal width.
    vectors : int
        K, vectors per image.
    images : int64, shape (N,)
        Images in each row of counts; a row of n images sums to n * K in each channel.
    """

    binning: Binning
    vectors: int
    images: Int64


def equal_width(joint: Range, bins: int, *, clamp: bool = False, literal: bool = False) -> Binning:
    """B bins of equal width over the range of each channel, eq. (5).

    Parameters
    ----------
    bins : int
        B, 1 to :data:`MAX_BINS`.
    clamp : bool
        Count values outside the range in the end bins (for ranges that are not joint).
    literal : bool
        Eq. (5) as printed, for audit: every bin is open above, so the joint maximum and all values
        of a constant channel are in no bin.

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
    two neighbouring edges. ``counting.count_activations`` is as exact as for that multiple as B.
    """
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


def _check_spans(joint: Range, bins: int) -> None:
    with np.errstate(over="ignore"):
        wide = np.flatnonzero(~np.isfinite(joint.span * bins))
    if wide.size:
        raise ArgumentError(f"features: values of channel {wide[0]} are too far apart for float64")
