"""Inner loops of resampling: sums over relabelled units, distances without one unit; by numba.

Each channel is worked off by itself, in scratch that fits into a core's cache. Scratch is handed
in, as compiling ``np.empty`` takes as long as compiling a loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skiptool.distances.compiled import compiled, inlined

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float64, Int64

__all__ = ["left_out_hellinger", "permuted_hellinger", "permuted_totals"]

_SMALL = 1e-4
"""H^2 below which the root of eq. (9) shows the rounding of eq. (8), which would part ties."""


@inlined
def _gather(a: AnyArray, b: AnyArray, channel: int, pool: AnyArray) -> None:
    """Copy one channel of counts (U, D, B) and (V, D, B) into the rows of a pool (U + V, W)."""
    for u in range(pool.shape[0]):
        row = a[u, channel] if u < a.shape[0] else b[u - a.shape[0], channel]
        for k in range(row.size):
            pool[u, k] = row[k]


@inlined
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


@inlined
def _sum_chosen(
    pool: AnyArray, chosen: AnyArray, bounds: AnyArray, narrow: AnyArray, sums: Int64
) -> None:
    """Sum the chosen rows of a pool (U, W), R times, into ``sums`` (R, W).

    ``chosen`` (R, n) holds rising row numbers; ``bounds`` (R, S + 1) cuts them into stretches of
    rows so near that they stay in the cache and so few that ``narrow`` (W), of the pool's own
    type, cannot overflow.
    """
    for r in range(sums.shape[0]):
        for w in range(narrow.size):
            sums[r, w] = 0
    for stretch in range(bounds.shape[1] - 1):
        for r in range(chosen.shape[0]):
            for w in range(narrow.size):
                narrow[w] = 0
            _add_rows(pool, chosen[r], bounds[r, stretch], bounds[r, stretch + 1], narrow)
            for w in range(narrow.size):
                sums[r, w] += narrow[w]


@inlined
def _between(part: Int64, total: Int64) -> float:
    """Hellinger distance between part of the counts and the rest, eqs. (8) and (9).

    NaN where one holds nothing, as 0 / 0.
    """
    values, others, shared = 0.0, 0.0, 0.0
    for b in range(part.size):
        x, y = np.float64(part[b]), np.float64(total[b] - part[b])
        values += x
        others += y
        shared += np.sqrt(x * y)
    square = 1.0 - shared / np.sqrt(values * others)
    if square < _SMALL:
        square = 0.0
        for b in range(part.size):
            step = np.sqrt(part[b] / values) - np.sqrt((total[b] - part[b]) / others)
            square += step * step / 2.0
    return float(np.sqrt(square))


@compiled
def permuted_totals(
    a: AnyArray,
    b: AnyArray,
    chosen: AnyArray,
    bounds: AnyArray,
    pool: AnyArray,
    narrow: AnyArray,
    sums: Int64,
) -> None:
    """Sum the chosen of the pooled units (a, then b) for each channel and relabelling.

    ``a`` (U, D, B) and ``b`` (V, D, B) are of one unsigned type, as is the scratch: ``pool``
    (U + V, W), all 0, and ``narrow`` (W), W >= B. ``sums`` is int64 (D, R, W).
    """
    for d in range(a.shape[1]):
        _gather(a, b, d, pool)
        _sum_chosen(pool, chosen, bounds, narrow, sums[d])


@compiled
def permuted_hellinger(
    a: AnyArray,
    b: AnyArray,
    chosen: AnyArray,
    bounds: AnyArray,
    pool: AnyArray,
    narrow: AnyArray,
    sums: Int64,
    total: Int64,
    distances: Float64,
) -> None:
    """Write the Hellinger distance (D, R) between the chosen units and the rest.

    As above, but for ``sums`` (R, W) and ``total`` (W), int64: scratch as well.
    """
    for d in range(a.shape[1]):
        _gather(a, b, d, pool)
        for w in range(total.size):
            total[w] = 0
        for u in range(pool.shape[0]):
            for w in range(total.size):
                total[w] += pool[u, w]
        _sum_chosen(pool, chosen, bounds, narrow, sums)
        for r in range(chosen.shape[0]):
            distances[d, r] = _between(sums[r], total)


@inlined
def _add_up(counts: AnyArray, channel: int, total: Float64) -> None:
    """Write the sum of one channel of counts (U, D, B) over units."""
    for b in range(total.size):
        total[b] = 0.0
    for u in range(counts.shape[0]):
        for b in range(total.size):
            total[b] += counts[u, channel, b]


@compiled
def left_out_hellinger(
    a: AnyArray, b: AnyArray, paired: bool, p: Float64, q: Float64, squares: Float64
) -> None:
    """Write H^2 without each unit of a, then of b (D, U + V), or each pair of units (D, U).

    NaN where nothing is left of a set. ``p`` and ``q``, float64 (B), are scratch: the totals.
    """
    units = a.shape[0]
    for d in range(a.shape[1]):
        _add_up(a, d, p)
        _add_up(b, d, q)
        for u in range(squares.shape[1]):
            own = a[u, d] if u < units else b[u - units, d]
            partner = b[u if paired else 0, d]
            mine = p if u < units else q
            theirs = q if u < units else p
            values, others, shared = 0.0, 0.0, 0.0
            for k in range(p.size):
                x = mine[k] - own[k]
                y = theirs[k] - partner[k] if paired else theirs[k]
                values += x
                others += y
                shared += np.sqrt(x * y)
            square = 1.0 - shared / np.sqrt(values * others)
            squares[d, u] = 0.0 if square < 0.0 else square
