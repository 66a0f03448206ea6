"""One door to Pillow's decoders: a whole picture of one page, or one line that says why not."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import Final

from PIL import Image, ImageFile, UnidentifiedImageError

from skiptool.errors import SourceError

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
_UPRIGHT, _MIN_IS_WHITE = 1, 0

_GREY_MODES: Final = ("1", "L", "I", "F")


def decoded(path: Path) -> tuple[Image.Image, str]:
    """Decode one picture.

    Parameters
    ----------
    path : Path
        PNG, TIFF (one page) or JPEG; told by content, not suffix.

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
            if picture.width * picture.height > (Image.MAX_IMAGE_PIXELS or math.inf):
                raise Image.DecompressionBombError
            _check_pages(picture, path)
            packing = _packing(picture)
            picture.load()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise SourceError(
            f"{path}: more pixels than the {Image.MAX_IMAGE_PIXELS:,} that a picture may have; "
            "cut it into patches, or read it as a slide"
        ) from None
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
    # Pillow would turn it, and a mask beside it need not say the same.
    if tags.get(_ORIENTATION, _UPRIGHT) != _UPRIGHT:
        raise SourceError(
            f"{path}: is stored turned (TIFF orientation {tags[_ORIENTATION]}); save it upright"
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
        raise SourceError(
            f"{path}: its lowest value is white (TIFF photometric 0); invert it, and save it again"
        )


def _packing(picture: ImageFile.ImageFile) -> str:
    if not picture.tile:
        return ""
    found = picture.tile[0][3]  # a word, or in a TIFF a word and how its strips lie
    return str(found[0] if isinstance(found, tuple) else found)
