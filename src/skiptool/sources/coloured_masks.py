"""Masks in which a colour stands for a class, as annotation programs export them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import SourceError
from skiptool.sources.decoding import decoded, refuse_inverted
from skiptool.sources.deep_pictures import check_alpha, deep_picture, refuse_as_mask

if TYPE_CHECKING:
    from skiptool.records import Int64, UInt8
    from skiptool.sources.pictures import Colour

__all__ = ["colour_name", "packed", "read_colours", "unpacked"]


def read_colours(path: Path) -> UInt8:
    """Read the colours of a mask.

    Parameters
    ----------
    path : Path
        PNG or TIFF of at most 8 bits a channel: RGB, RGBA, palette (the colours that it shows) or
        grey. A pixel that is wholly transparent is black.

    Returns
    -------
    uint8, shape (H, W, 3)

    Raises
    ------
    SourceError
        As :func:`skiptool.sources.pictures.read_picture`; and if the file is a JPEG (which blurs
        colours), or a pixel is half transparent, so that its colour is in doubt.
    """
    deep = deep_picture(path)
    if deep is not None and deep.values.dtype != np.bool_:
        refuse_as_mask(deep, path)
        raise _no_colours(path)
    picture, _ = decoded(path)
    if "jpeg" in (str(picture.format).lower(), picture.info.get("compression")):
        raise SourceError(
            f"{path}: a mask as JPEG, whose compression blurs colours; expected PNG or TIFF"
        )
    refuse_inverted(picture, path)
    if picture.mode.startswith(("I", "F")):
        raise _no_colours(path)
    if not picture.has_transparency_data:
        return np.array(picture.convert("RGB"))
    pixels = np.array(picture.convert("RGBA"))
    alpha = pixels[..., 3]
    if ((alpha > 0) & (alpha < 255)).any():
        y, x = np.argwhere((alpha > 0) & (alpha < 255))[0].tolist()
        raise SourceError(
            f"{path}: half transparent at x {x}, y {y}, so that its colour is in doubt; save the "
            "mask without smooth edges"
        )
    if pixels[..., :3].any():  # an overlay on which nothing is drawn holds no colour either
        check_alpha(float(alpha.max()) / 255, path)
    colours: UInt8 = np.where(alpha[..., None] == 0, np.uint8(0), pixels[..., :3])
    return colours


def _no_colours(path: Path) -> SourceError:
    return SourceError(
        f"{path}: a mask of more than 8 bits a channel has values, not colours; map these with "
        "--labels VALUE=CLASS"
    )


def packed(colours: UInt8) -> Int64:
    """Return each colour (..., 3) as one number, red * 65536 + green * 256 + blue.

    >>> packed(np.array([[1, 0, 2]], dtype=np.uint8)).tolist()
    [65538]
    """
    red, green, blue = (colours[..., channel].astype(np.int64) for channel in range(3))
    return (red << 16) + (green << 8) + blue


def unpacked(code: int) -> Colour:
    """Return the colour of a number.

    >>> unpacked(65538)
    (1, 0, 2)
    """
    return code >> 16, (code >> 8) & 255, code & 255


def colour_name(colour: Colour) -> str:
    """Return a colour as it is written in web pages.

    >>> colour_name((255, 0, 16))
    '#ff0010'
    """
    return "#" + "".join(f"{channel:02x}" for channel in colour)
