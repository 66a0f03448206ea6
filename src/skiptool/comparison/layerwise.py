"""Measures of a layer as a whole, which see what the distributions of single channels do not.

``covariance``, the distance between the channel covariance matrices of two sets; ``classifier``,
the accuracy of a linear classifier that tells them apart; and ``paired-difference``, how far the
activations of each image move.

Permuting units is exact only if they are exchangeable, and units of unequal size are not: the
covariance of an image of 9 vectors is noisier than that of one of 169. If sizes differ between the
sets, the test uses the same equal draw as the distances of channels, see
`skiptool.comparison.units`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.linalg.blas import dgemm

from skiptool.comparison.activations import Activations, Settings, extents, read_finite, row_blocks
from skiptool.comparison.layer import Design, PairComparison
from skiptool.comparison.results import ALPHA, HIGH, Measured
from skiptool.comparison.units import IMAGE, Units, draw_vectors
from skiptool.distances.bins import constant_channels, joint_range
from skiptool.distances.multivariate import (
    CovarianceParts,
    paired_difference,
    relative_distance,
    row_parts,
)
from skiptool.errors import MismatchError
from skiptool.names import LAYERWISE, Metric
from skiptool.parallel import ordered_map
from skiptool.stats.classifier import balanced_accuracy, folds_of
from skiptool.stats.jackknife import bias_corrected, interval
from skiptool.stats.permutation import p_values

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Float64, Int64

Sets = tuple[Activations, Activations]

MOST_VECTORS: Final = 16
"""Most vectors of an image that the classifier is given."""

_MOST_ALTOGETHER: Final = 20_000
"""Vectors of all images together, beyond which fewer are drawn of each."""

_AT_ONCE: Final = 16_000_000
"""Bytes of second moments of images that are added at once."""


def check_layerwise(sets: Sets, design: Design, settings: Settings) -> None:
    """Check, before anything is read, that the measures requested can be computed.

    Raises
    ------
    MismatchError
        If ``paired-difference`` is requested and the sets are not paired, an image has no partner,
        or the grids differ.
    """
    if Metric.PAIRED_DIFFERENCE not in settings.metrics:
        return
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
                f"{where}: layer {layer} has {vectors[1]} vectors per image, the reference "
                f"{vectors[0]}; paired-difference compares position with position"
            )


def measure_layerwise(
    pair: PairComparison, layer: str, measured: Sequence[Measured] = ()
) -> list[Measured]:
    """Measure those of :data:`skiptool.names.LAYERWISE` that are requested.

    ``measured`` are results of the layer by other metrics, which know the constant channels;
    without any, these are found in a pass over all values.
    """
    sets, design, settings = pair.sets, pair.design, pair.settings
    metrics = [metric for metric in settings.metrics if metric in LAYERWISE]
    if not metrics:
        return []
    if measured:
        constant = measured[0].constant
    else:
        constant = constant_channels(joint_range(*(extents(s, layer, pair.mapper) for s in sets)))
    index, results = sets[0].layers.index(layer), []
    for metric in metrics:
        null: Float64 | None = None
        if metric is Metric.PAIRED_DIFFERENCE:
            mean = measure_paired_difference(sets, layer, constant, design, settings.workers)
        else:
            measure = measure_covariance if metric is Metric.COVARIANCE else measure_classifier
            value, null = measure(sets, layer, constant, design, settings)
            mean = {"value": value}
        if null is not None:
            tested, relabelled = null[0], null[1:]
            p_value = math.nan if design.least_p > ALPHA else float(p_values(tested, relabelled))
            mean |= {
                "null_mean": float(relabelled.mean()),
                "null_high": float(np.quantile(relabelled, HIGH)),
                "tested": float(tested),
                "p_value": p_value,
            }
        results.append(Measured(layer, index, metric, None, None, constant, {}, mean, null))
    return results


# Samples: all images and vectors, or the equal draw


@dataclass(frozen=True, slots=True, eq=False)
class VectorSample:
    """The images and vectors of one set that a statistic uses.

    Attributes
    ----------
    unit : int64, shape (N,)
        Number of the unit of each image.
    weight : float64, shape (N,)
        Weight of each image within its unit, 0 if it is left out; the weights of a unit add up
        to 1, so that units weigh equally.
    vectors : int32, shape (N, k), or None
        Which vectors of each image; None for all of them.
    """

    unit: Int64
    weight: Float64
    vectors: AnyArray | None

    def images(self, rows: slice) -> Int64:
        """Return the numbers (n',) of the images of a block that are used."""
        return np.asarray(rows.start + np.flatnonzero(self.weight[rows] > 0))

    def of(self, block: AnyArray, rows: slice) -> AnyArray:
        """Return the sampled vectors (n', D, k) of a block (n, D, K)."""
        used = np.flatnonzero(self.weight[rows] > 0)
        block = block if len(used) == len(block) else block[used]
        if self.vectors is None:
            return block
        chosen = self.vectors[rows][used].astype(np.int64)
        return np.asarray(np.take_along_axis(block, chosen[:, np.newaxis], axis=2))

    def blocks(
        self, activations: Activations, layer: str, workers: int
    ) -> Iterator[tuple[Int64, AnyArray]]:
        """Yield the numbers of images and their sampled vectors, block by block."""

        def read(rows: slice) -> tuple[Int64, AnyArray]:
            return self.images(rows), self.of(activations.read(layer, rows), rows)

        return ordered_map(read, row_blocks(activations, layer), workers)


def unit_numbers(units: Units, images: int) -> Int64:
    """Return the number of each image's unit, shape (N,); 0 for those that were not drawn."""
    numbers = np.zeros(images, dtype=np.int64)
    numbers[units.order] = np.repeat(np.arange(len(units)), units.sizes)
    return numbers


def is_exchangeable(design: Design, sets: Sets, layer: str) -> bool:
    """Return whether everything can be tested without an equal draw."""
    return design.draw is None and sets[0].shape(layer)[2] == sets[1].shape(layer)[2]


def whole_sample(units: Units, images: int) -> VectorSample:
    """Sample all images of some units, each unit with the same weight."""
    unit = unit_numbers(units, images)
    weight = np.zeros(images)
    weight[units.order] = 1.0 / units.sizes[unit[units.order]]
    return VectorSample(unit, weight, None)


def equal_samples(
    design: Design, sets: Sets, layer: str, most: int | None = None
) -> tuple[VectorSample, VectorSample]:
    """Sample the images of the equal draw, and as many vectors of each image in both sets.

    ``most`` is the largest number of vectors of an image; beyond it, some are drawn at random.
    """
    units_of_sets = (design.tested.reference, design.tested.other)
    least = min(each.shape(layer)[2] for each in sets)
    samples = []
    for own, other, units in zip(sets, sets[::-1], units_of_sets, strict=True):
        images, _, vectors = own.shape(layer)
        chosen = None
        if vectors > least:
            rng = np.random.default_rng([design.seed, vectors, least])
            chosen = draw_vectors(images, vectors, least, (own.grid, other.grid), rng)
        if most is not None and most < least:
            rng = np.random.default_rng([design.seed, vectors, most])
            order = np.argsort(rng.random((images, least)), axis=1)[:, :most]
            chosen = order if chosen is None else np.take_along_axis(chosen, order, axis=1)
        whole = whole_sample(units, images)
        samples.append(VectorSample(whole.unit, whole.weight, chosen))
    return samples[0], samples[1]


@dataclass(frozen=True, slots=True, eq=False)
class Standardisation:
    """Transforms activations to z = (x - mean) * scale, the same in both sets.

    Attributes
    ----------
    mean, scale : float64, shape (D,)
        Pooled over both sets with equal weights of units, so that they do not depend on which unit
        is in which set. ``scale`` is 1 / standard deviation, 0 for constant channels.
    means : pair of float64, shapes (N, D), (N', D)
        Mean z of each image; 0 if an image is left out.
    """

    mean: Float64
    scale: Float64
    means: tuple[Float64, Float64]

    def of(self, block: AnyArray) -> Float64:
        """Return z of a block (n, D, k)."""
        centred = block.astype(np.float64) - self.mean[:, np.newaxis]
        return np.asarray(centred * self.scale[:, np.newaxis])


def standardisation(
    sets: Sets,
    layer: str,
    samples: tuple[VectorSample, VectorSample],
    constant: Bool,
    workers: int,
) -> Standardisation:
    """Compute mean and spread of each channel over both sets, each unit with the same weight."""
    moments = [
        _image_moments(each, layer, sample, workers)
        for each, sample in zip(sets, samples, strict=True)
    ]
    weights = [sample.weight for sample in samples]
    total = sum(float(each.sum()) for each in weights)
    mean = sum(w @ means for w, (means, _) in zip(weights, moments, strict=True)) / total
    squares = sum(
        w @ (variances + np.square(means - mean))
        for w, (means, variances) in zip(weights, moments, strict=True)
    )
    spread = np.sqrt(squares / total)
    live = ~constant & (spread > 0)
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=live)
    first, second = (
        np.where(sample.weight[:, np.newaxis] > 0, (means - mean) * scale, 0.0)
        for sample, (means, _) in zip(samples, moments, strict=True)
    )
    return Standardisation(np.asarray(mean), scale, (first, second))


def _image_moments(
    activations: Activations, layer: str, sample: VectorSample, workers: int
) -> tuple[Float64, Float64]:
    """Return mean and variance (N, D) of each image and channel over its sampled vectors."""
    images, channels, _ = activations.shape(layer)
    means, variances = np.zeros((2, images, channels))

    def moments(rows: slice) -> tuple[Int64, AnyArray, Float64]:
        block = sample.of(read_finite(activations, layer, rows), rows).astype(np.float64)
        mean = block.mean(axis=2)
        block -= mean[:, :, np.newaxis]
        variance = np.einsum("ndk,ndk->nd", block, block) / block.shape[2]
        return sample.images(rows), mean, variance

    for numbers, mean, variance in ordered_map(moments, row_blocks(activations, layer), workers):
        means[numbers], variances[numbers] = mean, variance
    return means, variances


# Accuracy of a linear classifier


def measure_classifier(
    sets: Sets, layer: str, constant: Bool, design: Design, settings: Settings
) -> tuple[float, Float64 | None]:
    """Measure how well a linear classifier tells the vectors of two sets apart.

    Returns
    -------
    value : float
        Balanced accuracy, see :func:`skiptool.stats.classifier.balanced_accuracy`, with five folds
        of units: both units of a pair, and what two sets of one dataset have in common, are in
        one fold. 0.5 or below is chance.
    null : float64, shape (1 + R,), or None
        As labelled, then relabelled, on the same vectors and folds.

    Notes
    -----
    At most :data:`MOST_VECTORS` vectors of each image of the equal draw are drawn with the seed,
    and fewer if they would be more than 20,000 altogether.
    """
    most = max(1, min(MOST_VECTORS, _MOST_ALTOGETHER // (len(sets[0]) + len(sets[1]))))
    samples = equal_samples(design, sets, layer, most)
    scale = standardisation(sets, layer, samples, constant, settings.workers)
    vectors: list[AnyArray] = []
    for each, sample, units in zip(sets, samples, (design.reference, design.other), strict=True):
        of_units: list[list[AnyArray]] = [[] for _ in range(len(units))]
        for images, block in sample.blocks(each, layer, settings.workers):
            rows = scale.of(block).transpose(0, 2, 1).astype(np.float32)
            for image, own in zip(images.tolist(), rows, strict=True):
                of_units[int(sample.unit[image])].append(own)
        vectors += [np.concatenate(own) for own in of_units]
    # Units of fewer vectors repeat theirs, so that all have equally many, (U, q, D).
    longest = max(map(len, vectors))
    stacked = np.stack([own[np.arange(longest) % len(own)] for own in vectors])
    folds = folds_of(_fold_groups(sets, design), np.random.default_rng([settings.seed, 0]))
    labellings = design.labellings.astype(np.int64)
    chosen = np.zeros((len(labellings), len(folds)), dtype=np.bool_)
    np.put_along_axis(chosen, labellings, True, axis=1)
    null = balanced_accuracy(stacked, folds, chosen)
    return float(null[0]), null if design.permutations else None


def _fold_groups(sets: Sets, design: Design) -> Int64:
    """Return a number of each unit; those of one number (pairs, subjects) share a fold."""
    n, m = len(design.reference), len(design.other)
    if design.paired:
        return np.concatenate([np.arange(n), np.arange(m)])
    same_dataset = sets[0].dataset_id is not None and sets[0].dataset_id == sets[1].dataset_id
    column = design.unit if design.unit != IMAGE else ("id" if same_dataset else None)
    if column is None or any(column not in each.columns for each in sets):
        return np.arange(n + m)
    numbers: dict[str, int] = {}
    groups = [
        numbers.setdefault(str(each.columns[column][units.order[first]]), len(numbers))
        for each, units in zip(sets, (design.reference, design.other), strict=True)
        for first in units.first
    ]
    return np.array(groups, dtype=np.int64)


# Covariance distance
#
# The second moments M_i of units are never held. For each labelling the sum of w_i M_i is, with w_i
# = 1 / n in the one set and -1 / m in the other, a few rows of the D x D matrices at a time: memory
# is bounded whatever the number of units, and a store is read once for each part of the rows.


def measure_covariance(
    sets: Sets, layer: str, constant: Bool, design: Design, settings: Settings
) -> tuple[float, Float64 | None]:
    """Measure the distance between the channel covariance matrices of two sets.

    ``constant`` (D,) are channels with a single value in both sets, which are ignored.

    Returns
    -------
    value : float
        See :mod:`skiptool.distances.multivariate`; of all vectors, units with equal weights.
        Channels are standardised by the mean and spread of both sets together.
    null : float64, shape (1 + R,), or None
        As labelled, then relabelled. For units of unequal size, of an equal draw, so that its first
        element is not the value.
    """
    whole = (
        whole_sample(design.reference, len(sets[0])),
        whole_sample(design.other, len(sets[1])),
    )
    exchangeable = is_exchangeable(design, sets, layer)
    labellings = design.labellings if exchangeable else design.labellings[:1]
    null = _covariance_distances(sets, layer, whole, constant, labellings, settings)
    value = float(null[0])
    if not design.permutations:
        return value, None
    if not exchangeable:
        drawn = equal_samples(design, sets, layer)
        null = _covariance_distances(sets, layer, drawn, constant, design.labellings, settings)
    return value, null


def _covariance_distances(
    sets: Sets,
    layer: str,
    samples: tuple[VectorSample, VectorSample],
    constant: Bool,
    labellings: AnyArray,
    settings: Settings,
) -> Float64:
    """Return the distance (L,) under each labelling."""
    units = [int(sample.unit.max()) + 1 for sample in samples]
    scale = standardisation(sets, layer, samples, constant, settings.workers)
    chosen = np.zeros((len(labellings), sum(units)), dtype=np.bool_)
    np.put_along_axis(chosen, labellings.astype(np.int64), True, axis=1)
    weights = np.where(chosen, 1.0 / units[0], -1.0 / units[1])
    unit_means = []
    for sample, image_means, count in zip(samples, scale.means, units, strict=True):
        of_units = np.zeros((count, image_means.shape[1]))
        np.add.at(of_units, sample.unit, sample.weight[:, np.newaxis] * image_means)
        unit_means.append(of_units)
    means = np.concatenate(unit_means)
    parts = CovarianceParts(
        np.where(chosen, weights, 0.0) @ means,
        np.where(chosen, 0.0, -weights) @ means,
        units[0] / sum(units),
    )
    apart, size = np.zeros((2, len(labellings)))
    for rows in row_parts(len(constant), len(labellings) + 1, settings.budget // 2):
        pooled, change = _moments(sets, layer, samples, scale, weights, rows, settings.workers)
        of_rows = parts.of(rows, pooled, change)
        apart += of_rows[0]
        size += of_rows[1]
    return relative_distance(apart, size)


def _moments(
    sets: Sets,
    layer: str,
    samples: tuple[VectorSample, VectorSample],
    scale: Standardisation,
    weights: Float64,
    rows: slice,
    workers: int,
) -> tuple[Float64, Float64]:
    """Add up some rows of the second moments: over all units, and their weighted sums."""
    shape = (rows.stop - rows.start, len(scale.mean) - rows.start)
    labellings, units = weights.shape
    all_weights = np.concatenate([weights, np.full((1, units), 1.0 / units)])
    total = np.zeros((labellings + 1, shape[0] * shape[1]))
    first = 0
    for each, sample in zip(sets, samples, strict=True):
        pending: list[tuple[Float64, Float64]] = []
        for images, block in sample.blocks(each, layer, workers):
            own = all_weights[:, first + sample.unit[images]] * sample.weight[images]
            step = max(1, _AT_ONCE // (8 * max(shape[0] * shape[1], block[:1].size)))
            for start in range(0, len(images), step):
                few = slice(start, start + step)
                pending.append((own[:, few], _products(scale.of(block[few]), rows)))
                if sum(products.nbytes for _, products in pending) >= _AT_ONCE:
                    _add(total, pending)
        _add(total, pending)
        first += int(sample.unit.max()) + 1
    matrices = total.reshape(labellings + 1, *shape)
    return matrices[-1], matrices[:-1]


def _products(block: Float64, rows: slice) -> Float64:
    """Return some rows of the second moments of each image, (n, b * c) of (n, D, k)."""
    products = block[:, rows] @ block[:, rows.start :].transpose(0, 2, 1)
    return np.asarray(products.reshape(len(block), -1) / block.shape[2])


def _add(total: Float64, pending: list[tuple[Float64, Float64]]) -> None:
    """Add weights (L, n) times products (n, b * c) to the total, in place, and empty the list."""
    if pending:
        weights = np.concatenate([each for each, _ in pending], axis=1)
        products = np.concatenate([each for _, each in pending])
        # In column-major order, so that BLAS adds without a copy of the total.
        dgemm(1.0, products.T, weights.T, beta=1.0, c=total.T, overwrite_c=True)
        pending.clear()


# Difference between each image and its shifted version


def measure_paired_difference(
    sets: Sets, layer: str, constant: Bool, design: Design, workers: int
) -> dict[str, float]:
    """Measure how far the activations of each image move, relative to their spread.

    Returns ``value`` (:func:`skiptool.distances.multivariate.paired_difference`),
    ``bias_corrected``, ``ci_low`` and ``ci_high``: jackknife over pairs of units. ``constant``
    (D,) channels are ignored. There is no null distribution: |x - x*| does not depend on which of
    the two is called the reference.
    """
    partners = _partners(sets, design)
    images, channels, _ = sets[0].shape(layer)
    parts = np.zeros((3, images, channels))
    function = partial(_paired_moments, sets, layer, partners)
    for rows, block in ordered_map(function, row_blocks(sets[0], layer), workers):
        parts[:, rows] = block
    moved, means, variances = parts
    centre = means.mean(axis=0)
    squares = variances + np.square(means - centre)
    apart, centred, squares = (
        design.reference.averaged(each)[:, ~constant] for each in (moved, means - centre, squares)
    )
    value, without = paired_difference(apart, centred, squares)
    estimate, (replicates,) = bias_corrected(np.array([value]), (without[np.newaxis],))
    low, high = interval(estimate, (replicates,))
    columns = {"value": value, "corrected": estimate[0], "ci_low": low[0], "ci_high": high[0]}
    return {name: float(np.maximum(each, 0.0)) for name, each in columns.items()}


def _partners(sets: Sets, design: Design) -> Int64:
    """Return the image of the other set for each of the reference, by id or by order in units."""
    ids = [each.columns.get("id") for each in sets]
    if ids[0] is not None and ids[1] is not None:
        numbers = {str(name): number for number, name in enumerate(ids[1])}
        unique = len(numbers) == len(ids[1]) == len(ids[0])
        if unique and all(str(name) in numbers for name in ids[0]):
            return np.array([numbers[str(name)] for name in ids[0]], dtype=np.int64)
    first = unit_numbers(design.reference, len(sets[0]))
    second = unit_numbers(design.other, len(sets[1]))
    if len(first) != len(second) or (np.sort(first) != np.sort(second)).any():
        raise MismatchError(
            f"{sets[1].where} against {sets[0].where}: paired-difference compares image with "
            "image, but some units differ in their number of images, and there are no ids to pair "
            "them by; drop this metric, or give stores of the same images"
        )
    partners = np.empty(len(first), dtype=np.int64)
    partners[design.reference.order] = design.other.order
    return partners


def _paired_moments(sets: Sets, layer: str, partners: Int64, rows: slice) -> tuple[slice, AnyArray]:
    """Return (3, n, D) of some images: mean |x - x*|, mean and variance of both together."""
    own = read_finite(sets[0], layer, rows).astype(np.float64)
    runs = _consecutive_runs(partners[rows])
    other = np.concatenate([read_finite(sets[1], layer, run) for run in runs]).astype(np.float64)
    apart = np.abs(own - other).mean(axis=2)
    one, two = own.mean(axis=2), other.mean(axis=2)
    own -= one[:, :, np.newaxis]
    other -= two[:, :, np.newaxis]
    within = sum(np.einsum("ndk,ndk->nd", each, each) for each in (own, other)) / own.shape[2] / 2
    return rows, np.stack([apart, (one + two) / 2, within + np.square(one - two) / 4])


def _consecutive_runs(images: Int64) -> Iterator[slice]:
    """Cut numbers of images into runs that can be read at once."""
    start = 0
    for stop in range(1, len(images) + 1):
        if stop == len(images) or images[stop] != images[stop - 1] + 1:
            yield slice(int(images[start]), int(images[stop - 1]) + 1)
            start = stop
