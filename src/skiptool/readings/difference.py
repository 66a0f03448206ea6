"""Difference of mean IoU between two networks that were trained several times, with its interval.

A difference varies for two reasons: another training (other initial weights, another order of the
batches, another fold) gives another network, and other subjects give another IoU. Both are random
here, as readers and cases are in studies of diagnostic accuracy with several readers (MRMC), whose
analysis this is. With d(t) the difference in training t of T and d(t, -s) the same without subject
s of S, the pseudo-values z(t, s) = S d(t) - (S - 1) d(t, -s) make a two-way table, and

- V_t = variance of d(t) over trainings / T holds what varies between trainings, and the
  interaction of trainings and subjects;
- V_s = variance of the mean over trainings of z(t, s) over subjects / S (the jackknife) holds what
  varies between subjects, and the interaction once more;
- V_ts = variance of what the two-way table leaves / (S T) is the interaction alone;
- V = V_t + max(V_s - V_ts, 0) is the variance of the mean difference.

V_t rests on few trainings and may be small by chance. With w = sqrt(V_t / V), the interval and the
test use Student's t with 1 / (w / (T - 1) + (1 - w) / (S - 1)) degrees of freedom: those of the
trainings where they make up all of the error, those of the subjects where they make up none of it.
Hillis's (T - 1) (V / V_t)^2 gives up to 13 % false alarms with two trainings; with this choice
they were 1 to 7 % in all simulated settings (``tests/benchmarks/trainings.py``).

Where trainings were measured on different subjects (each fold on its own validation samples), the
differences of the folds vary with the subjects as well. Then the folds are the units: V is the
variance of their means, with one degree of freedom less than there are folds.

With one training there is no V_t. The interval is then one over subjects, for these two networks,
and there is no test: what another training would give, nothing in the data says.

References
----------
D. D. Dorfman, K. S. Berbaum and C. E. Metz, Receiver operating characteristic rating analysis:
generalization to the population of readers and patients with the jackknife method, Investigative
Radiology 27 (1992) 723-731. S. L. Hillis, A comparison of denominator degrees of freedom methods
for multiple observer ROC analysis, Statistics in Medicine 26 (2007) 596-619.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtr, stdtrit

from skiptool.errors import ArgumentError

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64, Int64

__all__ = ["Differences", "differences", "iou_by_training"]


@dataclass(frozen=True, slots=True, eq=False)
class Differences:
    """Differences of P pairs of networks; see ``differences``.

    Attributes
    ----------
    by_training : float64, shape (P, T)
        NaN where no class is there.
    value, sd_trainings, se_trainings, se_subjects : float64, shape (P,)
    ci_low, ci_high, p_value : float64, shape (P,)
    nested : bool, shape (P,)
        Groups of trainings were measured on subjects of their own, and are the units.
    """

    by_training: Float64
    value: Float64
    sd_trainings: Float64
    se_trainings: Float64
    se_subjects: Float64
    ci_low: Float64
    ci_high: Float64
    p_value: Float64
    nested: Bool


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
        ``value`` is the mean over trainings of the difference of mean IoU, first minus second;
        ``sd_trainings`` the standard deviation (n - 1) between trainings, ``se_trainings`` the
        standard error that follows from it, ``se_subjects`` that over subjects (jackknife). With
        one training the interval is over subjects and ``p_value`` is NaN, as is all else that
        cannot be said from one training or one subject.

    Raises
    ------
    ArgumentError
        If the level is not between 0 and 1.
    """
    if not 0.0 < level < 1.0:
        raise ArgumentError(f"interval: level {level:g}, expected it between 0 and 1, as 0.95")
    sums = first.sum(axis=-1), second.sum(axis=-1)
    by_training = (_mean_iou(sums[0]) - _mean_iou(sums[1])).T  # (P, T)
    without = [
        total[..., np.newaxis] - pixels for total, pixels in zip(sums, (first, second), strict=True)
    ]
    left = (_mean_iou(without[0]) - _mean_iou(without[1])).transpose(1, 0, 2)  # (P, T, S)
    found = [
        _inference(each, loo, present, level) for each, loo in zip(by_training, left, strict=True)
    ]
    value, spread, trainings, subjects, low, high, p_value, nested = (
        np.array(found).reshape(len(by_training), 8).T
    )
    errors = spread, trainings, subjects
    nests = nested.astype(bool)
    return Differences(by_training.copy(), value, *errors, low, high, p_value, nests)


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


def _inference(each: Float64, left: Float64, present: Bool, level: float) -> tuple[float, ...]:
    """Fields of ``Differences`` after the first for one pair: differences (T,), without (T, S)."""
    known = ~np.isnan(each)
    each, left, present = each[known], left[known], present[known]
    used = present.any(axis=0)
    left, present = left[:, used], present[:, used]
    trainings, subjects = present.shape
    if not trainings:
        return (*(np.nan,) * 7, False)
    value = float(_ordered_mean(each))
    spread = float(each.std(ddof=1)) if trainings > 1 else np.nan
    blocks = _blocks(present)
    nested = bool(blocks.max() > 0)
    over_subjects, interaction = _jackknife(each, left, present)
    if trainings == 1:
        over_trainings, variance, freedom = np.nan, over_subjects, subjects - 1.0
    elif nested:
        over_trainings = variance = _between_blocks(each, blocks)
        freedom = float(blocks.max())
    else:
        over_trainings = spread**2 / trainings
        own = max(over_subjects - interaction, 0.0) if subjects > 1 else np.nan
        variance = over_trainings + own
        freedom = _freedom(over_trainings, variance, trainings, subjects)
    error = np.sqrt(variance)
    half = stdtrit(freedom, (1 + level) / 2) * error if freedom > 0 else np.nan
    p_value = np.nan if trainings == 1 else _two_sided(value, error, freedom)
    errors = np.sqrt(over_trainings), np.sqrt(over_subjects)
    return value, spread, *errors, value - half, value + half, p_value, nested


def _blocks(present: Bool) -> Int64:
    """Give trainings, (T,), the number of their group; no two groups share a subject."""
    numbers = np.arange(len(present))
    for place, mine in enumerate(present):
        joined = numbers[(present & mine).any(axis=1)]
        numbers[np.isin(numbers, [*joined, numbers[place]])] = min(*joined, numbers[place])
    return np.unique(numbers, return_inverse=True)[1]


def _jackknife(each: Float64, left: Float64, present: Bool) -> tuple[float, float]:
    """Variance of the mean over subjects V_s, and of the interaction in it V_ts.

    V_ts is 0 where the table has holes: then all of V_s counts.
    """
    trainings, subjects = present.shape
    if subjects < 2:
        return np.nan, 0.0
    pseudo = subjects * each[:, np.newaxis] - (subjects - 1) * left
    means = pseudo.mean(axis=0)
    over_subjects = float(means.var(ddof=1)) / subjects
    if trainings < 2 or not present.all():
        return over_subjects, 0.0
    rest = pseudo - means - pseudo.mean(axis=1, keepdims=True) + pseudo.mean()
    squares = float(np.square(rest).sum()) / ((trainings - 1) * (subjects - 1))
    return over_subjects, squares / (trainings * subjects)


def _between_blocks(each: Float64, blocks: Int64) -> float:
    """Variance of the mean over trainings where blocks of them are the units."""
    sizes = np.bincount(blocks)
    off = np.bincount(blocks, each - each.mean())
    count = len(sizes)
    return float(np.square(off).sum() / sizes.sum() ** 2 * count / (count - 1))


def _freedom(over_trainings: float, variance: float, trainings: int, subjects: int) -> float:
    """Degrees of freedom between those of the trainings and those of the subjects."""
    if np.isnan(variance):
        return np.nan
    share = np.sqrt(over_trainings / variance) if variance > 0 else 1.0
    return float(1 / (share / (trainings - 1) + (1 - share) / (subjects - 1)))


def _two_sided(value: float, error: float, freedom: float) -> float:
    if np.isnan(error):
        return np.nan
    if error == 0:
        return 1.0 if value == 0 else 0.0
    return float(2 * stdtr(freedom, -abs(value) / error))


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
