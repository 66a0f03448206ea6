"""Find the empty background of a smear, or synthesise one if cells leave too little of it.

A crowded picture has no empty square of useful size. Its gaps are filled from their surroundings:
illumination is interpolated by averages over increasingly wide neighbourhoods, and the camera's
grain is synthesised with the spectrum of the largest empty square (random-phase noise, Galerne,
Gousseau and Morel 2011), so that filled parts do not look smeared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image
from scipy import ndimage

from skiptool.images import colour_distance, grey
from skiptool.sources.otsu import otsu
from skiptool.sources.smear.templates import STAIN_CAP, Box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skiptool.records import Bool, Float64, Int64, UInt8

__all__ = ["empty_colour", "fill_background", "free_pixels", "free_square", "freest_square"]

_BLOCK: Final = 8
_WIDTHS: Final = (3.0, 8.0, 24.0, 72.0)
"""Standard deviations of the Gaussians for the illumination, in blocks of 8 pixels."""

_ENOUGH: Final = 0.25
_JOIN: Final = 3
_LEAST_STAIN: Final = 150
"""Stained components, dilated by 3 pixels, are dust below this number of pixels; dust remains in
the background."""

_GLARE: Final = 10
"""Width in pixels of the dark margin around stain that is not background."""

_BOX_MARGIN: Final = 6
_SEAM: Final = 3.0


def empty_colour(image: UInt8) -> UInt8:
    """Median colour of the glass: the lighter class of Otsu's threshold.

    Parameters
    ----------
    image : uint8, shape (H, W, 3)

    Returns
    -------
    uint8, shape (3,)
    """
    values = grey(image)
    light = values > otsu(values)
    pixels = image[light] if light.any() else image.reshape(-1, 3)
    colour: UInt8 = np.median(pixels, axis=0).astype(np.uint8)
    return colour


def free_pixels(image: UInt8, boxes: Sequence[Box]) -> Bool:
    """Mark the background (H, W): pixels in no box and not near stain, annotated or not.

    Specks of dust count as background.
    """
    distance = np.minimum(colour_distance(image, empty_colour(image)), STAIN_CAP)
    near = ndimage.binary_dilation(distance > otsu(distance), iterations=_JOIN)
    labels, _ = ndimage.label(near)
    large = np.bincount(labels.ravel()) >= _LEAST_STAIN
    large[0] = False
    free = np.ones(labels.shape, dtype=bool)
    if large.any():  # otherwise the distance is undefined
        free = ndimage.distance_transform_edt(~large[labels]) > _GLARE
    for box in boxes:
        free[box.grown(_BOX_MARGIN, *free.shape).slices] = False
    return free


def free_square(free: Bool) -> Box:
    """Find the largest square of free pixels (H, W), possibly of side 0; the first of equal ones.

    Examples
    --------
    >>> free_square(np.array([[0, 1, 1], [1, 1, 1], [1, 1, 0]], dtype=bool))
    Box(top=0, left=1, bottom=2, right=3)
    """
    low, high = 0, min(free.shape)
    while low < high:  # binary search: if a square fits, so does a smaller one
        side = (low + high + 1) // 2
        fits = (square_sums(free, side) == side * side).any()
        low, high = (side, high) if fits else (low, side - 1)
    if low == 0:
        return Box(0, 0, 0, 0)
    return freest_square(free, low)


def freest_square(free: Bool, side: int) -> Box:
    """Find the square of a given side with most free pixels; the first of equal ones."""
    sums = square_sums(free, side)
    top, left = divmod(int(sums.argmax()), sums.shape[1])
    return Box(top, left, top + side, left + side)


def square_sums(values: Bool, side: int) -> Int64:
    """Count the True pixels of each square of a side: int64 (H - side + 1, W - side + 1)."""
    sums = np.pad(values.astype(np.int64), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    counts: Int64 = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side]
    counts += sums[:-side, :-side]
    return counts


def fill_background(image: UInt8, free: Bool, rng: np.random.Generator) -> UInt8:
    """Replace all pixels that are not free by synthesised background.

    Parameters
    ----------
    image : uint8, shape (H, W, 3)
    free : bool, shape (H, W)
        Background to keep, at least some pixels.
    rng : np.random.Generator
        Draws the grain.

    Returns
    -------
    uint8, shape (H, W, 3)
        Equal to ``image`` inside the free pixels, away from their borders.
    """
    if free.all():
        return image.copy()
    light = _illumination(image, free)
    residual = image - light
    grain = _grain(residual, free, rng)
    seam = ndimage.distance_transform_edt(free) / _SEAM
    kept = np.clip(seam, 0.0, 1.0)[..., None]
    # the two grains are independent: weights on a circle preserve the standard deviation
    mixed = np.where(kept > 0, kept * residual, 0.0) + np.sqrt(1.0 - kept**2) * grain
    filled: UInt8 = np.clip(np.rint(light + mixed), 0, 255).astype(np.uint8)
    return filled


def _illumination(image: UInt8, free: Bool) -> Float64:
    """Mean of the free pixels around each pixel, over a wider neighbourhood where they are few."""
    height, width = free.shape
    weight = _blocks(free.astype(np.float64))
    seen = np.where(free[..., None], image, 0).astype(np.float64)
    total = np.stack([_blocks(seen[..., channel]) for channel in range(3)], axis=-1)
    light = np.broadcast_to(total.sum(axis=(0, 1)) / weight.sum(), total.shape)
    for spread in reversed(_WIDTHS):
        around = ndimage.gaussian_filter(weight, spread, mode="nearest")
        mean = ndimage.gaussian_filter(total, (spread, spread, 0), mode="nearest")
        trust = np.clip(around / _ENOUGH, 0.0, 1.0)[..., None]
        light = trust * mean / np.maximum(around, 1e-12)[..., None] + (1.0 - trust) * light
    size = (weight.shape[1] * _BLOCK, weight.shape[0] * _BLOCK)
    planes = [Image.fromarray(light[..., channel].astype(np.float32)) for channel in range(3)]
    smooth = [np.asarray(plane.resize(size, Image.Resampling.BICUBIC)) for plane in planes]
    return np.stack(smooth, axis=-1)[:height, :width].astype(np.float64)


def _blocks(values: Float64) -> Float64:
    """Mean over blocks of 8 x 8 pixels, zero-padded at the border."""
    height, width = values.shape
    padded = np.pad(values, ((0, -height % _BLOCK), (0, -width % _BLOCK)))
    rows, columns = padded.shape
    blocks = padded.reshape(rows // _BLOCK, _BLOCK, columns // _BLOCK, _BLOCK)
    mean: Float64 = blocks.mean(axis=(1, 3))
    return mean


def _grain(residual: Float64, free: Bool, rng: np.random.Generator) -> Float64:
    """Noise of the image's size with the residual spectrum of the largest free square."""
    square = residual[free_square(free).slices]
    side = len(square)
    window = np.hanning(side + 2)[1:-1]
    weight = np.outer(window, window)[..., None]
    sample = (square - square.mean(axis=(0, 1))) * weight
    sample /= np.sqrt((weight**2).sum())
    height, width = free.shape
    noise = rng.standard_normal((height, width))
    transfer = np.fft.rfft2(sample, s=(height, width), axes=(0, 1))
    grain: Float64 = np.fft.irfft2(
        transfer * np.fft.rfft2(noise)[..., None], s=(height, width), axes=(0, 1)
    )
    return grain
