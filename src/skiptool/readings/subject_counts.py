"""Pixel counts by subject from the totals of a prediction table, as arrays.

A table may have millions of rows: columns are turned into numbers and rows placed all at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from skiptool.names import ENSEMBLE_FOLD, ShiftKind
from skiptool.records import Shift

if TYPE_CHECKING:
    from skiptool.records import Bool, Float64, Int64

__all__ = ["Network", "Overlap", "SubjectCounts", "Training", "subject_counts"]

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
