"""Inner loops of resampling: sums over relabelled units, distances without one unit; by numba.

Each channel is worked off by itself, in scratch that fits into a core's cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skiptool.distances.compiled import compiled

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float64, Int64

__all__ = ["left_out_hellinger", "permuted_hellinger", "permuted_totals"]

_SMALL = 1e-4
"""H^2 below which the root of eq. (9) shows the rounding of eq. (8), which would part ties."""


@compiled
def _gather(counts: AnyArray, channel: int, pool: AnyArray, first: int) -> None:
    """Copy one channel of counts (U, D, B) into rows of the pool, from row ``first`` on."""
    for u in range(counts.shape[0]):
        for b in range(counts.shape[2]):
            pool[first + u, b] = counts[u, channel, b]


@compiled
def _clear(row: AnyArray) -> None:
    for w in range(row.size):
        row[w] = 0


@compiled
def _add_rows(pool: AnyArray, numbers: AnyArray, first: int, last: int, total: AnyArray) -> None:
    """Add the rows of a pool whose numbers stand from ``first`` to ``last``, four at a time."""
    i = first
    while i + 4 <= last:
        a, b, c, d = numbers[i], numbers[i + 1], numbers[i + 2], numbers[i + 3]
        for w in range(total.size):
            total[w] += pool[a, w] + pool[b, w] + pool[c, w] + pool[d, w]
        i += 4
    while i < last:
        a = numbers[i]
        for w in range(total.size):
            total[w] += pool[a, w]
        i += 1


@compiled
def _sum_chosen(
    pool: AnyArray, chosen: AnyArray, bounds: AnyArray, narrow: AnyArray, sums: Int64
) -> None:
    """Sum the chosen rows of a pool (U, W), R times, into ``sums`` (R, W).

    ``chosen`` (R, n) holds rising row numbers; ``bounds`` (R, S + 1) cuts them into stretches of
    rows so near that they stay in the cache and so few that ``narrow`` (W), of the pool's own
    type, cannot overflow.
    """
    for r in range(chosen.shape[0]):
        _clear(sums[r])
    for stretch in range(bounds.shape[1] - 1):
        for r in range(chosen.shape[0]):
            _clear(narrow)
            _add_rows(pool, chosen[r], bounds[r, stretch], bounds[r, stretch + 1], narrow)
            for w in range(narrow.size):
                sums[r, w] += narrow[w]


@compiled
def _square(shared: float, values: float, others: float) -> float:
    """H^2 from sums over bins, eqs. (8) and (9); NaN where a set holds nothing."""
    if values == 0.0 or others == 0.0:
        return np.nan
    return float(max(1.0 - shared / np.sqrt(values * others), 0.0))


@compiled
def _between(p: Int64, q: Int64) -> float:
    """Hellinger distance of two rows of counts, eqs. (8) and (9)."""
    values, others, shared = 0.0, 0.0, 0.0
    for b in range(p.size):
        x, y = np.float64(p[b]), np.float64(q[b])
        values += x
        others += y
        shared += np.sqrt(x * y)
    square = _square(shared, values, others)
    if square < _SMALL:
        square = 0.0
        for b in range(p.size):
            square += (np.sqrt(p[b] / values) - np.sqrt(q[b] / others)) ** 2 / 2.0
    return float(np.sqrt(square))


@compiled
def permuted_totals(
    a: AnyArray, b: AnyArray, chosen: AnyArray, bounds: AnyArray, narrow: AnyArray, sums: Int64
) -> None:
    """Sum the chosen of the pooled units (a, then b) for each channel and relabelling.

    ``a`` (U, D, B) and ``b`` (V, D, B) are of one unsigned type, ``narrow`` (W) too, W >= B;
    ``sums`` is int64 (D, R, W).
    """
    pool = np.zeros((a.shape[0] + b.shape[0], narrow.size), narrow.dtype)
    for d in range(a.shape[1]):
        _gather(a, d, pool, 0)
        _gather(b, d, pool, a.shape[0])
        _sum_chosen(pool, chosen, bounds, narrow, sums[d])


@compiled
def permuted_hellinger(
    a: AnyArray,
    b: AnyArray,
    chosen: AnyArray,
    bounds: AnyArray,
    narrow: AnyArray,
    distances: Float64,
) -> None:
    """Write the Hellinger distance (D, R) between the chosen units and the rest."""
    pool = np.zeros((a.shape[0] + b.shape[0], narrow.size), narrow.dtype)
    sums = np.empty((chosen.shape[0], narrow.size), np.int64)
    total = np.empty(narrow.size, np.int64)
    rest = np.empty(narrow.size, np.int64)
    for d in range(a.shape[1]):
        _gather(a, d, pool, 0)
        _gather(b, d, pool, a.shape[0])
        _clear(total)
        for u in range(pool.shape[0]):
            for w in range(total.size):
                total[w] += pool[u, w]
        _sum_chosen(pool, chosen, bounds, narrow, sums)
        for r in range(chosen.shape[0]):
            for w in range(total.size):
                rest[w] = total[w] - sums[r, w]
            distances[d, r] = _between(sums[r], rest)


@compiled
def _without(counts: AnyArray, channel: int, p: Int64, q: Int64, squares: Float64) -> None:
    """Write H^2 (U) between p without each unit's counts and q."""
    root = np.empty(q.size)
    others = 0.0
    for b in range(q.size):
        root[b] = np.sqrt(np.float64(q[b]))
        others += q[b]
    for u in range(counts.shape[0]):
        shared, values = 0.0, 0.0
        for b in range(p.size):
            left = np.float64(p[b] - counts[u, channel, b])
            values += left
            shared += np.sqrt(left) * root[b]
        squares[u] = _square(shared, values, others)


@compiled
def _without_pairs(
    a: AnyArray, b: AnyArray, channel: int, p: Int64, q: Int64, squares: Float64
) -> None:
    """Write H^2 (U) between p and q, each without its half of each pair of units."""
    for u in range(a.shape[0]):
        shared, values, others = 0.0, 0.0, 0.0
        for k in range(p.size):
            x = np.float64(p[k] - a[u, channel, k])
            y = np.float64(q[k] - b[u, channel, k])
            values += x
            others += y
            shared += np.sqrt(x * y)
        squares[u] = _square(shared, values, others)


@compiled
def left_out_hellinger(
    a: AnyArray, b: AnyArray, paired: bool, without_a: Float64, without_b: Float64
) -> None:
    """Write H^2 without each unit of a (D, U) and of b (D, V), of pairs only the first."""
    p = np.empty(a.shape[2], np.int64)
    q = np.empty(a.shape[2], np.int64)
    for d in range(a.shape[1]):
        _clear(p)
        _clear(q)
        for u in range(a.shape[0]):
            for k in range(p.size):
                p[k] += a[u, d, k]
        for v in range(b.shape[0]):
            for k in range(q.size):
                q[k] += b[v, d, k]
        if paired:
            _without_pairs(a, b, d, p, q, without_a[d])
        else:
            _without(a, d, p, q, without_a[d])
            _without(b, d, q, p, without_b[d])
