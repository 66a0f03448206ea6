"""Measures of a layer as a whole, which see what the distributions of single channels do not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.linalg.blas import dgemm

from skiptool.comparison.activations import Activations, Mapper, Settings, extents
from skiptool.comparison.layer import Design
from skiptool.comparison.results import ALPHA, HIGH, Measured
from skiptool.comparison.units import IMAGE, Draw, Units, drawn_vectors
from skiptool.distances.counting import constant_channels, joint_range
from skiptool.distances.multivariate import (
    CovarianceParts,
    paired_difference,
    relative_distance,
    row_parts,
)
from skiptool.errors import FormatError, MismatchError
from skiptool.names import LAYERWISE, Metric
from skiptool.parallel import mapped
from skiptool.stats.classifier import balanced_accuracy, folds_of
from skiptool.stats.jackknife import corrected, interval
from skiptool.stats.permutation import p_values

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Float64, Int64

__all__ = [
    "MOST_VECTORS",
    "Sample",
    "Scaled",
    "Sets",
    "are_equal",
    "check_layerwise",
    "check_paired",
    "equal_samples",
    "finite",
    "image_moments",
    "measure_classifier",
    "measure_covariance",
    "measure_layerwise",
    "measure_paired_difference",
    "row_blocks",
    "scaled",
    "unit_of",
    "whole_sample",
]

# -------------------------------------------------------------------------------------------------
# Which images and vectors a statistic of a whole layer looks at: everything, or the equal draw.
#
# Permuting units is exact only where units are exchangeable, and units of unequal size are not: the
# covariance of an image of 9 vectors is noisier than that of one of 169. Where sizes differ between
# the sets, the test is made on the same equal draw as that of the distances of channels, see
# `skiptool.comparison.units`.


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


# -------------------------------------------------------------------------------------------------
# Activations in units of the pooled spread of their channel, read block by block.


Sets = tuple[Activations, Activations]


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """What turns activations into z = (x - mean) * scale, the same in both sets.

    Attributes
    ----------
    mean, scale : float64, shape (D,)
        Pooled over both sets with equal weights of units, so that they do not depend on which unit
        is in which set. ``scale`` is 1 / standard deviation, 0 where a channel is constant.
    means : pair of float64, shapes (N, D), (N', D)
        Mean z of each image; 0 where an image is left out.
    """

    mean: Float64
    scale: Float64
    means: tuple[Float64, Float64]

    def of(self, block: AnyArray) -> Float64:
        """Return z of a block (n, D, k)."""
        centred = block.astype(np.float64) - self.mean[:, np.newaxis]
        return np.asarray(centred * self.scale[:, np.newaxis])


def scaled(
    sets: Sets, layer: str, samples: tuple[Sample, Sample], constant: Bool, workers: int
) -> Scaled:
    """Find mean and spread of each channel over both sets, every unit with the same weight."""
    found = [
        image_moments(each, layer, sample, workers)
        for each, sample in zip(sets, samples, strict=True)
    ]
    weights = [sample.weight for sample in samples]
    total = sum(float(each.sum()) for each in weights)
    mean = sum(w @ means for w, (means, _) in zip(weights, found, strict=True)) / total
    squares = sum(
        w @ (variances + np.square(means - mean))
        for w, (means, variances) in zip(weights, found, strict=True)
    )
    spread = np.sqrt(squares / total)
    live = ~constant & (spread > 0)
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=live)
    first, second = (
        np.where(sample.weight[:, np.newaxis] > 0, (means - mean) * scale, 0.0)
        for sample, (means, _) in zip(samples, found, strict=True)
    )
    return Scaled(np.asarray(mean), scale, (first, second))


def image_moments(
    activations: Activations, layer: str, sample: Sample, workers: int
) -> tuple[Float64, Float64]:
    """Return mean and variance (N, D) of each image and channel over its chosen vectors."""
    images, channels, _ = activations.shape(layer)
    means, variances = np.zeros((2, images, channels))
    function = partial(_read_moments, activations, layer, sample)
    for places, mean, variance in mapped(function, row_blocks(activations, layer), workers):
        means[places], variances[places] = mean, variance
    return means, variances


def _read_moments(
    activations: Activations, layer: str, sample: Sample, rows: slice
) -> tuple[AnyArray, Float64, Float64]:
    block = sample.of(finite(activations, layer, rows), rows).astype(np.float64)
    means = block.mean(axis=2)
    block -= means[:, :, np.newaxis]
    return sample.images(rows), means, np.einsum("ndk,ndk->nd", block, block) / block.shape[2]


def finite(activations: Activations, layer: str, rows: slice) -> AnyArray:
    """Read the activations (n, D, K) of some images.

    Raises
    ------
    FormatError
        If a value is not finite: says of which image and channel.
    """
    block = activations.read(layer, rows)
    known = np.isfinite(block)
    if not known.all():
        wrong = np.argwhere(~known)
        image, channel, vector = wrong[0].tolist()
        names = activations.columns.get("id")
        number = rows.start + image
        raise FormatError(
            f"{activations.where}: layer {layer}, image "
            f"{number if names is None else names[number]}, channel {channel}: activation "
            f"{block[image, channel, vector]:g} is not finite; extract the features again"
        )
    return block


def row_blocks(activations: Activations, layer: str) -> Iterator[slice]:
    """Yield the blocks of images that are best read at once."""
    step, images = activations.chunk(layer), len(activations)
    return (slice(start, min(start + step, images)) for start in range(0, images, step))


# -------------------------------------------------------------------------------------------------
# Accuracy of a linear classifier between two sets, and its null, from a draw of vectors.


MOST_VECTORS = 16
"""Vectors of an image that the classifier is given, drawn with the seed."""

_MOST = 20_000
"""Vectors of all images together, beyond which fewer are drawn of each."""


def measure_classifier(
    sets: Sets, layer: str, constant: Bool, design: Design, settings: Settings
) -> tuple[float, Float64 | None]:
    """Measure how well a linear classifier tells the vectors of two sets apart.

    Parameters
    ----------
    sets : pair of Activations
    layer : str
    constant : bool, shape (D,)
    design : Design
    settings : Settings

    Returns
    -------
    value : float
        Balanced accuracy, see :func:`skiptool.stats.classifier.balanced_accuracy`, by five folds
        of units: both units of a pair, and what two sets of one dataset have in common, are in
        one fold. 0.5 is chance; below it is chance as well.
    null : float64, shape (1 + R,), or None
        As labelled, then relabelled, on the same vectors and folds.

    Notes
    -----
    At most :data:`MOST_VECTORS` vectors of each image are drawn with the seed, and fewer where the
    images are so many that 20,000 vectors would be exceeded; images are those of the equal draw.
    """
    images = len(sets[0]) + len(sets[1])
    most = max(1, min(MOST_VECTORS, _MOST // images))
    samples = equal_samples(design, sets, layer, most)
    scale = scaled(sets, layer, samples, constant, settings.workers)
    vectors = _gathered(sets, layer, samples, scale, design, settings.workers)
    rng = np.random.default_rng([settings.seed, 0])
    folds = folds_of(_groups(sets, design), rng)
    labellings = design.labellings.astype(np.int64)
    chosen = np.zeros((len(labellings), len(folds)), dtype=np.bool_)
    np.put_along_axis(chosen, labellings, True, axis=1)
    null = balanced_accuracy(vectors, folds, chosen)
    return float(null[0]), null if design.permutations else None


def _groups(sets: Sets, design: Design) -> Int64:
    """Return a number for each unit; units of one number (pairs, subjects) share a fold."""
    n, m = len(design.reference), len(design.other)
    if design.paired:
        return np.concatenate([np.arange(n), np.arange(m)])
    same = sets[0].dataset_id is not None and sets[0].dataset_id == sets[1].dataset_id
    column = design.unit if design.unit != IMAGE else ("id" if same else None)
    if column is None or any(column not in each.columns for each in sets):
        return np.arange(n + m)
    known: dict[str, int] = {}
    numbers = [
        known.setdefault(str(each.columns[column][units.order[place]]), len(known))
        for each, units in zip(sets, (design.reference, design.other), strict=True)
        for place in units.first
    ]
    return np.array(numbers, dtype=np.int64)


def _gathered(
    sets: Sets,
    layer: str,
    samples: tuple[Sample, Sample],
    scale: Scaled,
    design: Design,
    workers: int,
) -> AnyArray:
    """Return the vectors (U, q, D) of the units of both sets, float32.

    A unit of fewer vectors than others is filled up with its own again.
    """
    first: list[AnyArray] = []
    for each, sample, units in zip(sets, samples, (design.reference, design.other), strict=True):
        found: list[list[AnyArray]] = [[] for _ in range(len(units))]
        function = partial(_chosen, each, layer, sample)
        for images, block in mapped(function, row_blocks(each, layer), workers):
            rows = scale.of(block).transpose(0, 2, 1).astype(np.float32)
            for image, own in zip(images.tolist(), rows, strict=True):
                found[int(sample.unit[image])].append(own)
        first += [np.concatenate(own) for own in found]
    most = max(map(len, first))
    return np.stack([own[np.arange(most) % len(own)] for own in first])


def _chosen(
    activations: Activations, layer: str, sample: Sample, rows: slice
) -> tuple[Int64, AnyArray]:
    return sample.images(rows), sample.of(activations.read(layer, rows), rows)


# -------------------------------------------------------------------------------------------------
# The covariance distance of a layer, and its null, from as many passes as memory asks for.
#
# The second moments M_i of a unit are never kept. For each labelling the sum of w_i M_i is, w_i
# being
# 1 / n in the one set and -1 / m in the other, a few rows of the D x D matrices at a time: memory
# is
# bounded whatever the number of units, and a store is read once for each part of the rows.


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
        (:mod:`skiptool.comparison.layerwise`), so that its first is not the value.
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


# -------------------------------------------------------------------------------------------------
# The difference between each image and its shifted self, layer by layer, from one pass.


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


_NULLS: Final = {Metric.COVARIANCE: measure_covariance, Metric.CLASSIFIER: measure_classifier}


def check_layerwise(sets: Sets, design: Design, settings: Settings) -> None:
    """Refuse, before anything is read, what a measure asked for cannot be computed of.

    Raises
    ------
    MismatchError
        If ``paired-difference`` is asked for of sets that are not paired image by image.
    """
    if Metric.PAIRED_DIFFERENCE in settings.metrics:
        check_paired(sets, design)


def measure_layerwise(
    sets: Sets,
    layer: str,
    design: Design,
    settings: Settings,
    mapper: Mapper,
    measured: Sequence[Measured] = (),
) -> list[Measured]:
    """Measure what is asked for of :data:`skiptool.names.LAYERWISE`.

    Parameters
    ----------
    sets : pair of Activations
    layer : str
    design : Design
    settings : Settings
    mapper : Mapper
        Spreads a pass over all values, where no other metric has found the constant channels.
    measured : sequence of Measured
        What is known of the layer by other metrics.

    Raises
    ------
    FormatError
        If an activation is not finite.
    """
    metrics = [metric for metric in settings.metrics if metric in LAYERWISE]
    if not metrics:
        return []
    if measured:
        constant = measured[0].constant
    else:
        bounds = [extents(each, layer, mapper) for each in sets]
        constant = constant_channels(joint_range(*bounds))
    return [_measured(metric, sets, layer, constant, design, settings) for metric in metrics]


def _measured(
    metric: Metric, sets: Sets, layer: str, constant: Bool, design: Design, settings: Settings
) -> Measured:
    null: Float64 | None = None
    if metric is Metric.PAIRED_DIFFERENCE:
        mean, _ = measure_paired_difference(sets, layer, constant, design, settings.workers)
    else:
        value, null = _NULLS[metric](sets, layer, constant, design, settings)
        mean = {"value": value}
    if null is not None:
        mean |= {
            "null_mean": float(null[1:].mean()),
            "null_high": float(np.quantile(null[1:], HIGH)),
            "tested": float(null[0]),
            "p_value": math.nan if design.least_p > ALPHA else float(p_values(null[0], null[1:])),
        }
    index = sets[0].layers.index(layer)
    return Measured(layer, index, metric, None, None, constant, {}, mean, null)
