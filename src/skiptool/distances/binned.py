"""Distances between binned distributions, eqs. (8) to (10)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from skiptool.distances.kernels import compiled
from skiptool.errors import ArgumentError
from skiptool.names import Metric

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Float64, Int64

__all__ = [
    "DISTANCES",
    "EPSILON",
    "REACHED",
    "Distance",
    "RowDistance",
    "bhattacharyya",
    "bhattacharyya_complement",
    "binned_wasserstein",
    "hellinger",
    "hellinger_literal",
    "jensen_shannon",
    "kolmogorov_smirnov",
    "kullback_leibler",
    "layer_mean",
    "pool_bins",
    "pooled_bins",
    "rowwise",
    "total_variation",
]

# -------------------------------------------------------------------------------------------------
# Rows of relative frequencies: checked once, and compared in blocks that stay in the cache.


RowDistance: TypeAlias = "Callable[[Float64, Float64], Float64]"
"""Frequencies (..., D, B) of two sets to values (..., D)."""

_BLOCK: Final = 1 << 13
"""Frequencies compared at once: temporary arrays of 64 KB stay in the cache, and are small enough
for the memory allocator to use again; from about 128 KB on each costs page faults."""

_TOLERANCE: Final = 1e-9
"""How far a row of frequencies may be from a sum of 1 by rounding."""


def rowwise(least: float = 1.0) -> Callable[[RowDistance], RowDistance]:
    """Let a distance between rows (M, B) take any leading axes, checked and in blocks.

    Parameters
    ----------
    least : float
        Least sum of a row: 1, or 0 where literal counts may leave values out.

    Returns
    -------
    decorator
        Of a function of two arrays of rows (M, B), float64, that returns (M,). The decorated one
        takes (..., B) and returns (...); it raises ArgumentError if the shapes differ or a row
        holds no relative frequencies. Its temporary arrays do not grow with the input.
    """

    def decorate(distance: RowDistance) -> RowDistance:
        @wraps(distance)
        def measured(p: Float64, q: Float64) -> Float64:
            _check_shapes(p, q)
            bins = p.shape[-1]
            rows, others = p.reshape(-1, bins), q.reshape(-1, bins)
            values = np.empty(len(rows), dtype=np.float64)
            step = max(1, _BLOCK // bins)
            for start in range(0, len(rows), step):
                block = slice(start, start + step)
                _check_sums(rows[block], least)
                _check_sums(others[block], least)
                values[block] = distance(rows[block], others[block])
            return values.reshape(p.shape[:-1])

        return measured

    return decorate


def _check_shapes(p: Float64, q: Float64) -> None:
    if p.shape != q.shape or p.ndim == 0 or p.shape[-1] == 0:
        raise ArgumentError(
            f"distance: frequencies have shapes {p.shape} and {q.shape}; expected the same "
            "(D, B); count both with the same bins"
        )


def _check_sums(rows: Float64, least: float) -> None:
    sums = rows.sum(axis=-1)
    within = (sums >= least - _TOLERANCE) & (sums <= 1.0 + _TOLERANCE)
    if not within.all() or rows.min() < 0:
        raise ArgumentError(
            f"distance: rows sum to {sums.min():g}..{sums.max():g}, expected relative "
            f"frequencies that sum to {'1' if least else 'at most 1'}; divide the counts by "
            "their number ('frequencies')"
        )


# -------------------------------------------------------------------------------------------------
# Distances that compare binned distributions bin by bin, beside those of the paper.
#
# All take relative frequencies ``p, q`` (..., D, B), float64, over the same bins, rows that sum to
# 1, and return float64 (..., D). All raise ArgumentError if the shapes differ or a row does not sum
# to 1. The order of the bins does not matter to them.


EPSILON: Final = 1e-6
"""Weight of the uniform distribution that :func:`kullback_leibler` mixes into both rows.

Below the share of one value of a usual set (1 of 51,200 is 2e-5), so that what was seen counts;
the same for every set, so that values of sets of different size compare.
"""


@rowwise()
def jensen_shannon(p: Float64, q: Float64) -> Float64:
    """Jensen-Shannon distance of each channel: root of the divergence to base 2.

    Parameters
    ----------
    p, q : float64, shape (..., D, B)
        Relative frequencies over the same bins; each row sums to 1.

    Returns
    -------
    float64, shape (..., D)
        In [0, 1], dimensionless; 0 where the rows agree, 1 where they share no bin. A metric.

    Raises
    ------
    ArgumentError
        If the shapes differ or a row does not sum to 1.

    Notes
    -----
    With s = p + q and t = |p - q| / s, a bin adds s/4 (log(1 - t^2) + 2 t artanh t) / log 2. No
    bin is negative in this form, so the root exists, and equal rows are at exactly 0; in the usual
    one, p log(p/m) + q log(q/m), terms of both signs cancel.

    References
    ----------
    D. M. Endres and J. E. Schindelin, "A new metric for probability distributions", IEEE Trans
    Inf Theory 49(7), 2003. Same value as ``scipy.spatial.distance.jensenshannon(p, q, base=2)``.

    Examples
    --------
    >>> jensen_shannon(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))
    array([1.])
    """
    both = p + q
    part = np.abs(p - q)
    np.divide(part, both, out=part, where=both > 0)
    apart = part == 1.0
    part[apart] = 0.0
    bins = 2.0 * part * np.arctanh(part) + np.log1p(-np.square(part))
    bins[apart] = 2.0 * np.log(2.0)  # the limit
    divergence = (both * bins).sum(axis=-1) / (4.0 * np.log(2.0))
    return np.asarray(np.sqrt(np.minimum(divergence, 1.0)))


@rowwise()
def total_variation(p: Float64, q: Float64) -> Float64:
    """Total variation distance of each channel: half the sum of abs(p - q).

    Parameters
    ----------
    p, q : float64, shape (..., D, B)
        Relative frequencies over the same bins; each row sums to 1.

    Returns
    -------
    float64, shape (..., D)
        In [0, 1]: the share of values that would have to move to other bins. A metric.

    Raises
    ------
    ArgumentError
        If the shapes differ or a row does not sum to 1.

    Examples
    --------
    >>> total_variation(np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]]))
    array([0.25])
    """
    return np.asarray(np.minimum(np.abs(p - q).sum(axis=-1) / 2, 1.0))


@rowwise()
def kullback_leibler(p: Float64, q: Float64) -> Float64:
    """Kullback-Leibler divergence KL(p || q) of each channel, smoothed, in nats.

    Parameters
    ----------
    p : float64, shape (..., D, B)
        Relative frequencies of the reference; each row sums to 1.
    q : float64, shape (..., D, B)
        Relative frequencies of the other set over the same bins.

    Returns
    -------
    float64, shape (..., D)
        In nats (``scipy.stats.entropy``'s default), not negative, 0 where the rows agree. At most
        log(1 + (1 - e) B / e), e = EPSILON, for rows that share no bin: 18.4 for B = 100.

    Raises
    ------
    ArgumentError
        If the shapes differ or a row does not sum to 1.

    Notes
    -----
    Asymmetric: it asks how badly ``q`` explains values of the reference ``p``, and KL(q || p) is
    another number. Not a metric, and no channel's value is comparable with a bounded distance.

    Plain KL is infinite as soon as one bin of the reference is empty in the other set, which a
    single value does. Both rows are therefore mixed with the uniform distribution,
    (1 - e) p + e / B. A bin with share s of the reference that is empty in the other set then adds
    about s log(s B / e): results depend on the choice of e through such bins.

    Examples
    --------
    >>> kullback_leibler(np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]])).round(4)
    array([0.1438])
    >>> kullback_leibler(np.array([[0.25, 0.75]]), np.array([[0.5, 0.5]])).round(4)
    array([0.1308])
    """
    uniform = EPSILON / p.shape[-1]
    reference = (1.0 - EPSILON) * p + uniform
    ratio = ((1.0 - EPSILON) * q + uniform) / reference
    # Both rows sum to 1, so p (q/p - 1) may be added; then no bin is negative.
    bins = reference * np.maximum(ratio - 1.0 - np.log(ratio), 0.0)
    return np.asarray(bins.sum(axis=-1))


# -------------------------------------------------------------------------------------------------
# Distances that compare cumulated frequencies: the order of the bins matters to them.


@rowwise()
def kolmogorov_smirnov(p: Float64, q: Float64) -> Float64:
    """Kolmogorov-Smirnov statistic of each channel, at the edges of the bins.

    Parameters
    ----------
    p, q : float64, shape (..., D, B)
        Relative frequencies over the same bins, in the order of the values; each row sums to 1.

    Returns
    -------
    float64, shape (..., D)
        In [0, 1], dimensionless: the largest difference of the cumulated frequencies. A metric.

    Raises
    ------
    ArgumentError
        If the shapes differ or a row does not sum to 1.

    Notes
    -----
    A lower bound of the statistic of the unbinned values, as differences inside of a bin are not
    seen; equal to it where each bin holds one value.

    Examples
    --------
    >>> kolmogorov_smirnov(np.array([[0.5, 0.5, 0.0]]), np.array([[0.25, 0.25, 0.5]]))
    array([0.5])
    """
    return np.asarray(np.minimum(_gaps(p, q).max(axis=-1, initial=0.0), 1.0))


@rowwise()
def binned_wasserstein(p: Float64, q: Float64) -> Float64:
    """Wasserstein-1 distance of each channel between binned distributions.

    Parameters
    ----------
    p, q : float64, shape (..., D, B)
        Relative frequencies over the same bins, in the order of the values; each row sums to 1.

    Returns
    -------
    float64, shape (..., D)
        In [0, 1 - 1/B], dimensionless: the mean way that a value has to go, in shares of the joint
        range. A metric.

    Raises
    ------
    ArgumentError
        If the shapes differ or a row does not sum to 1.

    Notes
    -----
    The distance from one bin to the next is 1/B. With bins of equal width that is a share of the
    channel's range; with quantile bins it is a share of the pooled values, so the result is in
    ranks. Values count as if they lay in the middle of their bin, which moves each by half a bin
    at most; without bins and in the unit of the activations: ``samples.wasserstein``.

    Examples
    --------
    >>> binned_wasserstein(np.array([[1.0, 0.0, 0.0, 0.0]]), np.array([[0.0, 0.0, 1.0, 0.0]]))
    array([0.5])
    """
    bins = p.shape[-1]
    return np.asarray(np.minimum(_gaps(p, q).sum(axis=-1), bins - 1) / bins)


def _gaps(p: Float64, q: Float64) -> Float64:
    """Differences of the cumulated frequencies (M, B) at the inner edges, (M, B - 1)."""
    return np.abs(np.cumsum((p - q)[:, :-1], axis=-1))


@dataclass(frozen=True, slots=True)
class Distance:
    """A distance between binned distributions, and what statistics must know of it.

    Attributes
    ----------
    function : callable
        Relative frequencies (..., D, B) of the reference and of another set, float64, to values
        (..., D), float64.
    squared : bool
        The square is a mean over bins, so a correction of bias works on the square; otherwise on
        the value itself.
    symmetric : bool
        Swapping the sets changes nothing.
    bounded : bool
        Values are in [0, 1].
    pooled : bool
        It is estimated on pooled bins (`skiptool.distances.binned`). Distances between
        cumulated frequencies are not: they depend on where bins lie, and hardly on empty ones.
    """

    function: RowDistance
    squared: bool = False
    symmetric: bool = True
    bounded: bool = True
    pooled: bool = True


@rowwise(least=0.0)
def bhattacharyya(p: Float64, q: Float64) -> Float64:
    """Bhattacharyya coefficient of each feature channel, eq. (8).

    Parameters
    ----------
    p, q : float64, shape (..., D, B)
        Relative frequencies over the same bins; each row sums to 1, or to less where literal
        counts leave values out.

    Returns
    -------
    float64, shape (..., D)
        Dimensionless; 1 where the rows agree (up to rounding), 0 where they share no bin.

    Raises
    ------
    ArgumentError
        If the shapes differ or a row holds no frequencies.

    Examples
    --------
    >>> bhattacharyya(np.array([[0.5, 0.5]]), np.array([[0.5, 0.5]]))
    array([1.])
    """
    return np.asarray(np.sqrt(p * q).sum(axis=-1))


@rowwise()
def bhattacharyya_complement(p: Float64, q: Float64) -> Float64:
    """Complement of the Bhattacharyya coefficient of each channel, 1 - BC of eq. (8).

    Parameters
    ----------
    p, q : float64, shape (..., D, B)
        Relative frequencies over the same bins; each row sums to 1.

    Returns
    -------
    float64, shape (..., D)
        In [0, 1], dimensionless: the square of :func:`hellinger`. Not a metric.

    Raises
    ------
    ArgumentError
        If the shapes differ or a row does not sum to 1.

    Notes
    -----
    Not -log(BC), which statistics call the Bhattacharyya distance: that is infinite for a channel
    whose sets share no bin, and one such channel would make the mean of a layer, eq. (10),
    infinite. The drift detector of frouros reports 1 - BC under this name as well.

    Examples
    --------
    >>> bhattacharyya_complement(np.array([[0.5, 0.5, 0.0]]), np.array([[0.5, 0.0, 0.5]]))
    array([0.5])
    """
    return _half_squared_roots(p, q)


@rowwise()
def hellinger(p: Float64, q: Float64) -> Float64:
    """Hellinger distance of each feature channel, eqs. (8) and (9).

    Parameters
    ----------
    p, q : float64, shape (..., D, B)
        Relative frequencies over the same bins; each row sums to 1.

    Returns
    -------
    float64, shape (..., D)
        In [0, 1], dimensionless; 0 where the rows agree, 1 where they share no bin.

    Raises
    ------
    ArgumentError
        If the shapes differ or a row does not sum to 1.

    Notes
    -----
    For rows that sum to 1, eq. (9) equals the root of half the sum of (sqrt p - sqrt q)^2. That
    form is used: it is never negative, and exactly 0 for equal rows, where rounding can lift
    eq. (8) above 1. Rounding above 1 is clipped.

    Examples
    --------
    >>> hellinger(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))
    array([1.])
    """
    return np.asarray(np.sqrt(_half_squared_roots(p, q)))


def hellinger_literal(p: Float64, q: Float64) -> Float64:
    """Hellinger distance as eqs. (8) and (9) are printed, for frequencies of literal counts.

    Parameters
    ----------
    p, q : float64, shape (..., D, B)
        Relative frequencies over the same bins; rows may sum to less than 1, down to 0.

    Returns
    -------
    float64, shape (..., D)
        In [0, 1]; 1 for a channel that is constant over both sets, and the root of the share of
        values at the joint maximum for two equal sets.

    Raises
    ------
    ArgumentError
        If the shapes differ or a row holds no frequencies.

    Notes
    -----
    For audit only. Rounding can lift eq. (8) above 1, so it is clipped before the root.

    Examples
    --------
    >>> hellinger_literal(np.array([[0.0, 0.0]]), np.array([[0.0, 0.0]]))
    array([1.])
    """
    return np.asarray(np.sqrt(np.maximum(1.0 - bhattacharyya(p, q), 0.0)))


def layer_mean(values: Float64, constant: Bool) -> tuple[float, float]:
    """Mean distance of a layer over all channels, eq. (10), and over the live ones.

    Parameters
    ----------
    values : float64, shape (D,)
        Distance of each channel.
    constant : bool, shape (D,)
        Channels that are constant over both sets.

    Returns
    -------
    mean, live : float
        ``live`` leaves the constant channels out; NaN where all are constant.

    Raises
    ------
    ArgumentError
        If the shapes differ or there is no channel.

    Examples
    --------
    >>> layer_mean(np.array([0.25, 0.0]), np.array([False, True]))
    (0.125, 0.25)
    """
    if values.ndim != 1 or not values.size or values.shape != constant.shape:
        raise ArgumentError(
            f"layer mean: values {values.shape} and constant channels {constant.shape}; expected "
            "the same (D,) of at least one channel"
        )
    live = values[~constant]
    return float(values.mean()), float(live.mean()) if live.size else float("nan")


def _half_squared_roots(p: Float64, q: Float64) -> Float64:
    roots = np.sqrt(p)
    roots -= np.sqrt(q)
    np.square(roots, out=roots)
    return np.asarray(np.minimum(roots.sum(axis=-1) / 2, 1.0))


DISTANCES: Final[Mapping[Metric, Distance]] = {
    Metric.HELLINGER: Distance(hellinger, squared=True),
    Metric.BHATTACHARYYA: Distance(bhattacharyya_complement),
    Metric.JENSEN_SHANNON: Distance(jensen_shannon, squared=True),
    Metric.TOTAL_VARIATION: Distance(total_variation),
    Metric.KL: Distance(kullback_leibler, symmetric=False, bounded=False),
    Metric.KOLMOGOROV_SMIRNOV: Distance(kolmogorov_smirnov, pooled=False),
    Metric.WASSERSTEIN: Distance(binned_wasserstein, pooled=False),
}
"""Distances on bins, by name; those without bins are in ``samples`` and ``keys``."""


# -------------------------------------------------------------------------------------------------
# Bins pooled until enough units reach each of them.
#
# A distance between binned distributions is estimated with little bias only where every bin is
# reached by several units (images or subjects). The tails of heavy-tailed channels and the positive
# part of sparse ones are not: most of their bins hold values of one image, and what one set has
# there
# and the other lacks counts as distance. So neighbouring bins are pooled, from the lowest to the
# highest, until each pooled bin is reached by enough units. What is estimated is then the distance
# between the two populations on the pooled bins, which is never larger than that on all bins.
#
# The rule looks at both sets together and not at which unit belongs to which, so it does not favour
# a difference.


REACHED: Final = 2.5
"""Units of the smaller set that are expected to reach each pooled bin. Chosen by simulation on
the populations ``TUNED`` and checked on ``HELD_OUT`` (``tests/benchmarks/calibration.py``)."""


LEAST: Final = 1.0 - 1e-9
"""Allows for rounding, so that the order of the units does not matter where the need is just met,
as by five pairs that share a bin equally."""


def pooled_bins(a: AnyArray, b: AnyArray, *, paired: bool) -> Int64:
    """Assign each bin to a pooled bin.

    Parameters
    ----------
    a, b : uint16 or uint32, shapes (U, D, B) and (V, D, B)
        Counts of the units of both sets. All units of a set hold equally many values, or nearly.
    paired : bool
        Unit i of both sets is one unit.

    Returns
    -------
    int64, shape (D, B)
        Number of the pooled bin of each bin, rising from 0 in each channel. A channel whose values
        too few units share has a single pooled bin, and nothing can be estimated of it.

    Notes
    -----
    The number of units that reach a pooled bin is the effective one, (sum of f)^2 / sum of f^2
    over the frequencies f of the units in it (Kish 1965, Survey Sampling, section 11.7): a unit
    that holds most of a bin counts for most of it. Every pooled bin is reached by ``REACHED``
    (U + V) / min(U, V) of the pooled units, or by 2 ``REACHED`` of the pairs.
    """
    units = len(a) if paired else len(a) + len(b)
    need = 2.0 * REACHED if paired else REACHED * units / min(len(a), len(b))
    first, second = (len(each) / float(each[:, 0].sum(dtype=np.int64)) for each in (a, b))
    found = np.zeros(a.shape[1:], np.int64)
    _assign(a, b, paired, np.array([first, second]), need, np.zeros(units), found)
    return found


def pool_bins(counts: AnyArray, bins: Int64) -> AnyArray:
    """Add up counts (U, D, B) over the pooled bins (D, B): counts (U, D, B) of the same type.

    Bins after the last pooled one are empty. A narrower array, as wide as these channels need,
    would not do: the rounding of sums, and Kullback-Leibler's smoothing, would depend on
    which channels are processed together.
    """
    pooled = np.zeros(counts.shape, counts.dtype)
    _add(np.ascontiguousarray(counts), bins, pooled)
    return pooled


@compiled
def _assign(
    a: AnyArray,
    b: AnyArray,
    paired: bool,
    scales: Float64,
    need: float,
    held: Float64,
    found: Int64,
) -> None:
    """Write the number of the pooled bin of each bin; ``held`` (units) is scratch."""
    for d in range(found.shape[0]):
        pooled = 0
        held[:] = 0.0
        for k in range(found.shape[1]):
            found[d, k] = pooled
            total, squares = 0.0, 0.0
            for u in range(held.size):
                if paired:
                    held[u] += scales[0] * a[u, d, k] + scales[1] * b[u, d, k]
                elif u < a.shape[0]:
                    held[u] += scales[0] * a[u, d, k]
                else:
                    held[u] += scales[1] * b[u - a.shape[0], d, k]
                total += held[u]
                squares += held[u] * held[u]
            if total * total >= need * squares * LEAST and squares > 0.0:
                pooled += 1
                held[:] = 0.0
        if pooled > 0:  # too few units reach what is left over: it joins the last pooled bin
            for k in range(found.shape[1]):
                found[d, k] = min(found[d, k], pooled - 1)


@compiled
def _add(counts: AnyArray, bins: Int64, pooled: AnyArray) -> None:
    for u in range(counts.shape[0]):
        for d in range(counts.shape[1]):
            for k in range(counts.shape[2]):
                pooled[u, d, bins[d, k]] += counts[u, d, k]
