"""Look at every picture and mask once: what is sound, and what fails and why."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from skiptool.errors import ArgumentError, MismatchError, SkiptoolError, SourceError
from skiptool.names import IGNORE, composed
from skiptool.parallel import mapped
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

__all__ = ["FILES", "Inputs", "check_forms", "gather", "survey_all"]

_BLACK = (0, 0, 0)

DARK = 0.25
"""Share of the range: where all grey images are darker, their scale is likely another."""


def survey_all(
    rows: Sequence[Row], reading: Reading, threads: int, progress: Progress
) -> tuple[list[Item], list[str]]:
    """Read every row.

    Returns
    -------
    items : list of Item
        Those that are sound, in the order of the rows.
    failures : list of str
        One line for each of the others.

    Raises
    ------
    SourceError
        If none is sound.
    """
    items: list[Item] = []
    failures: list[str] = []

    def look(row: Row) -> Item | str:
        try:
            return survey(row, reading)
        except SkiptoolError as error:
            return str(error)

    with progress.task("survey", len(rows)) as task:
        for found in mapped(look, rows, threads):
            task.advance()
            if isinstance(found, str):
                failures.append(found)
            else:
                items.append(found)
    if not items:
        raise SourceError(f"all {len(failures)} inputs failed, the first: {failures[0]}")
    _warn(items, reading, progress)
    return items, failures


def _warn(items: Sequence[Item], reading: Reading, progress: Progress) -> None:
    deep = [item.brightest for item in items if item.dtype == "float32"]
    brightest = max(deep, default=1.0)
    if brightest < DARK and reading.scale == FULL:
        progress.warn(
            f"no pixel is brighter than {brightest:.1%} of what the files can hold; a camera of 12 "
            "bits counts to 4095, for example: --scale 0:4095"
        )
    grey = sum(item.grey for item in items)
    if grey and reading.channels is None:
        progress.say(
            f"{grey} of {len(items)} images are grey and are stored as colour, with three equal "
            "channels; --channels 1 stores one channel"
        )
    masked = [item for item in items if item.row.get("mask")]
    if all(item.foreground == 0 for item in masked) and any(item.ignored for item in masked):
        progress.warn(
            f"no mask has any foreground, but pixels of value {IGNORE}, which means 'ignored'; "
            "where it is a class, say so: --labels 255=foreground"
        )
    _warn_of_palettes(items, reading, progress)


def _warn_of_palettes(items: Sequence[Item], reading: Reading, progress: Progress) -> None:
    """Say where palettes show labels in colours that speak against them."""
    colours = "if the colours are meant, map them with --labels '#RRGGBB=CLASS'"
    first: dict[int, Item] = {}
    for item in items:
        for index, colour in item.shown.items():
            other = first.setdefault(index, item)
            if other.shown[index] != colour:
                progress.warn(
                    f"palette index {index} is {colour_name(other.shown[index])} in "
                    f"{other.row['mask']} and {colour_name(colour)} in {item.row['mask']}; the "
                    f"indices are used as labels: {colours}"
                )
                return
    table = reading.labels.table
    for item in items:
        black = [index for index, colour in item.shown.items() if colour == _BLACK]
        if black and item.shown.get(0, _BLACK) != _BLACK and table[0] == 0 < table[black].max():
            progress.warn(
                f"{item.row['mask']}: its palette shows index 0, the background, in "
                f"{colour_name(item.shown[0])} and index {black[0]} in black; the indices are "
                f"used as labels: {colours}"
            )
            return


def check_forms(items: Sequence[Item]) -> None:
    """Refuse images of several sizes or kinds in one domain, as the store would, but in time.

    Raises
    ------
    MismatchError
        Names the first that differs from most of its domain.
    """
    usual: dict[str, Item] = {}
    for domain in dict.fromkeys(item.row["domain"] for item in items):
        here = [item for item in items if item.row["domain"] == domain]
        counts = Counter((item.shape, item.dtype) for item in here)
        usual[domain] = max(here, key=lambda item: counts[item.shape, item.dtype])
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


# -------------------------------------------------------------------------------------------------
# Which pictures there are, who they are, and what their masks mean, before any is opened.


COLUMNS = ("image", "domain", "subject")
OPTIONAL = ("mask", "id", "split", "fold")
FILES = (*CHANNEL_COLUMNS, "mask")
"""Columns that hold paths."""

CLASSES = (BACKGROUND, "foreground")
"""Where nothing else says what the labels are."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Rows, in the order of their domains, and what is known of them all.

    Attributes
    ----------
    rows : sequence of mapping
        Each with an id that is unique in its domain.
    classes : tuple of str
    labels : mapping of int or (red, green, blue) to str
        Empty: values are labels.
    failures, warnings : tuple of str
    """

    rows: Sequence[Row]
    classes: tuple[str, ...]
    labels: Mapping[Key, str]
    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def gather(
    manifest: Path | str | None,
    images: Path | None,
    masks: Path | None,
    *,
    domain: str | None = None,
    pattern: str | None = None,
    mask_pattern: str | None = None,
    classes: Sequence[str] | None = None,
    labels: Mapping[Key, str] | None = None,
) -> Inputs:
    """Find all inputs; parameters are those of :func:`extract_images`.

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
    parsed = None if pattern is None else NamePattern.parse(pattern)
    called = None if mask_pattern is None else MaskPattern.parse(mask_pattern)
    if images is not None and masks is not None:
        rows, failures = pair_folders(images, masks, domain, parsed, called)
        found = Inputs(rows, _classes(classes, labels), labels or {}, tuple(failures))
    elif called is not None:
        raise ArgumentError("--mask-pattern goes with --images DIR and --masks DIR")
    elif isinstance(manifest, Path) and (manifest / DATASET_JSON).is_file():
        found = _from_nnunet(manifest, domain, parsed, classes, labels)
    else:
        found = _from_manifest(manifest or "", domain, pattern, classes, labels)
    for row in found.rows:
        check_name(row["domain"], f"{row['image']}: domain")
    rows, twins, warnings = _told_apart(sorted(found.rows, key=lambda row: row["domain"]))
    failures = [*found.failures, *twins]
    if not rows:
        raise SourceError(f"all {len(failures)} inputs failed, the first: {failures[0]}")
    return replace(
        found, rows=rows, failures=tuple(failures), warnings=(*found.warnings, *warnings)
    )


def _classes(classes: Sequence[str] | None, labels: Mapping[Key, str] | None) -> tuple[str, ...]:
    if classes:
        return tuple(classes)
    found = classes_of(labels) if labels else CLASSES
    return found if len(found) > 1 else CLASSES  # where nothing but what is ignored is named


def _from_nnunet(
    folder: Path,
    domain: str | None,
    pattern: NamePattern | None,
    classes: Sequence[str] | None,
    labels: Mapping[Key, str] | None,
) -> Inputs:
    read = read_nnunet(folder, domain, pattern)
    own = not (classes or labels)
    return Inputs(
        read.rows,
        read.classes if own else _classes(classes, labels),
        read.labels if own else labels or {},
        tuple(read.failures),
        tuple(read.warnings),
    )


def _from_manifest(
    manifest: Path | str,
    domain: str | None,
    pattern: str | None,
    classes: Sequence[str] | None,
    labels: Mapping[Key, str] | None,
) -> Inputs:
    for option, given in (("--domain", domain), ("--pattern", pattern)):
        if given is not None:
            raise ArgumentError(f"{option} goes with folders; a manifest has columns for that")
    if isinstance(manifest, Path) and manifest.is_dir():
        folder, manifest = manifest, manifest / EXPORTED
        if not manifest.is_file():
            raise SourceError(
                f"{folder}: holds neither {DATASET_JSON} (nnU-Net) nor {EXPORTED} (exported "
                "pairs); for folders of pictures give --images DIR --masks DIR"
            )
        if not (classes or labels) and (folder / LISTED).is_file():
            classes = _listed(folder / LISTED)
    rows = manifest_rows(manifest, COLUMNS, FILES, OPTIONAL)
    return Inputs(rows, _classes(classes, labels), labels or {})


def _listed(path: Path) -> list[str]:
    """Read the classes of exported pairs: one line of a CSV."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return list(map(unguarded, next(csv.reader(file), [])))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(
            f"{path}: cannot be read ({error}); save it as UTF-8, or give --classes"
        ) from None


def _told_apart(rows: Sequence[Row]) -> tuple[list[Row], list[str], list[str]]:
    """Give every row an id; where stems meet in a domain, as much of the path as is needed.

    Equal ids in two domains are the same place, so that those of different subjects are told apart
    by these.

    Returns
    -------
    rows : list of mapping
    failures, warnings : list of str
        Rows that are left out; ids that were given to several subjects.
    """
    paths = {row[name] for row in rows for name in ("image", "mask") if row.get(name)}
    files = {path: os.path.realpath(path) for path in paths}
    sound, failures = _sound(rows, files)
    kept: dict[tuple[str, str], Row] = {}
    named, warnings = _without_strangers(list(_named(sound)))
    warnings += _shared_masks(sound, files)
    for row, name in named:
        first = kept.setdefault((row["domain"], name), row)
        if first is not row:
            failures.append(
                f"{row['image']}: has the id {name} in domain {row['domain']}, as "
                f"{first['image']} has; ids are unique in a domain, give it another"
            )
    return [{**row, "id": name} for (_, name), row in kept.items()], failures, warnings


def _sound(rows: Sequence[Row], files: Mapping[str, str]) -> tuple[list[Row], list[str]]:
    """Leave out files that are listed twice, under whatever path, or are image and mask at once."""
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
    """Say where several images of a domain have one mask."""
    masks = [(files[row["mask"]], row["domain"]) for row in rows if row.get("mask")]
    shared = [mask for mask, count in Counter(masks).items() if count > 1]
    if not shared:
        return []
    return [
        f"masks given for several images of one domain: {len(shared)} ({shared[0][0]}, for "
        "example); check the manifest, a mask belongs to one image"
    ]


def _without_strangers(
    named: Sequence[tuple[Row, str]],
) -> tuple[list[tuple[Row, str]], list[str]]:
    """Put the subject before names that are of several subjects in several domains."""
    subjects: dict[str, dict[str, str]] = {}
    for row, name in named:
        subjects.setdefault(name, {})[row["domain"]] = row["subject"]
    shared = {name for name, found in subjects.items() if len(set(found.values())) > 1}
    asked = {name for row, name in named if name in shared and row.get("id")}
    found = [
        (row, f"{row['subject']}-{name}" if name in shared - asked else name) for row, name in named
    ]
    warnings = []
    if shared - asked:
        first = next(new for (_, old), (_, new) in zip(named, found, strict=True) if old != new)
        warnings.append(
            "file names that are of different subjects in several domains: "
            f"{len(shared - asked)}; they are not the same place, and their ids begin with the "
            f"subject ({first})"
        )
    if asked:
        warnings.append(
            f"ids that are of different subjects in several domains: {len(asked)} ({min(asked)}, "
            "for one); equal ids mean the same place, but these are not taken for pairs"
        )
    return found, warnings


def _named(rows: Sequence[Row]) -> Iterator[tuple[Row, str]]:
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
    if row.get("id"):
        return row["id"]
    path = Path(row["image"])
    return composed("-".join((*path.parent.parts[len(path.parent.parts) - depth :], path.stem)))
