"""Measures of a layer as a whole, sensitive to changes that single channels do not show.

``covariance`` is the distance between the channel covariance matrices of two sets, ``classifier``
the accuracy of a linear classifier that tells them apart, and ``paired-difference`` how far the
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

from skiptool.comparison.activations import Activations, Settings, extents, read_finite, row_blocks
from skiptool.comparison.layer import Design, PairComparison
from skiptool.comparison.results import ALPHA, HIGH, LayerResult
from skiptool.comparison.units import IMAGE, Units, draw_vectors
from skiptool.distances.bins import constant_channels, joint_range
from skiptool.distances.unbinned import (
    CovarianceParts,
    paired_difference,
    relative_distance,
    row_parts,
)
from skiptool.errors import MismatchError
from skiptool.names import LAYERWISE, Metric
from skiptool.parallel import ordered_map
from skiptool.stats.classifier import assign_folds, balanced_accuracy
from skiptool.stats.jackknife import correct_bias, interval
from skiptool.stats.permutation import p_values

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Float64, Int64

Sets = tuple[Activations, Activations]

MOST_VECTORS: Final = 16
"""Most vectors of an image that the classifier uses."""

_MOST_IN_TOTAL: Final = 20_000
"""Most vectors of all images together; beyond it, fewer are drawn from each image."""

_BATCH_BYTES: Final = 16_000_000
"""Bytes of second moments of images that are added at once."""


def check_layerwise(sets: Sets, design: Design, settings: Settings) -> None:
    """Check that the requested measures can be computed, before anything is read."""
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
        expected, vectors = (activations.shape(layer)[2] for activations in sets)
        if vectors != expected:
            raise MismatchError(
                f"{where}: layer {layer} has {vectors} vectors per image, the reference "
                f"{expected}; paired-difference compares position with position"
            )


def measure_layerwise(
    pair: PairComparison, layer: str, measured: Sequence[LayerResult] = ()
) -> list[LayerResult]:
    """Measure the requested metrics among :data:`skiptool.names.LAYERWISE`.

    ``measured`` are results of the layer by other metrics, from which the constant channels are
    taken; without any, these are determined in a pass over all values.
    """
    sets, design, settings = pair.sets, pair.design, pair.settings
    metrics = [metric for metric in settings.metrics if metric in LAYERWISE]
    if not metrics:
        return []
    if measured:
        constant = measured[0].constant
    else:
        bounds = [extents(activations, layer, pair.mapper) for activations in sets]
        constant = constant_channels(joint_range(*bounds))
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
        results.append(LayerResult(layer, index, metric, None, None, constant, {}, mean, null))
    return results


# Samples: all images and vectors, or the equal draw


@dataclass(frozen=True, slots=True, eq=False)
class VectorSample:
    """The images and vectors of one set that a statistic uses.

    Attributes
    ----------
    unit : int64, shape (N,)
        Index of the unit of each image.
    weight : float64, shape (N,)
        Weight of each image within its unit, 0 if it is left out; the weights of a unit add up
        to 1, so that units weigh equally.
    vectors : int32, shape (N, k), or None
        Indices of the sampled vectors of each image; None for all of them.
    """

    unit: Int64
    weight: Float64
    vectors: AnyArray | None

    def images(self, rows: slice) -> Int64:
        """Return the indices (n',) of the images of a block that are used."""
        return np.asarray(rows.start + np.flatnonzero(self.weight[rows] > 0))

    def select(self, block: AnyArray, rows: slice) -> AnyArray:
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
        """Yield the indices of images and their sampled vectors, block by block."""

        def read(rows: slice) -> tuple[Int64, AnyArray]:
            return self.images(rows), self.select(activations.read(layer, rows), rows)

        return ordered_map(read, row_blocks(activations, layer), workers)


def unit_indices(units: Units, images: int) -> Int64:
    """Return the index of each image's unit, shape (N,); 0 for images that were not drawn."""
    indices = np.zeros(images, dtype=np.int64)
    indices[units.order] = np.repeat(np.arange(len(units)), units.sizes)
    return indices


def is_exchangeable(design: Design, sets: Sets, layer: str) -> bool:
    """Return whether the test can use all images and vectors, without an equal draw."""
    return design.draw is None and sets[0].shape(layer)[2] == sets[1].shape(layer)[2]


def whole_sample(units: Units, images: int) -> VectorSample:
    """Sample all images of some units, each unit with the same weight."""
    unit = unit_indices(units, images)
    weight = np.zeros(images)
    weight[units.order] = 1.0 / units.sizes[unit[units.order]]
    return VectorSample(unit, weight, None)


def equal_samples(
    design: Design, sets: Sets, layer: str, most: int | None = None
) -> tuple[VectorSample, VectorSample]:
    """Sample the images of the equal draw, with equally many vectors per image in both sets.

    ``most`` is the largest number of vectors of an image; beyond it, some are drawn at random.
    """
    units_of_sets = (design.tested.reference, design.tested.other)
    least = min(activations.shape(layer)[2] for activations in sets)
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

    def apply(self, block: AnyArray) -> Float64:
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
    """Compute mean and spread of each channel over both sets, all units weighing equally."""
    moments = [
        _image_moments(activations, layer, sample, workers)
        for activations, sample in zip(sets, samples, strict=True)
    ]
    weights = [sample.weight for sample in samples]
    total = sum(float(weight.sum()) for weight in weights)
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
        block = sample.select(read_finite(activations, layer, rows), rows).astype(np.float64)
        mean = block.mean(axis=2)
        block -= mean[:, :, np.newaxis]
        variance = np.einsum("ndk,ndk->nd", block, block) / block.shape[2]
        return sample.images(rows), mean, variance

    for indices, mean, variance in ordered_map(moments, row_blocks(activations, layer), workers):
        means[indices], variances[indices] = mean, variance
    return means, variances


# Accuracy of a linear classifier


def measure_classifier(
    sets: Sets, layer: str, constant: Bool, design: Design, settings: Settings
) -> tuple[float, Float64 | None]:
    """Measure how well a linear classifier tells the vectors of two sets apart.

    The value is the balanced accuracy, see :func:`skiptool.stats.classifier.balanced_accuracy`,
    with five folds of units; 0.5 or below is chance. Both units of a pair are in one fold, as are
    units that two sets of one dataset have in common. The null (1 + R,) is as labelled, then
    relabelled, on the same vectors and folds.

    At most :data:`MOST_VECTORS` vectors of each image of the equal draw are drawn with the seed,
    and fewer if they would exceed 20,000 in total.
    """
    most = max(1, min(MOST_VECTORS, _MOST_IN_TOTAL // (len(sets[0]) + len(sets[1]))))
    samples = equal_samples(design, sets, layer, most)
    scale = standardisation(sets, layer, samples, constant, settings.workers)
    vectors: list[AnyArray] = []
    sides = zip(sets, samples, (design.reference, design.other), strict=True)
    for activations, sample, units in sides:
        by_unit: list[list[AnyArray]] = [[] for _ in range(len(units))]
        for images, block in sample.blocks(activations, layer, settings.workers):
            rows = scale.apply(block).transpose(0, 2, 1).astype(np.float32)
            for image, image_vectors in zip(images.tolist(), rows, strict=True):
                by_unit[int(sample.unit[image])].append(image_vectors)
        vectors += [np.concatenate(parts) for parts in by_unit]
    # Units with fewer vectors repeat them, so that all have equally many, (U, q, D).
    longest = max(map(len, vectors))
    stacked = np.stack([own[np.arange(longest) % len(own)] for own in vectors])
    folds = assign_folds(_fold_groups(sets, design), np.random.default_rng([settings.seed, 0]))
    labellings = design.labellings.astype(np.int64)
    chosen = np.zeros((len(labellings), len(folds)), dtype=np.bool_)
    np.put_along_axis(chosen, labellings, True, axis=1)
    null = balanced_accuracy(stacked, folds, chosen)
    return float(null[0]), null if design.permutations else None


def _fold_groups(sets: Sets, design: Design) -> Int64:
    """Return the group of each unit; units of one group (a pair, a subject) share a fold."""
    n, m = len(design.reference), len(design.other)
    if design.paired:
        return np.concatenate([np.arange(n), np.arange(m)])
    same_dataset = sets[0].dataset_id is not None and sets[0].dataset_id == sets[1].dataset_id
    column = design.unit if design.unit != IMAGE else ("id" if same_dataset else None)
    if column is None or any(column not in activations.columns for activations in sets):
        return np.arange(n + m)
    numbers: dict[str, int] = {}
    groups = [
        numbers.setdefault(str(activations.columns[column][units.order[first]]), len(numbers))
        for activations, units in zip(sets, (design.reference, design.other), strict=True)
        for first in units.first
    ]
    return np.array(groups, dtype=np.int64)


# Covariance distance
#
# The second moments M_i of single units are never kept, only the sum of w_i M_i for each labelling,
# with w_i = 1 / n in the one set and -1 / m in the other, for some rows of the D x D matrices at a
# time. Memory is bounded for any number of units; a store is read once for each part of the rows.


def measure_covariance(
    sets: Sets, layer: str, constant: Bool, design: Design, settings: Settings
) -> tuple[float, Float64 | None]:
    """Measure the distance between the channel covariance matrices of two sets.

    The value (:mod:`skiptool.distances.unbinned`) is for all vectors, units weighing equally.
    Channels are standardised by the mean and spread of both sets together; ``constant`` (D,) ones
    are ignored. The null (1 + R,) is as labelled, then relabelled; if units differ in size, it is
    that of an equal draw, so its first element is not the value.
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
        added_apart, added_size = parts.row_sums(rows, pooled, change)
        apart += added_apart
        size += added_size
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
    """Return some rows of the second moments: their mean over units, and their weighted sums."""
    shape = (rows.stop - rows.start, len(scale.mean) - rows.start)
    labellings, units = weights.shape
    all_weights = np.concatenate([weights, np.full((1, units), 1.0 / units)])
    total = np.zeros((labellings + 1, shape[0] * shape[1]))
    first = 0
    for activations, sample in zip(sets, samples, strict=True):
        pending: list[tuple[Float64, Float64]] = []
        for images, block in sample.blocks(activations, layer, workers):
            own = all_weights[:, first + sample.unit[images]] * sample.weight[images]
            step = max(1, _BATCH_BYTES // (8 * max(shape[0] * shape[1], block[:1].size)))
            for start in range(0, len(images), step):
                batch = slice(start, start + step)
                pending.append((own[:, batch], _products(scale.apply(block[batch]), rows)))
                if sum(products.nbytes for _, products in pending) >= _BATCH_BYTES:
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
        from scipy.linalg.blas import dgemm  # lazy: only the covariance needs it

        weights = np.concatenate([part for part, _ in pending], axis=1)
        products = np.concatenate([part for _, part in pending])
        # In column-major order, so that BLAS adds without copying the total.
        dgemm(1.0, products.T, weights.T, beta=1.0, c=total.T, overwrite_c=True)
        pending.clear()


# Difference between each image and its shifted version


def measure_paired_difference(
    sets: Sets, layer: str, constant: Bool, design: Design, workers: int
) -> dict[str, float]:
    """Measure how far the activations of each image move, relative to their spread.

    Returns ``value`` (:func:`skiptool.distances.unbinned.paired_difference`), ``corrected``,
    ``ci_low`` and ``ci_high``, by the jackknife over pairs of units. ``constant`` (D,) channels are
    ignored. There is no null distribution: |x - x*| is the same if the two are exchanged.
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
        design.reference.average(values)[:, ~constant]
        for values in (moved, means - centre, squares)
    )
    value, without = paired_difference(apart, centred, squares)
    estimate, (replicates,) = correct_bias(np.array([value]), (without[np.newaxis],))
    low, high = interval(estimate, (replicates,))
    columns = {"value": value, "corrected": estimate[0], "ci_low": low[0], "ci_high": high[0]}
    return {name: float(np.maximum(column, 0.0)) for name, column in columns.items()}


def _partners(sets: Sets, design: Design) -> Int64:
    """Return the other set's image for each image of the reference, by id or by order in units."""
    ids = [activations.columns.get("id") for activations in sets]
    if ids[0] is not None and ids[1] is not None:
        indices = {str(name): index for index, name in enumerate(ids[1])}
        unique = len(indices) == len(ids[1]) == len(ids[0])
        if unique and all(str(name) in indices for name in ids[0]):
            return np.array([indices[str(name)] for name in ids[0]], dtype=np.int64)
    first = unit_indices(design.reference, len(sets[0]))
    second = unit_indices(design.other, len(sets[1]))
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
    """Split indices of images into consecutive runs, each read at once."""
    start = 0
    for stop in range(1, len(images) + 1):
        if stop == len(images) or images[stop] != images[stop - 1] + 1:
            yield slice(int(images[start]), int(images[stop - 1]) + 1)
            start = stop
