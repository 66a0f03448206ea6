"""Inner loops of counting and resampling, compiled by numba; numba is imported only here.

Counting turns rows of activations into rows of counts. Three things make it fast. The bin index of
every value is first computed into a buffer, a loop that the compiler vectorizes. Counting then runs
over four interleaved tables: most values after a ReLU are zero, and each increment of a single
counter would wait for the previous one. Rows are processed in memory order, image by image.

Indices are exact: floor((x - low) * B / span) by division. A product with B / span, in float32 if
the values are, is faster and differs only next to an inner edge, so a stretch of a row that holds
such a value is recomputed by division. The terms of both rules come from
`skiptool.distances.counting`.

Resampling sums counts over relabelled units, or leaves one unit out, one channel at a time, in
scratch that fits a core's cache.

All scratch is passed in, and limits are applied by ``if``: compiling ``np.empty`` or ``min`` takes
as long as compiling a loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import numpy as np

from skiptool.errors import ArgumentError

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float32, Float64, Int64

try:
    from numba import njit, version_info
except ValueError as error:  # an environment variable that numba reads on import is invalid
    raise ArgumentError(
        f"numba cannot be loaded ({error}); unset NUMBA_NUM_THREADS, or set it to 1 or more"
    ) from error


F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "fastmath": {"reassoc"},  # so that sums are vectorized; NaN and infinity keep their meaning
    "error_model": "numpy",  # x / 0 is infinite or NaN: loops without an exit are shorter
}


_QUICK_VERSIONS: Final = ((0, 59), (0, 61), (0, 64), (0, 68))
"""Versions of numba with which reading machine code without the rest of numba was tried."""


def _read_quickly(cache: Any) -> None:  # noqa: ANN401 - numba's own
    """Make a cache of machine code skip what only compiling needs.

    Before it reads anything, numba imports and registers all that it can compile (0.2 s of CPU, two
    thirds of reading the loops of a comparison). Machine code needs only the symbols of the
    runtime. This relies on private parts of numba, and a symbol missing from machine code ends the
    process, so other versions, and those without these parts, read as numba does.
    """
    read = getattr(cache, "_load_overload", None)
    guard = getattr(cache, "_guard_against_spurious_io_errors", None)
    if read is None or guard is None or version_info.short not in _QUICK_VERSIONS:
        return
    try:
        from numba.core.runtime.nrt import rtsys  # lazy: it may move in another version
    except ImportError:
        return

    def load_overload(signature: object, context: object) -> Any:  # noqa: ANN401 - numba's own
        rtsys.initialize(context)
        with guard():
            return read(signature, context)

    cache.load_overload = load_overload


def compiled(function: F) -> F:
    """Compile a function of arrays on its first call, without the GIL, and cache it on disk.

    The cache is next to the installed file, or in the user's cache folder if that is not writable.
    If neither is (read-only installations on clusters), numba refuses to cache and each process
    compiles for itself. ``NUMBA_CACHE_DIR`` sets another location.
    """
    try:
        loop = njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # numba: "no locator available"
        return cast("F", njit(**_OPTIONS)(function))
    _read_quickly(getattr(loop, "_cache", None))
    return cast("F", loop)


def inlined(function: F) -> F:
    """Inline a function into every compiled function that calls it; for parts of inner loops.

    Compiled separately, each would be optimized, turned into machine code for Python callers and
    cached, then optimized again within its caller: more than half of a first start. It must be in
    its caller's file, the only one that numba's cache watches. Called from Python, it is compiled
    on its own (for tests).
    """
    return cast("F", njit(inline="always", **_OPTIONS)(function))


_STRETCH = 256
"""Values whose indices are recomputed together."""

# Counting


@inlined
def _widen(row: AnyArray, bits: AnyArray, values: Float32) -> int:
    """Widen float16 bit patterns (K) to float32; ``bits`` and ``values`` are one buffer (K).

    Returns how many are infinite or NaN: those with all bits of the exponent set. Shifting exponent
    and fraction into position leaves a number 2**112 times too small, subnormals included.
    """
    wrong = 0
    for k in range(row.size):
        pattern = np.int32(row[k])
        wrong += (pattern & 0x7C00) == 0x7C00
        bits[k] = ((pattern & 0x7FFF) << 13) | ((pattern & 0x8000) << 16)
    for k in range(row.size):
        values[k] *= np.float32(5.192296858534828e33)
    return wrong


@inlined
def _index_by_product(
    row: AnyArray, first: int, last: int, terms: AnyArray, index: AnyArray
) -> int:
    """Write the bins of a stretch; return the number of values that need division.

    Those are near an edge, or may be out of range. Difference, scale and product each err by at
    most half a unit in the last place, so values that are not near an edge are in their bin. At the
    lower end of the range the sign of a difference is exact; towards the upper end, the largest
    position comes before the edge. ``terms`` have the type of the row; in float32 twice as many
    values are processed at once.
    """
    low, scale, least, greatest = terms[0], terms[1], terms[2], terms[3]
    end, close, half = terms[4], terms[5], terms[6]
    clear = 0
    # Unsigned: signed indices may be negative, and the check for that prevents vectorization.
    for k in range(np.uint64(first), np.uint64(last)):
        offset = row[k] - low
        place = offset * scale
        inside = half if place < half else place
        inside = end if inside > end else inside
        away = abs(inside - np.floor(inside + half))
        clear += (offset >= least) & (place <= greatest) & (away > close)
        index[k] = np.uint32(inside)
    return last - first - clear


@inlined
def _index_by_division(
    row: AnyArray, first: int, last: int, terms: Float64, index: AnyArray
) -> int:
    """Write the exact bins of a stretch; return the number of values out of range."""
    low, least, greatest, upper = terms[0], terms[1], terms[2], terms[3]
    bins, divisor, end = terms[4], terms[5], terms[6]
    most = bins - 0.5
    right = 0
    for k in range(np.uint64(first), np.uint64(last)):
        value = np.float64(row[k])
        offset = value - low
        right += (offset >= least) & (offset <= greatest) & (abs(value) < np.inf)
        place = offset * bins / divisor
        place = 0.0 if place < 0.0 else place
        place = most if place > most else place  # rounding may lift a value below an end to it
        index[k] = np.uint32(end if offset > upper else place)
    return last - first - right


@inlined
def _index_row(row: AnyArray, exact: Float64, quick: AnyArray, index: AnyArray) -> int:
    """Write the bins of a row, a stretch at a time; return the number of values out of range."""
    wrong = 0
    for first in range(0, row.size, _STRETCH):
        last = first + _STRETCH if first + _STRETCH < row.size else row.size
        if quick[1] == 0.0 or _index_by_product(row, first, last, quick, index):
            wrong += _index_by_division(row, first, last, exact, index)
    return wrong


@inlined
def _index_between(row: AnyArray, edges: Float64, index: AnyArray) -> int:
    """Write the number of edges at or below each value, by bisection."""
    outside = 0
    for k in range(row.size):
        value = np.float64(row[k])
        outside += not abs(value) < np.inf
        first = 0
        last = edges.size
        while first < last:
            middle = (first + last) >> 1
            if edges[middle] <= value:
                first = middle + 1
            else:
                last = middle
        index[k] = first
    return outside


@inlined
def _merge(tables: AnyArray, counts: AnyArray) -> None:
    """Add tables (1 or 4) to ``counts`` (C) and zero them; four in one pass, for speed."""
    if tables.shape[0] == 4:
        for b in range(counts.size):
            counts[b] += tables[0, b] + tables[1, b] + tables[2, b] + tables[3, b]
        for t in range(4):
            for b in range(counts.size):
                tables[t, b] = 0
    else:
        for b in range(counts.size):
            counts[b] += tables[0, b]
            tables[0, b] = 0


@inlined
def _tally(cells: AnyArray, index: AnyArray, tables: AnyArray, counts: AnyArray) -> None:
    """Add the indices to ``counts`` (C) by way of tables (1 or 4) that are 0 before and after.

    The slot after the last counter collects values in no bin; it is never read.
    """
    if cells.size:
        for k in range(index.size):
            index[k] = cells[index[k]]
    second = tables.shape[0] >> 2  # a single table serves as all four
    start = index.size - index.size % 4
    for k in range(0, start, 4):
        tables[0, index[k]] += 1
        tables[second, index[k + 1]] += 1
        tables[2 * second, index[k + 2]] += 1
        tables[3 * second, index[k + 3]] += 1
    for k in range(start, index.size):
        tables[0, index[k]] += 1
    _merge(tables, counts)


@compiled
def count_equal_width(
    x: AnyArray,
    exact: Float64,
    quick: AnyArray,
    cells: AnyArray,
    index: AnyArray,
    tables: AnyArray,
    counts: AnyArray,
) -> int:
    """Count rows (R, K) in bins of equal width; row r belongs to channel r modulo D.

    Parameters
    ----------
    x : float32 or float64, shape (R, K)
    exact : float64, shape (D, 7)
        From ``division_terms``.
    quick : of the type of ``x``, shape (D, 7)
        From ``product_terms``.
    cells : int32, shape (B,) or (0,)
        The counter of each bin, if given; not with literal terms.
    index : uint32, shape (K,)
        Scratch.
    tables : uint16 or uint32, shape (1 or 4, C + 1)
        Scratch, all 0.
    counts : uint16 or uint32, shape (R, C)
        All 0, and added to.

    Returns
    -------
    int
        First row with a value that is not finite or out of range, or -1.
    """
    for r in range(x.shape[0]):
        d = r % exact.shape[0]
        if _index_row(x[r], exact[d], quick[d], index):
            return r
        _tally(cells, index, tables, counts[r])
    return -1


@compiled
def count_equal_width_half(
    x: AnyArray,
    bits: AnyArray,
    values: Float32,
    exact: Float64,
    quick: Float32,
    cells: AnyArray,
    index: AnyArray,
    tables: AnyArray,
    counts: AnyArray,
) -> int:
    """As :func:`count_equal_width`, for float16 bit patterns, uint16 (R, K).

    ``bits``, uint32 (K), and ``values``, float32 (K), are one scratch buffer.
    """
    for r in range(x.shape[0]):
        d = r % exact.shape[0]
        if _widen(x[r], bits, values) or _index_row(values, exact[d], quick[d], index):
            return r
        _tally(cells, index, tables, counts[r])
    return -1


@compiled
def count_between_edges(
    x: AnyArray,
    edges: Float64,
    cells: AnyArray,
    index: AnyArray,
    tables: AnyArray,
    counts: AnyArray,
) -> int:
    """As :func:`count_equal_width`, between the edges (D, B - 1) of each channel."""
    for r in range(x.shape[0]):
        if _index_between(x[r], edges[r % edges.shape[0]], index):
            return r
        _tally(cells, index, tables, counts[r])
    return -1


# Resampling

_SMALL = 1e-4
"""H^2 below which the root of eq. (9) shows the rounding of eq. (8), which would break ties."""


@inlined
def _gather(a: AnyArray, b: AnyArray, channel: int, pool: AnyArray) -> None:
    """Copy one channel of counts (U, D, B) and (V, D, B) into the rows of a pool (U + V, W)."""
    for u in range(pool.shape[0]):
        row = a[u, channel] if u < a.shape[0] else b[u - a.shape[0], channel]
        for k in range(row.size):
            pool[u, k] = row[k]


@inlined
def _add_rows(pool: AnyArray, numbers: AnyArray, first: int, last: int, total: AnyArray) -> None:
    """Add the rows of a pool with indices ``numbers[first:last]``, four at a time."""
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

    ``chosen`` (R, n) holds ascending row indices; ``bounds`` (R, S + 1) splits them into stretches
    of rows close enough to stay in the cache and few enough that ``narrow`` (W), of the pool's
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

    NaN (0 / 0) if one is empty.
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

    ``a`` (U, D, B), ``b`` (V, D, B) and the scratch share one unsigned type: ``pool`` (U + V, W),
    all 0, and ``narrow`` (W), W >= B. ``sums`` is int64 (D, R, W).
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

    As :func:`permuted_totals`, but ``sums`` (R, W) and ``total`` (W), int64, are scratch too.
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

    NaN where nothing is left of a set. ``p`` and ``q``, float64 (B), are scratch for the totals.
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
