"""Units of statistics: images, or groups of them such as subjects, and how two sets are paired.

A unit is what was sampled independently. Where several images are of one subject, the subject is
the unit: slices of one heart are alike whatever the scanner, and counting them as independent makes
every difference significant.

Units weigh equally, however many images or vectors they hold. The permutation test needs more: only
units that hold equally many values are exchangeable, as a unit of few values has a noisier
distribution. Where sizes differ between the sets, the test therefore runs on an equal draw: so many
images are drawn from each unit that both sets have the same distribution of sizes, and of images
with more vectors than the others a part is drawn. One draw is taken, by the seed. The mean over
several draws is not exchangeable either, as units that have more to draw from get smoother: with
60 images of 169 vectors against 12 of 9 its false alarms were 10 to 18 % instead of 5 %.

Counts that were kept in place of activations may be those of several images together: a row of
them, a block of images, then takes the place of an image. No vectors can be drawn from a row and no
images, so the equal draw is one of rows that hold equally many images; where the two sets have none
such there is no test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, isqrt
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.comparison.activations import Activations, Settings
from skiptool.errors import ArgumentError, MismatchError, near

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Int64

__all__ = [
    "BLOCK",
    "IMAGE",
    "SUBJECT",
    "Draw",
    "Units",
    "drawn_vectors",
    "equal_draw",
    "equal_rows",
    "held_images",
    "least_p_value",
    "paired_units",
    "repeats",
    "stranger",
    "unit_column",
]

IMAGE: Final = "image"
"""Asks for images as units, whatever columns there are."""

BLOCK: Final = "block"
"""Unit in place of an image where a row of counts holds several images."""

SUBJECT: Final = "subject"
"""Column whose values are the units where they repeat and nothing else is asked for."""

_TOTAL: Final = 1 << 26
"""Counts of units that hold unequally many values are scaled to add up to about this much."""


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """Which images make up each unit.

    Attributes
    ----------
    order : int64, shape (N,)
        Images sorted by unit; in a draw, those that were drawn.
    first : int64, shape (U,)
        Where each unit begins in ``order``.
    held : int64, shape (N,), or None
        How many images each of ``order`` stands for, where it is a row of counts of several; None
        where it is one image.
    """

    order: Int64
    first: Int64
    held: Int64 | None = None

    def __len__(self) -> int:
        return len(self.first)

    @property
    def sizes(self) -> Int64:
        """Number of images of each unit, or of rows of counts, (U,)."""
        return np.diff(np.append(self.first, len(self.order)))

    @property
    def images(self) -> Int64:
        """Number of images of each unit, (U,)."""
        return self.sizes if self.held is None else np.add.reduceat(self.held, self.first)

    @property
    def equal(self) -> bool:
        """Whether all units have equally many images."""
        return bool(np.ptp(self.images) == 0)

    def gathered(self, counts: AnyArray, *, scaled: bool | None = None) -> AnyArray:
        """Return counts (N, D, B) of images as counts (U, D, B) of units that weigh equally.

        Counts of units with unequally many images are scaled by whole numbers to nearly one total
        (to within one part in 1,000 for units of up to 65,536 values). ``scaled`` asks for that
        total whether they are equal or not: units of two sets that are added to each other weigh
        equally only if both are scaled or neither is.
        """
        alone = len(self) == len(self.order)
        if alone and len(self.order) == len(counts) and (self.order == np.arange(len(self))).all():
            found = counts
        elif alone:
            found = np.asarray(counts[self.order])
        else:
            found = np.add.reduceat(counts[self.order], self.first, axis=0, dtype=np.uint32)
        if scaled if scaled is not None else not self.equal:
            totals = found[:, 0].sum(axis=-1, dtype=np.int64)
            factors = np.maximum(_TOTAL // totals, 1).astype(np.uint32)
            found = found * factors[:, np.newaxis, np.newaxis]
        return np.asarray(found)

    def averaged(self, means: AnyArray) -> AnyArray:
        """Return values (N, D) of images as means (U, D) over each unit's images."""
        sums = np.add.reduceat(means[self.order], self.first, axis=0)
        return np.asarray(sums / self.sizes[:, np.newaxis])


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """One draw of images that makes the units of both sets exchangeable."""

    reference: Units
    other: Units


def paired_units(
    reference: Activations, other: Activations, settings: Settings
) -> tuple[Units, Units, bool]:
    """Find the units of two sets and whether they come in pairs.

    Sets are paired where both are of one dataset and hold the same images, of the same subjects
    where both know these; units of equal number are then of equal name.

    Raises
    ------
    ArgumentError
        If a set has no such column as ``settings.group``.
    MismatchError
        If pairs are asked for and the units, or the subjects of images of one name, differ.
    """
    group = unit_column(reference, other, settings)
    names = [_names(each, group) for each in (reference, other)]
    paired = _same_images(reference, other) if settings.paired is None else settings.paired
    held = [held_images(each) for each in (reference, other)]
    if paired:
        _check_pairs(names, reference, other)
        if group is None:
            _check_subjects(reference, other)
        known = {name: number for number, name in enumerate(dict.fromkeys(names[0]))}
        first, second = ([known[name] for name in each] for each in names)
    else:
        first, second = (_numbered(each) for each in names)
    return _units(first, held[0]), _units(second, held[1]), paired


def held_images(activations: Activations) -> Int64 | None:
    """Return how many images each row holds, (N,); None where every row is one image."""
    counted = activations.counted(activations.layers[0])
    return None if counted is None or (counted.images == 1).all() else counted.images


def unit_column(reference: Activations, other: Activations, settings: Settings) -> str | None:
    """Return the column whose values are the units; None where images are.

    That is the column asked for; if none is, ``subject`` where both sets know it and it repeats in
    either.
    """
    if settings.group is not None:
        return None if settings.group == IMAGE else settings.group
    known = all(SUBJECT in each.columns for each in (reference, other))
    return SUBJECT if known and any(repeats(each) for each in (reference, other)) else None


def repeats(activations: Activations) -> bool:
    """Whether several images are of one subject."""
    subjects = [str(value) for value in activations.columns.get(SUBJECT, ())]
    return 0 < len(set(subjects)) < len(subjects) and all(subjects)


def least_p_value(reference: int, other: int, *, paired: bool) -> float:
    """Return the smallest p-value that a permutation of so many units can have.

    Swapping the two sets as a whole does not change a distance, so of sets of equal size two
    relabellings reach it at least.

    Examples
    --------
    >>> least_p_value(3, 3, paired=False), least_p_value(5, 5, paired=True)
    (0.1, 0.0625)
    """
    ways = 2**reference if paired else comb(reference + other, reference)
    return min(1.0, (2 if paired or reference == other else 1) / ways)


def equal_rows(reference: Units, other: Units, *, paired: bool) -> Draw | None:
    """Keep of rows of several images what an equal draw can be made from.

    Parameters
    ----------
    reference, other : Units
    paired : bool

    Returns
    -------
    Draw or None
        All units where both sets have the same distribution of images over them, or where every row
        is one image. Else the rows that hold the most images, and the units that have such rows.
        None where these hold another number of images in each set: nothing can be tested.
    """
    whole = (reference, other)
    single = all(units.held is None for units in whole)
    if single or _least(reference.images, other.images, paired=paired) is None:
        return Draw(*whole)
    held = [np.ones_like(each.order) if each.held is None else each.held for each in whole]
    if held[0].max() != held[1].max():
        return None
    rows = [np.flatnonzero(each == each.max()) for each in held]
    unit = [np.repeat(np.arange(len(each)), each.sizes) for each in whole]
    if paired:
        both = np.intersect1d(unit[0][rows[0]], unit[1][rows[1]])
        rows = [kept[np.isin(unit[side][kept], both)] for side, kept in enumerate(rows)]
        if not len(both):
            return None
    first, second = (
        Units(each.order[kept], np.unique(numbers[kept], return_index=True)[1], images[kept])
        for each, kept, numbers, images in zip(whole, rows, unit, held, strict=True)
    )
    return Draw(first, second)


def equal_draw(
    reference: Units, other: Units, *, paired: bool, rng: np.random.Generator
) -> Draw | None:
    """Draw images so that both sets have the same distribution of unit sizes.

    Parameters
    ----------
    reference, other : Units
        Rows of several images as :func:`equal_rows` leaves them.
    paired : bool
        Unit i of both sets belongs together: both are drawn to the smaller size of the two.
    rng : numpy.random.Generator

    Returns
    -------
    Draw or None
        None where nothing needs to be drawn. The sizes of each set, sorted, are lowered to the
        quantiles of the other set's where these are smaller, so sets of equal sizes lose nothing.
    """
    least = _least(reference.images, other.images, paired=paired)
    if least is None:
        return None
    return Draw(_drawn(reference, least[0], rng), _drawn(other, least[1], rng))


def _least(first: Int64, second: Int64, *, paired: bool) -> tuple[Int64, Int64] | None:
    """Return how many images of each unit an equal draw has; None where it has all of them."""
    if paired:
        lower = np.minimum(first, second)
        least = (lower, lower)
    else:
        least = (_lowered(first, second), _lowered(second, first))
    alike = (least[0] == first).all() and (least[1] == second).all()
    return None if alike else least


def _lowered(sizes: Int64, others: Int64) -> Int64:
    """Lower each size to the quantile of the other sizes at its rank."""
    rank = np.argsort(np.argsort(sizes, kind="stable"), kind="stable")
    place = ((rank + 0.5) / len(sizes) * len(others)).astype(np.int64)
    return np.asarray(np.minimum(sizes, np.sort(others)[np.minimum(place, len(others) - 1)]))


def _drawn(units: Units, images: Int64, rng: np.random.Generator) -> Units:
    """Draw images (or rows that hold equally many) of each unit, without replacement."""
    sizes = images if units.held is None else images // units.held[0]
    ends = np.append(units.first, len(units.order))
    parts = [
        np.sort(rng.permutation(units.order[start:stop])[:size])
        for start, stop, size in zip(ends[:-1], ends[1:], sizes, strict=True)
    ]
    return Units(np.concatenate(parts), np.append(0, np.cumsum(sizes)[:-1]).astype(np.int64))


def drawn_vectors(
    images: int,
    vectors: int,
    least: int,
    grids: tuple[Sequence[int] | None, Sequence[int] | None],
    rng: np.random.Generator,
) -> Int64:
    """Draw ``least`` of the vectors of each image, (N, least).

    Parameters
    ----------
    images, vectors, least : int
        N, K, and how many of the K are drawn.
    grids : pair of (rows, columns)
        Of the images at hand, and of those with fewer vectors; None where they are not known.
    rng : numpy.random.Generator

    Returns
    -------
    int64, shape (N, least)
        A window of the smaller grid at a random place of the larger one: neighbouring vectors are
        alike, so that vectors drawn from all over the image would hold more than those of the
        smaller image. Vectors at random where no such window fits. Without known grids they are
        taken to be square.
    """
    grid, window = (_grid(known, size) for known, size in zip(grids, (vectors, least), strict=True))
    if grid is None or window is None or window[0] > grid[0] or window[1] > grid[1]:
        order = np.argsort(rng.random((images, vectors)), axis=1)[:, :least]
        return np.asarray(np.sort(order, axis=1))
    rows, columns = (
        rng.integers(0, grid[axis] - window[axis] + 1, images)[:, np.newaxis, np.newaxis]
        for axis in (0, 1)
    )
    inside = np.arange(window[0])[:, np.newaxis] * grid[1] + np.arange(window[1])
    return np.asarray((rows * grid[1] + columns + inside).reshape(images, least))


def _grid(known: Sequence[int] | None, vectors: int) -> tuple[int, int] | None:
    if known is not None and len(known) == 2 and known[0] * known[1] == vectors:
        return int(known[0]), int(known[1])
    side = isqrt(vectors)
    return (side, side) if side * side == vectors else None


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
    return first == second and stranger(reference, other) is None


def stranger(reference: Activations, other: Activations) -> str | None:
    """Return the name of an image that is of another subject in the other set.

    None where there is none, or a set does not know subjects: equal names are then the same image.
    """
    if not all(SUBJECT in each.columns for each in (reference, other)):
        return None
    first, second = (
        dict(zip(_names(each, None), map(str, each.columns[SUBJECT]), strict=True))
        for each in (reference, other)
    )
    for name, subject in first.items():
        if subject and second.get(name) and second[name] != subject:
            return name
    return None


def _check_subjects(reference: Activations, other: Activations) -> None:
    name = stranger(reference, other)
    if name is not None:
        raise MismatchError(
            f"{other.where} against {reference.where}: asked to be paired, but {name!r} is of "
            "another subject in each; give --unpaired, or stores of the same images"
        )


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


def _units(numbers: Sequence[int], held: Int64 | None = None) -> Units:
    found = np.asarray(numbers, dtype=np.int64)
    order = np.argsort(found, kind="stable")
    _, first = np.unique(found[order], return_index=True)
    return Units(order, first.astype(np.int64), None if held is None else held[order])
