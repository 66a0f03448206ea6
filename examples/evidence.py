"""What claims.py measures: IoU and distances of networks, and differences of them by fold.

Every statistic is a function of the IoUs of a fold, which are arrays (1 + R,): as measured, then
with the test images resampled, the same ones for all networks; so each has a percentile interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from skiptool.errors import ArgumentError
from skiptool.readings.difference import RESAMPLES
from skiptool.readings.subject_counts import Network, SubjectCounts, subject_counts
from skiptool.records import ORIGINAL, Shift
from skiptool.stats.bootstrap import percentile_interval, resampling_weights
from skiptool.steps.report.inputs import Inputs

DARK = Shift.parse("brightness=0.75")
SIZES = ("resnet18", "resnet34")
ENCODER = tuple(f"enc{level}" for level in range(1, 6))
PRUNINGS = ("baseline", "L1-pruned", "L2-pruned", "L3-pruned", "L4-pruned")
PARTS = ("1", "2", "3", "4", "bottleneck")
INNER = (*ENCODER, "dec4", "dec3", "dec2", "dec1", "dec0")


@dataclass(frozen=True)
class Measure:
    """A number with its 95 % interval, and what each fold says."""

    value: float
    low: float
    high: float
    folds: tuple[float, ...]
    note: str = ""

    def verdict(self, least: float, most: float = np.inf) -> str:
        """Tell whether it lies between two thresholds."""
        inside = self.low > least and self.high < most
        outside = self.high < least or self.low > most
        within = [least < fold < most for fold in self.folds]
        if inside and all(within):
            return "agrees"
        return "disagrees" if outside and not any(within) else "not decided"

    @property
    def by_fold(self) -> str:
        """The folds' numbers."""
        return ", ".join(map(_signed, self.folds))

    def __str__(self) -> str:
        ends = f"[{_signed(self.low)}, {_signed(self.high)}]"
        return f"{_signed(self.value)} {ends}{self.note}"


def _signed(value: float) -> str:
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


Measuring: TypeAlias = "Callable[[Evidence, str], Measure | None]"
"""Takes an encoder; None where the tables do not say."""


class Evidence:
    """IoU and distances of all networks, asked for by encoder and pruning."""

    def __init__(self, inputs: Inputs, seed: int) -> None:
        found = subject_counts(inputs.totals("subject"), substituted=True)
        if len(found) > 1:
            names = "; ".join(f"{each.dataset} {each.domain} {each.split}" for each in found)
            raise ArgumentError(f"predictions of {len(found)} test sets ({names}); give one")
        self.counts: SubjectCounts | None = found[0] if found else None
        networks = self.counts.networks if self.counts else {}
        self.networks = [each for each in networks if each.arch == "unet" and not each.ensemble]
        subjects = len(self.counts.subjects) if self.counts else 1
        drawn = resampling_weights(subjects, RESAMPLES, np.random.default_rng([seed, subjects]))
        self._weights = np.concatenate([np.ones((1, subjects)), drawn]).T
        self._known: dict[Network, dict[int | None, Any]] = {}
        self.distances = _distances(inputs)

    def iou(
        self, encoder: str, pruning: str, shift: Shift = ORIGINAL, clean: str | None = None
    ) -> dict[int | None, Any]:
        """IoU (1 + R,) by fold: as measured, then resampled; empty where it was not measured."""
        network = Network("unet", encoder, pruning, False, shift, clean)
        if network not in self._known:
            self._known[network] = self._scores(network)
        return self._known[network]

    def _scores(self, network: Network) -> dict[int | None, Any]:
        if self.counts is None or network not in self.counts.networks:
            return {}
        overlap = self.counts.networks[network]
        both, either = overlap.pixels @ self._weights  # (K, F, 1 + R)
        with np.errstate(invalid="ignore"):
            mean = np.nanmean(both / either, axis=0)
        return dict(zip(overlap.folds, mean, strict=True))

    def shifts(self, encoder: str) -> list[Shift]:
        """Shifts of the sweep under which the baseline was tried."""
        mine = (each for each in self.networks if each.encoder == encoder)
        plain = {each.shift for each in mine if each.clean_skips is None}
        return sorted(plain - {ORIGINAL}, key=str)

    def prunings(self, encoder: str) -> list[str]:
        """Networks of an encoder with plain predictions."""
        mine = (each for each in self.networks if each.encoder == encoder)
        return list(dict.fromkeys(each.pruning for each in mine if each.clean_skips is None))


def _distances(inputs: Inputs) -> dict[tuple[str, str, int], dict[str, tuple[float, float]]]:
    """Corrected distance and its standard error by encoder, pruning and fold, and layer."""
    names = (
        *("arch", "encoder", "pruning", "fold", "shift", "factor", "reference_shift"),
        *("metric", "layer", "corrected", "ci_low", "ci_high"),
    )
    found: dict[tuple[str, str, int], dict[str, tuple[float, float]]] = {}
    for table in inputs.shifts:
        columns = table.lacking("channel").columns(names)
        for values in zip(*(columns[name] for name in names), strict=True):
            row: dict[str, Any] = dict(zip(names, values, strict=True))
            of = (row["arch"], row["shift"], row["factor"], row["reference_shift"], row["metric"])
            known = of == ("unet", "brightness", 0.75, "original", "hellinger")
            if known and row["corrected"] is not None:
                error = (row["ci_high"] - row["ci_low"]) / (2 * 1.96)
                place = (row["encoder"], row["pruning"], row["fold"])
                found.setdefault(place, {})[row["layer"]] = (row["corrected"], error)
    return found


def over_folds(function: Callable[..., Any], *scores: Mapping[int | None, Any]) -> Measure | None:
    """Apply a function to the IoUs of each fold that all have."""
    folds = [fold for fold in scores[0] if all(fold in each for each in scores)] if scores else []
    if not folds:
        return None
    values = np.stack([function(*(each[fold] for each in scores)) for fold in folds])
    low, high = percentile_interval(values.mean(axis=0)[1:])
    return Measure(
        float(values[:, 0].mean()), float(low), float(high), tuple(values[:, 0].tolist())
    )


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
            measure = over_folds(lambda before, after: 1 - after / before, *both)
            if measure is not None:
                found.append((measure, f" ({pruning}, {shift})"))
    if not found:
        return None
    most, where = max(found, key=lambda each: each[0].value)
    return Measure(most.value, most.low, most.high, most.folds, where)


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
    return _with_errors(folds, errors)


def _with_errors(folds: Sequence[float], errors: Sequence[float]) -> Measure | None:
    """Average folds, whose test images are the same: their errors do not cancel."""
    if not folds:
        return None
    value, half = float(np.mean(folds)), 1.96 * float(np.mean(errors))
    return Measure(value, value - half, value + half, tuple(folds))


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
    """Mean distance of enc1 to dec0, ResNet18 minus ResNet34, mean over L2 to L4, by fold."""
    folds, errors = [], []
    for fold in sorted({fold for _, _, fold in evidence.distances}):
        parts = [evidence.distances.get((size, p, fold)) for p in PRUNINGS[2:] for size in SIZES]
        there = [part for part in parts if part is not None and set(INNER) <= set(part)]
        if len(there) == len(parts):
            means = [np.mean([part[layer] for layer in INNER], axis=0) for part in there]
            values, widths = np.transpose(means)  # errors of layers and networks go together
            folds.append(float(np.mean(values[::2] - values[1::2])))
            errors.append(float(np.hypot(np.mean(widths[::2]), np.mean(widths[1::2]))))
    return _with_errors(folds, errors)


def uppermost_carries(evidence: Evidence, encoder: str) -> Measure | None:
    """IoU with clean L1 minus the best of the other parts alone, mean over brightness."""
    mine = [n for n in evidence.networks if (n.encoder, n.pruning) == (encoder, "baseline")]
    shifts = sorted({n.shift for n in mine if n.clean_skips == "1"}, key=str)
    shifts = [shift for shift in shifts if shift.kind.value == "brightness"]
    scores = [evidence.iou(encoder, "baseline", s, part) for s in shifts for part in PARTS]

    def statistic(*found: Any) -> Any:  # noqa: ANN401 - arrays
        parts = np.stack(found).reshape(len(shifts), len(PARTS), -1)
        return np.mean(parts[:, 0] - parts[:, 1:].max(axis=1), axis=0)

    return over_folds(statistic, *scores)
