"""``skiptool extract images``: pictures and masks to a dataset store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skiptool.errors import ArgumentError
from skiptool.exports.folders import check_export, qc_folder
from skiptool.exports.nnunet import check_nnunet
from skiptool.names import ExportFormat, quoted_name
from skiptool.parallel import available_cores
from skiptool.records import SILENT, Outcome, Progress, as_path, as_table
from skiptool.sources.pictures.intensities import Scale
from skiptool.sources.pictures.labels import LabelMap, colour_name, label_map
from skiptool.sources.pictures.manifest import Row
from skiptool.sources.pictures.samples import Item, Reading
from skiptool.steps.extract_images.dealing import dealt
from skiptool.steps.extract_images.inputs import FILES, gather
from skiptool.steps.extract_images.survey import check_forms, survey_all
from skiptool.steps.extract_images.writing import write_beside, write_items
from skiptool.stores.artifacts import finished
from skiptool.stores.contents import tell_contents
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.lineage import Making, digest
from skiptool.stores.staging import Form, check_free, staged
from skiptool.stores.transfers import places_may_be_urls
from skiptool.stores.zarrs import keep_failures, telling_failures

if TYPE_CHECKING:
    from skiptool.records import Int64
    from skiptool.sources.pictures.labels import Key

__all__ = ["extract_images"]


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
