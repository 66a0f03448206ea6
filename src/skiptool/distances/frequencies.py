"""Rows of relative frequencies: checked once, and compared in blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from skiptool.errors import ArgumentError

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["RowDistance", "rowwise"]

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
