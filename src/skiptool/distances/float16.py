"""Exact distributions of float16 activations, as counts of each of the 65,536 bit patterns.

A key is a bit pattern remapped so that keys sort like the values they represent, lowest finite
value first. Counts of keys determine the empirical distribution function, have a fixed size for any
number of values, and add up over parts of a set. Distances and quantiles of any number of values
are therefore exact without keeping the values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.distances.kernels import compiled

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float16, Float64

KEYS: Final = 1 << 16
"""Number of float16 keys; those of infinities and NaN stay empty."""


def key_counts(x: Float16, into: AnyArray | None = None) -> AnyArray:
    """Count the occurrences of each float16 value in each channel.

    ``x`` (N, D, K) are finite. The counts (D, KEYS) are added to those in ``into``, by default new
    ones of int64, 0.5 MB per channel. -0.0 counts as 0.0.

    Examples
    --------
    >>> counts = key_counts(np.array([[[0.0, -0.0, 1.0]]], dtype=np.float16))
    >>> values_of_keys()[counts[0] > 0], counts[counts > 0]
    (array([0., 1.]), array([2, 1]))
    """
    counts = np.zeros((x.shape[1], KEYS), np.int64) if into is None else into
    _count_keys(np.ascontiguousarray(x).view(np.uint16), counts)
    return counts


def values_of_keys() -> Float64:
    """Value of each key, float64, shape (KEYS,), ascending.

    Keys of infinities and NaN, at both ends, repeat the lowest and the highest finite value; the
    two zeros are both 0.0.
    """
    keys = np.arange(KEYS, dtype=np.uint16)
    patterns = np.where(keys < KEYS // 2, ~keys, keys ^ np.uint16(KEYS // 2))
    values = patterns.view(np.float16).astype(np.float64)
    most = float(np.finfo(np.float16).max)
    values[: KEYS // 2] = np.nan_to_num(values[: KEYS // 2], nan=-most, neginf=-most)
    values[KEYS // 2 :] = np.nan_to_num(values[KEYS // 2 :], nan=most, posinf=most)
    return values + 0.0  # turns -0.0 into 0.0


def wasserstein_from_keys(counts_x: AnyArray, counts_y: AnyArray) -> Float64:
    """Wasserstein-1 distance of each channel between two sets of float16 values, exact.

    The counts (D, KEYS) are from :func:`key_counts`; the sets may differ in size. The result (D,)
    is in the unit of the activations: the sum over keys of the difference of the two empirical
    distribution functions times the gap to the next value.

    Examples
    --------
    >>> x, y = (np.array([[[v, 1.0]]], dtype=np.float16) for v in (0.0, 3.0))
    >>> wasserstein_from_keys(key_counts(x), key_counts(y))
    array([1.5])
    """
    gaps = np.diff(values_of_keys())
    distances = np.empty(len(counts_x))
    for d, (x, y) in enumerate(zip(counts_x, counts_y, strict=True)):
        n, m = x.sum(dtype=np.int64), y.sum(dtype=np.int64)
        difference = np.cumsum(x[:-1] * m - y[:-1] * n)  # integers, so nothing is rounded
        distances[d] = (np.abs(difference) * gaps).sum() / (float(n) * float(m))
    return distances


def quantiles_from_keys(counts: AnyArray, probabilities: Float64) -> Float64:
    """Quantiles of each channel: the inverse of the empirical distribution function.

    The counts (D, KEYS) are from :func:`key_counts`. For each probability (Q,) the result (D, Q) is
    the smallest value of the set up to which at least this fraction of the values lies; for 0 the
    lowest value.

    Notes
    -----
    As ``numpy.quantile(..., method="inverted_cdf")``, but fractions are compared, not ranks: NumPy
    multiplies 0.07 by 100 values, gets 7.000000000000001 and takes the eighth.

    Examples
    --------
    >>> counts = key_counts(np.arange(10, dtype=np.float16).reshape(1, 1, 10))
    >>> quantiles_from_keys(counts, np.array([0.0, 0.5, 0.51, 1.0]))
    array([[0., 4., 5., 9.]])
    """
    keys = np.empty((len(counts), probabilities.size), dtype=np.int64)
    for d, row in enumerate(counts):
        cumulative = np.cumsum(row, dtype=np.int64)
        total = cumulative[-1]
        keys[d] = np.searchsorted(cumulative / total, np.maximum(probabilities, 1 / total))
    return np.asarray(values_of_keys()[keys])


@compiled
def _count_keys(patterns: AnyArray, counts: AnyArray) -> None:
    """Count the keys of patterns (N, D, K), channel by channel because counts are large."""
    for d in range(patterns.shape[1]):
        for i in range(patterns.shape[0]):
            row = patterns[i, d]
            for k in range(row.size):
                pattern = np.int64(row[k])
                # Flip all bits of negative numbers, the sign bit of others; then -0 becomes 0.
                key = (pattern ^ (0x8000 | (0x7FFF * (pattern >> 15)))) + (pattern == 0x8000)
                counts[d, key] += 1
