"""Geometry of slide pyramids, and resampling of a level to any scale on white."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from skiptool.records import UInt8

Pair = tuple[float, float]
"""A horizontal and a vertical value."""

SCALE_TOLERANCE: Final = 1e-6
"""Scales within this relative difference are equal: over 10,000 px they drift 0.01 px."""


def true_downsamples(sizes: Sequence[tuple[int, int]]) -> tuple[Pair, ...]:
    """Return the pixels of level 0 per pixel of each level, horizontally and vertically.

    Parameters
    ----------
    sizes : sequence of (width, height)
        Of all levels in pixels, level 0 first.

    Notes
    -----
    OpenSlide reports the mean of the ratios of widths and heights. Pyramids, however, are made by
    integer factors, with the remainder at the right and lower edges cropped or padded: a level of
    626 rows below one of 5,013 has a factor of 8.0, not 8.008, which would be half a row of the
    level off at the lower edge (measured on slides of two scanners). So an integer is used where it
    explains the level's size, rounded either way; the plain ratio elsewhere.

    Examples
    --------
    >>> true_downsamples([(5120, 5013), (640, 626), (500, 500)])
    ((1.0, 1.0), (8.0, 8.0), (10.24, 10.026))
    """
    width, height = sizes[0]
    return tuple((_downsample(width, across), _downsample(height, down)) for across, down in sizes)


def _downsample(extent: int, reduced: int) -> float:
    ratio = extent / reduced
    # several integers may explain a tiny level: powers of two, the most common, come first
    for whole in (2 ** round(math.log2(ratio)), max(round(ratio), 1)):
        if abs(extent / whole - reduced) < 1:
            return float(whole)
    return ratio


def level_for(downsamples: Sequence[Pair], scale: Pair) -> int:
    """Return the coarsest level that is no coarser than the requested scale on either axis.

    Parameters
    ----------
    downsamples : sequence of (float, float)
        Of all levels, level 0 first.
    scale : (float, float)
        Requested pixels of level 0 per pixel.

    Returns
    -------
    int
        0 if even level 0 is too coarse.

    Examples
    --------
    >>> levels = [(1.0, 1.0), (4.0, 4.0), (16.0, 16.0)]
    >>> [level_for(levels, scale) for scale in [(15.9, 16.0), (16.0, 16.0), (0.5, 0.5)]]
    [1, 2, 0]
    """
    fine = [
        level
        for level, pair in enumerate(downsamples)
        if all(
            downsample <= requested * (1 + SCALE_TOLERANCE)
            for downsample, requested in zip(pair, scale, strict=True)
        )
    ]
    return max(fine, key=lambda level: downsamples[level], default=0)


Fetch = Callable[[int, int, int, int], tuple["UInt8", Pair]]
"""Left, top, width and height in pixels of a level -> RGB, uint8 (H, W, 3), and the actual
position of its upper left corner in pixels of the level (near left and top)."""

WHITE: Final = 255

_OPAQUE: Final = np.frombuffer(b"\0\0\0\xff", dtype=np.uint32)[0]
_REACH: Final = 2
"""Support of the bicubic kernel on either side, in output pixels."""

_POSITION_TOLERANCE: Final = 1e-3
"""Largest misalignment with the pixel grid of a level, in pixels, that is read without
resampling."""

_BLOCK: Final = 2048
"""Pixels of a level along either axis that are resampled at once; bounds the memory."""


def over_white(rgba: UInt8) -> UInt8:
    """Composite RGBA over white.

    Parameters
    ----------
    rgba : uint8, shape (H, W, 4)
        Contiguous, colours not premultiplied. Alpha is 0 outside a slide.

    Returns
    -------
    uint8, shape (H, W, 3)

    Examples
    --------
    >>> over_white(np.array([[[9, 9, 9, 255], [0, 0, 0, 0], [0, 0, 0, 51]]], np.uint8)).tolist()
    [[[9, 9, 9], [255, 255, 255], [204, 204, 204]]]
    """
    colours = np.asarray(cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), dtype=np.uint8)
    if _is_opaque(rgba):
        return colours
    alpha = rgba[..., 3:]
    translucent = alpha[..., 0] < WHITE
    opacity = alpha[translucent].astype(np.uint16)
    # 255 * 255 plus the rounding term fits 16 bits
    mixed = colours[translucent] * opacity + WHITE * (WHITE - opacity) + WHITE // 2
    colours[translucent] = mixed // WHITE
    return colours


def _is_opaque(rgba: UInt8) -> bool:
    """Return whether all alpha is 255; reading four bytes at once is five times faster."""
    if np.little_endian:
        return bool(rgba.view(np.uint32).min() >= _OPAQUE)
    return bool(rgba[..., 3].min() == WHITE)


def on_white_canvas(part: UInt8 | None, offset: tuple[int, int], size: tuple[int, int]) -> UInt8:
    """Place an image on a white one.

    Parameters
    ----------
    part : uint8, shape (h, w, 3), or None
        Returned unchanged if it already has the size; None for a blank image.
    offset : (int, int)
        Column and row of its upper left corner.
    size : (int, int)
        Width and height of the result.

    Returns
    -------
    uint8, shape (height, width, 3)
    """
    width, height = size
    if part is not None and part.shape[:2] == (height, width):
        return part
    paper = np.full((height, width, 3), WHITE, dtype=np.uint8)
    if part is not None:
        left, top = offset
        paper[top : top + part.shape[0], left : left + part.shape[1]] = part
    return paper


def is_native(start: Pair, ratio: Pair) -> bool:
    """Return whether the requested pixels are pixels of the level, so that no resampling is needed.

    Parameters
    ----------
    start : (float, float)
        Upper left corner in pixels of the level.
    ratio : (float, float)
        Pixels of the level per requested pixel.
    """
    return all(abs(side - 1) <= SCALE_TOLERANCE for side in ratio) and all(
        abs(corner - round(corner)) <= _POSITION_TOLERANCE for corner in start
    )


def resample(fetch: Fetch, start: Pair, ratio: Pair, size: tuple[int, int]) -> UInt8:
    """Read a region of a level at another scale or between its pixels, antialiased.

    Parameters
    ----------
    fetch : callable
        Reads pixels of the level.
    start : (float, float)
        Upper left corner in pixels of the level; may lie outside.
    ratio : (float, float)
        Pixels of the level per pixel of the result.
    size : (int, int)
        Width and height of the result.

    Returns
    -------
    uint8, shape (height, width, 3)
        Pixel (i, j) is the bicubic mean around the centre of
        ``start[0] + j * ratio[0] .. start[0] + (j + 1) * ratio[0]``, likewise for rows.

    Notes
    -----
    Each block is read with the full support of the kernel, so a pixel does not depend on where the
    patch or the block ends (except for Pillow's rounded weights: one grey level at most).
    """
    width, height = size
    across = list(_blocks(start[0], ratio[0], width))
    down = list(_blocks(start[1], ratio[1], height))
    image = np.empty((height, width, 3), dtype=np.uint8)
    for rows, top, tall, upper, lower in down:
        for columns, left, wide, west, east in across:
            pixels, (x, y) = fetch(left, top, wide, tall)
            shape = (columns.stop - columns.start, rows.stop - rows.start)
            box = (west - x, upper - y, east - x, lower - y)
            image[rows, columns] = _resized(pixels, shape, box)
    return image


def _resized(pixels: UInt8, size: tuple[int, int], box: tuple[float, ...]) -> UInt8:
    """Resample rows first: Pillow chooses the order by size and clips in between."""
    left, upper, right, lower = box
    (width, height), tall = size, pixels.shape[0]
    filtered = Image.Resampling.BICUBIC
    picture = Image.fromarray(pixels)
    picture = picture.resize((width, tall), filtered, box=(left, 0, right, tall))
    picture = picture.resize((width, height), filtered, box=(0, upper, width, lower))
    # asarray takes ten times as long as tobytes
    return np.frombuffer(picture.tobytes(), dtype=np.uint8).reshape(height, width, 3)


def _blocks(
    start: float, ratio: float, size: int
) -> Iterator[tuple[slice, int, int, float, float]]:
    """Split one axis: output slice, first input pixel and number of them, begin and end."""
    step = max(int(_BLOCK / ratio), 1)
    margin = _REACH * max(ratio, 1.0) + 1
    for first in range(0, size, step):
        last = min(first + step, size)
        begin, end = start + first * ratio, start + last * ratio
        left, right = math.floor(begin - margin), math.ceil(end + margin)
        yield slice(first, last), left, right - left, begin, end
