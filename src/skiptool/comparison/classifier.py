"""Accuracy of a linear classifier between two sets, and its null, from a draw of vectors."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from skiptool.comparison.binned import Design
from skiptool.comparison.equal_draw import Sample, equal_samples
from skiptool.comparison.sets import Activations, Settings
from skiptool.comparison.standardised import Scaled, Sets, row_blocks, scaled
from skiptool.comparison.units import IMAGE
from skiptool.parallel import mapped
from skiptool.stats.classifier import balanced_accuracy, folds_of

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Float64, Int64

__all__ = ["MOST_VECTORS", "measure_classifier"]

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
