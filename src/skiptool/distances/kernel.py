"""Inner loops of counting: from rows of activations to rows of counts, compiled by numba.

Longer than 250 lines: numba's cache of compiled code watches the file of the function that is
called, not those it calls, so what is compiled together stands together.

Three things make them fast. The index of every value is computed into a buffer first, a loop that
the compiler turns into vector instructions. Counting then runs over four interleaved tables: most
values after a ReLU are zero, and each increment of one counter would wait for the one before. Rows
are taken in the order of memory, image by image.

Indices are exact: floor((x - low) * B / span) by division. A product with B / span, in float32
where the values are, is faster and differs only next to an inner edge, so a stretch of a row that
holds such a value is done again by division.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skiptool.distances.compiled import compiled

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float32, Float64

__all__ = [
    "count_between_edges",
    "count_equal_width",
    "count_equal_width_half",
    "lowest_and_highest",
]

_NEAR = 1e-9
"""Distance to an edge, in bins, where a product of float64 may err: by 5e-10 with 2**20 bins."""

_NEAR_SHORT = 2.5e-7
"""The same for products of float32, as a share of B: their rounding is below 1.8e-7."""

_SHORT_BINS = 1024
"""Most bins for which float32 pays: beyond, too many values are near to an edge."""

_STRETCH = 256
"""Values whose indices are done again together."""


@compiled
def _widen(row: AnyArray, bits: AnyArray, values: Float32) -> int:
    """Widen float16 bit patterns (K) to float32; ``bits`` and ``values`` are one buffer (K).

    Returns how many are infinite or NaN: those with all bits of the exponent set.

    Moving exponent and fraction into place leaves a number 2**112 times too small, subnormals
    included.
    """
    wrong = 0
    for k in range(row.size):
        pattern = np.int32(row[k])
        wrong += (pattern & 0x7C00) == 0x7C00
        bits[k] = ((pattern & 0x7FFF) << 13) | ((pattern & 0x8000) << 16)
    for k in range(row.size):
        values[k] *= np.float32(5.192296858534828e33)
    return wrong


@compiled
def _index_by_product(row: AnyArray, terms: AnyArray, index: AnyArray) -> int:
    """Write the bins of a row; return how many values need division: near an edge, or out of range.

    Difference, scale and product each err by half a unit in the last place of the result at most,
    so what is not near to an edge is in its bin. ``terms`` (see ``_set_terms``) are of the type of
    the row, float32 where it is: twice as many at once.
    """
    start, scale, most, close = terms[0], terms[1], terms[2], terms[3]
    lowest, least, greatest, beyond = terms[4], terms[5], terms[6], terms[7]
    half, zero = terms[8], terms[9]
    doubtful = 0
    for k in range(row.size):
        offset = row[k] - start
        place = offset * scale
        doubtful += not ((offset >= lowest) & (place >= least) & (place <= greatest))
        inside = min(max(place, zero), most)
        away = np.abs(inside - np.floor(inside + half))
        doubtful += (away <= close) & (offset > zero) & (place <= beyond)
        index[k] = np.uint32(inside)
    return doubtful


@compiled
def _set_terms(terms: AnyArray, low: float, span: float, bins: int, clamp: bool) -> None:
    """Write what :func:`_index_by_product` works with, one after the other."""
    close = _NEAR_SHORT * bins if terms.itemsize == 4 else _NEAR
    terms[0] = low
    terms[1] = bins / span
    terms[2] = bins
    terms[3] = close
    terms[4] = -np.inf if clamp else 0.0
    terms[5] = -1e30 if clamp else 0.0
    terms[6] = 1e30 if clamp else bins
    terms[7] = bins + 2.0 * close
    terms[8] = 0.5
    terms[9] = 0.0


@compiled
def _index_by_division(
    row: AnyArray, low: float, span: float, bins: int, clamp: bool, index: AnyArray
) -> int:
    """Write the bins of a row, exactly; return how many values are out of range."""
    outside = 0
    least = -np.inf if clamp else 0.0
    greatest = np.inf if clamp else span
    for k in range(row.size):
        value = np.float64(row[k])
        offset = value - low
        outside += not ((offset >= least) & (offset <= greatest) & (np.abs(value) < np.inf))
        # span * bins / span may round to less than bins, which is for the maximum alone.
        place = max(offset, 0.0) * bins / span
        index[k] = bins if offset >= span else np.uint32(place)
    return outside


@compiled
def _index_constant(row: AnyArray, low: float, bins: int, clamp: bool, index: AnyArray) -> int:
    """Write bin 0, or the last for what is clamped from above, as in a range of nearly no width."""
    outside = 0
    for k in range(row.size):
        value = np.float64(row[k])
        outside += not (value == low or (clamp and np.abs(value) < np.inf))
        index[k] = bins if value > low else 0
    return outside


@compiled
def _index_between(row: AnyArray, edges: Float64, index: AnyArray) -> int:
    """Write how many edges are at or below each value, by halving."""
    outside = 0
    for k in range(row.size):
        value = np.float64(row[k])
        outside += not np.abs(value) < np.inf
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


@compiled
def _clear(tables: AnyArray) -> None:
    """Set all to 0: assigning to a slice, as NumPy would, takes numba seconds to compile."""
    for t in range(tables.shape[0]):
        for b in range(tables.shape[1]):
            tables[t, b] = 0


@compiled
def _tally(index: AnyArray, tables: AnyArray, counts: AnyArray) -> None:
    """Count indices into ``counts`` by way of the tables (1 or 4, one slot more than counts)."""
    _clear(tables)
    size = index.size
    start = 0
    if tables.shape[0] == 4:
        start = size - size % 4
        for k in range(0, start, 4):
            tables[0, index[k]] += 1
            tables[1, index[k + 1]] += 1
            tables[2, index[k + 2]] += 1
            tables[3, index[k + 3]] += 1
    for k in range(start, size):
        tables[0, index[k]] += 1
    if tables.shape[0] == 4:
        for b in range(counts.size):
            counts[b] = tables[0, b] + tables[1, b] + tables[2, b] + tables[3, b]
    else:
        for b in range(counts.size):
            counts[b] = tables[0, b]


@compiled
def count_equal_width(
    x: AnyArray,
    low: Float64,
    span: Float64,
    bins: int,
    clamp: bool,
    literal: bool,
    cells: AnyArray,
    tables: AnyArray,
    counts: AnyArray,
) -> int:
    """Count rows (R, K) in bins of equal width; row r is of channel r modulo D.

    Parameters
    ----------
    x : float32 or float64, shape (R, K)
    low, span : float64, shape (D,)
    bins : int
    clamp : bool
        Values outside of the range count in the end bins.
    literal : bool
        Eq. (5) as printed: the maximum and constant channels are in no bin.
    cells : int32, shape (bins,) or (0,)
        Where given, the counter of each bin.
    tables : uint16 or uint32, shape (1 or 4, C + 1)
        Scratch; the slot behind the last takes the maximum, which closes the last bin.
    counts : uint16 or uint32, shape (R, C)
        Written.

    Returns
    -------
    int
        First row with a value that is not finite or outside of the range, -1 if there is none.
    """
    index = np.empty(x.shape[1], np.uint32)
    terms = np.empty(10, x.dtype)
    for r in range(x.shape[0]):
        d = r % low.size
        if _index_row(x[r], low[d], span[d], bins, clamp, terms, index):
            return r
        _relabel(index, span[d], bins, literal, cells)
        _tally(index, tables, counts[r])
        if not literal:
            for t in range(tables.shape[0]):
                counts[r, -1] += tables[t, -1]
    return -1


@compiled
def count_equal_width_half(
    x: AnyArray,
    low: Float64,
    span: Float64,
    bins: int,
    clamp: bool,
    literal: bool,
    cells: AnyArray,
    tables: AnyArray,
    counts: AnyArray,
) -> int:
    """Count as :func:`count_equal_width` the bit patterns of float16, uint16 (R, K)."""
    index = np.empty(x.shape[1], np.uint32)
    bits = np.empty(x.shape[1], np.int32)
    values = bits.view(np.float32)
    terms = np.empty(10, np.float32)
    for r in range(x.shape[0]):
        d = r % low.size
        wrong = _widen(x[r], bits, values)
        if wrong or _index_row(values, low[d], span[d], bins, clamp, terms, index):
            return r
        _relabel(index, span[d], bins, literal, cells)
        _tally(index, tables, counts[r])
        if not literal:
            for t in range(tables.shape[0]):
                counts[r, -1] += tables[t, -1]
    return -1


@compiled
def count_between_edges(x: AnyArray, edges: Float64, tables: AnyArray, counts: AnyArray) -> int:
    """Count rows (R, K) of floats between the edges (D, B - 1) of their channel."""
    index = np.empty(x.shape[1], np.uint32)
    for r in range(x.shape[0]):
        if _index_between(x[r], edges[r % edges.shape[0]], index):
            return r
        _tally(index, tables, counts[r])
    return -1


@compiled
def _index_row(
    row: AnyArray, low: float, span: float, bins: int, clamp: bool, terms: AnyArray, index: AnyArray
) -> int:
    """Write the bins of a row, a stretch at a time; return how many values are out of range."""
    if span == 0.0:
        return _index_constant(row, low, bins, clamp, index)
    # Differences and scales of float32 must neither overflow nor lose digits below 2**-126.
    fits = bins <= _SHORT_BINS and 1e-30 < span < 1e30 and np.float64(np.float32(low)) == low
    quick = terms.itemsize == 8 or fits
    if quick:
        _set_terms(terms, low, span, bins, clamp)
    wrong = 0
    for first in range(0, row.size, _STRETCH):
        part = row[first : first + _STRETCH]
        places = index[first : first + _STRETCH]
        if not quick or _index_by_product(part, terms, places):
            wrong += _index_by_division(part, low, span, bins, clamp, places)
    return wrong


@compiled
def _relabel(index: AnyArray, span: float, bins: int, literal: bool, cells: AnyArray) -> None:
    """Send constant channels to the slot behind the last where eq. (5) does; fine bins to cells."""
    if literal and span == 0.0:
        for k in range(index.size):
            index[k] = bins
    if cells.size:
        for k in range(index.size):
            index[k] = cells[min(index[k], np.uint32(bins - 1))]


@compiled
def lowest_and_highest(x: AnyArray, low: AnyArray, high: AnyArray) -> None:
    """Write the extremes of rows (R, K) of floats to (R,); NaN where a row holds one."""
    for r in range(x.shape[0]):
        least = x[r, 0]
        most = x[r, 0]
        odd = 0
        for k in range(x.shape[1]):
            least = min(least, x[r, k])
            most = max(most, x[r, k])
            odd += x[r, k] != x[r, k]
        low[r] = np.nan if odd else least
        high[r] = np.nan if odd else most
