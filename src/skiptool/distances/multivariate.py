"""Distances of a layer as a whole: covariance distance, and paired difference.

Covariance distance. Channels whose own distributions stay the same while their relations change are
invisible to the Hellinger distance of each channel:

    d(A, B) = |C_A - C_B|_F / sqrt(|C_A|_F^2 + |C_B|_F^2)

with C the D x D covariance matrix of the standardised channels. It is 0 for equal matrices and 1
where they share no direction; because both are positive semidefinite it never exceeds 1. The
numerator is that of the CORAL loss without its constant, a relative of the covariance term of the
Frechet distance that needs no matrix root.

Paired difference. How far activations move when the same image is shifted, relative to their
spread:

    d = mean over channels c of  mean |x_c - x*_c| / s_c

x_c and x*_c are the activations of one image at one position, original and shifted; s_c is the
standard deviation of channel c over all images and positions of both sets. It is 0 where nothing
moves and at most 2. Two unrelated images are 2 / sqrt(pi) = 1.13 apart if values are normal: near
that, a shifted image is no more like its original than any other image.

References
----------
B. Sun and K. Saenko, "Deep CORAL: correlation alignment for deep domain adaptation", ECCV Workshops
2016. D. C. Dowson and B. V. Landau, "The Frechet distance between multivariate normal
distributions", J Multivariate Anal 12(3), 1982.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from skiptool.records import Float64

_ROUNDING: Final = 1e-12
"""Relative distances below this are rounding, and reported as 0."""


@dataclass(frozen=True, slots=True, eq=False)
class CovarianceParts:
    """Means of both sets under L labellings, to which second moments are added by rows.

    Attributes
    ----------
    first, second : float64, shape (L, D)
        Mean vector of the units labelled as the first set, and of the others.
    share : float
        Fraction of the pooled units in the first set.
    """

    first: Float64
    second: Float64
    share: float

    def row_sums(self, rows: slice, pooled: Float64, change: Float64) -> tuple[Float64, Float64]:
        """Return the contributions (L,) of rows a to b to the sums of (C_A - C_B)^2, C_A^2 + C_B^2.

        ``pooled`` (b - a, D - a) are second moments over all units, right of column a; ``change``
        (L, b - a, D - a) those of the first set minus those of the second, under each labelling.
        Entries right of column b count twice, for those below the diagonal, never computed.
        """
        times = np.full(pooled.shape[1], 2.0)
        times[: rows.stop - rows.start] = 1.0
        apart, size = np.zeros((2, len(change)))
        for label, moment in enumerate(change):
            first, second = self.first[label], self.second[label]
            one = pooled + (1.0 - self.share) * moment - np.outer(first[rows], first[rows.start :])
            two = pooled - self.share * moment - np.outer(second[rows], second[rows.start :])
            apart[label] = (np.square(one - two) @ times).sum()
            size[label] = ((np.square(one) + np.square(two)) @ times).sum()
        return apart, size


def relative_distance(apart: Float64, size: Float64) -> Float64:
    """Return d from both sums; 0 if nothing varies, or below the rounding error."""
    ratio = np.divide(apart, size, out=np.zeros_like(apart), where=size > 0)
    distances = np.sqrt(ratio)
    return np.asarray(np.where(distances < _ROUNDING, 0.0, np.minimum(distances, 1.0)))


def row_parts(channels: int, labellings: int, limit: int) -> Iterator[slice]:
    """Split the rows of D x D matrices so that ``labellings`` of each part fit ``limit`` bytes.

    Only entries on and right of the diagonal are stored, so later parts have more rows.
    """
    start = 0
    while start < channels:
        rows = limit // (8 * labellings * (channels - start))
        stop = min(channels, start + max(1, rows))
        yield slice(start, stop)
        start = stop


def paired_difference(apart: Float64, means: Float64, squares: Float64) -> tuple[float, Float64]:
    """Return the paired difference, then that without each unit, (U,); NaN if there is only one.

    It is the mean over channels that vary, units weighing equally; 0 if none varies. ``apart``
    (U, D) is the mean of |x - x*| over the images and positions of each unit; ``means`` and
    ``squares`` (U, D) are mean and mean square of its values in both sets, around a common centre
    near the mean of the channel, so that the squares lose no digits.
    """
    units = len(apart)
    live = _variance(means.mean(axis=0), squares.mean(axis=0)) > 0
    if not live.any():
        return 0.0, np.zeros(units)
    parts = [part[:, live] for part in (apart, means, squares)]
    value = _ratio(*(part.mean(axis=0) for part in parts))
    if units < 2:
        return float(value), np.full(units, np.nan)
    others = ((part.sum(axis=0) - part) / (units - 1) for part in parts)
    return float(value), np.asarray(_ratio(*others))


def _ratio(apart: Float64, means: Float64, squares: Float64) -> Float64:
    spread = np.sqrt(_variance(means, squares))
    ratio = np.divide(apart, spread, out=np.zeros_like(apart), where=spread > 0)
    return np.asarray(ratio.mean(axis=-1))


def _variance(means: Float64, squares: Float64) -> Float64:
    return np.asarray(np.maximum(squares - np.square(means), 0.0))
