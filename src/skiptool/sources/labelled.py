"""Pictures with masks, row by row of a manifest: read, checked, and turned into samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import ArgumentError, SourceError
from skiptool.names import IGNORE, Split
from skiptool.records import Sample
from skiptool.sources.manifest import Row
from skiptool.sources.pictures import read_mask, read_picture

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Int64, UInt8

__all__ = ["Item", "LabelMap", "label_map", "read_sample", "survey"]


@dataclass(frozen=True, slots=True)
class LabelMap:
    """Which pixel value of a mask is which label.

    Attributes
    ----------
    classes : tuple of str
    table : int64 (65536,)
        Label of each value, -1 where it has none; 255 is 255 (ignored) unless mapped.
    """

    classes: tuple[str, ...]
    table: Int64

    def apply(self, values: AnyArray, where: str) -> UInt8:
        """Return the labels (H, W) of raw values (H, W).

        Raises
        ------
        SourceError
            If a value has no label.
        """
        labels = self.table[values]
        if labels.min() < 0:
            wrong = int(values[labels < 0].flat[0])
            raise SourceError(
                f"{where}: mask holds value {wrong}, the classes are 0 to "
                f"{len(self.classes) - 1} ({', '.join(self.classes)}); name every class with "
                "--classes, or map the value with --labels VALUE=CLASS"
            )
        return labels.astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Item:
    """A row whose image and mask are sound.

    Attributes
    ----------
    row : mapping
    foreground : float
        Share of the pixels not ignored that are of label 1 or above.
    ignored : float
        Share of all pixels that are ignored.
    """

    row: Row
    foreground: float
    ignored: float

    @property
    def split(self) -> Split | None:
        """Split that the manifest asks for, None where it does not."""
        asked = self.row.get("split", "")
        if asked and asked not in list(Split):
            raise SourceError(f"{self.row['image']}: split {asked!r}, expected train or test")
        return Split(asked) if asked else None


def label_map(classes: tuple[str, ...], labels: Mapping[int, str] | None) -> LabelMap:
    """Build the map from pixel values to labels.

    Parameters
    ----------
    classes : tuple of str
        Class names, index = label.
    labels : mapping of int to str, optional
        Value to class name; without it the value is the label.

    Raises
    ------
    ArgumentError
        If a class is named twice or is not among ``classes``, there are not 2 to 255, or a value
        is none that a mask can hold.
    """
    if len(set(classes)) < len(classes) or not 2 <= len(classes) <= IGNORE:
        raise ArgumentError(
            f"--classes {','.join(classes)}: expected 2 to {IGNORE} different names, the "
            "background first"
        )
    table = np.full(1 << 16, -1, dtype=np.int64)
    table[IGNORE] = IGNORE
    if not labels:
        table[: len(classes)] = np.arange(len(classes))
    for value, name in (labels or {}).items():
        if name not in classes:
            raise ArgumentError(f"--labels {value}={name}: not in --classes {','.join(classes)}")
        if not 0 <= value < len(table):
            raise ArgumentError(
                f"--labels {value}={name}: masks hold values from 0 to {len(table) - 1}"
            )
        table[value] = classes.index(name)
    return LabelMap(classes, table)


def survey(row: Row, labels: LabelMap) -> Item:
    """Read the image and mask of a row and say what is in them.

    Raises
    ------
    SourceError
        If a file is missing or broken, sizes differ, a value has no label, or the split that the
        row asks for is none.
    """
    mask = _mask(row, labels, read_picture(Path(row["image"])).shape[:2])
    known = mask != IGNORE
    share = float((mask[known] > 0).mean()) if known.any() else 0.0
    item = Item(row, share, float((~known).mean()))
    _ = item.split  # raises here, where one row may fail while the rest goes on
    return item


def read_sample(item: Item, labels: LabelMap, fold: int) -> Sample:
    """Read a row as a sample; ``fold`` is -1 for test. Raises as :func:`survey`."""
    image = read_picture(Path(item.row["image"]))
    return Sample(
        id=item.row.get("id") or Path(item.row["image"]).stem,
        image=image,
        mask=_mask(item.row, labels, image.shape[:2]),
        subject=item.row["subject"],
        domain=item.row["domain"],
        split=Split.TEST if fold < 0 else Split.TRAIN,
        fold=fold,
        columns={"foreground": item.foreground},
    )


def _mask(row: Row, labels: LabelMap, size: tuple[int, ...]) -> UInt8:
    if not row.get("mask"):
        return np.full(size, IGNORE, dtype=np.uint8)
    values = read_mask(Path(row["mask"]))
    if values.shape != size:
        raise SourceError(
            f"{row['mask']}: mask is {values.shape[0]} x {values.shape[1]} pixels, its image "
            f"{size[0]} x {size[1]}; both must have one size"
        )
    return labels.apply(values, row["mask"])
