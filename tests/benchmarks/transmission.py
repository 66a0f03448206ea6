"""Coverage of the intervals of ``transmission``: how often they hold the true share.

Usage: python tests/benchmarks/transmission.py [REPEATS]

Made-up activations of two layers of 50 images: the input, and a layer that hands on two fifths of
its shift with noise of its own. Images have an effect of their own, which both layers share; the
truth is what 4,000 images a side give.
"""

from __future__ import annotations

import sys
from itertools import product
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from skiptool import compare_features

if TYPE_CHECKING:
    from skiptool.records import AnyArray

IMAGES, CHANNELS, VECTORS, MANY = 50, 8, 64, 4_000
HANDED_ON = 0.4

Side: TypeAlias = "dict[str, AnyArray]"


def side(rng: np.random.Generator, images: int, effect: float) -> Side:
    """Draw activations of both layers."""
    size = (images, CHANNELS, VECTORS)
    source = rng.normal(size=(images, CHANNELS, 1)) * effect + rng.normal(size=size)
    return {"input": source, "enc1": 0.7 * source + 0.5 * rng.normal(size=size)}


def moved(layers: Side, shift: float) -> Side:
    """Shift both layers."""
    return {"input": layers["input"] + shift, "enc1": layers["enc1"] + HANDED_ON * shift}


def share(a: Side, b: Side, *, paired: bool) -> tuple[float, float, float]:
    """Measure the transmission of the layer with the ends of its interval."""
    table = compare_features(a, b, permutations=0, paired=paired).to_pylist()
    (row,) = [row for row in table if row["channel"] is None and row["layer"] == "enc1"]
    found = (row["transmission"], row["transmission_low"], row["transmission_high"])
    return tuple(np.nan if value is None else value for value in found)  # type: ignore[return-value]


def main() -> None:
    """Print a line for each setting."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 150
    print("sets\teffect\tshift\ttruth\tmean\tcoverage\tnot told")
    for paired, effect, shift in product((False, True), (0.3, 0.6), (0.5, 1.5)):
        rng = np.random.default_rng(99)
        truth = share(side(rng, MANY, effect), moved(side(rng, MANY, effect), shift), paired=False)
        found = []
        for repeat in range(repeats):
            rng = np.random.default_rng(repeat)
            a = side(rng, IMAGES, effect)
            b = a if paired else side(rng, IMAGES, effect)
            found.append(share(a, moved(b, shift), paired=paired))
        value, low, high = np.array(found).T
        told = ~np.isnan(value)
        hits = ((low <= truth[0]) & (truth[0] <= high))[told].mean()
        sets = "paired" if paired else "unpaired"
        print(f"{sets}\t{effect}\t{shift}\t{truth[0]:.3f}\t{value[told].mean():.3f}", end="\t")
        print(f"{hits:.3f}\t{int((~told).sum())}", flush=True)


if __name__ == "__main__":
    main()
