"""Contents of a dataset store: pixels of each class, and constant images and masks.

They are counted while samples are packed, summed by domain, and stored in the attribute
``contents`` at the root of the store, so that suspicious data is found without reading the pixels
again::

    {<domain>: {"samples": N,
                "pixels": {<label>: n},           labels that occur, 255 included
                "even_images": [k, <id>],         constant images: number and the first id
                "even_masks": {<label>: [k, <id>]}}}

No id depends on this attribute, which follows from the pixels. Stores of early versions lack it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.names import IGNORE_LABEL, Split
from skiptool.records import Progress, Sample, Table
from skiptool.stores.arrays import read_rows
from skiptool.stores.zarrs import open_array, open_group, open_root, read_columns

if TYPE_CHECKING:
    import zarr

    from skiptool.records import AnyArray

    Domains = Mapping[str, Mapping[str, Any]]

CONTENTS = "contents"

IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class SampleContent:
    """Contents of one sample.

    Attributes
    ----------
    pixels : mapping of str to int
        Pixels of each label that occurs; keys are text, as in JSON.
    is_constant : bool
        All pixels of the image are equal.
    """

    pixels: Mapping[str, int]
    is_constant: bool

    def as_json(self) -> dict[str, Any]:
        """Return the journal entry."""
        return {"pixels": dict(self.pixels), "even": self.is_constant}

    @classmethod
    def parse(cls, entry: Mapping[str, Any]) -> SampleContent:
        """Parse a journal entry."""
        return cls(dict(entry["pixels"]), bool(entry["even"]))


def count_content(sample: Sample) -> SampleContent:
    """Count the pixels of each label of a sample."""
    counts = np.bincount(sample.mask.ravel(), minlength=IGNORE_LABEL + 1)
    pixels = {str(label): int(counts[label]) for label in np.flatnonzero(counts)}
    return SampleContent(pixels, _is_constant(sample.image))


def summarise(samples: Iterable[tuple[str, SampleContent]]) -> dict[str, Any]:
    """Summarise the samples of a domain, each given with its id."""
    count = 0
    pixels: Counter[str] = Counter()
    constant_images: list[Any] = [0, ""]
    constant_masks: dict[str, list[Any]] = {}
    for sample_id, content in samples:
        count += 1
        pixels.update(content.pixels)
        if content.is_constant:
            number, first_id = constant_images
            constant_images = [number + 1, first_id or sample_id]
        if len(content.pixels) == 1:
            entry = constant_masks.setdefault(next(iter(content.pixels)), [0, sample_id])
            entry[0] += 1
    labels = sorted(pixels, key=int)
    return {
        "samples": count,
        "pixels": {label: pixels[label] for label in labels},
        "even_images": constant_images,
        "even_masks": {label: constant_masks[label] for label in labels if label in constant_masks},
    }


def contents_tables(path: Path | str, progress: Progress) -> tuple[Table, ...]:
    """Tabulate the contents of a dataset store by domain, and warn of likely mistakes.

    Warns of classes without pixels, constant images and masks, and identical samples of different
    subjects. Returns no table for stores of early versions, which lack the counts.
    """
    root = open_root(path, "dataset")
    attributes = root.attrs
    contents, classes = attributes.get(CONTENTS), attributes.get("classes")
    if not isinstance(contents, dict) or not isinstance(classes, list):
        return ()
    names = [str(name) for name in classes]
    for warning in (*_warnings(contents, names), *_duplicates(root, contents, str(path))):
        progress.warn(warning)
    return (_table(root, contents, names, str(path)),)


def _table(root: zarr.Group, domains: Domains, classes: Sequence[str], where: str) -> Table:
    columns: dict[str, list[str | int | float | None]] = {
        "domain": list(domains),
        "samples": [content["samples"] for content in domains.values()],
    }
    splits = [_subjects(root, name, where) for name in domains]
    for split in (Split.TRAIN, Split.TEST):
        columns[f"{split} subjects"] = [len(subjects.get(split, ())) for subjects in splits]
    for label, name in (*enumerate(classes), (IGNORE_LABEL, IGNORED)):
        header = f"label {label}, {name}" if name in columns else name
        columns[header] = [
            content["pixels"].get(str(label), 0) / sum(content["pixels"].values())
            for content in domains.values()
        ]
    columns["images of one value"] = [content["even_images"][0] for content in domains.values()]
    columns["masks of one value"] = [
        sum(count for count, _ in content["even_masks"].values()) for content in domains.values()
    ]
    return Table("What came in (classes: share of pixels)", columns)


def _subjects(root: zarr.Group, domain: str, where: str) -> dict[str, set[str]]:
    """Return the subjects of each split of a domain."""
    columns = read_columns(open_group(root, domain, where), f"{where}: domain {domain}")
    subjects: dict[str, set[str]] = {}
    for split, subject in zip(columns["split"], columns["subject"], strict=True):
        subjects.setdefault(str(split), set()).add(str(subject))
    return subjects


def _warnings(domains: Domains, classes: Sequence[str]) -> Iterable[str]:
    for label, name in enumerate(classes):
        without = [
            domain for domain, content in domains.items() if str(label) not in content["pixels"]
        ]
        if without:
            where = "" if len(without) == len(domains) else f" in domain {', '.join(without)}"
            yield f"class {name} (label {label}) has no pixels{where}; check --classes and --labels"
    total = sum(content["samples"] for content in domains.values())
    images = {domain: content["even_images"] for domain, content in domains.items()}
    if any(count for count, _ in images.values()):
        yield _constant_warning("images are constant", images, total)
    labels = {int(label) for content in domains.values() for label in content["even_masks"]}
    for label in sorted(labels):
        name = IGNORED if label == IGNORE_LABEL else classes[label]
        masks = {
            domain: content["even_masks"].get(str(label), [0, ""])
            for domain, content in domains.items()
        }
        yield _constant_warning(f"masks are {name} ({label}) throughout", masks, total)


@dataclass(frozen=True, slots=True)
class _Occurrence:
    """Position of the first sample with some pixels."""

    domain: str
    row: int
    subject: str
    id: str


def _duplicates(root: zarr.Group, domains: Iterable[str], where: str) -> list[str]:
    """Report samples of different subjects with equal pixels, except constant images."""
    occurrences: dict[str, _Occurrence] = {}
    constant: dict[str, bool] = {}
    pairs: list[tuple[str, str]] = []
    for domain in domains:
        columns = read_columns(open_group(root, domain, where), f"{where}: domain {domain}")
        samples = zip(columns["digest"], columns["subject"], columns["id"], strict=True)
        for row, (digest, subject, sample_id) in enumerate(samples):
            sample = _Occurrence(domain, row, subject, sample_id)
            first = occurrences.setdefault(digest, sample)
            if first.subject == subject:
                continue
            if digest not in constant:
                images = open_array(open_group(root, first.domain, where), "images", where, 4)
                constant[digest] = _is_constant(read_rows(images, first.row, where))
            if not constant[digest]:
                pairs.append((f"{first.id} of {first.subject}", f"{sample_id} of {subject}"))
    if not pairs:
        return []
    return [
        f"samples identical, pixel by pixel, to one of another subject: {len(pairs)} "
        f"({' and '.join(pairs[0])}, for example); copies may fall on both sides of a split"
    ]


def _is_constant(image: AnyArray) -> bool:
    return bool((image == image[:1, :1]).all())


def _constant_warning(statement: str, counts: Mapping[str, Sequence[Any]], total: int) -> str:
    domain, first = next((name, sample) for name, (count, sample) in counts.items() if count)
    number = sum(count for count, _ in counts.values())
    return f"{number} of {total} {statement}, the first: {first} in domain {domain}"
