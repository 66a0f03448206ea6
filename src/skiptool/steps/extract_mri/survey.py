"""Look at every volume once: header, orientation, labels; what is sound, what fails and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import ArgumentError, SkiptoolError, SourceError
from skiptool.names import Split, composed
from skiptool.parallel import mapped
from skiptool.records import Progress
from skiptool.sources.pictures.labels import LabelMap
from skiptool.sources.volumes.manifest import Frame, VolumeRow
from skiptool.sources.volumes.nifti import Volume, open_volume, read_frames, stem_of, whole_labels
from skiptool.sources.volumes.orientation import (
    View,
    as_stored,
    displacement,
    slice_axis,
    spacings,
    view_of,
)
from skiptool.sources.volumes.slices import fitted, resampled, resampled_length
from skiptool.splits import (
    alike,
    assign_folds,
    check_undecided,
    hold_out,
    train_on,
    trained_elsewhere,
)
from skiptool.steps.extract_mri.settings import ALL, SliceSettings

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Int64, UInt8

__all__ = ["Surveyed", "dealt", "fit", "image_slices", "label_slices", "spread", "survey"]

# -------------------------------------------------------------------------------------------------
# Whether a mask is of its image: shape, and place in the body.


def fit(volume: Volume, mask: Volume) -> tuple[Volume, list[str]]:
    """Refuse a mask that is not of its image; return it as it lies on it, and what to note.

    Parameters
    ----------
    volume, mask : Volume

    Returns
    -------
    mask : Volume
        Turned, where its axes lead elsewhere than those of its image.
    notes : list of str

    Raises
    ------
    SourceError
        If their shapes differ, or their headers put a corner further apart than half of the
        smallest distance between voxels. A mask whose header says nothing is noted instead.
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
    """Say whether the corners of two volumes of one shape are within half a voxel."""
    apart = displacement(volume.affine, mask.affine, volume.shape)
    return mask.shape[:3] == volume.shape[:3] and apart <= min(spacings(volume.affine)) / 2


def _noted(mask: Volume) -> list[str]:
    return [f"{mask.path}: {mask.note}"] if mask.note and mask.placed else []


def _by(volume: Volume) -> str:
    shape = volume.shape if volume.frames > 1 else volume.shape[:3]
    return " x ".join(map(str, shape)) + " voxels"


# -------------------------------------------------------------------------------------------------
# Frames of volumes to slices: laid out, resampled, scaled, cropped, with their labels.


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


# -------------------------------------------------------------------------------------------------
# Which subjects are for training, for testing, or left out: all volumes of one go one way.


def dealt(
    volumes: Sequence[Surveyed],
    settings: SliceSettings,
    test_fraction: float,
    folds: int,
    seed: int,
    progress: Progress,
    train_domain: str | None = None,
) -> dict[str, int]:
    """Return the fold of each subject, -1 for testing; subjects that are left out are not in it.

    The column ``split`` (or the folders of the challenge) decides where it is filled in;
    otherwise subjects are held out, of every domain its share, or of one to train on; the subjects
    of the others are then all for testing. ``--train-subjects`` and ``--test-subjects`` draw so
    many. Subjects without any label are for testing, where
    nothing else is said: there is nothing to learn from them.

    Raises
    ------
    SourceError
        If the column is filled in for some volumes only, or both ways for one subject.
    ArgumentError
        If a domain has fewer subjects than asked for, the fraction is out of range, there are no
        folds, or the domain to train on is not there or not free to be chosen.
    """
    domains: dict[str, str] = {}
    for volume in volumes:  # one that was scanned in several domains counts for the first
        domains.setdefault(volume.row.subject, volume.row.domain)
    for line in alike(domains, (volume.row.domain for volume in volumes)):
        progress.warn(line)
    sides = _sides(volumes)
    labelled = {volume.row.subject for volume in volumes if volume.labelled}
    if train_domain is not None:
        check_undecided(any(sides.values()))
        pools = _on_domain(train_domain, volumes, settings, test_fraction, seed, progress)
    elif any(sides.values()):
        pools = {side: [s for s in domains if sides[s] is side] for side in Split}
        for side, counts in _counts(settings):
            pools[side] = _drawn(pools[side], domains, counts, side, seed)
    else:
        pools = _held_out(domains, labelled, settings, test_fraction, seed, progress)
    training = pools[Split.TRAIN]
    fold = dict.fromkeys(pools[Split.TEST], -1)
    if training:
        if len(training) == 1:
            progress.warn(
                f"one training subject ({training[0]}) cannot be trained on: no other is left to "
                "validate on; add subjects, or use the store for testing"
            )
        elif len(training) < folds:
            progress.warn(
                f"--folds {folds}: more than there are training subjects; {len(training)} are made"
            )
        words = [domains[subject] for subject in training]
        numbers = assign_folds(training, words, min(folds, len(training)), seed)
        fold |= dict(zip(training, numbers.tolist(), strict=True))
    return fold


def _sides(volumes: Sequence[Surveyed]) -> dict[str, Split | None]:
    """Return the split that is asked for by subject."""
    asked: dict[str, Split | None] = {}
    for volume in volumes:
        row = volume.row
        known = asked.setdefault(row.subject, row.split)
        if known is not row.split:
            raise SourceError(
                f"{row.image}: split is {_said(row.split)}, for another volume of subject "
                f"{row.subject} it is {_said(known)}; a subject is on one side"
            )
    if None in asked.values() and any(asked.values()):
        bare = next(volume.row.image for volume in volumes if volume.row.split is None)
        raise SourceError(f"{bare}: split is empty, in other rows it is not; fill it in everywhere")
    return asked


def _said(split: Split | None) -> str:
    return "empty" if split is None else split.value


def _counts(settings: SliceSettings) -> list[tuple[Split, Mapping[str, int]]]:
    return [(Split.TEST, settings.test_subjects), (Split.TRAIN, settings.train_subjects)]


def _held_out(
    domains: Mapping[str, str],
    labelled: set[str],
    settings: SliceSettings,
    test_fraction: float,
    seed: int,
    progress: Progress,
) -> dict[Split, list[str]]:
    known = [subject for subject in domains if subject in labelled]
    bare = [subject for subject in domains if subject not in labelled]
    if settings.test_subjects:
        test = _drawn(known, domains, settings.test_subjects, Split.TEST, seed)
    elif test_fraction == 0 or not known:
        test = []
    elif len(known) == 1:
        progress.warn(
            "a single subject cannot be split: all its slices are for testing (train on it with "
            "--test-fraction 0)"
        )
        test = known
    else:
        chosen = hold_out(known, [domains[subject] for subject in known], test_fraction, seed)
        test = [subject for subject, held in zip(known, chosen, strict=True) if held]
    rest = [subject for subject in known if subject not in set(test)]
    train = _drawn(rest, domains, settings.train_subjects, Split.TRAIN, seed)
    return {Split.TRAIN: train, Split.TEST: [*test, *bare]}


def _on_domain(
    domain: str,
    volumes: Sequence[Surveyed],
    settings: SliceSettings,
    test_fraction: float,
    seed: int,
    progress: Progress,
) -> dict[Split, list[str]]:
    """Train on one domain, test on all others and on a share of its subjects."""
    if settings.train_subjects or settings.test_subjects:
        raise ArgumentError(
            "--train-domain: --train-subjects and --test-subjects say how many subjects of each "
            "domain are on either side; leave one of the two out"
        )
    known = [volume for volume in volumes if volume.labelled]
    subjects = [volume.row.subject for volume in known]
    domains = [volume.row.domain for volume in known]
    test = train_on(domain, domains, subjects, domains, test_fraction, seed)
    for line in trained_elsewhere(domain, domains, test):
        progress.warn(line)
    train = {subject for subject, out in zip(subjects, test, strict=True) if not out}
    everyone = dict.fromkeys(volume.row.subject for volume in volumes)
    return {
        Split.TRAIN: [subject for subject in everyone if subject in train],
        Split.TEST: [subject for subject in everyone if subject not in train],
    }


def _drawn(
    pool: Sequence[str],
    domains: Mapping[str, str],
    counts: Mapping[str, int],
    side: Split,
    seed: int,
) -> list[str]:
    """Draw so many subjects of each domain; all of them where nothing is asked."""
    if not counts:
        return list(pool)
    found: list[str] = []
    for domain in dict.fromkeys((*domains.values(), *(name for name in counts if name != ALL))):
        there = sorted(subject for subject in pool if domains[subject] == domain)
        wanted = counts.get(domain, counts.get(ALL, 0))
        if wanted > len(there):
            raise ArgumentError(
                f"--{side.value}-subjects {wanted}: domain {domain} has {len(there)} subjects for "
                "it; ask for fewer, or for each domain by name: "
                f"--{side.value}-subjects {domain}={len(there)}"
            )
        # a stream of its own for each side, so that one does not follow the other
        rng = np.random.default_rng([seed, list(Split).index(side)])
        found += [there[place] for place in sorted(rng.permutation(len(there))[:wanted].tolist())]
    return found
