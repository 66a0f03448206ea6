"""Distances of resampled sets, by permutation and leaving one out, from the counts of their units.

A unit is an image, or all images of a subject. Nothing is read or counted again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from skiptool.distances.binned import Distance, hellinger
from skiptool.distances.counting import frequencies
from skiptool.distances.kernels import left_out_hellinger, permuted_hellinger, permuted_totals

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float64

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
