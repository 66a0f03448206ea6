"""Pictures drawn pixel on pixel: a sheet measured in the dots of its PNG file.

An image appears at a whole multiple of its size or, where it is too large, as means over whole
blocks of pixels; never in between, where drawing would blur it.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from skiptool.errors import ArgumentError
from skiptool.figures.style import LINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from skiptool.records import Bool, Image, Int64, UInt8

__all__ = ["DOTS", "as_rgb", "block_sums", "dot_axes", "lay", "multiple", "resized"]

DOTS: Final = 300
"""Dots an inch, as :mod:`skiptool.figures.style` writes PNG files."""


def dot_axes(width: int, height: int) -> tuple[Figure, Axes]:
    """Make a figure whose bare axes are its whole sheet, in dots from the upper left corner."""
    # a trace more, lest rounding cut the last dot off
    figure = Figure(figsize=((width + 1e-6) / DOTS, (height + 1e-6) / DOTS), dpi=DOTS)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0.0, width)
    axes.set_ylim(height, 0.0)
    axes.set_autoscale_on(False)
    return figure, axes


def lay(axes: Axes, image: UInt8, left: int, top: int) -> None:
    """Put an image (h, w, 3) on the sheet, one pixel a dot, with an edge one dot wide."""
    height, width = image.shape[:2]
    corner = (left - 1, top - 1)
    edge = Rectangle(corner, width + 2, height + 2, color=LINE, linewidth=0.0, zorder=0.4)
    edge.set(snap=False, antialiased=False)
    axes.add_patch(edge)
    extent = (left, left + width, top + height, top)
    drawn = AxesImage(axes, interpolation="nearest", extent=extent, origin="upper", zorder=0.5)
    drawn.set_data(image)
    axes.add_artist(drawn)


def multiple(length: int, room: int) -> Fraction:
    """Dots for each pixel, as many as fit: a whole number, or one over a whole number.

    Examples
    --------
    >>> [str(multiple(length, 256)) for length in (64, 100, 128, 256, 300, 512, 2000)]
    ['4', '2', '2', '1', '1/2', '1/2', '1/8']
    """
    if length <= room:
        return Fraction(room // max(length, 1))
    return Fraction(1, -(-length // room))


def resized(image: UInt8, factor: Fraction) -> UInt8:
    """Show an image (h, w, C) at a multiple of its size.

    A last block that the image does not fill is the mean of what there is.
    """
    if factor >= 1:
        return image.repeat(int(factor), axis=0).repeat(int(factor), axis=1)
    sums, counts = block_sums(image, factor.denominator)
    return np.rint(sums / counts[..., None]).astype(np.uint8)


def block_sums(values: UInt8 | Bool, block: int) -> tuple[Int64, Int64]:
    """Add up the whole numbers in blocks of pixels.

    Parameters
    ----------
    values : uint8 or bool (H, W, ...)
    block : int
        Side b of a block in pixels; those at the right and the lower edge may be smaller.

    Returns
    -------
    sums : int64 (ceil(H / b), ceil(W / b), ...)
    counts : int64 (ceil(H / b), ceil(W / b))
        Pixels in each block.
    """
    high, wide = values.shape[:2]
    rows, columns = np.arange(0, high, block), np.arange(0, wide, block)
    # whole rows first: ten times as fast, and a large image is never held in more than 8 bits
    sums = np.zeros((len(rows), *values.shape[1:]), dtype=np.int64)
    for first in range(min(block, high)):
        part = values[first::block]
        sums[: len(part)] += part
    heights, widths = np.diff([*rows, high]), np.diff([*columns, wide])
    total: Int64 = np.add.reduceat(sums, columns, axis=1)
    return total, np.multiply.outer(heights, widths)


def as_rgb(image: Image) -> UInt8:
    """Turn an image into what is seen on a screen.

    Parameters
    ----------
    image : uint8 (H, W, 3), uint8 (H, W, 1), or float32 (H, W, 1) in [0, 1]

    Returns
    -------
    uint8 (H, W, 3)

    Raises
    ------
    ArgumentError
        If the image is none of these, or has no pixel.
    """
    if image.ndim != 3 or image.shape[2] not in (1, 3) or not math.prod(image.shape):
        raise ArgumentError(
            f"picture to draw: found shape {image.shape}, expected (H, W, 3) or (H, W, 1) with at "
            "least one pixel; give one image at a time, channels last"
        )
    if image.dtype != np.uint8:
        grey = np.nan_to_num(image.astype(np.float64)).clip(0.0, 1.0)
        image = np.rint(255.0 * grey).astype(np.uint8)
    return np.broadcast_to(image, (*image.shape[:2], 3)).astype(np.uint8)
