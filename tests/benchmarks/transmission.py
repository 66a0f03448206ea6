"""Coverage and bias of ``transmission``, in the runs in which it is told.

Run: ``python tests/benchmarks/transmission.py [REPEATS]`` (100). Prints Markdown.

The input is made of bounded pixels: three channels around a brightness of each image, cut at 0 and
1. Three kinds of layer are made from it by fixed weights: dense (a linear mixture and noise of its
own), sparse (most values 0, a gain of each image) and heavy-tailed (noise of Student's t with 3
degrees of freedom). The shift is a factor of the pixels. Sets are the same images (paired: their
noise drawn twice for one half) or others.

The truth is what the distances are estimates of: those of the populations, on the very bins that
the run has chosen from the lowest and highest value of its own data.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from skiptool.comparison.activations import Settings, as_activations
from skiptool.comparison.pairs import measure_pairs
from skiptool.parallel import thread_map

CHANNELS, VECTORS, MANY, BINS = 6, 64, 6_000, 100
KINDS = ("dense", "sparse", "heavy-tailed")
FACTORS = (0.95, 0.8, 0.6)

Side = dict[str, Any]


def pixels(rng: np.random.Generator, images: int) -> Any:  # noqa: ANN401
    """Draw pixels (N, 3, K) in [0, 1], each image with a brightness of its own."""
    bright = 0.6 + 0.1 * rng.standard_normal((images, 1, 1))
    colour = 0.05 * rng.standard_normal((images, 3, 1))
    return np.clip(bright + colour + 0.12 * rng.standard_normal((images, 3, VECTORS)), 0.0, 1.0)


def layers(rng: np.random.Generator, source: Any) -> Side:  # noqa: ANN401
    """Return the input and the three kinds of layer made from it."""
    weights = np.random.default_rng(5).normal(size=(CHANNELS, 3))
    mixed = 4.0 * np.einsum("dc,nck->ndk", weights, source - 0.5)
    size = mixed.shape
    gain = np.exp(0.3 * rng.standard_normal((size[0], 1, 1)))
    return {
        "input": source,
        "dense": mixed + rng.standard_normal(size),
        "sparse": np.maximum(gain * (mixed + rng.standard_normal(size)) - 2.0, 0.0),
        "heavy-tailed": mixed + rng.standard_t(3, size),
    }


def drawn(rng: np.random.Generator, images: int, factor: float, *, paired: bool) -> list[Side]:
    """Draw both sets."""
    first = pixels(rng, images)
    second = first if paired else pixels(rng, images)
    return [layers(rng, first), layers(rng, second * factor)]


def population(factor: float) -> list[dict[str, Any]]:
    """Values of each channel of many images, in rising order, unshifted and shifted."""
    rng = np.random.default_rng(99)
    sides = drawn(rng, MANY, factor, paired=False)
    return [
        {name: np.sort(v.transpose(1, 0, 2).reshape(v.shape[1], -1)) for name, v in side.items()}
        for side in sides
    ]


def true_distance(values: list[Any], low: Any, high: Any) -> float:  # noqa: ANN401
    """Mean Hellinger distance over channels of populations, what lies outside in the end bins."""
    found = []
    for channel in range(len(low)):
        edges = np.linspace(low[channel], high[channel], BINS + 1)[1:-1]
        shares = []
        for each in values:
            inner = np.searchsorted(each[channel], edges) / each.shape[1]
            shares.append(np.diff([0.0, *inner, 1.0]))
        found.append(np.sqrt(np.square(np.sqrt(shares[0]) - np.sqrt(shares[1])).sum() / 2))
    return float(np.mean(found))


def measured(sides: list[Side], *, paired: bool) -> dict[str, Mapping[str, float]]:
    """Measure every layer as the command does."""
    settings = Settings(permutations=0, paired=paired, bins=(BINS,))
    sets = [as_activations(side, f"side {place}") for place, side in enumerate(sides)]
    mapper = partial(thread_map, workers=1)
    _, (found,) = measure_pairs(sets, [(0, 1)], settings, mapper)
    return {each.layer: each.mean for each in found}


def run(seed: int, setting: tuple[float, int, bool], known: list[Any]) -> list[Any]:
    """Return the true share of each kind of layer, and the one told with its interval."""
    factor, number, paired = setting
    rng = np.random.default_rng([seed, number, round(100 * factor), paired])
    sides = drawn(rng, number, factor, paired=paired)
    means = measured(sides, paired=paired)
    truth = {}
    for name in ("input", *KINDS):
        both = [side[name] for side in sides]
        low = np.min([each.min(axis=(0, 2)) for each in both], axis=0)
        high = np.max([each.max(axis=(0, 2)) for each in both], axis=0)
        truth[name] = true_distance([side[name] for side in known], low, high)
    found = []
    for name in KINDS:
        mean = means[name]
        told = [mean.get(f"transmission{end}", np.nan) for end in ("", "_low", "_high")]
        found.append([truth[name] / truth["input"], *told])
    return found


def main() -> None:
    """Print a row for each setting and kind of layer."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    print("| brightness | N | sets | layer | told of | true | bias where told | coverage |")
    print("|---:|---:|---|---|---:|---:|---:|---:|")
    for factor in FACTORS:
        known = population(factor)
        for number, paired in product((50, 24, 16), (True, False)):
            setting = (factor, number, paired)
            found = np.array([run(seed, setting, known) for seed in range(repeats)])
            for place, name in enumerate(KINDS):
                sets = "paired" if paired else "unpaired"
                cells = [f"{factor:g}", number, sets, name, *summary(found[:, place])]
                print(f"| {' | '.join(map(str, cells))} |", flush=True)


def summary(rows: Any) -> list[str]:  # noqa: ANN401
    """Return how often a share is told, the true one, bias and coverage where it is told."""
    told = rows[~np.isnan(rows[:, 1])]
    cells = [f"{len(told)} of {len(rows)}", f"{rows[:, 0].mean():.2f}"]
    if not len(told):
        return [*cells, "", ""]
    bias = (told[:, 1] - told[:, 0]).mean()
    covered = ((told[:, 2] <= told[:, 0]) & (told[:, 0] <= told[:, 3])).mean()
    return [*cells, f"{bias:+.3f}", f"{100 * covered:.0f} %"]


if __name__ == "__main__":
    main()
