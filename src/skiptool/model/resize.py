"""Antialiased resizing of images and masks to a square; thread-safe, same bits on any number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import interpolate

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Int64, UInt8

__all__ = ["resize_images", "resize_masks"]


def resize_images(images: UInt8, size: int) -> UInt8:
    """Resize images by antialiased bicubic interpolation, computed in uint8.

    Parameters
    ----------
    images : uint8, shape (N, H, W, C)
    size : int
        New height and width in pixels.

    Returns
    -------
    uint8, shape (N, size, size, C)
        Within one grey level of Pillow's ``Image.resize(..., BICUBIC)``.
    """
    stored = torch.from_numpy(np.require(images, requirements=["C", "W"]))
    resized = interpolate(
        stored.permute(0, 3, 1, 2), size=(size, size), mode="bicubic", antialias=True
    )
    return np.ascontiguousarray(resized.permute(0, 2, 3, 1).numpy())


def resize_masks(masks: UInt8, size: int) -> UInt8:
    """Give each new pixel the label that covers most of its area.

    Parameters
    ----------
    masks : uint8, shape (N, H, W)
        Labels; 255 (ignored) is one like the others.
    size : int
        New height and width in pixels.

    Returns
    -------
    uint8, shape (N, size, size)
        Between two labels: the higher one where it covers half the pixel or more. Ties of several
        go to the highest.

    Notes
    -----
    Areas are counted exactly, in integers, so a nearest-neighbour's jagged edges do not occur and
    no label comes out that did not go in.
    """
    return np.stack([_resize_mask(mask, size) for mask in masks])


def _resize_mask(mask: UInt8, size: int) -> UInt8:
    labels = _labels(mask)
    if len(labels) == 1:
        return np.full((size, size), labels[0], np.uint8)
    if len(labels) == 2:  # the usual case, at half the work
        covered = _coverage(mask == labels[1], size)
        winner = (2 * covered >= mask.size).astype(np.intp)
    else:  # from the highest down, for argmax takes the first of equals
        areas = np.stack([_coverage(mask == label, size) for label in labels[::-1]])
        winner = len(labels) - 1 - areas.argmax(axis=0)
    resized: UInt8 = labels[winner]
    return resized


def _labels(mask: UInt8) -> UInt8:
    """List the labels of a mask, rising; extremes first, they cost a hundredth of counting."""
    low, high = mask.min(), mask.max()
    if high - low <= 1:
        return np.unique(np.array([low, high]))
    return np.flatnonzero(np.bincount(mask.ravel())).astype(np.uint8)


def _coverage(present: AnyArray, size: int) -> Int64:
    """Area of each new pixel that is covered, in units of 1 / (H * W) of the pixel.

    ``present`` is boolean (H, W); the result is (size, size).
    """
    height, width = present.shape
    rows = _sum_rows(present, size, np.min_scalar_type(height))
    columns = _sum_rows(np.ascontiguousarray(rows.T), size, np.min_scalar_type(height * width))
    return columns.T.astype(np.int64)


def _sum_rows(values: AnyArray, size: int, dtype: np.dtype[Any]) -> AnyArray:
    """Add up the rows under each of ``size`` new rows, weighted by their overlap with it.

    On a scale on which an old row is ``size`` long, a new one is as long as there are old rows, so
    every overlap is an integer, and no sum exceeds the number of old rows times the largest value.
    """
    old = len(values)
    start = np.arange(size) * old
    first = start // size
    longest = int(((start + old - 1) // size - first).max()) + 1
    summed = np.zeros((size, *values.shape[1:]), dtype)
    for step in range(longest):
        row = first + step
        overlap = np.minimum(start + old, (row + 1) * size) - np.maximum(start, row * size)
        weights = np.maximum(overlap, 0).astype(dtype)
        summed += values.take(np.minimum(row, old - 1), axis=0) * weights[:, None]
    return summed
