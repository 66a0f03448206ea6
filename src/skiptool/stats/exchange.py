"""Paired tests by exchange: within each unit, what belongs to two networks changes places.

If two networks were alike, it would not matter which of a subject's two results is called whose.
The p-value is the share of exchanges that give at least so large a difference as was found. With
few units all exchanges can be gone through, and their number bounds how small p can be: with S
units it is never below 2 / 2^S.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import ArgumentError
from skiptool.stats.permutation import p_values

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64

__all__ = ["exchange_p_values", "exchanges", "least_p_value"]


def exchanges(units: int, draws: int, rng: np.random.Generator) -> Bool:
    """Draw in which units the two networks change places, or list all ways where these are fewer.

    Parameters
    ----------
    units : int
        S, at least 1.
    draws : int
        R, at least 1.
    rng : numpy.random.Generator
        Not used where all are listed.

    Returns
    -------
    bool, shape (R or 2^S - 1, S)
        True where they change places. The list has all but the one that changes nothing, which
        the p-value counts by itself.

    Raises
    ------
    ArgumentError
        If there is no unit or no draw.

    Examples
    --------
    >>> exchanges(2, 99, np.random.default_rng(0)).astype(int)
    array([[1, 0],
           [0, 1],
           [1, 1]])
    """
    if units < 1 or draws < 1:
        raise ArgumentError(f"exchange: {units} units and {draws} draws, expected at least 1 each")
    if _all_are_listed(units, draws):
        return (np.arange(1, 2**units)[:, np.newaxis] >> np.arange(units) & 1).astype(bool)
    return rng.integers(0, 2, (draws, units), dtype=np.uint8).astype(bool)


def exchange_p_values(observed: Float64, exchanged: Float64) -> Float64:
    """Return two-sided p = (1 + k) / (1 + R), k of R differences being as large as the one found.

    Parameters
    ----------
    observed : float64, shape (...)
        Difference found; NaN gives NaN.
    exchanged : float64, shape (..., R)
        Differences after each of the ``exchanges``. One that is not defined (NaN) counts as large.

    Returns
    -------
    float64, shape (...)
        Where all exchanges are listed this is k' / 2^S, the exact value, with k' of all exchanges
        as large, the one that changes nothing among them.

    References
    ----------
    B. Phipson and G. K. Smyth, Permutation p-values should never be zero, Statistical
    Applications in Genetics and Molecular Biology 9 (2010) 39.

    Examples
    --------
    >>> float(exchange_p_values(np.array(0.5), np.array([-0.5, 0.1, -0.1])))
    0.5
    """
    sizes = np.where(np.isnan(exchanged), np.inf, np.abs(exchanged))
    return p_values(np.abs(observed), sizes)


def least_p_value(units: int, draws: int) -> float:
    """Return the smallest p-value that so many units and draws allow.

    Examples
    --------
    >>> least_p_value(4, 9_999), least_p_value(50, 9_999)
    (0.125, 0.0001)
    """
    # The exchange of all units turns the sign alone: it is as large as what was found.
    return 2.0 / 2**units if _all_are_listed(units, draws) else 1.0 / (1 + draws)


def _all_are_listed(units: int, draws: int) -> bool:
    return bool(2**units <= draws)
