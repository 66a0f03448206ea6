"""Difference of mean IoU of two networks over the same subjects: interval, error, p-value.

Counts are summed over subjects before the IoU is taken, and so is each resample of them: all R
sums are one matrix product. Pixels are whole numbers below 2^53, sums of them exact in whatever
order, so that the same seed gives the same bits on any machine and beside any other networks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.stats.bootstrap import percentile_interval, resampling_weights, standard_error
from skiptool.stats.exchange import exchange_p_values, exchanges

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float64

__all__ = ["EXCHANGES", "RESAMPLES", "Differences", "differences", "iou_by_fold"]

RESAMPLES: Final = 2_000
"""R of the interval over subjects."""

EXCHANGES: Final = 9_999
"""R of the test; with 13 subjects or fewer all 2^S exchanges are gone through."""

_MEMORY: Final = 120e6  # bytes of all temporary arrays of one block of resamples
_ARRAYS: Final = 5  # of these at a time


@dataclass(frozen=True, slots=True, eq=False)
class Differences:
    """Differences of P pairs of networks; see ``differences``.

    Attributes
    ----------
    by_fold : float64, shape (P, F)
        NaN where no class is there.
    value, sd_folds, ci_low, ci_high, se_subjects, p_value : float64, shape (P,)
    """

    by_fold: Float64
    value: Float64
    sd_folds: Float64
    ci_low: Float64
    ci_high: Float64
    se_subjects: Float64
    p_value: Float64


def differences(
    pruned: Float64, baseline: Float64, *, level: float = 0.95, seed: int = 0
) -> Differences:
    """Compare P pairs of networks that were measured on the same folds and subjects.

    Parameters
    ----------
    pruned, baseline : float64, shape (2, K, F, P, S)
        Pixels in both truth and prediction, and in either, by foreground class, fold, pair and
        subject.
    level : float
        Of the interval.
    seed : int
        Subjects are drawn from it and their number S alone: all pairs and folds see the same draw.

    Returns
    -------
    Differences
        ``value`` is the mean over folds of the difference of mean IoU; ``sd_folds`` the standard
        deviation (n - 1) between folds. Over subjects: the percentile interval and the standard
        deviation of the resampled differences, and the p-value of exchanging the two networks
        within subjects. What cannot be said from one fold or one subject is NaN.

    Raises
    ------
    ArgumentError
        If the level is not between 0 and 1.
    """
    subjects = pruned.shape[-1]
    everyone = np.ones((subjects, 1))
    sums = (_product(pruned, everyone), _product(baseline, everyone))
    by_fold = (_mean_iou(sums[0]) - _mean_iou(sums[1]))[..., 0]
    value, across = _mean(by_fold), np.ascontiguousarray(by_fold.T)
    low, high, error, p = (np.full(value.shape, np.nan) for _ in range(4))
    if subjects > 1:
        rng = np.random.default_rng([seed, subjects])
        weights = resampling_weights(subjects, RESAMPLES, rng)
        resampled = _in_blocks(partial(_resampled, pruned, baseline), weights, pruned.size)
        low, high = percentile_interval(resampled, level)
        error = standard_error(resampled)
        swaps = exchanges(subjects, EXCHANGES, rng)
        exchanged = _in_blocks(partial(_exchanged, baseline - pruned, *sums), swaps, pruned.size)
        p = exchange_p_values(value, exchanged)
    return Differences(across, value, standard_error(across), low, high, error, p)


def iou_by_fold(pixels: Float64) -> Float64:
    """Mean IoU of a network in each fold, from counts summed over its subjects.

    Parameters
    ----------
    pixels : float64, shape (2, K, F, S)
        Pixels in both truth and prediction, and in either.

    Returns
    -------
    float64, shape (F,)
        NaN where no class is there.
    """
    return _mean_iou(pixels.sum(axis=-1))


def _in_blocks(statistic: Callable[[Float64], Float64], drawn: AnyArray, size: int) -> Float64:
    """Differences (P, R) of drawn weights (R, S), in blocks that fit into memory."""
    each = 8 * (_ARRAYS * size / drawn.shape[1] + drawn.shape[1])
    rows = max(1, int(_MEMORY / each))
    blocks = [
        statistic(drawn[start : start + rows].T.astype(np.float64))
        for start in range(0, len(drawn), rows)
    ]
    return np.concatenate(blocks, axis=1)


def _resampled(pruned: Float64, baseline: Float64, weights: Float64) -> Float64:
    mine, other = (_mean_iou(_product(each, weights)) for each in (pruned, baseline))
    return _mean(mine - other)


def _exchanged(change: Float64, pruned: Float64, baseline: Float64, swaps: Float64) -> Float64:
    """Let the networks change places in some subjects: pixels move from one sum to the other."""
    moved = _product(change, swaps)
    return _mean(_mean_iou(pruned + moved) - _mean_iou(baseline - moved))


def _product(pixels: Float64, weights: Float64) -> Float64:
    """Weighted sums over subjects, (..., R), of pixels (..., S) and weights (S, R)."""
    flat = pixels.reshape(-1, pixels.shape[-1]) @ weights
    return flat.reshape(*pixels.shape[:-1], weights.shape[1])


def _mean_iou(pixels: Float64) -> Float64:
    """Mean IoU of pixels in both and in either, (2, K, ...), as ``metrics.overlap.mean_iou``."""
    both, either = pixels
    missing = np.full(both.shape, np.nan)
    return _mean(np.divide(both, either, out=missing, where=either > 0))


def _mean(values: Float64) -> Float64:
    """Mean over the first axis, NaN left out; added in order, so that its bits never change."""
    if len(values) == 1:
        return np.asarray(values[0])
    total, count = (np.zeros(values.shape[1:]) for _ in range(2))
    for each in values:
        there = ~np.isnan(each)
        np.add(total, each, out=total, where=there)
        count += there
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))
