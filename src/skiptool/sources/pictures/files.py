"""Read and write pictures and label masks: PNG, TIFF and JPEG through Pillow.

A picture is uint8 RGB (H, W, 3). A mask keeps the numbers stored in the file (palette indices, grey
values, bits), never the colours they are displayed in. Pictures with an EXIF orientation are
refused, because their masks may or may not follow it.
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
    DeepPicture,
    check_alpha,
    deep_picture,
    inverted_error,
    is_opaque,
    opaque_values,
    refuse_as_mask,
    refuse_large,
    refuse_rotated,
    too_large_error,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from skiptool.records import AnyArray, UInt8

    Labels = NDArray[np.uint8] | NDArray[np.uint16]

# Decoding.

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
"""Exceptions of Pillow's readers for truncated or damaged files."""

_SAMPLES, _DEPTH = 277, 32997
"""TIFF tags: channels per pixel, and slices of a volume in one page."""

_ORIENTATION, _PHOTOMETRIC = 274, 262
_MIN_IS_WHITE = 0

_GREY_MODES: Final = ("1", "L", "I", "F")


def decode_picture(path: Path, upright: bool | None = None) -> tuple[Image.Image, str]:
    """Decode one picture.

    Parameters
    ----------
    path : Path
        PNG, TIFF (one page) or JPEG, recognised by content, not suffix.
    upright : bool, optional
        Rotate a PNG or JPEG by its EXIF or XMP orientation. By default a rotated picture is
        refused, as a TIFF always is; False adds the option's name to the message.

    Returns
    -------
    picture : Pillow image
    packing : str
        Packing of the pixels in the file, which Pillow discards on loading.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such file; expected a PNG, TIFF or JPEG picture")
    try:
        # no catch_warnings: pictures are read in threads, which share the warning filters
        with Image.open(path, formats=_FORMATS) as picture:
            # before decoding; Pillow only warns up to twice its limit
            refuse_large(picture.width, picture.height, path)
            _check_pages(picture, path)
            packing = _packing(picture)
            stored = getattr(picture, "tag_v2", {}).get(_ORIENTATION, UPRIGHT)
            picture.load()  # a PNG's metadata may follow its pixels
            kind = "TIFF" if picture.format == "TIFF" else "EXIF"
            orientation = stored if kind == "TIFF" else picture.getexif().get(_ORIENTATION, UPRIGHT)
            if orientation in range(1, 9) and not (upright and kind == "EXIF"):
                refuse_rotated(orientation, kind, path, option=upright is False)
            ImageOps.exif_transpose(picture, in_place=True)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise too_large_error(path) from None
    except UnidentifiedImageError:
        raise SourceError(
            f"{path}: not a readable picture; expected a complete PNG, TIFF or JPEG"
        ) from None
    except _BROKEN as error:
        raise SourceError(
            f"{path}: the picture is truncated or damaged ({error}); copy it again from its source"
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
    # Pillow would silently read the first of them only
    if tags.get(_SAMPLES, 1) > 1 and picture.mode.partition(";")[0] in _GREY_MODES:
        raise SourceError(
            f"{path}: {tags[_SAMPLES]} channels that are not colours; expected grey, palette or "
            "RGB. Save the channel to use"
        )


def refuse_inverted(picture: Image.Image, path: Path) -> None:
    """Refuse a mask in a TIFF whose lowest value is white; Pillow inverts up to 8 bits only."""
    if getattr(picture, "tag_v2", {}).get(_PHOTOMETRIC) == _MIN_IS_WHITE:
        raise inverted_error(path)


def _packing(picture: ImageFile.ImageFile) -> str:
    if not picture.tile:
        return ""
    packing = picture.tile[0][3]  # a raw mode, or in a TIFF a tuple that begins with it
    return str(packing[0] if isinstance(packing, tuple) else packing)


PICTURE_SUFFIXES: Final = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
"""Suffixes of pictures, for `write_picture` and for listing folders."""

Colour = tuple[int, int, int]
"""Red, green and blue, 0..255."""

_COLOUR_MODES: Final = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa")
_GREY_STEP: Final = {"L;2": 85, "L;4": 17}
"""Factors by which Pillow expands grey values of 2 and 4 bits to 0..255."""

_OPAQUE_MODES: Final = {"LA": "L", "RGBA": "RGB", "PA": "P"}
"""Modes with transparency, and their opaque counterparts."""

_WHITE: Final = (255, 255, 255, 255)


def read_picture(path: Path) -> UInt8:
    """Read a colour picture; grey is repeated over channels, transparency composited over white.

    Parameters
    ----------
    path : Path
        PNG, TIFF (one page) or JPEG of at most 8 bits per channel, recognised by content, not
        suffix.

    Returns
    -------
    uint8, shape (H, W, 3)
        RGB.
    """
    deep = deep_picture(path)
    if deep is None or deep.values.dtype == np.bool_:
        return to_rgb(decode_picture(path)[0], path)
    if deep.values.dtype != np.uint8:
        raise SourceError(
            f"{path}: a picture of {deep.values.dtype} values; expected at most 8 bits per "
            "channel; convert it first"
        )
    values = opaque_values(deep, path)
    return values if values.ndim == 3 else np.repeat(values[..., None], 3, axis=2)


def read_mask(path: Path) -> Labels:
    """Read the labels of a mask exactly as stored.

    Parameters
    ----------
    path : Path
        PNG or TIFF: palette (indices are labels), grey of any numeric type with integer values
        within 16 bits, or RGB with three equal channels; opaque.

    Returns
    -------
    uint8 or uint16, shape (H, W)
        uint16 only if the file has more than 8 bits or signed values.
    """
    return read_indexed(path)[0]


def read_indexed(path: Path) -> tuple[Labels, dict[int, Colour]]:
    """Read the labels of a mask as `read_mask`, and the palette colours of the labels present.

    Returns
    -------
    labels : uint8 or uint16, shape (H, W)
    shown : dict of int to (red, green, blue)
        Empty if there is no palette of 8 bits.
    """
    deep = deep_picture(path)
    if deep is not None:
        return _deep_labels(deep, path), {}
    picture, packing = decode_picture(path)
    labels = _labels(picture, packing, path)
    palette = picture.getpalette("RGB") if picture.mode in ("P", "PA") else None
    present = np.flatnonzero(np.bincount(labels.ravel())).tolist() if palette else []
    colours = np.reshape(palette or [], (-1, 3)).tolist()
    return labels, {index: tuple(colours[index]) for index in present if index < len(colours)}


def write_picture(path: Path, image: AnyArray) -> None:
    """Write uint8 (H, W, 3) as PNG, TIFF or JPEG, by the suffix."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ArgumentError(
            f"{path}: image has shape {image.shape} and type {image.dtype}; expected uint8 "
            "(H, W, 3)"
        )
    _check_target(path, PICTURE_SUFFIXES)
    Image.fromarray(image).save(path)


def write_mask(path: Path, labels: UInt8, colours: Sequence[tuple[int, int, int]]) -> None:
    """Write a mask as palette PNG: values are labels, the palette is for display only.

    Parameters
    ----------
    path : Path
        Ends in ``.png``.
    labels : uint8, shape (H, W)
    colours : sequence of (red, green, blue)
        Colours of label 0, 1, ...; further labels are grey.
    """
    if labels.dtype != np.uint8 or labels.ndim != 2 or len(colours) > 256:
        raise ArgumentError(
            f"{path}: labels have shape {labels.shape} and type {labels.dtype}, {len(colours)} "
            "colours; expected uint8 (H, W) and at most 256 colours"
        )
    _check_target(path, (".png",))
    greys = [(level, level, level) for level in range(len(colours), 256)]
    picture = Image.fromarray(labels).convert("L")
    picture.putpalette([value for colour in (*colours, *greys) for value in colour])
    picture.save(path)


def write_grey(path: Path, image: AnyArray) -> None:
    """Write float32 (H, W, 1) in [0, 1] as 16-bit PNG or as float32 TIFF.

    PNG rounds to steps of 1 / 65535, so images from 8 or 16 bits are restored exactly.
    """
    if image.dtype != np.float32 or image.ndim != 3 or image.shape[2] != 1:
        raise ArgumentError(
            f"{path}: image has shape {image.shape} and type {image.dtype}; expected float32 "
            "(H, W, 1)"
        )
    _check_target(path, (".png", ".tif"))
    values = image[..., 0]
    if path.suffix == ".png":
        deep = np.rint(values.astype(np.float64) * np.iinfo(np.uint16).max).astype(np.uint16)
        Image.fromarray(deep).save(path)
    else:
        Image.fromarray(values).save(path)


def write_labels(path: Path, labels: UInt8) -> None:
    """Write a mask as plain grey PNG or TIFF, for readers that convert a palette to its colours."""
    if labels.dtype != np.uint8 or labels.ndim != 2:
        raise ArgumentError(
            f"{path}: labels have shape {labels.shape} and type {labels.dtype}; expected uint8 "
            "(H, W)"
        )
    _check_target(path, (".png", ".tif"))
    Image.fromarray(labels).save(path)


def _check_target(path: Path, suffixes: tuple[str, ...]) -> None:
    if path.suffix.lower() not in suffixes:
        raise ArgumentError(
            f"{path}: cannot write a picture that ends in {path.suffix!r}; expected one of "
            f"{', '.join(suffixes)}"
        )
    if not path.parent.is_dir():
        raise ArgumentError(f"{path.parent}: no such folder; create it first")


def to_rgb(picture: Image.Image, path: Path) -> UInt8:
    """Convert a decoded picture to uint8 (H, W, 3), as `read_picture` does."""
    if picture.mode not in _COLOUR_MODES:
        raise SourceError(
            f"{path}: a picture of mode {picture.mode!r}; expected grey, palette or RGB with at "
            "most 8 bits per channel; convert it first"
        )
    if picture.has_transparency_data:
        overlay = picture.convert("RGBA")
        check_alpha(int(np.array(overlay)[..., 3].max()) / 255, path)
        white = Image.new("RGBA", picture.size, _WHITE)
        picture = Image.alpha_composite(white, overlay)
    return np.array(picture.convert("RGB"))


def _labels(picture: Image.Image, packing: str, path: Path) -> Labels:
    if "jpeg" in (str(picture.format).lower(), picture.info.get("compression")):
        raise SourceError(
            f"{path}: a mask as JPEG, whose compression blurs labels; expected PNG or TIFF"
        )
    refuse_inverted(picture, path)
    opaque_mode = _OPAQUE_MODES.get(picture.mode)
    if opaque_mode is not None and is_opaque(np.array(picture)[..., -1]):
        picture = picture.convert(opaque_mode)
    if picture.mode == "RGB":
        return _equal_channels(np.array(picture), path)
    if picture.mode not in ("1", "L", "P") and not picture.mode.startswith("I"):
        transparent = " with transparent pixels" if picture.mode in _OPAQUE_MODES else ""
        raise SourceError(
            f"{path}: a mask of mode {picture.mode!r}{transparent}; expected palette or grey "
            "values, one label per pixel"
        )
    values = np.array(picture)
    if picture.mode.startswith("I"):
        return _to_uint16(values, path)
    return values.astype(np.uint8) // np.uint8(_GREY_STEP.get(packing, 1))


def _deep_labels(deep: DeepPicture, path: Path) -> Labels:
    refuse_as_mask(deep, path)
    values = deep.values if deep.values.ndim == 2 else _equal_channels(deep.values, path)
    if values.dtype.kind == "f":
        fractional = ~np.isfinite(values) | (values != np.rint(values))
        if fractional.any():
            y, x = np.argwhere(fractional)[0].tolist()
            raise SourceError(
                f"{path}: a mask of {values.dtype} that holds {values[y, x]:g} at x {x}, y {y}; "
                "expected integers, one label per pixel"
            )
    return _to_uint16(values, path)


def _equal_channels(values: AnyArray, path: Path) -> AnyArray:
    if (values != values[..., :1]).any():
        raise SourceError(
            f"{path}: a coloured mask; expected palette or grey values, one label per pixel. "
            "Map its colours with --labels '#RRGGBB=CLASS', or save it as palette PNG"
        )
    return values[..., 0].copy()


def _to_uint16(values: AnyArray, path: Path) -> Labels:
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > np.iinfo(np.uint16).max:
        raise SourceError(
            f"{path}: mask values from {lowest} to {highest}; expected labels within 16 bits"
        )
    return values.astype(np.uint16)
