"""Distances between binned distributions, eqs. (8) to (10)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.distances.cumulative import binned_wasserstein, kolmogorov_smirnov
from skiptool.distances.divergences import jensen_shannon, kullback_leibler, total_variation
from skiptool.distances.frequencies import RowDistance, rowwise
from skiptool.errors import ArgumentError
from skiptool.names import Metric

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64

__all__ = [
    "DISTANCES",
    "Distance",
    "bhattacharyya",
    "bhattacharyya_complement",
    "hellinger",
    "hellinger_literal",
    "layer_mean",
]


@dataclass(frozen=True, slots=True)
class Distance:
    """A distance between binned distributions, and what statistics must know of it.

    Attributes
    ----------
    function : callable
        Relative frequencies (..., D, B) of the reference and of another set, float64, to values
        (..., D), float64.
    squared : bool
        The square is a mean over bins, so a correction of bias works on the square; otherwise on
        the value itself.
    symmetric : bool
        Swapping the sets changes nothing.
    bounded : bool
        Values are in [0, 1].
    pooled : bool
        It is estimated on pooled bins (`skiptool.distances.pooled_bins`). Distances between
        cumulated frequencies are not: they depend on where bins lie, and hardly on empty ones.
    """

    function: RowDistance
    squared: bool = False
    symmetric: bool = True
    bounded: bool = True
    pooled: bool = True


@rowwise(least=0.0)
def bhattacharyya(p: Float64, q: Float64) -> Float64:
    """Bhattacharyya coefficient of each feature channel, eq. (8).

    Parameters
    ----------
    p, q : float64, shape (..., D, B)
        Relative frequencies over the same bins; each row sums to 1, or to less where literal
        counts leave values out.

    Returns
    -------
    float64, shape (..., D)
        Dimensionless; 1 where the rows agree (up to rounding), 0 where they share no bin.

    Raises
    ------
    ArgumentError
        If the shapes differ or a row holds no frequencies.

    Examples
    --------
    >>> bhattacharyya(np.array([[0.5, 0.5]]), np.array([[0.5, 0.5]]))
    array([1.])
    """
    return np.asarray(np.sqrt(p * q).sum(axis=-1))


@rowwise()
def bhattacharyya_complement(p: Float64, q: Float64) -> Float64:
    """Complement of the Bhattacharyya coefficient of each channel, 1 - BC of eq. (8).

    Parameters
    ----------
    p, q : float64, shape (..., D, B)
        Relative frequencies over the same bins; each row sums to 1.

    Returns
    -------
    float64, shape (..., D)
        In [0, 1], dimensionless: the square of :func:`hellinger`. Not a metric.

    Raises
    ------
    ArgumentError
        If the shapes differ or a row does not sum to 1.

    Notes
    -----
    Not -log(BC), which statistics call the Bhattacharyya distance: that is infinite for a channel
    whose sets share no bin, and one such channel would make the mean of a layer, eq. (10),
    infinite. The drift detector of frouros reports 1 - BC under this name as well.

    Examples
    --------
    >>> bhattacharyya_complement(np.array([[0.5, 0.5, 0.0]]), np.array([[0.5, 0.0, 0.5]]))
    array([0.5])
    """
    return _half_squared_roots(p, q)


@rowwise()
def hellinger(p: Float64, q: Float64) -> Float64:
    """Hellinger distance of each feature channel, eqs. (8) and (9).

    Parameters
    ----------
    p, q : float64, shape (..., D, B)
        Relative frequencies over the same bins; each row sums to 1.

    Returns
    -------
    float64, shape (..., D)
        In [0, 1], dimensionless; 0 where the rows agree, 1 where they share no bin.

    Raises
    ------
    ArgumentError
        If the shapes differ or a row does not sum to 1.

    Notes
    -----
    For rows that sum to 1, eq. (9) equals the root of half the sum of (sqrt p - sqrt q)^2. That
    form is used: it is never negative, and exactly 0 for equal rows, where rounding can lift
    eq. (8) above 1. Rounding above 1 is clipped.

    Examples
    --------
    >>> hellinger(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))
    array([1.])
    """
    return np.asarray(np.sqrt(_half_squared_roots(p, q)))


def hellinger_literal(p: Float64, q: Float64) -> Float64:
    """Hellinger distance as eqs. (8) and (9) are printed, for frequencies of literal counts.

    Parameters
    ----------
    p, q : float64, shape (..., D, B)
        Relative frequencies over the same bins; rows may sum to less than 1, down to 0.

    Returns
    -------
    float64, shape (..., D)
        In [0, 1]; 1 for a channel that is constant over both sets, and the root of the share of
        values at the joint maximum for two equal sets.

    Raises
    ------
    ArgumentError
        If the shapes differ or a row holds no frequencies.

    Notes
    -----
    For audit only. Rounding can lift eq. (8) above 1, so it is clipped before the root.

    Examples
    --------
    >>> hellinger_literal(np.array([[0.0, 0.0]]), np.array([[0.0, 0.0]]))
    array([1.])
    """
    return np.asarray(np.sqrt(np.maximum(1.0 - bhattacharyya(p, q), 0.0)))


def layer_mean(values: Float64, constant: Bool) -> tuple[float, float]:
    """Mean distance of a layer over all channels, eq. (10), and over the live ones.

    Parameters
    ----------
    values : float64, shape (D,)
        Distance of each channel.
    constant : bool, shape (D,)
        Channels that are constant over both sets.

    Returns
    -------
    mean, live : float
        ``live`` leaves the constant channels out; NaN where all are constant.

    Raises
    ------
    ArgumentError
        If the shapes differ or there is no channel.

    Examples
    --------
    >>> layer_mean(np.array([0.25, 0.0]), np.array([False, True]))
    (0.125, 0.25)
    """
    if values.ndim != 1 or not values.size or values.shape != constant.shape:
        raise ArgumentError(
            f"layer mean: values {values.shape} and constant channels {constant.shape}; expected "
            "the same (D,) of at least one channel"
        )
    live = values[~constant]
    return float(values.mean()), float(live.mean()) if live.size else float("nan")


def _half_squared_roots(p: Float64, q: Float64) -> Float64:
    roots = np.sqrt(p)
    roots -= np.sqrt(q)
    np.square(roots, out=roots)
    return np.asarray(np.minimum(roots.sum(axis=-1) / 2, 1.0))


DISTANCES: Final[Mapping[Metric, Distance]] = {
    Metric.HELLINGER: Distance(hellinger, squared=True),
    Metric.BHATTACHARYYA: Distance(bhattacharyya_complement),
    Metric.JENSEN_SHANNON: Distance(jensen_shannon, squared=True),
    Metric.TOTAL_VARIATION: Distance(total_variation),
    Metric.KL: Distance(kullback_leibler, symmetric=False, bounded=False),
    Metric.KOLMOGOROV_SMIRNOV: Distance(kolmogorov_smirnov, pooled=False),
    Metric.WASSERSTEIN: Distance(binned_wasserstein, pooled=False),
}
"""Distances on bins, by name; those without bins are in ``samples`` and ``keys``."""
