"""Pictures and label masks as files: PNG, TIFF and JPEG through Pillow, one small door for all.

A picture is uint8 (H, W, 3), red, green, blue. A mask keeps the numbers that stand in the file:
palette indices, grey values, bits; never the colours they are shown in. What is stored turned (EXIF
orientation) is refused, as a mask beside the picture need not follow it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from skiptool.errors import ArgumentError, SourceError
from skiptool.sources.pictures.deep import (
    UPRIGHT,
    Deep,
    check_alpha,
    deep_picture,
    inverted,
    is_opaque,
    refuse_as_mask,
    refuse_large,
    refuse_turned,
    shown_values,
    too_large,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from skiptool.records import AnyArray, UInt8

    Labels = NDArray[np.uint8] | NDArray[np.uint16]

__all__ = [
    "PICTURE_SUFFIXES",
    "Colour",
    "decoded",
    "in_colours",
    "read_indexed",
    "read_mask",
    "read_picture",
    "refuse_inverted",
    "write_grey",
    "write_labels",
    "write_mask",
    "write_picture",
]

# -------------------------------------------------------------------------------------------------
# One door to Pillow's decoders: a whole picture of one page, or one line that says why not.


_FORMATS: Final = ("PNG", "TIFF", "JPEG")

_BROKEN: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    OverflowError,
    KeyError,
    IndexError,
    TypeError,
    struct.error,
    zlib.error,
)
"""What Pillow's readers raise on files that are cut off or damaged."""

_SAMPLES, _DEPTH = 277, 32997
"""TIFF tags: channels of a pixel, and slices of a volume in one page."""

_ORIENTATION, _PHOTOMETRIC = 274, 262
_MIN_IS_WHITE = 0

_GREY_MODES: Final = ("1", "L", "I", "F")


def decoded(path: Path, upright: bool | None = None) -> tuple[Image.Image, str]:
    """Decode one picture.

    Parameters
    ----------
    path : Path
        PNG, TIFF (one page) or JPEG; told by content, not suffix.
    upright : bool, optional
        Turn a PNG or JPEG that is stored turned, by its orientation in EXIF or XMP. By default it
        is refused, as a TIFF always is; where False is given, by an error that names the option.

    Returns
    -------
    picture : Pillow image
    packing : str
        How its pixels were packed in the file, which Pillow then forgets.

    Raises
    ------
    SourceError
        If the file is missing, no such picture, cut off, too large to be a picture (beyond about
        89 million pixels), of several pages, three-dimensional, stored turned, or of channels
        without colours.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such file; expected a PNG, TIFF or JPEG picture")
    try:
        # No catch_warnings here: pictures are read in threads, and filters belong to all of them.
        with Image.open(path, formats=_FORMATS) as picture:
            # Pillow only warns up to twice its limit; we refuse before anything is decoded.
            refuse_large(picture.width, picture.height, path)
            _check_pages(picture, path)
            packing = _packing(picture)
            stored = getattr(picture, "tag_v2", {}).get(_ORIENTATION, UPRIGHT)
            picture.load()  # what a PNG says of itself may stand behind its pixels
            kind = "TIFF" if picture.format == "TIFF" else "EXIF"
            orientation = stored if kind == "TIFF" else picture.getexif().get(_ORIENTATION, UPRIGHT)
            if orientation in range(1, 9) and not (upright and kind == "EXIF"):
                refuse_turned(orientation, kind, path, option=upright is False)
            ImageOps.exif_transpose(picture, in_place=True)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise too_large(path) from None
    except UnidentifiedImageError:
        raise SourceError(
            f"{path}: no picture that can be read; expected a PNG, TIFF or JPEG that is whole"
        ) from None
    except _BROKEN as error:
        raise SourceError(
            f"{path}: the picture is cut off or damaged ({error}); copy it again from its source"
        ) from None
    return picture, packing


def _check_pages(picture: Image.Image, path: Path) -> None:
    pages = getattr(picture, "n_frames", 1)
    if pages > 1:
        raise SourceError(
            f"{path}: {pages} pages in one file; expected one picture. Split it into its pages, "
            "or read a pyramid as a slide"
        )
    tags = getattr(picture, "tag_v2", {})
    if tags.get(_DEPTH, 1) > 1:
        raise SourceError(
            f"{path}: a volume of {tags[_DEPTH]} slices; expected one picture. Save the slices "
            "as pictures"
        )
    # Pillow would show the first of them and be silent about the others.
    if tags.get(_SAMPLES, 1) > 1 and picture.mode.partition(";")[0] in _GREY_MODES:
        raise SourceError(
            f"{path}: {tags[_SAMPLES]} channels that are no colours; expected grey, palette or "
            "RGB. Save the channel that is meant"
        )


def refuse_inverted(picture: Image.Image, path: Path) -> None:
    """Refuse a TIFF in which the lowest value is white, where values matter and not what is shown.

    Raises
    ------
    SourceError
        As said: Pillow inverts those of up to 8 bits, and no others.
    """
    if getattr(picture, "tag_v2", {}).get(_PHOTOMETRIC) == _MIN_IS_WHITE:
        raise inverted(path)


def _packing(picture: ImageFile.ImageFile) -> str:
    if not picture.tile:
        return ""
    found = picture.tile[0][3]  # a word, or in a TIFF a word and how its strips lie
    return str(found[0] if isinstance(found, tuple) else found)


PICTURE_SUFFIXES: Final = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
"""Suffixes that ``write_picture`` knows, and what to look for in a folder of pictures."""

Colour = tuple[int, int, int]
"""Red, green and blue, 0..255."""

_COLOUR_MODES: Final = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa")
_GREY_STEP: Final = {"L;2": 85, "L;4": 17}
"""Pillow spreads grey values of 2 and 4 bits over 0..255; this many levels apart."""

_OPAQUE_MODES: Final = {"LA": "L", "RGBA": "RGB", "PA": "P"}
"""Modes with transparency, and what they are where nothing is transparent."""

_WHITE: Final = (255, 255, 255, 255)


def read_picture(path: Path) -> UInt8:
    """Read a colour picture; grey ones are repeated, transparency is laid over white.

    Parameters
    ----------
    path : Path
        PNG, TIFF (one page) or JPEG with at most 8 bits a channel; told by content, not suffix.

    Returns
    -------
    uint8, shape (H, W, 3)
        Red, green, blue, 0..255.

    Raises
    ------
    SourceError
        If the file is missing, no such picture, cut off, too large to be a patch (beyond about
        89 million pixels), of several pages, stored turned, transparent all over, or of more than 8
        bits a channel.
    """
    deep = deep_picture(path)
    if deep is None or deep.values.dtype == np.bool_:
        return in_colours(decoded(path)[0], path)
    if deep.values.dtype != np.uint8:
        raise SourceError(
            f"{path}: a picture of {deep.values.dtype} values; expected at most 8 bits a channel; "
            "convert it first"
        )
    values = shown_values(deep, path)
    return values if values.ndim == 3 else np.repeat(values[..., None], 3, axis=2)


def read_mask(path: Path) -> Labels:
    """Read the labels of a mask exactly as they are stored.

    Parameters
    ----------
    path : Path
        PNG or TIFF: palette (the indices are the labels), grey of any type of number whose values
        are whole and within 16 bits, or RGB whose three channels are equal; opaque.

    Returns
    -------
    uint8 or uint16, shape (H, W)
        uint16 only where the file has more than 8 bits, or signs.

    Raises
    ------
    SourceError
        As for `read_picture`, and if the picture is coloured, or a JPEG (which blurs labels), or a
        value is no label.
    """
    return read_indexed(path)[0]


def read_indexed(path: Path) -> tuple[Labels, dict[int, Colour]]:
    """Read the labels of a mask, and how its palette shows those that it holds.

    Parameters
    ----------
    path : Path
        As for :func:`read_mask`.

    Returns
    -------
    labels : uint8 or uint16, shape (H, W)
    shown : dict of int to (red, green, blue)
        Empty where there is no palette of 8 bits.

    Raises
    ------
    SourceError
        As :func:`read_mask`.
    """
    deep = deep_picture(path)
    if deep is not None:
        return _deep_labels(deep, path), {}
    picture, packing = decoded(path)
    labels = _labels(picture, packing, path)
    palette = picture.getpalette("RGB") if picture.mode in ("P", "PA") else None
    held = np.flatnonzero(np.bincount(labels.ravel())).tolist() if palette else []
    colours = np.reshape(palette or [], (-1, 3)).tolist()
    return labels, {index: tuple(colours[index]) for index in held if index < len(colours)}


def write_picture(path: Path, image: AnyArray) -> None:
    """Write uint8 (H, W, 3) as PNG, TIFF or JPEG, told by the suffix.

    Raises
    ------
    ArgumentError
        If the image is no uint8 (H, W, 3), or the suffix or folder is unknown.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ArgumentError(
            f"{path}: image has shape {image.shape} and type {image.dtype}; expected uint8 "
            "(H, W, 3)"
        )
    _check_place(path, PICTURE_SUFFIXES)
    Image.fromarray(image).save(path)


def write_mask(path: Path, labels: UInt8, colours: Sequence[tuple[int, int, int]]) -> None:
    """Write a mask as palette PNG: the values are the labels, the palette is for the eye.

    Parameters
    ----------
    path : Path
        Ends in ``.png``.
    labels : uint8, shape (H, W)
    colours : sequence of (red, green, blue)
        Colour of label 0, 1, ...; labels beyond are shown in the grey of their number.

    Raises
    ------
    ArgumentError
        If the labels are no uint8 (H, W), there are more than 256 colours, or the suffix or
        folder is unknown.
    """
    if labels.dtype != np.uint8 or labels.ndim != 2 or len(colours) > 256:
        raise ArgumentError(
            f"{path}: labels have shape {labels.shape} and type {labels.dtype}, {len(colours)} "
            "colours; expected uint8 (H, W) and at most 256 colours"
        )
    _check_place(path, (".png",))
    greys = [(level, level, level) for level in range(len(colours), 256)]
    picture = Image.fromarray(labels).convert("L")
    picture.putpalette([value for colour in (*colours, *greys) for value in colour])
    picture.save(path)


def write_grey(path: Path, image: AnyArray) -> None:
    """Write float32 (H, W, 1) in [0, 1]: as PNG in 16 bits, as TIFF as it is.

    PNG rounds to steps of 1 / 65535: what came from 8 or 16 bits is read again as it was.

    Raises
    ------
    ArgumentError
        If the image is no float32 (H, W, 1), or the suffix or folder is unknown.
    """
    if image.dtype != np.float32 or image.ndim != 3 or image.shape[2] != 1:
        raise ArgumentError(
            f"{path}: image has shape {image.shape} and type {image.dtype}; expected float32 "
            "(H, W, 1)"
        )
    _check_place(path, (".png", ".tif"))
    values = image[..., 0]
    if path.suffix == ".png":
        deep = np.rint(values.astype(np.float64) * np.iinfo(np.uint16).max).astype(np.uint16)
        Image.fromarray(deep).save(path)
    else:
        Image.fromarray(values).save(path)


def write_labels(path: Path, labels: UInt8) -> None:
    """Write a mask as plain grey PNG or TIFF, for readers that take a palette for its colours.

    Raises
    ------
    ArgumentError
        If the labels are no uint8 (H, W), or the suffix or folder is unknown.
    """
    if labels.dtype != np.uint8 or labels.ndim != 2:
        raise ArgumentError(
            f"{path}: labels have shape {labels.shape} and type {labels.dtype}; expected uint8 "
            "(H, W)"
        )
    _check_place(path, (".png", ".tif"))
    Image.fromarray(labels).save(path)


def _check_place(path: Path, suffixes: tuple[str, ...]) -> None:
    if path.suffix.lower() not in suffixes:
        raise ArgumentError(
            f"{path}: cannot write a picture that ends in {path.suffix!r}; expected one of "
            f"{', '.join(suffixes)}"
        )
    if not path.parent.is_dir():
        raise ArgumentError(f"{path.parent}: no such folder; create it first")


def in_colours(picture: Image.Image, path: Path) -> UInt8:
    """Return uint8 (H, W, 3) of a decoded picture, as :func:`read_picture` does."""
    if picture.mode not in _COLOUR_MODES:
        raise SourceError(
            f"{path}: a picture of mode {picture.mode!r}; expected grey, palette or RGB with at "
            "most 8 bits a channel; convert it first"
        )
    if picture.has_transparency_data:
        overlay = picture.convert("RGBA")
        check_alpha(int(np.array(overlay)[..., 3].max()) / 255, path)
        paper = Image.new("RGBA", picture.size, _WHITE)
        picture = Image.alpha_composite(paper, overlay)
    return np.array(picture.convert("RGB"))


def _labels(picture: Image.Image, packing: str, path: Path) -> Labels:
    if "jpeg" in (str(picture.format).lower(), picture.info.get("compression")):
        raise SourceError(
            f"{path}: a mask as JPEG, whose compression blurs labels; expected PNG or TIFF"
        )
    refuse_inverted(picture, path)
    plain = _OPAQUE_MODES.get(picture.mode)
    if plain is not None and is_opaque(np.array(picture)[..., -1]):
        picture = picture.convert(plain)
    if picture.mode == "RGB":
        return _equal_channels(np.array(picture), path)
    if picture.mode not in ("1", "L", "P") and not picture.mode.startswith("I"):
        clear = " that is transparent in places" if picture.mode in _OPAQUE_MODES else ""
        raise SourceError(
            f"{path}: a mask of mode {picture.mode!r}{clear}; expected palette or grey values, one "
            "label a pixel"
        )
    values = np.array(picture)
    if picture.mode.startswith("I"):
        return _narrow(values, path)
    return values.astype(np.uint8) // np.uint8(_GREY_STEP.get(packing, 1))


def _deep_labels(deep: Deep, path: Path) -> Labels:
    refuse_as_mask(deep, path)
    values = deep.values if deep.values.ndim == 2 else _equal_channels(deep.values, path)
    if values.dtype.kind == "f":
        wrong = ~np.isfinite(values) | (values != np.rint(values))
        if wrong.any():
            y, x = np.argwhere(wrong)[0].tolist()
            raise SourceError(
                f"{path}: a mask of {values.dtype} that holds {values[y, x]:g} at x {x}, y {y}; "
                "expected whole numbers, one label a pixel"
            )
    return _narrow(values, path)


def _equal_channels(values: AnyArray, path: Path) -> AnyArray:
    if (values != values[..., :1]).any():
        raise SourceError(
            f"{path}: a coloured mask; expected palette or grey values, one label a pixel. "
            "Map its colours with --labels '#RRGGBB=CLASS', or save it as palette PNG"
        )
    return values[..., 0].copy()


def _narrow(values: AnyArray, path: Path) -> Labels:
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > np.iinfo(np.uint16).max:
        raise SourceError(
            f"{path}: mask values from {lowest} to {highest}; expected labels within 16 bits"
        )
    return values.astype(np.uint16)
