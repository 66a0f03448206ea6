"""What claims.py knows: IoU and distances of networks by training, and numbers with intervals.

The IoUs of a training are arrays (1 + S,): of all test images, then without each of them. Every
statistic of them is analysed over trainings and images (:mod:`skiptool.stats.two_way`), both as
random: two networks of one architecture are two trainings, never a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from skiptool.analysis.differences import (
    NetworkCondition,
    SubjectCounts,
    Training,
    leave_one_out_iou,
    subject_counts,
)
from skiptool.errors import ArgumentError
from skiptool.records import ORIGINAL, Shift
from skiptool.report.inputs import Inputs
from skiptool.stats.two_way import OverTrainings, over_trainings, with_known_error

DARK = Shift.parse("brightness=0.75")
ALPHA = 0.05

Scores: TypeAlias = Mapping[Training, Any]
"""IoU (1 + S,) by training."""


@dataclass(frozen=True)
class Measure:
    """A number with its interval, what each training says, and a p-value against a threshold."""

    found: OverTrainings
    trainings: tuple[float, ...]
    p_value: float
    least: float = 0.0
    note: str = ""

    @property
    def value(self) -> float:
        """Mean over trainings."""
        return self.found.value

    def verdict(self, adjusted: float) -> str:
        """Tell on which side of the threshold it lies, by a p-value that counts all tests."""
        if len(self.trainings) < 2:
            return "not decided (one training)"
        if not adjusted < ALPHA:
            return "not decided"
        return "agrees" if self.value > self.least else "disagrees"

    def __str__(self) -> str:
        low, high = self.found.ci_low, self.found.ci_high
        ends = "" if np.isnan(low) else f" [{signed(low)}, {signed(high)}]"
        return f"{signed(self.value)}{ends}{self.note}"


def signed(value: float) -> str:
    """Write a number to three places with a minus sign as in print."""
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


Place: TypeAlias = tuple[str, str, Training]
"""Encoder, pruning and training."""


@dataclass(frozen=True)
class Distances:
    """Corrected distance and its standard error over images by network and layer."""

    found: Mapping[Place, Mapping[str, tuple[float, float]]]
    images: int

    def layers(self, encoder: str, pruning: str) -> dict[Training, Mapping[str, Any]]:
        """Layers of each training of a network."""
        return {
            training: layers
            for (size, name, training), layers in self.found.items()
            if (size, name) == (encoder, pruning)
        }


class Evidence:
    """IoU and distances of all networks, asked for by encoder and pruning.

    Parameters
    ----------
    totals : mapping of column name to values
        See :func:`skiptool.analysis.differences.subject_counts`; of one test set.
    distances : Distances
    """

    def __init__(self, totals: Mapping[str, Sequence[Any]], distances: Distances) -> None:
        found = subject_counts(totals, substituted=True)
        if len(found) > 1:
            names = "; ".join(f"{each.dataset} {each.domain} {each.split}" for each in found)
            raise ArgumentError(f"predictions of {len(found)} test sets ({names}); give one")
        self.counts: SubjectCounts | None = found[0] if found else None
        networks = self.counts.networks if self.counts else {}
        self.networks = [each for each in networks if each.arch == "unet" and not each.ensemble]
        self._known: dict[NetworkCondition, Scores] = {}
        self.distances = distances
        if not self.networks and not distances.found:
            raise ArgumentError(
                "the tables hold no predictions of a U-net and no distances of one at "
                f"{DARK} against the original; give those of 'skiptool predict' and 'hellinger'"
            )

    @classmethod
    def read(cls, inputs: Inputs) -> Evidence:
        """Take what tables hold."""
        return cls(inputs.totals("subject"), _distances(inputs))

    def iou(
        self, encoder: str, pruning: str, shift: Shift = ORIGINAL, clean: str | None = None
    ) -> Scores:
        """IoU (1 + S,) by training; empty where it was not measured."""
        network = NetworkCondition("unet", encoder, pruning, False, shift, clean)
        if network not in self._known:
            self._known[network] = self._scores(network)
        return self._known[network]

    def _scores(self, network: NetworkCondition) -> Scores:
        if self.counts is None or network not in self.counts.networks:
            return {}
        overlap = self.counts.networks[network]
        if not overlap.present.all():
            raise ArgumentError(
                f"{network.encoder} {network.pruning} under {network.shift}: some test images were "
                "not predicted by every training; give tables of the same images"
            )
        return dict(zip(overlap.trainings, leave_one_out_iou(overlap.pixels), strict=True))

    def shifts(self, encoder: str) -> list[Shift]:
        """Shifts under which any network of the encoder was tried with nothing clean."""
        mine = (each for each in self.networks if each.encoder == encoder)
        plain = {each.shift for each in mine if each.clean_skips is None}
        return sorted(plain - {ORIGINAL}, key=str)

    def prunings(self, encoder: str) -> list[str]:
        """Networks of an encoder with plain predictions."""
        mine = (each for each in self.networks if each.encoder == encoder)
        return list(dict.fromkeys(each.pruning for each in mine if each.clean_skips is None))

    def encoders(self) -> list[str]:
        """List encoders that anything was measured of."""
        of_distances = (encoder for encoder, _, _ in self.distances.found)
        return list(dict.fromkeys((*(each.encoder for each in self.networks), *of_distances)))


def of_scores(
    function: Callable[..., Any], *scores: Scores, least: float = 0.0, note: str = ""
) -> Measure | None:
    """Apply a function to the IoUs of each training that all have; None if one has no value."""
    trainings = [each for each in scores[0] if all(each in of for of in scores)] if scores else []
    if not trainings:
        return None
    values = np.stack([function(*(of[each] for of in scores)) for each in trainings])
    if not np.isfinite(values[:, 0]).all():
        return None
    present = np.ones(values[:, 1:].shape, dtype=bool)
    found = over_trainings(values[:, 0], values[:, 1:], present)
    above = over_trainings(values[:, 0] - least, values[:, 1:] - least, present)
    return Measure(found, tuple(values[:, 0].tolist()), above.p_value, least, note)


def of_distances(
    values: Sequence[float], errors: Sequence[float], images: int, note: str = ""
) -> Measure | None:
    """Average over trainings, whose images are the same: their errors do not cancel."""
    if not values:
        return None
    found = with_known_error(np.array(values), float(np.mean(errors)), images)
    return Measure(found, tuple(values), found.p_value, note=note)


def _distances(inputs: Inputs) -> Distances:
    """Take the layers' distances at brightness 0.75."""
    sources: dict[str, None] = {}
    models: dict[Place, str] = {}
    found: dict[Place, dict[str, tuple[float, float]]] = {}
    images = 0
    for row in _dark_rows(inputs):
        source = f"{row['dataset']} {row['domain']} in {row['bins']} bins"
        sources.setdefault(f"{source}, range {row['range_rule']}", None)
        place = (row["encoder"], row["pruning"], (row["fold"], row["repeat"] or 0))
        if models.setdefault(place, row["model_id"]) != row["model_id"]:
            raise ArgumentError(
                f"distances of two models that are {row['encoder']}, {row['pruning']}, fold "
                f"{row['fold']}, repeat {row['repeat']}; give the tables of one training"
            )
        images = max(images, row["n_other"] or 0)
        found.setdefault(place, {})[row["layer"]] = (row["corrected"], _error(row))
    if len(sources) > 1:
        raise ArgumentError(f"distances of {len(sources)} kinds ({'; '.join(sources)}); give one")
    return Distances(found, images)


def _dark_rows(inputs: Inputs) -> Iterator[dict[str, Any]]:
    """Rows of U-nets' layers at brightness 0.75 against the original of the same domain."""
    names = (
        *("arch", "encoder", "pruning", "fold", "repeat", "model_id", "shift", "factor"),
        *("reference_shift", "metric", "layer", "corrected", "ci_low", "ci_high", "n_other"),
        *("dataset", "domain", "reference_domain", "bins", "range_rule"),
    )
    for table in inputs.shifts:
        columns = table.where_null("channel").columns(names)
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
