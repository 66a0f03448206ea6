"""Units of statistics: the images, or groups of them, and how two sets of them are paired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from skiptool.comparison.sets import Activations, Settings
from skiptool.errors import ArgumentError, MismatchError, near

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Int64

__all__ = ["Units", "paired_units"]


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """Which images make up each unit.

    Attributes
    ----------
    order : int64, shape (N,)
        Images sorted by unit.
    first : int64, shape (U,)
        Where each unit begins in ``order``.
    """

    order: Int64
    first: Int64

    def __len__(self) -> int:
        return len(self.first)

    def gathered(self, counts: AnyArray) -> AnyArray:
        """Return counts (N, D, B) of images as counts (U, D, B) of units."""
        if len(self) == len(self.order):
            if (self.order == np.arange(len(self))).all():
                return counts
            return np.asarray(counts[self.order])
        return np.asarray(np.add.reduceat(counts[self.order], self.first, axis=0, dtype=np.uint32))

    def averaged(self, means: AnyArray) -> AnyArray:
        """Return values (N, D) of images as means (U, D) over each unit's images."""
        sums = np.add.reduceat(means[self.order], self.first, axis=0)
        sizes = np.diff([*self.first, len(self.order)])
        return np.asarray(sums / sizes[:, np.newaxis])


def paired_units(
    reference: Activations, other: Activations, settings: Settings
) -> tuple[Units, Units, bool]:
    """Find the units of two sets and whether they come in pairs.

    Sets are paired where both are of one dataset and hold the same images; units of equal number
    are then of equal name.

    Raises
    ------
    ArgumentError
        If a set has no such column as ``settings.group``.
    MismatchError
        If pairs are asked for and the units differ.
    """
    names = [_names(each, settings.group) for each in (reference, other)]
    paired = _same_images(reference, other) if settings.paired is None else settings.paired
    if paired:
        _check_pairs(names, reference, other)
        known = {name: number for number, name in enumerate(dict.fromkeys(names[0]))}
        first, second = ([known[name] for name in each] for each in names)
        return _units(first), _units(second), True
    first, second = (_numbered(each) for each in names)
    return _units(first), _units(second), False


def _names(activations: Activations, group: str | None) -> list[str]:
    """Return the name of each image's unit; images without names go by their place."""
    columns = activations.columns
    if group is not None:
        if group not in columns:
            raise ArgumentError(
                f"{activations.where}: has no column {group!r} to group images by, it has "
                f"{', '.join(columns) or 'none'}{near(group, columns)}"
            )
        return [str(value) for value in columns[group]]
    if "id" in columns:
        names = [str(value) for value in columns["id"]]
        if len(set(names)) == len(names):
            return names
    return [str(number) for number in range(len(activations))]


def _same_images(reference: Activations, other: Activations) -> bool:
    if reference.dataset_id is None or reference.dataset_id != other.dataset_id:
        return False
    first, second = (sorted(_names(each, None)) for each in (reference, other))
    return first == second


def _check_pairs(
    names: Sequence[Sequence[str]], reference: Activations, other: Activations
) -> None:
    first, second = (set(each) for each in names)
    if first != second:
        alone = sorted(first ^ second)
        raise MismatchError(
            f"{other.where} against {reference.where}: asked to be paired, but {len(alone)} of "
            f"{len(first | second)} units are in one only ({', '.join(alone[:3])}"
            f"{', ...' if len(alone) > 3 else ''}); give --unpaired, or stores of the same images"
        )


def _numbered(names: Sequence[str]) -> list[int]:
    known = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return [known[name] for name in names]


def _units(numbers: Sequence[int]) -> Units:
    found = np.asarray(numbers, dtype=np.int64)
    order = np.argsort(found, kind="stable")
    _, first = np.unique(found[order], return_index=True)
    return Units(order, first.astype(np.int64))
