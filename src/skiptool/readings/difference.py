"""Difference of mean IoU between two networks that were trained several times, with its interval.

Counts are summed over subjects before the IoU is taken, and so are those without each subject, of
which :mod:`skiptool.stats.two_way` makes the interval. Pixels are whole numbers below 2^53, sums
of them exact in whatever order, so that the same counts give the same bits on any machine and
beside any other networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from skiptool.stats.two_way import OverTrainings, over_trainings

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64

__all__ = ["Differences", "differences", "iou_by_training", "without_each"]


@dataclass(frozen=True, slots=True, eq=False)
class Differences:
    """Differences of P pairs of networks; see ``differences``.

    Attributes
    ----------
    by_training : float64, shape (P, T)
        NaN where no class is there.
    found : tuple of OverTrainings, length P
    """

    by_training: Float64
    found: tuple[OverTrainings, ...]


def differences(
    first: Float64, second: Float64, present: Bool, *, level: float = 0.95
) -> Differences:
    """Compare P pairs of networks that were measured in the same trainings and subjects.

    Parameters
    ----------
    first, second : float64, shape (2, K, T, P, S)
        Pixels in both truth and prediction, and in either, by foreground class, training, pair and
        subject; 0 where a subject is not ``present``.
    present : bool, shape (T, S)
        Subjects that each training was measured on; each subject in one at least.
    level : float
        Of the interval.

    Returns
    -------
    Differences
        Of the mean over trainings of the difference of mean IoU, first minus second.

    Raises
    ------
    ArgumentError
        If the level is not between 0 and 1.
    """
    changes = without_each(first) - without_each(second)  # (T, P, 1 + S)
    found = [
        over_trainings(pair[:, 0], pair[:, 1:], present, level)
        for pair in np.moveaxis(changes, 1, 0)
    ]
    return Differences(changes[..., 0].T.copy(), tuple(found))


def iou_by_training(pixels: Float64) -> Float64:
    """Mean IoU of a network in each training, from counts summed over its subjects.

    Parameters
    ----------
    pixels : float64, shape (2, K, T, S)
        Pixels in both truth and prediction, and in either.

    Returns
    -------
    float64, shape (T,)
        NaN where no class is there.
    """
    return _mean_iou(pixels.sum(axis=-1))


def without_each(pixels: Float64) -> Float64:
    """Mean IoU of networks, and the same without each subject.

    Parameters
    ----------
    pixels : float64, shape (2, K, ..., S)
        Pixels in both truth and prediction, and in either.

    Returns
    -------
    float64, shape (..., 1 + S)
        From counts summed over all subjects, then over all but each; NaN where no class is there.
    """
    total = pixels.sum(axis=-1, keepdims=True)
    return _mean_iou(np.concatenate([total, total - pixels], axis=-1))


def _mean_iou(pixels: Float64) -> Float64:
    """Mean IoU of pixels in both and in either, (2, K, ...), as ``metrics.overlap.mean_iou``."""
    both, either = pixels
    missing = np.full(both.shape, np.nan)
    return _ordered_mean(np.divide(both, either, out=missing, where=either > 0))


def _ordered_mean(values: Float64) -> Float64:
    """Mean over the first axis, NaN left out; added in order, so that its bits never change."""
    total, count = (np.zeros(values.shape[1:]) for _ in range(2))
    for each in values:
        there = ~np.isnan(each)
        total = np.where(there, total + each, total)
        count = count + there
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))
