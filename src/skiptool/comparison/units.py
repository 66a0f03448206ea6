"""Statistical units: images, or groups of them such as subjects, and how two sets are paired.

A unit is what was sampled independently. With several images per subject the subject is the unit:
slices of one heart resemble each other on any scanner, and treating them as independent
makes every difference significant.

Units weigh equally, however many images or vectors they hold. The permutation test needs more: only
units of equally many values are exchangeable, since fewer values make a noisier distribution. If
sizes differ between the sets, the test therefore uses an equal draw: images are drawn from the
units so that both sets have the same distribution of unit sizes, and vectors are drawn from images
that have more of them. There is one draw, set by the seed. The mean over several draws is not
exchangeable either, because units with more to draw from become smoother: with 60 images of
169 vectors against 12 of 9 its false alarm rate was 10 to 18 % instead of 5 %.

Stored counts may be of several images together; such a row, a block of images, then takes the
place of an image. Neither vectors nor images can be drawn from a row, so the equal draw consists of
rows that hold equally many images; if the two sets have no such rows there is no test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, isqrt
from typing import TYPE_CHECKING, Final

import numpy as np

from skiptool.comparison.activations import Activations, Settings, vectors_per_image
from skiptool.errors import ArgumentError, MismatchError, suggestion

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Int64

IMAGE: Final = "image"
"""Value of the option that selects images as units."""

BLOCK: Final = "block"
"""Unit instead of an image if a row of counts holds several images."""

SUBJECT: Final = "subject"
"""Column of the units by default, if its values repeat."""

_TOTAL: Final = 1 << 26
"""Approximate total that counts of units of unequal size are scaled to."""


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """Statistical units and their images.

    Attributes
    ----------
    order : int64, shape (N,)
        Images sorted by unit; in an equal draw, the drawn ones only.
    first : int64, shape (U,)
        Position of the first image of each unit in ``order``.
    row_images : int64, shape (N,), or None
        Number of images in each row of ``order`` if rows are counts of several images, else None.
    """

    order: Int64
    first: Int64
    row_images: Int64 | None = None

    def __len__(self) -> int:
        return len(self.first)

    @property
    def sizes(self) -> Int64:
        """Images, or rows of counts, of each unit, (U,)."""
        return np.diff(np.append(self.first, len(self.order)))

    @property
    def images(self) -> Int64:
        """Images of each unit, (U,)."""
        if self.row_images is None:
            return self.sizes
        return np.asarray(np.add.reduceat(self.row_images, self.first))

    @property
    def equal(self) -> bool:
        """True if all units have equally many images."""
        return bool(np.ptp(self.images) == 0)

    def sum_counts(self, counts: AnyArray, *, scaled: bool | None = None) -> AnyArray:
        """Sum counts (N, D, B) of images to counts (U, D, B) of units that weigh equally.

        Counts of units of unequal size are scaled by whole numbers to nearly the same total (to
        within one part in 1,000 for units of up to 65,536 values). ``scaled`` decides this
        regardless of the sizes: units of two sets weigh equally when added to each other only if
        both sets are scaled or neither is.
        """
        single = len(self) == len(self.order)
        if single and len(self.order) == len(counts) and (self.order == np.arange(len(self))).all():
            sums = counts
        elif single:
            sums = np.asarray(counts[self.order])
        else:
            sums = np.add.reduceat(counts[self.order], self.first, axis=0, dtype=np.uint32)
        if scaled is None:
            scaled = not self.equal
        if scaled:
            totals = sums[:, 0].sum(axis=-1, dtype=np.int64)
            factors = np.maximum(_TOTAL // totals, 1).astype(np.uint32)
            sums = sums * factors[:, np.newaxis, np.newaxis]
        return np.asarray(sums)

    def average(self, means: AnyArray) -> AnyArray:
        """Average values (N, D) of images over each unit's images, (U, D)."""
        sums = np.add.reduceat(means[self.order], self.first, axis=0)
        return np.asarray(sums / self.sizes[:, np.newaxis])


@dataclass(frozen=True, slots=True, eq=False)
class EqualDraw:
    """A draw of images that makes the units of both sets exchangeable."""

    reference: Units
    other: Units


# Units of two sets, and their pairing


def paired_units(
    reference: Activations, other: Activations, settings: Settings
) -> tuple[Units, Units, bool]:
    """Determine the units of two sets and whether they come in pairs.

    Sets are paired if both are of one dataset and hold the same images, of the same subjects if
    both name them; units of the same index then have the same name.
    """
    group = unit_column(reference, other, settings)
    names = [_unit_names(activations, group) for activations in (reference, other)]
    paired = _same_images(reference, other) if settings.paired is None else settings.paired
    if paired:
        _check_pairs(names, reference, other, group)
    units = []
    for activations, own in zip((reference, other), names, strict=True):
        distinct = dict.fromkeys(names[0] if paired else own)
        indices = {name: index for index, name in enumerate(distinct)}
        unit = np.asarray([indices[name] for name in own], dtype=np.int64)
        order = np.argsort(unit, kind="stable")
        _, first = np.unique(unit[order], return_index=True)
        images = images_per_row(activations)
        row_images = None if images is None else images[order]
        units.append(Units(order, first.astype(np.int64), row_images))
    return units[0], units[1], paired


def unit_column(reference: Activations, other: Activations, settings: Settings) -> str | None:
    """Return the column whose values are the units; None if images are.

    By default ``subject`` if both sets have it and its values repeat in either.
    """
    if settings.group is not None:
        return None if settings.group == IMAGE else settings.group
    sets = (reference, other)
    named = all(SUBJECT in activations.columns for activations in sets)
    return SUBJECT if named and any(map(subjects_repeat, sets)) else None


def subjects_repeat(activations: Activations) -> bool:
    """Return whether there are several images of a subject, and no unknown subject."""
    subjects = [str(value) for value in activations.columns.get(SUBJECT, ())]
    return 0 < len(set(subjects)) < len(subjects) and all(subjects)


def images_per_row(activations: Activations) -> Int64 | None:
    """Return the number of images in each row, (N,); None if every row is one image."""
    layout = activations.count_layout(activations.layers[0])
    return None if layout is None or (layout.images == 1).all() else layout.images


def mismatched_subject(reference: Activations, other: Activations) -> str | None:
    """Return the name of an image whose subjects in the two sets differ, if there is one.

    None also if a set has no subjects: images of the same name are then taken to be the same.
    """
    sets = (reference, other)
    if not all(SUBJECT in activations.columns for activations in sets):
        return None
    first, second = (
        dict(zip(_unit_names(own, None), map(str, own.columns[SUBJECT]), strict=True))
        for own in sets
    )
    for name, subject in first.items():
        if subject and second.get(name) and second[name] != subject:
            return name
    return None


def _unit_names(activations: Activations, group: str | None) -> list[str]:
    """Return the name of each image's unit; images without unique ids are numbered."""
    columns = activations.columns
    if group is not None:
        if group not in columns:
            raise ArgumentError(
                f"{activations.where}: has no column {group!r} to group images by, it has "
                f"{', '.join(columns) or 'none'}{suggestion(group, columns)}"
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
    first, second = (sorted(_unit_names(own, None)) for own in (reference, other))
    return first == second and mismatched_subject(reference, other) is None


def _check_pairs(
    names: Sequence[Sequence[str]], reference: Activations, other: Activations, group: str | None
) -> None:
    where = f"{other.where} against {reference.where}: --paired was requested, but"
    remedy = "give --unpaired, or stores of the same images"
    first, second = map(set, names)
    if first != second:
        alone = sorted(first ^ second)
        raise MismatchError(
            f"{where} {len(alone)} of {len(first | second)} units are in one store only "
            f"({', '.join(alone[:3])}{', ...' if len(alone) > 3 else ''}); {remedy}"
        )
    name = mismatched_subject(reference, other) if group is None else None
    if name is not None:
        raise MismatchError(f"{where} {name!r} is of different subjects in the two; {remedy}")


# Exchangeable units


def smallest_p_value(reference: int, other: int, *, paired: bool) -> float:
    """Return the smallest p-value possible with these numbers of units.

    Swapping the two sets as a whole does not change a distance, so for sets of equal size at least
    two relabellings reach it.

    Examples
    --------
    >>> smallest_p_value(3, 3, paired=False), smallest_p_value(5, 5, paired=True)
    (0.1, 0.0625)
    """
    ways = 2**reference if paired else comb(reference + other, reference)
    return min(1.0, (2 if paired or reference == other else 1) / ways)


def exchangeable_rows(reference: Units, other: Units, *, paired: bool) -> EqualDraw | None:
    """Select rows of several images that an equal draw can be made from.

    All units if both sets have the same distribution of images over them, or if every row is one
    image; otherwise the rows that hold the most images. None if that number differs between the
    sets, or no pair has such rows: there can be no test.
    """
    units = (reference, other)
    if reference.row_images is None and other.row_images is None:
        return EqualDraw(*units)
    if _equal_sizes(reference.images, other.images, paired=paired) is None:
        return EqualDraw(*units)
    images = [np.ones_like(u.order) if u.row_images is None else u.row_images for u in units]
    if images[0].max() != images[1].max():
        return None
    rows = [np.flatnonzero(own == own.max()) for own in images]
    indices = [np.repeat(np.arange(len(own)), own.sizes) for own in units]
    if paired:
        shared = np.intersect1d(indices[0][rows[0]], indices[1][rows[1]])
        rows = [own[np.isin(unit[own], shared)] for own, unit in zip(rows, indices, strict=True)]
        if not len(shared):
            return None
    first, second = (
        Units(own.order[chosen], np.unique(unit[chosen], return_index=True)[1], counts[chosen])
        for own, chosen, unit, counts in zip(units, rows, indices, images, strict=True)
    )
    return EqualDraw(first, second)


def equal_draw(
    reference: Units, other: Units, *, paired: bool, rng: np.random.Generator
) -> EqualDraw | None:
    """Draw images so that both sets have the same distribution of unit sizes.

    Both units of a pair are drawn to the smaller size of the two. Otherwise the sorted sizes of
    each set are lowered to the quantiles of the other set's if those are smaller. None if nothing
    needs to be drawn. Rows of several images are those of :func:`exchangeable_rows`.
    """
    sizes = _equal_sizes(reference.images, other.images, paired=paired)
    if sizes is None:
        return None
    return EqualDraw(_draw(reference, sizes[0], rng), _draw(other, sizes[1], rng))


def _equal_sizes(first: Int64, second: Int64, *, paired: bool) -> tuple[Int64, Int64] | None:
    """Return the number of images that an equal draw takes from each unit; None if all of them."""
    if paired:
        lower = np.minimum(first, second)
        sizes = (lower, lower)
    else:
        sizes = (_lower(first, second), _lower(second, first))
    unchanged = (sizes[0] == first).all() and (sizes[1] == second).all()
    return None if unchanged else sizes


def _lower(sizes: Int64, others: Int64) -> Int64:
    """Lower each size to the quantile of the other sizes at its rank."""
    rank = np.argsort(np.argsort(sizes, kind="stable"), kind="stable")
    position = ((rank + 0.5) / len(sizes) * len(others)).astype(np.int64)
    return np.asarray(np.minimum(sizes, np.sort(others)[np.minimum(position, len(others) - 1)]))


def _draw(units: Units, images: Int64, rng: np.random.Generator) -> Units:
    """Draw images (or rows of equally many images) from each unit, without replacement."""
    sizes = images if units.row_images is None else images // units.row_images[0]
    ends = np.append(units.first, len(units.order))
    parts = [
        np.sort(rng.permutation(units.order[start:stop])[:size])
        for start, stop, size in zip(ends[:-1], ends[1:], sizes, strict=True)
    ]
    return Units(np.concatenate(parts), np.append(0, np.cumsum(sizes)[:-1]).astype(np.int64))


def draw_vectors(
    images: int,
    vectors: int,
    least: int,
    grids: tuple[Sequence[int] | None, Sequence[int] | None],
    rng: np.random.Generator,
) -> Int64:
    """Draw ``least`` of the ``vectors`` (K) of each image, (N, least).

    The result is a window of the smaller grid at a random position in the larger one: neighbouring
    vectors are alike, so vectors drawn from all over the image would hold more information than
    those of the smaller image. If no such window fits, vectors are drawn at random. ``grids``
    (rows, columns) are those of these images, and of those with fewer vectors; square if None.
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


def permutable_units(
    sets: tuple[Activations, Activations], units: tuple[Units, Units], *, paired: bool
) -> tuple[EqualDraw | None, tuple[str, ...]]:
    """Return the units that can be permuted, and warnings about them.

    Rows that hold fewer images than others are left out; None if counts allow no test.
    """
    if all(activations.count_layout(activations.layers[0]) is None for activations in sets):
        return EqualDraw(*units), ()
    for layer in (name for name in sets[0].layers if name in sets[1].layers):
        vectors = [vectors_per_image(activations, layer) for activations in sets]
        if vectors[0] != vectors[1]:
            return None, (
                f"no p-value: images of {vectors[0]} and {vectors[1]} vectors are compared, and no "
                "equal draw can be made from counts (extract both with one --grid)",
            )
    draw = exchangeable_rows(*units, paired=paired)
    if draw is None:
        most = [1 if own.row_images is None else int(own.row_images.max()) for own in units]
        return None, (
            f"no p-value: counts are of {most[0]} and {most[1]} images together, and no equal draw "
            "can be made from them (extract both with one --pool-images)",
        )
    rows = sum(len(own.order) for own in units)
    left = rows - len(draw.reference.order) - len(draw.other.order)
    if not left:
        return draw, ()
    return draw, (
        f"the test leaves out {left} of {rows} blocks, as they hold fewer images than the others",
    )
