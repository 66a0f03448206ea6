"""Distances without bins: exact Wasserstein-1 of each channel, and the representation shift.

Values are (n, D): n activations of each of D channels, float16, float32 or float64, processed in
float64. Numbers of values are weights that stay integers, so only gaps between values are rounded.

For permutations and leaving one out, the pooled values of a channel are sorted once. Every subset
then takes one pass along them: the distance is the sum, over neighbours, of their gap times the
difference of the two distribution functions there, and a value moved to the other set changes that
difference only from its position on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.distances.bins import listed_channels
from skiptool.distances.kernels import compiled
from skiptool.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from skiptool.records import AnyArray, Bool, Float64, Int64

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
        If a value is not finite.

    Notes
    -----
    The area between the two empirical distribution functions, as
    ``scipy.stats.wasserstein_distance`` of each column. It scales with the channel, so layers and
    models of different scale are not comparable; that is why the paper uses the Hellinger distance.

    Examples
    --------
    >>> wasserstein(np.array([[0.0], [1.0]]), np.array([[2.0], [2.0], [2.0]]))
    array([1.5])
    """
    for side in (x, y):
        bad = np.asarray(~np.isfinite(side).all(axis=0))
        if bad.any():
            raise ArgumentError(
                f"values: NaN or infinite in {listed_channels(bad)}; expected finite activations; "
                "find the image that causes them and leave it out"
            )
    values = np.empty(x.shape[1])
    for block in channel_blocks(x.shape[1], len(x) + len(y)):
        _between_sorted(_sorted(x[:, block]), _sorted(y[:, block]), values[block])
    return values


def representation_shift(x: AnyArray, y: AnyArray) -> Float64:
    """Representation shift of each channel: Wasserstein-1 of the mean activations of images.

    ``x`` (N, D) and ``y`` (N', D) are the mean activations of each image and channel over all
    positions. The result (D,) is in the unit of the activations, unbounded; its mean over channels
    (``layer_mean``) is the representation shift of the layer.

    References
    ----------
    K. Stacke, G. Eilertsen, J. Unger, C. Lundström, "Measuring domain shift for deep learning in
    histopathology", IEEE J Biomed Health Inform 25(2), 2021: reference [9] of the paper. Their
    published example averages each image over positions, applies scipy's distance to each filter,
    and takes the mean over filters.

    Examples
    --------
    >>> x = np.array([[[0.0, 2.0]], [[1.0, 3.0]]])  # two images, one channel, two positions
    >>> representation_shift(x.mean(axis=2), x.mean(axis=2) + 0.5)
    array([0.5])
    """
    return wasserstein(x, y)


def channel_blocks(channels: int, values: int) -> Iterator[slice]:
    """Return blocks of channels of ``values`` values each, about a million values per block."""
    step = max(1, _BLOCK // values)
    return (slice(start, start + step) for start in range(0, channels, step))


def _sorted(x: AnyArray) -> Float64:
    """Return the values of each channel in ascending order, (D, n)."""
    # NumPy sorts float16 slowly, and float32 holds all of its values.
    rows = x.T.astype(np.float32 if x.dtype == np.float16 else x.dtype, order="C")
    rows.sort(axis=1)
    return rows.astype(np.float64, copy=False)


@compiled
def _between_sorted(x: Float64, y: Float64, values: Float64) -> None:
    """Write the distances (D,) of ascending rows, (D, n) and (D, m)."""
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
    """Distance times n m of ascending values, (n) and (m): one pass along both."""
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


def permuted_wasserstein(pooled: AnyArray, chosen: Bool) -> Float64:
    """Wasserstein-1 distance between the chosen values and all others, for each relabelling.

    ``pooled`` (U, D) are the values of both sets, ``chosen``, bool (R, U), those that make up the
    first set in each of R relabellings; their number may vary. The result is (R, D).

    Examples
    --------
    >>> permuted_wasserstein(np.array([[0.0], [1.0], [3.0]]), np.eye(3, dtype=bool)).ravel()
    array([2. , 1.5, 2.5])
    """
    return subset_wasserstein(pooled, chosen, ~chosen)


def subset_wasserstein(pooled: AnyArray, first: Bool, second: Bool) -> Float64:
    """Wasserstein-1 distance between R pairs of subsets of the same values.

    ``pooled`` (U, D) are the values of both sets; ``first`` and ``second``, bool (R, U), those that
    make up the two subsets of each pair. A value may be in neither, as when a subject or a pair of
    images is left out. The result is (R, D).

    Examples
    --------
    >>> pooled = np.array([[0.0], [1.0], [3.0], [4.0]])
    >>> subset_wasserstein(pooled, np.array([[1, 0, 0, 0]]) > 0, np.array([[0, 0, 1, 1]]) > 0)
    array([[3.5]])
    """
    n, m = (part.sum(axis=1, dtype=np.float64) for part in (first, second))
    # Each value moves the difference of the distribution functions by 1/n or -1/m; times n m, the
    # steps are integers and add up without rounding.
    steps = np.ascontiguousarray((first * m[:, None] - second * n[:, None]).T)
    values = np.zeros((pooled.shape[1], len(first)))
    for block in channel_blocks(pooled.shape[1], len(pooled)):
        order, gaps = _order_and_gaps(pooled[:, block])
        _walk(order, gaps, steps, values[block])
    return np.asarray(np.ascontiguousarray(values.T) / (n * m)[:, None])


def leave_one_out_wasserstein(x: AnyArray, y: AnyArray) -> tuple[Float64, Float64]:
    """Wasserstein-1 distances without each single value of either set, for the jackknife.

    ``x`` (n, D) and ``y`` (m, D) are at least two values per channel. Row i of the results, (n, D)
    and (m, D), is :func:`wasserstein` after removing row i of that set.

    Notes
    -----
    One pass gives all of them: below the removed value the distribution functions are those of
    n - 1 values, above it one less. Both sums are accumulated once.

    Examples
    --------
    >>> without_x, without_y = leave_one_out_wasserstein(
    ...     np.array([[0.0], [1.0]]), np.array([[2.0], [4.0]])
    ... )
    >>> without_x.ravel(), without_y.ravel()
    (array([2., 3.]), array([3.5, 1.5]))
    """
    without_x, without_y = np.empty(x.shape), np.empty(y.shape)
    for block in channel_blocks(x.shape[1], len(x) + len(y)):
        order, gaps = _order_and_gaps(np.concatenate([x[:, block], y[:, block]]))
        from_x = order < len(x)
        positions = np.argsort(order, axis=1)
        without_x[:, block] = _without_one(from_x, gaps, positions[:, : len(x)]).T
        without_y[:, block] = _without_one(~from_x, gaps, positions[:, len(x) :]).T
    return without_x, without_y


def _order_and_gaps(pooled: AnyArray) -> tuple[Int64, Float64]:
    """Return the order of the values of each channel, (D, U), and their gaps, (D, U - 1)."""
    rows = pooled.T.astype(np.float64, order="C")
    order = np.argsort(rows, axis=1)
    return order, np.diff(np.take_along_axis(rows, order, axis=1), axis=1)


def _without_one(own: Bool, gaps: Float64, positions: Int64) -> Float64:
    """Return distances (D, n) without each value of one set, at these positions of the order."""
    n, m = positions.shape[1], own.shape[1] - positions.shape[1]
    counts = np.cumsum(own[:, :-1], axis=1)
    others = np.arange(1, own.shape[1]) - counts
    below = np.abs(counts * m - others * (n - 1)) * gaps
    above = np.abs((counts - 1) * m - others * (n - 1)) * gaps
    before, after = np.zeros((2, *own.shape))
    np.cumsum(below, axis=1, out=before[:, 1:])
    after[:, :-1] = np.cumsum(above[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(np.take_along_axis(before + after, positions, axis=1) / ((n - 1) * m))


@compiled
def _walk(order: Int64, gaps: Float64, steps: Float64, values: Float64) -> None:
    """Add gap times difference along the order (D, U), for all steps (U, R), to (D, R)."""
    height = np.empty(steps.shape[1])
    for d in range(order.shape[0]):
        height[:] = 0.0
        for k in range(gaps.shape[1]):
            step = steps[order[d, k]]
            gap = gaps[d, k]
            for r in range(height.size):
                height[r] += step[r]
                values[d, r] += abs(height[r]) * gap
