"""Pictures of more than 8 bits a channel, and other TIFFs that Pillow would narrow: as stored.

Pillow keeps 8 of 16 bits in colour, takes signed bytes for unsigned ones and mixes up 16-bit
channels that are stored one after the other, and says nothing; 64-bit and half-precision numbers
and some compressions it does not know, and calls these files damaged. So all of them are told by
their headers here, and read by tifffile (TIFF) and OpenCV (PNG).
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import tifffile
from PIL import Image

from skiptool.errors import SourceError
from skiptool.sources.paths import refuse_pointer

if TYPE_CHECKING:
    from skiptool.records import AnyArray

__all__ = [
    "UPRIGHT",
    "Deep",
    "check_alpha",
    "check_pyramid",
    "deep_picture",
    "inverted",
    "is_opaque",
    "over_white",
    "refuse_as_mask",
    "refuse_large",
    "refuse_turned",
    "shown_values",
    "too_large",
    "turned",
]

logging.getLogger("tifffile").addHandler(
    logging.NullHandler()
)  # errors are raised here, not logged

_TIFF_STARTS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_PNG_COLOURS: Final = (2, 4, 6)
"""PNG colour types with several channels: RGB, grey with alpha, RGB with alpha."""

_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE = 0, 1, 2, 3
_UNSPECIFIED, _PREMULTIPLIED = 0, 1
_PLAIN: Final = (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000)
"""TIFF compressions that Pillow reads: none, fax, LZW, JPEG, Deflate, PackBits, LZMA, Zstandard."""

_LOSSY: Final = (6, 7, 22610, 33003, 33004, 33005, 33007, 34712, 34934, 34892, 50001, 50002, 52546)
"""JPEG and its kin, JPEG 2000, JPEG XR, JPEG XL, WebP: all of them may blur."""
_ORIENTATION: Final = 274

UPRIGHT: Final = 1
"""Orientation (of EXIF and TIFF) of a picture that is stored as it is shown."""


@dataclass(frozen=True, slots=True, eq=False)
class Deep:
    """What stands in a file.

    Attributes
    ----------
    values : bool, integers or floats, shape (H, W) or (H, W, 3)
    alpha : same type, shape (H, W), optional
        Opacity, where the file has any.
    colours : {"grey", "rgb", "palette"}
    inverted : bool
        The lowest value is meant to be shown white. Never of booleans, which are what a program
        had in memory.
    orientation : int
        1 is upright, see :func:`turned`.
    blurred : str
        Name of its compression if that may change values, else empty.
    """

    values: AnyArray
    alpha: AnyArray | None = None
    colours: str = "grey"
    inverted: bool = False
    orientation: int = 1
    blurred: str = ""


def deep_picture(path: Path) -> Deep | None:
    """Read a picture that Pillow would narrow.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Deep or None
        None where Pillow reads all that is in the file (8 bits or fewer, 16-bit grey PNG), or says
        what is wrong (no such file, neither TIFF nor PNG).

    Raises
    ------
    SourceError
        If it is damaged, a stack or volume, or of channels that are neither grey nor colours.
    """
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            start = file.read(26)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error}); check its rights") from None
    refuse_pointer(path, start)
    if start[:4] in _TIFF_STARTS:
        return _deep_tiff(path)
    if start[:8] == _PNG_START and start[24:25] == b"\x10" and start[25] in _PNG_COLOURS:
        return _deep_png(path, grey=start[25] == _PNG_COLOURS[1])
    return None


def shown_values(deep: Deep, where: Path, upright: bool | None = None) -> AnyArray:
    """Return the values of an image, opaque and upright, (H, W) or (H, W, 3).

    Parameters
    ----------
    deep : Deep
    where : Path
    upright : bool, optional
        Turn it if it is stored turned; as :func:`skiptool.sources.pictures.files.decoded` has it.

    Raises
    ------
    SourceError
        If it is stored turned and may not be turned, its lowest value is white, or it has a
        palette; or as :func:`over_white`.
    """
    if not upright:
        refuse_turned(deep.orientation, "TIFF", where, option=upright is False)
    if deep.inverted:
        raise inverted(where)
    if deep.colours == "palette":
        raise SourceError(
            f"{where}: a palette of {deep.values.dtype} indices; save it as grey or RGB picture"
        )
    return turned(over_white(deep, where), deep.orientation)


def over_white(deep: Deep, where: Path) -> AnyArray:
    """Return the values, laid over white where they are transparent.

    Raises
    ------
    SourceError
        If everything is transparent, or transparency of this type has no scale.
    """
    values, alpha = deep.values, deep.alpha
    if alpha is None or is_opaque(alpha):
        return values
    if values.dtype not in (np.uint8, np.uint16):
        raise SourceError(
            f"{where}: {values.dtype} values with transparency; save it without transparency"
        )
    white = np.iinfo(values.dtype).max
    share = alpha.astype(np.float64) / white
    check_alpha(float(share.max()), where)
    if values.ndim == 3:
        share = share[..., None]
    mixed: AnyArray = np.rint(share * values + (1 - share) * white).astype(values.dtype)
    return mixed


def is_opaque(alpha: AnyArray) -> bool:
    """Say whether nothing is transparent: all of it is 1, or the highest number of its type."""
    highest = 1.0 if alpha.dtype.kind == "f" else np.iinfo(alpha.dtype).max
    return bool((alpha == highest).all())


def check_alpha(highest: float, where: Path) -> None:
    """Refuse a picture of which nothing would be seen over white.

    Parameters
    ----------
    highest : float
        Opacity of its most opaque pixel, in [0, 1].
    where : Path

    Raises
    ------
    SourceError
        If no pixel is at least half opaque: programs that do not fill their alpha channel leave
        it at 0, or at 1 of 255.
    """
    if highest < 0.5:
        raise SourceError(
            f"{where}: no pixel is more than {highest:.1%} opaque, so that nothing of it would be "
            "seen; its alpha channel is wrong: save it without one"
        )


def refuse_large(width: int, height: int, where: Path) -> None:
    """Refuse a picture of more pixels than Pillow allows, before anything is decoded.

    Raises
    ------
    SourceError
        If it has more than about 89 million.
    """
    if width * height > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise too_large(where)


def too_large(where: Path) -> SourceError:
    """Return the error of a picture of more pixels than Pillow allows."""
    return SourceError(
        f"{where}: more pixels than the {Image.MAX_IMAGE_PIXELS:,} that a picture may have; cut it "
        "into patches, or read it as a slide"
    )


def refuse_turned(orientation: int, kind: str, where: Path, *, option: bool = False) -> None:
    """Refuse a picture that is shown otherwise than it is stored.

    Programs for annotation show it turned or not, so that nothing tells whether a mask beside it
    lies on what is stored or on what is shown.

    Raises
    ------
    SourceError
        If it is not `UPRIGHT`; with ``option`` it names the option that turns it.
    """
    if orientation != UPRIGHT:
        way_out = ", or give --upright if its mask lies on it as viewers show it" if option else ""
        raise SourceError(
            f"{where}: is stored turned ({kind} orientation {orientation}); save it "
            f"upright{way_out}"
        )


def refuse_as_mask(deep: Deep, where: Path) -> None:
    """Refuse a mask in which labels would not be where, or what, they are meant to be.

    Raises
    ------
    SourceError
        If it is stored turned, its compression may blur, its lowest value is white, or it is
        transparent in places.
    """
    refuse_turned(deep.orientation, "TIFF", where)
    if deep.blurred:
        raise SourceError(
            f"{where}: a mask compressed as {deep.blurred}, which may blur labels; save it "
            "uncompressed or with LZW or Deflate"
        )
    if deep.inverted:
        raise inverted(where)
    if deep.alpha is not None and not is_opaque(deep.alpha):
        raise SourceError(
            f"{where}: a mask that is transparent in places; expected one label a pixel"
        )


def inverted(path: Path) -> SourceError:
    """Return the error of a TIFF in which the lowest value is white."""
    return SourceError(
        f"{path}: its lowest value is white (TIFF photometric 0), so that programs differ in what "
        "is in it; save it again with black as its lowest value"
    )


def turned(pixels: AnyArray, orientation: int) -> AnyArray:
    """Return pixels (H, W, ...) as they are shown, by the orientation (1 to 8) of EXIF and TIFF.

    >>> turned(np.array([[1, 2]]), 3).tolist(), turned(np.array([[1, 2]]), 6).tolist()
    ([[2, 1]], [[1], [2]])
    """
    if orientation >= 5:  # rows and columns are exchanged
        pixels = pixels.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(pixels[::rows, ::columns])


def _deep_tiff(path: Path) -> Deep | None:
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
            return _sorted_channels(first, values, path)
    except SourceError:
        raise
    except Exception as error:  # whatever the decoders trip over
        raise SourceError(
            f"{path}: the picture is cut off or damaged ({error}); copy it again from its source"
        ) from None


def check_pyramid(path: Path) -> None:
    """Refuse a TIFF whose first page is a thumbnail, which OpenSlide would take for the slide.

    Raises
    ------
    SourceError
        If the first page says that it is a reduced copy, and a later one is larger.
    """
    try:
        with tifffile.TiffFile(path) as file:
            small = _is_thumbnail(file.pages[0], file.pages)
    except Exception:  # what is wrong with it others say
        return
    if small:
        raise SourceError(
            f"{path}: its first page is a thumbnail of a later one; save it as a pyramid with the "
            "full picture first"
        )


def _is_thumbnail(page: Any, others: Any) -> bool:  # noqa: ANN401 - tifffile's own
    """Say whether a page is a reduced copy, and one of the others is wider."""
    return bool(page.is_reduced) and any(
        int(other.imagewidth) > int(page.imagewidth) for other in others
    )


def _is_deep(page: Any) -> bool:  # noqa: ANN401 - tifffile's own
    """Say whether Pillow would not read a page as it is stored."""
    if page.bitspersample == 1 and str(page.software).startswith("tifffile"):
        return int(page.photometric) != _MIN_IS_BLACK  # how it saves True and False
    known = page.bitspersample in (1, 2, 4, 8) and int(page.sampleformat) == 1
    # Of some that are stored turned Pillow (13.0) exchanges height and width of the rows it reads.
    return not known or int(page.compression) not in _PLAIN or _orientation(page) != UPRIGHT


def _check_stack(file: tifffile.TiffFile, page: Any, path: Path) -> None:  # noqa: ANN401
    """Refuse stacks that have one directory for all their planes: readers show the first alone."""
    planes = int(page.imagedepth)
    with suppress(AttributeError, TypeError, ValueError):
        about = (file.imagej_metadata or {}) if file.is_imagej else {}
        planes = max(planes, int(about.get("images", 1)))
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
            f"{path}: the picture is cut off or damaged (a part of its pixels is not in the file); "
            "copy it again from its source"
        )


def _check_channels(page: Any, path: Path) -> None:  # noqa: ANN401 - tifffile's own
    """Refuse channels that are no colours; of some of these Pillow shows the first alone."""
    shown, samples = int(page.photometric), int(page.samplesperpixel)
    own = 3 if shown == _RGB else 1
    if shown not in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE):
        return
    unnamed = tuple(map(int, page.extrasamples)) in ((), (_UNSPECIFIED,))
    if samples not in (own, own + 1) or (own == 1 and samples == 2 and unnamed):
        raise SourceError(
            f"{path}: {samples} channels that are no colours; expected grey, palette or RGB. Save "
            "the channel that is meant"
        )


def _sorted_channels(page: Any, values: AnyArray, path: Path) -> Deep:  # noqa: ANN401
    """Tell grey, colours and opacity apart."""
    shown, samples = int(page.photometric), int(page.samplesperpixel)
    if shown not in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE):
        name = getattr(page.photometric, "name", shown)
        raise SourceError(
            f"{path}: {values.dtype} colours of kind {name}; expected grey or RGB; convert it first"
        )
    if samples > 1 and page.axes.startswith("S"):
        values = np.moveaxis(values, 0, -1)
    own, extra = (3 if shown == _RGB else 1), tuple(map(int, page.extrasamples))
    if _PREMULTIPLIED in extra:
        raise SourceError(
            f"{path}: {values.dtype} colours multiplied by their transparency; save it without "
            "transparency"
        )
    alpha = values[..., -1] if samples > own and extra != (_UNSPECIFIED,) else None
    kept = values[..., :own] if own > 1 else (values[..., 0] if samples > 1 else values)
    return Deep(
        np.ascontiguousarray(kept),
        alpha,
        {_RGB: "rgb", _PALETTE: "palette"}.get(shown, "grey"),
        shown == _MIN_IS_WHITE and values.dtype != np.bool_,
        _orientation(page),
        page.compression.name if int(page.compression) in _LOSSY else "",
    )


def _orientation(page: Any) -> int:  # noqa: ANN401 - tifffile's own
    tag = page.tags.get(_ORIENTATION)
    return tag.value if tag is not None and tag.value in range(1, 9) else UPRIGHT


def _deep_png(path: Path, *, grey: bool) -> Deep:
    """Read 16 bits a channel; OpenCV makes grey with alpha to colours with alpha, bit by bit."""
    try:
        found = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        found = None
    if found is None or found.dtype != np.uint16 or found.ndim != 3:
        raise SourceError(
            f"{path}: the picture is cut off or damaged, or its 16-bit colours are in a form that "
            "cannot be read; save it as 16-bit RGB PNG"
        )
    alpha = found[..., 3] if found.shape[2] == 4 else None
    values = found[..., 0] if grey else found[..., 2::-1]  # OpenCV has blue first
    return Deep(np.ascontiguousarray(values), alpha, "grey" if grey else "rgb")
