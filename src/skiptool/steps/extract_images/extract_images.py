"""``skiptool extract images``: pictures and masks to a dataset store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.errors import ArgumentError, SourceError
from skiptool.exports.folders import check_export, qc_folder
from skiptool.exports.nnunet import check_nnunet, export_nnunet
from skiptool.exports.png import draw_sheets, export_pairs
from skiptool.names import ExportFormat, Split, quoted_name
from skiptool.parallel import available_cores, mapped
from skiptool.records import SILENT, Outcome, Progress, Sample, as_path, as_table
from skiptool.sources.pictures.intensities import Scale
from skiptool.sources.pictures.labels import LabelMap, colour_name, label_map
from skiptool.sources.pictures.manifest import Row
from skiptool.sources.pictures.samples import Item, Reading, read_samples
from skiptool.splits import (
    alike,
    assign_folds,
    check_undecided,
    hold_out,
    train_on,
    trained_elsewhere,
)
from skiptool.steps.extract_images.survey import FILES, check_forms, gather, survey_all
from skiptool.stores.artifacts import finished
from skiptool.stores.contents import tell_contents
from skiptool.stores.dataset import open_dataset
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.lineage import Making, digest
from skiptool.stores.staging import Form, check_free, staged
from skiptool.stores.transfers import places_may_be_urls
from skiptool.stores.zarrs import keep_failures, telling_failures

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Int64
    from skiptool.sources.pictures.labels import Key

__all__ = ["EXPORTS", "dealt", "extract_images", "write_beside", "write_items"]

# -------------------------------------------------------------------------------------------------
# Which images are for testing, and which fold the others are in: by subject, in all domains.


def dealt(
    items: Sequence[Item],
    test_fraction: float,
    folds: int,
    seed: int,
    progress: Progress,
    train_domain: str | None = None,
) -> Int64:
    """Return the fold of each item, -1 for test; tiles share that of their image.

    The manifest's columns ``split`` and ``fold`` decide where they are filled in. Otherwise
    subjects are held out, and dealt out to folds, so that all parts have as much foreground; with
    a domain to train on, those of the others are all for testing.

    Raises
    ------
    SourceError
        If a column is filled in for some images only, or folds are given without splits.
    ArgumentError
        If the fraction is out of range, there are more folds than training subjects, or the domain
        to train on is not there, or the column ``split`` decides.
    """
    subjects = np.array([item.row["subject"] for item in items], dtype=object)
    foreground = np.array([item.foreground for item in items])
    fold: Int64 = np.full(len(items), -1, dtype=np.int64)
    splits = [item.split for item in items]
    _check_whole(items, splits, "split")
    test: Bool = np.array([split is Split.TEST for split in splits])
    for line in alike(subjects.tolist(), (item.row["domain"] for item in items)):
        progress.warn(line)
    if train_domain is not None:
        domains = [item.row["domain"] for item in items]
        check_undecided(any(splits))
        test = train_on(train_domain, domains, subjects, foreground, test_fraction, seed)
        for line in trained_elsewhere(train_domain, domains, test):
            progress.warn(line)
    elif not any(splits) and test_fraction != 0:
        test = hold_out(subjects, foreground, test_fraction, seed)
    _warn_of_both(subjects, test, progress)
    training = np.flatnonzero(~test).tolist()
    asked = {place: items[place].fold for place in training}
    given = [number for number in asked.values() if number is not None]
    if given and not any(splits):
        raise SourceError("the column fold goes with the column split; fill that in too")
    if given:
        _check_whole([items[place] for place in asked], list(asked.values()), "fold")
        fold[training] = given
        _warn_of_several(subjects[training], fold[training], progress)
    elif len(training):
        fold[training] = assign_folds(subjects[training], foreground[training], folds, seed)
    return fold


def _check_whole(items: Sequence[Item], asked: Sequence[object | None], column: str) -> None:
    """Refuse a column that is filled in for some rows only."""
    if None in asked and any(value is not None for value in asked):
        bare = items[list(asked).index(None)].row["image"]
        raise SourceError(
            f"{bare}: {column} is empty, in other rows it is not; fill it in everywhere"
        )


def _warn_of_both(subjects: AnyArray, test: Bool, progress: Progress) -> None:
    both = sorted(set(subjects[test]) & set(subjects[~test]))
    if both:
        progress.warn(
            f"the manifest has subjects in training and test ({', '.join(both[:3])}): the test "
            "will measure memory too"
        )


def _warn_of_several(subjects: AnyArray, fold: Int64, progress: Progress) -> None:
    first = dict(zip(subjects[::-1], fold[::-1].tolist(), strict=True))
    several = sorted({s for s, k in zip(subjects, fold.tolist(), strict=True) if first[s] != k})
    if several:
        progress.warn(
            f"the manifest has subjects in several folds ({', '.join(several[:3])}): the "
            "validation will measure memory too"
        )


# -------------------------------------------------------------------------------------------------
# Pictures and masks into the store, and what lies beside it.


EXPORTS = {ExportFormat.PNG: export_pairs, ExportFormat.NNUNET: export_nnunet}
"""What writes each form."""


def write_items(
    writer: DatasetWriter,
    items: Sequence[Item],
    fold: Int64,
    reading: Reading,
    threads: int,
    progress: Progress,
) -> None:
    """Read all items and append their samples in order; what is there already is passed over.

    Raises
    ------
    SourceError, MismatchError, ArgumentError
        As :func:`skiptool.sources.pictures.samples.read_samples` and
        :meth:`skiptool.stores.dataset_writer.DatasetWriter.append`.
    """
    todo = [
        (item, int(number))
        for item, number in zip(items, fold, strict=True)
        if not all(writer.holds(item.row["domain"], name) for name in item.ids)
    ]

    def read(entry: tuple[Item, int]) -> list[Sample]:
        return list(read_samples(entry[0], reading, entry[1]))

    with progress.task("extract", len(items)) as task:
        task.advance(len(items) - len(todo))
        for samples in mapped(read, todo, threads):
            for sample in samples:
                if not writer.holds(sample.domain, sample.id):
                    writer.append(sample)
            task.advance()


def write_beside(
    out: Path,
    pictures: Path | None,
    export: tuple[ExportFormat, Path] | None,
    what: str,
    progress: Progress,
) -> tuple[Path, ...]:
    """Make what lies beside the finished store: sheets, exports.

    Parameters
    ----------
    out : Path
        The store.
    pictures : Path, optional
        Folder for contact sheets.
    export : (ExportFormat, Path), optional
        Form and folder of an export.
    what : str
        What a sample is called on the sheets.
    progress : Progress

    Returns
    -------
    tuple of Path
        The folders.
    """
    made = []
    if pictures is not None:
        data = open_dataset(out)
        pictures.mkdir(exist_ok=True)
        with progress.task("pictures", 1) as task:
            draw_sheets(pictures, data, what)
            task.advance()
        made.append(pictures)
    if export is not None:
        made.append(EXPORTS[export[0]](out, export[1], progress))
    return tuple(made)


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
    """Bring pictures with their masks into a dataset store.

    Parameters
    ----------
    out : Path or str
        Dataset store to write, a path or a URL.
    manifest : Path or str, optional
        Table with columns image, mask (empty: all ignored), domain, subject and, if wanted, id,
        split (train, test) and fold; a ``str``
        of several lines is the table itself. Or nnU-Net's folder of a
        dataset, or a folder that ``--export png`` has made.
    images, masks : Path or str, optional
        Folders of pictures matched by their paths without suffix, instead of a manifest.
    domain : str, optional
        Domain of pictures in folders; by default the first folder below ``images``, and "images"
        for what lies in no folder.
    pattern : str, optional
        What paths of pictures in folders mean, see
        :class:`skiptool.sources.pictures.manifest.NamePattern`.
    mask_pattern : str, optional
        How masks in folders are called where they do not have the names of their images, see
        :class:`skiptool.sources.pictures.manifest.MaskPattern`.
    classes : sequence of str, optional
        Class names; pixel value = label unless ``labels`` says otherwise. By default those of
        ``labels``, else background and foreground.
    labels : mapping of int or (red, green, blue) to str, optional
        Pixel value or colour to class name, or ``ignore``; several may share a class.
    channels : {1, 3}, optional
        Form of the images; by default colour and 8-bit grey have 3, deeper grey has 1.
    scale : str
        Values that are black and white: ``full``, ``LOW:HIGH``, ``minmax`` or ``pP``, see
        :class:`skiptool.sources.pictures.intensities.Scale`.
    patch_size, stride : int, optional
        Pixels of a tile, and from tile to tile; images stay whole by default.
    upright : bool
        Turn images that are stored turned (EXIF orientation), which are refused otherwise: their
        masks lie on them as viewers show them.
    test_fraction : float
        Share of subjects held out for testing where nothing says a split.
    folds : int
        Validation folds of the training samples, grouped by subject.
    train_domain : str, optional
        Train on this domain: all subjects of the others are for testing, beside the share of its
        own.
    seed : int
    qc : Path or str, optional
        Folder of contact sheets; by default beside ``out``, its stem with ``-qc``.
    pictures : bool
        Whether to draw them.
    export : (ExportFormat, Path or str), optional
        Form and folder in which the dataset is also written.
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
        If images of one domain differ in size or kind.
    ArgumentError
        If options contradict each other.
    ExistsError
        If the output exists.
    """
    out, images, masks, qc = Path(out), as_path(images), as_path(masks), as_path(qc)
    manifest = None if manifest is None else as_table(manifest)
    exported = None if export is None else (export[0], Path(export[1]))
    named = {"domain": domain, "pattern": pattern, "mask_pattern": mask_pattern}
    inputs = gather(manifest, images, masks, **named, classes=classes, labels=labels)
    labelling = label_map(inputs.classes, inputs.labels)
    reading = _reading(labelling, channels, scale, patch_size, stride, upright)
    making = Making(
        "extract images",
        (manifest if isinstance(manifest, Path) else "-",) if manifest is not None else (),
        {
            **{
                "classes": ",".join(map(quoted_name, inputs.classes)),
                "labels": _words(inputs.labels),
            },
            **{"domain": domain, "pattern": pattern, "channels": channels, "scale": scale},
            **{"patch_size": patch_size, "stride": reading.stride},
            # only where they are given: ids of others stay what they were
            **({"upright": True} if upright else {}),
            **({"mask_pattern": mask_pattern} if mask_pattern is not None else {}),
            **{"test_fraction": test_fraction, "folds": folds, "seed": seed},
            **({} if train_domain is None else {"train_domain": train_domain}),
        },
        {"images": images, "masks": masks, "out": out, "qc": qc, "no_pictures": not pictures},
        {"files": _fingerprint(inputs.rows)},
    )
    whole = finished(out, making, resume=resume, clear=not dry_run)
    side = qc_folder(out, qc)
    check_free(out, overwrite=overwrite, resume=resume)
    check_free(side, overwrite=False, resume=True)  # what lies there already is added to
    if exported is not None:
        check_export(exported[1], out, resume=resume)
    beside = side if pictures else None, exported, "images" if patch_size is None else "tiles"
    if whole and dry_run:
        return Outcome((out,))
    if whole:
        return Outcome((out,), write_beside(out, *beside, progress))
    for line in inputs.warnings:
        progress.warn(line)
    threads = available_cores() if workers is None else workers
    items, failed = survey_all(inputs.rows, reading, threads, progress)
    failures = (*inputs.failures, *failed)
    with telling_failures(failures, progress):
        check_forms(items)
        if exported is not None and exported[0] is ExportFormat.NNUNET:
            check_nnunet({item.shape[2] for item in items}, inputs.classes, str(out))
        fold = dealt(items, test_fraction, folds, seed, progress, train_domain)
    summary = _summary(items, fold, failures)
    if dry_run:
        summary["bytes before compression"] = sum(len(item.ids) * _bytes(item) for item in items)
        return Outcome(summary=summary, failures=failures)
    with staged(out, overwrite=overwrite, resume=resume) as partial:
        writer = DatasetWriter(partial, inputs.classes, making)
        write_items(writer, items, fold, reading, threads, progress)
        writer.finish()
        keep_failures(partial, failures)
    side_outputs = write_beside(out, *beside, progress)
    return Outcome((out,), side_outputs, summary, failures, tell_contents(out, progress))


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


def _words(labels: Mapping[Key, str]) -> list[str]:
    """Write a map as options of the command, sorted."""
    keys = sorted(labels, key=lambda key: (isinstance(key, tuple), key))
    return [f"{k if isinstance(k, int) else colour_name(k)}={quoted_name(labels[k])}" for k in keys]


def _fingerprint(rows: Sequence[Row]) -> str:
    """Hash the rows and the sizes of their files: a resumed run must find the same inputs."""
    paths = [Path(row[name]) for row in rows for name in FILES if row.get(name)]
    sizes = [path.stat().st_size if path.is_file() else None for path in paths]
    return digest([[dict(row) for row in rows], sizes])


def _summary(items: Sequence[Item], fold: Int64, failures: Sequence[str]) -> dict[str, Any]:
    samples: Counter[str] = Counter()
    sides = {"train": 0, "test": 0}
    for item, number in zip(items, fold.tolist(), strict=True):
        samples[item.row["domain"]] += len(item.ids)
        sides["test" if number < 0 else "train"] += len(item.ids)
    tiled = {"images": len(items)} if any(item.tiles for item in items) else {}
    return {"samples": dict(samples), **tiled, **sides, "failed": len(failures)}


def _bytes(item: Item) -> int:
    """Bytes of the pixels of one sample, image and mask."""
    height, width, channels = item.shape
    return height * width * (channels * (4 if item.dtype == "float32" else 1) + 1)
