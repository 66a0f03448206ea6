"""The statistics of claims.py: functions of the IoUs and distances in the tables.

Each takes an encoder and gives None where the tables do not say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from evidence import DARK, Evidence, Measure, over_folds, signed, with_errors

from skiptool.records import ORIGINAL, Shift

SIZES = ("resnet18", "resnet34")
ENCODER = tuple(f"enc{level}" for level in range(1, 6))
PRUNINGS = ("baseline", "L1-pruned", "L2-pruned", "L3-pruned", "L4-pruned")
PARTS = ("1", "2", "3", "4", "bottleneck")
INNER = (*ENCODER, "dec4", "dec3", "dec2", "dec1", "dec0")

Measuring: TypeAlias = Callable[[Evidence, str], Measure | None]
"""Takes an encoder; None where the tables do not say."""


def brightness_is_worst(evidence: Evidence, encoder: str) -> Measure | None:
    """Mean loss under brightness minus that under the worse of the other two."""
    plain = evidence.iou(encoder, "baseline")
    kinds: dict[str, list[int]] = {}
    scores = []
    for place, shift in enumerate(evidence.shifts(encoder)):
        kinds.setdefault(shift.kind.value, []).append(place)
        scores.append(evidence.iou(encoder, "baseline", shift))
    if not {"brightness", "contrast", "saturation"} <= set(kinds):
        return None

    def statistic(original: Any, *shifted: Any) -> Any:  # noqa: ANN401 - arrays
        loss = {kind: np.mean([original - shifted[k] for k in ks], 0) for kind, ks in kinds.items()}
        return loss.pop("brightness") - np.max([*loss.values()], axis=0)

    return over_folds(statistic, plain, *scores)


def greatest_fall(evidence: Evidence, encoder: str) -> Measure | None:
    """Greatest relative fall of IoU of a network under one shift."""
    found = []
    for pruning in evidence.prunings(encoder):
        for shift in evidence.shifts(encoder):
            both = (evidence.iou(encoder, pruning), evidence.iou(encoder, pruning, shift))
            measure = over_folds(_relative_fall, *both)
            if measure is not None:
                found.append((measure, f" ({pruning}, {shift})"))
    if not found:
        return None
    most, where = max(found, key=lambda each: each[0].value)
    return Measure(most.value, most.low, most.high, most.folds, where)


def _relative_fall(before: Any, after: Any) -> Any:  # noqa: ANN401 - arrays
    """Share of the IoU that is lost; NaN where there was none to lose."""
    left = np.divide(after, before, out=np.full(np.shape(before), np.nan), where=before > 0)
    return 1 - left


def _mean_difference(*scores: Any) -> Any:  # noqa: ANN401 - arrays
    """Mean of the first minus the second, the third minus the fourth, and so on."""
    return np.mean(np.subtract(scores[::2], scores[1::2]), axis=0)


def against(network: str, other: str, *, shifted: bool = False) -> Measuring:
    """IoU of a network minus another's, in domain or mean over the sweep."""

    def measure(evidence: Evidence, encoder: str) -> Measure | None:
        shifts = evidence.shifts(encoder) if shifted else [ORIGINAL]
        pairs = [evidence.iou(encoder, name, s) for s in shifts for name in (network, other)]
        return over_folds(_mean_difference, *pairs)

    return measure


def along_encoder(statistic: Callable[[Sequence[float]], tuple[int, int]]) -> Measuring:
    """Distance of one encoder level minus that of another, which the statistic picks of five."""

    def measure(evidence: Evidence, encoder: str) -> Measure | None:
        found = {
            pruning: _difference_of_levels(evidence, encoder, pruning, statistic)
            for pruning in PRUNINGS
        }
        baseline = found.pop("baseline")
        others = [each for each in found.values() if each is not None]
        if baseline is None:
            return None
        also = sum(each.verdict(0.0) == "agrees" for each in others)
        note = f"; also {also} of {len(others)} pruned" if others else ""
        return Measure(baseline.value, baseline.low, baseline.high, baseline.folds, note)

    return measure


def _difference_of_levels(
    evidence: Evidence,
    encoder: str,
    pruning: str,
    statistic: Callable[[Sequence[float]], tuple[int, int]],
) -> Measure | None:
    folds, errors = [], []
    for (size, name, _), layers in evidence.distances.items():
        if (size, name) == (encoder, pruning) and set(ENCODER) <= set(layers):
            values, widths = zip(*(layers[layer] for layer in ENCODER), strict=True)
            first, second = statistic(values)
            folds.append(values[first] - values[second])
            errors.append(float(np.hypot(widths[first], widths[second])))
    return with_errors(folds, errors)


def first_is_highest(values: Sequence[float]) -> tuple[int, int]:
    """Level 1 and the highest of the others."""
    return 0, 1 + int(np.argmax(values[1:]))


def first_and_last(_: Sequence[float]) -> tuple[int, int]:
    """Level 1 and the bottleneck."""
    return 0, 4


def smallest_step(values: Sequence[float]) -> tuple[int, int]:
    """Two levels one after the other, between which it falls least or rises."""
    place = int(np.argmin(-np.diff(values)))
    return place, place + 1


def larger_is_better(evidence: Evidence, _: str) -> Measure | None:
    """IoU of ResNet34 minus ResNet18 at brightness 0.75, mean over L2 to L4."""
    names = [(size, pruning) for pruning in PRUNINGS[2:] for size in SIZES[::-1]]
    scores = [evidence.iou(size, pruning, DARK) for size, pruning in names]
    return over_folds(_mean_difference, *scores)


def larger_is_nearer(evidence: Evidence, _: str) -> Measure | None:
    """Distance from L2 to L4 to the baseline in IoU at brightness 0.75, ResNet18 minus ResNet34."""
    scores = [
        evidence.iou(size, name, DARK) for size in SIZES for name in ("baseline", *PRUNINGS[2:])
    ]

    def statistic(*found: Any) -> Any:  # noqa: ANN401 - arrays
        half = len(found) // 2
        near = [
            np.mean(np.abs(part[1:] - part[0]), 0) for part in np.split(np.stack(found), [half])
        ]
        return near[0] - near[1]

    return over_folds(statistic, *scores)


def larger_has_lower_distance(evidence: Evidence, _: str) -> Measure | None:
    """Mean distance of enc1 to dec0, ResNet18 minus ResNet34, mean over L2 to L4, by training."""
    trainings, errors = [], []
    for training in dict.fromkeys(training for _, _, training in evidence.distances):
        parts = [
            evidence.distances.get((size, p, training)) for p in PRUNINGS[2:] for size in SIZES
        ]
        there = [part for part in parts if part is not None and set(INNER) <= set(part)]
        if len(there) == len(parts):
            means = [np.mean([part[layer] for layer in INNER], axis=0) for part in there]
            values, widths = np.transpose(means)  # errors of layers and networks go together
            trainings.append(float(np.mean(values[::2] - values[1::2])))
            errors.append(float(np.hypot(np.mean(widths[::2]), np.mean(widths[1::2]))))
    return with_errors(trainings, errors)


def uppermost_carries(evidence: Evidence, encoder: str) -> Measure | None:
    """IoU with clean L1 minus the best of the other parts alone, mean over brightness."""
    mine = [n for n in evidence.networks if (n.encoder, n.pruning) == (encoder, "baseline")]
    shifts = sorted({n.shift for n in mine if n.clean_skips == "1"}, key=str)
    measure = _advantage(evidence, encoder, [s for s in shifts if s.kind.value == "brightness"])
    if measure is None:
        return None
    each = [(shift, _advantage(evidence, encoder, [shift])) for shift in shifts]
    one_by_one = [f"{shift} {signed(found.value)}" for shift, found in each if found is not None]
    return replace(measure, note=f"; {', '.join(one_by_one)}")


def _advantage(evidence: Evidence, encoder: str, shifts: Sequence[Shift]) -> Measure | None:
    """IoU with clean L1 minus the best of the other parts alone, mean over shifts."""
    scores = [evidence.iou(encoder, "baseline", s, part) for s in shifts for part in PARTS]

    def statistic(*found: Any) -> Any:  # noqa: ANN401 - arrays
        parts = np.stack(found).reshape(len(shifts), len(PARTS), -1)
        return np.mean(parts[:, 0] - parts[:, 1:].max(axis=1), axis=0)

    return over_folds(statistic, *scores)
