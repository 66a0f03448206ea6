"""Which scale a patch is read at: a level of the pyramid, or micrometres per pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skiptool.errors import ArgumentError, SourceError
from skiptool.sources.slides.levels import SCALE_TOLERANCE, Pair
from skiptool.sources.slides.pixel_size import LARGEST, SMALLEST, is_sane

if TYPE_CHECKING:
    from skiptool.sources.slides.slide import Slide

__all__ = ["scale_of", "snap"]


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
