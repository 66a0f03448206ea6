"""Write the slices of volumes into a dataset store, and contact sheets to check them by eye."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import SourceError
from skiptool.extraction import attempt
from skiptool.figures.sheets import contact_sheet
from skiptool.figures.style import picture
from skiptool.names import IGNORE, PictureFormat
from skiptool.parallel import mapped
from skiptool.records import Progress, Sample
from skiptool.sources.volumes.manifest import Frame
from skiptool.sources.volumes.slices import fitted, rescaled
from skiptool.splits import split_of
from skiptool.steps.extract_mri.settings import SliceSettings
from skiptool.steps.extract_mri.survey import (
    SurveyedVolume,
    image_slices,
    label_slices,
    resample_slices,
)
from skiptool.stores.dataset import Domain, Packed, open_dataset, pack
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.lineage import Making
from skiptool.stores.staging import whole_file

if TYPE_CHECKING:
    from skiptool.records import Int64, UInt8

__all__ = ["SlicePlan", "draw_sheets", "read_volume", "sheets_drawn", "write_volumes"]


@dataclass(frozen=True, slots=True)
class SlicePlan:
    """The slices to write.

    Attributes
    ----------
    settings : SliceSettings
    volumes : sequence of SurveyedVolume
        In the order of writing.
    sizes : mapping of str to int
        Pixels on either side by domain.
    folds : mapping of str to int
        Fold of each subject, -1 for testing.
    """

    settings: SliceSettings
    volumes: Sequence[SurveyedVolume]
    sizes: Mapping[str, int]
    folds: Mapping[str, int]


def write_volumes(
    path: Path,
    plan: SlicePlan,
    making: Making,
    failures: list[str],
    threads: int,
    progress: Progress,
) -> list[SurveyedVolume]:
    """Write all volumes that a growing store lacks and finish it; return those it holds now.

    Volumes that cannot be read are added to ``failures``.

    Raises
    ------
    SourceError
        If no volume can be read.
    """
    writer = DatasetWriter(path, plan.settings.classes, making)
    todo = [
        volume
        for volume in plan.volumes
        if not all(writer.holds(volume.row.domain, name) for name in volume.ids)
    ]
    unread: set[str] = set()
    with progress.task("extract", len(plan.volumes)) as task:
        task.advance(len(plan.volumes) - len(todo))
        results = mapped(partial(_packed, plan), todo, threads)
        for volume, samples in zip(todo, results, strict=True):
            if isinstance(samples, str):
                failures.append(samples)
                unread.add(str(volume.row.image))
            else:
                for sample in samples:
                    if not writer.holds(sample.domain, sample.row["id"]):
                        writer.append(sample)
            task.advance(note=volume.name)
    written = [volume for volume in plan.volumes if str(volume.row.image) not in unread]
    if not written:
        raise SourceError(f"no volume could be read; the first failure: {failures[-len(unread)]}")
    writer.finish()
    return written


def read_volume(plan: SlicePlan, volume: SurveyedVolume) -> list[Sample] | str:
    """Read the slices of a volume as samples, or return why that failed."""
    return attempt(lambda chosen: list(_samples(plan, chosen)), volume)


def _packed(plan: SlicePlan, volume: SurveyedVolume) -> list[Packed] | str:
    """Read a volume and pack its samples for the store in the same thread."""
    samples = read_volume(plan, volume)
    if isinstance(samples, str):
        return samples
    return [pack(sample, plan.settings.classes) for sample in samples]


def _samples(plan: SlicePlan, volume: SurveyedVolume) -> Iterator[Sample]:
    settings, size = plan.settings, plan.sizes[volume.row.domain]
    masks = _masks(volume, settings)
    images = image_slices(volume.volume, volume.frames, volume.view)
    fold = plan.folds[volume.row.subject]
    spacing = volume.pixel if settings.spacing is None else (settings.spacing, settings.spacing)
    for frame, image in zip(volume.frames, images, strict=True):
        labels = resample_slices(masks[frame.number], volume.pixel, settings.spacing, labels=True)
        values = resample_slices(image, volume.pixel, settings.spacing)
        # around a frame without labels nothing is known
        padding = 0 if frame.number in volume.labelled else IGNORE
        cropped, _, _ = fitted(labels, size, padding)
        for place, (slice_, mask) in enumerate(zip(values, cropped, strict=True)):
            scaled, low, high = rescaled(slice_, settings.percentiles)
            pixels, top, left = fitted(scaled, size)
            known = mask != IGNORE
            yield Sample(
                id=volume.id_of(frame, place),
                image=np.ascontiguousarray(pixels)[..., None],
                mask=np.ascontiguousarray(mask),
                subject=volume.row.subject,
                domain=volume.row.domain,
                split=split_of(fold),
                fold=fold,
                columns={
                    "volume": volume.name,
                    "frame": frame.number,
                    "phase": frame.phase,
                    "slice": place,
                    "centre": volume.row.centre,
                    "spacing": spacing[1],
                    "spacing_y": spacing[0],
                    "slice_spacing": volume.spacing[0],
                    "orientation": volume.view.codes,
                    "display": volume.view.display,
                    "top": top,
                    "left": left,
                    "low": low,
                    "high": high,
                    "foreground": float((mask[known] > 0).mean()) if known.any() else 0.0,
                },
            )


def _masks(volume: SurveyedVolume, settings: SliceSettings) -> dict[int, UInt8]:
    """Return the labels (S, H, W) of each frame; all 255 if it is not labelled."""
    shape = volume.volume.shape
    axes = (volume.view.through, volume.view.rows, volume.view.columns)
    unknown: UInt8 = np.full([shape[axis] for axis in axes], IGNORE, dtype=np.uint8)
    masks: dict[int, UInt8] = {frame.number: unknown for frame in volume.frames}
    if volume.mask is not None:
        labelled: list[Frame] = [f for f in volume.frames if f.number in volume.labelled]
        slices = label_slices(volume.mask, labelled, volume.view, settings.label_map)
        masks |= {frame.number: mask for frame, mask in zip(labelled, slices, strict=True)}
    return masks


SHEET_SLICES = 48
"""Slices on the contact sheet of a domain, from all parts of it."""


def draw_sheets(folder: Path, out: Path, progress: Progress) -> Path:
    """Draw ``slices-DOMAIN.png`` for each domain of a finished store; return the folder.

    Slices have the outlines of their labels.
    """
    folder.mkdir(exist_ok=True)
    data = open_dataset(out)
    with progress.task("pictures", len(data.domains)) as task:
        for name, domain in data.domains.items():
            chosen = _sheet_slices(domain)
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
    """Return whether every domain of a finished store has its contact sheet."""
    return all(_sheet(folder, name).is_file() for name in open_dataset(out).domains)


def _sheet(folder: Path, domain: str) -> Path:
    return folder / f"slices-{domain}.png"


def _captions(domain: Domain) -> list[str]:
    """Caption slices by subject, phase and number: ids are too long for a small picture.

    The volume is added where two volumes of a subject would have equal captions.
    """
    names = ("subject", "phase", "frame", "slice", "volume")
    captions = [
        (f"{subject} {phase or frame} {number}", str(volume))
        for subject, phase, frame, number, volume in zip(
            *(domain.columns[name] for name in names), strict=True
        )
    ]
    counts = Counter(caption for caption, _ in captions)
    return [f"{text}\n{volume}" if counts[text] > 1 else text for text, volume in captions]


def _sheet_slices(domain: Domain) -> Int64:
    """Choose evenly spaced slices, of those that show any label if there are any."""
    places = np.flatnonzero(np.asarray(domain.columns["foreground"]) > 0)
    if not len(places):
        places = np.arange(len(domain))
    count = min(len(places), SHEET_SLICES)
    spread = np.linspace(0, len(places) - 1, count).round().astype(np.int64)
    chosen: Int64 = places[np.unique(spread)]
    return chosen
