"""Populations of activations to draw from, with known distributions, for simulations of statistics.

Each function draws images (N, D, K) with effects of the image: within an image vectors are alike,
as real ones are. The rule of `skiptool.distances.binned` was chosen on ``TUNED``; ``HELD_OUT``
were looked at only afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

import numpy as np
from scipy.ndimage import gaussian_filter

Draw = Callable[[np.random.Generator, int, int, int], Any]


def effect(rng: np.random.Generator, n: int, d: int, size: float) -> Any:  # noqa: ANN401
    """Draw effects (N, D, 1); half of their variance is common to all channels."""
    common, own = rng.standard_normal((n, 1, 1)), rng.standard_normal((n, d, 1))
    return np.float32(size) * (np.float32(0.5**0.5) * (common + own)).astype(np.float32)


def smooth(rng: np.random.Generator, n: int, d: int, k: int, width: float = 1.5) -> Any:  # noqa: ANN401
    """Windows of K places, on a square grid, of larger smooth random fields of unit variance."""
    side, whole = round(k**0.5), max(24, round(k**0.5))
    noise = rng.standard_normal((n, d, whole, whole)).astype(np.float32)
    found = gaussian_filter(noise, (0, 0, width, width), mode="wrap")
    found *= np.float32(2 * np.sqrt(np.pi) * width)  # what the filter takes off
    return np.ascontiguousarray(found[:, :, :side, :side]).reshape(n, d, k)


def gauss(rng: np.random.Generator, n: int, d: int, k: int) -> Any:  # noqa: ANN401
    """Draw normal values around the image's effect."""
    return effect(rng, n, d, 0.5) + rng.standard_normal((n, d, k)).astype(np.float32)


def student(rng: np.random.Generator, n: int, d: int, k: int) -> Any:  # noqa: ANN401
    """Heavy tails: t with 3 degrees of freedom."""
    return effect(rng, n, d, 0.3) + rng.standard_t(3, (n, d, k)).astype(np.float32)


def sparse(rng: np.random.Generator, n: int, d: int, k: int) -> Any:  # noqa: ANN401
    """Rectified smooth fields, 92 % zeros, with a gain of the image."""
    field = smooth(rng, n, d, k) + effect(rng, n, d, 0.3) - np.float32(1.47)
    return np.maximum(field, 0) * np.exp(effect(rng, n, d, 0.5))


def lognormal(rng: np.random.Generator, n: int, d: int, k: int) -> Any:  # noqa: ANN401
    """Skewed, with a gain of the image."""
    return np.exp(effect(rng, n, d, 0.4) + rng.standard_normal((n, d, k)).astype(np.float32))


def field(rng: np.random.Generator, n: int, d: int, k: int) -> Any:  # noqa: ANN401
    """Smooth fields around the image's effect."""
    return smooth(rng, n, d, k, 2.5) + effect(rng, n, d, 0.4)


def bimodal(rng: np.random.Generator, n: int, d: int, k: int) -> Any:  # noqa: ANN401
    """Two modes, whose shares vary from image to image."""
    share = 1 / (1 + np.exp(-effect(rng, n, d, 1.0)))
    mode = np.where(rng.random((n, d, k)) < share, 2.0, -2.0)
    return (mode + 0.5 * rng.standard_normal((n, d, k))).astype(np.float32)


def very_sparse(rng: np.random.Generator, n: int, d: int, k: int) -> Any:  # noqa: ANN401
    """Rectified smooth fields, 98 % zeros, with a strong gain of the image."""
    field = smooth(rng, n, d, k) + effect(rng, n, d, 0.5) - np.float32(2.3)
    return np.maximum(field, 0) * np.exp(effect(rng, n, d, 0.8))


def gamma(rng: np.random.Generator, n: int, d: int, k: int) -> Any:  # noqa: ANN401
    """Dense near 0 with a long tail, with a gain of the image."""
    return (rng.gamma(0.5, 1.0, (n, d, k)) * np.exp(effect(rng, n, d, 0.5))).astype(np.float32)


def pixels(rng: np.random.Generator, n: int, d: int, k: int) -> Any:  # noqa: ANN401
    """Bounded grey values of smooth images that differ in brightness."""
    field = smooth(rng, n, d, k) + effect(rng, n, d, 0.7)
    return np.round(255 * np.clip(0.5 + np.float32(0.15) * field, 0.0, 1.0)) / np.float32(255)


def spikes(rng: np.random.Generator, n: int, d: int, k: int) -> Any:  # noqa: ANN401
    """Mostly small values around 0, one in five from a wide Laplace distribution."""
    wide = rng.random((n, d, k)) < 0.2
    values = np.where(wide, rng.laplace(0.0, 2.0, (n, d, k)), rng.normal(0.0, 0.2, (n, d, k)))
    return effect(rng, n, d, 0.3) + values.astype(np.float32)


TUNED: Final[Mapping[str, Draw]] = {
    "gauss": gauss,
    "t(3)": student,
    "sparse": sparse,
    "bimodal": bimodal,
}
HELD_OUT: Final[Mapping[str, Draw]] = {
    "lognormal": lognormal,
    "smooth field": field,
    "gamma": gamma,
    "very sparse": very_sparse,
    "pixels": pixels,
    "spikes": spikes,
}
POPULATIONS: Final = {**TUNED, **HELD_OUT}

SCALED: Final = {"sparse", "lognormal", "gamma", "very sparse", "pixels"}
"""Populations of values above 0: their shifts multiply, those of the others add."""

SHIFTS: Final = {
    "none": (0.0, 1.0),
    "weak": (0.05, 1.05),
    "middle": (0.3, 1.3),
    "strong": (1.0, 2.0),
}
"""What is added to the second set, or what it is multiplied by."""


def shifted(population: str, shift: str, values: Any) -> Any:  # noqa: ANN401
    """Apply a shift to values of a population; it keeps their order."""
    added, factor = SHIFTS[shift]
    return values * np.float32(factor) if population in SCALED else values + np.float32(added)


@cache
def population_sample(population: str, shift: str) -> Any:  # noqa: ANN401
    """Return 4 million sorted values of a shifted population; they stand for its distribution."""
    if shift != "none":
        return shifted(population, shift, population_sample(population, "none"))
    rng = np.random.default_rng(20261130)
    return np.sort(POPULATIONS[population](rng, 8000, 8, 64).ravel())


def true_distance(population: str, shift: str, edges: Any) -> float:  # noqa: ANN401
    """Hellinger distance between a population and its shifted one on bins between inner edges.

    A value on an edge is in the upper bin, as in `skiptool.distances.counting`.
    """
    rows = []
    for values in (population_sample(population, each) for each in ("none", shift)):
        cuts = np.searchsorted(values, np.asarray(edges, dtype=np.float32), side="left")
        rows.append(np.diff(np.concatenate([[0], cuts, [len(values)]])) / len(values))
    p, q = rows
    return float(np.sqrt(np.square(np.sqrt(p) - np.sqrt(q)).sum() / 2))
