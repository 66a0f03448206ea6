"""Distances that compare cumulated frequencies: the order of the bins matters to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skiptool.distances.frequencies import rowwise

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["binned_wasserstein", "kolmogorov_smirnov"]


@rowwise()
def kolmogorov_smirnov(p: Float64, q: Float64) -> Float64:
    """Kolmogorov-Smirnov statistic of each channel, at the edges of the bins.

    Parameters
    ----------
    p, q : float64, shape (..., D, B)
        Relative frequencies over the same bins, in the order of the values; each row sums to 1.

    Returns
    -------
    float64, shape (..., D)
        In [0, 1], dimensionless: the largest difference of the cumulated frequencies. A metric.

    Raises
    ------
    ArgumentError
        If the shapes differ or a row does not sum to 1.

    Notes
    -----
    A lower bound of the statistic of the unbinned values, as differences inside of a bin are not
    seen; equal to it where each bin holds one value.

    Examples
    --------
    >>> kolmogorov_smirnov(np.array([[0.5, 0.5, 0.0]]), np.array([[0.25, 0.25, 0.5]]))
    array([0.5])
    """
    return np.asarray(np.minimum(_gaps(p, q).max(axis=-1, initial=0.0), 1.0))


@rowwise()
def binned_wasserstein(p: Float64, q: Float64) -> Float64:
    """Wasserstein-1 distance of each channel between binned distributions.

    Parameters
    ----------
    p, q : float64, shape (..., D, B)
        Relative frequencies over the same bins, in the order of the values; each row sums to 1.

    Returns
    -------
    float64, shape (..., D)
        In [0, 1 - 1/B], dimensionless: the mean way that a value has to go, in shares of the joint
        range. A metric.

    Raises
    ------
    ArgumentError
        If the shapes differ or a row does not sum to 1.

    Notes
    -----
    The distance from one bin to the next is 1/B. With bins of equal width that is a share of the
    channel's range; with quantile bins it is a share of the pooled values, so the result is in
    ranks. Values count as if they lay in the middle of their bin, which moves each by half a bin
    at most; without bins and in the unit of the activations: ``samples.wasserstein``.

    Examples
    --------
    >>> binned_wasserstein(np.array([[1.0, 0.0, 0.0, 0.0]]), np.array([[0.0, 0.0, 1.0, 0.0]]))
    array([0.5])
    """
    bins = p.shape[-1]
    return np.asarray(np.minimum(_gaps(p, q).sum(axis=-1), bins - 1) / bins)


def _gaps(p: Float64, q: Float64) -> Float64:
    """Differences of the cumulated frequencies (M, B) at the inner edges, (M, B - 1)."""
    return np.abs(np.cumsum((p - q)[:, :-1], axis=-1))
