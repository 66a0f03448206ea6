"""Rank correlation of one quantity with several others, with cluster bootstrap intervals.

Points that share a cause (all networks see the same shifted images) are not independent, so the
bootstrap draws causes, each with all its points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from skiptool.records import Float64, Int64

RESAMPLES: Final = 2000
"""R, enough to make the second digit of the ends of a 95 % interval stable."""

_BLOCK: Final = 1 << 14
"""Ranks processed at a time: such blocks of resamples stay in a core's cache."""


def rank_correlation(values: Float64, others: Float64) -> Float64:
    """Spearman's rank correlation of one quantity with each of several.

    Parameters
    ----------
    values : float64, shape (P,)
        The quantity, NaN where unknown.
    others : float64, shape (L, P)
        The quantities to correlate it with, at the same points.

    Returns
    -------
    float64, shape (L,)
        In [-1, 1]: Pearson's correlation of the ranks, ties at their mean rank, over the points at
        which both are known; NaN where either does not vary there.

    References
    ----------
    C. Spearman, The proof and measurement of association between two things, American Journal of
    Psychology 15, 1904.

    Examples
    --------
    >>> rank_correlation(np.array([1.0, 2.0, 9.0]), np.array([[3.0, 4.0, 5.0], [2.0, 1.0, 0.0]]))
    array([ 1., -1.])
    """
    single_cluster = np.zeros(len(values), dtype=np.int64)
    return _replicates(values, others, single_cluster, np.ones((1, 1)))[:, 0]


def rank_interval(
    values: Float64,
    others: Float64,
    clusters: Int64,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[Float64, Float64]:
    """Return percentile intervals of rank correlations by resampling clusters of points.

    The same clusters are drawn for all L, :data:`RESAMPLES` times with replacement.

    Parameters
    ----------
    values : float64, shape (P,)
    others : float64, shape (L, P)
        As for :func:`rank_correlation`.
    clusters : int64, shape (P,)
        Cluster of each point: 0 to C - 1.
    level : float
        Fraction of resamples between the ends.

    Returns
    -------
    low, high : float64, shape (L,)
        NaN with fewer than two clusters. Resamples in which a quantity does not vary are ignored.

    Notes
    -----
    With few clusters the interval is too narrow: in simulations, 95 % intervals cover the true
    value 84 to 92 times in 100 with four clusters, 92 with six, 93 to 96 with nine or more.

    References
    ----------
    A. C. Davison and D. V. Hinkley, Bootstrap Methods and their Application, 1997, section 3.8.
    """
    count = int(clusters.max(initial=-1)) + 1
    if count < 2:
        return np.full(len(others), np.nan), np.full(len(others), np.nan)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(np.float64)
    replicates = _replicates(values, others, clusters, weights)
    ends = [_ends(row[np.isfinite(row)], level) for row in replicates]
    low, high = np.array(ends, dtype=np.float64).reshape(-1, 2).T
    return low, high


def _ends(replicates: Float64, level: float) -> tuple[float, float]:
    if not replicates.size:
        return np.nan, np.nan
    low, high = np.quantile(replicates, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def _replicates(values: Float64, others: Float64, clusters: Int64, weights: Float64) -> Float64:
    """Return rank correlations (L, R); weights (R, C) say how often each cluster counts."""
    correlations = np.full((len(others), len(weights)), np.nan)
    for row, other in zip(correlations, others, strict=True):
        known = np.isfinite(values) & np.isfinite(other)
        if known.any():
            cluster = clusters[known]
            first, second = (
                _counts_below(both[known], cluster, weights.shape[1]) for both in (values, other)
            )
            step = max(1, _BLOCK // int(known.sum()))
            for start in range(0, len(weights), step):
                part = slice(start, start + step)
                row[part] = _weighted_correlation(first, second, cluster, weights[part])
    return correlations


def _counts_below(values: Float64, clusters: Int64, count: int) -> Float64:
    """Count the values of each cluster below each point, equal ones as half: (C, P).

    The mean rank of a point among all is their sum plus 1/2; a cluster that is drawn twice counts
    twice. So resamples need no sorting.
    """
    below = np.empty((count, len(values)))
    for cluster in range(count):
        own = np.sort(values[clusters == cluster])
        sides = [np.searchsorted(own, values, side) for side in ("left", "right")]
        below[cluster] = (sides[0] + sides[1]) / 2
    return below


def _weighted_correlation(
    first: Float64, second: Float64, clusters: Int64, weights: Float64
) -> Float64:
    """Return Pearson's correlation (R,) of the ranks, points weighted like their cluster."""
    times = weights[:, clusters]
    middle = times.sum(axis=1, keepdims=True) / 2  # the mean of the ranks, less the same 1/2
    x, y = weights @ first - middle, weights @ second - middle
    weighted = times * x
    xy, xx = (np.einsum("rp,rp->r", weighted, other) for other in (y, x))
    spread = np.sqrt(xx * np.einsum("rp,rp->r", times * y, y))
    correlations = np.full(len(weights), np.nan)
    np.divide(xy, spread, out=correlations, where=spread > 0)
    return np.asarray(np.clip(correlations, -1.0, 1.0))
