"""The statistics of claims.py: functions of the IoUs and distances in the tables.

Each takes an encoder and gives None where the tables do not say. A maximum or minimum over layers,
parts or kinds is taken inside a statistic only where it works against the claim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from evidence import DARK, Evidence, Measure, of_distances, of_scores, signed

from skiptool.records import ORIGINAL, Shift

SIZES = ("resnet18", "resnet34")
ENCODER = tuple(f"enc{level}" for level in range(1, 6))
DECODER = ("dec4", "dec3", "dec2", "dec1", "dec0")
INNER = (*ENCODER, *DECODER)
PRUNINGS = ("baseline", "L1-pruned", "L2-pruned", "L3-pruned", "L4-pruned")
FURTHER = PRUNINGS[2:]
PARTS = ("1", "2", "3", "4", "bottleneck")
DARKER = tuple(Shift.parse(f"brightness={factor}") for factor in (0.5, 0.75))
BRIGHTER = tuple(Shift.parse(f"brightness={factor}") for factor in (1.25, 1.5, 1.75))

Measuring: TypeAlias = Callable[[Evidence, str], Measure | None]
"""Takes an encoder; None where the tables do not say."""


def everything_else(part: str) -> str:
    """Name all inputs of the baseline's decoder but one, as tables do: that one alone is shifted.

    Examples
    --------
    >>> everything_else("2")
    '1+3+4+bottleneck'
    """
    return "+".join(other for other in PARTS if other != part)


def _mean_difference(*scores: Any) -> Any:  # noqa: ANN401 - arrays
    """Mean of the first minus the second, the third minus the fourth, and so on."""
    return np.mean(np.subtract(scores[::2], scores[1::2]), axis=0)


def against(
    first: Sequence[str],
    second: Sequence[str],
    shifts: Sequence[Shift] | None = None,
    *,
    only: str | None = None,
) -> Measuring:
    """Mean IoU of some networks minus that of others.

    Parameters
    ----------
    first, second : sequences of str
        Prunings.
    shifts : sequence of Shift, optional
        Mean over these; by default over all that were tried, without the original.
    only : str, optional
        The one encoder of which the paper says it.
    """

    def measure(evidence: Evidence, encoder: str) -> Measure | None:
        if only not in (None, encoder):
            return None
        chosen = evidence.shifts(encoder) if shifts is None else shifts
        sides = [
            [evidence.iou(encoder, name, shift) for shift in chosen for name in names]
            for names in (first, second)
        ]
        count = len(sides[0])

        def statistic(*found: Any) -> Any:  # noqa: ANN401 - arrays
            return np.mean(found[:count], axis=0) - np.mean(found[count:], axis=0)

        return of_scores(statistic, *sides[0], *sides[1])

    return measure


def overall(first: Sequence[str], second: Sequence[str]) -> Measuring:
    """Compare as ``against``, mean over the original and all shifts that were tried."""

    def measure(evidence: Evidence, encoder: str) -> Measure | None:
        every = (ORIGINAL, *evidence.shifts(encoder))
        return against(first, second, every)(evidence, encoder)

    return measure


def best_of_all(evidence: Evidence, encoder: str) -> Measure | None:
    """Overall IoU of L1 minus that of the best of the other four."""
    every = (ORIGINAL, *evidence.shifts(encoder))
    scores = [evidence.iou(encoder, name, shift) for name in PRUNINGS for shift in every]

    def statistic(*found: Any) -> Any:  # noqa: ANN401 - arrays
        means = np.mean(np.reshape(found, (len(PRUNINGS), len(every), -1)), axis=1)
        return means[1] - np.max(np.delete(means, 1, axis=0), axis=0)

    return of_scores(statistic, *scores)


def best_in_domain(evidence: Evidence, encoder: str) -> Measure | None:
    """IoU of the original images minus the mean over all shifts, mean over networks."""
    pairs = [
        evidence.iou(encoder, name, each)
        for name in evidence.prunings(encoder)
        for shift in evidence.shifts(encoder)
        for each in (ORIGINAL, shift)
    ]
    return of_scores(_mean_difference, *pairs)


def falls_with_strength(evidence: Evidence, encoder: str) -> Measure | None:
    """IoU under the weaker of two neighbouring factors minus the stronger one, mean over all."""
    steps = []
    for kind in ("brightness", "contrast", "saturation"):
        factors = sorted({s.factor or 0.0 for s in evidence.shifts(encoder) if s.kind == kind})
        for side in ([f for f in factors if f < 1][::-1], [f for f in factors if f > 1]):
            pairs = pairwise(Shift.parse(f"{kind}={factor:g}") for factor in side)
            steps += [shift for pair in pairs for shift in pair]
    names = evidence.prunings(encoder)
    return of_scores(
        _mean_difference, *(evidence.iou(encoder, name, shift) for name in names for shift in steps)
    )


def brightness_is_worst(evidence: Evidence, encoder: str) -> Measure | None:
    """Mean loss of the baseline under brightness minus that under the worse of the other two."""
    kinds: dict[str, list[int]] = {}
    scores = [evidence.iou(encoder, "baseline")]
    for shift in evidence.shifts(encoder):
        kinds.setdefault(shift.kind.value, []).append(len(scores) - 1)
        scores.append(evidence.iou(encoder, "baseline", shift))
    if not {"brightness", "contrast", "saturation"} <= set(kinds):
        return None

    def statistic(original: Any, *shifted: Any) -> Any:  # noqa: ANN401 - arrays
        loss = {kind: np.mean([original - shifted[k] for k in ks], 0) for kind, ks in kinds.items()}
        return loss.pop("brightness") - np.max([*loss.values()], axis=0)

    return of_scores(statistic, *scores)


def relative_fall(evidence: Evidence, encoder: str) -> Measure | None:
    """Share of the baseline's IoU that is lost at brightness 0.5; the others' in the note."""
    shifts = (DARKER[0], BRIGHTER[-1])
    found = {
        (name, shift): of_scores(
            _relative_fall, evidence.iou(encoder, name), evidence.iou(encoder, name, shift)
        )
        for name in PRUNINGS
        for shift in shifts
    }
    baseline = found["baseline", shifts[0]]
    if baseline is None:
        return None
    notes = []
    for shift in shifts:
        values = [each.value for (_, of), each in found.items() if of == shift and each is not None]
        if values:
            notes.append(f"{shift} {signed(min(values))} to {signed(max(values))}")
    return replace(baseline, note=f"; all networks: {', '.join(notes)}")


def _relative_fall(before: Any, after: Any) -> Any:  # noqa: ANN401 - arrays
    """Share of the IoU that is lost; NaN where there was none to lose."""
    left = np.divide(after, before, out=np.full(np.shape(before), np.nan), where=before > 0)
    return 1 - left


def absolute(pruning: str) -> Measuring:
    """IoU of a network at brightness 0.75."""

    def measure(evidence: Evidence, encoder: str) -> Measure | None:
        return of_scores(np.asarray, evidence.iou(encoder, pruning, DARK))

    return measure


def larger_is_better(evidence: Evidence, _: str) -> Measure | None:
    """IoU of ResNet34 minus ResNet18 at brightness 0.75, mean over L2 to L4."""
    names = [(size, pruning) for pruning in FURTHER for size in SIZES[::-1]]
    scores = [evidence.iou(size, pruning, DARK) for size, pruning in names]
    return of_scores(_mean_difference, *scores)


Cells: TypeAlias = Sequence[tuple[float, float]]
"""Distances with their standard errors."""
Splitting: TypeAlias = Callable[[Sequence[Any]], tuple[Cells, Cells]]
"""Takes the layers of some networks; gives what is averaged, and what is subtracted from it."""


def layers_of(
    sizes: Sequence[str], prunings: Sequence[str], split: Splitting, scale: float = 1.0
) -> Measuring:
    """Mean of some distances minus the mean of others, by training that all networks have.

    Errors of layers and networks on the same images go together within each mean.

    Parameters
    ----------
    sizes : sequence of str
        Encoders; empty for the one that is asked for.
    prunings : sequence of str
    split : callable
    scale : float
        What the difference is multiplied by.
    """

    def measure(evidence: Evidence, encoder: str) -> Measure | None:
        distances = evidence.distances
        found = [distances.layers(size, name) for size in sizes or (encoder,) for name in prunings]
        values, errors = [], []
        for training in found[0]:
            networks = [each.get(training) for each in found]
            there = [each for each in networks if each is not None and set(INNER) <= set(each)]
            if len(there) == len(networks):
                first, second = (np.mean(cells, axis=0) for cells in split(there))
                values.append(float(scale * (first[0] - second[0])))
                errors.append(float(scale * np.hypot(first[1], second[1])))
        return of_distances(values, errors, distances.images)

    return measure


def first_against_highest(networks: Sequence[Any]) -> tuple[Cells, Cells]:
    """Distance at the first level minus the highest of the other levels of the encoder."""
    highest = [max((net[name] for name in ENCODER[1:]), key=_value) for net in networks]
    return [net["enc1"] for net in networks], highest


def smallest_step(networks: Sequence[Any]) -> tuple[Cells, Cells]:
    """Level and the next one between which the distance falls least, or rises."""
    pairs = []
    for net in networks:
        steps = [(net[a], net[b]) for a, b in pairwise(ENCODER)]
        pairs.append(min(steps, key=lambda step: step[0][0] - step[1][0]))
    return [before for before, _ in pairs], [after for _, after in pairs]


def lowest_other_against_bottleneck(networks: Sequence[Any]) -> tuple[Cells, Cells]:
    """Lowest distance of all other layers minus that of the bottleneck."""
    others = [name for name in INNER if name != "enc5"]
    lowest = [min((net[name] for name in others), key=_value) for net in networks]
    return lowest, [net["enc5"] for net in networks]


def decoder_against_bottleneck(networks: Sequence[Any]) -> tuple[Cells, Cells]:
    """Mean distance of the decoder minus that of the bottleneck."""
    decoders = [net[name] for net in networks for name in DECODER]
    return decoders, [net["enc5"] for net in networks]


def steeper_rise_of_the_first_two(networks: Sequence[Any]) -> tuple[Cells, Cells]:
    """Rise from the bottleneck to the decoder in baseline and L1, minus that in L2 to L4.

    A rise is a difference: (rise of two) - (rise of three) puts the bottlenecks on the other side.
    """
    rises = []
    for group in (networks[:2], networks[2:]):
        decoder, bottleneck = (np.mean(c, axis=0) for c in decoder_against_bottleneck(group))
        rises.append((decoder[0] - bottleneck[0], float(np.hypot(decoder[1], bottleneck[1]))))
    return [rises[0]], [rises[1]]


def falls_by_skip(networks: Sequence[Any]) -> tuple[Cells, Cells]:
    """Take distances of the decoder whose difference of means, times 0.3, is the fall by skip.

    The least-squares slope over k = 0 to 4 is (2 y4 + y3 - y1 - 2 y0) / 10.
    """
    weights = ((0, 0, 1), (3, 4, 4))
    first, second = ([networks[k][name] for k in ks for name in DECODER] for ks in weights)
    return first, second


def smaller_against_larger(networks: Sequence[Any]) -> tuple[Cells, Cells]:
    """All layers of the first half of the networks minus those of the second half."""
    half = len(networks) // 2
    first, second = (
        [net[name] for net in part for name in INNER] for part in (networks[:half], networks[half:])
    )
    return first, second


def _value(cell: tuple[float, float]) -> float:
    return cell[0]


def enough(shifts: Sequence[Shift]) -> Measuring:
    """IoU with a clean L1 alone minus the best of the other parts alone, mean over shifts."""

    def statistic(*found: Any) -> Any:  # noqa: ANN401 - arrays
        parts = np.reshape(found, (len(shifts), len(PARTS), -1))
        return np.mean(parts[:, 0] - parts[:, 1:].max(axis=1), axis=0)

    return _of_parts([(shift, part) for shift in shifts for part in PARTS], statistic)


def carries(shifts: Sequence[Shift]) -> Measuring:
    """IoU with the costliest of the other parts alone shifted minus L1 alone, mean over shifts."""

    def statistic(*found: Any) -> Any:  # noqa: ANN401 - arrays
        parts = np.reshape(found, (len(shifts), len(PARTS), -1))
        return np.mean(parts[:, 1:].min(axis=1) - parts[:, 0], axis=0)

    cells = [(shift, everything_else(part)) for shift in shifts for part in PARTS]
    return _of_parts(cells, statistic)


def _of_parts(cells: Sequence[tuple[Shift, str]], statistic: Callable[..., Any]) -> Measuring:
    def measure(evidence: Evidence, encoder: str) -> Measure | None:
        scores = (evidence.iou(encoder, "baseline", *cell) for cell in cells)
        return of_scores(statistic, *scores)

    return measure
