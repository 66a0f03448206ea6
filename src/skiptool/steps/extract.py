"""``skiptool extract images``: pictures and masks that users already have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.engine import available_cores, mapped
from skiptool.errors import ArgumentError, MismatchError, SkiptoolError, SourceError
from skiptool.names import IGNORE, Split
from skiptool.records import SILENT, Outcome, Progress, Sample, check_name
from skiptool.sources.labelled import Item, LabelMap, label_map, read_sample, survey
from skiptool.sources.manifest import Row, pair_folders, parse_manifest, read_manifest
from skiptool.splits import assign_folds, hold_out
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.failures import keep_failures
from skiptool.stores.header import Making, digest
from skiptool.stores.lookup import finished
from skiptool.stores.staging import check_free, staged

if TYPE_CHECKING:
    from skiptool.records import Int64

__all__ = ["extract_images"]

COLUMNS = ("image", "domain", "subject")
FILES = ("image", "mask")


def extract_images(
    out: Path,
    *,
    manifest: Path | str | None = None,
    images: Path | None = None,
    masks: Path | None = None,
    domain: str = "images",
    classes: Sequence[str] = ("background", "foreground"),
    labels: Mapping[int, str] | None = None,
    test_fraction: float = 0.2,
    folds: int = 5,
    seed: int = 0,
    workers: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Outcome:
    """Bring pictures with their masks into a dataset store.

    Parameters
    ----------
    out : Path
        Dataset store to write.
    manifest : Path or str, optional
        Table with columns image, mask (empty: all ignored), domain, subject and, if wanted, id
        and split (train, test); a ``str`` is the table itself.
    images, masks : Path, optional
        Folders of pictures matched by stem, instead of a manifest.
    domain : str
        Domain of pictures in folders.
    classes : sequence of str
        Class names; pixel value = label unless ``labels`` says otherwise.
    labels : mapping of int to str, optional
        Pixel value to class name; several values may share a class.
    test_fraction : float
        Share of subjects held out for testing where the manifest has no column split.
    folds : int
        Validation folds of the training samples, grouped by subject.
    seed : int
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
        If images of one domain differ in size.
    ArgumentError
        If options contradict each other.
    ExistsError
        If the output exists.
    """
    rows, failures = _rows(manifest, images, masks, domain)
    mapping = label_map(tuple(classes), labels)
    threads = available_cores() if workers is None else workers
    making = Making(
        "extract images",
        (manifest if isinstance(manifest, Path) else "-",) if manifest is not None else (),
        {
            **{"classes": ",".join(mapping.classes)},
            "labels": [f"{value}={name}" for value, name in sorted((labels or {}).items())],
            **{"domain": domain, "test_fraction": test_fraction, "folds": folds, "seed": seed},
        },
        {"images": images, "masks": masks, "out": out},
        {"files": _fingerprint(rows)},
    )
    if finished(out, making, resume=resume):
        return Outcome((out,))
    check_free(out, overwrite=overwrite, resume=resume)
    items, failed = _survey(rows, mapping, threads, progress)
    failures += failed
    if not items:
        raise SourceError(f"all {len(failures)} inputs failed, the first: {failures[0]}")
    fold = _assign(items, test_fraction, folds, seed, progress)
    summary: dict[str, Any] = {
        "samples": dict(Counter(item.row["domain"] for item in items)),
        **{"train": int((fold >= 0).sum()), "test": int((fold < 0).sum())},
        "failed": len(failures),
    }
    if dry_run:
        summary["bytes before compression"] = _bytes(items, mapping, threads)
        return Outcome(summary=summary, failures=tuple(failures))
    with staged(out, overwrite=overwrite, resume=resume) as partial:
        writer = DatasetWriter(partial, mapping.classes, making)
        _write(writer, items, fold, mapping, threads, progress)
        writer.finish()
        keep_failures(partial, failures)
    return Outcome((out,), summary=summary, failures=tuple(failures))


def _rows(
    manifest: Path | str | None, images: Path | None, masks: Path | None, domain: str
) -> tuple[list[Row], list[str]]:
    if (manifest is None) == (images is None) or (images is None) != (masks is None):
        raise ArgumentError("give either a manifest, or both --images DIR and --masks DIR")
    if images is not None and masks is not None:
        return pair_folders(images, masks, check_name(domain, "--domain"))
    if isinstance(manifest, Path):
        rows = read_manifest(manifest, COLUMNS, FILES)
    else:
        rows = parse_manifest(manifest or "", "stdin", Path(), COLUMNS, FILES)
    for row in rows:
        check_name(row["domain"], f"{row['image']}: domain")
    return sorted(rows, key=lambda row: row["domain"]), []


def _fingerprint(rows: Sequence[Row]) -> str:
    """Hash the rows and the sizes of their files: a resumed run must find the same inputs."""
    paths = [Path(row[name]) for row in rows for name in FILES if row.get(name)]
    sizes = [path.stat().st_size if path.is_file() else None for path in paths]
    return digest([[dict(row) for row in rows], sizes])


def _survey(
    rows: Sequence[Row], labels: LabelMap, threads: int, progress: Progress
) -> tuple[list[Item], list[str]]:
    """Read every input once: what is sound, and what fails and why."""
    items: list[Item] = []
    failures: list[str] = []

    def look(row: Row) -> Item | str:
        try:
            return survey(row, labels)
        except SkiptoolError as error:
            return str(error)

    with progress.task("survey", len(rows)) as task:
        for found in mapped(look, rows, threads):
            task.advance()
            if isinstance(found, str):
                failures.append(found)
            else:
                items.append(found)
    if items and all(item.foreground == 0 for item in items) and any(i.ignored for i in items):
        progress.warn(
            f"no mask has any foreground, but pixels of value {IGNORE}, which means 'ignored'; "
            "where it is a class, say so: --labels 0=background --labels 255=foreground"
        )
    return items, failures


def _assign(
    items: Sequence[Item], test_fraction: float, folds: int, seed: int, progress: Progress
) -> Int64:
    """Fold of each item, -1 for test; a subject is on one side in all domains."""
    subjects = np.array([item.row["subject"] for item in items], dtype=object)
    foreground = np.array([item.foreground for item in items])
    fold = np.full(len(items), -1, dtype=np.int64)
    splits = [item.split for item in items]
    test = np.array([split is Split.TEST for split in splits])
    if not any(splits) and test_fraction != 0:
        test = hold_out(subjects, foreground, test_fraction, seed)
    elif any(splits) and not all(splits):
        bare = items[splits.index(None)].row["image"]
        raise SourceError(f"{bare}: split is empty, in other rows it is not; fill it in everywhere")
    both = sorted(set(subjects[test]) & set(subjects[~test]))
    if both:
        progress.warn(
            f"the manifest has subjects in training and test ({', '.join(both[:3])}): the test "
            "will measure memory too"
        )
    if (~test).any():
        fold[~test] = assign_folds(subjects[~test], foreground[~test], folds, seed)
    return fold


def _write(
    writer: DatasetWriter,
    items: Sequence[Item],
    fold: Int64,
    labels: LabelMap,
    threads: int,
    progress: Progress,
) -> None:
    left = {item.row["domain"]: 0 for item in items}
    todo = []
    for item, number in zip(items, fold, strict=True):
        left[item.row["domain"]] += 1
        if left[item.row["domain"]] > writer.written(item.row["domain"]):
            todo.append((item, int(number)))

    def read(entry: tuple[Item, int]) -> Sample:
        return read_sample(entry[0], labels, entry[1])

    with progress.task("extract", len(items)) as task:
        task.advance(len(items) - len(todo))
        for found in mapped(read, todo, threads):
            writer.append(found)
            task.advance()


def _bytes(items: Sequence[Item], labels: LabelMap, threads: int) -> int:
    """Bytes of all pixels; refuses images of several sizes in one domain, as the store would."""
    sizes: dict[str, tuple[int, ...]] = {}
    total = 0
    for found in mapped(lambda item: read_sample(item, labels, 0), items, threads):
        size = sizes.setdefault(found.domain, found.image.shape)
        if size != found.image.shape:
            raise MismatchError(
                f"domain {found.domain}, sample {found.id}: image is {found.image.shape}, others "
                f"are {size}; images of one domain have one size: crop them"
            )
        total += found.image.nbytes + found.mask.nbytes
    return total
