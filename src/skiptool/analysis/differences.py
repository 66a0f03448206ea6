"""Pixel counts by subject from the totals of a prediction table, as arrays.

A table may have millions of rows: columns are turned into numbers and rows placed all at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from skiptool.names import ENSEMBLE_FOLD, ShiftKind
from skiptool.records import Shift, family
from skiptool.stats.two_way import OverTrainings, over_trainings

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64, Int64

__all__ = [
    "Differences",
    "Network",
    "Overlap",
    "PairedDifference",
    "SubjectCounts",
    "Training",
    "baselines",
    "compared_with",
    "differences",
    "iou_by_training",
    "paired_differences",
    "subject_counts",
    "without_each",
]

Training: TypeAlias = tuple[int | None, int]
"""Fold and repeat of a training; see ``subject_counts`` for tables that do not name repeats."""


@dataclass(frozen=True, slots=True)
class Network:
    """What was measured under one shift: an architecture in all its trainings, or its ensemble.

    ``clean_skips`` names what its decoder is fed of the unshifted image, None for nothing.
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
        T different ones, rising; the fold is None where a model has none.
    pixels : float64, shape (2, K, T, S)
        Pixels in both truth and prediction, and in either, for K foreground classes.
    present : bool, shape (T, S)
        Where a training has the subject at all.
    """

    trainings: tuple[Training, ...]
    pixels: Float64
    present: Bool


@dataclass(frozen=True, slots=True, eq=False)
class SubjectCounts:
    """All networks on one split of one domain.

    Attributes
    ----------
    dataset, dataset_id, domain, split : str
    classes : tuple of str
        K foreground classes.
    subjects : tuple of str
        S names, sorted.
    networks : mapping of Network to Overlap
        In the order of first appearance.
    """

    dataset: str
    dataset_id: str
    domain: str
    split: str
    classes: tuple[str, ...]
    subjects: tuple[str, ...]
    networks: Mapping[Network, Overlap]


_GROUP = ("dataset_id", "domain", "split")
_MODEL = (
    *("arch", "encoder", "pruning", "fold", "repeat", "model_id"),
    *("shift", "factor", "clean_skips"),
)


def subject_counts(
    totals: Mapping[str, Sequence[Any]], *, substituted: bool = False
) -> list[SubjectCounts]:
    """Sort total pixel counts by domain, network, training and subject.

    Parameters
    ----------
    totals : mapping of column name to values
        The columns ``skiptool.metrics.KEYS``, ``subject`` and ``pixels``, a row for each
        group of them. In a dataset the classes appear in the order of their labels, background
        first. Rows that agree in all but ``pixels`` (a model in two tables) count once, the last.
    substituted : bool
        Take the rows with ``clean_skips`` too, as networks of their own; else they are of another
        experiment and are passed over.

    Returns
    -------
    list of SubjectCounts
        One for each dataset, domain and split, in the order of first appearance. A training is a
        fold and a repeat; a missing repeat is 0. Further models of the same fold and repeat, from
        runs that did not number them, take the next repeats in the order of their ids.
    """
    totals = {**totals, "repeat": [repeat or 0 for repeat in totals["repeat"]]}
    rows = [substituted or skips is None for skips in totals["clean_skips"]]
    chosen = np.array(rows, dtype=bool)
    names = ("dataset", *_GROUP, *_MODEL, "subject", "truth", "predicted")
    columns = {name: _Coded.of(totals[name], chosen) for name in names}
    columns["predicted"] = columns["predicted"].renamed(columns["truth"])
    pixels = np.asarray(totals["pixels"], dtype=np.float64)[chosen]
    groups = _combined([columns[name] for name in _GROUP])
    return [_sorted(columns, pixels, group) for group in _runs(groups)]


@dataclass(frozen=True, slots=True, eq=False)
class _Coded:
    """A column as numbers of its different values."""

    codes: Int64
    values: Sequence[Any]

    @classmethod
    def of(cls, column: Sequence[Any], kept: Bool) -> _Coded:
        index = _Index()
        codes = np.fromiter(map(index.__getitem__, column), np.int64, len(kept))
        return cls(codes[kept], list(index))

    def renamed(self, other: _Coded) -> _Coded:
        """Take the numbers of another column, and further ones for values that it lacks."""
        index = _Index({value: place for place, value in enumerate(other.values)})
        places = np.array([index[value] for value in self.values], dtype=np.int64)
        return _Coded(places[self.codes] if len(places) else self.codes, list(index))


class _Index(dict[Any, int]):
    """Number of each value; a value that is new takes the next."""

    def __missing__(self, value: object) -> int:
        number = self[value] = len(self)
        return number


def _combined(columns: Sequence[_Coded]) -> Int64:
    """Give each different row of several columns a number, by first appearance."""
    found, size = np.zeros_like(columns[0].codes), 1
    for column in columns:
        codes = found * len(column.values) + column.codes
        first, found = _dense(codes, size * len(column.values))
        size = len(first)
    return found


def _dense(codes: Int64, size: int) -> tuple[Int64, Int64]:
    """Count codes below ``size`` by first appearance: first row of each, number of each row."""
    first = np.full(size, -1)
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # of several, the last one written stays
    found = np.flatnonzero(first >= 0)
    order = found[np.argsort(first[found])]
    numbers = np.zeros(size, dtype=np.int64)
    numbers[order] = np.arange(len(order))
    return first[order], numbers[codes]


def _runs(groups: Int64) -> Iterator[Int64]:
    """Rows of each group in turn."""
    order = np.argsort(groups, kind="stable")
    edges = np.flatnonzero(np.diff(groups[order])) + 1
    if len(order):
        yield from np.split(order, edges)


def _sorted(columns: Mapping[str, _Coded], pixels: Float64, rows: Int64) -> SubjectCounts:
    """Place the rows of one group in arrays by model, subject and class."""
    here = {name: _Coded(column.codes[rows], column.values) for name, column in columns.items()}
    models = _combined([here[name] for name in _MODEL])
    first, models = _dense(models, len(models))
    keys = {name: [here[name].values[k] for k in here[name].codes[first]] for name in _MODEL}
    names, subjects = _by_name(here["subject"])
    both = np.concatenate([here["truth"].codes, here["predicted"].codes])
    labels, numbers = _dense(both, len(here["predicted"].values))
    classes = [here["predicted"].values[k] for k in both[labels]]
    size = (len(first), len(names), len(classes), len(classes))
    counts = np.zeros(size)
    truth, predicted = numbers[: len(rows)], numbers[len(rows) :]
    counts[models, subjects, truth, predicted] = pixels[rows]
    present = np.zeros(size[:2], dtype=bool)
    present[models, subjects] = True
    dataset, dataset_id, domain, split = (
        str(here[name].values[here[name].codes[0]]) for name in ("dataset", *_GROUP)
    )
    networks = _networks(keys, _overlap(counts), present)
    return SubjectCounts(dataset, dataset_id, domain, split, tuple(classes[1:]), names, networks)


def _by_name(column: _Coded) -> tuple[tuple[str, ...], Int64]:
    """Sorted names of a column, and which of them stands in each row."""
    first, numbers = _dense(column.codes, len(column.values))
    names = [str(column.values[k] or "") for k in column.codes[first]]
    order = sorted(range(len(names)), key=names.__getitem__)
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    return tuple(names[place] for place in order), places[numbers]


def _overlap(counts: Float64) -> Float64:
    """Pixels in both and in either, (2, K, models, S), of counts (models, S, J, J)."""
    both = np.diagonal(counts, axis1=-2, axis2=-1)
    either = counts.sum(axis=-1) + counts.sum(axis=-2) - both
    return np.ascontiguousarray(np.moveaxis(np.stack([both, either])[..., 1:], -1, 1))


def _networks(
    keys: Mapping[str, Sequence[Any]], overlap: Float64, present: Bool
) -> dict[Network, Overlap]:
    """Gather the models of each network by training."""
    members: dict[Network, list[tuple[Training, str, int]]] = {}
    facts = zip(*(keys[name] for name in _MODEL), strict=True)
    for place, (arch, encoder, pruning, fold, repeat, model, *of) in enumerate(facts):
        shift, factor, clean = of
        kind = Shift(ShiftKind(shift), factor)
        network = Network(arch, encoder, pruning, fold == ENSEMBLE_FOLD, kind, clean)
        members.setdefault(network, []).append(((fold, repeat), str(model), place))
    return {network: _by_training(found, overlap, present) for network, found in members.items()}


def _by_training(
    found: Sequence[tuple[Training, str, int]], overlap: Float64, present: Bool
) -> Overlap:
    """Order models by fold and repeat; those of one training are given the next free repeats."""
    places: dict[Training, int] = {}
    again = []
    for (fold, repeat), _, place in sorted(found, key=lambda one: (_rank(one[0]), one[1])):
        if (fold, repeat) in places:
            again.append((fold, repeat, place))
        else:
            places[fold, repeat] = place
    for fold, repeat, place in again:
        number = next(n for n in count(repeat + 1) if (fold, n) not in places)
        places[fold, number] = place
    order = sorted(places, key=_rank)
    chosen = [places[training] for training in order]
    return Overlap(tuple(order), overlap[:, :, chosen], present[chosen])


def _rank(training: Training) -> tuple[bool, int, int]:
    fold, repeat = training
    return fold is None, fold or 0, repeat


# -------------------------------------------------------------------------------------------------
# Difference of mean IoU between two networks that were trained several times, with its interval.
#
# Counts are summed over subjects before the IoU is taken, and so are those without each subject, of
# which :mod:`skiptool.stats.two_way` makes the interval. Pixels are whole numbers below 2^53, sums
# of them exact in whatever order, so that the same counts give the same bits on any machine and
# beside any other networks.


@dataclass(frozen=True, slots=True, eq=False)
class Differences:
    """Differences of P pairs of networks; see ``differences``.

    Attributes
    ----------
    by_training : float64, shape (P, T)
        NaN where no class is there.
    found : tuple of OverTrainings, length P
    """

    by_training: Float64
    found: tuple[OverTrainings, ...]


def differences(
    first: Float64, second: Float64, present: Bool, *, level: float = 0.95
) -> Differences:
    """Compare P pairs of networks that were measured in the same trainings and subjects.

    Parameters
    ----------
    first, second : float64, shape (2, K, T, P, S)
        Pixels in both truth and prediction, and in either, by foreground class, training, pair and
        subject; 0 where a subject is not ``present``.
    present : bool, shape (T, S)
        Subjects that each training was measured on; each subject in one at least.
    level : float
        Of the interval.

    Returns
    -------
    Differences
        Of the mean over trainings of the difference of mean IoU, first minus second.

    Raises
    ------
    ArgumentError
        If the level is not between 0 and 1.
    """
    changes = without_each(first) - without_each(second)  # (T, P, 1 + S)
    found = [
        over_trainings(pair[:, 0], pair[:, 1:], present, level)
        for pair in np.moveaxis(changes, 1, 0)
    ]
    return Differences(changes[..., 0].T.copy(), tuple(found))


def iou_by_training(pixels: Float64) -> Float64:
    """Mean IoU of a network in each training, from counts summed over its subjects.

    Parameters
    ----------
    pixels : float64, shape (2, K, T, S)
        Pixels in both truth and prediction, and in either.

    Returns
    -------
    float64, shape (T,)
        NaN where no class is there.
    """
    return _mean_iou(pixels.sum(axis=-1))


def without_each(pixels: Float64) -> Float64:
    """Mean IoU of networks, and the same without each subject.

    Parameters
    ----------
    pixels : float64, shape (2, K, ..., S)
        Pixels in both truth and prediction, and in either.

    Returns
    -------
    float64, shape (..., 1 + S)
        From counts summed over all subjects, then over all but each; NaN where no class is there.
    """
    total = pixels.sum(axis=-1, keepdims=True)
    return _mean_iou(np.concatenate([total, total - pixels], axis=-1))


def _mean_iou(pixels: Float64) -> Float64:
    """Mean IoU of pixels in both and in either, (2, K, ...), as ``metrics.overlap.mean_iou``."""
    both, either = pixels
    missing = np.full(both.shape, np.nan)
    return _ordered_mean(np.divide(both, either, out=missing, where=either > 0))


def _ordered_mean(values: Float64) -> Float64:
    """Mean over the first axis, NaN left out; added in order, so that its bits never change."""
    total, count = (np.zeros(values.shape[1:]) for _ in range(2))
    for each in values:
        there = ~np.isnan(each)
        total = np.where(there, total + each, total)
        count = count + there
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))


# -------------------------------------------------------------------------------------------------
# Each pruned network against the unpruned one on the same subjects.
#
# Trainings (folds and their repeats) and subjects are both random: the interval and the test of a
# difference say what to expect of other trainings, and on other subjects
# (:mod:`skiptool.readings.difference`). With one training of either network they cannot; the
# interval is then one over subjects, for these two networks, and there is no test.


_TOGETHER: Final = 200  # pairs whose pixels are held at a time


_SPLIT: Final = ("dataset", "dataset_id", "domain", "split", "classes")
_NETWORK: Final = ("arch", "encoder", "pruning", "ensemble", "shift")


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Difference of mean IoU between a network and another one, which ``compared_with`` names.

    Where nothing else is said, the other one is the baseline of the same family.

    Attributes
    ----------
    dataset, dataset_id, domain, split : str
    classes : tuple of str
        Foreground classes that the IoU is the mean of.
    arch, encoder, pruning : str
    ensemble : bool
        Both are ensembles over their trainings.
    shift : Shift
    value : float
        Mean over trainings of the difference of mean IoU (section V); NaN where no class is there.
    by_training : tuple of float
        The difference in each training that both have, NaN where no class is there.
    pairs : tuple of (fold, repeat)
        Those trainings.
    sd_trainings : float
        Standard deviation (n - 1) between trainings; NaN with one.
    se_trainings : float
        Standard error that follows from it; where each fold was measured on subjects of its own,
        that of the folds' means, which holds the variation between subjects too. NaN with one.
    se_subjects : float
        Standard error over subjects (jackknife), for these trainings; NaN with one subject.
    ci_low, ci_high : float
        Interval over trainings and subjects; with one training over subjects alone, for these two
        networks. NaN with one subject.
    p_value : float
        That other trainings, on other subjects, do not differ in the mean, two-sided; NaN with one
        training or one subject.
    subjects : int
        S, those that both have.
    unpaired : int
        Trainings of either network that the other one lacks, which are left out.
    nested : bool
        Folds were measured on subjects of their own, and are the units of interval and test.
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
        """Name of encoder and, where it is not ``unet``, architecture."""
        return family(self.arch, self.encoder)

    @property
    def network(self) -> str:
        """The pruning; an ensemble says so."""
        return f"{self.pruning}, ensemble" if self.ensemble else self.pruning

    @property
    def trainings(self) -> int:
        """Trainings that the value is the mean over."""
        return sum(not np.isnan(value) for value in self.by_training)


def paired_differences(
    totals: Mapping[str, Sequence[Any]], *, level: float = 0.95
) -> list[PairedDifference]:
    """Compare each pruned network with the baseline of its family.

    Parameters
    ----------
    totals : mapping of column name to values
        See :func:`skiptool.analysis.differences.subject_counts`.
    level : float
        Of the interval.

    Returns
    -------
    list of PairedDifference
        One for each dataset, domain, split, shift, family and pruning that has a baseline, in the
        order of first appearance. Trainings are paired by fold and repeat; in each of them the
        subjects count that both networks have.

    Raises
    ------
    ArgumentError
        If the level is not between 0 and 1.
    """
    return [
        difference
        for counts in subject_counts(totals)
        for difference in compared_with(counts, baselines(counts), level).values()
    ]


def compared_with(
    counts: SubjectCounts, partners: Mapping[Network, Network], level: float
) -> dict[Network, PairedDifference]:
    """Compare networks with their partners, in the trainings and subjects that both have.

    Parameters
    ----------
    counts : SubjectCounts
    partners : mapping of Network to Network
        What each is compared with; both are among the networks of ``counts``.
    level : float
        Of the interval.

    Returns
    -------
    dict of Network to PairedDifference
        Network minus partner, in the order of ``counts``; without those that have no subject of a
        training in common.

    Raises
    ------
    ArgumentError
        If the level is not between 0 and 1.
    """
    batches: dict[tuple[object, ...], list[_Pair]] = {}
    for network, partner in partners.items():
        pair = _paired(network, counts.networks[network], counts.networks[partner])
        if pair.kept.any():
            batches.setdefault((pair.trainings, pair.kept.tobytes()), []).append(pair)
    results: dict[Network, PairedDifference] = {}
    for together in batches.values():
        for start in range(0, len(together), _TOGETHER):
            pairs = together[start : start + _TOGETHER]
            results |= _compared(counts, pairs, level)
    return {network: results[network] for network in counts.networks if network in results}


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """A network, its pixels and its partner's, (2, K, T, S); ``kept`` (T, S) as both have."""

    network: Network
    trainings: tuple[Training, ...]
    kept: Bool
    mine: Float64
    other: Float64
    unpaired: int


def baselines(counts: SubjectCounts) -> dict[Network, Network]:
    """Find the baseline of the same family, shift and kind of each pruned network that has one."""
    found = {network: replace(network, pruning="baseline") for network in counts.networks}
    return {
        network: partner
        for network, partner in found.items()
        if network != partner and partner in counts.networks
    }


def _paired(network: Network, mine: Overlap, other: Overlap) -> _Pair:
    kept = {}
    for training in mine.trainings:
        if training in other.trainings:
            places = mine.trainings.index(training), other.trainings.index(training)
            both = mine.present[places[0]] & other.present[places[1]]
            if both.any():
                kept[training] = (*places, both)
    unpaired = len(mine.trainings) + len(other.trainings) - 2 * len(kept)
    first, second = ([found[side] for found in kept.values()] for side in (0, 1))
    present = np.array([both for _, _, both in kept.values()], dtype=bool)
    present = present.reshape(len(kept), mine.present.shape[1])
    pixels = mine.pixels[:, :, first] * present, other.pixels[:, :, second] * present
    return _Pair(network, tuple(kept), present, *pixels, unpaired)


def _compared(
    counts: SubjectCounts, pairs: Sequence[_Pair], level: float
) -> dict[Network, PairedDifference]:
    """Compare pairs that have the same trainings and subjects."""
    used = pairs[0].kept.any(axis=0)
    mine, other = (
        np.stack([each[..., used] for each in side], axis=3)
        for side in ([pair.mine for pair in pairs], [pair.other for pair in pairs])
    )
    found = differences(mine, other, pairs[0].kept[:, used], level=level)
    results = {}
    for place, pair in enumerate(pairs):
        facts: dict[str, Any] = {
            **{name: getattr(counts, name) for name in _SPLIT},
            **{name: getattr(pair.network, name) for name in _NETWORK},
            **asdict(found.found[place]),
            "by_training": tuple(found.by_training[place].tolist()),
            **{"pairs": pair.trainings, "subjects": int(used.sum()), "unpaired": pair.unpaired},
        }
        results[pair.network] = PairedDifference(**facts)
    return results
