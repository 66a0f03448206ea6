"""Mean of a statistic over trainings and subjects, both random effects: interval and test.

A statistic of networks (a difference of IoU) varies for two reasons: another training (different
initial weights, batch order or fold) gives another network, and other subjects give another value.
Both are random effects here, like readers and cases in multi-reader multi-case (MRMC) studies of
diagnostic accuracy, whose analysis this is. With d(t) the statistic in training t of T and d(t, -s)
the same without subject s of S, the pseudo-values z(t, s) = S d(t) - (S - 1) d(t, -s) form a
two-way table, and

- V_t = variance of d(t) over trainings / T contains the variation between trainings, and the
  interaction of trainings and subjects;
- V_s = variance over subjects of the mean over trainings of z(t, s) / S (the jackknife) contains
  the variation between subjects, and the interaction again;
- V_ts = residual variance of the two-way table / (S T) is the interaction alone;
- V = V_t + max(V_s - V_ts, 0) is the variance of the mean.

V_t is based on few trainings and may be small by chance. With w = sqrt(V_t / V), the interval and
the test use Student's t with 1 / (w / (T - 1) + (1 - w) / (S - 1)) degrees of freedom: those of the
trainings if they account for all of the error, those of the subjects if they account for none.
Hillis's (T - 1) (V / V_t)^2 gave up to 13 % false positives with two trainings, this choice at most
about 7 % in every setting simulated in ``tests/benchmarks/trainings.py``.

If trainings were measured on different subjects (each fold on its own validation samples), the
values of the folds vary with the subjects as well. Then the folds are the units: V is the variance
of their means, with one degree of freedom fewer than folds.

With one training there is no V_t. The interval is then over subjects, for these networks, and there
is no test: the data say nothing about other trainings.

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


@dataclass(frozen=True, slots=True)
class OverTrainings:
    """Mean of a statistic over trainings; NaN marks what cannot be estimated.

    Attributes
    ----------
    sd_trainings : float
        Standard deviation (n - 1) between trainings.
    se_trainings, se_subjects : float
        Standard errors: that due to trainings, and that over subjects for these trainings.
    p_value : float
        Two-sided, for a mean of 0 over all trainings and subjects; NaN with one training, and if
        nothing varies although the value is not 0.
    nested : bool
        Groups of trainings were measured on different subjects; these groups are the units.
    """

    value: float = np.nan
    sd_trainings: float = np.nan
    se_trainings: float = np.nan
    se_subjects: float = np.nan
    ci_low: float = np.nan
    ci_high: float = np.nan
    p_value: float = np.nan
    nested: bool = False


def over_trainings(
    values: Float64, left_out: Float64, present: Bool, level: float = 0.95
) -> OverTrainings:
    """Analyse a statistic measured in T trainings on S subjects.

    With one training the result has an interval over subjects and no test; with one subject
    neither.

    Parameters
    ----------
    values : float64, shape (T,)
        The statistic in each training; NaN is ignored.
    left_out : float64, shape (T, S)
        The same without each subject; equal to ``values`` where the training lacks the subject.
    present : bool, shape (T, S)
        Subjects on which each training was measured.
    level : float
        Confidence level of the interval.

    Examples
    --------
    >>> values, left_out = np.array([0.3, 0.1]), np.array([[0.2, 0.4], [0.0, 0.2]])
    >>> mean = over_trainings(values, left_out, np.ones((2, 2), dtype=bool))
    >>> round(mean.value, 3), round(mean.se_trainings, 3), round(mean.se_subjects, 3)
    (0.2, 0.1, 0.1)
    """
    known = ~np.isnan(values)
    values, left_out, present = values[known], left_out[known], present[known]
    used = present.any(axis=0)
    left_out, present = left_out[:, used], present[:, used]
    trainings, subjects = present.shape
    if not trainings:
        return _summary(values, np.nan, np.nan, np.nan, np.nan, level)
    blocks = _blocks(present)
    of_subjects, interaction = _jackknife(values, left_out, present)
    if trainings == 1:
        return _summary(values, np.nan, of_subjects, of_subjects, subjects - 1.0, level)
    if blocks.max() > 0:
        variance, freedom = _between_blocks(values, blocks), float(blocks.max())
        return _summary(values, variance, of_subjects, variance, freedom, level, nested=True)
    of_trainings = float(values.var(ddof=1)) / trainings
    own = max(of_subjects - interaction, 0.0) if subjects > 1 else np.nan
    variance = of_trainings + own
    freedom = _freedom(of_trainings, variance, trainings, subjects)
    return _summary(values, of_trainings, of_subjects, variance, freedom, level)


def with_known_error(
    values: Float64, error: float, subjects: int, level: float = 0.95
) -> OverTrainings:
    """Analyse a statistic with known standard error over subjects, but unknown pseudo-values.

    ``values`` (T,) is the statistic in each training, all on the same S subjects; NaN is ignored.
    ``error`` is the standard error over these subjects of its mean over the trainings. The
    interaction of trainings and subjects then counts twice: intervals are somewhat too wide.
    """
    values = values[~np.isnan(values)]
    square = error**2
    if len(values) < 2:
        return _summary(values, np.nan, square, square, subjects - 1.0, level)
    of_trainings = float(values.var(ddof=1)) / len(values)
    variance = of_trainings + square
    freedom = _freedom(of_trainings, variance, len(values), subjects)
    return _summary(values, of_trainings, square, variance, freedom, level)


def _summary(
    values: Float64,
    of_trainings: float,
    of_subjects: float,
    variance: float,
    freedom: float,
    level: float,
    *,
    nested: bool = False,
) -> OverTrainings:
    if not 0.0 < level < 1.0:
        raise ArgumentError(f"interval: level {level:g}, expected between 0 and 1, such as 0.95")
    if not len(values):
        return OverTrainings()
    value, several = float(sum(values) / len(values)), len(values) > 1
    error = np.sqrt(variance)
    half = float(stdtrit(freedom, (1 + level) / 2) * error) if freedom > 0 else np.nan
    return OverTrainings(
        value=value,
        sd_trainings=float(values.std(ddof=1)) if several else np.nan,
        se_trainings=float(np.sqrt(of_trainings)),
        se_subjects=float(np.sqrt(of_subjects)),
        ci_low=value - half,
        ci_high=value + half,
        p_value=_two_sided(value, error, freedom) if several else np.nan,
        nested=nested,
    )


def _blocks(present: Bool) -> Int64:
    """Return the group of each training, (T,), such that no two groups share a subject."""
    numbers = np.arange(len(present))
    for training, subjects in enumerate(present):
        sharing = [*numbers[(present & subjects).any(axis=1)], numbers[training]]
        numbers[np.isin(numbers, sharing)] = min(sharing)
    return np.unique(numbers, return_inverse=True)[1]


def _jackknife(values: Float64, left_out: Float64, present: Bool) -> tuple[float, float]:
    """Return V_s and V_ts; V_ts is 0 if the table is incomplete, so that all of V_s counts."""
    trainings, subjects = present.shape
    if subjects < 2:
        return np.nan, 0.0
    pseudo = subjects * values[:, np.newaxis] - (subjects - 1) * left_out
    means = pseudo.mean(axis=0)
    over_subjects = float(means.var(ddof=1)) / subjects
    if trainings < 2 or not present.all():
        return over_subjects, 0.0
    residual = pseudo - means - pseudo.mean(axis=1, keepdims=True) + pseudo.mean()
    squares = float(np.square(residual).sum()) / ((trainings - 1) * (subjects - 1))
    return over_subjects, squares / (trainings * subjects)


def _between_blocks(values: Float64, blocks: Int64) -> float:
    """Return the variance of the mean over trainings with blocks of them as units."""
    sizes = np.bincount(blocks)
    deviations = np.bincount(blocks, values - values.mean())
    count = len(sizes)
    return float(np.square(deviations).sum() / sizes.sum() ** 2 * count / (count - 1))


def _freedom(over_trainings: float, variance: float, trainings: int, subjects: int) -> float:
    """Return degrees of freedom between those of the trainings and those of the subjects."""
    if np.isnan(variance):
        return np.nan
    share = np.sqrt(over_trainings / variance) if variance > 0 else 1.0
    return float(1 / (share / (trainings - 1) + (1 - share) / (subjects - 1)))


def _two_sided(value: float, error: float, freedom: float) -> float:
    """Return the two-sided p-value; NaN if nothing varies (copies of one network)."""
    if np.isnan(error):
        return np.nan
    if error == 0:
        return 1.0 if value == 0 else np.nan
    return float(2 * stdtr(freedom, -abs(value) / error))
