"""Large images and masks made small for a picture, by whole blocks of pixels."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from skiptool.figures.dots import as_rgb, block_sums, resized

if TYPE_CHECKING:
    from skiptool.records import Image, Int64, UInt8

__all__ = ["block_side", "block_told", "small_image", "small_mask"]


def block_side(height: int, width: int, most: int) -> int:
    """Side of the blocks that bring an image down to at most so many blocks a side.

    Examples
    --------
    >>> block_side(100, 160, 160), block_side(100, 161, 160), block_side(4096, 10, 160)
    (1, 2, 26)
    """
    return max(1, -(-max(height, width) // most))


def block_told(block: int) -> str:
    """Say in a caption what blocks did, with a blank before it; nothing for blocks of one pixel."""
    if block == 1:
        return ""
    return (
        f" Shown smaller by {block}: means over blocks of {block} x {block} px, of masks the most "
        "frequent label of each block."
    )


def small_image(image: Image, block: int) -> UInt8:
    """Average an image over blocks.

    Parameters
    ----------
    image : uint8 (H, W, 3) or float32 (H, W, 1) in [0, 1]
    block : int
        Side b of a block in pixels.

    Returns
    -------
    uint8 (ceil(H / b), ceil(W / b), 3)
    """
    return resized(as_rgb(image), Fraction(1, block))


def small_mask(mask: UInt8, block: int) -> UInt8:
    """Give each block its most frequent label; of equally frequent ones the lowest.

    Parameters
    ----------
    mask : uint8 (H, W)
        Labels; 255 (ignored) is one of them.
    block : int
        Side b of a block in pixels.

    Returns
    -------
    uint8 (ceil(H / b), ceil(W / b))

    Examples
    --------
    >>> small_mask(np.array([[1, 1, 2], [1, 0, 0]], dtype=np.uint8), 2).tolist()
    [[1, 0]]
    """
    if block == 1:
        return mask
    shape = (-(-mask.shape[0] // block), -(-mask.shape[1] // block))
    found = np.zeros(shape, dtype=np.uint8)
    most: Int64 = np.zeros(shape, dtype=np.int64)
    for label in np.flatnonzero(np.bincount(mask.ravel())):
        pixels, _ = block_sums(mask == label, block)
        found[pixels > most] = label
        most = np.maximum(most, pixels)
    return found
