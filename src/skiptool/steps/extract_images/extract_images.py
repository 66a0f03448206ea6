"""``skiptool extract images``: images with masks to a dataset store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.errors import ArgumentError
from skiptool.exports.folders import qc_folder
from skiptool.exports.nnunet import check_nnunet, export_nnunet
from skiptool.exports.png import draw_sheets, export_pairs
from skiptool.extraction import Extraction, ExtractionTarget, file_sizes
from skiptool.names import ExportFormat, quoted_name
from skiptool.parallel import available_cores, mapped
from skiptool.records import SILENT, Outcome, Progress, Sample, as_path, as_table
from skiptool.sources.pictures.intensities import Scale
from skiptool.sources.pictures.labels import LabelMap, colour_name, label_map
from skiptool.sources.pictures.manifest import Row
from skiptool.sources.pictures.samples import Item, Reading, read_samples
from skiptool.splits import SplitInput, SplitOptions, assign_splits
from skiptool.steps.extract_images.survey import (
    FILE_COLUMNS,
    ListedImages,
    check_formats,
    list_images,
    survey_images,
)
from skiptool.stores.dataset import open_dataset
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.lineage import Making, digest
from skiptool.stores.staging import Form
from skiptool.stores.transfers import places_may_be_urls
from skiptool.stores.zarrs import telling_failures

if TYPE_CHECKING:
    from skiptool.records import Int64
    from skiptool.sources.pictures.labels import Key

__all__ = ["EXPORTERS", "assign_images", "extract_images", "write_images", "write_side_outputs"]

EXPORTERS = {ExportFormat.PNG: export_pairs, ExportFormat.NNUNET: export_nnunet}


@places_may_be_urls(out=Form.STORE)
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
        Pixel value or colour to class name, or ``ignore``; several may share a class.
    channels : {1, 3}, optional
        Channels of the images; by default 3 for colour and 8-bit grey, 1 for deeper grey.
    scale : str
        Values that are black and white: ``full``, ``LOW:HIGH``, ``minmax`` or ``pP``, see
        :class:`skiptool.sources.pictures.intensities.Scale`.
    patch_size, stride : int, optional
        Pixels of a tile, and from tile to tile; images stay whole by default.
    upright : bool
        Turn images that are stored rotated (EXIF orientation) and refused otherwise; their masks
        match them as displayed.
    test_fraction : float
        Share of subjects held out for testing where no split is listed.
    folds : int
        Validation folds of the training samples, grouped by subject.
    train_domain : str, optional
        Train on this domain only: test on its share of subjects and on all other domains.
    seed : int
    qc : Path or str, optional
        Folder of contact sheets; by default next to ``out``, its stem with ``-qc``.
    pictures : bool
        Draw contact sheets.
    export : (ExportFormat, Path or str), optional
        Format and folder in which the dataset is also written.
    workers : int, optional
        Threads that read; all usable cores by default.
    overwrite, resume, dry_run : bool
    progress : Progress

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
    reading = _reading(
        label_map(listed.classes, listed.labels), channels, scale, patch_size, stride, upright
    )
    splits = SplitOptions(test_fraction, folds, seed, train_domain)
    parameters = {
        "classes": ",".join(map(quoted_name, listed.classes)),
        "labels": _label_options(listed.labels),
        "domain": domain,
        "pattern": pattern,
        "channels": channels,
        "scale": scale,
        "patch_size": patch_size,
        "stride": reading.stride,
        # recorded only where given, so that the ids of other stores do not change
        **({"upright": True} if upright else {}),
        **({} if mask_pattern is None else {"mask_pattern": mask_pattern}),
        **splits.recorded,
    }
    making = Making(
        "extract images",
        () if manifest is None else (manifest if isinstance(manifest, Path) else "-",),
        parameters,
        {"images": images, "masks": masks, "out": out, "qc": qc, "no_pictures": not pictures},
        {"files": _fingerprint(listed.rows)},
    )
    return _ImageExtraction(
        target=ExtractionTarget(
            out, qc_folder(out, qc), pictures, exported, overwrite, resume, dry_run
        ),
        making=making,
        failures=list(listed.failures),
        progress=progress,
        listed=listed,
        reading=reading,
        splits=splits,
        export_format=export_format,
        threads=available_cores() if workers is None else workers,
    ).run()


@dataclass
class _ImageExtraction(Extraction):
    listed: ListedImages
    reading: Reading
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
        with telling_failures(self.failures, self.progress):
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
        writer = DatasetWriter(path, self.listed.classes, self.making)
        write_images(writer, self.items, self.fold, self.reading, self.threads, self.progress)
        writer.finish()

    def write_side_outputs(self) -> tuple[Path, ...]:
        return write_side_outputs(
            self.target,
            self.export_format,
            "images" if self.reading.patch_size is None else "tiles",
            self.progress,
        )

    def summary(self) -> dict[str, Any]:
        samples: Counter[str] = Counter()
        sides = {"train": 0, "test": 0}
        for item, fold in zip(self.items, self.fold.tolist(), strict=True):
            samples[item.row["domain"]] += len(item.ids)
            sides["test" if fold < 0 else "train"] += len(item.ids)
        tiled = {"images": len(self.items)} if any(item.tiles for item in self.items) else {}
        return {"samples": dict(samples), **tiled, **sides, "failed": len(self.failures)}


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
    reading: Reading,
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
        for samples in mapped(read, todo, threads):
            for sample in samples:
                if not writer.holds(sample.domain, sample.id):
                    writer.append(sample)
            task.advance()


def write_side_outputs(
    target: ExtractionTarget, export_format: ExportFormat | None, unit: str, progress: Progress
) -> tuple[Path, ...]:
    """Draw contact sheets and export the finished store; return the folders.

    ``unit`` is what the sheets call a sample.
    """
    folders = []
    if target.pictures:
        data = open_dataset(target.out)
        target.qc.mkdir(exist_ok=True)
        with progress.task("pictures", 1) as task:
            draw_sheets(target.qc, data, unit)
            task.advance()
        folders.append(target.qc)
    if export_format is not None and target.export is not None:
        folders.append(EXPORTERS[export_format](target.out, target.export, progress))
    return tuple(folders)


def _reading(
    labels: LabelMap,
    channels: int | None,
    scale: str,
    patch_size: int | None,
    stride: int | None,
    upright: bool,
) -> Reading:
    if channels not in (None, 1, 3):
        raise ArgumentError(f"--channels {channels}: expected 1 (grey) or 3 (colour)")
    if stride is not None and patch_size is None:
        raise ArgumentError("--stride goes with --patch-size; give that too")
    for option, value in (("patch-size", patch_size), ("stride", stride)):
        if value is not None and value < 1:
            raise ArgumentError(f"--{option} {value}: expected 1 or more")
    step = patch_size if stride is None else stride
    return Reading(labels, Scale.parse(scale), channels, patch_size, step, upright)


def _label_options(labels: Mapping[Key, str]) -> list[str]:
    """Write a label map as values of ``--labels``, sorted."""
    keys = sorted(labels, key=lambda key: (isinstance(key, tuple), key))
    return [f"{k if isinstance(k, int) else colour_name(k)}={quoted_name(labels[k])}" for k in keys]


def _fingerprint(rows: Sequence[Row]) -> str:
    """Hash the rows and the sizes of their files: a resumed run must find the same inputs."""
    paths = [Path(row[name]) for row in rows for name in FILE_COLUMNS if row.get(name)]
    return digest([[dict(row) for row in rows], file_sizes(paths)])


def _sample_bytes(item: Item) -> int:
    """Return the bytes of one sample, image and mask, before compression."""
    height, width, channels = item.shape
    return height * width * (channels * (4 if item.dtype == "float32" else 1) + 1)
