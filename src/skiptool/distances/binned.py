"""Distances between binned distributions, eqs. (8) to (10)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.errors import ArgumentError
from skiptool.names import Metric

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64

__all__ = ["DISTANCES", "bhattacharyya", "hellinger", "hellinger_literal", "layer_mean"]

_TOLERANCE: Final = 1e-9
"""How far a row of frequencies may be from a sum of 1 by rounding."""


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
    _check_frequencies(p, q, least=0.0)
    return np.asarray(np.sqrt(p * q).sum(axis=-1))


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
    _check_frequencies(p, q, least=1.0)
    halved = np.square(np.sqrt(p) - np.sqrt(q)).sum(axis=-1) / 2
    return np.asarray(np.sqrt(np.minimum(halved, 1.0)))


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


def _check_frequencies(p: Float64, q: Float64, least: float) -> None:
    if p.shape != q.shape or p.ndim == 0:
        raise ArgumentError(
            f"distance: frequencies have shapes {p.shape} and {q.shape}; expected the same "
            "(D, B); count both with the same bins"
        )
    for rows in (p, q):
        sums = rows.sum(axis=-1)
        within = (sums >= least - _TOLERANCE) & (sums <= 1.0 + _TOLERANCE)
        if not within.all() or (rows < 0).any():
            raise ArgumentError(
                f"distance: rows sum to {sums.min():g}..{sums.max():g}, expected relative "
                f"frequencies that sum to {'1' if least else 'at most 1'}; divide the counts by "
                "their number ('frequencies')"
            )


DISTANCES: Final[Mapping[Metric, Callable[[Float64, Float64], Float64]]] = {
    Metric.HELLINGER: hellinger,
}
"""Distances on bins: frequencies (..., D, B) of two sets to values (..., D) in [0, 1]."""
