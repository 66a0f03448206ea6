"""Distances of layers joined with losses of IoU, and their rank correlation.

A point is one trained network under one shift. Distances and scores are joined by the id of the
network, the names of dataset and domain, the split and the shift: a distance is compared only with
the loss on the same samples. The dataset is that of the reference; images of another dataset count
as further domains. The distance is the corrected one, because the plain value also grows as images
become fewer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from skiptool.metrics import Score, mean_and_spread
from skiptool.names import DECODER_INPUTS, Metric, ShiftKind, in_data_flow
from skiptool.records import architecture_family
from skiptool.stats.correlation import rank_correlation, rank_interval

if TYPE_CHECKING:
    from skiptool.records import Float64, Int64

FEWEST: Final = 4
"""Fewest different shifts (or pairs of domains) for which a correlation is reported."""

FEWEST_FOR_INTERVAL: Final = 9
"""Fewest different shifts for an interval: 95 % intervals by resampling the shifts cover the true
value 84 to 92 times in 100 with four shifts, 92 with six, and 93 to 96 with nine and more
(:func:`skiptool.stats.correlation.rank_interval`)."""

_ROUNDING: Final = 1e-9

_POOLED: Final = "all"
"""Split of feature stores that hold several (``features --split all``)."""

_ELSEWHERE: Final = ""
"""Dataset in the key of a domain that is compared with one of another dataset."""

_METRICS: Final = {metric.value: number for number, metric in enumerate(Metric)}
_KINDS: Final = {kind.value: number for number, kind in enumerate(ShiftKind)}


class ImagePair(NamedTuple):
    """Images of one domain and shift, compared with those of a reference.

    A split is None if the table does not name a single one. A domain of another dataset than that
    of the reference has the dataset's name appended: ``B (new.zarr)``.
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
        """Split of the reference, or of the other images if only they have one."""
        return self.reference_split or self.split

    def with_split(self, split: str) -> ImagePair:
        """Return the pair with this split where the table names none."""
        return self._replace(
            reference_split=self.reference_split or split, split=self.split or split
        )

    @property
    def kind(self) -> str:
        """The difference between the images: ``domain``, or the kind of the shift."""
        return self.shift if self.domain == self.reference_domain else "domain"

    @property
    def cluster(self) -> tuple[object, ...]:
        """The shift, which networks and domains share; between two domains, also these."""
        shifts = (self.reference_shift, self.reference_factor, self.shift, self.factor)
        across = self.domain != self.reference_domain
        return (*shifts, self.reference_domain, self.domain) if across else shifts


class SettingKey(NamedTuple):
    """Properties shared by points that are analysed together.

    ``range_rule`` is empty if the metric has no bins, a name if unknown.
    """

    dataset: str
    metric: str
    bins: int | None
    range_rule: str
    arch: str
    encoder: str

    @property
    def family(self) -> str:
        """Encoder, with the architecture unless it is ``unet``."""
        return architecture_family(self.arch or None, self.encoder)


class Point(NamedTuple):
    """One trained network under one change."""

    pruning: str
    model_id: str
    change: ImagePair


class Distance(NamedTuple):
    """A layer's corrected distance with its 95 % interval and p-value; NaN if there is none.

    ``images_reference`` and ``images`` are the numbers of images compared, ``units`` the number of
    statistical units among the latter (``unit``: image, subject ...); 0 if unknown.
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
        """True if the distance has an interval."""
        return all(map(math.isfinite, (self.value, self.low, self.high)))


_NUMBERS: Final = ("corrected", "ci_low", "ci_high", "p_value")
_COUNTS: Final = ("n_reference", "n_other", "units_other")

COLUMNS: Final = (
    *SettingKey._fields,
    "reference_dataset",
    "pruning",
    "model_id",
    *ImagePair._fields,
    "layer",
    *_NUMBERS,
    *_COUNTS,
    "unit",
)
"""Columns of shift tables that are read."""

_Scores = dict[tuple[object, ...], Score | None]  # by dataset, model_id, domain, kind, factor
_Distances = dict[Point, dict[str, Distance]]  # by point and layer


@dataclass(frozen=True, slots=True, eq=False)
class LossAndDistance:
    """Points of one setting on one split of its dataset.

    Attributes
    ----------
    classes : tuple of str
        Foreground classes that IoU is the mean over.
    layers : tuple of str, length L
        In the order of data flow, unknown layers last.
    points : tuple of Point, length P
    loss : float64 (P,)
        IoU on the reference minus IoU under the change, in [-1, 1].
    before : float64 (P,)
        IoU on the reference.
    distances : float64 (L, P)
        Corrected; NaN if a layer has none.
    left_out : int
        Comparisons in which one of the two IoUs is unknown.
    low, high : float64 (L, P)
        Ends of the 95 % interval of each distance; NaN if there is none.
    images : int64 (P,)
        Images under the change, 0 if unknown.
    assumed : frozenset of Point
        Points from tables that do not name one split: their images are assumed to be those of
        ``split``.
    """

    setting: SettingKey
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
        """Return the index of the shift, or pair of domains, of each point (P,): 0 to C - 1."""
        clusters = [point.change.cluster for point in self.points]
        numbers = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters))}
        return np.array([numbers[cluster] for cluster in clusters], dtype=np.int64)


def join_distances(
    scores: Iterable[Score], layers: Mapping[str, Sequence[Any]]
) -> list[LossAndDistance]:
    """Join scores with distances by layer.

    Parameters
    ----------
    scores : iterable of Score
    layers : mapping of column name to values
        Rows of shift tables whose ``channel`` is null, with at least the columns :data:`COLUMNS`.
        Of duplicate measurements the first counts.

    Returns
    -------
    list of LossAndDistance
        One for each setting and split with a point: datasets by name, metrics in the order of
        `skiptool.names.Metric`. Images compared with others of the same domain and shift are left
        out.

    Notes
    -----
    The split is that of the reference. The loss is the IoU on the reference's split minus that on
    the split of the other images, for instance from validation images of one domain to test images
    of another. If a table does not name one split, its distances are joined with the losses of
    each split, unless another table measured the same on that split.
    """
    by_split = _scores_by_split(scores)
    settings = gather_distances(layers)
    return [
        joined
        for key in sorted(settings, key=_setting_order)
        for split in sorted(by_split)
        if (joined := _join(key, settings[key], split, by_split)).points
    ]


def gather_distances(layers: Mapping[str, Sequence[Any]]) -> dict[SettingKey, _Distances]:
    """Gather distances by setting, point and layer, whether IoU is known or not.

    ``layers`` is as for :func:`join_distances`. Inputs of decoder blocks are parts of a layer and
    are left out.
    """
    settings: dict[SettingKey, _Distances] = {}
    for values in zip(*(layers[name] for name in COLUMNS), strict=True):
        row = dict(zip(COLUMNS, values, strict=True))
        dataset, home = row["dataset"], row["reference_dataset"]
        change = ImagePair(*(row[name] for name in ImagePair._fields))
        change = change._replace(
            reference_split=None if change.reference_split == _POOLED else change.reference_split,
            split=None if change.split == _POOLED else change.split,
        )
        if None not in (home, dataset) and home != dataset:
            change = change._replace(domain=_foreign_domain(dataset, change.domain))
            dataset = home
        if None in (dataset, row["model_id"]) or change.before == change.after:
            continue
        if row["layer"] in DECODER_INPUTS:
            continue
        key = SettingKey(
            dataset,
            row["metric"],
            row["bins"],
            row["range_rule"] or "",
            row["arch"] or "",
            row["encoder"] or "",
        )
        point = Point(row["pruning"] or "", row["model_id"], change)
        numbers = [math.nan if row[name] is None else row[name] for name in _NUMBERS]
        counts = [row[name] or 0 for name in _COUNTS]
        distance = Distance._make([*numbers, *counts, row["unit"] or ""])
        settings.setdefault(key, {}).setdefault(point, {}).setdefault(row["layer"], distance)
    return settings


def _scores_by_split(scores: Iterable[Score]) -> dict[str, _Scores]:
    """Index the scores of each split, the last of duplicates; None if a dataset's name is reused.

    Each score has a second key for comparisons across datasets.
    """
    by_split: dict[str, _Scores] = {}
    for score in scores:
        indexed = by_split.setdefault(score.split, {})
        for dataset, domain in (
            (score.dataset, score.domain),
            (_ELSEWHERE, _foreign_domain(score.dataset, score.domain)),
        ):
            key = (dataset, score.model_id, domain, score.shift.kind.value, score.shift.factor)
            other = indexed.get(key, score)
            same = other is not None and score.dataset_id == other.dataset_id
            indexed[key] = score if same else None
    return by_split


def _foreign_domain(dataset: str, domain: str) -> str:
    """Name a domain of another dataset than that of the reference."""
    return f"{domain} ({dataset})"


def _setting_order(key: SettingKey) -> tuple[object, ...]:
    rank = _METRICS.get(key.metric, len(_METRICS))
    binned = (key.metric, key.bins or 0, key.range_rule)
    return key.dataset, rank, *binned, key.arch not in ("", "unet"), key.arch, key.encoder


def _point_order(point: Point) -> tuple[object, ...]:
    """Sort shifts by kind and factor, before pairs of domains."""
    change = point.change
    factors = (-1.0 if f is None else f for f in (change.factor, change.reference_factor))
    rank = _KINDS.get(change.kind, len(_KINDS))
    return rank, *factors, *map(str, change), point.pruning, point.model_id


def _join(
    key: SettingKey, distances: _Distances, split: str, scores: Mapping[str, _Scores]
) -> LossAndDistance:
    by_point: dict[Point, dict[str, Distance]] = {}
    assumed: set[Point] = set()
    # Points with named splits first, so that they take precedence.
    for point in sorted(distances, key=lambda point: None in point.change[-2:]):
        if point.change.home not in (None, split):
            continue
        on_split = point._replace(change=point.change.with_split(split))
        if on_split not in by_point:
            by_point[on_split] = distances[point]
            if None in point.change[-2:]:
                assumed.add(on_split)
    ious = {point: _ious(key.dataset, point, scores) for point in by_point}
    losses = {point: before - after for point, (before, after) in ious.items()}
    points = sorted((p for p, loss in losses.items() if math.isfinite(loss)), key=_point_order)
    layers = in_data_flow(layer for point in points for layer in by_point[point])
    missing = Distance(math.nan)
    rows = [[by_point[point].get(layer, missing)[:3] for point in points] for layer in layers]
    numbers = np.array(rows, dtype=np.float64).reshape(len(layers), len(points), 3)
    own = (score for side, score in scores[split].items() if score and side[0] == key.dataset)
    images = [min(d.images for d in by_point[point].values()) for point in points]
    return LossAndDistance(
        setting=key,
        split=split,
        classes=tuple(dict.fromkeys(name for score in own for name in score.classes)),
        layers=tuple(layers),
        points=tuple(points),
        loss=np.array([losses[point] for point in points], dtype=np.float64),
        before=np.array([ious[point][0] for point in points], dtype=np.float64),
        distances=numbers[..., 0],
        left_out=len(losses) - len(points),
        low=numbers[..., 1],
        high=numbers[..., 2],
        images=np.array(images, dtype=np.int64),
        assumed=frozenset(assumed.intersection(points)),
    )


def _ious(dataset: str, point: Point, scores: Mapping[str, _Scores]) -> tuple[float, float]:
    """Return IoU on the reference and under the change; NaN if unknown."""
    change = point.change
    ious = []
    for split, side in (
        (change.reference_split, change.before),
        (change.split, change.after),
    ):
        by_key = scores.get(split or "", {})
        foreign = by_key.get((_ELSEWHERE, point.model_id, *side))
        score = by_key.get((dataset, point.model_id, *side), foreign)
        ious.append(math.nan if score is None else score.miou)
    return ious[0], ious[1]


# Rank correlation of each layer's distance with the loss of IoU


class Mean(NamedTuple):
    """Networks of one pruning under one change: mean, standard deviation (n - 1) and number.

    ``distances`` and ``sd_distances`` have one value per layer, NaN if unknown; ``low`` and
    ``high`` are the ends of their 95 % intervals, averaged over the networks.
    """

    pruning: str
    change: ImagePair
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
    joined : LossAndDistance
        The points, with L layers.
    correlation, low, high : float64 (L,)
        Spearman's, with the ends of its interval by resampling the shifts; NaN if a layer's
        distance does not vary. There is no interval with fewer shifts than
        :data:`FEWEST_FOR_INTERVAL`, nor if the order is perfect, because that of every resample is
        perfect too and does not show the uncertainty.
    level : float
        Level of the interval.
    points, shifts : tuple of int, length L
        Numbers of points and shifts that each correlation is based on.
    """

    joined: LossAndDistance
    correlation: Float64
    low: Float64
    high: Float64
    level: float
    points: tuple[int, ...]
    shifts: tuple[int, ...]

    @property
    def best(self) -> int | None:
        """Index of the layer with the greatest correlation, the first of ties."""
        return None if np.isnan(self.correlation).all() else int(np.nanargmax(self.correlation))

    def means(self) -> list[Mean]:
        """Average the networks of each pruning under each change (trainings)."""
        groups: dict[tuple[str, ImagePair], list[int]] = {}
        for number, point in enumerate(self.joined.points):
            groups.setdefault((point.pruning, point.change), []).append(number)
        means = []
        for (pruning, change), numbers in groups.items():
            loss, sd_loss = mean_and_spread(self.joined.loss[numbers].tolist())
            rows = self.joined.distances[:, numbers].tolist()
            distances, sd_distances = zip(*map(mean_and_spread, rows), strict=True)
            low, high = (
                tuple(ends[:, numbers].mean(axis=1).tolist())
                for ends in (self.joined.low, self.joined.high)
            )
            folds = len(numbers)
            means.append(
                Mean(pruning, change, loss, sd_loss, distances, sd_distances, low, high, folds)
            )
        return means


def associations(
    scores: Iterable[Score],
    layers: Mapping[str, Sequence[Any]],
    *,
    level: float = 0.95,
    seed: int = 0,
) -> list[Association]:
    """Join scores with distances by layer, as :func:`join_distances`, and correlate them.

    ``level`` and ``seed`` are those of the intervals.

    Returns
    -------
    list of Association
        In the order of ``join_distances``, if there are at least :data:`FEWEST` different shifts
        and a corrected distance.

    Notes
    -----
    Points of all prunings, trainings and domains are pooled: the correlation is high if the
    distance at a layer tells which network loses most under which shift. All networks see the same
    shifts, so shifts (kind and factor) are resampled for the interval, with all their points.
    """
    results = []
    for joined in join_distances(scores, layers):
        shifts, known = joined.shifts(), np.isfinite(joined.distances)
        if shifts.max() + 1 < FEWEST or not known.any():
            continue
        counts = tuple(len(set(shifts[row].tolist())) for row in known)
        low, high = rank_interval(joined.loss, joined.distances, shifts, level=level, seed=seed)
        has_interval = (np.array(counts) >= FEWEST_FOR_INTERVAL) & (high - low > _ROUNDING)
        results.append(
            Association(
                joined,
                rank_correlation(joined.loss, joined.distances),
                np.where(has_interval, low, np.nan),
                np.where(has_interval, high, np.nan),
                level,
                points=tuple(map(int, known.sum(axis=1))),
                shifts=counts,
            )
        )
    return results
