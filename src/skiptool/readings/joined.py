"""Distances of layers and losses of IoU, joined: a point is one trained network under one shift.

Joined by the id of the network, the names of dataset and domain, and the shift.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from skiptool.metrics.scores import Score
from skiptool.names import DECODER_INPUTS, Metric, ShiftKind, in_data_flow
from skiptool.records import family

if TYPE_CHECKING:
    from skiptool.records import Float64, Int64

__all__ = ["COLUMNS", "Change", "Joined", "Kin", "Point", "join", "measured"]


class Change(NamedTuple):
    """Images of one domain and shift, compared with those of a reference."""

    reference_domain: str
    reference_shift: str
    reference_factor: float | None
    domain: str
    shift: str
    factor: float | None

    @property
    def kind(self) -> str:
        """What the images differ in: ``domain``, or the kind of the shift."""
        return self.shift if self.domain == self.reference_domain else "domain"

    @property
    def cluster(self) -> tuple[object, ...]:
        """The shift as networks and domains share it; between two domains, these as well."""
        shifts = (self.reference_shift, self.reference_factor, self.shift, self.factor)
        across = self.domain != self.reference_domain
        return (*shifts, self.reference_domain, self.domain) if across else shifts


class Kin(NamedTuple):
    """What points have in common that are looked at together.

    ``range_rule`` is empty where the metric knows no bins, a name where it is not known.
    """

    dataset: str
    metric: str
    bins: int | None
    range_rule: str
    arch: str
    encoder: str

    @property
    def family(self) -> str:
        """Encoder, with the architecture where it is not ``unet``."""
        return family(self.arch or None, self.encoder)


class Point(NamedTuple):
    """One trained network under one change."""

    pruning: str
    model_id: str
    change: Change


COLUMNS: Final = (*Kin._fields, "pruning", "model_id", *Change._fields, "layer", "value")
"""Columns of shift tables that are read."""


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """Points of one kin on one split of its dataset.

    Attributes
    ----------
    kin : Kin
    split : str
    classes : tuple of str
        Foreground classes that IoU is the mean over.
    layers : tuple of str, length L
        In the order of data flow, others behind.
    points : tuple of Point, length P
    loss : float64 (P,)
        IoU on the reference less IoU under the change, in [-1, 1].
    distances : float64 (L, P)
        NaN where a layer was not measured.
    left_out : int
        Comparisons of which one of the two IoUs is not known.
    """

    kin: Kin
    split: str
    classes: tuple[str, ...]
    layers: tuple[str, ...]
    points: tuple[Point, ...]
    loss: Float64
    distances: Float64
    left_out: int

    def shifts(self) -> Int64:
        """Give each point (P,) the number of its shift, or pair of domains: 0 to C - 1."""
        clusters = [point.change.cluster for point in self.points]
        numbers = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters))}
        return np.array([numbers[cluster] for cluster in clusters], dtype=np.int64)


def join(scores: Iterable[Score], layers: Mapping[str, Sequence[Any]]) -> list[Joined]:
    """Join scores with distances by layer.

    Parameters
    ----------
    scores : iterable of Score
    layers : mapping of column name to values
        Rows of shift tables whose ``channel`` is null, with the columns :data:`COLUMNS` at least.
        What was measured twice counts once, as it was first found.

    Returns
    -------
    list of Joined
        One for each kin and split with a point: datasets by name, metrics in the order of their
        names in `skiptool.names.Metric`. Images compared with others of the same domain and shift
        are left out.

    Notes
    -----
    A shift table does not say of which split its images are: a distance stands beside the losses
    of each split.
    """
    rated = _rated(scores)
    kins = measured(layers)
    return [
        joined
        for kin in sorted(kins, key=_order)
        for split in sorted(rated)
        if (joined := _joined(kin, kins[kin], split, rated[split])).points
    ]


_Rated = dict[tuple[object, ...], Score | None]  # by dataset, model_id, domain, kind, factor
_Measured = dict[Point, dict[str, float]]  # by point and layer
_METRICS: Final = {metric.value: place for place, metric in enumerate(Metric)}
_KINDS: Final = {kind.value: place for place, kind in enumerate(ShiftKind)}


def _rated(scores: Iterable[Score]) -> dict[str, _Rated]:
    """Scores of each split, the last of one side; None where two datasets have one name."""
    found: dict[str, _Rated] = {}
    for one in scores:
        side = (one.dataset, one.model_id, one.domain, one.shift.kind.value, one.shift.factor)
        known = found.setdefault(one.split, {})
        other = known.get(side, one)
        agreed = other is not None and one.dataset_id == other.dataset_id
        known[side] = one if agreed else None
    return found


def measured(layers: Mapping[str, Sequence[Any]]) -> dict[Kin, _Measured]:
    """Gather distances by kin, point and layer, whether IoU is known or not.

    Parameters
    ----------
    layers
        As for :func:`join`.

    Returns
    -------
    dict of Kin to dict of Point to dict of layer to float
        NaN where a layer was not measured. Inputs of decoder blocks are parts of a layer, and
        passed over.
    """
    kins: dict[Kin, _Measured] = {}
    rows = zip(*(layers[name] for name in COLUMNS), strict=True)
    for dataset, metric, bins, rule, arch, encoder, pruning, model, *sides, layer, value in rows:
        change = Change(*sides)
        if None in (dataset, model) or change[:3] == change[3:] or layer in DECODER_INPUTS:
            continue
        kin = Kin(dataset, metric, bins, rule or "", arch or "", encoder or "")
        point = Point(pruning or "", model, change)
        by_layer = kins.setdefault(kin, {}).setdefault(point, {})
        by_layer.setdefault(layer, math.nan if value is None else value)
    return kins


def _order(kin: Kin) -> tuple[object, ...]:
    rank = _METRICS.get(kin.metric, len(_METRICS))
    binned = (kin.metric, kin.bins or 0, kin.range_rule)
    return kin.dataset, rank, *binned, kin.arch not in ("", "unet"), kin.arch, kin.encoder


def _place(point: Point) -> tuple[object, ...]:
    """Shifts in the order of their kinds and factors, pairs of domains behind them."""
    change = point.change
    factors = (-1.0 if each is None else each for each in (change.factor, change.reference_factor))
    rank = _KINDS.get(change.kind, len(_KINDS))
    return rank, *factors, *map(str, change), point.pruning, point.model_id


def _joined(kin: Kin, by_point: _Measured, split: str, rated: _Rated) -> Joined:
    losses = {point: _loss(kin.dataset, point, rated) for point in by_point}
    points = sorted((point for point, loss in losses.items() if math.isfinite(loss)), key=_place)
    layers = in_data_flow(layer for point in points for layer in by_point[point])
    rows = [[by_point[point].get(layer, math.nan) for point in points] for layer in layers]
    mine = (score for side, score in rated.items() if score and side[0] == kin.dataset)
    return Joined(
        kin,
        split,
        tuple(dict.fromkeys(name for score in mine for name in score.classes)),
        tuple(layers),
        tuple(points),
        np.array([losses[point] for point in points], dtype=np.float64),
        np.array(rows, dtype=np.float64).reshape(len(layers), len(points)),
        len(losses) - len(points),
    )


def _loss(dataset: str, point: Point, rated: _Rated) -> float:
    """IoU on the reference less IoU under the change; NaN where one is not known."""
    change = point.change
    sides = (rated.get((dataset, point.model_id, *side)) for side in (change[:3], change[3:]))
    before, after = (math.nan if side is None else side.miou for side in sides)
    return before - after
