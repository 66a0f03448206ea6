"""``skiptool extract mri``: cardiac and other MR volumes to a dataset store, section III.D.

Volumes are listed and surveyed, assigned to splits by subject, and written slice by slice; contact
sheets show the result.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.errors import ArgumentError, SourceError, suggestion
from skiptool.exports.folders import qc_folder
from skiptool.exports.sheets import draw_sheet, evenly_spaced
from skiptool.extraction import Extraction, ExtractionTarget, attempt, file_sizes
from skiptool.names import IGNORE_LABEL
from skiptool.parallel import available_cores, ordered_map
from skiptool.records import SILENT, Outcome, Progress, Sample, Table, as_path, as_table
from skiptool.sources.volumes.manifest import Frame, VolumeRow, folder_rows, volume_rows
from skiptool.sources.volumes.slices import crop_or_pad, padded_size, rescale_slice
from skiptool.splits import ALL_DOMAINS, LEFT_OUT, SplitInput, SplitOptions, assign_splits, split_of
from skiptool.steps.extract_mri.settings import SliceSettings
from skiptool.steps.extract_mri.survey import (
    SurveyedVolume,
    image_slices,
    label_slices,
    resample_slices,
    survey_volumes,
)
from skiptool.stores.dataset import Domain, PackedSample, open_dataset, pack
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.lineage import Invocation, hash_json
from skiptool.stores.staging import OutputType
from skiptool.stores.urls import accept_urls
from skiptool.stores.zarrs import report_failures

if TYPE_CHECKING:
    from skiptool.records import Int64, UInt8

PIXEL_BYTES = 5
"""Bytes of a pixel: float32 in the image, uint8 in the mask."""

SHOWN_NOTES = 3
"""Notes of one kind that are shown; further ones are only counted."""

SHEET_SLICES = 48
"""Slices on the contact sheet of a domain, evenly spread."""


@accept_urls(out=OutputType.STORE)
def extract_mri(
    source: Path | str,
    out: Path | str,
    *,
    table: Path | str | None = None,
    settings: SliceSettings | None = None,
    domains: Sequence[str] = (),
    test_fraction: float = 0.2,
    folds: int = 5,
    train_domain: str | None = None,
    seed: int = 0,
    qc: Path | str | None = None,
    pictures: bool = True,
    workers: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Outcome:
    """Cut volumes of one or several vendors into slices with masks, section III.D.

    Parameters
    ----------
    source : Path or str
        Table of volumes (see :func:`skiptool.sources.volumes.manifest.volume_rows`; a ``str`` of
        several lines is the table itself), or the folder of the M&Ms challenge.
    out : Path or str
        Dataset store to write (a path or a URL), a group for each domain: images float32 (H, W, 1)
        in [0, 1].
    table : Path or str, optional
        CSV of the challenge; by default the one in its folder.
    settings : SliceSettings, optional
        Selection of frames and labels, and geometry and scaling of slices.
    domains : sequence of str
        Domains to extract; all of them by default.
    test_fraction : float
        Share of subjects held out for testing if no split is listed.
    folds : int
        Validation folds of the training samples, grouped by subject.
    train_domain : str, optional
        Train on this domain only; test on ``test_fraction`` of its subjects and on all other
        domains.
    qc : Path or str, optional
        Folder of contact sheets; by default next to ``out``, its stem with ``-qc``.
    pictures : bool
        Draw contact sheets.
    workers : int, optional
        Threads that read volumes; all usable cores by default.

    Returns
    -------
    Outcome
        Output: the store. Failures: one line for each input left out.

    Raises
    ------
    SourceError
        If the source is unusable, or all volumes fail or have no mask.
    ArgumentError
        If options contradict each other or the source.
    ExistsError
        If the output exists.
    """
    source, out, table, qc = as_table(source), Path(out), as_path(table), as_path(qc)
    settings = settings or SliceSettings()
    rows, failures = _rows(source, table, settings, domains, progress)
    splits = SplitOptions(
        test_fraction, folds, seed, train_domain, settings.train_subjects, settings.test_subjects
    )
    invocation = Invocation(
        "extract mri",
        (source if isinstance(source, Path) else "-",),
        {**settings.recorded, "domain": list(domains), **splits.recorded},
        {"table": table, "out": out, "qc": qc, "no_pictures": not pictures},
        {"files": _fingerprint(rows)},
    )
    return _SliceExtraction(
        target=ExtractionTarget(
            out, qc_folder(out, qc), pictures, None, overwrite, resume, dry_run
        ),
        invocation=invocation,
        failures=failures,
        progress=progress,
        rows=rows,
        settings=settings,
        splits=splits,
        threads=available_cores() if workers is None else workers,
    ).run()


@dataclass
class _SliceExtraction(Extraction):
    rows: Sequence[VolumeRow]
    settings: SliceSettings
    splits: SplitOptions
    threads: int
    plan: SlicePlan = field(init=False)
    left_out: Mapping[str, int] = field(init=False)
    written: Sequence[SurveyedVolume] = ()

    def outcome_of_finished(self) -> Outcome:
        target = self.target
        complete = target.dry_run or not target.pictures or sheets_drawn(target.qc, target.out)
        return Outcome((target.out,), () if complete else self.write_side_outputs())

    def prepare(self) -> None:
        volumes, failed = survey_volumes(self.rows, self.settings, self.threads, self.progress)
        self.failures += failed
        warn_of_notes(volumes, self.progress)
        self.plan, self.left_out = self._plan_slices(volumes)
        warn_of_cropping(self.plan, self.progress)

    def _plan_slices(self, volumes: Sequence[SurveyedVolume]) -> tuple[SlicePlan, dict[str, int]]:
        """Plan the slices; also return counts of volumes and subjects left out on purpose."""
        usable = [volume for volume in volumes if volume.frames]
        unlabelled = [volume for volume in volumes if not volume.frames]
        if unlabelled:
            names = ", ".join(dict.fromkeys(volume.row.subject for volume in unlabelled))
            self.progress.warn(
                f"{len(unlabelled)} volumes have no mask and are left out (subjects {names}); "
                "--keep-unlabelled includes them, with masks of 255"
            )
        if not usable:
            first = f", the first: {self.failures[0]}" if self.failures else ""
            raise SourceError(
                f"no volume can be used: {len(unlabelled)} have no mask, {len(self.failures)} "
                f"failed{first}"
            )
        with report_failures(self.failures, self.progress):
            folds = assign_subjects(usable, self.splits, self.progress)
        drawn = [volume for volume in usable if volume.row.subject in folds]
        if not drawn:
            raise SourceError("no subject is left; see --train-subjects and --test-subjects")
        longest: dict[str, int] = {}
        for volume in usable:  # not only of those drawn, so that sizes do not depend on the draw
            domain = volume.row.domain
            longest[domain] = max(longest.get(domain, 0), *volume.grid[1:])
        sizes = {
            domain: self.settings.size_of(domain) or padded_size(length)
            for domain, length in longest.items()
        }
        left_out = {"without masks": len(unlabelled)} if unlabelled else {}
        not_drawn = {volume.row.subject for volume in usable} - set(folds)
        if not_drawn:
            left_out["subjects not drawn"] = len(not_drawn)
        return SlicePlan(self.settings, drawn, sizes, folds), left_out

    def dry_run_outcome(self) -> Outcome:
        return dry_run_table(self.plan, self.left_out, self.failures)

    def write(self, path: Path) -> None:
        self.written = write_volumes(
            path, self.plan, self.invocation, self.failures, self.threads, self.progress
        )

    def write_side_outputs(self) -> tuple[Path, ...]:
        if not self.target.pictures:
            return ()
        return (draw_sheets(self.target.qc, self.target.out, self.progress),)

    def summary(self) -> dict[str, Any]:
        return summary_of(self.plan, self.written, self.left_out, self.failures)


@dataclass(frozen=True, slots=True)
class SlicePlan:
    """The slices to write.

    Attributes
    ----------
    settings : SliceSettings
    volumes : sequence of SurveyedVolume
        In the order of writing.
    sizes : mapping of str to int
        Side of the slices in pixels, by domain.
    folds : mapping of str to int
        Fold of each subject, -1 for testing.
    """

    settings: SliceSettings
    volumes: Sequence[SurveyedVolume]
    sizes: Mapping[str, int]
    folds: Mapping[str, int]


# Volumes: listed, checked against the options, and assigned to splits.


def _rows(
    source: Path | str,
    table: Path | None,
    settings: SliceSettings,
    domains: Sequence[str],
    progress: Progress,
) -> tuple[list[VolumeRow], list[str]]:
    """List the volumes of the selected domains and hospitals, domain by domain."""
    if isinstance(source, Path) and source.is_dir():
        rows, failures, validation = folder_rows(source, table)
        if validation:
            progress.warn(
                f"{source}: {len(validation)} subjects of the challenge's validation set are in "
                "neither split and left out; to include them, list the volumes in a manifest"
            )
    else:
        rows, failures = volume_rows(source)
    check_domains(rows, settings, domains)
    rows = [row for row in rows if row.domain in domains or not domains]
    selected = [row for row in rows if settings.centres.get(row.domain, row.centre) == row.centre]
    if rows and not selected:
        raise SourceError(
            "no volume is from a hospital given by --centre; there are "
            f"{', '.join(sorted({f'{row.domain}={row.centre}' for row in rows}))}"
        )
    return sorted(selected, key=lambda row: row.domain), failures


def check_domains(
    rows: Sequence[VolumeRow], settings: SliceSettings, wanted: Sequence[str]
) -> None:
    """Refuse options for domains that the source does not have."""
    domains = list(dict.fromkeys(row.domain for row in rows))
    options: list[tuple[str, Iterable[str]]] = [
        ("domain", wanted),
        ("size", settings.sizes),
        ("centre", settings.centres),
        ("slice-axis", settings.slice_axes),
        ("train-subjects", settings.train_subjects),
        ("test-subjects", settings.test_subjects),
    ]
    if not rows:
        return
    for option, names in options:
        for name in names:
            if name != ALL_DOMAINS and name not in domains:
                raise ArgumentError(
                    f"--{option} {name}: the source's domains are {', '.join(sorted(domains))}"
                    f"{suggestion(name, domains)}"
                )


def _fingerprint(rows: Sequence[VolumeRow]) -> str:
    """Hash rows and file sizes: a run can only be resumed with unchanged inputs."""
    entries = []
    for row in rows:
        files = [path for path in (row.image, row.mask) if path is not None]
        frames = [str(frame) for frame in row.frames]
        columns = [row.domain, row.subject, frames, row.split, row.centre, row.id]
        entries.append([[path.name for path in files], file_sizes(files), columns])
    return hash_json(entries)


def assign_subjects(
    volumes: Sequence[SurveyedVolume], options: SplitOptions, progress: Progress
) -> dict[str, int]:
    """Return the fold of each subject, -1 for testing, stratified by domain.

    See `skiptool.splits.assign_splits`; subjects that are not drawn are omitted.
    """
    inputs = [
        SplitInput(
            volume.row.image,
            volume.row.subject,
            volume.row.domain,
            volume.row.split,
            labelled=bool(volume.labelled),
        )
        for volume in volumes
    ]
    folds = assign_splits(inputs, options, progress)
    return {
        entry.subject: fold
        for entry, fold in zip(inputs, folds.tolist(), strict=True)
        if fold != LEFT_OUT
    }


# Warnings, a few lines for any number of volumes.


def warn_of_notes(volumes: Sequence[SurveyedVolume], progress: Progress) -> None:
    """Show the notes on volumes; only the first few of each kind, and the number of the others."""
    kinds: dict[str, list[str]] = {}
    for volume in volumes:
        for line in volume.notes:
            # notes of one kind differ only in the path at the front and in numbers
            kind = re.sub(r"[\d.e+-]+", "#", line.rpartition(": ")[2])
            kinds.setdefault(kind, []).append(line)
    for lines in kinds.values():
        for line in lines[:SHOWN_NOTES]:
            progress.warn(line)
        if len(lines) > SHOWN_NOTES:
            progress.warn(f"... and {len(lines) - SHOWN_NOTES} more notes like the last one")


def warn_of_cropping(plan: SlicePlan, progress: Progress) -> None:
    """Warn of labelled pixels that cropping cuts off, domain by domain."""
    for domain, size in plan.sizes.items():
        volumes = [volume for volume in plan.volumes if volume.row.domain == domain]
        cut = [volume for volume in volumes if volume.cut_off[1:].any()]
        if not cut:
            continue
        counts = _format_counts(plan, (volume.cut_off for volume in cut))
        progress.warn(
            f"domain {domain}: --size {size} cuts labelled pixels off ({counts}) in {len(cut)} of "
            f"{len(volumes)} volumes, the first: {cut[0].row.image}; give a larger size to keep "
            "them"
        )


# Samples: volumes read and cut into slices.


def write_volumes(
    path: Path,
    plan: SlicePlan,
    invocation: Invocation,
    failures: list[str],
    threads: int,
    progress: Progress,
) -> list[SurveyedVolume]:
    """Write all volumes that a partial store lacks and finish it; return the volumes it holds.

    Volumes that cannot be read are added to ``failures``; it is an error if none can.
    """
    writer = DatasetWriter(path, plan.settings.classes, invocation)
    todo = [
        volume
        for volume in plan.volumes
        if not all(writer.holds(volume.row.domain, name) for name in volume.ids)
    ]
    unread: set[str] = set()
    with progress.task("extract", len(plan.volumes)) as task:
        task.advance(len(plan.volumes) - len(todo))
        results = ordered_map(partial(_read_packed, plan), todo, threads)
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
    """Read the slices of a volume as samples, or return an error message."""
    return attempt(lambda item: list(_samples(plan, item)), volume)


def _read_packed(plan: SlicePlan, volume: SurveyedVolume) -> list[PackedSample] | str:
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
        # unlabelled frames are ignored, and so is the padding around them
        padding = 0 if frame.number in volume.labelled else IGNORE_LABEL
        cropped, _, _ = crop_or_pad(labels, size, padding)
        for index, (slice_, mask) in enumerate(zip(values, cropped, strict=True)):
            scaled, low, high = rescale_slice(slice_, settings.percentiles)
            pixels, top, left = crop_or_pad(scaled, size)
            known = mask != IGNORE_LABEL
            yield Sample(
                id=volume.id_of(frame, index),
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
                    "slice": index,
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
    """Return the labels (S, H, W) of each frame, all 255 if it is not labelled."""
    shape = volume.volume.shape
    axes = (volume.view.through, volume.view.rows, volume.view.columns)
    ignored: UInt8 = np.full([shape[axis] for axis in axes], IGNORE_LABEL, dtype=np.uint8)
    masks: dict[int, UInt8] = {frame.number: ignored for frame in volume.frames}
    if volume.mask is not None:
        labelled: list[Frame] = [f for f in volume.frames if f.number in volume.labelled]
        slices = label_slices(volume.mask, labelled, volume.view, settings.label_map)
        masks |= {frame.number: mask for frame, mask in zip(labelled, slices, strict=True)}
    return masks


# Contact sheets.


def draw_sheets(folder: Path, out: Path, progress: Progress) -> Path:
    """Draw ``slices-DOMAIN.png`` for each domain of a finished store; return the folder."""
    folder.mkdir(exist_ok=True)
    data = open_dataset(out)
    with progress.task("pictures", len(data.domains)) as task:
        for name, domain in data.domains.items():
            chosen, captions = _sheet_slices(domain), _captions(domain)
            draw_sheet(
                _sheet(folder, name),
                data,
                name,
                chosen,
                [captions[i] for i in chosen.tolist()],
                f"{len(chosen)} of {len(domain)} slices of {domain.height} px",
            )
            task.advance()
    return folder


def sheets_drawn(folder: Path, out: Path) -> bool:
    """Return whether every domain of a finished store has its contact sheet."""
    return all(_sheet(folder, name).is_file() for name in open_dataset(out).domains)


def _sheet(folder: Path, domain: str) -> Path:
    return folder / f"slices-{domain}.png"


def _captions(domain: Domain) -> list[str]:
    """Caption slices by subject, phase and number, as ids are too long for small pictures.

    The volume is added if two volumes of a subject would have equal captions.
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
    """Choose evenly spaced slices, of the labelled ones if there are any."""
    candidates = np.flatnonzero(np.asarray(domain.columns["foreground"]) > 0)
    if not len(candidates):
        candidates = np.arange(len(domain))
    chosen: Int64 = candidates[evenly_spaced(len(candidates), SHEET_SLICES)]
    return chosen


# Counts: the table of a dry run, and the summary of what was written.


def dry_run_table(plan: SlicePlan, left_out: Mapping[str, int], failures: Sequence[str]) -> Outcome:
    """Tabulate each domain: subjects, frames, slices, sizes, spacings, labels, bytes."""
    columns: dict[str, list[str | int | float | None]] = {}
    total = 0
    for domain, size in plan.sizes.items():
        volumes = [volume for volume in plan.volumes if volume.row.domain == domain]
        if not volumes:
            continue
        subjects = {volume.row.subject for volume in volumes}
        slices = sum(len(volume.ids) for volume in volumes)
        size_bytes = slices * size * size * PIXEL_BYTES
        total += size_bytes
        row: dict[str, str | int] = {
            "domain": domain,
            "subjects": len(subjects),
            "training": sum(plan.folds[subject] >= 0 for subject in subjects),
            "frames": sum(len(volume.frames) for volume in volumes),
            "slices": slices,
            "found": _by_frequency("{} x {}".format(*volume.grid[:0:-1]) for volume in volumes),
            "size": size,
            "spacing": _format_range(volume.pixel[1] for volume in volumes),
            "slice_spacing": _format_range(volume.spacing[0] for volume in volumes),
            "orientation": _by_frequency(volume.view.codes or "unknown" for volume in volumes),
            "labels": _format_counts(plan, (volume.voxels for volume in volumes)),
            "cut off": _format_counts(plan, (volume.cut_off for volume in volumes)),
            "bytes": size_bytes,
        }
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    summary = summary_of(plan, plan.volumes, left_out, failures)
    summary["bytes before compression"] = total
    table = Table("slices", columns, spare=("bytes", "slice_spacing", "training", "cut off"))
    return Outcome(summary=summary, failures=tuple(failures), tables=(table,))


def summary_of(
    plan: SlicePlan,
    written: Sequence[SurveyedVolume],
    left_out: Mapping[str, int],
    failures: Sequence[str],
) -> dict[str, Any]:
    """Count what was written: slices by domain and split, labels before and after."""
    samples, splits = Counter[str](), Counter[str]()
    for volume in written:
        samples[volume.row.domain] += len(volume.ids)
        splits[split_of(plan.folds[volume.row.subject])] += len(volume.ids)
    summary: dict[str, Any] = {
        "samples": dict(samples),
        "subjects": len({volume.row.subject for volume in written}),
        "train": splits["train"],
        "test": splits["test"],
        "size": {domain: plan.sizes[domain] for domain in samples},
        "voxels in masks": _class_counts(plan, (volume.voxels for volume in written)),
    }
    if plan.settings.spacing is not None:
        summary["pixels resampled"] = _class_counts(plan, (volume.resampled for volume in written))
    summary["pixels in the store"] = _class_counts(plan, (volume.stored for volume in written))
    cut_off = sum(int(volume.cut_off[1:].sum()) for volume in written)
    return summary | {"labelled pixels cut off": cut_off, **left_out, "failed": len(failures)}


def _class_counts(plan: SlicePlan, counts: Iterable[Int64]) -> dict[str, int]:
    """Sum counts of labels over volumes; return them by class, without the background."""
    totals = np.sum(list(counts), axis=0).tolist()
    return dict(zip(plan.settings.classes[1:], totals[1:], strict=True))


def _format_counts(plan: SlicePlan, counts: Iterable[Int64]) -> str:
    """Return the counts of classes above 0 as ``LV 12, RV 3``, or ``none``."""
    by_class = _class_counts(plan, counts)
    return ", ".join(f"{name} {count}" for name, count in by_class.items() if count) or "none"


def _by_frequency(words: Iterable[str]) -> str:
    """Join different words, the most frequent first."""
    return ", ".join(word for word, _ in Counter(words).most_common())


def _format_range(numbers: Iterable[float]) -> str:
    values = sorted(numbers)
    low, high = f"{values[0]:.4g}", f"{values[-1]:.4g}"
    return low if low == high else f"{low} to {high}"
