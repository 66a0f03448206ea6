"""The jackknife: bias correction and standard errors from leaving out one unit at a time.

A distance between two finite samples is never 0, because of noise. Without one unit the sample is a
little smaller and the distance a little larger; that increase, scaled up, is the bias. The same
replicates give the variance. A unit is an image or a subject; vectors of one image are not
independent and are never left out individually.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float64

UNSURE: Final = 0.1
"""Standard error of a bias correction as a fraction of it: some of the bias remains."""


def correct_bias(
    values: Float64, without: Sequence[Float64]
) -> tuple[Float64, tuple[Float64, ...]]:
    """Correct the bias of a statistic.

    Parameters
    ----------
    values : float64, shape (D,)
        The statistic of each channel; for the Hellinger distance its square, whose bias is
        proportional to one over the number of units.
    without : sequence of float64, shapes (D, U), (D, V)
        The same without each unit of the first and second set; one array for paired sets.

    Returns
    -------
    estimate : float64, shape (D,)
        Below 0 where noise exceeds the distance; NaN if a set has a single unit.
    replicates : tuple of float64, shapes as ``without``
        The estimate without each unit.

    References
    ----------
    B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap, 1993, chapters 10 and 11.
    """
    if any(part.shape[1] < 2 for part in without):
        return np.full(values.shape, np.nan), tuple(np.full(p.shape, np.nan) for p in without)
    bias = np.zeros_like(values)
    for part in without:
        bias += (part.shape[1] - 1) * (part.mean(axis=1) - values)
    return values - bias, tuple(part - bias[:, np.newaxis] for part in without)


def jackknife_variance(replicates: Sequence[Float64]) -> tuple[Float64, Float64]:
    """Return the jackknife variance and its degrees of freedom (Welch-Satterthwaite), shape (...).

    ``replicates`` (..., U) and (..., V) are estimates without each unit of two independent sets.
    The degrees of freedom are 1 where nothing varies.
    """
    parts = []
    for estimates in replicates:
        units = estimates.shape[-1]
        squares = np.square(estimates - estimates.mean(axis=-1, keepdims=True)).sum(axis=-1)
        parts.append((np.asarray(squares * (units - 1) / units), units - 1))
    variance = np.asarray(np.sum([part for part, _ in parts], axis=0))
    below = np.sum([np.square(part) / max(units, 1) for part, units in parts], axis=0)
    freedom = np.divide(
        np.square(variance), below, out=np.ones_like(variance, dtype=np.float64), where=below > 0
    )
    return variance, freedom


def half_width(
    replicates: Sequence[Float64],
    level: float = 0.95,
    *,
    correction: AnyArray | float = 0.0,
    unsure: float = UNSURE,
) -> Float64:
    """Return half the width of the interval around an estimate, shape (...).

    ``replicates`` are as for :func:`jackknife_variance`; ``correction`` (...) is the bias that was
    subtracted, of which the fraction ``unsure`` counts as an additional standard error.
    """
    from scipy.special import stdtrit  # lazy: SciPy takes a while to load

    variance, freedom = jackknife_variance(replicates)
    error = np.sqrt(variance + np.square(unsure * np.asarray(correction)))
    return np.asarray(stdtrit(freedom, (1 + level) / 2) * error)


def interval(
    estimate: Float64,
    replicates: Sequence[Float64],
    level: float = 0.95,
    *,
    correction: Float64 | float = 0.0,
) -> tuple[Float64, Float64]:
    """Return the ends of the jackknife interval, with quantiles of Student's t.

    ``estimate`` is (...); the other arguments are those of :func:`half_width`. ``level`` is the
    probability of covering the true value, given the bins.
    """
    half = half_width(replicates, level, correction=correction)
    return estimate - half, estimate + half
