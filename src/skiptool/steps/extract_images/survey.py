"""Find the images and masks of an extraction, then read each pair once to check it.

`list_images` turns a manifest, folders, or a dataset of nnU-Net into rows with unique ids;
`survey_images` reads them, and `check_formats` compares the images of a domain.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from skiptool.errors import ArgumentError, MismatchError, SourceError
from skiptool.extraction import survey_inputs
from skiptool.names import IGNORE, composed
from skiptool.parallel import threaded
from skiptool.records import Progress, check_name
from skiptool.sources.pictures.intensities import FULL
from skiptool.sources.pictures.labels import BACKGROUND, classes_of, colour_name
from skiptool.sources.pictures.manifest import (
    EXPORTED,
    LISTED,
    MaskPattern,
    NamePattern,
    Row,
    manifest_rows,
    pair_folders,
    unguarded,
)
from skiptool.sources.pictures.nnunet import CHANNEL_COLUMNS, DATASET_JSON, read_nnunet
from skiptool.sources.pictures.samples import Item, Reading, survey

if TYPE_CHECKING:
    from skiptool.sources.pictures.labels import Key

__all__ = ["FILE_COLUMNS", "ListedImages", "check_formats", "list_images", "survey_images"]

COLUMNS = ("image", "domain", "subject")
OPTIONAL_COLUMNS = ("mask", "id", "split", "fold")
FILE_COLUMNS = (*CHANNEL_COLUMNS, "mask")
"""Columns that hold paths."""

DEFAULT_CLASSES = (BACKGROUND, "foreground")

DARK = 0.25
"""Share of the range: if no grey image is brighter, the scale is probably another one."""

_BLACK = (0, 0, 0)


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
        listed = ListedImages(rows, _classes(classes, labels), labels or {}, tuple(failed))
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
    rows, twins, warnings = _with_ids(sorted(listed.rows, key=lambda row: row["domain"]))
    failures = (*listed.failures, *twins)
    if not rows:
        raise SourceError(f"all {len(failures)} inputs failed, the first: {failures[0]}")
    return replace(listed, rows=rows, failures=failures, warnings=(*listed.warnings, *warnings))


def _classes(classes: Sequence[str] | None, labels: Mapping[Key, str] | None) -> tuple[str, ...]:
    if classes:
        return tuple(classes)
    named = classes_of(labels) if labels else DEFAULT_CLASSES
    return named if len(named) > 1 else DEFAULT_CLASSES  # labels may name only what is ignored


def _from_nnunet(
    folder: Path,
    domain: str | None,
    pattern: NamePattern | None,
    classes: Sequence[str] | None,
    labels: Mapping[Key, str] | None,
) -> ListedImages:
    dataset = read_nnunet(folder, domain, pattern)
    given = bool(classes or labels)
    return ListedImages(
        dataset.rows,
        _classes(classes, labels) if given else dataset.classes,
        labels or {} if given else dataset.labels,
        tuple(dataset.failures),
        tuple(dataset.warnings),
    )


def _from_manifest(
    manifest: Path | str, classes: Sequence[str] | None, labels: Mapping[Key, str] | None
) -> ListedImages:
    if isinstance(manifest, Path) and manifest.is_dir():
        folder, manifest = manifest, manifest / EXPORTED
        if not manifest.is_file():
            raise SourceError(
                f"{folder}: holds neither {DATASET_JSON} (nnU-Net) nor {EXPORTED} (exported "
                "pairs); for folders of pictures give --images DIR --masks DIR"
            )
        if not (classes or labels) and (folder / LISTED).is_file():
            classes = _exported_classes(folder / LISTED)
    rows = manifest_rows(manifest, COLUMNS, FILE_COLUMNS, OPTIONAL_COLUMNS)
    return ListedImages(rows, _classes(classes, labels), labels or {})


def _exported_classes(path: Path) -> list[str]:
    """Read the classes of exported pairs: one line of a CSV."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return list(map(unguarded, next(csv.reader(file), [])))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(
            f"{path}: cannot be read ({error}); save it as UTF-8, or give --classes"
        ) from None


# Ids: equal ids in two domains mean the same place, so those of different subjects must differ.


def _with_ids(rows: Sequence[Row]) -> tuple[list[Row], list[str], list[str]]:
    """Give every row an id; return rows, failures (rows left out) and warnings."""
    paths = {row[name] for row in rows for name in ("image", "mask") if row.get(name)}
    files = {path: os.path.realpath(path) for path in paths}
    sound, failures = _without_duplicates(rows, files)
    named, warnings = _with_subjects(list(_named(sound)))
    warnings += _shared_masks(sound, files)
    unique: dict[tuple[str, str], Row] = {}
    for row, name in named:
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
    """Leave out files that are listed twice, under whatever path, or as both image and mask."""
    sound: list[Row] = []
    failures: list[str] = []
    first: dict[str, Row] = {}
    listed: set[tuple[str, str]] = set()
    for row in rows:
        image, domain, mask = row["image"], row["domain"], row.get("mask")
        file = files[image]
        other = first.setdefault(file, row)
        if (file, domain) in listed:
            failures.append(f"{image}: is listed twice in domain {domain}; list it once")
        elif other["subject"] != row["subject"]:
            failures.append(
                f"{image}: is listed for subject {other['subject']} in domain {other['domain']} "
                f"and for subject {row['subject']} in domain {domain}; it can show one of them"
            )
        elif mask and files[mask] == file:
            failures.append(
                f"{image}: is given both as image and as mask; give the file of its mask"
            )
        else:
            sound.append(row)
        listed.add((file, domain))
    return sound, failures


def _shared_masks(rows: Sequence[Row], files: Mapping[str, str]) -> list[str]:
    masks = [(files[row["mask"]], row["domain"]) for row in rows if row.get("mask")]
    shared = [mask for mask, count in Counter(masks).items() if count > 1]
    if not shared:
        return []
    return [
        f"masks given for several images of one domain: {len(shared)} ({shared[0][0]}, for "
        "example); check the manifest, a mask belongs to one image"
    ]


def _with_subjects(
    named: Sequence[tuple[Row, str]],
) -> tuple[list[tuple[Row, str]], list[str]]:
    """Prefix the subject to names that different subjects have in different domains."""
    subjects: dict[str, dict[str, str]] = {}
    for row, name in named:
        subjects.setdefault(name, {})[row["domain"]] = row["subject"]
    shared = {name for name, by_domain in subjects.items() if len(set(by_domain.values())) > 1}
    given = {name for row, name in named if name in shared and row.get("id")}
    prefixed = [
        (row, f"{row['subject']}-{name}" if name in shared - given else name) for row, name in named
    ]
    warnings = []
    if shared - given:
        first = next(new for (_, old), (_, new) in zip(named, prefixed, strict=True) if old != new)
        warnings.append(
            "file names that are of different subjects in several domains: "
            f"{len(shared - given)}; they are not the same place, so their ids begin with the "
            f"subject ({first})"
        )
    if given:
        warnings.append(
            f"ids that are of different subjects in several domains: {len(given)} ({min(given)}, "
            "for one); equal ids mean the same place, but these are not taken for pairs"
        )
    return prefixed, warnings


def _named(rows: Sequence[Row]) -> Iterator[tuple[Row, str]]:
    """Name rows by their stems, with as much of the path in front as tells them apart."""
    depth = [0] * len(rows)
    longer: Sequence[int] = range(len(rows))
    names: list[tuple[str, str]] = []
    while longer:
        names = [(row["domain"], _name(row, depth[i])) for i, row in enumerate(rows)]
        counts = Counter(names)
        longer = [
            i
            for i, row in enumerate(rows)
            if counts[names[i]] > 1 and _name(row, depth[i] + 1) != names[i][1]
        ]
        for i in longer:
            depth[i] += 1
    for row, (_, name) in zip(rows, names, strict=True):
        yield row, name


def _name(row: Row, depth: int) -> str:
    """Return the id of a row; by default its stem after ``depth`` parent folders."""
    if row.get("id"):
        return row["id"]
    path = Path(row["image"])
    return composed("-".join((*path.parent.parts[len(path.parent.parts) - depth :], path.stem)))


# Survey: every image and mask is read once.


def survey_images(
    rows: Sequence[Row], reading: Reading, threads: int, progress: Progress
) -> tuple[list[Item], list[str]]:
    """Read every row; return the sound items in order, and a line for each of the others.

    Raises
    ------
    SourceError
        If none is sound.
    """
    items, failures = survey_inputs(
        partial(survey, reading=reading), rows, partial(threaded, workers=threads), progress
    )
    if not items:
        raise SourceError(f"all {len(failures)} inputs failed, the first: {failures[0]}")
    _warn_of_intensities(items, reading, progress)
    masked = [item for item in items if item.row.get("mask")]
    if all(item.foreground == 0 for item in masked) and any(item.ignored for item in masked):
        progress.warn(
            f"no mask has any foreground, but pixels of value {IGNORE}, which means 'ignored'; if "
            "it is a class, say so: --labels 255=foreground"
        )
    _warn_of_palettes(items, reading, progress)
    return items, failures


def _warn_of_intensities(items: Sequence[Item], reading: Reading, progress: Progress) -> None:
    brightest = max((item.brightest for item in items if item.dtype == "float32"), default=1.0)
    if brightest < DARK and reading.scale == FULL:
        progress.warn(
            f"no pixel is brighter than {brightest:.1%} of the range of the files; a camera of 12 "
            "bits counts to 4095, for example: --scale 0:4095"
        )
    grey = sum(item.grey for item in items)
    if grey and reading.channels is None:
        progress.say(
            f"{grey} of {len(items)} images are grey and are stored as colour, with three equal "
            "channels; --channels 1 stores one channel"
        )


def _warn_of_palettes(items: Sequence[Item], reading: Reading, progress: Progress) -> None:
    """Warn once of palettes whose colours contradict the use of indices as labels."""
    remedy = "if the colours are meant, map them with --labels '#RRGGBB=CLASS'"
    first: dict[int, Item] = {}
    for item in items:
        for index, colour in item.shown.items():
            other = first.setdefault(index, item)
            if other.shown[index] != colour:
                progress.warn(
                    f"palette index {index} is {colour_name(other.shown[index])} in "
                    f"{other.row['mask']} and {colour_name(colour)} in {item.row['mask']}; the "
                    f"indices are used as labels: {remedy}"
                )
                return
    table = reading.labels.table
    for item in items:
        black = [index for index, colour in item.shown.items() if colour == _BLACK]
        if black and item.shown.get(0, _BLACK) != _BLACK and table[0] == 0 < table[black].max():
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
    usual: dict[str, Item] = {}
    for domain in dict.fromkeys(item.row["domain"] for item in items):
        own = [item for item in items if item.row["domain"] == domain]
        counts = Counter((item.shape, item.dtype) for item in own)
        usual[domain] = max(own, key=lambda item: counts[item.shape, item.dtype])
    for item in items:
        other = usual[item.row["domain"]]
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
