"""Distances without bins: exact Wasserstein-1 of each channel, and the representation shift.

Values are (n, D): n activations of each of D channels, float16, float32 or float64, computed on in
float64. Numbers of values are weights that stay whole, so only gaps between values are rounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.distances.compiled import compiled
from skiptool.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from skiptool.records import AnyArray, Float64

__all__ = ["channel_blocks", "check_samples", "representation_shift", "wasserstein"]

_BLOCK: Final = 1 << 20
"""Values sorted at once: 8 MB in float64."""


def wasserstein(x: AnyArray, y: AnyArray) -> Float64:
    """Wasserstein-1 distance of each channel between two sets of values, without bins.

    Parameters
    ----------
    x, y : float16, float32 or float64, shape (n, D) and (m, D)
        Values of the same channels; n and m may differ.

    Returns
    -------
    float64, shape (D,)
        In the unit of the values, unbounded; 0 where both sets hold the same values. A metric.

    Raises
    ------
    ArgumentError
        If a shape or type differs from the above, a set is empty, or a value is not finite.

    Notes
    -----
    The area between the two empirical distribution functions, as
    ``scipy.stats.wasserstein_distance`` of each column. It scales with the channel: layers and
    models of other scale do not compare, which is why the paper takes the Hellinger distance.

    Examples
    --------
    >>> wasserstein(np.array([[0.0], [1.0]]), np.array([[2.0], [2.0], [2.0]]))
    array([1.5])
    """
    check_samples(x, y)
    values = np.empty(x.shape[1])
    for block in channel_blocks(x.shape[1], len(x) + len(y)):
        _between_sorted(_sorted(x[:, block]), _sorted(y[:, block]), values[block])
    return values


def representation_shift(x: AnyArray, y: AnyArray) -> Float64:
    """Representation shift of each channel: Wasserstein-1 of the mean activations of images.

    Parameters
    ----------
    x, y : float16, float32 or float64, shape (N, D) and (N', D)
        Mean activation of each image and channel over all positions.

    Returns
    -------
    float64, shape (D,)
        In the unit of the activations, unbounded. Its mean over channels (``layer_mean``) is the
        representation shift of the layer.

    Raises
    ------
    ArgumentError
        As :func:`wasserstein`.

    References
    ----------
    K. Stacke, G. Eilertsen, J. Unger, C. Lundström, "Measuring domain shift for deep learning in
    histopathology", IEEE J Biomed Health Inform 25(2), 2021: reference [9] of the paper. Their
    published example takes one vector an image, averaged over positions, the distance of scipy
    for each filter, and the mean over filters.

    Examples
    --------
    >>> x = np.array([[[0.0, 2.0]], [[1.0, 3.0]]])  # two images, one channel, two positions
    >>> representation_shift(x.mean(axis=2), x.mean(axis=2) + 0.5)
    array([0.5])
    """
    return wasserstein(x, y)


def check_samples(*sets: AnyArray) -> None:
    """Refuse sets that are not floats (n, D), with one D, not empty and finite.

    Raises
    ------
    ArgumentError
        Says which channels hold values that are not finite.
    """
    for x in sets:
        if x.ndim != 2 or x.dtype.kind != "f" or x.dtype.itemsize > 8 or 0 in x.shape:
            raise ArgumentError(
                f"values: shape {x.shape} and type {x.dtype}; expected float16, float32 or float64 "
                "(n, D), values and channels, at least one of each"
            )
        bad = np.flatnonzero(~np.isfinite(x).all(axis=0)).tolist()
        if bad:
            first = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
            raise ArgumentError(
                f"values: NaN or infinite in {len(bad)} of {x.shape[1]} channels ({first}); "
                "expected finite activations; find the image that makes them and leave it out"
            )
    channels = [x.shape[1] for x in sets]
    if len(set(channels)) > 1:
        raise ArgumentError(
            f"values: sets have {' and '.join(map(str, channels))} channels; both must be of one "
            "layer"
        )


def channel_blocks(channels: int, values: int) -> Iterator[slice]:
    """Blocks of channels that together hold about a million values, ``values`` each."""
    step = max(1, _BLOCK // values)
    return (slice(start, start + step) for start in range(0, channels, step))


def _sorted(x: AnyArray) -> Float64:
    """Values of each channel in rising order, (D, n)."""
    # NumPy sorts float16 slowly, and float32 holds all of its values.
    rows = x.T.astype(np.float32 if x.dtype == np.float16 else x.dtype, order="C")
    rows.sort(axis=1)
    return rows.astype(np.float64, copy=False)


@compiled
def _between_sorted(x: Float64, y: Float64, values: Float64) -> None:
    """Write the distances (D,) of rows in rising order, (D, n) and (D, m)."""
    n, m = x.shape[1], y.shape[1]
    for d in range(values.size):
        if n == m:
            total = 0.0
            for k in range(n):
                total += abs(x[d, k] - y[d, k])
            values[d] = total / n
        else:
            values[d] = _merged(x[d], y[d]) / n / m


@compiled
def _merged(x: Float64, y: Float64) -> float:
    """Distance times n m of values in rising order, (n) and (m): one walk along both."""
    n, m = x.size, y.size
    i, j = 0, 0
    before = min(x[0], y[0])
    total = 0.0
    while i < n and j < m:
        from_x = x[i] <= y[j]
        value = x[i] if from_x else y[j]
        total += abs(i * m - j * n) * (value - before)
        before = value
        i += from_x
        j += not from_x
    for k in range(i, n):
        total += (n - k) * m * (x[k] - before)
        before = x[k]
    for k in range(j, m):
        total += (m - k) * n * (y[k] - before)
        before = y[k]
    return float(total)
