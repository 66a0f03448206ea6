"""Holm's adjustment of p-values of several tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["holm"]


def holm(p_values: Float64) -> Float64:
    """Adjust p-values so that the chance of any false finding is held, whatever their dependence.

    Parameters
    ----------
    p_values : float64, shape (M,)
        In [0, 1]; NaN is a test that was not made, and counts for nothing.

    Returns
    -------
    float64, shape (M,)
        In [0, 1] and in the same order as before; NaN stays.

    References
    ----------
    S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6 (1979) 65-70.

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, 0.03, np.nan]))
    array([0.03, 0.06, 0.06,  nan])
    """
    adjusted = np.full(p_values.shape, np.nan)
    made = np.flatnonzero(~np.isnan(p_values))
    order = made[np.argsort(p_values[made], kind="stable")]
    steps = p_values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
