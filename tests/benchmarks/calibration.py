"""False alarms, coverage and power of ``skiptool hellinger``, by simulation.

Run: ``python tests/benchmarks/calibration.py [SECTION...] [--repeats N] [--seed S]``. Sections:
``equal`` (false alarms, units of equal size), ``unequal`` (units of different sizes), ``coverage``
(intervals of the corrected distance), ``power``. Prints tables in Markdown. What is called is what
the command calls, with the range that it takes, the minimum and maximum of the data at hand.

The true distance is that of the population on the bins that the command pooled for its estimate,
and, in brackets, on all of its 100 bins. The rule that pools bins was chosen on the populations
marked with a star, and the others were looked at only afterwards (see ``populations``).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from populations import POPULATIONS, SHIFTS, TUNED, shifted, true_distance

from skiptool.comparison.activations import Settings, as_activations
from skiptool.comparison.pairs import measure_pairs
from skiptool.comparison.results import LayerResult
from skiptool.distances.binned import pooled_bins
from skiptool.distances.bins import equal_width, joint_range
from skiptool.distances.counting import activation_extremes, count_activations
from skiptool.parallel import thread_map

CHANNELS, VECTORS, BINS, RELABELLINGS = 8, 64, 100, 99


def compared(
    x: Any,  # noqa: ANN401
    y: Any,  # noqa: ANN401
    *,
    paired: bool = False,
    groups: tuple[Sequence[int], Sequence[int]] | None = None,
) -> LayerResult:
    """Compare two sets as ``skiptool hellinger`` does."""
    mine, theirs = groups or (None, None)
    sets = [as_activations(x, "x", mine), as_activations(y, "y", theirs)]
    group = None if groups is None else "group"
    settings = Settings(permutations=RELABELLINGS, paired=paired, group=group)
    _, ((measured,),) = measure_pairs(sets, [(0, 1)], settings, partial(thread_map, workers=1))
    return measured


class Design(NamedTuple):
    """Images, or units of several images, of both sets, and their vectors."""

    name: str
    units: tuple[int, int]
    images: tuple[int | tuple[int, int], int | tuple[int, int]] = (1, 1)
    vectors: tuple[int, int] = (VECTORS, VECTORS)


def drawn_units(
    rng: np.random.Generator,
    population: str,
    units: int,
    images: int | tuple[int, int],
    vectors: int,
) -> tuple[Any, Sequence[int]]:
    """Draw units with effects of their own, and images within them; returns images and units."""
    sizes = rng.integers(*images, units) if isinstance(images, tuple) else np.full(units, images)
    numbers = np.repeat(np.arange(units), sizes)
    x = POPULATIONS[population](rng, len(numbers), CHANNELS, vectors)
    if sizes.max() > 1:
        x = x + np.float32(0.5) * rng.standard_normal((units, CHANNELS, 1))[numbers].astype("f4")
    return x, numbers.tolist()


def alarms(design: Design, population: str, repeats: int, seed: int, move: float = 0.0) -> float:
    """Share of pairs of sets that are called different at 5 %."""
    found = 0
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, *design.units, *design.vectors, repeat])
        (x, first), (y, second) = (
            drawn_units(rng, population, *of)
            for of in zip(design.units, design.images, design.vectors, strict=True)
        )
        groups = (first, second) if design.images != (1, 1) else None
        found += compared(x, y + np.float32(move), groups=groups).mean["p_value"] <= 0.05
    return found / repeats


EQUAL = [Design(f"{n}/{m} images", (n, m)) for n, m in ((8, 8), (15, 15), (50, 50), (200, 20))]
UNEQUAL = [
    Design("16/16 images of 36 / 169 vectors", (16, 16), vectors=(36, 169)),
    Design("60/12 images of 169 / 9 vectors", (60, 12), vectors=(169, 9)),
    Design("60/12 images of 9 / 169 vectors", (60, 12), vectors=(9, 169)),
    Design("20 subjects of 20 images / 5 of 2", (20, 5), (20, 2), (16, 16)),
    Design("5 subjects of 40 images / 20 of 2", (5, 20), (40, 2), (16, 16)),
    Design("10 subjects of 20 images / 10 of 2", (10, 10), (20, 2), (16, 16)),
    Design("12 / 12 subjects of 1 to 29 images", (12, 12), ((1, 30), (1, 30)), (16, 16)),
    Design("16 / 16 subjects of 11 slices, 36 / 169 vectors", (16, 16), (11, 11), (36, 169)),
]


def percent(share: float) -> str:
    """Write a share as a percentage."""
    return f"{100 * share:.0f}"


def print_alarms(designs: Sequence[Design], names: Sequence[str], repeats: int, seed: int) -> None:
    """Print false alarms by design and population, and what is found of a shift of 0.3."""
    print(f"| no shift; alarms at 5 %, in % | {' | '.join(names)} | gauss moved by 0.3 |")
    print("|---|" + "---:|" * (len(names) + 1))
    for design in designs:
        shares = [percent(alarms(design, name, repeats, seed)) for name in names]
        shares.append(percent(alarms(design, "gauss", repeats, seed, 0.3)))
        print(f"| {design.name} | {' | '.join(shares)} |", flush=True)


class Cell(NamedTuple):
    """A population under a shift, in two sets of N images."""

    population: str
    shift: str
    units: tuple[int, int]
    paired: bool


class Outcome(NamedTuple):
    """One repeat of a cell: ends of the interval, estimates, true distances."""

    low: float
    high: float
    corrected: float
    true: float
    true_on_all: float
    value: float


def outcome(cell: Cell, seed: int, repeat: int) -> Outcome:
    """Draw two sets, compare them, and find the true distance on the bins that were taken."""
    place = list(SHIFTS).index(cell.shift)
    rng = np.random.default_rng([seed, *cell.units, cell.paired, place, repeat])
    draw = POPULATIONS[cell.population]
    x = draw(rng, cell.units[0], CHANNELS, VECTORS)
    fresh = x if cell.paired else draw(rng, cell.units[1], CHANNELS, VECTORS)
    y = shifted(cell.population, cell.shift, fresh)
    measured = compared(x, y, paired=cell.paired)
    joint = joint_range(activation_extremes(x), activation_extremes(y))
    binning = equal_width(joint, BINS)
    bins = pooled_bins(
        count_activations(x, binning), count_activations(y, binning), paired=cell.paired
    )
    true, true_on_all = [], []
    for low, span, numbers in zip(joint.low, joint.span, bins, strict=True):
        edges = low + span * np.arange(1, BINS) / BINS
        true_on_all.append(true_distance(cell.population, cell.shift, edges))
        kept = edges[np.diff(numbers) > 0]
        true.append(true_distance(cell.population, cell.shift, kept))
    mean = measured.mean
    return Outcome(
        mean["ci_low"], mean["ci_high"], mean["corrected"],
        float(np.mean(true)), float(np.mean(true_on_all)), mean["value"],
    )  # fmt: skip


SIZES = (((8, 8), False), ((15, 15), False), ((50, 50), False), ((200, 20), False))
PAIRED = (((15, 15), True), ((50, 50), True))


def coverage(cell: Cell, repeats: int, seed: int) -> Mapping[str, float]:
    """Coverage of the interval and means of the estimates, over the repeats that give one."""
    found = [outcome(cell, seed, repeat) for repeat in range(repeats)]
    told = np.array([each for each in found if not np.isnan(each.high)])
    if not len(told):
        return {"told": 0.0}
    low, high, corrected, true, on_all, value = told.T
    return {
        "told": len(told) / repeats,
        "coverage": float(((low <= true + 1e-12) & (true <= high + 1e-12)).mean()),
        "on_all": float(((low <= on_all + 1e-12) & (on_all <= high + 1e-12)).mean()),
        "value": float(value.mean()),
        "corrected": float(corrected.mean()),
        "true": float(true.mean()),
        "true_on_all": float(on_all.mean()),
        "high": float(high.mean()),
    }


def print_coverage(repeats: int, seed: int) -> None:
    """Print coverage by population, shift and size, then what the estimates of 15 images are."""
    sizes = [*SIZES, *PAIRED]
    heads = [f"{n[0]} pairs" if paired else f"{n[0]}/{n[1]}" for n, paired in sizes]
    print(f"| coverage of 95 %, in %, by shift: {', '.join(SHIFTS)} | {' | '.join(heads)} |")
    print("|---|" + "---|" * len(heads))
    found: dict[Cell, Mapping[str, float]] = {}
    for name in POPULATIONS:
        cells = []
        for units, paired in sizes:
            shifts = [shift for shift in SHIFTS if not (paired and shift == "none")]
            here = [Cell(name, shift, units, paired) for shift in shifts]
            found |= {cell: coverage(cell, repeats, seed) for cell in here}
            cells.append(", ".join(_covered(found[cell]) for cell in here))
        print(f"| {_starred(name)} | {' | '.join(cells)} |", flush=True)
    print("\n| 15/15 images: true (on all 100 bins), value, corrected | none | middle | strong |")
    print("|---|---|---|---|")
    for name in POPULATIONS:
        here = [found[Cell(name, shift, (15, 15), False)] for shift in ("none", "middle", "strong")]
        print(f"| {_starred(name)} | {' | '.join(map(_estimated, here))} |")


def _starred(name: str) -> str:
    return f"{name}*" if name in TUNED else name


def _covered(found: Mapping[str, float]) -> str:
    if not found["told"]:
        return "no interval"
    given = "" if found["told"] == 1 else f" of {percent(found['told'])} %"
    return f"{percent(found['coverage'])}{given}"


def _estimated(found: Mapping[str, float]) -> str:
    if not found["told"]:
        return "no interval"
    numbers = [found[key] for key in ("true", "true_on_all", "value", "corrected")]
    return "{:.3f} ({:.3f}), {:.3f}, {:.3f}".format(*numbers)


MOVES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5)


def print_power(repeats: int, seed: int) -> None:
    """Print the smallest shift (standard deviations within an image) found in 80 % of cases."""
    print("| shift found in 80 % of cases | gauss | t(3) |")
    print("|---|---:|---:|")
    designs = [Design(f"{n}/{n} images", (n, n)) for n in (8, 16, 50)]
    for design in [*designs, *UNEQUAL[:2], UNEQUAL[3]]:
        cells = []
        for name in ("gauss", "t(3)"):
            enough = (m for m in MOVES if alarms(design, name, repeats, seed, m) >= 0.8)
            cells.append(next((f"{move:g}" for move in enough), f"> {MOVES[-1]:g}"))
        print(f"| {design.name} | {' | '.join(cells)} |", flush=True)


SECTIONS: Mapping[str, Callable[[int, int], None]] = {
    "equal": lambda n, seed: print_alarms(EQUAL, [*TUNED, "smooth field", "lognormal"], n, seed),
    "unequal": lambda n, seed: print_alarms(UNEQUAL, ["gauss", "t(3)", "smooth field"], n, seed),
    "coverage": print_coverage,
    "power": print_power,
}


def main() -> None:
    """Print the tables that were asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    for section in words.sections:
        print(f"\n{section}: {words.repeats} repeats a cell, seed {words.seed}\n")
        SECTIONS[section](words.repeats, words.seed)


if __name__ == "__main__":
    main()
