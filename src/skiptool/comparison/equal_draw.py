"""Which images and vectors a statistic of a whole layer looks at: everything, or the equal draw.

Permuting units is exact only where units are exchangeable, and units of unequal size are not: the
covariance of an image of 9 vectors is noisier than that of one of 169. Where sizes differ between
the sets, the test is made on the same equal draw as that of the distances of channels, see
`skiptool.comparison.units`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from skiptool.comparison.binned import Design
from skiptool.comparison.sets import Activations
from skiptool.comparison.units import Draw, Units, drawn_vectors

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float64, Int64

__all__ = ["Sample", "are_equal", "equal_samples", "unit_of", "whole_sample"]

Sets = tuple[Activations, Activations]


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


def unit_of(units: Units, images: int) -> Int64:
    """Return the number of each image's unit, shape (N,); 0 for those that were not drawn."""
    found = np.zeros(images, dtype=np.int64)
    found[units.order] = np.repeat(np.arange(len(units)), units.sizes)
    return found


def are_equal(design: Design, sets: Sets, layer: str) -> bool:
    """Whether everything can be tested, as no equal draw is needed."""
    return design.draw is None and sets[0].shape(layer)[2] == sets[1].shape(layer)[2]


def whole_sample(units: Units, images: int) -> Sample:
    """Take all images of some units, each unit with the same weight."""
    unit = unit_of(units, images)
    weight = np.zeros(images)
    weight[units.order] = 1.0 / units.sizes[unit[units.order]]
    return Sample(unit, weight, None)


def equal_samples(
    design: Design, sets: Sets, layer: str, most: int | None = None
) -> tuple[Sample, Sample]:
    """Return the images of the equal draw and as many vectors of each image in both sets.

    Parameters
    ----------
    design : Design
    sets : pair of Activations
    layer : str
    most : int, optional
        Vectors of an image at the most; of those of the equal draw some are drawn at random.

    Returns
    -------
    pair of Sample
        All images where the units of both sets are of the same sizes.
    """
    draw = design.draw or Draw(design.reference, design.other)
    least = min(each.shape(layer)[2] for each in sets)
    found = []
    for own, other, units in zip(sets, sets[::-1], (draw.reference, draw.other), strict=True):
        images, _, vectors = own.shape(layer)
        chosen = None
        if vectors > least:
            rng = np.random.default_rng([design.seed, vectors, least])
            chosen = drawn_vectors(images, vectors, least, (own.grid, other.grid), rng)
        if most is not None and most < least:
            rng = np.random.default_rng([design.seed, vectors, most])
            order = np.argsort(rng.random((images, least)), axis=1)[:, :most]
            chosen = order if chosen is None else np.take_along_axis(chosen, order, axis=1)
        whole = whole_sample(units, images)
        found.append(Sample(whole.unit, whole.weight, chosen))
    return found[0], found[1]
