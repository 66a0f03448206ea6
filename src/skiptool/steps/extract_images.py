"""``skiptool extract images``: images with masks to a dataset store.

Images are listed from a manifest or folders, surveyed (each is read once), assigned to splits by
subject, and written whole or as tiles.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.errors import ArgumentError, MismatchError, SourceError
from skiptool.exports.folders import qc_folder
from skiptool.exports.nnunet import check_nnunet, export_nnunet
from skiptool.exports.png import export_pairs
from skiptool.exports.sheets import draw_sheets
from skiptool.extraction import Extraction, ExtractionTarget, file_sizes, survey_inputs
from skiptool.names import IGNORE_LABEL, ExportFormat, normalise_unicode, quote_name
from skiptool.parallel import available_cores, ordered_map, thread_map
from skiptool.records import SILENT, Outcome, Progress, Sample, as_path, as_table, check_name
from skiptool.sources.pictures.intensities import FULL, Scale
from skiptool.sources.pictures.labels import (
    BACKGROUND,
    LabelMap,
    class_names,
    colour_name,
    label_map,
)
from skiptool.sources.pictures.manifest import (
    EXPORT_CLASSES,
    EXPORT_MANIFEST,
    MaskPattern,
    NamePattern,
    Row,
    manifest_rows,
    pair_folders,
    unescape_formula,
)
from skiptool.sources.pictures.nnunet import CHANNEL_COLUMNS, DATASET_JSON, read_nnunet
from skiptool.sources.pictures.samples import Item, ReadOptions, read_samples, survey
from skiptool.splits import SplitInput, SplitOptions, assign_splits
from skiptool.stores.dataset import open_dataset
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.lineage import Invocation, hash_json
from skiptool.stores.staging import OutputType
from skiptool.stores.urls import accept_urls
from skiptool.stores.zarrs import report_failures

if TYPE_CHECKING:
    from skiptool.records import Int64
    from skiptool.sources.pictures.labels import Key


COLUMNS = ("image", "domain", "subject")
OPTIONAL_COLUMNS = ("mask", "id", "split", "fold")
FILE_COLUMNS = (*CHANNEL_COLUMNS, "mask")
"""Columns that hold paths."""

DEFAULT_CLASSES = (BACKGROUND, "foreground")

DARK = 0.25
"""Share of the range: if no grey image is brighter, the assumed range is probably wrong."""

BLACK = (0, 0, 0)

EXPORTERS = {ExportFormat.PNG: export_pairs, ExportFormat.NNUNET: export_nnunet}


@accept_urls(out=OutputType.STORE)
def extract_images(
    out: Path | str,
    *,
    manifest: Path | str | None = None,
    images: Path | str | None = None,
    masks: Path | str | None = None,
    domain: str | None = None,
    pattern: str | None = None,
    mask_pattern: str | None = None,
    classes: Sequence[str] | None = None,
    labels: Mapping[Key, str] | None = None,
    channels: int | None = None,
    scale: str = "full",
    patch_size: int | None = None,
    stride: int | None = None,
    upright: bool = False,
    test_fraction: float = 0.2,
    folds: int = 5,
    train_domain: str | None = None,
    seed: int = 0,
    qc: Path | str | None = None,
    pictures: bool = True,
    export: tuple[ExportFormat, Path | str] | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Outcome:
    """Extract images with their masks into a dataset store.

    Parameters
    ----------
    out : Path or str
        Dataset store to write, a path or a URL.
    manifest : Path or str, optional
        Table with columns image, mask (empty: all ignored), domain, subject and optionally id,
        split (train, test) and fold; a ``str`` of several lines is the table itself. Or the folder
        of a dataset of nnU-Net, or one that ``--export png`` has written.
    images, masks : Path or str, optional
        Folders of pictures matched by their paths without suffix, instead of a manifest.
    domain : str, optional
        Domain of pictures in folders; by default the first folder below ``images``, and "images"
        for what lies in no folder.
    pattern : str, optional
        How to read paths of pictures in folders, see
        :class:`skiptool.sources.pictures.manifest.NamePattern`.
    mask_pattern : str, optional
        Names of masks in folders, where they differ from those of their images, see
        :class:`skiptool.sources.pictures.manifest.MaskPattern`.
    classes : sequence of str, optional
        Class names; pixel value = label unless ``labels`` says otherwise. By default those of
        ``labels``, else background and foreground.
    labels : mapping of int or (red, green, blue) to str, optional
        Class name, or ``ignore``, of each pixel value or colour; several may share a class.
    channels : {1, 3}, optional
        Channels of the images; by default 3 for colour and 8-bit grey, 1 for deeper grey.
    scale : str
        Values taken as black and white: ``full``, ``LOW:HIGH``, ``minmax`` or ``pP``, see
        :class:`skiptool.sources.pictures.intensities.Scale`.
    patch_size, stride : int, optional
        Side of a tile and distance from tile to tile in pixels; images stay whole by default.
    upright : bool
        Rotate images that are stored rotated (EXIF orientation), which are refused otherwise;
        their masks must match them as displayed.
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
    export : (ExportFormat, Path or str), optional
        Format and folder in which the dataset is also written.
    workers : int, optional
        Threads that read images; all usable cores by default.

    Returns
    -------
    Outcome
        Output: the store. Failures: one line for each input left out.

    Raises
    ------
    SourceError
        If the inputs are missing or all fail.
    MismatchError
        If images of one domain differ in size or number of channels.
    ArgumentError
        If options contradict each other.
    ExistsError
        If the output exists.
    """
    out, images, masks, qc = Path(out), as_path(images), as_path(masks), as_path(qc)
    manifest = None if manifest is None else as_table(manifest)
    export_format, exported = (None, None) if export is None else (export[0], Path(export[1]))
    listed = list_images(
        manifest,
        images,
        masks,
        domain=domain,
        pattern=pattern,
        mask_pattern=mask_pattern,
        classes=classes,
        labels=labels,
    )
    reading = _read_options(
        label_map(listed.classes, listed.labels), channels, scale, patch_size, stride, upright
    )
    splits = SplitOptions(test_fraction, folds, seed, train_domain)
    parameters: dict[str, Any] = {
        "classes": ",".join(map(quote_name, listed.classes)),
        "labels": _label_options(listed.labels),
        "domain": domain,
        "pattern": pattern,
        "channels": channels,
        "scale": scale,
        "patch_size": patch_size,
        "stride": reading.stride,
    }
    if upright:  # else omitted, so that ids of earlier stores stay valid
        parameters["upright"] = True
    if mask_pattern is not None:
        parameters["mask_pattern"] = mask_pattern
    parameters |= splits.recorded
    inputs: tuple[Path | str, ...] = ()
    if manifest is not None:
        inputs = (manifest if isinstance(manifest, Path) else "-",)
    invocation = Invocation(
        "extract images",
        inputs,
        parameters,
        {"images": images, "masks": masks, "out": out, "qc": qc, "no_pictures": not pictures},
        {"files": _fingerprint(listed.rows)},
    )
    return _ImageExtraction(
        target=ExtractionTarget(
            out, qc_folder(out, qc), pictures, exported, overwrite, resume, dry_run
        ),
        invocation=invocation,
        failures=list(listed.failures),
        progress=progress,
        listed=listed,
        reading=reading,
        splits=splits,
        export_format=export_format,
        threads=available_cores() if workers is None else workers,
    ).run()


def _read_options(
    labels: LabelMap,
    channels: int | None,
    scale: str,
    patch_size: int | None,
    stride: int | None,
    upright: bool,
) -> ReadOptions:
    if channels not in (None, 1, 3):
        raise ArgumentError(f"--channels {channels}: expected 1 (grey) or 3 (colour)")
    if stride is not None and patch_size is None:
        raise ArgumentError("--stride goes with --patch-size; give that too")
    for option, value in (("patch-size", patch_size), ("stride", stride)):
        if value is not None and value < 1:
            raise ArgumentError(f"--{option} {value}: expected 1 or more")
    step = patch_size if stride is None else stride
    return ReadOptions(labels, Scale.parse(scale), channels, patch_size, step, upright)


def _label_options(labels: Mapping[Key, str]) -> list[str]:
    """Return a label map as values of ``--labels``, sorted."""
    keys = sorted(labels, key=lambda key: (isinstance(key, tuple), key))
    return [
        f"{key if isinstance(key, int) else colour_name(key)}={quote_name(labels[key])}"
        for key in keys
    ]


def _fingerprint(rows: Sequence[Row]) -> str:
    """Hash rows and file sizes: a run can only be resumed with unchanged inputs."""
    paths = [Path(row[name]) for row in rows for name in FILE_COLUMNS if row.get(name)]
    return hash_json([[dict(row) for row in rows], file_sizes(paths)])


@dataclass
class _ImageExtraction(Extraction):
    listed: ListedImages
    reading: ReadOptions
    splits: SplitOptions
    export_format: ExportFormat | None
    threads: int
    items: list[Item] = field(init=False)
    fold: Int64 = field(init=False)

    def outcome_of_finished(self) -> Outcome:
        self.check_target()
        side_outputs = () if self.target.dry_run else self.write_side_outputs()
        return Outcome((self.target.out,), side_outputs)

    def check_target(self) -> None:
        self.target.check()

    def prepare(self) -> None:
        for line in self.listed.warnings:
            self.progress.warn(line)
        self.items, failed = survey_images(
            self.listed.rows, self.reading, self.threads, self.progress
        )
        self.failures += failed
        with report_failures(self.failures, self.progress):
            check_formats(self.items)
            if self.export_format is ExportFormat.NNUNET:
                channels = {item.shape[2] for item in self.items}
                check_nnunet(channels, self.listed.classes, str(self.target.out))
            self.fold = assign_images(self.items, self.splits, self.progress)

    def dry_run_outcome(self) -> Outcome:
        size = sum(len(item.ids) * _sample_bytes(item) for item in self.items)
        summary = self.summary() | {"bytes before compression": size}
        return Outcome(summary=summary, failures=tuple(self.failures))

    def write(self, path: Path) -> None:
        writer = DatasetWriter(path, self.listed.classes, self.invocation)
        write_images(writer, self.items, self.fold, self.reading, self.threads, self.progress)
        writer.finish()

    def write_side_outputs(self) -> tuple[Path, ...]:
        target, folders = self.target, []
        if target.pictures:
            data = open_dataset(target.out)
            target.qc.mkdir(exist_ok=True)
            with self.progress.task("pictures", 1) as task:
                unit = "images" if self.reading.patch_size is None else "tiles"
                draw_sheets(target.qc, data, unit)
                task.advance()
            folders.append(target.qc)
        if self.export_format is not None and target.export is not None:
            export = EXPORTERS[self.export_format]
            folders.append(export(target.out, target.export, self.progress))
        return tuple(folders)

    def summary(self) -> dict[str, Any]:
        samples: Counter[str] = Counter()
        splits = {"train": 0, "test": 0}
        for item, fold in zip(self.items, self.fold.tolist(), strict=True):
            samples[item.row["domain"]] += len(item.ids)
            splits["test" if fold < 0 else "train"] += len(item.ids)
        summary: dict[str, Any] = {"samples": dict(samples)}
        if any(item.tiles for item in self.items):
            summary["images"] = len(self.items)
        return summary | splits | {"failed": len(self.failures)}


def _sample_bytes(item: Item) -> int:
    """Return the bytes of one sample, image and mask, before compression."""
    height, width, channels = item.shape
    return height * width * (channels * (4 if item.dtype == "float32" else 1) + 1)


# Listing: rows of all images from a manifest or from folders, before any file is opened.


@dataclass(frozen=True, slots=True)
class ListedImages:
    """Rows of all images, and what applies to all of them.

    Attributes
    ----------
    rows : sequence of mapping
        Sorted by domain, each with an id that is unique in its domain.
    classes : tuple of str
    labels : mapping of int or (red, green, blue) to str
        Empty: pixel values are labels.
    failures, warnings : tuple of str
    """

    rows: Sequence[Row]
    classes: tuple[str, ...]
    labels: Mapping[Key, str]
    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def list_images(
    manifest: Path | str | None,
    images: Path | None,
    masks: Path | None,
    *,
    domain: str | None = None,
    pattern: str | None = None,
    mask_pattern: str | None = None,
    classes: Sequence[str] | None = None,
    labels: Mapping[Key, str] | None = None,
) -> ListedImages:
    """List all inputs, opening none; parameters are those of ``extract_images``.

    Raises
    ------
    ArgumentError
        If options contradict each other, or a domain cannot be a name in a store.
    SourceError
        If the manifest or a folder is unusable, or every input fails.
    """
    if (manifest is None) == (images is None) or (images is None) != (masks is None):
        raise ArgumentError("give either a manifest, or both --images DIR and --masks DIR")
    if domain is not None:
        check_name(domain, "--domain")
    name_pattern = None if pattern is None else NamePattern.parse(pattern)
    mask_names = None if mask_pattern is None else MaskPattern.parse(mask_pattern)
    if images is not None and masks is not None:
        rows, failed = pair_folders(images, masks, domain, name_pattern, mask_names)
        listed = ListedImages(rows, _class_names(classes, labels), labels or {}, tuple(failed))
    elif mask_names is not None:
        raise ArgumentError("--mask-pattern goes with --images DIR and --masks DIR")
    elif isinstance(manifest, Path) and (manifest / DATASET_JSON).is_file():
        listed = _from_nnunet(manifest, domain, name_pattern, classes, labels)
    else:
        for option, value in (("--domain", domain), ("--pattern", pattern)):
            if value is not None:
                raise ArgumentError(f"{option} goes with folders; a manifest has columns for that")
        listed = _from_manifest(manifest or "", classes, labels)
    for row in listed.rows:
        check_name(row["domain"], f"{row['image']}: domain")
    rows, rejected, warnings = _with_ids(sorted(listed.rows, key=lambda row: row["domain"]))
    failures = (*listed.failures, *rejected)
    if not rows:
        raise SourceError(f"all {len(failures)} inputs failed, the first: {failures[0]}")
    return replace(listed, rows=rows, failures=failures, warnings=(*listed.warnings, *warnings))


def _class_names(
    classes: Sequence[str] | None, labels: Mapping[Key, str] | None
) -> tuple[str, ...]:
    if classes:
        return tuple(classes)
    named = class_names(labels) if labels else DEFAULT_CLASSES
    return named if len(named) > 1 else DEFAULT_CLASSES  # the labels may all be ``ignore``


def _from_nnunet(
    folder: Path,
    domain: str | None,
    pattern: NamePattern | None,
    classes: Sequence[str] | None,
    labels: Mapping[Key, str] | None,
) -> ListedImages:
    dataset = read_nnunet(folder, domain, pattern)
    listed = ListedImages(
        dataset.rows,
        dataset.classes,
        dataset.labels,
        tuple(dataset.failures),
        tuple(dataset.warnings),
    )
    if classes or labels:
        return replace(listed, classes=_class_names(classes, labels), labels=labels or {})
    return listed


def _from_manifest(
    manifest: Path | str, classes: Sequence[str] | None, labels: Mapping[Key, str] | None
) -> ListedImages:
    if isinstance(manifest, Path) and manifest.is_dir():
        folder, manifest = manifest, manifest / EXPORT_MANIFEST
        if not manifest.is_file():
            raise SourceError(
                f"{folder}: holds neither {DATASET_JSON} (nnU-Net) nor {EXPORT_MANIFEST} (exported "
                "pairs); for folders of pictures give --images DIR --masks DIR"
            )
        if not (classes or labels) and (folder / EXPORT_CLASSES).is_file():
            classes = _exported_classes(folder / EXPORT_CLASSES)
    rows = manifest_rows(manifest, COLUMNS, FILE_COLUMNS, OPTIONAL_COLUMNS)
    return ListedImages(rows, _class_names(classes, labels), labels or {})


def _exported_classes(path: Path) -> list[str]:
    """Read the classes of exported pairs, one line of CSV."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return list(map(unescape_formula, next(csv.reader(file), [])))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(
            f"{path}: cannot be read ({error}); save it as UTF-8, or give --classes"
        ) from None


# Ids: equal ids in two domains mean the same place, so those of different subjects must differ.


def _with_ids(rows: Sequence[Row]) -> tuple[list[Row], list[str], list[str]]:
    """Give every row an id; return rows, failures (rows left out) and warnings."""
    paths = {row[column] for row in rows for column in ("image", "mask") if row.get(column)}
    files = {path: os.path.realpath(path) for path in paths}
    rows, failures = _without_duplicates(rows, files)
    names, warnings = _prefix_subjects(rows, _shortest_names(rows))
    warnings += _shared_masks(rows, files)
    unique: dict[tuple[str, str], Row] = {}
    for row, name in zip(rows, names, strict=True):
        first = unique.setdefault((row["domain"], name), row)
        if first is not row:
            failures.append(
                f"{row['image']}: has the id {name} in domain {row['domain']}, as "
                f"{first['image']} has; ids are unique in a domain, give it another"
            )
    return [{**row, "id": name} for (_, name), row in unique.items()], failures, warnings


def _without_duplicates(
    rows: Sequence[Row], files: Mapping[str, str]
) -> tuple[list[Row], list[str]]:
    """Leave out files that are listed twice, under any path, or as both image and mask."""
    distinct: list[Row] = []
    failures: list[str] = []
    first_row: dict[str, Row] = {}
    listed: set[tuple[str, str]] = set()
    for row in rows:
        image, domain, mask = row["image"], row["domain"], row.get("mask")
        file = files[image]
        first = first_row.setdefault(file, row)
        if (file, domain) in listed:
            failures.append(f"{image}: is listed twice in domain {domain}; list it once")
        elif first["subject"] != row["subject"]:
            failures.append(
                f"{image}: is listed for subject {first['subject']} in domain {first['domain']} "
                f"and for subject {row['subject']} in domain {domain}; it can show one of them"
            )
        elif mask and files[mask] == file:
            failures.append(
                f"{image}: is given both as image and as mask; give the file of its mask"
            )
        else:
            distinct.append(row)
        listed.add((file, domain))
    return distinct, failures


def _shared_masks(rows: Sequence[Row], files: Mapping[str, str]) -> list[str]:
    """Return a warning if several images of a domain share a mask."""
    masks = Counter((files[row["mask"]], row["domain"]) for row in rows if row.get("mask"))
    shared = [file for (file, _), count in masks.items() if count > 1]
    if not shared:
        return []
    return [
        f"masks given for several images of one domain: {len(shared)} ({shared[0]}, for example); "
        "check the manifest, a mask belongs to one image"
    ]


def _shortest_names(rows: Sequence[Row]) -> list[str]:
    """Name rows by their stems, preceded by as many folders as are needed to be unique."""
    depth = [0] * len(rows)
    ambiguous: Sequence[int] = range(len(rows))
    names: list[str] = []
    while ambiguous:
        names = [_name(row, depth[i]) for i, row in enumerate(rows)]
        counts = Counter((row["domain"], name) for row, name in zip(rows, names, strict=True))
        ambiguous = [
            i
            for i, row in enumerate(rows)
            if counts[row["domain"], names[i]] > 1 and _name(row, depth[i] + 1) != names[i]
        ]
        for i in ambiguous:
            depth[i] += 1
    return names


def _name(row: Row, depth: int) -> str:
    """Return the id of a row; by default its stem after ``depth`` parent folders."""
    if row.get("id"):
        return row["id"]
    path = Path(row["image"])
    folders = path.parent.parts
    return normalise_unicode("-".join((*folders[len(folders) - depth :], path.stem)))


def _prefix_subjects(rows: Sequence[Row], names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Prefix the subject to names of different subjects in several domains; also return warnings.

    Ids that the manifest gives stay as they are.
    """
    subjects: dict[str, dict[str, str]] = {}
    for row, name in zip(rows, names, strict=True):
        subjects.setdefault(name, {})[row["domain"]] = row["subject"]
    shared = {name for name, by_domain in subjects.items() if len(set(by_domain.values())) > 1}
    given = {row["id"] for row in rows if row.get("id") in shared}
    renamed = shared - given
    prefixed = [
        f"{row['subject']}-{name}" if name in renamed else name
        for row, name in zip(rows, names, strict=True)
    ]
    warnings = []
    if renamed:
        first = next(new for old, new in zip(names, prefixed, strict=True) if old != new)
        warnings.append(
            f"file names that belong to different subjects in several domains: {len(renamed)}; "
            f"they do not show the same place, so their ids begin with the subject ({first})"
        )
    if given:
        warnings.append(
            f"ids that belong to different subjects in several domains: {len(given)} "
            f"({min(given)}, for one); equal ids mean the same place, but these are not treated "
            "as pairs"
        )
    return prefixed, warnings


# Survey: every image and mask is read once.


def survey_images(
    rows: Sequence[Row], reading: ReadOptions, threads: int, progress: Progress
) -> tuple[list[Item], list[str]]:
    """Read the files of every row; return the usable items in order, and one line for each failure.

    Raises
    ------
    SourceError
        If all fail.
    """
    items, failures = survey_inputs(
        partial(survey, reading=reading), rows, partial(thread_map, workers=threads), progress
    )
    if not items:
        raise SourceError(f"all {len(failures)} inputs failed, the first: {failures[0]}")
    _warn_of_intensities(items, reading, progress)
    masked = [item for item in items if item.row.get("mask")]
    if all(item.foreground == 0 for item in masked) and any(item.ignored for item in masked):
        progress.warn(
            f"no mask has any foreground, but some have pixels of value {IGNORE_LABEL}, which "
            "means 'ignored'; if it is a class, give --labels 255=foreground"
        )
    _warn_of_palettes(items, reading, progress)
    return items, failures


def _warn_of_intensities(items: Sequence[Item], reading: ReadOptions, progress: Progress) -> None:
    brightest = max((item.brightest for item in items if item.dtype == "float32"), default=1.0)
    if brightest < DARK and reading.scale == FULL:
        progress.warn(
            f"no pixel is brighter than {brightest:.1%} of the range of the files; if they are of "
            "a 12-bit camera, for example, give --scale 0:4095"
        )
    grey = sum(item.grey for item in items)
    if grey and reading.channels is None:
        progress.say(
            f"{grey} of {len(items)} images are grey and are stored as colour, with three equal "
            "channels; --channels 1 stores one channel"
        )


def _warn_of_palettes(items: Sequence[Item], reading: ReadOptions, progress: Progress) -> None:
    """Warn once of palettes whose colours contradict the use of indices as labels."""
    remedy = "to use the colours instead, map them with --labels '#RRGGBB=CLASS'"
    first_with: dict[int, Item] = {}
    for item in items:
        for index, colour in item.shown.items():
            other = first_with.setdefault(index, item)
            if other.shown[index] != colour:
                progress.warn(
                    f"palette index {index} is {colour_name(other.shown[index])} in "
                    f"{other.row['mask']} and {colour_name(colour)} in {item.row['mask']}; the "
                    f"indices are used as labels: {remedy}"
                )
                return
    table = reading.labels.table
    for item in items:
        black = [index for index, colour in item.shown.items() if colour == BLACK]
        if black and item.shown.get(0, BLACK) != BLACK and table[0] == 0 < table[black].max():
            progress.warn(
                f"{item.row['mask']}: its palette shows index 0, the background, in "
                f"{colour_name(item.shown[0])} and index {black[0]} in black; the indices are "
                f"used as labels: {remedy}"
            )
            return


def check_formats(items: Sequence[Item]) -> None:
    """Refuse images of several sizes, types or channel numbers in one domain.

    Raises
    ------
    MismatchError
        Names the first that differs from most of its domain.
    """
    typical: dict[str, Item] = {}
    for domain in dict.fromkeys(item.row["domain"] for item in items):
        members = [item for item in items if item.row["domain"] == domain]
        counts = Counter((item.shape, item.dtype) for item in members)
        typical[domain] = max(members, key=lambda item: counts[item.shape, item.dtype])
    for item in items:
        other = typical[item.row["domain"]]
        where = f"domain {item.row['domain']}, sample {item.name}"
        if (item.shape[2], item.dtype) != (other.shape[2], other.dtype):
            raise MismatchError(
                f"{where}: image is {item.shape} {item.dtype}, but {other.name} is {other.shape} "
                f"{other.dtype}; images of one domain are all in colour or all grey: give "
                "--channels 3 or 1, or another domain"
            )
        if item.shape != other.shape:
            raise MismatchError(
                f"{where}: image is {item.shape} {item.dtype}, but {other.name} is {other.shape}; "
                "images of one domain have one size: cut tiles with --patch-size, crop them, or "
                "give them another domain"
            )


# Splits and samples.


def assign_images(items: Sequence[Item], options: SplitOptions, progress: Progress) -> Int64:
    """Return the fold of each image, -1 for testing, stratified by its share of foreground.

    See `skiptool.splits.assign_splits`. Tiles share the fold of their image.
    """
    inputs = [
        SplitInput(
            item.row["image"], item.row["subject"], item.row["domain"], item.split, item.fold
        )
        for item in items
    ]
    foreground = np.array([item.foreground for item in items])
    return assign_splits(inputs, options, progress, strata=foreground, by_input=True)


def write_images(
    writer: DatasetWriter,
    items: Sequence[Item],
    fold: Int64,
    reading: ReadOptions,
    threads: int,
    progress: Progress,
) -> None:
    """Append the samples of all items in order, except for those that the store already holds."""
    todo = [
        (item, int(number))
        for item, number in zip(items, fold, strict=True)
        if not all(writer.holds(item.row["domain"], name) for name in item.ids)
    ]

    def read(entry: tuple[Item, int]) -> list[Sample]:
        item, number = entry
        return list(read_samples(item, reading, number))

    with progress.task("extract", len(items)) as task:
        task.advance(len(items) - len(todo))
        for samples in ordered_map(read, todo, threads):
            for sample in samples:
                if not writer.holds(sample.domain, sample.id):
                    writer.append(sample)
            task.advance()
