"""Differences of mean IoU between networks that were trained several times, with their intervals.

Pixel counts of a prediction table are summed by subject, as arrays: a table may have millions of
rows, so columns are coded as integers and all rows placed at once. Each pruned network is then
compared with the unpruned one on the same subjects.

Trainings (folds and their repeats) and subjects are both random: interval and test hold for other
trainings and other subjects (:mod:`skiptool.stats.two_way`). With a single training of either
network they cannot; the interval is then one over subjects, for these two networks, and there is no
test.

Counts are summed over subjects before the IoU is computed, also for the leave-one-out values behind
the interval. Pixels are whole numbers below 2^53, whose sums are exact in any order, so the same
counts give the same bits on any machine, regardless of other networks in the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from skiptool.names import ENSEMBLE_FOLD, ShiftKind
from skiptool.records import Shift, architecture_family
from skiptool.stats.two_way import OverTrainings, over_trainings

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64, Int64

Training: TypeAlias = tuple[int | None, int]
"""Fold and repeat of a training; see ``subject_counts`` for tables without repeats."""

_BATCH: Final = 200  # pairs whose pixels are in memory at a time
_GROUP: Final = ("dataset_id", "domain", "split")
_CONDITION: Final = ("shift", "factor", "clean_skips")
_MODEL: Final = ("arch", "encoder", "pruning", "fold", "repeat", "model_id", *_CONDITION)


@dataclass(frozen=True, slots=True)
class NetworkCondition:
    """An architecture in all its trainings, or its ensemble, under one shift.

    ``clean_skips`` names the inputs of its decoder that are from the unshifted image, if any.
    """

    arch: str
    encoder: str
    pruning: str
    ensemble: bool
    shift: Shift
    clean_skips: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """Overlap of truth and prediction of a network by training and subject.

    Attributes
    ----------
    trainings : tuple of (fold, repeat)
        T distinct trainings, ascending; the fold is None if a model has none.
    pixels : float64, shape (2, K, T, S)
        Pixels in the intersection of truth and prediction, and in the union, for K foreground
        classes.
    present : bool, shape (T, S)
        Whether a training was measured on the subject.
    """

    trainings: tuple[Training, ...]
    pixels: Float64
    present: Bool


@dataclass(frozen=True, slots=True, eq=False)
class SubjectCounts:
    """All networks on one split of one domain.

    Attributes
    ----------
    classes : tuple of str
        K foreground classes.
    subjects : tuple of str
        S names, sorted.
    networks : mapping of NetworkCondition to Overlap
        In the order of first appearance.
    """

    dataset: str
    dataset_id: str
    domain: str
    split: str
    classes: tuple[str, ...]
    subjects: tuple[str, ...]
    networks: Mapping[NetworkCondition, Overlap]


def subject_counts(
    totals: Mapping[str, Sequence[Any]], *, substituted: bool = False
) -> list[SubjectCounts]:
    """Sum total pixel counts by domain, network, training and subject.

    Parameters
    ----------
    totals : mapping of column name to values
        The columns ``skiptool.metrics.GROUP_COLUMNS``, ``subject`` and ``pixels``, a row for each
        group of them. The classes of a dataset appear in the order of their labels, background
        first. Of rows that agree in all but ``pixels`` (a model in two tables) the last counts.
    substituted : bool
        Include rows with ``clean_skips``, as separate networks.

    Returns
    -------
    list of SubjectCounts
        One for each dataset, domain and split, in the order of first appearance. A training is a
        fold and a repeat; a missing repeat is 0. Further models of the same fold and repeat, from
        runs that did not number them, take the next repeats in the order of their ids.
    """
    totals = {**totals, "repeat": [repeat or 0 for repeat in totals["repeat"]]}
    chosen = np.array([substituted or skips is None for skips in totals["clean_skips"]], dtype=bool)
    names = ("dataset", *_GROUP, *_MODEL, "subject", "truth", "predicted")
    columns = {name: _Coded.of(totals[name], chosen) for name in names}
    columns["predicted"] = columns["predicted"].recoded(columns["truth"])
    pixels = np.asarray(totals["pixels"], dtype=np.float64)[chosen]
    groups = _combined([columns[name] for name in _GROUP])
    return [_counts_of_group(columns, pixels, rows) for rows in _rows_by_group(groups)]


class _Index(dict[Any, int]):
    """Code of each value; a new value takes the next code."""

    def __missing__(self, value: object) -> int:
        code = self[value] = len(self)
        return code


@dataclass(frozen=True, slots=True, eq=False)
class _Coded:
    """A column as integer codes of its distinct values."""

    codes: Int64
    values: Sequence[Any]

    @classmethod
    def of(cls, column: Sequence[Any], chosen: Bool) -> _Coded:
        index = _Index()
        codes = np.fromiter(map(index.__getitem__, column), np.int64, len(chosen))
        return cls(codes[chosen], list(index))

    def recoded(self, other: _Coded) -> _Coded:
        """Return the column in the codes of another one, with new codes for missing values."""
        index = _Index({value: number for number, value in enumerate(other.values)})
        numbers = np.array([index[value] for value in self.values], dtype=np.int64)
        return _Coded(numbers[self.codes] if len(numbers) else self.codes, list(index))


def _combined(columns: Sequence[_Coded]) -> Int64:
    """Return a number for each distinct row of several columns, by first appearance."""
    numbers, size = np.zeros_like(columns[0].codes), 1
    for column in columns:
        codes = numbers * len(column.values) + column.codes
        first, numbers = _dense(codes, size * len(column.values))
        size = len(first)
    return numbers


def _dense(codes: Int64, size: int) -> tuple[Int64, Int64]:
    """Order codes below ``size`` by first appearance: first row of each, number of each row."""
    first = np.full(size, -1)
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # of duplicates the last one written stays
    present = np.flatnonzero(first >= 0)
    order = present[np.argsort(first[present])]
    numbers = np.zeros(size, dtype=np.int64)
    numbers[order] = np.arange(len(order))
    return first[order], numbers[codes]


def _rows_by_group(groups: Int64) -> Iterator[Int64]:
    order = np.argsort(groups, kind="stable")
    edges = np.flatnonzero(np.diff(groups[order])) + 1
    if len(order):
        yield from np.split(order, edges)


def _counts_of_group(columns: Mapping[str, _Coded], pixels: Float64, rows: Int64) -> SubjectCounts:
    """Place the rows of one group in arrays by model, subject and class."""
    group = {name: _Coded(column.codes[rows], column.values) for name, column in columns.items()}
    models = _combined([group[name] for name in _MODEL])
    first, models = _dense(models, len(models))
    facts = {name: [group[name].values[k] for k in group[name].codes[first]] for name in _MODEL}
    names, subjects = _sorted_names(group["subject"])
    labels = np.concatenate([group["truth"].codes, group["predicted"].codes])
    first_label, numbers = _dense(labels, len(group["predicted"].values))
    classes = [group["predicted"].values[k] for k in labels[first_label]]
    counts = np.zeros((len(first), len(names), len(classes), len(classes)))
    truth, predicted = numbers[: len(rows)], numbers[len(rows) :]
    counts[models, subjects, truth, predicted] = pixels[rows]
    present = np.zeros(counts.shape[:2], dtype=bool)
    present[models, subjects] = True
    intersection = np.diagonal(counts, axis1=-2, axis2=-1)
    union = counts.sum(axis=-1) + counts.sum(axis=-2) - intersection
    # (2, K, models, S), without the background.
    overlap = np.moveaxis(np.stack([intersection, union])[..., 1:], -1, 1)
    networks = _networks(facts, np.ascontiguousarray(overlap), present)
    dataset, dataset_id, domain, split = (
        str(group[name].values[group[name].codes[0]]) for name in ("dataset", *_GROUP)
    )
    return SubjectCounts(dataset, dataset_id, domain, split, tuple(classes[1:]), names, networks)


def _sorted_names(column: _Coded) -> tuple[tuple[str, ...], Int64]:
    """Return the sorted names of a column, and the index of each row's name."""
    first, numbers = _dense(column.codes, len(column.values))
    names = [str(column.values[k] or "") for k in column.codes[first]]
    order = sorted(range(len(names)), key=names.__getitem__)
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    return tuple(names[k] for k in order), ranks[numbers]


def _networks(
    facts: Mapping[str, Sequence[Any]], overlap: Float64, present: Bool
) -> dict[NetworkCondition, Overlap]:
    """Group the models of each network by fold and repeat.

    Further models of the same training take the next free repeats.
    """
    members: dict[NetworkCondition, list[tuple[Training, str, int]]] = {}
    rows = zip(*(facts[name] for name in _MODEL), strict=True)
    for number, (arch, encoder, pruning, fold, repeat, model, *condition) in enumerate(rows):
        kind, factor, clean_skips = condition
        shift, ensemble = Shift(ShiftKind(kind), factor), fold == ENSEMBLE_FOLD
        network = NetworkCondition(arch, encoder, pruning, ensemble, shift, clean_skips)
        members.setdefault(network, []).append(((fold, repeat), str(model), number))
    networks = {}
    for network, models in members.items():
        numbers: dict[Training, int] = {}
        duplicates = []
        models.sort(key=lambda model: (_training_order(model[0]), model[1]))
        for training, _, number in models:
            if training in numbers:
                duplicates.append((training, number))
            else:
                numbers[training] = number
        for (fold, repeat), number in duplicates:
            free = next(n for n in count(repeat + 1) if (fold, n) not in numbers)
            numbers[fold, free] = number
        trainings = tuple(sorted(numbers, key=_training_order))
        chosen = [numbers[training] for training in trainings]
        networks[network] = Overlap(trainings, overlap[:, :, chosen], present[chosen])
    return networks


def _training_order(training: Training) -> tuple[bool, int, int]:
    fold, repeat = training
    return fold is None, fold or 0, repeat


# Mean IoU and its differences


@dataclass(frozen=True, slots=True, eq=False)
class Differences:
    """Differences of P pairs of networks; see :func:`differences`.

    Attributes
    ----------
    by_training : float64, shape (P, T)
        NaN if no class is present.
    summaries : tuple of OverTrainings, length P
    """

    by_training: Float64
    summaries: tuple[OverTrainings, ...]


def differences(
    first: Float64, second: Float64, present: Bool, *, level: float = 0.95
) -> Differences:
    """Compare P pairs of networks that were measured in the same trainings and subjects.

    The result is the mean over trainings of the difference of mean IoU, first minus second.

    Parameters
    ----------
    first, second : float64, shape (2, K, T, P, S)
        Pixels in intersection and union, by foreground class, training, pair and subject; 0 if a
        subject is not ``present``.
    present : bool, shape (T, S)
        Subjects that each training was measured on; each subject in at least one.
    level : float
        Level of the interval.
    """
    changes = leave_one_out_iou(first) - leave_one_out_iou(second)  # (T, P, 1 + S)
    results = [
        over_trainings(pair[:, 0], pair[:, 1:], present, level)
        for pair in np.moveaxis(changes, 1, 0)
    ]
    return Differences(changes[..., 0].T.copy(), tuple(results))


def iou_by_training(pixels: Float64) -> Float64:
    """Return the mean IoU (T,) of each training; NaN if no class is present.

    ``pixels`` (2, K, T, S) are those in intersection and union; they are summed over subjects.
    """
    return _mean_iou(pixels.sum(axis=-1))


def leave_one_out_iou(pixels: Float64) -> Float64:
    """Return the mean IoU of networks, then without each subject, (..., 1 + S).

    ``pixels`` (2, K, ..., S) are summed over all subjects, then over all but one; NaN if no class
    is present.
    """
    total = pixels.sum(axis=-1, keepdims=True)
    return _mean_iou(np.concatenate([total, total - pixels], axis=-1))


def _mean_iou(pixels: Float64) -> Float64:
    """Return the mean IoU of pixels (2, K, ...) over classes, without those that have no pixels.

    Classes are added in order, so that the bits of the result never change.
    """
    intersection, union = pixels
    missing = np.full(union.shape, np.nan)
    total, classes = (np.zeros(union.shape[1:]) for _ in range(2))
    for iou in np.divide(intersection, union, out=missing, where=union > 0):
        known = ~np.isnan(iou)
        total = np.where(known, total + iou, total)
        classes = classes + known
    mean = np.full(total.shape, np.nan)
    return np.asarray(np.divide(total, classes, out=mean, where=classes > 0))


# Networks against others


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Difference of mean IoU between a network and a partner, see :func:`compare_networks`.

    By default the partner is the baseline of the same family.

    Attributes
    ----------
    classes : tuple of str
        Foreground classes that the IoU is the mean of.
    ensemble : bool
        Both are ensembles over their trainings.
    value : float
        Mean over trainings of the difference of mean IoU (section V); NaN if no class is present.
    by_training : tuple of float
        The difference in each training that both have, NaN if no class is present.
    pairs : tuple of (fold, repeat)
        Those trainings.
    sd_trainings : float
        Standard deviation (n - 1) between trainings; NaN with one.
    se_trainings : float
        Standard error due to trainings; if each fold was measured on different subjects, that of
        the folds' means, which includes the variation between subjects. NaN with one training.
    se_subjects : float
        Standard error over subjects (jackknife), for these trainings; NaN with one subject.
    ci_low, ci_high : float
        Interval over trainings and subjects; with one training over subjects alone, for these two
        networks. NaN with one subject.
    p_value : float
        Two-sided, for no difference in the mean over other trainings and subjects; NaN with one
        training or one subject.
    subjects : int
        S, those that both have.
    unpaired : int
        Trainings of one network that the other one lacks, which are left out.
    nested : bool
        Folds were measured on different subjects, and are the units of interval and test.
    """

    dataset: str
    dataset_id: str
    domain: str
    split: str
    classes: tuple[str, ...]
    arch: str
    encoder: str
    pruning: str
    ensemble: bool
    shift: Shift
    value: float
    by_training: tuple[float, ...]
    pairs: tuple[Training, ...]
    sd_trainings: float
    se_trainings: float
    se_subjects: float
    ci_low: float
    ci_high: float
    p_value: float
    subjects: int
    unpaired: int = 0
    nested: bool = False

    @property
    def family(self) -> str:
        """Encoder, with the architecture unless it is ``unet``."""
        return architecture_family(self.arch, self.encoder)

    @property
    def network(self) -> str:
        """The pruning, marked if it is an ensemble."""
        return f"{self.pruning}, ensemble" if self.ensemble else self.pruning

    @property
    def trainings(self) -> int:
        """Trainings that the value is the mean over."""
        return sum(not np.isnan(value) for value in self.by_training)


def paired_differences(
    totals: Mapping[str, Sequence[Any]], *, level: float = 0.95
) -> list[PairedDifference]:
    """Compare each pruned network with the baseline of its family.

    ``totals`` are those of :func:`subject_counts`, ``level`` is that of the interval.

    Returns
    -------
    list of PairedDifference
        One for each dataset, domain, split, shift, family and pruning that has a baseline, in the
        order of first appearance. Trainings are paired by fold and repeat; in each of them the
        subjects count that both networks have.
    """
    return [
        difference
        for counts in subject_counts(totals)
        for difference in compare_networks(counts, baselines(counts), level).values()
    ]


def baselines(counts: SubjectCounts) -> dict[NetworkCondition, NetworkCondition]:
    """Return the baseline of the same family, shift and kind for pruned networks that have one."""
    partners = {network: replace(network, pruning="baseline") for network in counts.networks}
    return {
        network: partner
        for network, partner in partners.items()
        if network != partner and partner in counts.networks
    }


def compare_networks(
    counts: SubjectCounts, partners: Mapping[NetworkCondition, NetworkCondition], level: float
) -> dict[NetworkCondition, PairedDifference]:
    """Compare networks with their partners, in the trainings and subjects that both have.

    Both are among the networks of ``counts``. Returns network minus partner, in the order of
    ``counts``, without those that have no subject of a training in common.
    """
    batches: dict[tuple[object, ...], list[_Pair]] = {}
    for network, partner in partners.items():
        pair = _pair(network, counts.networks[network], counts.networks[partner])
        if pair.present.any():
            batches.setdefault((pair.trainings, pair.present.tobytes()), []).append(pair)
    results: dict[NetworkCondition, PairedDifference] = {}
    for batch in batches.values():
        for start in range(0, len(batch), _BATCH):
            results |= _compare(counts, batch[start : start + _BATCH], level)
    return {network: results[network] for network in counts.networks if network in results}


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """A network with its pixels and its partner's, (2, K, T, S), ``present`` (T, S) in both."""

    network: NetworkCondition
    trainings: tuple[Training, ...]
    present: Bool
    own: Float64
    other: Float64
    unpaired: int


def _pair(network: NetworkCondition, own: Overlap, other: Overlap) -> _Pair:
    shared = {}
    for training in own.trainings:
        if training in other.trainings:
            indices = own.trainings.index(training), other.trainings.index(training)
            both = own.present[indices[0]] & other.present[indices[1]]
            if both.any():
                shared[training] = (*indices, both)
    present = np.array([both for _, _, both in shared.values()], dtype=bool)
    present = present.reshape(len(shared), own.present.shape[1])
    first, second = ([indices[side] for indices in shared.values()] for side in (0, 1))
    return _Pair(
        network,
        tuple(shared),
        present,
        own.pixels[:, :, first] * present,
        other.pixels[:, :, second] * present,
        unpaired=len(own.trainings) + len(other.trainings) - 2 * len(shared),
    )


def _compare(
    counts: SubjectCounts, pairs: Sequence[_Pair], level: float
) -> dict[NetworkCondition, PairedDifference]:
    """Compare pairs that have the same trainings and subjects."""
    used = pairs[0].present.any(axis=0)
    own = np.stack([pair.own[..., used] for pair in pairs], axis=3)
    other = np.stack([pair.other[..., used] for pair in pairs], axis=3)
    compared = differences(own, other, pairs[0].present[:, used], level=level)
    results = {}
    rows = zip(pairs, compared.by_training, compared.summaries, strict=True)
    for pair, by_training, summary in rows:
        network = pair.network
        results[network] = PairedDifference(
            dataset=counts.dataset,
            dataset_id=counts.dataset_id,
            domain=counts.domain,
            split=counts.split,
            classes=counts.classes,
            arch=network.arch,
            encoder=network.encoder,
            pruning=network.pruning,
            ensemble=network.ensemble,
            shift=network.shift,
            by_training=tuple(by_training.tolist()),
            pairs=pair.trainings,
            subjects=int(used.sum()),
            unpaired=pair.unpaired,
            **asdict(summary),
        )
    return results
