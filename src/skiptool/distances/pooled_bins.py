"""Bins pooled until enough units reach each of them.

A distance between binned distributions is estimated with little bias only where every bin is
reached by several units (images or subjects). The tails of heavy-tailed channels and the positive
part of sparse ones are not: most of their bins hold values of one image, and what one set has there
and the other lacks counts as distance. So neighbouring bins are pooled, from the lowest to the
highest, until each pooled bin is reached by enough units. What is estimated is then the distance
between the two populations on the pooled bins, which is never larger than that on all bins.

The rule looks at both sets together and not at which unit belongs to which, so it does not favour
a difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.distances.compiled import compiled

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float64, Int64

__all__ = ["REACHED", "pool_bins", "pooled_bins"]

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
