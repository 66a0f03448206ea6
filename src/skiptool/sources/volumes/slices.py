"""Convert slices of a volume to images: rescale grey values, resample, crop or pad."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float32, Float64

MULTIPLE = 32
"""Sizes are multiples of this: a U-net of five stages halves them five times."""


def rescale_slice(
    slice_: AnyArray, percentiles: tuple[float, float] | None = None
) -> tuple[Float32, float, float]:
    """Rescale the grey values of one slice to [0, 1], section III.D ("per-slice re-scaling").

    Parameters
    ----------
    slice_ : numbers (H, W)
        Finite.
    percentiles : (float, float), optional
        Percentiles that map to 0 and 1, with clipping; by default, or if both are equal, the
        minimum and maximum.

    Returns
    -------
    image : float32 (H, W)
        In [0, 1]; all 0 if the slice is constant.
    low, high : float
        Values mapped to 0 and 1.
    """
    values = np.asarray(slice_, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    if percentiles is not None:
        inner = np.percentile(values, percentiles).tolist()
        low, high = inner if inner[0] < inner[1] else (low, high)
    # halve first: the difference of two finite numbers may overflow
    span = high / 2 - low / 2
    if span <= 0:
        return np.zeros(values.shape, dtype=np.float32), low, high
    return ((values / 2 - low / 2) / span).clip(0, 1).astype(np.float32), low, high


def padded_size(longest: int) -> int:
    """Return the smallest multiple of 32 that is at least this number of pixels.

    Examples
    --------
    >>> padded_size(256), padded_size(257)
    (256, 288)
    """
    return -(-longest // MULTIPLE) * MULTIPLE


def crop_or_pad(slices: AnyArray, size: int, fill: int = 0) -> tuple[AnyArray, int, int]:
    """Crop or pad slices (..., H, W) about their centre to ``size`` pixels on either side.

    An odd pixel is cropped or padded at the end.

    Returns
    -------
    slices : array (..., size, size)
        Padded with ``fill``.
    top, left : int
        Input coordinates of the first row and column; negative if padded.
    """
    height, width = slices.shape[-2:]
    top, left = _start(height, size), _start(width, size)
    row, column = max(top, 0), max(left, 0)
    cropped = slices[..., row : row + size, column : column + size]
    above, before = max(-top, 0), max(-left, 0)
    below, after = size - above - cropped.shape[-2], size - before - cropped.shape[-1]
    edges = [*[(0, 0)] * (slices.ndim - 2), (above, below), (before, after)]
    return np.pad(cropped, edges, constant_values=fill), top, left


def resampled_length(length: int, spacing: float, pixel_size: float) -> int:
    """Return the number of pixels, at least 1, after resampling from ``spacing`` mm."""
    return max(1, round(length * spacing / pixel_size))


def resample_slice(
    slice_: AnyArray, spacing: tuple[float, float], pixel_size: float, *, labels: bool = False
) -> AnyArray:
    """Resample one slice about its centre to square pixels of an exact size.

    Parameters
    ----------
    slice_ : numbers (H, W)
    spacing : (float, float)
        Millimetres between rows and between columns.
    pixel_size : float
        Of the result, in millimetres.
    labels : bool
        Nearest neighbour instead of linear interpolation.

    Returns
    -------
    float64, or the type of the labels, shape (H', W')
        Images are first blurred along axes that become coarser, against aliasing: a Gaussian with a
        standard deviation of half the ratio of the pixel sizes, less the half pixel already
        present.
    """
    ratios = [pixel_size / step for step in spacing]
    shape = [resampled_length(n, s, pixel_size) for n, s in zip(slice_.shape, spacing, strict=True)]
    offset = [
        (n - 1) / 2 - ratio * (m - 1) / 2
        for n, m, ratio in zip(slice_.shape, shape, ratios, strict=True)
    ]
    values: AnyArray = slice_
    if not labels:
        blurred: Float64 = np.asarray(slice_, dtype=np.float64)
        widths = [max(0.0, (ratio - 1) / 2) for ratio in ratios]
        values = ndimage.gaussian_filter(blurred, widths, mode="nearest")
    pixels: AnyArray = ndimage.affine_transform(
        values, ratios, offset, tuple(shape), order=0 if labels else 1, mode="nearest"
    )
    return pixels


def _start(length: int, size: int) -> int:
    """Return the first pixel of the centre crop, rounded towards 0 in both directions."""
    spare = length - size
    return spare // 2 if spare >= 0 else -(-spare // 2)
