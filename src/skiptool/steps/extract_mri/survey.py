"""Survey of volumes: open each once, match its mask to it, and count its labels.

The header gives the layout of the slices; labels are counted in the mask as stored, resampled and
cropped. What cannot be used fails with one line.
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
    """A usable volume, with what its header and mask say.

    Attributes
    ----------
    row : VolumeRow
    name : str
        Prefix of the ids of its samples, unique in its domain.
    volume : Volume
    mask : Volume or None
    view : View
        Layout of the slices of image and mask.
    spacing : (float, float, float)
        Millimetres from slice to slice, row to row and column to column, as acquired.
    grid : (int, int, int)
        Number of slices, and their height and width in pixels before cropping.
    frames : tuple of Frame
        Frames to take, ascending; none if there are no labels and unlabelled ones are not kept.
    labelled : frozenset of int
        Numbers of the labelled frames.
    voxels : int64 (J,)
        Voxels of each label in the labelled frames of the mask.
    whole : int64 (J,)
        Pixels of each label in all slices after resampling; the voxels without ``--spacing``.
    kept : int64 (J,)
        Those left by cropping to ``--size``.
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
    whole: Int64
    kept: Int64
    notes: tuple[str, ...]

    @property
    def pixel(self) -> PixelSpacing:
        """Millimetres from row to row and from column to column, as acquired."""
        return self.spacing[1:]

    @property
    def ids(self) -> list[str]:
        """Ids of its samples, frame by frame, slice by slice."""
        return [self.id_of(frame, place) for frame in self.frames for place in range(self.grid[0])]

    @property
    def cut_off(self) -> Int64:
        """Pixels of each label that cropping cuts off."""
        return self.whole - self.kept

    def id_of(self, frame: Frame, place: int) -> str:
        """Return the id of the sample of one slice of a frame."""
        return f"{self.name}-f{frame.number:03d}-s{place:03d}"


def survey_volumes(
    rows: Sequence[VolumeRow], settings: SliceSettings, threads: int, progress: Progress
) -> tuple[list[SurveyedVolume], list[str]]:
    """Open every volume and read its mask.

    Return the usable volumes in the order of the rows, and one line for each of the others.
    """
    volumes, failures = survey_inputs(
        partial(_surveyed, settings), rows, partial(thread_map, workers=threads), progress
    )
    return _with_unique_names(volumes, failures), failures


def _surveyed(settings: SliceSettings, row: VolumeRow) -> SurveyedVolume:
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
    step, step_y, step_x = (spacings(volume.affine)[axis] for axis in axes)
    slices, height, width = (volume.shape[axis] for axis in axes)
    if settings.spacing is not None:
        height = resampled_length(height, step_y, settings.spacing)
        width = resampled_length(width, step_x, settings.spacing)
    none: Int64 = np.zeros(len(settings.classes), dtype=np.int64)
    surveyed = SurveyedVolume(
        row=row,
        name=row.id or normalise_unicode(volume_stem(row.image)),
        volume=volume,
        mask=mask,
        view=view,
        spacing=(step, step_y, step_x),
        grid=(slices, height, width),
        frames=_candidates(row, volume, mask),
        labelled=frozenset(),
        voxels=none,
        whole=none,
        kept=none,
        notes=tuple(notes),
    )
    return _with_chosen_frames(_with_counts(surveyed, settings), settings)


def _view(volume: Volume, given_axis: int | None) -> tuple[View, str]:
    """Lay out the slices of a volume; also return a note if the axis is a guess."""
    where, steps = str(volume.path), spacings(volume.affine)
    axis, guess = slice_axis(volume.shape[:3], steps, volume.slices, where, given_axis)
    view = choose_view(volume.affine, where, axis) if volume.placed else stored_view(axis)
    return view, guess


def _candidates(row: VolumeRow, volume: Volume, mask: Volume | None) -> tuple[Frame, ...]:
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


def _with_counts(volume: SurveyedVolume, settings: SliceSettings) -> SurveyedVolume:
    """Read the mask: which of the candidate frames are labelled, and how many voxels."""
    if volume.mask is None:
        return volume
    labelled = set()
    voxels, whole, kept = (volume.voxels.copy() for _ in range(3))
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
        whole += _count(slices, len(whole))
        kept += _count(slices if size is None else crop_or_pad(slices, size)[0], len(kept))
    return replace(volume, labelled=frozenset(labelled), voxels=voxels, whole=whole, kept=kept)


def _count(labels: UInt8, classes: int) -> Int64:
    counts: Int64 = np.bincount(labels.ravel(), minlength=classes)[:classes].astype(np.int64)
    return counts


def _with_chosen_frames(volume: SurveyedVolume, settings: SliceSettings) -> SurveyedVolume:
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
    """Put the subject before names that several volumes share; leave out what is listed twice."""
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
    """Return a mask as it lies on its image, reoriented if its axes differ, and notes on it.

    Raises
    ------
    SourceError
        If their shapes differ, or their headers put a corner further apart than half of the
        smallest distance between voxels. A mask without an orientation is only noted.
    """
    if volume.placed and mask.placed and not _lies_on(volume, mask):
        turned = mask.turned_onto(volume)
        if _lies_on(volume, turned):
            line = f"{mask.path}: its axes point in other directions than those of its image"
            return turned, [f"{line}; it is reoriented by its header", *_noted(mask)]
    if mask.shape[:3] != volume.shape[:3] or mask.frames not in (1, volume.frames):
        raise SourceError(
            f"{mask.path}: mask is {_by(mask)}, its image {_by(volume)}; both must have one shape"
        )
    if volume.placed and not mask.placed:
        return mask, [f"{mask.path}: {mask.note}; it is laid over its image voxel by voxel"]
    apart = displacement(volume.affine, mask.affine, volume.shape)
    if volume.placed and not _lies_on(volume, mask):
        raise SourceError(
            f"{mask.path}: its header puts it up to {apart:.3g} mm beside its image "
            f"({volume.path.name}); resample the mask to the image, or give it the image's affine "
            "if it was drawn on its voxels"
        )
    return mask, _noted(mask)


def _lies_on(volume: Volume, mask: Volume) -> bool:
    """Return whether shapes are equal and corners within half a voxel of each other."""
    apart = displacement(volume.affine, mask.affine, volume.shape)
    return mask.shape[:3] == volume.shape[:3] and apart <= min(spacings(volume.affine)) / 2


def _noted(mask: Volume) -> list[str]:
    return [f"{mask.path}: {mask.note}"] if mask.note and mask.placed else []


def _by(volume: Volume) -> str:
    shape = volume.shape if volume.frames > 1 else volume.shape[:3]
    return " x ".join(map(str, shape)) + " voxels"


# Frames to slices: laid out, resampled, with their labels.


def image_slices(volume: Volume, frames: Sequence[Frame], view: View) -> Iterator[AnyArray]:
    """Yield the slices (S, H, W) of each frame.

    Raises
    ------
    SourceError
        If the file ends early or is damaged, or a voxel is not finite.
    """
    for frame, voxels in zip(frames, read_frames(volume, _places(volume, frames)), strict=True):
        if not np.isfinite(voxels).all():
            raise SourceError(
                f"{volume.path}: frame {frame}: {int((~np.isfinite(voxels)).sum())} voxels are NaN "
                "or infinite; replace them, by 0 where nothing was measured"
            )
        yield view.apply(voxels)


def label_slices(
    mask: Volume, frames: Sequence[Frame], view: View, labels: LabelMap
) -> Iterator[UInt8]:
    """Yield the labels (S, H, W) of each frame.

    Raises
    ------
    SourceError
        If the file ends early or is damaged, or a value is no label.
    """
    for frame, values in zip(frames, read_frames(mask, _places(mask, frames)), strict=True):
        where = f"{mask.path}: frame {frame}" if mask.frames > 1 else str(mask.path)
        yield view.apply(labels.apply(to_labels(values, where), where))


def resample_slices(
    slices: AnyArray, pixel: PixelSpacing, wanted: float | None, *, labels: bool = False
) -> AnyArray:
    """Resample slices (S, H, W) to square pixels of ``wanted`` mm; None leaves them unchanged."""
    if wanted is None:
        return slices
    return np.stack([resample_slice(slice_, pixel, wanted, labels=labels) for slice_ in slices])


def _places(volume: Volume, frames: Sequence[Frame]) -> list[int]:
    """Return positions of frames in a file; 0 in a file of one frame, whatever its number."""
    return [0 if volume.frames == 1 else frame.number for frame in frames]
