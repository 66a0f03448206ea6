"""Look at every volume once: header, orientation, labels; what is sound, what fails and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import SkiptoolError, SourceError
from skiptool.names import composed
from skiptool.parallel import mapped
from skiptool.records import Progress
from skiptool.sources.volumes.manifest import Frame, VolumeRow
from skiptool.sources.volumes.nifti import Volume, open_volume, stem_of
from skiptool.sources.volumes.orientation import View, as_stored, slice_axis, spacings, view_of
from skiptool.sources.volumes.slices import fitted, resampled_length
from skiptool.steps.extract_mri.geometry import fit
from skiptool.steps.extract_mri.pixels import Pixel, label_slices, spread
from skiptool.steps.extract_mri.settings import SliceSettings

if TYPE_CHECKING:
    from skiptool.records import Int64, UInt8

__all__ = ["Surveyed", "survey"]


@dataclass(frozen=True, slots=True, eq=False)
class Surveyed:
    """A volume that can be used, with all that its header and mask say.

    Attributes
    ----------
    row : VolumeRow
    name : str
        Start of the ids of its samples, unique in its domain.
    volume : Volume
    mask : Volume or None
    view : View
        Layout of its slices, of the image and the mask alike.
    spacing : (float, float, float)
        Millimetres from slice to slice, row to row and column to column, as acquired.
    grid : (int, int, int)
        Number of slices, and their height and width in pixels before they are cropped.
    frames : tuple of Frame
        Frames to take, ascending; none where there are no labels and none are wanted.
    labelled : frozenset of int
        Numbers of those that have labels.
    voxels : int64 (J,)
        Voxels of each label in the labelled frames of the mask.
    whole : int64 (J,)
        Pixels of each label in all slices: the voxels, but for ``--spacing``.
    kept : int64 (J,)
        Those that ``--size`` leaves.
    notes : tuple of str
        What a user should know.
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
    def pixel(self) -> Pixel:
        """Millimetres from row to row and from column to column, as acquired."""
        return self.spacing[1:]

    @property
    def ids(self) -> list[str]:
        """Ids of its samples, in their order: frame by frame, slice by slice."""
        return [self.id_of(frame, place) for frame in self.frames for place in range(self.grid[0])]

    def id_of(self, frame: Frame, place: int) -> str:
        """Return the id of one slice of a frame."""
        return f"{self.name}-f{frame.number:03d}-s{place:03d}"


def survey(
    rows: Sequence[VolumeRow], settings: SliceSettings, threads: int, progress: Progress
) -> tuple[list[Surveyed], list[str]]:
    """Open every volume and read its mask.

    Returns
    -------
    volumes : list of Surveyed
        Those that can be used, in the order of the rows.
    failures : list of str
        One line for each of the others.
    """
    volumes: list[Surveyed] = []
    failures: list[str] = []
    with progress.task("survey", len(rows)) as task:
        for found in mapped(partial(_look, settings), rows, threads):
            task.advance()
            if isinstance(found, str):
                failures.append(found)
            else:
                volumes.append(found)
    return _named(volumes, failures), failures


def _look(settings: SliceSettings, row: VolumeRow) -> Surveyed | str:
    try:
        return _surveyed(row, settings)
    except SkiptoolError as error:
        return str(error)


def _surveyed(row: VolumeRow, settings: SliceSettings) -> Surveyed:
    if row.mask is not None and row.mask.resolve() == row.image.resolve():
        raise SourceError(
            f"{row.image}: is given both as image and as mask; give the file of its mask"
        )
    volume = open_volume(row.image)
    mask = None if row.mask is None else open_volume(row.mask)
    view, guess = _view(volume, settings.slice_axis_of(row.domain))
    notes = [f"{row.image}: {note}" for note in (volume.note, guess) if note]
    if mask is not None:
        mask, odd = fit(volume, mask)
        notes += odd
    axes = (view.through, view.rows, view.columns)
    step, step_y, step_x = (spacings(volume.affine)[axis] for axis in axes)
    slices, height, width = (volume.shape[axis] for axis in axes)
    if settings.spacing is not None:
        height = resampled_length(height, step_y, settings.spacing)
        width = resampled_length(width, step_x, settings.spacing)
    none: Int64 = np.zeros(len(settings.classes), dtype=np.int64)
    found = Surveyed(
        row=row,
        name=row.id or composed(stem_of(row.image)),
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
    return _chosen(_counted(found, settings), settings)


def _view(volume: Volume, asked: int | None) -> tuple[View, str]:
    """Lay out the slices of a volume; return beside it what of that is a guess."""
    where, steps = str(volume.path), spacings(volume.affine)
    axis, guess = slice_axis(volume.shape[:3], steps, volume.slices, where, asked)
    view = view_of(volume.affine, where, axis) if volume.placed else as_stored(axis)
    return view, guess


def _candidates(row: VolumeRow, volume: Volume, mask: Volume | None) -> tuple[Frame, ...]:
    """Return the frames that may have labels."""
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


def _counted(found: Surveyed, settings: SliceSettings) -> Surveyed:
    """Read the mask: which of the candidates have labels, and how many voxels."""
    if found.mask is None:
        return found
    labelled = set()
    voxels, whole, kept = (found.voxels.copy() for _ in range(3))
    size = settings.size_of(found.row.domain)
    masks = label_slices(found.mask, found.frames, found.view, settings.label_map)
    for frame, labels in zip(found.frames, masks, strict=True):
        counts = _count(labels, len(voxels))
        # a volume of one frame is labelled because it has a mask, even one of background only
        if not counts[1:].any() and found.volume.frames > 1:
            continue
        labelled.add(frame.number)
        voxels += counts
        slices = spread(labels, found.pixel, settings.spacing, labels=True)
        whole += _count(slices, len(whole))
        kept += _count(slices if size is None else fitted(slices, size)[0], len(kept))
    return replace(found, labelled=frozenset(labelled), voxels=voxels, whole=whole, kept=kept)


def _count(labels: UInt8, classes: int) -> Int64:
    found: Int64 = np.bincount(labels.ravel(), minlength=classes)[:classes].astype(np.int64)
    return found


def _chosen(found: Surveyed, settings: SliceSettings) -> Surveyed:
    """Keep the frames that are wanted."""
    empty = [frame for frame in found.row.frames if frame.number not in found.labelled]
    notes = found.notes
    if found.mask is not None and found.volume.frames > 1:
        if not found.labelled and not settings.keep_unlabelled:
            named = f" of {', '.join(map(str, empty))}" if empty else ""
            raise SourceError(
                f"{found.mask.path}: no frame{named} holds a label; correct the mask or its "
                "frames, or keep it with --keep-unlabelled"
            )
        notes += tuple(f"{found.mask.path}: frame {frame} holds no label" for frame in empty)
    frames = {frame.number: frame for frame in found.frames if frame.number in found.labelled}
    if settings.keep_unlabelled:
        rest = found.frames
        if found.volume.frames > 1:
            rest = (*rest, *map(Frame, range(found.volume.frames)))
        for frame in rest:
            frames.setdefault(frame.number, frame)
    return replace(found, frames=tuple(sorted(frames.values())), notes=notes)


def _named(volumes: Sequence[Surveyed], failures: list[str]) -> list[Surveyed]:
    """Give volumes names that tell them apart; leave out what is listed twice."""
    names = Counter(volume.name for volume in volumes)
    found: dict[tuple[str, str], Surveyed] = {}
    for volume in volumes:
        name = volume.name
        if names[name] > 1 and not volume.row.id:
            name = f"{volume.row.subject}-{name}"
        key = (volume.row.domain, name)
        if key in found:
            failures.append(
                f"{volume.row.image}: has the same name as {found[key].row.image} ({name}) in "
                f"domain {volume.row.domain}; list it once, or fill in the column id"
            )
        else:
            found[key] = replace(volume, name=name)
    return list(found.values())
