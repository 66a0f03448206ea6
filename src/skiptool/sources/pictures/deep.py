"""Read pictures of more than 8 bits per channel, and other TIFFs that Pillow would truncate.

Pillow silently keeps 8 of 16 bits in colour, reads signed bytes as unsigned and mixes up planar
16-bit channels; it does not know 64-bit and half-precision numbers and some compressions, and
reports these files as damaged. This module recognises all of them by their headers, and reads them
with tifffile (TIFF) and imagecodecs (PNG).
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from skiptool.errors import SourceError
from skiptool.sources.paths import refuse_lfs_pointer

if TYPE_CHECKING:
    from skiptool.records import AnyArray

# errors are raised here, not logged
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_TIFF_STARTS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_PNG_COLOURS: Final = (2, 4, 6)
"""PNG colour types with several channels: RGB, grey with alpha, RGB with alpha."""

_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE = 0, 1, 2, 3
_UNSPECIFIED, _PREMULTIPLIED = 0, 1
_PILLOW_COMPRESSIONS: Final = (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000)
"""TIFF compressions that Pillow reads: none, fax, LZW, JPEG, Deflate, PackBits, LZMA, Zstandard."""

_LOSSY: Final = (6, 7, 22610, 33003, 33004, 33005, 33007, 34712, 34934, 34892, 50001, 50002, 52546)
"""JPEG and its relatives, JPEG 2000, JPEG XR, JPEG XL, WebP: all of them may blur."""

_ORIENTATION: Final = 274

UPRIGHT: Final = 1
"""EXIF and TIFF orientation of a picture that is displayed as stored."""


@dataclass(frozen=True, slots=True, eq=False)
class DeepPicture:
    """A picture as stored in its file.

    Attributes
    ----------
    values : bool, integers or floats, shape (H, W) or (H, W, 3)
    alpha : same type, shape (H, W), optional
        Opacity, if the file has any.
    colours : {"grey", "rgb", "palette"}
    inverted : bool
        The lowest value is displayed white. Never set for booleans, which are saved from memory.
    orientation : int
        1 is upright, see `apply_orientation`.
    blurred : str
        Name of the compression if it may change values, else empty.
    """

    values: AnyArray
    alpha: AnyArray | None = None
    colours: str = "grey"
    inverted: bool = False
    orientation: int = 1
    blurred: str = ""


def deep_picture(path: Path) -> DeepPicture | None:
    """Read a picture that Pillow would truncate.

    Returns
    -------
    DeepPicture or None
        None if Pillow reads everything in the file (8 bits or fewer, 16-bit grey PNG) or reports
        what is wrong with it (missing, neither TIFF nor PNG).
    """
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            start = file.read(26)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error}); check its permissions") from None
    refuse_lfs_pointer(path, start)
    if start[:4] in _TIFF_STARTS:
        return _deep_tiff(path)
    if start[:8] == _PNG_START and start[24:25] == b"\x10" and start[25] in _PNG_COLOURS:
        return _deep_png(path, grey=start[25] == _PNG_COLOURS[1])
    return None


def opaque_values(deep: DeepPicture, where: Path, upright: bool | None = None) -> AnyArray:
    """Return the values of an image, opaque and upright, (H, W) or (H, W, 3).

    Parameters
    ----------
    upright : bool, optional
        Rotate by the orientation; as in `skiptool.sources.pictures.files.decode_picture`.
    """
    if not upright:
        refuse_rotated(deep.orientation, "TIFF", where, option=upright is False)
    if deep.inverted:
        raise inverted_error(where)
    if deep.colours == "palette":
        raise SourceError(
            f"{where}: a palette of {deep.values.dtype} indices; save it as grey or RGB picture"
        )
    return apply_orientation(over_white(deep, where), deep.orientation)


def over_white(deep: DeepPicture, where: Path) -> AnyArray:
    """Composite values over white."""
    values, alpha = deep.values, deep.alpha
    if alpha is None or is_opaque(alpha):
        return values
    if values.dtype not in (np.uint8, np.uint16):
        raise SourceError(
            f"{where}: {values.dtype} values with transparency; save it without transparency"
        )
    white = np.iinfo(values.dtype).max
    opacity = alpha.astype(np.float64) / white
    check_alpha(float(opacity.max()), where)
    if values.ndim == 3:
        opacity = opacity[..., None]
    mixed: AnyArray = np.rint(opacity * values + (1 - opacity) * white).astype(values.dtype)
    return mixed


def is_opaque(alpha: AnyArray) -> bool:
    """Return whether nothing is transparent: all alpha is 1, or the maximum of its type."""
    opaque = 1.0 if alpha.dtype.kind == "f" else np.iinfo(alpha.dtype).max
    return bool((alpha == opaque).all())


def check_alpha(highest: float, where: Path) -> None:
    """Refuse a picture in which no pixel is at least half opaque.

    Programs that do not fill the alpha channel leave it at 0, or at 1 of 255. ``highest`` is the
    opacity of the most opaque pixel, in [0, 1].
    """
    if highest < 0.5:
        raise SourceError(
            f"{where}: no pixel is more than {highest:.1%} opaque, so nothing of it would be "
            "visible; its alpha channel is wrong: save it without one"
        )


def refuse_large(width: int, height: int, where: Path) -> None:
    """Refuse a picture of more than about 89 million pixels (Pillow's limit) before decoding."""
    if width * height > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise too_large_error(where)


def too_large_error(where: Path) -> SourceError:
    """Return the error for a picture beyond Pillow's limit."""
    return SourceError(
        f"{where}: more pixels than the {Image.MAX_IMAGE_PIXELS:,} that a picture may have; cut it "
        "into patches, or read it as a slide"
    )


def refuse_rotated(orientation: int, kind: str, where: Path, *, option: bool = False) -> None:
    """Refuse a picture that is not displayed as stored.

    Annotation programs may or may not rotate it, so it is unknown which orientation its mask
    follows.

    With ``option``, the message names the option that rotates it.
    """
    if orientation != UPRIGHT:
        remedy = ", or give --upright if its mask fits the displayed picture" if option else ""
        raise SourceError(
            f"{where}: is stored rotated ({kind} orientation {orientation}); save it "
            f"upright{remedy}"
        )


def refuse_as_mask(deep: DeepPicture, where: Path) -> None:
    """Refuse a mask whose labels would be displaced or altered."""
    refuse_rotated(deep.orientation, "TIFF", where)
    if deep.blurred:
        raise SourceError(
            f"{where}: a mask compressed as {deep.blurred}, which may blur labels; save it "
            "uncompressed or with LZW or Deflate"
        )
    if deep.inverted:
        raise inverted_error(where)
    if deep.alpha is not None and not is_opaque(deep.alpha):
        raise SourceError(f"{where}: a mask with transparent pixels; expected one label per pixel")


def inverted_error(path: Path) -> SourceError:
    """Return the error for a TIFF in which the lowest value is white."""
    return SourceError(
        f"{path}: its lowest value is white (TIFF photometric 0), so programs disagree on its "
        "values; save it again with black as its lowest value"
    )


def apply_orientation(pixels: AnyArray, orientation: int) -> AnyArray:
    """Return pixels (H, W, ...) as displayed, by the EXIF or TIFF orientation (1 to 8).

    >>> apply_orientation(np.array([[1, 2]]), 6).tolist()
    [[1], [2]]
    """
    if orientation >= 5:  # rows and columns are exchanged
        pixels = pixels.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(pixels[::rows, ::columns])


def _deep_tiff(path: Path) -> DeepPicture | None:
    try:
        with tifffile.TiffFile(path) as file:
            pages = file.pages
            first: Any = pages[0]
            if len(pages) > 1:
                raise SourceError(
                    f"{path}: {len(pages)} pages in one file; expected one picture. Split it into "
                    "its pages, or read a pyramid as a slide"
                )
            if _is_thumbnail(first, first.pages or ()):
                raise SourceError(
                    f"{path}: its only page is a thumbnail, the full picture is in a SubIFD; save "
                    "the full picture on its own"
                )
            _check_stack(file, first, path)
            _check_channels(first, path)
            if not _is_deep(first):
                return None
            _check_page(first, path)
            values = first.asarray(maxworkers=1)
            return _separate_channels(first, values, path)
    except SourceError:
        raise
    except Exception as error:  # the decoders' own
        raise SourceError(
            f"{path}: the picture is truncated or damaged ({error}); copy it again from its source"
        ) from None


def check_pyramid(path: Path) -> None:
    """Refuse a TIFF whose first page is a thumbnail, which OpenSlide would take for the slide."""
    try:
        with tifffile.TiffFile(path) as file:
            small = _is_thumbnail(file.pages[0], file.pages)
    except Exception:  # reported by other readers
        return
    if small:
        raise SourceError(
            f"{path}: its first page is a thumbnail of a later one; save it as a pyramid with the "
            "full picture first"
        )


def _is_thumbnail(page: Any, others: Any) -> bool:  # noqa: ANN401 - tifffile's own
    """Return whether a page is a reduced copy, and one of the others is wider."""
    return bool(page.is_reduced) and any(
        int(other.imagewidth) > int(page.imagewidth) for other in others
    )


def _is_deep(page: Any) -> bool:  # noqa: ANN401 - tifffile's own
    """Return whether Pillow would not read a page as stored."""
    if page.bitspersample == 1 and str(page.software).startswith("tifffile"):
        return int(page.photometric) != _MIN_IS_BLACK  # booleans saved by tifffile
    readable = page.bitspersample in (1, 2, 4, 8) and int(page.sampleformat) == 1
    # Pillow (13.0) swaps height and width when reading some rotated files
    return (
        not readable
        or int(page.compression) not in _PILLOW_COMPRESSIONS
        or _orientation(page) != UPRIGHT
    )


def _check_stack(file: tifffile.TiffFile, page: Any, path: Path) -> None:  # noqa: ANN401
    """Refuse stacks with one directory for all planes, of which readers show only the first."""
    planes = int(page.imagedepth)
    with suppress(AttributeError, TypeError, ValueError):
        imagej = (file.imagej_metadata or {}) if file.is_imagej else {}
        planes = max(planes, int(imagej.get("images", 1)))
    with suppress(AttributeError, TypeError, ValueError):
        planes = max(planes, int((file.stk_metadata or {}).get("NumberPlanes", 1)))
    with suppress(AttributeError, TypeError, ValueError, LookupError):
        shape = [int(side) for side in (file.shaped_metadata or ({},))[0].get("shape", ())]
        size = int(np.prod(page.shape))
        planes = max(planes, int(np.prod(shape)) // size if size else 1)
    if planes > 1:
        raise SourceError(
            f"{path}: a volume of {planes} slices; expected one picture. Save the slices as "
            "pictures"
        )


def _check_page(page: Any, path: Path) -> None:  # noqa: ANN401 - tifffile's own
    refuse_large(page.imagewidth, page.imagelength, path)
    packed = page.samplesperpixel > 1 and page.bitspersample not in (8, 16, 32, 64)
    if page.dtype is None or page.dtype.kind not in "buif" or packed:
        kind = f"{page.dtype}, {page.samplesperpixel} times {page.bitspersample} bits"
        raise SourceError(
            f"{path}: pixels of type {kind}; expected integers or floats; convert it first"
        )
    if 0 in page.dataoffsets or 0 in page.databytecounts or not page.dataoffsets:
        raise SourceError(
            f"{path}: the picture is truncated or damaged (some of its pixels are missing); copy "
            "it again from its source"
        )


def _check_channels(page: Any, path: Path) -> None:  # noqa: ANN401 - tifffile's own
    """Refuse channels that are not colours; Pillow reads only the first of some of these."""
    photometric, samples = int(page.photometric), int(page.samplesperpixel)
    if photometric not in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE):
        return
    colours = 3 if photometric == _RGB else 1
    unspecified = tuple(map(int, page.extrasamples)) in ((), (_UNSPECIFIED,))
    if samples not in (colours, colours + 1) or (colours == 1 and samples == 2 and unspecified):
        raise SourceError(
            f"{path}: {samples} channels that are not colours; expected grey, palette or RGB. Save "
            "the channel to use"
        )


def _separate_channels(page: Any, values: AnyArray, path: Path) -> DeepPicture:  # noqa: ANN401
    """Separate grey or colours from alpha."""
    photometric, samples = int(page.photometric), int(page.samplesperpixel)
    if photometric not in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE):
        name = getattr(page.photometric, "name", photometric)
        raise SourceError(
            f"{path}: {values.dtype} colours of kind {name}; expected grey or RGB; convert it first"
        )
    if samples > 1 and page.axes.startswith("S"):
        values = np.moveaxis(values, 0, -1)
    colours = 3 if photometric == _RGB else 1
    extra = tuple(map(int, page.extrasamples))
    if _PREMULTIPLIED in extra:
        raise SourceError(
            f"{path}: {values.dtype} colours premultiplied with alpha; save it without transparency"
        )
    alpha = values[..., -1] if samples > colours and extra != (_UNSPECIFIED,) else None
    if colours > 1:
        values = values[..., :colours]
    elif samples > 1:
        values = values[..., 0]
    return DeepPicture(
        np.ascontiguousarray(values),
        alpha,
        {_RGB: "rgb", _PALETTE: "palette"}.get(photometric, "grey"),
        inverted=photometric == _MIN_IS_WHITE and values.dtype != np.bool_,
        orientation=_orientation(page),
        blurred=page.compression.name if int(page.compression) in _LOSSY else "",
    )


def _orientation(page: Any) -> int:  # noqa: ANN401 - tifffile's own
    tag = page.tags.get(_ORIENTATION)
    return tag.value if tag is not None and tag.value in range(1, 9) else UPRIGHT


def _deep_png(path: Path, *, grey: bool) -> DeepPicture:
    """Read a PNG of 16 bits per channel: RGB or RGBA, or grey with alpha."""
    try:
        pixels = imagecodecs.png_decode(path.read_bytes())
    except (imagecodecs.PngError, ValueError):
        pixels = np.empty(0)
    if pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise SourceError(
            f"{path}: the picture is truncated or damaged, or its form of 16-bit colours cannot be "
            "read; save it as 16-bit RGB PNG"
        )
    alpha = pixels[..., -1] if pixels.shape[2] in (2, 4) else None
    values = pixels[..., 0] if grey else pixels[..., :3]
    return DeepPicture(np.ascontiguousarray(values), alpha, "grey" if grey else "rgb")
