"""How far activations move when the same image is shifted, relative to how they vary at all.

    d = mean over channels c of  mean |x_c - x*_c| / s_c

x_c and x*_c are the activations of one image at one position, as it is and shifted; s_c is the
standard deviation of channel c over all images and positions of both sets. It is 0 where nothing
moves and never above 2. Two images that have nothing to do with one another are 2 / sqrt(pi) = 1.13
apart if values are normal: near that, a shifted image is no more like its original than any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["paired_difference"]


def paired_difference(apart: Float64, means: Float64, squares: Float64) -> tuple[float, Float64]:
    """Return the mean difference of pairs, relative to the spread of their channel.

    Parameters
    ----------
    apart : float64, shape (U, D)
        Mean of |x - x*| over the images and positions of each unit.
    means, squares : float64, shape (U, D)
        Mean and mean square of the values of each unit in both sets, around any one centre near
        the mean of the channel (the same for all units; squares of small numbers lose no digits).

    Returns
    -------
    value : float
        Mean over channels that vary; 0 where none does. Every unit has the same weight.
    without : float64, shape (U,)
        The same without each unit; NaN where there is only one.
    """
    units = len(apart)
    live = _variance(means.mean(axis=0), squares.mean(axis=0)) > 0
    if not live.any():
        return 0.0, np.zeros(units)
    apart, means, squares = (each[:, live] for each in (apart, means, squares))
    value = _ratio(*(each.mean(axis=0) for each in (apart, means, squares)))
    if units < 2:
        return float(value), np.full(units, np.nan)
    rest = ((each.sum(axis=0) - each) / (units - 1) for each in (apart, means, squares))
    return float(value), np.asarray(_ratio(*rest))


def _ratio(apart: Float64, means: Float64, squares: Float64) -> Float64:
    spread = np.sqrt(_variance(means, squares))
    ratio = np.divide(apart, spread, out=np.zeros_like(apart), where=spread > 0)
    return np.asarray(ratio.mean(axis=-1))


def _variance(means: Float64, squares: Float64) -> Float64:
    return np.asarray(np.maximum(squares - np.square(means), 0.0))
