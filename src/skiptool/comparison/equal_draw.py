"""Which images and vectors a statistic of a whole layer looks at.

Relabelling units is exact only where units are exchangeable, and units of unequal size are not: the
covariance of an image of 9 vectors is noisier than that of one of 169. Where the sizes differ, the
test takes as many images of each unit and as many vectors of each image as the smallest offers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from skiptool.comparison.binned import Design
from skiptool.comparison.units import Units

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float64, Int64

__all__ = ["Sample", "are_equal", "equal_samples", "unit_of", "whole_sample"]

_ROWS = 256
"""Images whose vectors are drawn at once, which bounds memory."""

Shapes = tuple[tuple[int, int, int], tuple[int, int, int]]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """The images and vectors of one set that a statistic looks at.

    Attributes
    ----------
    unit : int64, shape (N,)
        Number of the unit of each image.
    weight : float64, shape (N,)
        Weight of each image within its unit, 0 where it is left out; the weights of a unit add up
        to 1, so that units weigh equally.
    vectors : int32, shape (N, k), or None
        Which vectors of each image; None for all of them.
    """

    unit: Int64
    weight: Float64
    vectors: AnyArray | None

    def of(self, block: AnyArray, rows: slice) -> AnyArray:
        """Return the chosen vectors (n', D, k) of the images of a block (n, D, K) that count."""
        used = np.flatnonzero(self.weight[rows] > 0)
        kept = block if len(used) == len(block) else block[used]
        if self.vectors is None:
            return kept
        chosen = self.vectors[rows][used].astype(np.int64)
        return np.asarray(np.take_along_axis(kept, chosen[:, np.newaxis], axis=2))

    def images(self, rows: slice) -> Int64:
        """Return the numbers of the images of a block that count."""
        return np.asarray(rows.start + np.flatnonzero(self.weight[rows] > 0))


def unit_of(units: Units) -> Int64:
    """Return the number of each image's unit, shape (N,)."""
    found = np.empty(len(units.order), dtype=np.int64)
    found[units.order] = np.repeat(np.arange(len(units)), _sizes(units))
    return found


def are_equal(design: Design, shapes: Shapes) -> bool:
    """Whether units are of one size: images a unit, and vectors an image.

    In paired sets only the two units of a pair change places, so that they alone need to be.
    """
    first, second = _sizes(design.reference), _sizes(design.other)
    if shapes[0][2] != shapes[1][2]:
        return False
    if design.paired:
        return bool((first == second).all())
    return len({*first.tolist(), *second.tolist()}) == 1


def whole_sample(units: Units) -> Sample:
    """Take everything; a unit's images share its weight equally."""
    unit = unit_of(units)
    return Sample(unit, 1.0 / _sizes(units)[unit], None)


def equal_samples(
    design: Design, shapes: Shapes, most: int | None, seed: int
) -> tuple[Sample, Sample]:
    """Draw as many images of each unit, and as many vectors of each image, in both sets.

    Parameters
    ----------
    design : Design
    shapes : pair of (N, D, K)
    most : int or None
        Vectors of an image at the most.
    seed : int

    Returns
    -------
    pair of Sample
        Each unit is represented by the least number of images of any unit (in paired sets: of the
        two units of the pair), each image by the least number of vectors of both sets.
    """
    sizes = [_sizes(design.reference), _sizes(design.other)]
    least = np.minimum(*sizes) if design.paired else min(int(each.min()) for each in sizes)
    vectors = min(shapes[0][2], shapes[1][2])
    vectors = vectors if most is None else min(vectors, most)
    rng = np.random.default_rng([seed, vectors])
    first, second = (
        _drawn(units, np.broadcast_to(least, len(units)), shape, vectors, rng)
        for units, shape in zip((design.reference, design.other), shapes, strict=True)
    )
    return first, second


def _drawn(
    units: Units,
    least: AnyArray,
    shape: tuple[int, int, int],
    vectors: int,
    rng: np.random.Generator,
) -> Sample:
    unit = unit_of(units)
    order = np.lexsort((rng.random(len(unit)), unit))
    rank = np.empty(len(unit), dtype=np.int64)
    rank[order] = np.arange(len(unit)) - units.first[unit[order]]
    weight = np.where(rank < least[unit], 1.0 / least[unit], 0.0)
    images, _, offered = shape
    if vectors == offered:
        return Sample(unit, weight, None)
    chosen = np.empty((images, vectors), dtype=np.int32)
    for start in range(0, images, _ROWS):
        size = min(_ROWS, images - start)
        order = np.argsort(rng.random((size, offered)), axis=1)
        chosen[start : start + size] = np.sort(order[:, :vectors], axis=1)
    return Sample(unit, weight, chosen)


def _sizes(units: Units) -> Int64:
    return np.diff([*units.first, len(units.order)])
