"""Isotonic regression, and conformal prediction bands around it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import isotonic_regression

if TYPE_CHECKING:
    from skiptool.records import Float64


@dataclass(frozen=True, slots=True, eq=False)
class Monotone:
    """A non-decreasing function: linear between its knots (ascending), constant beyond them."""

    knots: Float64
    values: Float64

    def __call__(self, x: Float64) -> Float64:
        """Evaluate at points of any shape; NaN stays NaN."""
        return np.asarray(np.interp(x, self.knots, self.values), dtype=np.float64)


def fit_monotone(x: Float64, y: Float64) -> Monotone:
    """Fit the non-decreasing function of ``x`` that is closest to ``y`` in least squares.

    Parameters
    ----------
    x, y : float64, shape (P,)
        Finite, at least one point. Points with equal ``x`` count as their mean, weighted by their
        number.

    References
    ----------
    R. E. Barlow, D. J. Bartholomew, J. M. Bremner and H. D. Brunk, Statistical Inference under
    Order Restrictions, Wiley 1972.

    Examples
    --------
    >>> line = fit_monotone(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 0.4, 0.2, 0.5]))
    >>> [round(value, 9) for value in line.values.tolist()]
    [0.0, 0.3, 0.3, 0.5]
    >>> [round(value, 9) for value in line(np.array([-1.0, 0.5, 9.0])).tolist()]
    [0.0, 0.15, 0.5]
    """
    knots, indices, counts = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(indices, weights=y) / counts
    return Monotone(knots, isotonic_regression(means, weights=counts.astype(np.float64)).x)


def conformal_width(residuals: Float64, level: float) -> float:
    """Return half the width of the split conformal prediction band.

    Parameters
    ----------
    residuals : float64, shape (P,)
        Absolute residuals of points that the function was not fitted to.
    level : float
        Coverage, in (0, 1).

    Returns
    -------
    float
        The k-th smallest residual, k = ceil((P + 1) level); NaN if there are fewer than k.

    References
    ----------
    J. Lei, M. G'Sell, A. Rinaldo, R. J. Tibshirani and L. Wasserman, Distribution-free predictive
    inference for regression, Journal of the American Statistical Association 113 (2018) 1094-1111,
    algorithm 2.

    Examples
    --------
    >>> conformal_width(np.array([0.3, 0.1, 0.2]), 0.75), conformal_width(np.array([0.3]), 0.75)
    (0.3, nan)
    """
    rank = math.ceil((len(residuals) + 1) * level - 1e-9)  # 20 * 0.95 must give 19
    return float(np.sort(residuals)[rank - 1]) if rank <= len(residuals) else math.nan
