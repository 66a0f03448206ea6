"""One door to Pillow's decoders: a whole picture of one page, or one line that says why not."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Final

from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from skiptool.errors import SourceError
from skiptool.sources.deep_pictures import (
    UPRIGHT,
    inverted,
    refuse_large,
    refuse_turned,
    too_large,
)

__all__ = ["decoded", "refuse_inverted"]

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
