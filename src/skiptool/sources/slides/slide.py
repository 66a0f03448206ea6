"""Slides through OpenSlide: the only door to it.

Colours are handed out as the file stores them: an ICC profile is not applied, as the paper's
shifts between scanners are in what they store. The pictures of the glass slide's label and of the
whole slide (``label``, ``macro``), which may show a patient's name, are never read.
"""

from __future__ import annotations

import math
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from openslide import OpenSlide, OpenSlideCache, OpenSlideError, OpenSlideUnsupportedFormatError

from skiptool.errors import ArgumentError, SourceError
from skiptool.sources.pictures.deep import check_pyramid
from skiptool.sources.slides.manifest import (
    AGAIN,
    check_file,
    check_tiles,
    content_key,
)
from skiptool.sources.slides.sampling import (
    SCALE_TOLERANCE,
    Pair,
    is_native,
    level_for,
    on_paper,
    over_white,
    resample,
    true_downsamples,
)

if TYPE_CHECKING:
    from PIL.Image import Image

    from skiptool.records import UInt8

__all__ = [
    "LARGEST",
    "SMALLEST",
    "Given",
    "Slide",
    "TileCache",
    "content_key",
    "is_sane",
    "open_slide",
    "pixel_size",
    "scale_of",
    "snap",
]

# -------------------------------------------------------------------------------------------------
# Size of a slide's pixels in micrometres: what the manifest says, else what the file says.


SMALLEST: Final = 0.05
LARGEST: Final = 20.0
"""Micrometres per pixel of level 0 that a slide may have: beyond, a default of some writer (1000,
352.78) or a wrong unit stands in its place."""

Given = tuple[float | None, float | None]
"""Values of the manifest's columns mpp and mpp_y, None where empty."""

_COLUMNS: Final = ("mpp", "mpp_y")


def pixel_size(name: str, given: Given, recorded: tuple[str | None, str | None]) -> Pair | None:
    """Micrometres per pixel of level 0, horizontally and vertically.

    Parameters
    ----------
    name : str
        The slide, for messages.
    given : (float or None, float or None)
        What the manifest says; always wins. ``mpp`` alone holds for both axes; ``mpp_y`` alone
        leaves the horizontal one to the file.
    recorded : (str or None, str or None)
        What the file says, as text.

    Returns
    -------
    (float, float) or None
        None where neither says it: the file is believed only if both its values are sane.

    Raises
    ------
    SourceError
        If a value of the manifest is not within 0.05..20, or there is a vertical one only.

    Examples
    --------
    >>> pixel_size("a.svs", (None, None), ("0.499", "0.499"))
    (0.499, 0.499)
    >>> pixel_size("a.svs", (0.25, None), ("1000", "1000"))
    (0.25, 0.25)
    >>> pixel_size("a.tif", (None, None), ("1000", "1000"))
    """
    for column, value in zip(_COLUMNS, given, strict=True):
        if value is not None and not is_sane(value):
            raise SourceError(
                f"{name}: the manifest's column {column} says {value:g} um/px; expected "
                f"{SMALLEST} to {LARGEST:g}. Correct it there"
            )
    across, down = given
    if across is not None:
        return across, across if down is None else down
    found = _sane(recorded)
    if down is None:
        return found
    if found is None:
        raise SourceError(
            f"{name}: the manifest's column mpp_y is filled in but mpp is empty, and the file "
            "itself has no usable pixel size; fill in mpp too"
        )
    return found[0], down


def is_sane(value: float) -> bool:
    """Whether a slide may have so many micrometres per pixel (0.05 to 20)."""
    return SMALLEST <= value <= LARGEST


def _sane(recorded: tuple[str | None, str | None]) -> Pair | None:
    try:
        across, down = (float(text or "nan") for text in recorded)
    except ValueError:
        return None
    return (across, down) if is_sane(across) and is_sane(down) else None


_PLAIN = "generic-tiff"
"""Kind of file in which nothing but its pages says what they are."""

TileCache = OpenSlideCache
"""Decoded tiles that several slides keep: ``TileCache(bytes)``."""


def open_slide(path: Path, mpp: Given = (None, None), cache: TileCache | None = None) -> Slide:
    """Open a slide and read what it says of itself.

    Parameters
    ----------
    path : Path
        The slide; its kind is told by content, not suffix.
    mpp : (float or None, float or None)
        Micrometres per pixel of level 0 as the manifest gives them (columns mpp and mpp_y); they
        win over the file's.
    cache : TileCache, optional
        Where decoded tiles are kept; its own of 32 MB without it.

    Raises
    ------
    SourceError
        If it is missing, empty, a folder, truncated or no slide, or the manifest's pixel size is
        not within 0.05..20 um/px.
    """
    return Slide(path, mpp, cache)


class Slide:
    """One slide; several threads may read from it at once.

    Attributes
    ----------
    path : Path
    vendor : str
        Kind of file as OpenSlide names it (aperio, hamamatsu, mirax, generic-tiff ...).
    size : (int, int)
        Width and height of level 0 in pixels.
    level_sizes : tuple of (int, int)
        The same of every level.
    downsamples : tuple of (float, float)
        Pixels of level 0 that a pixel of each level spans, horizontally and vertically.
    mpp : (float, float) or None
        Micrometres per pixel of level 0; None where neither manifest nor file have a sane value.
    recorded_mpp : (str or None, str or None)
        What the file says, sane or not.
    bounds_offset : (int, int)
        Left and top of the part that was scanned, in pixels of level 0 (OpenSlide's bounds).
    key : str
        Hash of the content, the same for a copy under another name.
    """

    def __init__(
        self, path: Path, mpp: Given = (None, None), cache: TileCache | None = None
    ) -> None:
        self.path = path
        self._cache = cache
        self._handle = handle = _open(path, cache)
        facts = handle.properties
        self.vendor = facts["openslide.vendor"]
        self.level_sizes = handle.level_dimensions
        self.size = self.level_sizes[0]
        self.downsamples = true_downsamples(self.level_sizes)
        self._steps = handle.level_downsamples
        self.recorded_mpp = facts.get("openslide.mpp-x"), facts.get("openslide.mpp-y")
        self.mpp = pixel_size(str(path), mpp, self.recorded_mpp)
        left, top = (int(facts.get(f"openslide.bounds-{axis}", 0)) for axis in "xy")
        self.bounds_offset = left, top

    @cached_property
    def key(self) -> str:
        """Hash of the content, see `content_key`."""
        return content_key(self.path)

    def read(self, x: float, y: float, size: tuple[int, int], scale: Pair) -> UInt8:
        """Read a patch at any resolution.

        Parameters
        ----------
        x, y : float
            Upper left corner in pixels of level 0; may lie outside the slide.
        size : (int, int)
            Width and height of the patch.
        scale : (float, float)
            Pixels of level 0 that one pixel of the patch spans, horizontally and vertically.

        Returns
        -------
        uint8, shape (height, width, 3)
            Pixel (i, j) covers ``x + j * sx .. x + (j + 1) * sx`` and ``y + i * sy ..``. The slide
            lies on white paper. As a level stores them where scale and position are its own;
            otherwise from the coarsest level that is fine enough, antialiased.

        Raises
        ------
        ArgumentError
            If position, size or scale is no such thing.
        SourceError
            If the pixels cannot be read; others of the same slide still can.
        """
        if not (all(map(math.isfinite, (x, y, *scale))) and min(*size, *scale) > 0):
            raise ArgumentError(
                f"{self.path}: cannot read {size} pixels at ({x}, {y}), scale {scale}; expected "
                "a finite position, a size of at least 1 and a scale above 0"
            )
        level = level_for(self.downsamples, scale)
        across, down = self.downsamples[level]
        start, ratio = (x / across, y / down), (scale[0] / across, scale[1] / down)
        if is_native(start, ratio):
            return self._pixels(level, round(start[0]), round(start[1]), *size)[0]
        return resample(partial(self._pixels, level), start, ratio, size)

    def overview(self, longest: int) -> tuple[UInt8, Pair]:
        """Small picture of the whole slide.

        Parameters
        ----------
        longest : int
            Pixels of the longer side; fewer where level 0 has fewer.

        Returns
        -------
        image : uint8, shape (h, w, 3)
            Antialiased, read piece by piece: a slide of a single level takes its time, not memory.
        scale : (float, float)
            Pixels of level 0 that one pixel of it spans, exact for either axis.

        Raises
        ------
        ArgumentError, SourceError
            As for `read`.
        """
        shrink = max(max(self.size) / longest, 1.0)
        width, height = (max(round(side / shrink), 1) for side in self.size)
        scale = self.size[0] / width, self.size[1] / height
        return self.read(0, 0, (width, height), scale), scale

    def _pixels(
        self, level: int, left: int, top: int, width: int, height: int
    ) -> tuple[UInt8, Pair]:
        """Pixels of a level on white, and where on the level their corner truly lies."""
        limits = self.level_sizes[level]
        west, east = max(left, 0), min(left + width, limits[0])
        north, south = max(top, 0), min(top + height, limits[1])
        if west >= east or north >= south:
            return on_paper(None, (0, 0), (width, height)), (left, top)
        # OpenSlide wants whole pixels of level 0, divides by its own downsample and interpolates;
        # only what lies on the level is asked of it, as it rounds positions below 0 otherwise
        step = self._steps[level]
        place = round(west * step), round(north * step)
        part = self._colours(place, level, (east - west, south - north))
        corner = place[0] / step - (west - left), place[1] / step - (north - top)
        return on_paper(part, (west - left, north - top), (width, height)), corner

    def _colours(self, place: tuple[int, int], level: int, size: tuple[int, int]) -> UInt8:
        # the bytes in one go: asarray takes ten times as long
        rgba = np.frombuffer(self._region(place, level, size).tobytes(), dtype=np.uint8)
        return over_white(rgba.reshape(*size[::-1], 4))

    def _region(self, place: tuple[int, int], level: int, size: tuple[int, int]) -> Image:
        """Read a region; after an error, once more with a new handle.

        An error latches: every later call on that handle fails, including those that other threads
        are in. A new handle shows whether this region is at fault.
        """
        try:
            return self._handle.read_region(place, level, size)
        except OpenSlideError:
            handle = _open(self.path, self._cache)
        try:
            picture = handle.read_region(place, level, size)
        except OpenSlideError as error:
            raise SourceError(
                f"{self.path}: {size[0]} x {size[1]} pixels of level {level} at {place} cannot be "
                f"read ({error}); the file is damaged: {AGAIN}"
            ) from error
        self._handle = handle
        return picture


def _open(path: Path, cache: TileCache | None) -> OpenSlide:
    check_file(path)
    try:
        handle = OpenSlide(path)
    except OpenSlideUnsupportedFormatError:
        why = "unsupported or truncated: not a slide that OpenSlide can read"
        how = "copy it again from its source, or convert it to a tiled, pyramidal TIFF"
        raise SourceError(f"{path}: {why}; {how}") from None
    except OpenSlideError as error:
        raise SourceError(f"{path}: the slide cannot be opened ({error}); {AGAIN}") from error
    check_tiles(handle.properties, handle.level_count, path)
    if handle.properties["openslide.vendor"] == _PLAIN:
        check_pyramid(path)
    if cache is not None:
        handle.set_cache(cache)
    return handle


# -------------------------------------------------------------------------------------------------
# Which scale a patch is read at: a level of the pyramid, or micrometres per pixel.


def scale_of(slide: Slide, mpp: float | None = None, level: int = 0) -> Pair:
    """Pixels of level 0 that one pixel of a patch spans, horizontally and vertically.

    Parameters
    ----------
    slide : Slide
    mpp : float, optional
        Micrometres per pixel wanted, the same on both axes; wins over the level.
    level : int
        Level of the pyramid whose pixels are wanted.

    Raises
    ------
    ArgumentError
        If the resolution wanted is not within 0.05..20 um/px.
    SourceError
        If the slide has no usable pixel size, or no such level.
    """
    if mpp is not None:
        return _by_size(slide, mpp)
    if not 0 <= level < len(slide.level_sizes):
        known = ", ".join(
            f"{number} ({width} x {height} px)"
            for number, (width, height) in enumerate(slide.level_sizes)
        )
        raise SourceError(
            f"{slide.path}: has no level {level}; its levels are {known}. Correct the manifest's "
            "column level"
        )
    return slide.downsamples[level]


def _by_size(slide: Slide, mpp: float) -> Pair:
    if not is_sane(mpp):
        raise ArgumentError(
            f"a resolution of {mpp:g} um/px; expected {SMALLEST} to {LARGEST:g} (--mpp)"
        )
    if slide.mpp is None:
        across, down = slide.recorded_mpp
        says = f"says {across} x {down}" if across and down else "says nothing"
        raise SourceError(
            f"{slide.path}: no usable pixel size, so it cannot be brought to {mpp:g} um/px (the "
            f"file {says}, expected {SMALLEST} to {LARGEST:g}); give it in the manifest's column "
            "mpp (and mpp_y where pixels are not square)"
        )
    return mpp / slide.mpp[0], mpp / slide.mpp[1]


def snap(slide: Slide, x: float, y: float, scale: Pair) -> Pair:
    """Move a corner to the nearest pixel of a level where the scale is one's own.

    Parameters
    ----------
    slide : Slide
    x, y : float
        Upper left corner in pixels of level 0.
    scale : (float, float)
        As `scale_of` returns it.

    Returns
    -------
    (float, float)
        At most half a pixel of the level away, so that it is read as stored, not resampled;
        unchanged at other scales.
    """
    for across, down in slide.downsamples:
        if all(
            abs(wanted / has - 1) <= SCALE_TOLERANCE
            for wanted, has in zip(scale, (across, down), strict=True)
        ):
            return round(x / across) * across, round(y / down) * down
    return x, y
