"""Permutation tests by relabelling units, and p-values adjusted for multiple tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float64

_TIE = 1e-9
"""Relative difference up to which values count as tied: sums are taken in different orders."""


def relabellings(
    reference: int, other: int, permutations: int, *, paired: bool, rng: np.random.Generator
) -> AnyArray:
    """Draw the pooled units that are labelled as the reference.

    Parameters
    ----------
    reference, other : int
        Units n and m of the two sets; the pool is the reference's 0..n-1, then the other's.
    permutations : int
        R.
    paired : bool
        Units i of both sets are a pair: one of each pair is drawn, so labels are exchanged only
        within pairs.

    Returns
    -------
    int32, shape (R, n)
        Ascending indices of units; rows are drawn independently.
    """
    if paired:
        drawn = np.arange(reference) + reference * rng.integers(0, 2, (permutations, reference))
        return np.sort(drawn, axis=1).astype(np.int32)
    order = np.argsort(rng.random((permutations, reference + other)), axis=1, kind="stable")
    return np.sort(order[:, :reference], axis=1).astype(np.int32)


def p_values(observed: Float64, null: Float64) -> Float64:
    """Return p = (1 + k) / (1 + R), where k of R null values reach the observed one.

    Parameters
    ----------
    observed : float64, shape (...)
    null : float64, shape (..., R)

    Returns
    -------
    float64, shape (...)
        At least 1 / (1 + R): never 0 (Phipson and Smyth 2010). NaN where the observed value is.

    Examples
    --------
    >>> p_values(np.array([0.5, 0.1]), np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]]))
    array([0.25, 1.  ])
    """
    p = _exceedance(observed, null, _TIE * np.abs(observed))
    return np.asarray(np.where(np.isnan(observed), np.nan, p))


def adjusted_p_values(observed: Float64, null: Float64) -> Float64:
    """Adjust p-values over layers by the step-down maximum statistic of shared relabellings.

    Parameters
    ----------
    observed : float64, shape (L,)
        Distance of each layer.
    null : float64, shape (L, R)
        Distances under the same R relabellings in every layer.

    Returns
    -------
    float64, shape (L,)
        Probability of such a large value in any layer if no layer differs: controls the family-wise
        error over layers without assuming independence.

    Notes
    -----
    Layers are standardised by mean and standard deviation of all 1 + R values, including the
    observed one, which keeps it exchangeable. A layer whose values never vary scores 0.

    References
    ----------
    P. H. Westfall and S. S. Young, Resampling-Based Multiple Testing, Wiley 1993, algorithm 4.1.
    """
    values = np.concatenate([observed[:, np.newaxis], null], axis=1)
    rounding = _TIE * np.abs(values).max(axis=1, keepdims=True)
    spread = values.std(axis=1, keepdims=True)
    centred = values - values.mean(axis=1, keepdims=True)
    varies = spread > rounding
    scores = np.divide(centred, spread, out=np.zeros_like(values), where=varies)
    ties = np.divide(rounding, spread, out=np.zeros_like(rounding), where=varies)[:, 0]
    order = np.argsort(-scores[:, 0], kind="stable")
    # From the lowest score up: the maximum over a layer and all those below it.
    highest = np.maximum.accumulate(scores[order[::-1]], axis=0)[::-1]
    raw = _exceedance(scores[order, 0], highest[:, 1:], ties[order])
    adjusted = np.empty(len(observed))
    adjusted[order] = np.maximum.accumulate(raw)
    return adjusted


def _exceedance(observed: Float64, null: Float64, tie: Float64) -> Float64:
    """Return (1 + k) / (1 + R), k null values being at most ``tie`` below the observed one."""
    count = (null >= (observed - tie)[..., np.newaxis]).sum(axis=-1)
    return np.asarray((1 + count) / (1 + null.shape[-1]))


def holm(p_values: Float64) -> Float64:
    """Adjust p-values (M,) by Holm's method: family-wise error control under any dependence.

    NaN means that a test was not made: it is not counted, and stays NaN.

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
