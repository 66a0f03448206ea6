"""Volumes into the store: slices with their labels, in the order of the volumes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import SkiptoolError, SourceError
from skiptool.figures.sheets import contact_sheet
from skiptool.figures.style import picture
from skiptool.names import IGNORE, PictureFormat, Split
from skiptool.parallel import mapped
from skiptool.records import Progress, Sample
from skiptool.sources.volumes.manifest import Frame
from skiptool.sources.volumes.slices import fitted, rescaled
from skiptool.steps.extract_mri.settings import SliceSettings
from skiptool.steps.extract_mri.survey import Surveyed, image_slices, label_slices, spread
from skiptool.stores.dataset import Domain, Packed, open_dataset, pack
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.lineage import Making
from skiptool.stores.staging import whole_file
from skiptool.stores.zarrs import keep_failures

if TYPE_CHECKING:
    from skiptool.records import Int64, UInt8

__all__ = ["Plan", "draw_sheets", "read_volume", "sheets_drawn", "write_dataset"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be written.

    Attributes
    ----------
    settings : SliceSettings
    volumes : sequence of Surveyed
        In the order of writing.
    sizes : mapping of str to int
        Pixels on either side by domain.
    folds : mapping of str to int
        Fold of each subject, -1 for testing.
    """

    settings: SliceSettings
    volumes: Sequence[Surveyed]
    sizes: Mapping[str, int]
    folds: Mapping[str, int]


def write_dataset(
    path: Path, plan: Plan, making: Making, failures: list[str], threads: int, progress: Progress
) -> list[Surveyed]:
    """Write all volumes into a growing store and close it; failures are added to the list.

    Returns
    -------
    list of Surveyed
        Those that were written.

    Raises
    ------
    SourceError
        If not a single volume could be read.
    ExistsError, FormatError, MismatchError
        As :class:`skiptool.stores.dataset_writer.DatasetWriter`.
    """
    writer = DatasetWriter(path, plan.settings.classes, making)
    todo = [volume for volume in plan.volumes if not _there(writer, volume)]
    unread: set[str] = set()
    with progress.task("extract", len(plan.volumes)) as task:
        task.advance(len(plan.volumes) - len(todo))
        read = mapped(partial(_packed, plan), todo, threads)
        for volume, found in zip(todo, read, strict=True):
            if isinstance(found, str):
                failures.append(found)
                unread.add(str(volume.row.image))
            else:
                for sample in found:
                    if not writer.holds(sample.domain, sample.row["id"]):
                        writer.append(sample)
            task.advance(note=volume.name)
    written = [volume for volume in plan.volumes if str(volume.row.image) not in unread]
    if not written:
        raise SourceError(f"no volume could be read; the first failure: {failures[-len(unread)]}")
    writer.finish()
    keep_failures(path, failures)
    return written


def read_volume(plan: Plan, volume: Surveyed) -> list[Sample] | str:
    """Read the slices of a volume as samples, or say why that failed."""
    try:
        return list(_samples(plan, volume))
    except SkiptoolError as error:
        return str(error)


def _packed(plan: Plan, volume: Surveyed) -> list[Packed] | str:
    """Read a volume and make its slices ready for the store, where they are read."""
    found = read_volume(plan, volume)
    if isinstance(found, str):
        return found
    return [pack(sample, plan.settings.classes) for sample in found]


def _there(writer: DatasetWriter, volume: Surveyed) -> bool:
    return all(writer.holds(volume.row.domain, name) for name in volume.ids)


def _samples(plan: Plan, volume: Surveyed) -> Iterator[Sample]:
    settings, size = plan.settings, plan.sizes[volume.row.domain]
    masks = _masks(volume, settings)
    images = image_slices(volume.volume, volume.frames, volume.view)
    fold = plan.folds[volume.row.subject]
    spacing = volume.pixel if settings.spacing is None else (settings.spacing, settings.spacing)
    for frame, image in zip(volume.frames, images, strict=True):
        labels = spread(masks[frame.number], volume.pixel, settings.spacing, labels=True)
        values = spread(image, volume.pixel, settings.spacing)
        # nothing is known of what lies beside a frame without labels
        beside = 0 if frame.number in volume.labelled else IGNORE
        cropped, _, _ = fitted(labels, size, beside)
        for place, (slice_, mask) in enumerate(zip(values, cropped, strict=True)):
            scaled, low, high = rescaled(slice_, settings.percentiles)
            picture, top, left = fitted(scaled, size)
            known = mask != IGNORE
            yield Sample(
                id=volume.id_of(frame, place),
                image=np.ascontiguousarray(picture)[..., None],
                mask=np.ascontiguousarray(mask),
                subject=volume.row.subject,
                domain=volume.row.domain,
                split=Split.TEST if fold < 0 else Split.TRAIN,
                fold=fold,
                columns={
                    **{"volume": volume.name, "frame": frame.number, "phase": frame.phase},
                    **{"slice": place, "centre": volume.row.centre},
                    **{"spacing": spacing[1], "spacing_y": spacing[0]},
                    "slice_spacing": volume.spacing[0],
                    **{"orientation": volume.view.codes, "display": volume.view.display},
                    **{"top": top, "left": left, "low": low, "high": high},
                    "foreground": float((mask[known] > 0).mean()) if known.any() else 0.0,
                },
            )


def _masks(volume: Surveyed, settings: SliceSettings) -> dict[int, UInt8]:
    """Return the labels (S, H, W) of each frame; all 255 where nobody has labelled it."""
    shape = volume.volume.shape
    axes = (volume.view.through, volume.view.rows, volume.view.columns)
    unknown: UInt8 = np.full([shape[axis] for axis in axes], IGNORE, dtype=np.uint8)
    found: dict[int, UInt8] = {frame.number: unknown for frame in volume.frames}
    if volume.mask is not None:
        labelled: list[Frame] = [f for f in volume.frames if f.number in volume.labelled]
        masks = label_slices(volume.mask, labelled, volume.view, settings.label_map)
        found |= {frame.number: mask for frame, mask in zip(labelled, masks, strict=True)}
    return found


# -------------------------------------------------------------------------------------------------
# Sheets of slices to check an extraction by eye: one a domain.


SHOWN = 48
"""Slices on the sheet of a domain, from all parts of it."""


def draw_sheets(folder: Path, out: Path, progress: Progress) -> Path:
    """Draw ``slices-DOMAIN.png`` for each domain: slices with outlines of their labels.

    Parameters
    ----------
    folder : Path
    out : Path
        The finished store.
    progress : Progress

    Returns
    -------
    Path
        The folder.
    """
    folder.mkdir(exist_ok=True)
    data = open_dataset(out)
    with progress.task("pictures", len(data.domains)) as task:
        for name, domain in data.domains.items():
            chosen = _chosen(domain)
            reader = data.samples(name, chosen.tolist())
            images, masks = zip(*(reader.read(i) for i in range(len(chosen))), strict=True)
            known = any((mask != IGNORE).any() for mask in masks)
            captions = _captions(domain)
            figure = contact_sheet(
                images,
                masks if known else None,
                data.classes,
                [captions[i] for i in chosen.tolist()],
                title=name,
                notes=f"{len(chosen)} of {len(domain)} slices of {images[0].shape[0]} px",
            )
            with whole_file(_sheet(folder, name)) as partial:
                partial.write_bytes(picture(figure, PictureFormat.PNG))
            task.advance()
    return folder


def sheets_drawn(folder: Path, out: Path) -> bool:
    """Say whether every domain of the finished store has its sheet."""
    return all(_sheet(folder, name).is_file() for name in open_dataset(out).domains)


def _sheet(folder: Path, domain: str) -> Path:
    return folder / f"slices-{domain}.png"


def _captions(domain: Domain) -> list[str]:
    """Say whose slice each is; ids begin alike and are too long for a small picture.

    Of slices that would read alike, of two volumes of one subject, the volume is said too.
    """
    named = ("subject", "phase", "frame", "slice", "volume")
    found = [
        (f"{subject} {phase or frame} {number}", str(volume))
        for subject, phase, frame, number, volume in zip(
            *(domain.columns[name] for name in named), strict=True
        )
    ]
    alike = Counter(caption for caption, _ in found)
    return [f"{line}\n{volume}" if alike[line] > 1 else line for line, volume in found]


def _chosen(domain: Domain) -> Int64:
    """Choose slices evenly from first to last, of those that show anything labelled."""
    places = np.flatnonzero(np.asarray(domain.columns["foreground"]) > 0)
    if not len(places):
        places = np.arange(len(domain))
    spread = np.linspace(0, len(places) - 1, min(len(places), SHOWN)).round().astype(np.int64)
    found: Int64 = places[np.unique(spread)]
    return found
