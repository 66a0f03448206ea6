"""Bootstrap intervals: how a value would vary with other subjects of the same population.

Resampling S units with replacement draws each of them 0, 1, 2 ... times. A sum over units (pixel
counts) becomes a weighted sum, and R resamples of it are one matrix product.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import ArgumentError

if TYPE_CHECKING:
    from skiptool.records import Float64, Int64


def resampling_weights(units: int, resamples: int, rng: np.random.Generator) -> Int64:
    """Draw how often each of S units occurs in each of R resamples.

    Returns
    -------
    int64, shape (R, S)
        Multinomial counts with equal probabilities; each row sums to S.

    Examples
    --------
    >>> resampling_weights(3, 4, np.random.default_rng(0)).sum(axis=1)
    array([3, 3, 3, 3])
    """
    if units < 1:
        raise ArgumentError(f"resampling: {units} units, expected at least 1")
    return np.asarray(rng.multinomial(units, np.full(units, 1.0 / units), size=resamples))


def percentile_interval(replicates: Float64, level: float = 0.95) -> tuple[Float64, Float64]:
    """Return the ends of the percentile interval.

    Parameters
    ----------
    replicates : float64, shape (..., R)
        The value in each resample; NaN (undefined in that resample) is ignored.
    level : float
        Fraction of the resamples within the interval, between 0 and 1.

    Returns
    -------
    low, high : float64, shape (...)
        Quantiles at (1 - level) / 2 and (1 + level) / 2; NaN where all replicates are NaN.

    References
    ----------
    B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

    Examples
    --------
    >>> percentile_interval(np.arange(101.0), 0.9)
    (array(5.), array(95.))
    """
    check_level(level)
    probabilities = [(1.0 - level) / 2.0, (1.0 + level) / 2.0]
    rows = replicates.reshape(math.prod(replicates.shape[:-1]), replicates.shape[-1])
    ends = np.full((2, len(rows)), np.nan)
    missing = np.isnan(rows)
    complete = ~missing.any(axis=1)
    if rows.shape[1] and complete.any():
        ends[:, complete] = np.quantile(rows[complete], probabilities, axis=1)
    for row in np.flatnonzero(~complete & ~missing.all(axis=1)):
        ends[:, row] = np.quantile(rows[row][~missing[row]], probabilities)
    low, high = ends.reshape(2, *replicates.shape[:-1])
    return np.asarray(low), np.asarray(high)


def check_level(level: float) -> None:
    """Raise ArgumentError unless a confidence level is between 0 and 1."""
    if not 0.0 < level < 1.0:
        raise ArgumentError(f"interval: level {level:g}, expected between 0 and 1, such as 0.95")


def standard_error(replicates: Float64) -> Float64:
    """Return the standard deviation (n - 1) of replicates (..., R), ignoring NaN.

    NaN with fewer than two.

    Examples
    --------
    >>> standard_error(np.array([[1.0, 2.0, 3.0], [np.nan, np.nan, 1.0]]))
    array([ 1., nan])
    """
    known = ~np.isnan(replicates)
    count = known.sum(axis=-1)
    total = np.where(known, replicates, 0.0).sum(axis=-1)
    centre = total / np.maximum(count, 1)
    squares = np.where(known, np.square(replicates - centre[..., np.newaxis]), 0.0).sum(axis=-1)
    variance = np.divide(squares, count - 1, out=np.full(count.shape, np.nan), where=count > 1)
    return np.asarray(np.sqrt(variance))
