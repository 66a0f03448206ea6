"""Pictures of any depth in the two forms that a dataset store knows.

A picture of 8 bits is uint8 (H, W, 3), grey repeated, so that colour shifts and pretrained encoders
take it as it is; grey of any other type (integers of 16 to 64 bits, signed ones, floats) is float32
(H, W, 1) in [0, 1], so that no level of 16 bits is lost; colour of more bits is rounded to 8.
``channels`` asks for one form or the other. Transparency is laid over white. What is stored turned
(EXIF orientation) is refused unless it is asked to be turned, as a mask beside the picture need not
follow it.
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
    Deep,
    deep_picture,
    over_white,
    shown_values,
)
from skiptool.sources.pictures.files import decoded, in_colours, write_grey, write_picture

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float32, Image, UInt8

__all__ = ["FULL", "Scale", "as_eight_bits", "read_intensities", "write_intensities"]

# -------------------------------------------------------------------------------------------------
# From what a camera counts to [0, 1]: which value of a file is black, and which is white.


_FULL, _MINMAX = "full", "minmax"


@dataclass(frozen=True, slots=True)
class Scale:
    """How values of a file become intensities in [0, 1].

    Attributes
    ----------
    text : str
        As it is written: ``full``, ``minmax``, ``p1`` or ``LOW:HIGH``.
    window : tuple of float, optional
        Values of black and white, the same for all images; what lies beyond is clipped.
    outer : float, optional
        Percent of an image's values that are clipped at either end; 0 is ``minmax``.

    Notes
    -----
    ``full`` divides by the largest value that the type can hold, so that two images stay as bright
    to each other as they were recorded, and an image means the same in any company. Microscopy
    programs stretch each image between its own ends instead (``minmax``, or ``p1`` where hot
    pixels are): that shows more, and takes away what scanners differ by in brightness and contrast.
    """

    text: str = _FULL
    window: tuple[float, float] | None = None
    outer: float | None = None

    @classmethod
    def parse(cls, text: str) -> Scale:
        """Read ``full``, ``minmax``, ``pP`` or ``LOW:HIGH``.

        Raises
        ------
        ArgumentError
            If it is none of these, ``P`` is not below 50, or ``LOW`` not below ``HIGH``.

        Examples
        --------
        >>> Scale.parse("0:4095").window, Scale.parse("p0.5").outer, Scale.parse("minmax").outer
        ((0.0, 4095.0), 0.5, 0.0)
        """
        if text == _FULL:
            return cls()
        if text == _MINMAX:
            return cls(text, outer=0.0)
        low, colon, high = text.partition(":")
        numbers = _numbers((low, high) if colon else (text[1:],))
        if colon and numbers and numbers[0] < numbers[1]:
            return cls(text, window=(numbers[0], numbers[1]))
        if not colon and text[:1] == "p" and numbers and 0 <= numbers[0] < 50:
            return cls(text, outer=numbers[0])
        raise ArgumentError(
            f"--scale {text}: expected full (what the type can hold), LOW:HIGH such as 0:4095, "
            "minmax, or p1 (an image's own ends, 1 % clipped at either)"
        )

    def apply(self, values: AnyArray, where: str) -> Float32:
        """Return intensities of one image.

        Parameters
        ----------
        values : uint8, uint16, int32 or float32, any shape
        where : str
            File, for messages.

        Returns
        -------
        float32 in [0, 1], same shape
            All 0 where an image is stretched between its own ends and these are equal.

        Raises
        ------
        SourceError
            If a value is not finite, or ``full`` does not say what is white.
        """
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise SourceError(f"{where}: holds NaN or infinite values; mend the image")
        low, high = self._ends(values, where)
        if low == high:
            return np.zeros(values.shape, dtype=np.float32)
        scaled = (values.astype(np.float64) - low) / (high - low)
        return np.clip(scaled, 0.0, 1.0).astype(np.float32)

    def _ends(self, values: AnyArray, where: str) -> tuple[float, float]:
        if self.window is not None:
            return self.window
        if self.outer is not None:
            low, high = np.percentile(values, (self.outer, 100 - self.outer))
            return float(low), float(high)
        if values.dtype in (np.uint8, np.uint16):
            return 0.0, float(np.iinfo(values.dtype).max)
        lowest, highest = float(values.min()), float(values.max())
        if values.dtype.kind == "f" and lowest >= 0 and highest <= 1:
            return 0.0, 1.0
        raise SourceError(
            f"{where}: {values.dtype} values from {lowest:g} to {highest:g}, and nothing says "
            "which is white; give --scale LOW:HIGH, minmax or p1"
        )


FULL = Scale()
"""What the type can hold: the same for all images."""


def _numbers(words: tuple[str, ...]) -> tuple[float, ...]:
    try:
        found = tuple(float(word) for word in words)
    except ValueError:
        return ()
    return found if all(map(isfinite, found)) else ()


_WHITE = np.iinfo(np.uint16).max


def read_intensities(
    paths: Sequence[Path],
    scale: Scale = FULL,
    channels: int | None = None,
    *,
    upright: bool = False,
) -> Image:
    """Read an image as a store keeps it.

    Parameters
    ----------
    paths : sequence of Path
        One picture; or three grey ones of one size, which become red, green and blue.
    scale : Scale
        Which values are black and white.
    channels : {1, 3}, optional
        Form that is asked for; by default the file decides (see above).
    upright : bool
        Turn what is stored turned.

    Returns
    -------
    uint8 (H, W, 3) or float32 (H, W, 1) in [0, 1]

    Raises
    ------
    SourceError
        If a file is no such picture, is coloured where one channel is asked for, or its values have
        no scale; or if three pictures differ in size or are not grey.
    """
    parts = [_values(path, upright) for path in paths]
    values = parts[0] if len(paths) == 1 else _stacked(paths, parts)
    where = str(paths[0])
    if channels == 1 and values.ndim == 3:
        if (values != values[..., :1]).any():
            raise SourceError(
                f"{where}: a coloured picture, and --channels 1 takes grey ones; leave it out, or "
                "make the picture grey first"
            )
        values = values[..., 0]
    grey = values.ndim == 2
    if grey and (channels or (3 if values.dtype == np.uint8 else 1)) == 1:
        return scale.apply(values, where)[..., None]
    if values.dtype != np.uint8 or scale != FULL:
        values = as_eight_bits(scale.apply(values, where))
    return np.repeat(values[..., None], 3, axis=2) if grey else values


def write_intensities(path: Path, image: Image) -> None:
    """Write an image of a store as a picture: uint8 in colour, float32 grey in 16 or 32 bits.

    Raises
    ------
    ArgumentError
        As :func:`skiptool.sources.pictures.files.write_picture`, and ``write_grey`` for grey.
    """
    (write_grey if image.dtype == np.float32 else write_picture)(path, image)


def as_eight_bits(intensities: Float32) -> UInt8:
    """Round intensities in [0, 1] to 0..255, to nearest.

    >>> as_eight_bits(np.array([0, 0.5, 1], dtype=np.float32)).tolist()
    [0, 128, 255]
    """
    rounded: UInt8 = np.rint(intensities.astype(np.float64) * 255).astype(np.uint8)
    return rounded


def _stacked(paths: Sequence[Path], parts: Sequence[AnyArray]) -> AnyArray:
    for path, part in zip(paths, parts, strict=True):
        if part.ndim != 2 or part.shape != parts[0].shape or part.dtype != parts[0].dtype:
            raise SourceError(
                f"{path}: is {part.shape} {part.dtype}, {paths[0].name} is {parts[0].shape} "
                f"{parts[0].dtype}; files of one channel each must be grey, of one size and depth"
            )
    return np.stack(parts, axis=2)


def _values(path: Path, upright: bool) -> AnyArray:
    """Return what stands in a file: (H, W) grey or (H, W, 3) colour, as deep as it was saved."""
    deep = deep_picture(path)
    if deep is not None and deep.values.dtype != np.bool_:
        return shown_values(deep, path, upright)
    picture, _ = decoded(path, upright)
    if picture.mode in ("1", "L") and not picture.has_transparency_data:
        return np.array(picture.convert("L"))
    if not picture.mode.startswith("I;16"):
        return in_colours(picture, path)
    values = np.array(picture).astype(np.uint16)
    clear = picture.info.get("transparency")  # of a PNG: one grey value
    if not isinstance(clear, int):
        return values
    opacity = np.where(values == clear, 0, _WHITE).astype(np.uint16)
    return over_white(Deep(values, opacity), path)
