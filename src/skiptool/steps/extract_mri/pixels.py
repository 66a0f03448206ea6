"""Frames of volumes to slices: laid out, resampled, scaled, cropped, with their labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import SourceError
from skiptool.sources.pictures.labels import LabelMap
from skiptool.sources.volumes.manifest import Frame
from skiptool.sources.volumes.nifti import Volume, read_frames, whole_labels
from skiptool.sources.volumes.orientation import View
from skiptool.sources.volumes.slices import resampled

if TYPE_CHECKING:
    from skiptool.records import AnyArray, UInt8

__all__ = ["image_slices", "label_slices", "spread"]

Pixel = tuple[float, float]
"""Millimetres from row to row and from column to column."""


def image_slices(volume: Volume, frames: Sequence[Frame], view: View) -> Iterator[AnyArray]:
    """Yield the slices (S, H, W) of each frame.

    Raises
    ------
    SourceError
        If the file ends early or is damaged, or a voxel is not finite.
    """
    for frame, found in zip(frames, read_frames(volume, _places(volume, frames)), strict=True):
        if not np.isfinite(found).all():
            raise SourceError(
                f"{volume.path}: frame {frame}: {int((~np.isfinite(found)).sum())} voxels are NaN "
                "or infinite; replace them, by 0 where nothing was measured"
            )
        yield view.apply(found)


def label_slices(
    mask: Volume, frames: Sequence[Frame], view: View, labels: LabelMap
) -> Iterator[UInt8]:
    """Yield the labels (S, H, W) of each frame.

    Raises
    ------
    SourceError
        If the file ends early or is damaged, or a value is no label.
    """
    for frame, found in zip(frames, read_frames(mask, _places(mask, frames)), strict=True):
        where = f"{mask.path}: frame {frame}" if mask.frames > 1 else str(mask.path)
        yield view.apply(labels.apply(whole_labels(found, where), where))


def spread(
    slices: AnyArray, pixel: Pixel, wanted: float | None, *, labels: bool = False
) -> AnyArray:
    """Resample slices (S, H, W) to square pixels of ``wanted`` mm; None leaves them as they are."""
    if wanted is None:
        return slices
    return np.stack([resampled(each, pixel, wanted, labels=labels) for each in slices])


def _places(volume: Volume, frames: Sequence[Frame]) -> list[int]:
    """Where frames stand in a file; in one of a single frame that is 0, whatever its number."""
    return [0 if volume.frames == 1 else frame.number for frame in frames]
