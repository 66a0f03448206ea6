"""What came into a dataset store: pixels of each class, and images that are all one value.

Counted sample by sample while these are packed, summed up by domain, and kept in the attribute
``contents`` at the root of the store, so that nobody reads the pixels again to see nonsense::

    {<domain>: {"samples": N,
                "pixels": {<label>: n},           labels that are there, 255 among them
                "even_images": [k, <id>],         images of one value throughout, and the first
                "even_masks": {<label>: [k, <id>]}}}

It follows from the pixels; no id depends on it. Stores of early versions lack it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.names import IGNORE, Split
from skiptool.records import Progress, Sample, Table
from skiptool.stores.zarrs import open_array, open_group, open_root, read_columns, read_rows

if TYPE_CHECKING:
    import zarr

    from skiptool.records import AnyArray

    Domains = Mapping[str, Mapping[str, Any]]

__all__ = ["CONTENTS", "Content", "content_of", "summed", "tell_contents"]

CONTENTS = "contents"

IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Content:
    """What is in one sample.

    Attributes
    ----------
    pixels : mapping of str to int
        Pixels of each label that is there; JSON has text for keys.
    even : bool
        All pixels of the image are alike.
    """

    pixels: Mapping[str, int]
    even: bool

    def as_json(self) -> dict[str, Any]:
        """Return it as it stands in a journal."""
        return {"pixels": dict(self.pixels), "even": self.even}

    @classmethod
    def parse(cls, noted: Mapping[str, Any]) -> Content:
        """Read what `as_json` has returned."""
        return cls(dict(noted["pixels"]), bool(noted["even"]))


def content_of(sample: Sample) -> Content:
    """Count what is in a sample."""
    counts = np.bincount(sample.mask.ravel(), minlength=IGNORE + 1)
    there = np.flatnonzero(counts)
    return Content(
        {str(label): int(counts[label]) for label in there},
        _is_even(sample.image),
    )


def summed(samples: Iterable[tuple[str, Content]]) -> dict[str, Any]:
    """Sum up the samples of a domain, each with its id."""
    pixels: dict[str, int] = {}
    images: list[Any] = [0, ""]
    masks: dict[str, list[Any]] = {}
    count = 0
    for name, content in samples:
        count += 1
        for label, number in content.pixels.items():
            pixels[label] = pixels.get(label, 0) + number
        if content.even:
            images = [images[0] + 1, images[1] or name]
        if len(content.pixels) == 1:
            entry = masks.setdefault(next(iter(content.pixels)), [0, name])
            entry[0] += 1
    labels = sorted(pixels, key=int)
    return {
        "samples": count,
        "pixels": {label: pixels[label] for label in labels},
        "even_images": images,
        "even_masks": {label: masks[label] for label in labels if label in masks},
    }


def tell_contents(path: Path | str, progress: Progress) -> tuple[Table, ...]:
    """Make the table of what came into a store, and warn of what is likely a mistake.

    Parameters
    ----------
    path : Path or str
        A whole dataset store.
    progress : Progress
        Is warned of classes without any pixel, of images and masks of one value, and of samples
        of several subjects that are copies of each other.

    Returns
    -------
    tuple of Table
        One, with a row for each domain; none where the store does not say (of early versions).

    Raises
    ------
    FormatError
        If there is no store.
    """
    root = open_root(path, "dataset")
    attributes = root.attrs
    found, classes = attributes.get(CONTENTS), attributes.get("classes")
    if not isinstance(found, dict) or not isinstance(classes, list):
        return ()
    names = [str(name) for name in classes]
    for line in (*_doubts(found, names), *_copies(root, found, str(path))):
        progress.warn(line)
    return (_table(root, found, names, str(path)),)


def _table(root: zarr.Group, domains: Domains, classes: Sequence[str], where: str) -> Table:
    columns: dict[str, list[str | int | float | None]] = {
        "domain": list(domains),
        "samples": [each["samples"] for each in domains.values()],
    }
    splits = [_subjects(root, name, where) for name in domains]
    for split in (Split.TRAIN, Split.TEST):
        columns[f"{split} subjects"] = [len(each.get(split, ())) for each in splits]
    for label, name in (*enumerate(classes), (IGNORE, IGNORED)):
        header = f"label {label}, {name}" if name in columns else name
        columns[header] = [_share(each["pixels"], label) for each in domains.values()]
    columns["images of one value"] = [each["even_images"][0] for each in domains.values()]
    columns["masks of one value"] = [
        sum(entry[0] for entry in each["even_masks"].values()) for each in domains.values()
    ]
    return Table("What came in (classes: share of pixels)", columns)


def _subjects(root: zarr.Group, domain: str, where: str) -> dict[str, set[str]]:
    """Return the subjects of each split of a domain."""
    columns = read_columns(open_group(root, domain, where), f"{where}: domain {domain}")
    found: dict[str, set[str]] = {}
    for split, subject in zip(columns["split"], columns["subject"], strict=True):
        found.setdefault(str(split), set()).add(str(subject))
    return found


def _share(pixels: Mapping[str, int], label: int) -> float:
    return pixels.get(str(label), 0) / sum(pixels.values())


def _doubts(domains: Domains, classes: Sequence[str]) -> Iterable[str]:
    for label, name in enumerate(classes):
        bare = [where for where, each in domains.items() if str(label) not in each["pixels"]]
        if bare:
            where = "" if len(bare) == len(domains) else f" in domain {', '.join(bare)}"
            yield (
                f"class {name} (label {label}) has not a single pixel{where}; check --classes and "
                "--labels"
            )
    total = sum(each["samples"] for each in domains.values())
    images = {where: each["even_images"] for where, each in domains.items()}
    if any(count for count, _ in images.values()):
        yield _even("images are of one value throughout", images, total)
    for label in sorted({int(key) for each in domains.values() for key in each["even_masks"]}):
        name = IGNORED if label == IGNORE else classes[label]
        masks = {
            where: each["even_masks"].get(str(label), [0, ""]) for where, each in domains.items()
        }
        yield _even(f"masks are {name} ({label}) throughout", masks, total)


def _copies(root: zarr.Group, domains: Iterable[str], where: str) -> list[str]:
    """Say which samples of several subjects are one, pixel by pixel; images of one value may be."""
    first: dict[str, tuple[str, int, str, str]] = {}
    pairs: list[tuple[str, str]] = []
    plain: dict[str, bool] = {}
    for name in domains:
        columns = read_columns(open_group(root, name, where), f"{where}: domain {name}")
        rows = zip(columns["digest"], columns["subject"], columns["id"], strict=True)
        for place, (digest, subject, key) in enumerate(rows):
            domain, at, other, known = first.setdefault(digest, (name, place, subject, key))
            if other == subject:
                continue
            if digest not in plain:
                images = open_array(open_group(root, domain, where), "images", where, 4)
                plain[digest] = _is_even(read_rows(images, at, where))
            if not plain[digest]:
                pairs.append((f"{known} of {other}", f"{key} of {subject}"))
    if not pairs:
        return []
    return [
        f"samples identical, pixel by pixel, to one of another subject: {len(pairs)} "
        f"({' and '.join(pairs[0])}, for example); copies may end up on both sides of a split"
    ]


def _is_even(image: AnyArray) -> bool:
    return bool((image == image[:1, :1]).all())


def _even(what: str, found: Mapping[str, Sequence[Any]], total: int) -> str:
    where, first = next((name, entry[1]) for name, entry in found.items() if entry[0])
    count = sum(entry[0] for entry in found.values())
    return f"{count} of {total} {what}, the first: {first} in domain {where}"
