"""What claims.py knows: IoU and distances of networks by fold, and numbers with their intervals.

The IoUs of a fold are arrays (1 + R,): as measured, then with the test images resampled, the same
ones for all networks; so every statistic of them has a percentile interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from skiptool.errors import ArgumentError
from skiptool.readings.difference import RESAMPLES, iou_by_fold
from skiptool.readings.subject_counts import Network, SubjectCounts, subject_counts
from skiptool.records import ORIGINAL, Shift
from skiptool.stats.bootstrap import percentile_interval, resampling_weights
from skiptool.steps.report.inputs import Inputs

DARK = Shift.parse("brightness=0.75")


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
        return ", ".join(map(signed, self.folds))

    def __str__(self) -> str:
        ends = f"[{signed(self.low)}, {signed(self.high)}]"
        return f"{signed(self.value)} {ends}{self.note}"


def signed(value: float) -> str:
    """Write a number to three places with a minus sign as in print."""
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


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
        if not self.networks and not self.distances:
            raise ArgumentError(
                "the tables hold no predictions of a U-net and no distances of one at "
                f"{DARK} against the original; give those of 'skiptool predict' and 'hellinger'"
            )

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
        sums = overlap.pixels @ self._weights  # (2, K, F, 1 + R)
        return dict(zip(overlap.folds, iou_by_fold(sums[..., np.newaxis]), strict=True))

    def shifts(self, encoder: str) -> list[Shift]:
        """Shifts under which any network of the encoder was tried with nothing clean."""
        mine = (each for each in self.networks if each.encoder == encoder)
        plain = {each.shift for each in mine if each.clean_skips is None}
        return sorted(plain - {ORIGINAL}, key=str)

    def prunings(self, encoder: str) -> list[str]:
        """Networks of an encoder with plain predictions."""
        mine = (each for each in self.networks if each.encoder == encoder)
        return list(dict.fromkeys(each.pruning for each in mine if each.clean_skips is None))


Place: TypeAlias = tuple[str, str, tuple[int | None, int | None]]
"""Encoder, pruning and training: fold and repeat, None where a model has none."""


def _distances(inputs: Inputs) -> dict[Place, dict[str, tuple[float, float]]]:
    """Corrected distance and its standard error by place and layer."""
    sources: dict[str, None] = {}
    models: dict[Place, str] = {}
    found: dict[Place, dict[str, tuple[float, float]]] = {}
    for row in _dark_rows(inputs):
        source = f"{row['dataset']} {row['domain']} in {row['bins']} bins"
        sources.setdefault(f"{source}, range {row['range_rule']}", None)
        place = (row["encoder"], row["pruning"], (row["fold"], row["repeat"]))
        if models.setdefault(place, row["model_id"]) != row["model_id"]:
            raise ArgumentError(
                f"distances of two models that are {row['encoder']}, {row['pruning']}, fold "
                f"{row['fold']}, repeat {row['repeat']}; give the tables of one training"
            )
        found.setdefault(place, {})[row["layer"]] = (row["corrected"], _error(row))
    if len(sources) > 1:
        raise ArgumentError(f"distances of {len(sources)} kinds ({'; '.join(sources)}); give one")
    return found


def _dark_rows(inputs: Inputs) -> Iterator[dict[str, Any]]:
    """Rows of U-nets' layers at brightness 0.75 against the original of the same domain."""
    names = (
        *("arch", "encoder", "pruning", "fold", "repeat", "model_id", "shift", "factor"),
        *("reference_shift", "metric", "layer", "corrected", "ci_low", "ci_high"),
        *("dataset", "domain", "reference_domain", "bins", "range_rule"),
    )
    for table in inputs.shifts:
        columns = table.lacking("channel").columns(names)
        for values in zip(*(columns[name] for name in names), strict=True):
            row: dict[str, Any] = dict(zip(names, values, strict=True))
            of = (row["arch"], row["shift"], row["factor"], row["reference_shift"], row["metric"])
            known = of == ("unet", "brightness", 0.75, "original", "hellinger")
            whole = None not in (row["corrected"], row["ci_low"], row["ci_high"])
            if known and whole and row["domain"] == row["reference_domain"]:
                yield row


def _error(row: Mapping[str, Any]) -> float:
    """Give the standard error by the longer half of the interval; the other may be cut."""
    middle = row["corrected"]
    return float(max(row["ci_high"] - middle, middle - row["ci_low"]) / 1.96)


def over_folds(function: Callable[..., Any], *scores: Mapping[int | None, Any]) -> Measure | None:
    """Apply a function to the IoUs of each fold that all have; None if it is undefined in one."""
    folds = [fold for fold in scores[0] if all(fold in each for each in scores)] if scores else []
    if not folds:
        return None
    values = np.stack([function(*(each[fold] for each in scores)) for fold in folds])
    if not np.isfinite(values[:, 0]).all():
        return None
    low, high = percentile_interval(values.mean(axis=0)[1:])
    return Measure(
        float(values[:, 0].mean()), float(low), float(high), tuple(values[:, 0].tolist())
    )


def with_errors(folds: Sequence[float], errors: Sequence[float]) -> Measure | None:
    """Average folds, whose test images are the same: their errors do not cancel."""
    if not folds:
        return None
    value, half = float(np.mean(folds)), 1.96 * float(np.mean(errors))
    return Measure(value, value - half, value + half, tuple(folds))
