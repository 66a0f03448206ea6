"""Distances of layers and losses of IoU, joined: a point is one trained network under one shift.

Joined by the id of the network, the names of dataset and domain, the split and the shift: a
distance is compared only with the loss on the same samples. The dataset is that of the reference;
images of another one are further domains. The distance is the corrected one, since
the plain value also grows as images become fewer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from skiptool.metrics import Score, mean_and_spread
from skiptool.names import DECODER_INPUTS, Metric, ShiftKind, in_data_flow
from skiptool.records import family
from skiptool.stats.correlation import rank_correlation, rank_interval

if TYPE_CHECKING:
    from skiptool.records import Float64, Int64

__all__ = [
    "COLUMNS",
    "FEWEST",
    "FEWEST_FOR_INTERVAL",
    "Association",
    "Change",
    "Distance",
    "Joined",
    "Kin",
    "Mean",
    "Point",
    "associations",
    "join",
    "measured",
]

_POOLED: Final = "all"
"""Split of feature stores that hold several (``features --split all``)."""


class Change(NamedTuple):
    """Images of one domain and shift, compared with those of a reference.

    The splits are None where the table does not name one split. A domain of another dataset than
    that of the reference has the dataset's name behind its own: ``B (new.zarr)``.
    """

    reference_domain: str
    reference_shift: str
    reference_factor: float | None
    domain: str
    shift: str
    factor: float | None
    reference_split: str | None = None
    split: str | None = None

    @property
    def before(self) -> tuple[object, ...]:
        """Domain, shift and factor of the reference."""
        return self.reference_domain, self.reference_shift, self.reference_factor

    @property
    def after(self) -> tuple[object, ...]:
        """Domain, shift and factor of the images compared with it."""
        return self.domain, self.shift, self.factor

    @property
    def home(self) -> str | None:
        """Split of the reference, or of the other images where only they have one."""
        return self.reference_split or self.split

    def on(self, split: str) -> Change:
        """Return it with this split where the table names none."""
        return self._replace(
            reference_split=self.reference_split or split, split=self.split or split
        )

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


class Distance(NamedTuple):
    """A layer's corrected distance with its 95 % interval and p-value; NaN where there is none.

    ``images_reference`` and ``images`` are the numbers of images compared, ``units`` the number of
    units of the statistics among the latter (``unit``: image, subject ...); 0 where not known.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    p_value: float = math.nan
    images_reference: int = 0
    images: int = 0
    units: int = 0
    unit: str = ""

    @property
    def bounded(self) -> bool:
        """Whether it has an interval."""
        return all(map(math.isfinite, (self.value, self.low, self.high)))


_NUMBERS: Final = ("corrected", "ci_low", "ci_high", "p_value")
_COUNTS: Final = ("n_reference", "n_other", "units_other")

COLUMNS: Final = (
    *(*Kin._fields, "reference_dataset", "pruning", "model_id", *Change._fields, "layer"),
    *(*_NUMBERS, *_COUNTS, "unit"),
)
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
    before : float64 (P,)
        IoU on the reference.
    distances : float64 (L, P)
        Corrected; NaN where a layer has none.
    left_out : int
        Comparisons of which one of the two IoUs is not known.
    low, high : float64 (L, P)
        Ends of the 95 % interval of each distance; NaN where there is none.
    images : int64 (P,)
        Images under the change, 0 where not known.
    assumed : frozenset of Point
        Those from tables that do not name one split: their images are taken for those of
        ``split``.
    """

    kin: Kin
    split: str
    classes: tuple[str, ...]
    layers: tuple[str, ...]
    points: tuple[Point, ...]
    loss: Float64
    before: Float64
    distances: Float64
    left_out: int
    low: Float64
    high: Float64
    images: Int64
    assumed: frozenset[Point]

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
    The split is that of the reference. The loss is the IoU on the reference's split less that on
    the split of the other images: from validation images of one domain to test images of another,
    for instance. Where a table does not name one split, its distances stand beside the losses of
    each split, unless another table measured the same on that split.
    """
    rated = _rated(scores)
    kins = measured(layers)
    return [
        joined
        for kin in sorted(kins, key=_order)
        for split in sorted(rated)
        if (joined := _joined(kin, kins[kin], split, rated)).points
    ]


_Rated = dict[tuple[object, ...], Score | None]  # by dataset, model_id, domain, kind, factor
_Measured = dict[Point, dict[str, Distance]]  # by point and layer
_ELSEWHERE: Final = ""
"""Stands for the dataset in the key of a domain that is compared with one of another dataset."""

_METRICS: Final = {metric.value: place for place, metric in enumerate(Metric)}
_KINDS: Final = {kind.value: place for place, kind in enumerate(ShiftKind)}


def _rated(scores: Iterable[Score]) -> dict[str, _Rated]:
    """Scores of each split, the last of one side; None where two datasets have one name."""
    found: dict[str, _Rated] = {}
    for one in scores:
        shift = (one.shift.kind.value, one.shift.factor)
        known = found.setdefault(one.split, {})
        for dataset, domain in (
            (one.dataset, one.domain),
            (_ELSEWHERE, _domain_of(one.dataset, one.domain)),
        ):
            side = (dataset, one.model_id, domain, *shift)
            other = known.get(side, one)
            agreed = other is not None and one.dataset_id == other.dataset_id
            known[side] = one if agreed else None
    return found


def _domain_of(dataset: str, domain: str) -> str:
    """Name a domain of another dataset than that of the reference."""
    return f"{domain} ({dataset})"


def measured(layers: Mapping[str, Sequence[Any]]) -> dict[Kin, _Measured]:
    """Gather distances by kin, point and layer, whether IoU is known or not.

    Parameters
    ----------
    layers
        As for :func:`join`.

    Returns
    -------
    dict of Kin to dict of Point to dict of layer to Distance
        Inputs of decoder blocks are parts of a layer, and passed over.
    """
    kins: dict[Kin, _Measured] = {}
    first, then = -len(_NUMBERS) - len(_COUNTS), -len(_COUNTS)
    for *row, unit in zip(*(layers[name] for name in COLUMNS), strict=True):
        *keys, layer = row[:first]
        dataset, metric, bins, rule, arch, encoder, home, pruning, model, *sides = keys
        change = _change(*sides)
        if None not in (home, dataset) and home != dataset:
            change = change._replace(domain=_domain_of(dataset, change.domain))
            dataset = home
        if None in (dataset, model) or change.before == change.after or layer in DECODER_INPUTS:
            continue
        kin = Kin(dataset, metric, bins, rule or "", arch or "", encoder or "")
        point = Point(pruning or "", model, change)
        numbers = [math.nan if each is None else each for each in row[first:then]]
        counts = [each or 0 for each in row[then:]]
        by_layer = kins.setdefault(kin, {}).setdefault(point, {})
        by_layer.setdefault(layer, Distance._make([*numbers, *counts, unit or ""]))
    return kins


def _change(*sides: Any) -> Change:  # noqa: ANN401 - columns of a table
    change = Change(*sides)
    reference, other = (
        None if split == _POOLED else split for split in (change.reference_split, change.split)
    )
    return change._replace(reference_split=reference, split=other)


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


def _joined(kin: Kin, by_point: _Measured, split: str, rated: Mapping[str, _Rated]) -> Joined:
    found: dict[Point, dict[str, Distance]] = {}
    assumed: set[Point] = set()
    for point in sorted(by_point, key=lambda point: None in point.change[-2:]):  # those that say
        if point.change.home not in (None, split):
            continue
        here = point._replace(change=point.change.on(split))
        if here not in found:
            found[here] = by_point[point]
            assumed |= {here} if None in point.change[-2:] else set()
    ious = {point: _ious(kin.dataset, point, rated) for point in found}
    losses = {point: before - after for point, (before, after) in ious.items()}
    points = sorted((point for point, loss in losses.items() if math.isfinite(loss)), key=_place)
    layers = in_data_flow(layer for point in points for layer in found[point])
    nothing = Distance(math.nan)
    rows = [[found[point].get(layer, nothing)[:3] for point in points] for layer in layers]
    numbers = np.array(rows, dtype=np.float64).reshape(len(layers), len(points), 3)
    scores = (score for side, score in rated[split].items() if score and side[0] == kin.dataset)
    return Joined(
        kin,
        split,
        tuple(dict.fromkeys(name for score in scores for name in score.classes)),
        tuple(layers),
        tuple(points),
        np.array([losses[point] for point in points], dtype=np.float64),
        np.array([ious[point][0] for point in points], dtype=np.float64),
        numbers[..., 0],
        len(losses) - len(points),
        numbers[..., 1],
        numbers[..., 2],
        np.array([_images(found[point]) for point in points], dtype=np.int64),
        frozenset(assumed.intersection(points)),
    )


def _images(by_layer: Mapping[str, Distance]) -> int:
    return min((each.images for each in by_layer.values()), default=0)


def _ious(dataset: str, point: Point, rated: Mapping[str, _Rated]) -> tuple[float, float]:
    """IoU on the reference and under the change; NaN where it is not known."""
    change = point.change
    sides = ((change.reference_split, change.before), (change.split, change.after))
    ious = []
    for split, side in sides:
        known = rated.get(split or "", {})
        here, elsewhere = (dataset, point.model_id, *side), (_ELSEWHERE, point.model_id, *side)
        found = known.get(here, known.get(elsewhere))
        ious.append(math.nan if found is None else found.miou)
    return ious[0], ious[1]


# -------------------------------------------------------------------------------------------------
# Which layer's distance goes with the loss of IoU best: rank correlation over shifts.


FEWEST: Final = 4
"""Different shifts (or pairs of domains) below which nothing is said about a correlation."""

FEWEST_FOR_INTERVAL: Final = 9
"""Different shifts below which a correlation has no interval: 95 % intervals by resampling the
shifts cover the true value 84 to 92 times in 100 with four shifts, 92 with six, and 93 to 96 with
nine and more (:func:`skiptool.stats.correlation.rank_interval`)."""

_ROUNDING: Final = 1e-9


class Mean(NamedTuple):
    """Networks of one pruning under one change: mean, standard deviation (n - 1) and number.

    ``distances`` and ``sd_distances`` have one value a layer, NaN where there is none; ``low`` and
    ``high`` are the ends of their 95 % intervals, averaged over the networks.
    """

    pruning: str
    change: Change
    loss: float
    sd_loss: float
    distances: tuple[float, ...]
    sd_distances: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    folds: int


@dataclass(frozen=True, slots=True, eq=False)
class Association:
    """Rank correlation of each layer's distance with the loss of IoU.

    Attributes
    ----------
    joined : Joined
        The points, of L layers.
    correlation, low, high : float64 (L,)
        Spearman's, with the ends of its interval by resampling the shifts; NaN where a layer's
        distance is the same everywhere. There is no interval with fewer shifts than
        :data:`FEWEST_FOR_INTERVAL`, nor where the order is perfect: every resample of it is, so
        that resampling cannot show the uncertainty.
    level : float
        Of the interval.
    points, shifts : tuple of int, length L
        What each correlation rests on.
    """

    joined: Joined
    correlation: Float64
    low: Float64
    high: Float64
    level: float
    points: tuple[int, ...]
    shifts: tuple[int, ...]

    @property
    def best(self) -> int | None:
        """Place of the layer with the greatest correlation, the first of equals."""
        return None if np.isnan(self.correlation).all() else int(np.nanargmax(self.correlation))

    def means(self) -> list[Mean]:
        """Average the networks of each pruning under each change (trainings)."""
        groups: dict[tuple[str, Change], list[int]] = {}
        for place, point in enumerate(self.joined.points):
            groups.setdefault((point.pruning, point.change), []).append(place)
        found = []
        for (pruning, change), places in groups.items():
            loss, deviation = mean_and_spread(self.joined.loss[places].tolist())
            rows = self.joined.distances[:, places].tolist()
            means, deviations = zip(*map(mean_and_spread, rows), strict=True)
            low, high = (
                tuple(each[:, places].mean(axis=1).tolist())
                for each in (self.joined.low, self.joined.high)
            )
            found.append(
                Mean(pruning, change, loss, deviation, means, deviations, low, high, len(places))
            )
        return found


def associations(
    scores: Iterable[Score],
    layers: Mapping[str, Sequence[Any]],
    *,
    level: float = 0.95,
    seed: int = 0,
) -> list[Association]:
    """Join scores with distances by layer, and correlate them.

    Parameters
    ----------
    scores, layers
        As for :func:`skiptool.analysis.correlation.join`.
    level, seed : float, int
        Of the intervals.

    Returns
    -------
    list of Association
        In the order of ``join``: those with at least :data:`FEWEST` different shifts and a
        corrected distance.

    Notes
    -----
    Points of all prunings, trainings and domains are pooled: the correlation is high where the
    distance at a layer tells which network loses most under which shift. All networks see the same
    shifts, so shifts (kind and factor) are resampled for the interval, with all their points.
    """
    return [
        _associated(joined, level, seed)
        for joined in join(scores, layers)
        if joined.shifts().max() + 1 >= FEWEST and np.isfinite(joined.distances).any()
    ]


def _associated(joined: Joined, level: float, seed: int) -> Association:
    shifts, known = joined.shifts(), np.isfinite(joined.distances)
    counts = tuple(len(set(shifts[row].tolist())) for row in known)
    low, high = rank_interval(joined.loss, joined.distances, shifts, level=level, seed=seed)
    found = (np.array(counts) >= FEWEST_FOR_INTERVAL) & (high - low > _ROUNDING)
    return Association(
        joined,
        rank_correlation(joined.loss, joined.distances),
        np.where(found, low, np.nan),
        np.where(found, high, np.nan),
        level,
        points=tuple(map(int, known.sum(axis=1))),
        shifts=counts,
    )
