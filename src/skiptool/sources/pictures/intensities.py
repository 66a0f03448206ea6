"""Read pictures of any depth into the two forms of a dataset store.

An 8-bit picture becomes uint8 (H, W, 3), with grey repeated, so that colour shifts and pretrained
encoders apply directly; grey of any other type (integers of 16 to 64 bits, signed integers, floats)
becomes float32 (H, W, 1) in [0, 1], so that no 16-bit level is lost; deeper colour is rounded to 8
bits. ``channels`` requests one form or the other. Transparency is composited over white. Pictures
with an EXIF orientation are refused unless their rotation is requested, because their masks may or
may not follow it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import ArgumentError, SourceError
from skiptool.sources.pictures.deep import (
    DeepPicture,
    deep_picture,
    opaque_values,
    over_white,
)
from skiptool.sources.pictures.files import decode_picture, to_rgb, write_grey, write_picture

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float32, Image, UInt8

_FULL, _MINMAX = "full", "minmax"


@dataclass(frozen=True, slots=True)
class Scale:
    """Mapping from file values to intensities in [0, 1].

    Attributes
    ----------
    text : str
        As given: ``full``, ``minmax``, ``p1`` or ``LOW:HIGH``.
    window : tuple of float, optional
        Values of black and white, the same for all images; values beyond are clipped.
    clipped : float, optional
        Percentage of an image's values clipped at either end; 0 is ``minmax``.

    Notes
    -----
    ``full`` divides by the maximum of the type, which preserves relative brightness between images.
    Microscopy programs often stretch each image between its own extremes instead (``minmax``, or
    ``p1`` with hot pixels), which shows more, but removes differences in brightness and contrast
    between scanners.
    """

    text: str = _FULL
    window: tuple[float, float] | None = None
    clipped: float | None = None

    @classmethod
    def parse(cls, text: str) -> Scale:
        """Parse ``full``, ``minmax``, ``pP`` or ``LOW:HIGH``.

        Examples
        --------
        >>> Scale.parse("0:4095").window, Scale.parse("p0.5").clipped, Scale.parse("minmax").clipped
        ((0.0, 4095.0), 0.5, 0.0)
        """
        if text == _FULL:
            return cls()
        if text == _MINMAX:
            return cls(text, clipped=0.0)
        low, colon, high = text.partition(":")
        numbers = _numbers((low, high) if colon else (text[1:],))
        if colon and numbers and numbers[0] < numbers[1]:
            return cls(text, window=(numbers[0], numbers[1]))
        if not colon and text[:1] == "p" and numbers and 0 <= numbers[0] < 50:
            return cls(text, clipped=numbers[0])
        raise ArgumentError(
            f"--scale {text}: expected full (range of the type), LOW:HIGH such as 0:4095, minmax, "
            "or p1 (range of each image, 1 % clipped at either end)"
        )

    def apply(self, values: AnyArray, where: str) -> Float32:
        """Return the intensities of one image.

        Parameters
        ----------
        values : uint8, uint16, int32 or float32, any shape
        where : str
            File, for messages.

        Returns
        -------
        float32 in [0, 1], same shape
            All 0 if an image stretched to its own range is constant.
        """
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise SourceError(f"{where}: contains NaN or infinite values; correct the image")
        low, high = self._range(values, where)
        if low == high:
            return np.zeros(values.shape, dtype=np.float32)
        scaled = (values.astype(np.float64) - low) / (high - low)
        return np.clip(scaled, 0.0, 1.0).astype(np.float32)

    def _range(self, values: AnyArray, where: str) -> tuple[float, float]:
        if self.window is not None:
            return self.window
        if self.clipped is not None:
            low, high = np.percentile(values, (self.clipped, 100 - self.clipped))
            return float(low), float(high)
        if values.dtype in (np.uint8, np.uint16):
            return 0.0, float(np.iinfo(values.dtype).max)
        lowest, highest = float(values.min()), float(values.max())
        if values.dtype.kind == "f" and lowest >= 0 and highest <= 1:
            return 0.0, 1.0
        raise SourceError(
            f"{where}: {values.dtype} values from {lowest:g} to {highest:g} with unknown white "
            "level; give --scale LOW:HIGH, minmax or p1"
        )


FULL = Scale()
"""Range of the type, the same for all images."""


def _numbers(words: tuple[str, ...]) -> tuple[float, ...]:
    try:
        numbers = tuple(float(word) for word in words)
    except ValueError:
        return ()
    return numbers if all(map(isfinite, numbers)) else ()


_WHITE = np.iinfo(np.uint16).max


def read_intensities(
    paths: Sequence[Path],
    scale: Scale = FULL,
    channels: int | None = None,
    *,
    upright: bool = False,
) -> Image:
    """Read an image in the form that a store keeps.

    Parameters
    ----------
    paths : sequence of Path
        One picture; or three grey ones of one size, which become red, green and blue.
    scale : Scale
    channels : {1, 3}, optional
        Requested form; by default the file decides (see the module).
    upright : bool
        Rotate pictures by their orientation.

    Returns
    -------
    uint8 (H, W, 3) or float32 (H, W, 1) in [0, 1]
    """
    parts = [_values(path, upright) for path in paths]
    values = parts[0] if len(paths) == 1 else _stack(paths, parts)
    where = str(paths[0])
    if channels == 1 and values.ndim == 3:
        if (values != values[..., :1]).any():
            raise SourceError(
                f"{where}: a coloured picture, and --channels 1 takes grey ones; leave it out, or "
                "make the picture grey first"
            )
        values = values[..., 0]
    grey = values.ndim == 2
    default_channels = 3 if values.dtype == np.uint8 else 1
    if grey and (channels or default_channels) == 1:
        return scale.apply(values, where)[..., None]
    if values.dtype != np.uint8 or scale != FULL:
        values = as_eight_bits(scale.apply(values, where))
    return np.repeat(values[..., None], 3, axis=2) if grey else values


def write_intensities(path: Path, image: Image) -> None:
    """Write an image of a store: uint8 as colour picture, float32 as grey in 16 or 32 bits."""
    if image.dtype == np.float32:
        write_grey(path, image)
    else:
        write_picture(path, image)


def as_eight_bits(intensities: Float32) -> UInt8:
    """Round intensities in [0, 1] to 0..255.

    >>> as_eight_bits(np.array([0, 0.5, 1], dtype=np.float32)).tolist()
    [0, 128, 255]
    """
    rounded: UInt8 = np.rint(intensities.astype(np.float64) * 255).astype(np.uint8)
    return rounded


def _stack(paths: Sequence[Path], parts: Sequence[AnyArray]) -> AnyArray:
    for path, part in zip(paths, parts, strict=True):
        if part.ndim != 2 or part.shape != parts[0].shape or part.dtype != parts[0].dtype:
            raise SourceError(
                f"{path}: is {part.shape} {part.dtype}, {paths[0].name} is {parts[0].shape} "
                f"{parts[0].dtype}; single channels must be grey, of the same size and depth"
            )
    return np.stack(parts, axis=2)


def _values(path: Path, upright: bool) -> AnyArray:
    """Return the stored values: (H, W) grey or (H, W, 3) colour, in full depth."""
    deep = deep_picture(path)
    if deep is not None and deep.values.dtype != np.bool_:
        return opaque_values(deep, path, upright)
    picture, _ = decode_picture(path, upright)
    if picture.mode in ("1", "L") and not picture.has_transparency_data:
        return np.array(picture.convert("L"))
    if not picture.mode.startswith("I;16"):
        return to_rgb(picture, path)
    values = np.array(picture).astype(np.uint16)
    transparent = picture.info.get("transparency")  # of a PNG: one grey value
    if not isinstance(transparent, int):
        return values
    opacity = np.where(values == transparent, 0, _WHITE).astype(np.uint16)
    return over_white(DeepPicture(values, opacity), path)
