"""Slices of a volume to images of one size: grey values, pixel size, height and width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float32, Float64

__all__ = ["MULTIPLE", "fitted", "fitting_size", "resampled", "resampled_length", "rescaled"]

MULTIPLE = 32
"""Sizes are multiples of this: a U-net of five stages halves them five times."""


def rescaled(
    slice_: AnyArray, percentiles: tuple[float, float] | None = None
) -> tuple[Float32, float, float]:
    """Bring the grey values of one slice to [0, 1], section III.D ("per-slice re-scaling").

    Parameters
    ----------
    slice_ : numbers (H, W)
        Finite, of any unit.
    percentiles : (float, float), optional
        Percentiles that become 0 and 1, values beyond are clipped; without them, or where both
        are one value, it is the lowest and highest value.

    Returns
    -------
    image : float32 (H, W)
        In [0, 1]; all 0 where the slice holds one value only.
    low, high : float
        Values that became 0 and 1.
    """
    values = np.asarray(slice_, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    if percentiles is not None:
        inner = np.percentile(values, percentiles).tolist()
        low, high = inner if inner[0] < inner[1] else (low, high)
    # halves first: the span of two finite numbers may be more than the largest number
    span = high / 2 - low / 2
    if span <= 0:
        return np.zeros(values.shape, dtype=np.float32), low, high
    return ((values / 2 - low / 2) / span).clip(0, 1).astype(np.float32), low, high


def fitting_size(longest: int) -> int:
    """Return the smallest multiple of 32 that holds so many pixels.

    Examples
    --------
    >>> fitting_size(256), fitting_size(257)
    (256, 288)
    """
    return -(-longest // MULTIPLE) * MULTIPLE


def fitted(slices: AnyArray, size: int, fill: int = 0) -> tuple[AnyArray, int, int]:
    """Crop or pad slices (..., H, W) about their centre to ``size`` pixels on either side.

    Returns
    -------
    slices : array (..., size, size)
        ``fill`` where nothing was.
    top, left : int
        Place of its first row and column in what was given; below 0 where it was padded.

    Notes
    -----
    Where as many pixels cannot go on either side, the one more is cropped or padded at the end.
    """
    height, width = slices.shape[-2:]
    top, left = _start(height, size), _start(width, size)
    inside = slices[
        ..., max(top, 0) : max(top, 0) + size, max(left, 0) : max(left, 0) + size
    ]  # at most size, as what is larger begins at top or left
    before = (max(-top, 0), max(-left, 0))
    after = [size - b - n for b, n in zip(before, inside.shape[-2:], strict=True)]
    whole = [(0, 0)] * (slices.ndim - 2)
    edges = [*whole, (before[0], after[0]), (before[1], after[1])]
    return np.pad(inside, edges, constant_values=fill), top, left


def resampled_length(length: int, spacing: float, wanted: float) -> int:
    """Return how many pixels of ``wanted`` mm stand for ``length`` of ``spacing`` mm, not 0."""
    return max(1, round(length * spacing / wanted))


def resampled(
    slice_: AnyArray, spacing: tuple[float, float], wanted: float, *, labels: bool = False
) -> AnyArray:
    """Resample one slice to square pixels of an exact size, about its centre.

    Parameters
    ----------
    slice_ : numbers (H, W)
    spacing : (float, float)
        Millimetres from row to row and from column to column.
    wanted : float
        Millimetres a pixel of the result, either way.
    labels : bool
        Take the nearest pixel instead of interpolating.

    Returns
    -------
    float64, or the type of the labels, shape (H', W')
        Linear between pixels, after a Gaussian blur along axes that get coarser (against moire;
        half the ratio of the sizes, less the half that pixels have, as standard deviation).
    """
    ratios = [wanted / each for each in spacing]
    shape = [resampled_length(n, s, wanted) for n, s in zip(slice_.shape, spacing, strict=True)]
    offset = [
        (n - 1) / 2 - ratio * (m - 1) / 2
        for n, m, ratio in zip(slice_.shape, shape, ratios, strict=True)
    ]
    values: AnyArray = slice_
    if not labels:
        blurred: Float64 = np.asarray(slice_, dtype=np.float64)
        widths = [max(0.0, (ratio - 1) / 2) for ratio in ratios]
        values = ndimage.gaussian_filter(blurred, widths, mode="nearest")
    found: AnyArray = ndimage.affine_transform(
        values, ratios, offset, tuple(shape), order=0 if labels else 1, mode="nearest"
    )
    return found


def _start(length: int, size: int) -> int:
    """First pixel of the centre crop, rounded towards 0 both ways."""
    spare = length - size
    return spare // 2 if spare >= 0 else -(-spare // 2)
