"""Exact distributions of float16 activations: how often each of its 65,536 bit patterns occurs.

A key is a bit pattern remapped so that keys sort like the values they represent, lowest finite
value first. Counts of keys determine the empirical distribution function, have a fixed size
whatever the number of values, and add up over parts of a set. Distances and quantiles of any number
of values are therefore exact without holding the values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.distances.bins import listed_channels
from skiptool.distances.kernels import compiled
from skiptool.errors import ArgumentError

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float16, Float64

KEYS: Final = 1 << 16
"""Number of float16 keys; those of infinities and NaN stay empty."""


def key_counts(x: Float16, into: AnyArray | None = None) -> AnyArray:
    """Count how often each float16 value occurs in each channel.

    Parameters
    ----------
    x : float16, shape (N, D, K)
        Activations of N images, D channels, K vectors per image.
    into : int32 or int64, shape (D, KEYS), optional
        Counts to add to. Default: new ones of int64, 0.5 MB per channel.

    Returns
    -------
    int32 or int64, shape (D, KEYS)
        ``into``, or the new counts. -0.0 counts as 0.0.

    Raises
    ------
    ArgumentError
        If ``x`` is not float16 (N, D, K), a value is not finite, or ``into`` does not fit or could
        overflow. ``into`` is then unchanged.

    Examples
    --------
    >>> counts = key_counts(np.array([[[0.0, -0.0, 1.0]]], dtype=np.float16))
    >>> values_of_keys()[counts[0] > 0], counts[counts > 0]
    (array([0., 1.]), array([2, 1]))
    """
    if x.ndim != 3 or x.dtype != np.float16:
        raise ArgumentError(
            f"features: shape {x.shape} and type {x.dtype}; expected float16 (N, D, K), images, "
            "channels, vectors per image; round other types to float16 first"
        )
    counts = np.zeros((x.shape[1], KEYS), np.int64) if into is None else into
    _check_room(x, counts)
    patterns = np.ascontiguousarray(x).view(np.uint16)
    wrong = np.zeros(x.shape[1], np.int64)
    _count_wrong(patterns, wrong)
    if wrong.any():
        raise ArgumentError(
            f"features: NaN or infinite in {listed_channels(wrong > 0)}; expected finite "
            "activations that float16 can hold"
        )
    _count_keys(patterns, counts)
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

    Parameters
    ----------
    counts_x, counts_y : int32 or int64, shape (D, KEYS)
        From :func:`key_counts`; the sets may differ in size.

    Returns
    -------
    float64, shape (D,)
        In the unit of the activations: the sum over keys of the difference of the two empirical
        distribution functions times the gap to the next value.

    Raises
    ------
    ArgumentError
        If the shapes differ or a channel holds no values.

    Examples
    --------
    >>> x, y = (np.array([[[v, 1.0]]], dtype=np.float16) for v in (0.0, 3.0))
    >>> wasserstein_from_keys(key_counts(x), key_counts(y))
    array([1.5])
    """
    _check_counts(counts_x)
    _check_counts(counts_y)
    if counts_x.shape != counts_y.shape:
        raise ArgumentError(
            f"keys: counts of {len(counts_x)} and {len(counts_y)} channels; both must belong to "
            "the same layer"
        )
    gaps = np.diff(values_of_keys())
    distances = np.empty(len(counts_x))
    for d, (x, y) in enumerate(zip(counts_x, counts_y, strict=True)):
        n, m = x.sum(dtype=np.int64), y.sum(dtype=np.int64)
        difference = np.cumsum(x[:-1] * m - y[:-1] * n)  # integers, so nothing is rounded
        distances[d] = (np.abs(difference) * gaps).sum() / (float(n) * float(m))
    return distances


def quantiles_from_keys(counts: AnyArray, probabilities: Float64) -> Float64:
    """Quantiles of each channel: the inverse of the empirical distribution function.

    Parameters
    ----------
    counts : int32 or int64, shape (D, KEYS)
        From :func:`key_counts`.
    probabilities : float64, shape (Q,)
        In [0, 1], in any order.

    Returns
    -------
    float64, shape (D, Q)
        The smallest value up to which at least this fraction of the values lies; for 0 the lowest
        value. Each occurs in the set.

    Raises
    ------
    ArgumentError
        If a probability is outside [0, 1] or a channel holds no values.

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
    _check_counts(counts)
    asked = np.asarray(probabilities, dtype=np.float64)
    if asked.ndim != 1 or not ((asked >= 0.0) & (asked <= 1.0)).all():
        raise ArgumentError(
            f"quantiles: probabilities {asked.tolist()}; expected a row of numbers from 0 to 1"
        )
    keys = np.empty((len(counts), asked.size), dtype=np.int64)
    for d, row in enumerate(counts):
        cumulated = np.cumsum(row, dtype=np.int64)
        total = cumulated[-1]
        keys[d] = np.searchsorted(cumulated / total, np.maximum(asked, 1 / total))
    return np.asarray(values_of_keys()[keys])


def _check_room(x: Float16, counts: AnyArray) -> None:
    if counts.dtype not in (np.int32, np.int64) or counts.shape != (x.shape[1], KEYS):
        raise ArgumentError(
            f"keys: counts of shape {counts.shape} and type {counts.dtype}; expected int32 or "
            f"int64 ({x.shape[1]}, {KEYS})"
        )
    held = int(counts[:1].sum(dtype=np.int64))  # every channel holds the same number
    if held + x.shape[0] * x.shape[2] > np.iinfo(counts.dtype).max:
        raise ArgumentError(
            f"keys: {held} values per channel and {x.shape[0] * x.shape[2]} more do not fit "
            f"{counts.dtype}; count in int64"
        )


def _check_counts(counts: AnyArray) -> None:
    if counts.ndim != 2 or counts.shape[1] != KEYS or counts.dtype.kind != "i":
        raise ArgumentError(
            f"keys: counts of shape {counts.shape} and type {counts.dtype}; expected integers "
            f"(D, {KEYS}) from 'key_counts'"
        )
    empty = np.flatnonzero(~counts.any(axis=1)).tolist()
    if empty:
        raise ArgumentError(f"keys: channel {empty[0]} holds no values; count a set of images")


@compiled
def _count_wrong(patterns: AnyArray, wrong: AnyArray) -> None:
    """Count to (D,) the patterns (N, D, K) with all bits of the exponent set: infinite or NaN."""
    for i in range(patterns.shape[0]):
        for d in range(patterns.shape[1]):
            row = patterns[i, d]
            for k in range(row.size):
                wrong[d] += (row[k] & 0x7C00) == 0x7C00


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
