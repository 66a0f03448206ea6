"""Overlap of truth and prediction from confusion counts.

All take counts (..., J, J) by [truth, predicted] as ``metrics.confusion.count`` gives them. Add
counts up over the samples of a split before: a mean of scores over images or batches is another
quantity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import ArgumentError

if TYPE_CHECKING:
    from skiptool.records import Float64, Int64

__all__ = ["dice", "iou", "mean_iou", "precision", "recall"]


def iou(counts: Int64) -> Float64:
    """Intersection over union of each class.

    Parameters
    ----------
    counts : int64, shape (..., J, J)
        Pixels by [truth, predicted].

    Returns
    -------
    float64, shape (..., J)
        In [0, 1]; NaN where a class is absent from truth and prediction.

    Raises
    ------
    ArgumentError
        If the last two axes are not of one length.

    Examples
    --------
    >>> iou(np.array([[5, 1], [2, 2]]))
    array([0.625, 0.4  ])
    """
    both, true, predicted = _parts(counts)
    return _ratio(both, true + predicted - both)


def dice(counts: Int64) -> Float64:
    """Dice coefficient (F1 score) of each class: twice the intersection over the sum of both.

    Parameters, result and errors as of ``iou``.

    Examples
    --------
    >>> dice(np.array([[4, 0], [3, 3]])).round(3)
    array([0.727, 0.667])
    """
    both, true, predicted = _parts(counts)
    return _ratio(2 * both, true + predicted)


def precision(counts: Int64) -> Float64:
    """Share of the pixels predicted as a class that are of it.

    Parameters, result and errors as of ``iou``; 0 where a class of the truth is never predicted.

    Examples
    --------
    >>> precision(np.array([[4, 0], [4, 2]]))
    array([0.5, 1. ])
    """
    both, true, predicted = _parts(counts)
    return _ratio(both, np.where((predicted == 0) & (true > 0), 1, predicted))


def recall(counts: Int64) -> Float64:
    """Share of the pixels of a class that are predicted as it (sensitivity).

    Parameters, result and errors as of ``iou``; 0 where a predicted class is not in the truth.

    Examples
    --------
    >>> recall(np.array([[4, 0], [3, 1]]))
    array([1.  , 0.25])
    """
    both, true, predicted = _parts(counts)
    return _ratio(both, np.where((true == 0) & (predicted > 0), 1, true))


def mean_iou(counts: Int64) -> Float64:
    """Mean IoU over the foreground classes (label 1 and above).

    Parameters
    ----------
    counts : int64, shape (..., J, J)
        Pixels by [truth, predicted], J > 1.

    Returns
    -------
    float64, shape (...)
        In [0, 1]. Classes absent from truth and prediction are left out; NaN if all are.

    Raises
    ------
    ArgumentError
        If the last two axes are not of one length, or there is no foreground class.

    Examples
    --------
    >>> float(mean_iou(np.array([[5, 1, 0], [2, 2, 0], [0, 0, 0]])))
    0.4
    """
    scores = iou(counts)[..., 1:]
    if not scores.shape[-1]:
        raise ArgumentError(
            "mean IoU: counts hold the background alone, expected a class beside it"
        )
    present = ~np.isnan(scores)
    return _ratio(np.where(present, scores, 0.0).sum(axis=-1), present.sum(axis=-1))


def _parts(counts: Int64) -> tuple[Int64, Int64, Int64]:
    """Pixels of each class in both, in the truth, in the prediction; each (..., J)."""
    if counts.ndim < 2 or counts.shape[-1] != counts.shape[-2]:
        raise ArgumentError(
            f"overlap: counts have shape {counts.shape}, expected (..., J, J), truth by prediction"
        )
    both = np.diagonal(counts, axis1=-2, axis2=-1)
    return both, counts.sum(axis=-1), counts.sum(axis=-2)


def _ratio(part: Int64 | Float64, whole: Int64) -> Float64:
    """``part / whole``, NaN where the whole is 0."""
    missing = np.full(np.shape(whole), np.nan)
    ratio: Float64 = np.divide(part, whole, out=missing, where=np.asarray(whole) > 0)
    return ratio
