"""Distances that compare binned distributions bin by bin, beside those of the paper.

All take relative frequencies ``p, q`` (..., D, B), float64, over the same bins, rows that sum to
1, and return float64 (..., D). All raise ArgumentError if the shapes differ or a row does not sum
to 1. The order of the bins does not matter to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.distances.frequencies import rowwise

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["EPSILON", "jensen_shannon", "kullback_leibler", "total_variation"]

EPSILON: Final = 1e-6
"""Weight of the uniform distribution that :func:`kullback_leibler` mixes into both rows.

Below the share of one value of a usual set (1 of 51,200 is 2e-5), so that what was seen counts;
the same for every set, so that values of sets of different size compare.
"""


@rowwise()
def jensen_shannon(p: Float64, q: Float64) -> Float64:
    """Jensen-Shannon distance of each channel: root of the divergence to base 2.

    Parameters
    ----------
    p, q : float64, shape (..., D, B)
        Relative frequencies over the same bins; each row sums to 1.

    Returns
    -------
    float64, shape (..., D)
        In [0, 1], dimensionless; 0 where the rows agree, 1 where they share no bin. A metric.

    Raises
    ------
    ArgumentError
        If the shapes differ or a row does not sum to 1.

    Notes
    -----
    With s = p + q and t = |p - q| / s, a bin adds s/4 (log(1 - t^2) + 2 t artanh t) / log 2. No
    bin is negative in this form, so the root exists, and equal rows are at exactly 0; in the usual
    one, p log(p/m) + q log(q/m), terms of both signs cancel.

    References
    ----------
    D. M. Endres and J. E. Schindelin, "A new metric for probability distributions", IEEE Trans
    Inf Theory 49(7), 2003. Same value as ``scipy.spatial.distance.jensenshannon(p, q, base=2)``.

    Examples
    --------
    >>> jensen_shannon(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))
    array([1.])
    """
    both = p + q
    part = np.abs(p - q)
    np.divide(part, both, out=part, where=both > 0)
    apart = part == 1.0
    part[apart] = 0.0
    bins = 2.0 * part * np.arctanh(part) + np.log1p(-np.square(part))
    bins[apart] = 2.0 * np.log(2.0)  # the limit
    divergence = (both * bins).sum(axis=-1) / (4.0 * np.log(2.0))
    return np.asarray(np.sqrt(np.minimum(divergence, 1.0)))


@rowwise()
def total_variation(p: Float64, q: Float64) -> Float64:
    """Total variation distance of each channel: half the sum of abs(p - q).

    Parameters
    ----------
    p, q : float64, shape (..., D, B)
        Relative frequencies over the same bins; each row sums to 1.

    Returns
    -------
    float64, shape (..., D)
        In [0, 1]: the share of values that would have to move to other bins. A metric.

    Raises
    ------
    ArgumentError
        If the shapes differ or a row does not sum to 1.

    Examples
    --------
    >>> total_variation(np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]]))
    array([0.25])
    """
    return np.asarray(np.minimum(np.abs(p - q).sum(axis=-1) / 2, 1.0))


@rowwise()
def kullback_leibler(p: Float64, q: Float64) -> Float64:
    """Kullback-Leibler divergence KL(p || q) of each channel, smoothed, in nats.

    Parameters
    ----------
    p : float64, shape (..., D, B)
        Relative frequencies of the reference; each row sums to 1.
    q : float64, shape (..., D, B)
        Relative frequencies of the other set over the same bins.

    Returns
    -------
    float64, shape (..., D)
        In nats (``scipy.stats.entropy``'s default), not negative, 0 where the rows agree. At most
        log(1 + (1 - e) B / e), e = EPSILON, for rows that share no bin: 18.4 for B = 100.

    Raises
    ------
    ArgumentError
        If the shapes differ or a row does not sum to 1.

    Notes
    -----
    Asymmetric: it asks how badly ``q`` explains values of the reference ``p``, and KL(q || p) is
    another number. Not a metric, and no channel's value is comparable with a bounded distance.

    Plain KL is infinite as soon as one bin of the reference is empty in the other set, which a
    single value does. Both rows are therefore mixed with the uniform distribution,
    (1 - e) p + e / B. A bin with share s of the reference that is empty in the other set then adds
    about s log(s B / e): results depend on the choice of e through such bins.

    Examples
    --------
    >>> kullback_leibler(np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]])).round(4)
    array([0.1438])
    >>> kullback_leibler(np.array([[0.25, 0.75]]), np.array([[0.5, 0.5]])).round(4)
    array([0.1308])
    """
    uniform = EPSILON / p.shape[-1]
    reference = (1.0 - EPSILON) * p + uniform
    ratio = ((1.0 - EPSILON) * q + uniform) / reference
    # Both rows sum to 1, so p (q/p - 1) may be added; then no bin is negative.
    bins = reference * np.maximum(ratio - 1.0 - np.log(ratio), 0.0)
    return np.asarray(bins.sum(axis=-1))
