"""The covariance distance of a layer, and its null, from as many passes as memory asks for.

The second moments M_i of a unit are never kept. For each labelling the sum of w_i M_i is, w_i being
1 / n in the one set and -1 / m in the other, a few rows of the D x D matrices at a time: memory is
bounded whatever the number of units, and a store is read once for each part of the rows.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg.blas import dgemm

from skiptool.comparison.binned import Design
from skiptool.comparison.equal_draw import Sample, are_equal, equal_samples, whole_sample
from skiptool.comparison.sets import Activations, Settings
from skiptool.comparison.standardised import Scaled, Sets, row_blocks, scaled
from skiptool.distances.multivariate import CovarianceParts, relative_distance, row_parts
from skiptool.parallel import mapped

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Float64, Int64

__all__ = ["measure_covariance"]

_AT_ONCE = 16_000_000
"""Bytes of products of images that are added at once."""


def measure_covariance(
    sets: Sets, layer: str, constant: Bool, design: Design, settings: Settings
) -> tuple[float, Float64 | None]:
    """Measure the distance between the channel covariance matrices of two sets.

    Parameters
    ----------
    sets : pair of Activations
    layer : str
    constant : bool, shape (D,)
        Channels of one value over both sets, which count for nothing.
    design : Design
    settings : Settings

    Returns
    -------
    value : float
        See :mod:`skiptool.distances.multivariate`; of all vectors, units with equal weights.
        Channels are standardised by the mean and spread of both sets together.
    null : float64, shape (1 + R,), or None
        As labelled, then relabelled. Where units are of unequal size, of an equal draw from each
        (:mod:`skiptool.comparison.equal_draw`), so that its first is not the value.
    """
    sides = (design.reference, design.other)
    first, second = (whole_sample(*each) for each in zip(sides, map(len, sets), strict=True))
    whole = (first, second)
    equal = are_equal(design, sets, layer)
    labellings = design.labellings if equal else design.labellings[:1]
    null = _distances(sets, layer, whole, constant, labellings, settings)
    value = float(null[0])
    if not design.permutations:
        return value, None
    if not equal:
        drawn = equal_samples(design, sets, layer)
        null = _distances(sets, layer, drawn, constant, design.labellings, settings)
    return value, null


def _distances(
    sets: Sets,
    layer: str,
    samples: tuple[Sample, Sample],
    constant: Bool,
    labellings: AnyArray,
    settings: Settings,
) -> Float64:
    """Return the distance (L,) under each labelling."""
    units = [int(sample.unit.max()) + 1 for sample in samples]
    scale = scaled(sets, layer, samples, constant, settings.workers)
    chosen = np.zeros((len(labellings), sum(units)), dtype=np.bool_)
    np.put_along_axis(chosen, labellings.astype(np.int64), True, axis=1)
    share = units[0] / sum(units)
    weights = np.where(chosen, 1.0 / units[0], -1.0 / units[1])
    means = np.concatenate(
        [_unit_means(*each) for each in zip(samples, scale.means, units, strict=True)]
    )
    parts = CovarianceParts(
        *(np.where(chosen, weights, 0.0) @ means, np.where(chosen, 0.0, -weights) @ means, share)
    )
    apart, size = np.zeros((2, len(labellings)))
    for rows in row_parts(len(constant), len(labellings) + 1, settings.budget // 2):
        pooled, change = _moments(sets, layer, samples, scale, weights, rows, settings.workers)
        here = parts.of(rows, pooled, change)
        apart += here[0]
        size += here[1]
    return relative_distance(apart, size)


def _unit_means(sample: Sample, means: Float64, units: int) -> Float64:
    found = np.zeros((units, means.shape[1]))
    np.add.at(found, sample.unit, sample.weight[:, np.newaxis] * means)
    return found


def _moments(
    sets: Sets,
    layer: str,
    samples: tuple[Sample, Sample],
    scale: Scaled,
    weights: Float64,
    rows: slice,
    workers: int,
) -> tuple[Float64, Float64]:
    """Add up some rows of the second moments: over all units, and their weighted sums."""
    width = (rows.stop - rows.start, len(scale.mean) - rows.start)
    labellings, units = weights.shape
    ordered = np.concatenate([weights, np.full((1, units), 1.0 / units)])
    total = np.zeros((labellings + 1, width[0] * width[1]))
    first = 0
    for each, sample in zip(sets, samples, strict=True):
        pending: list[tuple[Float64, Float64]] = []
        function = partial(_chosen, each, layer, sample)
        for images, block in mapped(function, row_blocks(each, layer), workers):
            own = ordered[:, first + sample.unit[images]] * sample.weight[images]
            step = max(1, _AT_ONCE // (8 * max(width[0] * width[1], block[:1].size)))
            for start in range(0, len(images), step):
                few = slice(start, start + step)
                pending.append((own[:, few], _products(scale.of(block[few]), rows)))
                if sum(products.nbytes for _, products in pending) >= _AT_ONCE:
                    _add(total, pending)
        _add(total, pending)
        first += int(sample.unit.max()) + 1
    matrices = total.reshape(labellings + 1, *width)
    return matrices[-1], matrices[:-1]


def _chosen(
    activations: Activations, layer: str, sample: Sample, rows: slice
) -> tuple[Int64, AnyArray]:
    return sample.images(rows), sample.of(activations.read(layer, rows), rows)


def _products(block: Float64, part: slice) -> Float64:
    """Return some rows of the second moments of each image, (n, b * c) of (n, D, k)."""
    found = block[:, part] @ block[:, part.start :].transpose(0, 2, 1)
    return np.asarray(found.reshape(len(block), -1) / block.shape[2])


def _add(total: Float64, pending: list[tuple[Float64, Float64]]) -> None:
    """Add weights (L, n) times products (n, b * c) to the total, in place, and empty the list."""
    if pending:
        weights = np.concatenate([each for each, _ in pending], axis=1)
        products = np.concatenate([each for _, each in pending])
        # Of columns along memory, so that BLAS adds without a copy of the total.
        dgemm(1.0, products.T, weights.T, beta=1.0, c=total.T, overwrite_c=True)
        pending.clear()
