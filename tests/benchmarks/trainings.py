"""False alarms and power of comparisons of two architectures whose trainings vary.

Usage: python tests/benchmarks/trainings.py [PAIRS]          simulated; default 400 pairs a cell
       python tests/benchmarks/trainings.py --measured [DIR]  networks that are trained for it

Simulated: subjects of 10,000 cell pixels have an IoU of their own (standard deviation 0.1), which
both architectures share; each training has an effect, and each subject in each training another
one. ``old`` is the rule up to version 0.1: networks are fixed, and exchanged within subjects.

Measured: the baseline ResNet18 from random weights, 3 folds x 4 repeats, on synthetic smears of
96 px (72 to train on, 24 to test on, 10 epochs). Each repeat is compared with each other one as if
it were another architecture, under the paper's sweep: nothing differs but the random seed. Prints
Markdown.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool import predict_dataset, synthesise_dataset, train_models
from skiptool.analysis.differences import (
    Differences,
    baselines,
    differences,
    iou_by_training,
    paired_differences,
    subject_counts,
)
from skiptool.metrics import Score, scores
from skiptool.records import ORIGINAL, PAPER_SWEEP, Training
from skiptool.stats.permutation import holm
from skiptool.steps.report import read_inputs

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "paper"))
from claim_measures import against
from evidence import Distances, Evidence

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float64

TRAININGS, SUBJECTS = (2, 3, 5, 10, 15), (8, 12, 24, 40)
BETWEEN = (0.0, 0.005, 0.02, 0.05)  # standard deviation of IoU between trainings
PIXELS, MEAN, SHARED = 10_000, 0.7, 0.1
EXCHANGES = 499
REPEATS, FOLDS = 4, 3
ABOUT = """
Holm: over the sweep, as in the report. Without it: the rule of claims.py for one number alone, in
domain, mean over shifts and each shift."""


@dataclass(frozen=True)
class Population:
    """What varies in the difference of two architectures, as standard deviations of IoU."""

    trainings: int
    subjects: int
    between: float
    interaction: float = 0.03
    gains: float = 0.0  # of the difference between subjects, the same in all trainings
    difference: float = 0.0
    nested: bool = False  # each fold has subjects of its own
    collapses: float = 0.0  # share of trainings that lose another 0.3

    def draw(self, rng: np.random.Generator, pairs: int) -> tuple[Float64, Float64, AnyArray]:
        """Pixels of both (2, 1, T, P, S), and subjects of each training (T, S)."""
        many = self.subjects * (self.trainings if self.nested else 1)
        size = (2, 1, self.trainings, pairs, many)
        iou = MEAN + rng.normal(0, SHARED, (1, 1, 1, pairs, many))
        side = np.array([0.5, -0.5]).reshape(2, 1, 1, 1, 1)
        gain = self.difference + rng.normal(0, self.gains, (1, 1, 1, pairs, many))
        iou = iou + side * gain + rng.normal(0, self.between, (*size[:-1], 1))
        iou = iou + rng.normal(0, self.interaction, size)
        if self.collapses:
            iou = iou - 0.3 * (rng.random((*size[:-1], 1)) < self.collapses)
        present = np.ones((self.trainings, many), dtype=bool)
        if self.nested:
            present = np.repeat(np.eye(self.trainings, dtype=bool), self.subjects, axis=1)
        here = present[:, np.newaxis]
        both = np.round(np.clip(iou, 0.0, 1.0) * PIXELS) * here
        either = np.broadcast_to(np.full(size[1:], float(PIXELS)) * here, size[1:])
        return np.stack([both[0], either]), np.stack([both[1], either]), present


def p_values(found: Differences) -> Float64:
    """One for each pair."""
    return np.array([one.p_value for one in found.found])


def old_p_values(first: Float64, second: Float64, rng: np.random.Generator) -> Float64:
    """Exchange the two networks within subjects: the share of differences that are as large."""
    subjects = first.shape[-1]
    swaps = rng.integers(0, 2, (subjects, EXCHANGES)).astype(np.float64)
    reached = []
    for pair in range(first.shape[3]):
        mine, other = first[:, :, :, pair], second[:, :, :, pair]
        moved = (other - mine) @ swaps
        sums = (part.sum(axis=-1, keepdims=True) for part in (mine, other))
        a, b = (total + sign * moved for total, sign in zip(sums, (1, -1), strict=True))
        changed = np.abs(_mean_difference(a[..., np.newaxis], b[..., np.newaxis]))
        found = abs(_mean_difference(mine, other))
        reached.append((1 + np.sum(changed >= found * (1 - 1e-9))) / (1 + EXCHANGES))
    return np.array(reached)


def _mean_difference(first: Float64, second: Float64) -> Any:  # noqa: ANN401 - array or number
    return np.mean(iou_by_training(first) - iou_by_training(second), axis=0)


def rates(population: Population, pairs: int, *, old: int = 0) -> tuple[float, float, float]:
    """Share of p < 0.05, share by the old rule (of ``old`` pairs), mean half width of intervals."""
    rng = np.random.default_rng([7, population.trainings, population.subjects])
    first, second, present = population.draw(rng, pairs)
    found = differences(first, second, present)
    widths = [(one.ci_high - one.ci_low) / 2 for one in found.found]
    before = np.nan
    if old:
        before = float(np.mean(old_p_values(first[..., :old, :], second[..., :old, :], rng) < 0.05))
    return float(np.mean(p_values(found) < 0.05)), before, float(np.mean(widths))


Alarms = dict[tuple[int, int, float], tuple[float, float]]
"""By trainings, subjects and standard deviation between trainings: the new rule and the old one."""


def alarms_of_seeds(pairs: int) -> Alarms:
    """Only the training differs."""
    return {
        (trainings, subjects, between): rates(
            Population(trainings, subjects, between), pairs, old=min(pairs, 150)
        )[:2]
        for trainings, subjects, between in product(TRAININGS, SUBJECTS, BETWEEN)
    }


def alarm_rows(found: Alarms) -> Iterator[str]:
    """Lay out one row for each number of trainings and subjects."""
    yield "| trainings | subjects | " + " | ".join(f"sd {sd:g}" for sd in BETWEEN) + " |"
    yield "|---:|---:|" + "---:|" * len(BETWEEN)
    for trainings, subjects in product(TRAININGS, SUBJECTS):
        both = (found[trainings, subjects, between] for between in BETWEEN)
        cells = [f"{100 * new:.1f} (old {100 * old:.0f})" for new, old in both]
        yield f"| {trainings} | {subjects} | {' | '.join(cells)} |"


def short_rows(found: Alarms, power: dict[int, list[float]]) -> Iterator[str]:
    """Lay out ranges over the numbers of subjects, for the README."""
    shown = (0.0, 0.02, 0.05)
    heads = " | ".join(f"old rule, sd {sd:g}" for sd in shown)
    yield f"| trainings | false alarms | {heads} | 0.05 is found |"
    yield "|---:|---:|" + "---:|" * (len(shown) + 1)
    for trainings in TRAININGS:
        new = [each[0] for key, each in found.items() if key[0] == trainings]
        old = [[found[trainings, s, sd][1] for s in SUBJECTS] for sd in shown]
        cells = " | ".join(f"{100 * min(each):.0f} to {100 * max(each):.0f} %" for each in old)
        alarms = f"{100 * min(new):.1f} to {100 * max(new):.1f} %"
        yield f"| {trainings} | {alarms} | {cells} | {100 * power[trainings][2]:.0f} % |"


def further_rows(pairs: int) -> Iterator[str]:
    """Gains that vary between subjects, strong interaction, folds with their own subjects."""
    kinds = {
        "gains vary between subjects (sd 0.05)": {"gains": 0.05},
        "strong interaction (sd 0.1)": {"interaction": 0.1},
        "one training in ten collapses by 0.3": {"collapses": 0.1},
        "each fold on its own subjects": {"nested": True, "gains": 0.05},
    }
    yield "| | trainings | " + " | ".join(f"sd {sd:g}" for sd in BETWEEN) + " |"
    yield "|---|---:|" + "---:|" * len(BETWEEN)
    for (name, more), trainings in product(kinds.items(), TRAININGS):
        cells = []
        for between in BETWEEN:
            found = [
                rates(Population(trainings, subjects, between, **more), pairs)[0]  # type: ignore[arg-type]
                for subjects in (8, 24)
            ]
            cells.append(", ".join(f"{100 * alarms:.1f}" for alarms in found))
        yield f"| {name} | {trainings} | {' | '.join(cells)} |"


SIZES = (0.01, 0.02, 0.05, 0.1)


def powers(pairs: int) -> dict[int, list[float]]:
    """How often true differences are found, 24 subjects, sd 0.02; last the half interval."""
    power = {}
    for trainings in TRAININGS:
        found = [rates(Population(trainings, 24, 0.02, difference=size), pairs) for size in SIZES]
        power[trainings] = [*(each[0] for each in found), found[0][2]]
    return power


def power_rows(found: dict[int, list[float]]) -> Iterator[str]:
    """Lay out a row for each number of trainings."""
    yield "| trainings | " + " | ".join(f"{size:g}" for size in SIZES) + " | interval, +- |"
    yield "|---:|" + "---:|" * (len(SIZES) + 1)
    for trainings, (*power, width) in found.items():
        cells = " | ".join(f"{100 * each:.0f}" for each in power)
        yield f"| {trainings} | {cells} | {width:.3f} |"


def simulated(pairs: int) -> None:
    """Print all tables."""
    print(f"Share of p < 0.05 in %, of {pairs:,} pairs a cell; sd: between trainings.\n")
    print("Only the training differs (in brackets the old rule):\n")
    alarms = alarms_of_seeds(pairs)
    print(*alarm_rows(alarms), sep="\n", flush=True)
    print("\nThe mean difference is 0, and more varies (8 subjects, then 24):\n")
    print(*further_rows(pairs), sep="\n", flush=True)
    print("\nPower: true difference of IoU (24 subjects, sd 0.02):\n")
    power = powers(pairs)
    print(*power_rows(power), sep="\n", flush=True)
    print("\nIn short:\n")
    print(*short_rows(alarms, power), sep="\n", flush=True)


def trained(folder: Path) -> Path:
    """Train 3 folds x 4 repeats of the baseline and predict the sweep; return its table."""
    data, runs, table = (folder / name for name in ("synth.zarr", "runs", "sweep.parquet"))
    size = {"size": 96, "canvas": 281, "cells": (1, 6), "folds": FOLDS, "test_fraction": 0.25}
    synthesise_dataset(data, n=96, **size, resume=True)  # type: ignore[arg-type]
    protocol = Training(fold=0, epochs=10, lr=1e-3, lr_step=7, encoder_weights="none")
    train_models(data, runs, repeats=REPEATS, protocol=protocol, keep_last=False, resume=True)
    models = sorted(path.parent for path in runs.rglob("config.json"))
    predict_dataset(models, data, table, shifts=PAPER_SWEEP, resume=True)
    return table


def as_another(
    totals: dict[str, list[Any]], first: Sequence[int], second: Sequence[int]
) -> dict[str, list[Any]]:
    """Take some repeats as the baseline's and some as those of another architecture."""
    chosen = {repeat: ("baseline", number) for number, repeat in enumerate(first)}
    chosen |= {repeat: ("L1-pruned", number) for number, repeat in enumerate(second)}
    kept = [place for place, repeat in enumerate(totals["repeat"]) if repeat in chosen]
    renamed = {name: [column[place] for place in kept] for name, column in totals.items()}
    facts = [chosen[repeat] for repeat in renamed["repeat"]]
    renamed["pruning"] = [pruning for pruning, _ in facts]
    renamed["repeat"] = [number for _, number in facts]
    return renamed


def against_itself(totals: dict[str, list[Any]]) -> tuple[Float64, Float64, list[float]]:
    """Compare both in the report's way: p-values by the new rule and the old one, differences."""
    found = paired_differences(totals)
    new = holm(np.array([one.p_value for one in found]))
    return new, holm(_old_of_totals(totals)), [one.value for one in found]


def claimed_of_itself(totals: dict[str, list[Any]]) -> Float64:
    """Compare both as claims.py does, one by one: in domain, mean over shifts, each shift."""
    evidence = Evidence(totals, Distances({}, 0))
    shifts = evidence.shifts("resnet18")
    chosen = [[ORIGINAL], shifts, *([shift] for shift in shifts)]
    found = [against(["L1-pruned"], ["baseline"], each)(evidence, "resnet18") for each in chosen]
    return np.array([one.p_value for one in found if one is not None])


def _old_of_totals(totals: dict[str, list[Any]]) -> Float64:
    """Compute p-values of the old rule, in the order of ``paired_differences``."""
    (counts,) = subject_counts(totals)
    p_values = []
    for network, partner in baselines(counts).items():
        mine, other = (
            counts.networks[each].pixels[:, :, :, np.newaxis] for each in (network, partner)
        )
        p_values.append(old_p_values(mine, other, np.random.default_rng(0))[0])
    return np.array(p_values)


def measured(folder: Path) -> None:
    """Print how often an architecture differs from itself, and by how much its repeats do."""
    inputs = read_inputs([trained(folder)])
    totals = inputs.totals("subject")
    every = range(REPEATS)
    halves = [(half, tuple(set(every) - set(half))) for half in combinations(every, REPEATS // 2)]
    kinds: dict[str, list[tuple[tuple[int, ...], tuple[int, ...]]]] = {
        f"{FOLDS} trainings against {FOLDS}": [((a,), (b,)) for a, b in combinations(every, 2)],
        f"{2 * FOLDS} against {2 * FOLDS}": [pair for pair in halves if 0 in pair[0]],
    }
    print("ResNet18 against itself with other seeds, p < 0.05.\n")
    print("| | comparisons | old rule, Holm | new rule, Holm | new rule | largest difference |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, pairs in kinds.items():
        chosen = [as_another(totals, *pair) for pair in pairs]
        found = [against_itself(each) for each in chosen]
        new, old = (np.concatenate([each[k] for each in found]) for k in range(2))
        claimed = np.concatenate([claimed_of_itself(each) for each in chosen])
        most = max(abs(value) for _, _, values in found for value in values)
        raw = f"{np.sum(claimed < 0.05)} of {len(claimed)}"
        alarms = f"{np.sum(old < 0.05)} | {np.sum(new < 0.05)} | {raw}"
        print(f"| {name} | {len(new)} | {alarms} | {most:.2f} |")
    print(ABOUT)
    print_repeats(scores(inputs.totals()))


def print_repeats(rated: Sequence[Score]) -> None:
    """Print the greatest difference of two repeats of a fold, and the IoU of each repeat."""
    alike = [(a, b) for a, b in combinations(rated, 2) if (a.shift, a.fold) == (b.shift, b.fold)]
    a, b = max(alike, key=lambda pair: abs(pair[0].miou - pair[1].miou))
    print(f"\nTwo repeats of a fold differ most under {a.shift}: {a.miou:.3f} and {b.miou:.3f}.")
    print("\nIoU by repeat, folds averaged:\n")
    every = range(REPEATS)
    print("| shift | " + " | ".join(f"repeat {repeat}" for repeat in every) + " |")
    print("|---|" + "---:|" * REPEATS)
    for shift in dict.fromkeys(score.shift for score in rated):
        means = [
            np.mean([s.miou for s in rated if (s.shift, s.repeat) == (shift, repeat)])
            for repeat in every
        ]
        print(f"| {shift} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")


def main() -> None:
    """Print one of both."""
    words = sys.argv[1:]
    if words[:1] != ["--measured"]:
        simulated(int(words[0]) if words else 400)
    elif words[1:]:
        Path(words[1]).mkdir(parents=True, exist_ok=True)
        measured(Path(words[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            measured(Path(folder))


if __name__ == "__main__":
    main()
