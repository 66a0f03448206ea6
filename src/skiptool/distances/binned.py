"""Distances between binned distributions, eqs. (8) to (10), and pooling of sparsely filled bins.

Every distance takes relative frequencies ``p, q`` (..., D, B), float64, over the same bins, with
rows that sum to 1, and returns float64 (..., D).

To add a distance: add its word and label to `skiptool.names.Metric`, write its function here,
decorated with :func:`rowwise`, enter it with its properties in :data:`DISTANCES`, and write its
definition in ``tests/definitions.py``, by which the tests of all distances measure it. Options,
help, completion, null distributions, bias correction, tables and reports follow from these.

Pooling. A distance between binned distributions is estimated with little bias only if several
units (images or subjects) reach every bin. The tails of heavy-tailed channels and the positive part
of sparse ones violate this: most of their bins hold values of a single image, and values that one
set has there and the other lacks count as distance. Neighbouring bins are therefore pooled, from
the lowest to the highest, until enough units reach each pooled bin. The quantity estimated is then
the distance between the two populations on the pooled bins, which never exceeds that on all bins.
The rule treats both sets as one, so it does not favour a difference between them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from skiptool.distances.kernels import compiled
from skiptool.names import Metric

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Float64, Int64
from typing import TYPE_CHECKING, Any

from skiptool.distances.counting import frequencies
from skiptool.distances.kernels import left_out_hellinger, permuted_hellinger, permuted_totals

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float64

RowDistance: TypeAlias = "Callable[[Float64, Float64], Float64]"
"""Maps frequencies (..., D, B) of two sets to values (..., D)."""

_BLOCK: Final = 1 << 13
"""Frequencies compared at once. Temporary arrays of 64 KB stay in the cache and are reused by the
memory allocator; from about 128 KB on, each costs page faults."""


@dataclass(frozen=True, slots=True)
class Distance:
    """A distance between binned distributions, with the properties that statistics rely on.

    Attributes
    ----------
    function : callable
        Relative frequencies (..., D, B) of the reference and of another set, float64, to values
        (..., D), float64.
    squared : bool
        Correct the bias of the square, which is a mean over bins, rather than of the value.
    symmetric : bool
        Swapping the sets changes nothing.
    bounded : bool
        Values are in [0, 1].
    pooled : bool
        Estimate it on pooled bins. Distances between cumulative frequencies are not: they depend
        on where bins lie, and hardly on empty ones.
    """

    function: RowDistance
    squared: bool = False
    symmetric: bool = True
    bounded: bool = True
    pooled: bool = True


def rowwise(distance: RowDistance) -> RowDistance:
    """Extend a distance between rows (M, B) to any leading axes, in blocks.

    The decorated function takes (..., B) and returns (...). Its temporary arrays do not grow with
    the input.
    """

    @wraps(distance)
    def by_rows(p: Float64, q: Float64) -> Float64:
        bins = p.shape[-1]
        rows, others = p.reshape(-1, bins), q.reshape(-1, bins)
        values = np.empty(len(rows), dtype=np.float64)
        step = max(1, _BLOCK // bins)
        for start in range(0, len(rows), step):
            block = slice(start, start + step)
            values[block] = distance(rows[block], others[block])
        return values.reshape(p.shape[:-1])

    return by_rows


# Distances that compare bin by bin: the order of the bins does not matter.


@rowwise
def bhattacharyya(p: Float64, q: Float64) -> Float64:
    """Bhattacharyya coefficient of each channel, eq. (8).

    1 where the rows agree (up to rounding), 0 where they share no bin. Rows may sum to less than 1
    where literal counts leave values out.

    Examples
    --------
    >>> bhattacharyya(np.array([[0.5, 0.5]]), np.array([[0.5, 0.5]]))
    array([1.])
    """
    return np.asarray(np.sqrt(p * q).sum(axis=-1))


@rowwise
def bhattacharyya_complement(p: Float64, q: Float64) -> Float64:
    """Complement of the Bhattacharyya coefficient of each channel, 1 - BC of eq. (8).

    In [0, 1]: the square of :func:`hellinger`. Not a metric.

    Notes
    -----
    Not -log(BC), the Bhattacharyya distance of the statistics literature: that is infinite for a
    channel whose sets share no bin, and one such channel would make the mean of a layer, eq. (10),
    infinite. The drift detector of frouros reports 1 - BC under this name as well.

    Examples
    --------
    >>> bhattacharyya_complement(np.array([[0.5, 0.5, 0.0]]), np.array([[0.5, 0.0, 0.5]]))
    array([0.5])
    """
    return _half_squared_roots(p, q)


@rowwise
def hellinger(p: Float64, q: Float64) -> Float64:
    """Hellinger distance of each channel, eqs. (8) and (9).

    In [0, 1]: 0 where the rows agree, 1 where they share no bin. A metric.

    Notes
    -----
    For rows that sum to 1, eq. (9) equals the root of half the sum of (sqrt p - sqrt q)^2. That
    form is used because it is never negative and is exactly 0 for equal rows, where rounding can
    lift eq. (8) above 1. Rounding above 1 is clipped.

    Examples
    --------
    >>> hellinger(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))
    array([1.])
    """
    return np.asarray(np.sqrt(_half_squared_roots(p, q)))


def hellinger_literal(p: Float64, q: Float64) -> Float64:
    """Hellinger distance as eqs. (8) and (9) are printed, for frequencies of literal counts.

    For audit only. In [0, 1]; 1 for a channel that is constant over both sets, and the root of the
    fraction of values at the joint maximum for two equal sets. Rows may sum to less than 1, down to
    0. Rounding can lift eq. (8) above 1, so it is clipped before the root.

    Examples
    --------
    >>> hellinger_literal(np.array([[0.0, 0.0]]), np.array([[0.0, 0.0]]))
    array([1.])
    """
    return np.asarray(np.sqrt(np.maximum(1.0 - bhattacharyya(p, q), 0.0)))


def _half_squared_roots(p: Float64, q: Float64) -> Float64:
    roots = np.sqrt(p)
    roots -= np.sqrt(q)
    np.square(roots, out=roots)
    return np.asarray(np.minimum(roots.sum(axis=-1) / 2, 1.0))


@rowwise
def jensen_shannon(p: Float64, q: Float64) -> Float64:
    """Jensen-Shannon distance of each channel: root of the divergence to base 2.

    In [0, 1]: 0 where the rows agree, 1 where they share no bin. A metric.

    Notes
    -----
    With s = p + q and t = |p - q| / s, a bin adds s/4 (log(1 - t^2) + 2 t artanh t) / log 2. In
    this form no bin is negative, so the root exists and equal rows give exactly 0; in the usual
    form, p log(p/m) + q log(q/m), terms of both signs cancel.

    References
    ----------
    D. M. Endres and J. E. Schindelin, "A new metric for probability distributions", IEEE Trans
    Inf Theory 49(7), 2003. Same value as ``scipy.spatial.distance.jensenshannon(p, q, base=2)``.

    Examples
    --------
    >>> jensen_shannon(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))
    array([1.])
    """
    s = p + q
    t = np.abs(p - q)
    np.divide(t, s, out=t, where=s > 0)
    disjoint = t == 1.0
    t[disjoint] = 0.0
    bins = 2.0 * t * np.arctanh(t) + np.log1p(-np.square(t))
    bins[disjoint] = 2.0 * np.log(2.0)  # the limit
    divergence = (s * bins).sum(axis=-1) / (4.0 * np.log(2.0))
    return np.asarray(np.sqrt(np.minimum(divergence, 1.0)))


@rowwise
def total_variation(p: Float64, q: Float64) -> Float64:
    """Total variation distance of each channel: half the sum of abs(p - q).

    In [0, 1]: the fraction of values that would have to move to other bins. A metric.

    Examples
    --------
    >>> total_variation(np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]]))
    array([0.25])
    """
    return np.asarray(np.minimum(np.abs(p - q).sum(axis=-1) / 2, 1.0))


EPSILON: Final = 1e-6
"""Weight of the uniform distribution that :func:`kullback_leibler` mixes into both rows.

It is below the frequency of a single value in a typical set (1 of 51,200 is 2e-5), so observed
values dominate, and the same for every set, so values of sets of different sizes are comparable.
"""


@rowwise
def kullback_leibler(p: Float64, q: Float64) -> Float64:
    """Kullback-Leibler divergence KL(p || q) of each channel, smoothed, in nats.

    Non-negative, 0 where the rows agree. At most log(1 + (1 - e) B / e), e = EPSILON, for rows that
    share no bin: 18.4 for B = 100.

    Notes
    -----
    Asymmetric: it measures how badly ``q`` explains values of the reference ``p``; KL(q || p)
    differs. Not a metric, and not comparable with a bounded distance.

    Plain KL is infinite as soon as one bin of the reference is empty in the other set, for which a
    single value suffices. Both rows are therefore mixed with the uniform distribution,
    (1 - e) p + e / B. A bin with frequency s in the reference that is empty in the other set then
    adds about s log(s B / e): results depend on the choice of e through such bins.

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
    # Both rows sum to 1, so adding p (q/p - 1) changes nothing, and no bin is negative.
    bins = reference * np.maximum(ratio - 1.0 - np.log(ratio), 0.0)
    return np.asarray(bins.sum(axis=-1))


# Distances that compare cumulative frequencies: the order of the bins matters.


@rowwise
def kolmogorov_smirnov(p: Float64, q: Float64) -> Float64:
    """Kolmogorov-Smirnov statistic of each channel, at the edges of the bins.

    In [0, 1]: the largest difference of the cumulative frequencies. A metric. A lower bound of the
    statistic of the unbinned values, as differences within a bin are invisible; equal to it where
    each bin holds one value.

    Examples
    --------
    >>> kolmogorov_smirnov(np.array([[0.5, 0.5, 0.0]]), np.array([[0.25, 0.25, 0.5]]))
    array([0.5])
    """
    return np.asarray(np.minimum(_cumulative_differences(p, q).max(axis=-1, initial=0.0), 1.0))


@rowwise
def binned_wasserstein(p: Float64, q: Float64) -> Float64:
    """Wasserstein-1 distance of each channel between binned distributions.

    In [0, 1 - 1/B]: the mean distance a value has to move, as a fraction of the joint range. A
    metric.

    Notes
    -----
    The distance between adjacent bins is 1/B. With bins of equal width that is a fraction of the
    channel's range; with quantile bins it is a fraction of the pooled values, so the result is in
    ranks. Values are treated as if they lay at the centre of their bin, which moves each by at most
    half a bin. `skiptool.distances.exact.wasserstein` uses no bins and has the unit of the
    activations.

    Examples
    --------
    >>> binned_wasserstein(np.array([[1.0, 0.0, 0.0, 0.0]]), np.array([[0.0, 0.0, 1.0, 0.0]]))
    array([0.5])
    """
    bins = p.shape[-1]
    return np.asarray(np.minimum(_cumulative_differences(p, q).sum(axis=-1), bins - 1) / bins)


def _cumulative_differences(p: Float64, q: Float64) -> Float64:
    """Return absolute differences of the cumulative frequencies at the inner edges, (M, B - 1)."""
    return np.abs(np.cumsum((p - q)[:, :-1], axis=-1))


DISTANCES: Final[Mapping[Metric, Distance]] = {
    Metric.HELLINGER: Distance(hellinger, squared=Metric.HELLINGER.squared),
    Metric.BHATTACHARYYA: Distance(bhattacharyya_complement),
    Metric.JENSEN_SHANNON: Distance(jensen_shannon, squared=Metric.JENSEN_SHANNON.squared),
    Metric.TOTAL_VARIATION: Distance(total_variation),
    Metric.KL: Distance(kullback_leibler, symmetric=False, bounded=False),
    Metric.KOLMOGOROV_SMIRNOV: Distance(kolmogorov_smirnov, pooled=False),
    Metric.WASSERSTEIN: Distance(binned_wasserstein, pooled=False),
}
"""Every distance on bins; those without bins are in ``exact``, ``float16`` and ``multivariate``."""


def layer_mean(values: Float64, constant: Bool) -> tuple[float, float]:
    """Mean distance of a layer over all channels, eq. (10), and over the varying ones.

    ``values`` (D,) are the distances of channels, ``constant`` (D,) channels that are constant over
    both sets. The second mean excludes the latter; NaN if all are constant.

    Examples
    --------
    >>> layer_mean(np.array([0.25, 0.0]), np.array([False, True]))
    (0.125, 0.25)
    """
    live = values[~constant]
    return float(values.mean()), float(live.mean()) if live.size else float("nan")


# Pooling of neighbouring bins until enough units reach each.

REACHED: Final = 2.5
"""Units of the smaller set that are expected to reach each pooled bin. Chosen by simulation on
the populations ``TUNED`` and checked on ``HELD_OUT`` (``tests/benchmarks/calibration.py``)."""

_ALMOST_ONE: Final = 1.0 - 1e-9
"""Tolerance for rounding, so that the order of the units does not matter if the required number is
only just reached, for example by five pairs that share a bin equally."""


def pooled_bins(a: AnyArray, b: AnyArray, *, paired: bool) -> Int64:
    """Return the index of the pooled bin of each bin, int64 (D, B), ascending from 0.

    ``a`` (U, D, B) and ``b`` (V, D, B) are counts of the units of both sets; all units of a set
    hold (nearly) equally many values. If ``paired``, units i of both sets count as one. A channel
    whose values are shared by too few units has a single pooled bin, and no estimate.

    Notes
    -----
    The number of units that reach a pooled bin is the effective sample size,
    (sum of f)^2 / sum of f^2 over the frequencies f of the units in it (Kish 1965, Survey Sampling,
    section 11.7): a unit that holds most of a bin dominates its count. Every pooled bin is reached
    by ``REACHED`` (U + V) / min(U, V) of the pooled units, or by 2 ``REACHED`` of the pairs.
    """
    units = len(a) if paired else len(a) + len(b)
    need = 2.0 * REACHED if paired else REACHED * units / min(len(a), len(b))
    scales = [len(counts) / float(counts[:, 0].sum(dtype=np.int64)) for counts in (a, b)]
    pooled = np.zeros(a.shape[1:], np.int64)
    _assign(a, b, paired, np.array(scales), need, np.zeros(units), pooled)
    return pooled


def pool_bins(counts: AnyArray, bins: Int64) -> AnyArray:
    """Sum counts (U, D, B) over the pooled bins (D, B), keeping shape and type.

    Bins after the last pooled one stay empty. A narrower array, as wide as these channels need,
    would not do: the rounding of sums, and Kullback-Leibler's smoothing, would depend on which
    channels are processed together.
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
    shares: Float64,
    index: Int64,
) -> None:
    """Write the index of the pooled bin of each bin; ``shares`` (units) is scratch."""
    for d in range(index.shape[0]):
        pooled = 0
        shares[:] = 0.0
        for k in range(index.shape[1]):
            index[d, k] = pooled
            total, squares = 0.0, 0.0
            for u in range(shares.size):
                if paired:
                    shares[u] += scales[0] * a[u, d, k] + scales[1] * b[u, d, k]
                elif u < a.shape[0]:
                    shares[u] += scales[0] * a[u, d, k]
                else:
                    shares[u] += scales[1] * b[u - a.shape[0], d, k]
                total += shares[u]
                squares += shares[u] * shares[u]
            if total * total >= need * squares * _ALMOST_ONE and squares > 0.0:
                pooled += 1
                shares[:] = 0.0
        if pooled > 0:  # too few units reach the remainder: it joins the last pooled bin
            for k in range(index.shape[1]):
                index[d, k] = min(index[d, k], pooled - 1)


@compiled
def _add(counts: AnyArray, bins: Int64, pooled: AnyArray) -> None:
    for u in range(counts.shape[0]):
        for d in range(counts.shape[1]):
            for k in range(counts.shape[2]):
                pooled[u, d, bins[d, k]] += counts[u, d, k]


# Distances of resampled sets, by permutation and leaving one out, from the counts of their units
# (an image, or all images of a subject): nothing is read or counted again.

_STRETCH: Final = 256
"""Units summed at a time: with 100 bins of 16 bits they fill half of an L2 cache."""

_LANES: Final = 32
"""Rows are padded to a multiple of 32 counters of 16 bits, one vector register."""

_LINE: Final = 64
"""Bytes of a cache line, and of the widest vector register."""


def permuted_distances(a: AnyArray, b: AnyArray, chosen: AnyArray, distance: Distance) -> Float64:
    """Distances between the chosen of the pooled units and the rest, (D, R) float64.

    Parameters
    ----------
    a, b : uint16 or uint32, shapes (U, D, B) and (V, D, B)
        Counts of the units of both sets; a unit holds the same number of values in every channel,
        so not literal counts.
    chosen : int32, shape (R, n)
        Ascending indices of units, those of ``b`` after those of ``a``.
    """
    units = len(a) + len(b)
    swapped = 2 * chosen.shape[1] > units
    if swapped:
        chosen = _complement(chosen, units)
    a, b = _common_layout(a, b)
    bounds = _bounds(chosen, units, _stretch(a, b))
    width = -(-a.shape[2] // _LANES) * _LANES
    rows = _aligned_zeros(units + 1, width, a.dtype)
    pool, narrow = rows[:-1], rows[-1]
    shape = (a.shape[1], len(chosen))
    if distance.function is hellinger:
        sums, total = np.empty((shape[1], width), np.int64), np.empty(width, np.int64)
        distances = np.empty(shape)
        permuted_hellinger(a, b, chosen, bounds, pool, narrow, sums, total, distances)
        return distances
    sums = np.empty((*shape, width), np.int64)
    permuted_totals(a, b, chosen, bounds, pool, narrow, sums)
    part = sums[:, :, : a.shape[2]]
    total = a.sum(axis=0, dtype=np.int64) + b.sum(axis=0, dtype=np.int64)
    p, q = frequencies(part), frequencies(total[:, np.newaxis] - part)
    return distance.function(q, p) if swapped else distance.function(p, q)


def leave_one_out_distances(
    a: AnyArray, b: AnyArray, distance: Distance, *, paired: bool
) -> tuple[Float64, ...]:
    """Distances without each single unit, squared where ``distance.squared``.

    Parameters
    ----------
    a, b : uint16 or uint32, shapes (U, D, B) and (V, D, B)
    paired : bool
        Leave out unit i of both sets at once.

    Returns
    -------
    tuple of float64
        (D, U) and (D, V); for pairs one array (D, U). NaN if nothing is left of a set.
    """
    if distance.function is hellinger:
        totals = np.empty((2, a.shape[2]))
        squares = np.empty((a.shape[1], len(a) + (0 if paired else len(b))))
        left_out_hellinger(*_common_layout(a, b), paired, totals[0], totals[1], squares)
        return (squares,) if paired else (squares[:, : len(a)], squares[:, len(a) :])
    p, q = a.sum(axis=0, dtype=np.int64), b.sum(axis=0, dtype=np.int64)
    pairs = [(p - a, q - b)] if paired else [(p - a, q[np.newaxis]), (p[np.newaxis], q - b)]
    units = (len(a), len(b))
    return tuple(
        _scaled(first, second, distance) if size > 1 else np.full((a.shape[1], size), np.nan)
        for size, (first, second) in zip(units, pairs, strict=False)
    )


def _scaled(p: AnyArray, q: AnyArray, distance: Distance) -> Float64:
    shape = np.broadcast_shapes(p.shape, q.shape)
    rows = [np.broadcast_to(frequencies(counts), shape) for counts in (p, q)]
    values = distance.function(rows[0], rows[1]).T
    return np.square(values) if distance.squared else values


def _common_layout(a: AnyArray, b: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Convert both to one type and contiguous rows: the layout decides the order of sums."""
    dtype = np.promote_types(a.dtype, b.dtype)
    return np.ascontiguousarray(a, dtype), np.ascontiguousarray(b, dtype)


def _stretch(a: AnyArray, b: AnyArray) -> int:
    """Return the number of units that can be summed without overflow of their type."""
    most = max(int(counts[:, 0].sum(axis=-1, dtype=np.int64).max()) for counts in (a, b))
    return max(1, min(_STRETCH, int(np.iinfo(a.dtype).max) // max(1, most)))


def _bounds(chosen: AnyArray, units: int, stretch: int) -> AnyArray:
    """Return the edges of stretches of units in each row of ``chosen``, (R, S + 1)."""
    cuts = np.arange(0, units + stretch, stretch)
    bounds = [np.searchsorted(row, cuts) for row in chosen]
    return np.asarray(bounds, dtype=np.int32).reshape(len(chosen), len(cuts))


def _aligned_zeros(number: int, width: int, dtype: np.dtype[Any]) -> AnyArray:
    """Return zeros (number, width) aligned to a cache line; unaligned sums take a third longer."""
    buffer = np.zeros((number + 1) * width, dtype)
    start = -buffer.ctypes.data % _LINE // buffer.itemsize
    return buffer[start : start + number * width].reshape(number, width)


def _complement(chosen: AnyArray, units: int) -> AnyArray:
    others = np.ones((len(chosen), units), dtype=np.bool_)
    np.put_along_axis(others, chosen.astype(np.int64), False, axis=1)
    indices = np.nonzero(others)[1].reshape(len(chosen), units - chosen.shape[1])
    return np.asarray(indices, dtype=np.int32)
