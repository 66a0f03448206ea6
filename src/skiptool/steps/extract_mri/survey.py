"""Survey of volumes: open each once, match its mask to it, and count its labels.

The header gives the layout of the slices. Labels are counted in the mask as it is, after resampling
and after cropping. A volume that cannot be used fails with one line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import SourceError
from skiptool.extraction import survey_inputs
from skiptool.names import normalise_unicode
from skiptool.parallel import thread_map
from skiptool.records import Progress
from skiptool.sources.pictures.labels import LabelMap
from skiptool.sources.volumes.manifest import Frame, VolumeRow
from skiptool.sources.volumes.nifti import Volume, open_volume, read_frames, to_labels, volume_stem
from skiptool.sources.volumes.orientation import (
    View,
    choose_view,
    displacement,
    slice_axis,
    spacings,
    stored_view,
)
from skiptool.sources.volumes.slices import crop_or_pad, resample_slice, resampled_length
from skiptool.steps.extract_mri.settings import SliceSettings

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Int64, UInt8

PixelSpacing = tuple[float, float]
"""Millimetres from row to row and from column to column."""


@dataclass(frozen=True, slots=True, eq=False)
class SurveyedVolume:
    """A usable volume, with the facts from its header and mask.

    Attributes
    ----------
    row : VolumeRow
    name : str
        Prefix of the ids of its samples, unique in its domain.
    view : View
        Layout of the slices of image and mask.
    spacing : (float, float, float)
        Millimetres from slice to slice, row to row and column to column, as acquired.
    grid : (int, int, int)
        Number of slices, and their height and width in pixels before cropping.
    frames : tuple of Frame
        Frames to extract, ascending; none if there is no mask and ``keep_unlabelled`` is off.
    labelled : frozenset of int
        Numbers of the labelled frames.
    voxels : int64 (J,)
        Voxels of each label in the labelled frames of the mask.
    resampled : int64 (J,)
        Pixels of each label after resampling; equal to ``voxels`` without ``--spacing``.
    stored : int64 (J,)
        Pixels of each label after cropping to ``--size``.
    notes : tuple of str
        Warnings for the user.
    """

    row: VolumeRow
    name: str
    volume: Volume
    mask: Volume | None
    view: View
    spacing: tuple[float, float, float]
    grid: tuple[int, int, int]
    frames: tuple[Frame, ...]
    labelled: frozenset[int]
    voxels: Int64
    resampled: Int64
    stored: Int64
    notes: tuple[str, ...]

    @property
    def pixel(self) -> PixelSpacing:
        """Millimetres from row to row and from column to column, as acquired."""
        return self.spacing[1:]

    @property
    def ids(self) -> list[str]:
        """Ids of its samples, frame by frame, slice by slice."""
        return [self.id_of(frame, index) for frame in self.frames for index in range(self.grid[0])]

    @property
    def cut_off(self) -> Int64:
        """Pixels of each label that cropping cuts off."""
        return self.resampled - self.stored

    def id_of(self, frame: Frame, index: int) -> str:
        """Return the id of the sample of one slice of a frame."""
        return f"{self.name}-f{frame.number:03d}-s{index:03d}"


def survey_volumes(
    rows: Sequence[VolumeRow], settings: SliceSettings, threads: int, progress: Progress
) -> tuple[list[SurveyedVolume], list[str]]:
    """Open every volume and read its mask.

    Return the usable volumes in the order of the rows, and one line for each failure.
    """
    volumes, failures = survey_inputs(
        partial(_survey_volume, settings), rows, partial(thread_map, workers=threads), progress
    )
    return _with_unique_names(volumes, failures), failures


def _survey_volume(settings: SliceSettings, row: VolumeRow) -> SurveyedVolume:
    if row.mask is not None and row.mask.resolve() == row.image.resolve():
        raise SourceError(
            f"{row.image}: is given both as image and as mask; give the file of its mask"
        )
    volume = open_volume(row.image)
    mask = None if row.mask is None else open_volume(row.mask)
    view, guess = _view(volume, settings.slice_axis_of(row.domain))
    notes = [f"{row.image}: {note}" for note in (volume.note, guess) if note]
    if mask is not None:
        mask, mask_notes = match_mask(volume, mask)
        notes += mask_notes
    axes = (view.through, view.rows, view.columns)
    steps = spacings(volume.affine)
    step, step_y, step_x = (steps[axis] for axis in axes)
    slices, height, width = (volume.shape[axis] for axis in axes)
    if settings.spacing is not None:
        height = resampled_length(height, step_y, settings.spacing)
        width = resampled_length(width, step_x, settings.spacing)
    zeros: Int64 = np.zeros(len(settings.classes), dtype=np.int64)
    surveyed = SurveyedVolume(
        row=row,
        name=row.id or normalise_unicode(volume_stem(row.image)),
        volume=volume,
        mask=mask,
        view=view,
        spacing=(step, step_y, step_x),
        grid=(slices, height, width),
        frames=_candidate_frames(row, volume, mask),
        labelled=frozenset(),
        voxels=zeros,
        resampled=zeros,
        stored=zeros,
        notes=tuple(notes),
    )
    return _choose_frames(_count_labels(surveyed, settings), settings)


def _view(volume: Volume, given_axis: int | None) -> tuple[View, str]:
    """Return the layout of the slices of a volume, and a note if their axis is a guess."""
    where, steps = str(volume.path), spacings(volume.affine)
    axis, guess = slice_axis(volume.shape[:3], steps, volume.slices, where, given_axis)
    view = choose_view(volume.affine, where, axis) if volume.placed else stored_view(axis)
    return view, guess


def _candidate_frames(row: VolumeRow, volume: Volume, mask: Volume | None) -> tuple[Frame, ...]:
    """Return the frames that may be labelled."""
    if volume.frames == 1:
        if len(row.frames) > 1:
            raise SourceError(f"{row.image}: has one frame, {len(row.frames)} are named; name one")
        return row.frames or (Frame(0),)
    for frame in row.frames:
        if frame.number >= volume.frames:
            raise SourceError(
                f"{row.image}: has no frame {frame}, it has 0 to {volume.frames - 1}; correct its "
                "frames in the table"
            )
    if mask is not None and mask.frames == 1 and len(row.frames) != 1:
        raise SourceError(
            f"{mask.path}: labels one frame, its image has {volume.frames}; say in the column "
            "frames which one it is"
        )
    return row.frames or tuple(map(Frame, range(volume.frames)))


def _count_labels(volume: SurveyedVolume, settings: SliceSettings) -> SurveyedVolume:
    """Read the mask; set the labelled frames and the counts of their labels."""
    if volume.mask is None:
        return volume
    labelled = set()
    voxels, resampled_pixels, stored = (volume.voxels.copy() for _ in range(3))
    size = settings.size_of(volume.row.domain)
    masks = label_slices(volume.mask, volume.frames, volume.view, settings.label_map)
    for frame, labels in zip(volume.frames, masks, strict=True):
        counts = _count(labels, len(voxels))
        # a volume of one frame is labelled because it has a mask, even one of background only
        if not counts[1:].any() and volume.volume.frames > 1:
            continue
        labelled.add(frame.number)
        voxels += counts
        slices = resample_slices(labels, volume.pixel, settings.spacing, labels=True)
        resampled_pixels += _count(slices, len(voxels))
        stored += _count(slices if size is None else crop_or_pad(slices, size)[0], len(voxels))
    return replace(
        volume,
        labelled=frozenset(labelled),
        voxels=voxels,
        resampled=resampled_pixels,
        stored=stored,
    )


def _count(labels: UInt8, classes: int) -> Int64:
    counts: Int64 = np.bincount(labels.ravel(), minlength=classes)[:classes].astype(np.int64)
    return counts


def _choose_frames(volume: SurveyedVolume, settings: SliceSettings) -> SurveyedVolume:
    """Keep the labelled frames, and the others if ``keep_unlabelled``."""
    empty = [frame for frame in volume.row.frames if frame.number not in volume.labelled]
    notes = volume.notes
    if volume.mask is not None and volume.volume.frames > 1:
        if not volume.labelled and not settings.keep_unlabelled:
            named = f" of {', '.join(map(str, empty))}" if empty else ""
            raise SourceError(
                f"{volume.mask.path}: no frame{named} holds a label; correct the mask or its "
                "frames, or keep it with --keep-unlabelled"
            )
        notes += tuple(f"{volume.mask.path}: frame {frame} holds no label" for frame in empty)
    frames = {frame.number: frame for frame in volume.frames if frame.number in volume.labelled}
    if settings.keep_unlabelled:
        others = volume.frames
        if volume.volume.frames > 1:
            others = (*others, *map(Frame, range(volume.volume.frames)))
        for frame in others:
            frames.setdefault(frame.number, frame)
    return replace(volume, frames=tuple(sorted(frames.values())), notes=notes)


def _with_unique_names(
    volumes: Sequence[SurveyedVolume], failures: list[str]
) -> list[SurveyedVolume]:
    """Prefix the subject to names that several volumes share; leave out volumes listed twice."""
    names = Counter(volume.name for volume in volumes)
    unique: dict[tuple[str, str], SurveyedVolume] = {}
    for volume in volumes:
        name = volume.name
        if names[name] > 1 and not volume.row.id:
            name = f"{volume.row.subject}-{name}"
        key = (volume.row.domain, name)
        if key in unique:
            failures.append(
                f"{volume.row.image}: has the same name as {unique[key].row.image} ({name}) in "
                f"domain {volume.row.domain}; list it once, or fill in the column id"
            )
        else:
            unique[key] = replace(volume, name=name)
    return list(unique.values())


def match_mask(volume: Volume, mask: Volume) -> tuple[Volume, list[str]]:
    """Return a mask in the orientation of its image, and notes on it.

    It is an error if their shapes differ, or their headers put a corner further apart than half of
    the smallest distance between voxels. A mask without orientation is laid over its image as it
    is, with a note.
    """
    if volume.placed and mask.placed and not _is_aligned(volume, mask):
        turned = mask.turned_onto(volume)
        if _is_aligned(volume, turned):
            line = f"{mask.path}: its axes point in other directions than those of its image"
            return turned, [f"{line}; it is reoriented by its header", *_notes_on(mask)]
    if mask.shape[:3] != volume.shape[:3] or mask.frames not in (1, volume.frames):
        raise SourceError(
            f"{mask.path}: mask is {_format_shape(mask)}, its image {_format_shape(volume)}; both "
            "must have one shape"
        )
    if volume.placed and not mask.placed:
        return mask, [f"{mask.path}: {mask.note}; it is laid over its image voxel by voxel"]
    if volume.placed and not _is_aligned(volume, mask):
        distance = displacement(volume.affine, mask.affine, volume.shape)
        raise SourceError(
            f"{mask.path}: its header puts it up to {distance:.3g} mm beside its image "
            f"({volume.path.name}); resample the mask to the image, or give it the image's affine "
            "if it was drawn on its voxels"
        )
    return mask, _notes_on(mask)


def _is_aligned(volume: Volume, mask: Volume) -> bool:
    """Return whether shapes are equal and corners are within half a voxel of each other."""
    distance = displacement(volume.affine, mask.affine, volume.shape)
    return mask.shape[:3] == volume.shape[:3] and distance <= min(spacings(volume.affine)) / 2


def _notes_on(mask: Volume) -> list[str]:
    return [f"{mask.path}: {mask.note}"] if mask.note and mask.placed else []


def _format_shape(volume: Volume) -> str:
    shape = volume.shape if volume.frames > 1 else volume.shape[:3]
    return " x ".join(map(str, shape)) + " voxels"


# Slices of frames: images and labels, laid out and resampled.


def image_slices(volume: Volume, frames: Sequence[Frame], view: View) -> Iterator[AnyArray]:
    """Yield the slices (S, H, W) of each frame; a voxel that is not finite is an error."""
    positions = _positions(volume, frames)
    for frame, voxels in zip(frames, read_frames(volume, positions), strict=True):
        if not np.isfinite(voxels).all():
            raise SourceError(
                f"{volume.path}: frame {frame}: {int((~np.isfinite(voxels)).sum())} voxels are NaN "
                "or infinite; replace them, by 0 where nothing was measured"
            )
        yield view.apply(voxels)


def label_slices(
    mask: Volume, frames: Sequence[Frame], view: View, labels: LabelMap
) -> Iterator[UInt8]:
    """Yield the labels (S, H, W) of each frame; a value that is not a label is an error."""
    for frame, values in zip(frames, read_frames(mask, _positions(mask, frames)), strict=True):
        where = f"{mask.path}: frame {frame}" if mask.frames > 1 else str(mask.path)
        yield view.apply(labels.apply(to_labels(values, where), where))


def resample_slices(
    slices: AnyArray, pixel: PixelSpacing, spacing: float | None, *, labels: bool = False
) -> AnyArray:
    """Resample slices (S, H, W) to square pixels of ``spacing`` mm; None leaves them unchanged."""
    if spacing is None:
        return slices
    return np.stack([resample_slice(slice_, pixel, spacing, labels=labels) for slice_ in slices])


def _positions(volume: Volume, frames: Sequence[Frame]) -> list[int]:
    """Return the positions of frames in a file; 0 in a file of one frame, whatever its number."""
    return [0 if volume.frames == 1 else frame.number for frame in frames]
