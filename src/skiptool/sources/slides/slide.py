"""Slides read through OpenSlide.

Colours are returned as stored, without applying an ICC profile, because the shifts between scanners
that the paper studies are in the stored values. The images of the label and of the whole glass
slide (``label``, ``macro``), which may show a patient's name, are never read.
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
    COPY_AGAIN,
    check_file,
    check_tiles,
    content_key,
)
from skiptool.sources.slides.sampling import (
    SCALE_TOLERANCE,
    Pair,
    is_native,
    level_for,
    on_white_canvas,
    over_white,
    resample,
    true_downsamples,
)

if TYPE_CHECKING:
    from PIL.Image import Image

    from skiptool.records import UInt8

MIN_MPP: Final = 0.05
MAX_MPP: Final = 20.0
"""Range of plausible pixel sizes of level 0 in µm: values beyond it are a writer's default
(1000, 352.78) or in a wrong unit."""

GivenMpp = tuple[float | None, float | None]
"""Values of the manifest's columns mpp and mpp_y; None if empty."""

_COLUMNS: Final = ("mpp", "mpp_y")


def pixel_size(name: str, given: GivenMpp, recorded: tuple[str | None, str | None]) -> Pair | None:
    """Return the micrometres per pixel of level 0, horizontally and vertically.

    Parameters
    ----------
    name : str
        The slide, for messages.
    given : (float or None, float or None)
        Values of the manifest, which take precedence. ``mpp`` alone applies to both axes; ``mpp_y``
        alone leaves the horizontal one to the file.
    recorded : (str or None, str or None)
        Values in the file, as text; used only if both are plausible.

    Examples
    --------
    >>> pixel_size("a.svs", (None, None), ("0.499", "0.499"))
    (0.499, 0.499)
    >>> pixel_size("a.svs", (0.25, None), ("1000", "1000"))
    (0.25, 0.25)
    >>> pixel_size("a.tif", (None, None), ("1000", "1000"))
    """
    for column, value in zip(_COLUMNS, given, strict=True):
        if value is not None and not is_plausible(value):
            raise SourceError(
                f"{name}: the manifest's column {column} says {value:g} um/px; expected "
                f"{MIN_MPP} to {MAX_MPP:g}. Correct it there"
            )
    across, down = given
    if across is not None:
        return across, across if down is None else down
    pair = _plausible_pair(recorded)
    if down is None:
        return pair
    if pair is None:
        raise SourceError(
            f"{name}: the manifest's column mpp_y is filled in but mpp is empty, and the file "
            "itself has no usable pixel size; fill in mpp too"
        )
    return pair[0], down


def is_plausible(value: float) -> bool:
    """Return whether a pixel size in µm is plausible (0.05 to 20)."""
    return MIN_MPP <= value <= MAX_MPP


def _plausible_pair(recorded: tuple[str | None, str | None]) -> Pair | None:
    try:
        across, down = (float(text or "nan") for text in recorded)
    except ValueError:
        return None
    return (across, down) if is_plausible(across) and is_plausible(down) else None


_GENERIC_TIFF = "generic-tiff"
"""Vendor of TIFF files that only their pages describe."""

TileCache = OpenSlideCache
"""Cache of decoded tiles shared by several slides: ``TileCache(bytes)``."""


def open_slide(path: Path, mpp: GivenMpp = (None, None), cache: TileCache | None = None) -> Slide:
    """Open a slide and read its properties.

    Parameters
    ----------
    path : Path
        The format is recognised by content, not suffix.
    mpp : (float or None, float or None)
        µm per pixel of level 0 from the manifest (columns mpp and mpp_y); override the file's.
    cache : TileCache, optional
        Cache of decoded tiles; by default, one of 32 MB of its own.
    """
    return Slide(path, mpp, cache)


class Slide:
    """A slide; safe to read from several threads.

    Attributes
    ----------
    vendor : str
        OpenSlide's name of the format (aperio, hamamatsu, mirax, generic-tiff ...).
    size : (int, int)
        Width and height of level 0 in pixels.
    level_sizes : tuple of (int, int)
        Width and height of every level.
    downsamples : tuple of (float, float)
        Pixels of level 0 per pixel of each level.
    mpp : (float, float) or None
        µm per pixel of level 0; None if neither manifest nor file give a plausible value.
    recorded_mpp : (str or None, str or None)
        Values in the file, plausible or not.
    bounds_offset : (int, int)
        Left and top of the scanned area in pixels of level 0 (OpenSlide's bounds).
    key : str
        Content hash, the same for a copy under another name.
    """

    def __init__(
        self, path: Path, mpp: GivenMpp = (None, None), cache: TileCache | None = None
    ) -> None:
        self.path = path
        self._cache = cache
        self._handle = handle = _open(path, cache)
        properties = handle.properties
        self.vendor = properties["openslide.vendor"]
        self.level_sizes = handle.level_dimensions
        self.size = self.level_sizes[0]
        self.downsamples = true_downsamples(self.level_sizes)
        self._steps = handle.level_downsamples
        self.recorded_mpp = properties.get("openslide.mpp-x"), properties.get("openslide.mpp-y")
        self.mpp = pixel_size(str(path), mpp, self.recorded_mpp)
        left, top = (int(properties.get(f"openslide.bounds-{axis}", 0)) for axis in "xy")
        self.bounds_offset = left, top

    @cached_property
    def key(self) -> str:
        """Content hash, see `content_key`."""
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
            Pixels of level 0 per pixel of the patch, horizontally and vertically.

        Returns
        -------
        uint8, shape (height, width, 3)
            Pixel (i, j) covers ``x + j * sx .. x + (j + 1) * sx`` and ``y + i * sy ..``; white
            outside the slide. Stored pixels where a level has this scale and alignment; otherwise
            resampled with antialiasing from the coarsest level that is fine enough.
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
        """Read a thumbnail of the whole slide.

        Parameters
        ----------
        longest : int
            Pixels of the longer side; fewer if level 0 has fewer.

        Returns
        -------
        image : uint8, shape (h, w, 3)
            Antialiased, read block by block: a slide of a single level takes time, not memory.
        scale : (float, float)
            Exact pixels of level 0 per pixel, for either axis.
        """
        shrink = max(max(self.size) / longest, 1.0)
        width, height = (max(round(side / shrink), 1) for side in self.size)
        scale = self.size[0] / width, self.size[1] / height
        return self.read(0, 0, (width, height), scale), scale

    def _pixels(
        self, level: int, left: int, top: int, width: int, height: int
    ) -> tuple[UInt8, Pair]:
        """Return pixels of a level on white, and the actual position of their corner on it."""
        limits = self.level_sizes[level]
        west, east = max(left, 0), min(left + width, limits[0])
        north, south = max(top, 0), min(top + height, limits[1])
        if west >= east or north >= south:
            return on_white_canvas(None, (0, 0), (width, height)), (left, top)
        # OpenSlide takes integer pixels of level 0, divides by its own downsample and interpolates.
        # Only pixels on the level are requested, because it rounds negative positions differently.
        step = self._steps[level]
        stored = round(west * step), round(north * step)
        part = self._colours(stored, level, (east - west, south - north))
        corner = stored[0] / step - (west - left), stored[1] / step - (north - top)
        return on_white_canvas(part, (west - left, north - top), (width, height)), corner

    def _colours(self, corner: tuple[int, int], level: int, size: tuple[int, int]) -> UInt8:
        # asarray takes ten times as long as tobytes
        rgba = np.frombuffer(self._region(corner, level, size).tobytes(), dtype=np.uint8)
        return over_white(rgba.reshape(*size[::-1], 4))

    def _region(self, corner: tuple[int, int], level: int, size: tuple[int, int]) -> Image:
        """Read a region; after an error, once more with a new handle.

        OpenSlide's errors latch: every later call on that handle fails, in other threads too. A new
        handle shows whether this region is at fault.
        """
        try:
            return self._handle.read_region(corner, level, size)
        except OpenSlideError:
            handle = _open(self.path, self._cache)
        try:
            picture = handle.read_region(corner, level, size)
        except OpenSlideError as error:
            raise SourceError(
                f"{self.path}: {size[0]} x {size[1]} pixels of level {level} at {corner} cannot be "
                f"read ({error}); the file is damaged: {COPY_AGAIN}"
            ) from error
        self._handle = handle
        return picture


def _open(path: Path, cache: TileCache | None) -> OpenSlide:
    check_file(path)
    try:
        handle = OpenSlide(path)
    except OpenSlideUnsupportedFormatError:
        raise SourceError(
            f"{path}: unsupported or truncated: not a slide that OpenSlide can read; copy it again "
            "from its source, or convert it to a tiled, pyramidal TIFF"
        ) from None
    except OpenSlideError as error:
        raise SourceError(f"{path}: the slide cannot be opened ({error}); {COPY_AGAIN}") from error
    check_tiles(handle.properties, handle.level_count, path)
    if handle.properties["openslide.vendor"] == _GENERIC_TIFF:
        check_pyramid(path)
    if cache is not None:
        handle.set_cache(cache)
    return handle


def patch_scale(slide: Slide, mpp: float | None = None, level: int = 0) -> Pair:
    """Return the pixels of level 0 per pixel of a patch, horizontally and vertically.

    Parameters
    ----------
    slide : Slide
    mpp : float, optional
        Requested µm per pixel on both axes; overrides the level.
    level : int
        Requested level of the pyramid.
    """
    if mpp is not None:
        return _scale_for_mpp(slide, mpp)
    if not 0 <= level < len(slide.level_sizes):
        levels = ", ".join(
            f"{number} ({width} x {height} px)"
            for number, (width, height) in enumerate(slide.level_sizes)
        )
        raise SourceError(
            f"{slide.path}: has no level {level}; its levels are {levels}. Correct the manifest's "
            "column level"
        )
    return slide.downsamples[level]


def _scale_for_mpp(slide: Slide, mpp: float) -> Pair:
    if not is_plausible(mpp):
        raise ArgumentError(
            f"a resolution of {mpp:g} um/px; expected {MIN_MPP} to {MAX_MPP:g} (--mpp)"
        )
    if slide.mpp is None:
        across, down = slide.recorded_mpp
        says = f"says {across} x {down}" if across and down else "says nothing"
        raise SourceError(
            f"{slide.path}: no usable pixel size, so it cannot be brought to {mpp:g} um/px (the "
            f"file {says}, expected {MIN_MPP} to {MAX_MPP:g}); give it in the manifest's column "
            "mpp (and mpp_y where pixels are not square)"
        )
    return mpp / slide.mpp[0], mpp / slide.mpp[1]


def snap(slide: Slide, x: float, y: float, scale: Pair) -> Pair:
    """Move a corner to the nearest pixel of the level with this scale, if there is one.

    Parameters
    ----------
    slide : Slide
    x, y : float
        Upper left corner in pixels of level 0.
    scale : (float, float)
        As returned by `patch_scale`.

    Returns
    -------
    (float, float)
        At most half a pixel of the level away, so that stored pixels are read without resampling;
        unchanged at other scales.
    """
    for across, down in slide.downsamples:
        if all(
            abs(requested / stored - 1) <= SCALE_TOLERANCE
            for requested, stored in zip(scale, (across, down), strict=True)
        ):
            return round(x / across) * across, round(y / down) * down
    return x, y
