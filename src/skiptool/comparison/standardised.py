"""Activations in units of the pooled spread of their channel, read block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from skiptool.comparison.equal_draw import Sample
from skiptool.comparison.sets import Activations
from skiptool.errors import FormatError
from skiptool.parallel import mapped

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Float64

__all__ = ["Scaled", "Sets", "finite", "image_moments", "row_blocks", "scaled"]

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
    function = partial(_moments, activations, layer, sample)
    for places, mean, variance in mapped(function, row_blocks(activations, layer), workers):
        means[places], variances[places] = mean, variance
    return means, variances


def _moments(
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
