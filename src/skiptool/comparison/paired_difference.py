"""The difference between each image and its shifted self, layer by layer, from one pass."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from skiptool.comparison.binned import Design
from skiptool.comparison.equal_draw import unit_of
from skiptool.comparison.sets import Activations
from skiptool.comparison.standardised import Sets, finite, row_blocks
from skiptool.distances.multivariate import paired_difference
from skiptool.errors import MismatchError
from skiptool.parallel import mapped
from skiptool.stats.jackknife import corrected, interval

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Float64, Int64

__all__ = ["check_paired", "measure_paired_difference"]


def check_paired(sets: Sets, design: Design) -> None:
    """Refuse sets whose images cannot be compared one with one.

    Raises
    ------
    MismatchError
        If the sets are not paired, an image has no partner, or the grids differ.
    """
    where = f"{sets[1].where} against {sets[0].where}"
    if not design.paired:
        raise MismatchError(
            f"{where}: paired-difference compares each image with its own shifted version, but "
            "the sets are not paired; drop this metric, or give stores of the same images"
        )
    _partners(sets, design)
    for layer in (name for name in sets[0].layers if name in sets[1].layers):
        vectors = [each.shape(layer)[2] for each in sets]
        if vectors[0] != vectors[1]:
            raise MismatchError(
                f"{where}: layer {layer} has {vectors[1]} vectors an image, the reference "
                f"{vectors[0]}; paired-difference compares position with position"
            )


def measure_paired_difference(
    sets: Sets, layer: str, constant: Bool, design: Design, workers: int
) -> tuple[dict[str, float], Float64]:
    """Measure how far the activations of each image move, relative to their spread.

    Parameters
    ----------
    sets : pair of Activations
    layer : str
    constant : bool, shape (D,)
        Channels of one value over both sets, which count for nothing.
    design : Design
        Paired.
    workers : int

    Returns
    -------
    mean : dict of str to float
        ``value`` (:func:`skiptool.distances.multivariate.paired_difference`), ``corrected``,
        ``ci_low`` and ``ci_high``: jackknife over pairs of units. There is no null: |x - x*| is
        the same whichever of the two is called the reference.
    replicates : float64, shape (U,)
        The corrected value without each pair.
    """
    partners = _partners(sets, design)
    images, channels, _ = sets[0].shape(layer)
    found = np.zeros((3, images, channels))
    function = partial(_moved, sets, layer, partners)
    for rows, parts in mapped(function, row_blocks(sets[0], layer), workers):
        found[:, rows] = parts
    centre = found[1].mean(axis=0)
    squares = found[2] + np.square(found[1] - centre)
    live = ~constant
    units = [
        design.reference.averaged(each)[:, live] for each in (found[0], found[1] - centre, squares)
    ]
    value, without = paired_difference(units[0], units[1], units[2])
    estimate, (replicates,) = corrected(np.array([value]), (without[np.newaxis],))
    low, high = interval(estimate, (replicates,))
    columns = {"value": value, "corrected": estimate[0], "ci_low": low[0], "ci_high": high[0]}
    mean = {name: float(np.maximum(each, 0.0)) for name, each in columns.items()}
    return mean, replicates[0]


def _partners(sets: Sets, design: Design) -> Int64:
    """Return the image of the other set that belongs to each of the reference's, by id or order."""
    ids = [each.columns.get("id") for each in sets]
    if ids[0] is not None and ids[1] is not None:
        place = {str(name): number for number, name in enumerate(ids[1])}
        if len(place) == len(ids[1]) == len(ids[0]) and all(str(name) in place for name in ids[0]):
            return np.array([place[str(name)] for name in ids[0]], dtype=np.int64)
    sides = (design.reference, design.other)
    first, second = (unit_of(*each) for each in zip(sides, map(len, sets), strict=True))
    if len(first) != len(second) or (np.sort(first) != np.sort(second)).any():
        raise MismatchError(
            f"{sets[1].where} against {sets[0].where}: paired-difference compares image with "
            "image, but some units have other numbers of images, and no ids tell which belong "
            "together; drop this metric, or give stores of the same images"
        )
    found = np.empty(len(first), dtype=np.int64)
    found[design.reference.order] = design.other.order
    return found


def _moved(sets: Sets, layer: str, partners: Int64, rows: slice) -> tuple[slice, AnyArray]:
    """Return (3, n, D) of some images: mean |x - x*|, mean and variance of both together."""
    own = finite(sets[0], layer, rows).astype(np.float64)
    other = _read(sets[1], layer, partners[rows]).astype(np.float64)
    apart = np.abs(own - other).mean(axis=2)
    one, two = own.mean(axis=2), other.mean(axis=2)
    own -= one[:, :, np.newaxis]
    other -= two[:, :, np.newaxis]
    within = sum(np.einsum("ndk,ndk->nd", each, each) for each in (own, other)) / own.shape[2] / 2
    return rows, np.stack([apart, (one + two) / 2, within + np.square(one - two) / 4])


def _read(activations: Activations, layer: str, images: Int64) -> AnyArray:
    """Read images of any order: runs of neighbours at once."""
    return np.concatenate([finite(activations, layer, rows) for rows in _runs(images)])


def _runs(images: Int64) -> Iterator[slice]:
    start = 0
    for place in range(1, len(images) + 1):
        if place == len(images) or images[place] != images[place - 1] + 1:
            yield slice(int(images[start]), int(images[place - 1]) + 1)
            start = place
