"""Scans in memory, and copies of one as another scanner would see the same glass."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


class Scan:
    """An image (h, w, 3) that is read as a slide is."""

    def __init__(self, image: Pixels) -> None:
        self.image = image
        self.size = (image.shape[1], image.shape[0])

    def read(self, x: float, y: float, size: tuple[int, int], scale: tuple[float, float]) -> Pixels:
        (width, height), (across, down) = size, scale
        left, top = int(np.floor(x)), int(np.floor(y))
        right, bottom = int(np.ceil(x + width * across)), int(np.ceil(y + height * down))
        part = np.full((bottom - top, right - left, 3), 255, dtype=np.uint8)
        west, east = max(left, 0), min(right, self.size[0])
        north, south = max(top, 0), min(bottom, self.size[1])
        if west < east and north < south:
            inner = np.s_[north - top : south - top, west - left : east - left]
            part[inner] = self.image[north:south, west:east]
        box = (x - left, y - top, x - left + width * across, y - top + height * down)
        return np.asarray(Image.fromarray(part).resize(size, Image.Resampling.BICUBIC, box=box))

    def overview(self, longest: int) -> tuple[Pixels, tuple[float, float]]:
        shrink = max(max(self.size) / longest, 1.0)
        width, height = (max(round(side / shrink), 1) for side in self.size)
        scale = self.size[0] / width, self.size[1] / height
        return self.read(0, 0, (width, height), scale), scale


def glass(side: int = 900, seed: int = 0) -> Pixels:
    """Paint cells of many sizes on a bright ground: texture that nothing repeats."""
    rng = np.random.default_rng(seed)
    image = np.full((side, side, 3), (240, 238, 236), dtype=np.uint8)
    for _ in range(side * side // 900):
        x, y = rng.integers(0, side, 2).tolist()
        axes = rng.integers(2, 9, 2).tolist()
        colour = rng.integers(60, 210, 3).tolist()
        cv2.ellipse(image, (x, y), axes, float(rng.integers(180)), 0, 360, colour, -1, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.8), dtype=np.uint8)


def scanned(image: Pixels, affine: Any, size: tuple[int, int]) -> Pixels:  # noqa: ANN401
    """Return the image as a scanner shows it whose pixel ``affine @ (x, y, 1)`` is ours at (x, y).

    Points are corners of pixels, whose middles lie half a pixel further on.
    """
    linear, moved = np.asarray(affine)[:, :2], np.asarray(affine)[:, 2]
    middles = np.column_stack([linear, moved + linear @ [0.5, 0.5] - 0.5])
    white = (240, 238, 236)
    return np.asarray(
        cv2.warpAffine(image, middles, size, flags=cv2.INTER_CUBIC, borderValue=white),
        dtype=np.uint8,
    )


def turned(degrees: float, scale: float, shift: tuple[float, float], mirrored: bool = False) -> Any:  # noqa: ANN401
    """Return the affine transform (2, 3) of a turn, a scale and a shift, or of a mirror image."""
    angle = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirrored:
        linear = linear @ np.diag([-1.0, 1.0])
    return np.column_stack([linear, shift])
