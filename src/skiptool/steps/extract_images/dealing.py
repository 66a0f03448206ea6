"""Which images are for testing, and which fold the others are in: by subject, in all domains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import SourceError
from skiptool.names import Split
from skiptool.records import Progress
from skiptool.sources.pictures.samples import Item
from skiptool.splits import (
    alike,
    assign_folds,
    check_undecided,
    hold_out,
    train_on,
    trained_elsewhere,
)

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Int64

__all__ = ["dealt"]


def dealt(
    items: Sequence[Item],
    test_fraction: float,
    folds: int,
    seed: int,
    progress: Progress,
    train_domain: str | None = None,
) -> Int64:
    """Return the fold of each item, -1 for test; tiles share that of their image.

    The manifest's columns ``split`` and ``fold`` decide where they are filled in. Otherwise
    subjects are held out, and dealt out to folds, so that all parts have as much foreground; with
    a domain to train on, those of the others are all for testing.

    Raises
    ------
    SourceError
        If a column is filled in for some images only, or folds are given without splits.
    ArgumentError
        If the fraction is out of range, there are more folds than training subjects, or the domain
        to train on is not there, or the column ``split`` decides.
    """
    subjects = np.array([item.row["subject"] for item in items], dtype=object)
    foreground = np.array([item.foreground for item in items])
    fold: Int64 = np.full(len(items), -1, dtype=np.int64)
    splits = [item.split for item in items]
    _check_whole(items, splits, "split")
    test: Bool = np.array([split is Split.TEST for split in splits])
    for line in alike(subjects.tolist(), (item.row["domain"] for item in items)):
        progress.warn(line)
    if train_domain is not None:
        domains = [item.row["domain"] for item in items]
        check_undecided(any(splits))
        test = train_on(train_domain, domains, subjects, foreground, test_fraction, seed)
        for line in trained_elsewhere(train_domain, domains, test):
            progress.warn(line)
    elif not any(splits) and test_fraction != 0:
        test = hold_out(subjects, foreground, test_fraction, seed)
    _warn_of_both(subjects, test, progress)
    training = np.flatnonzero(~test).tolist()
    asked = {place: items[place].fold for place in training}
    given = [number for number in asked.values() if number is not None]
    if given and not any(splits):
        raise SourceError("the column fold goes with the column split; fill that in too")
    if given:
        _check_whole([items[place] for place in asked], list(asked.values()), "fold")
        fold[training] = given
        _warn_of_several(subjects[training], fold[training], progress)
    elif len(training):
        fold[training] = assign_folds(subjects[training], foreground[training], folds, seed)
    return fold


def _check_whole(items: Sequence[Item], asked: Sequence[object | None], column: str) -> None:
    """Refuse a column that is filled in for some rows only."""
    if None in asked and any(value is not None for value in asked):
        bare = items[list(asked).index(None)].row["image"]
        raise SourceError(
            f"{bare}: {column} is empty, in other rows it is not; fill it in everywhere"
        )


def _warn_of_both(subjects: AnyArray, test: Bool, progress: Progress) -> None:
    both = sorted(set(subjects[test]) & set(subjects[~test]))
    if both:
        progress.warn(
            f"the manifest has subjects in training and test ({', '.join(both[:3])}): the test "
            "will measure memory too"
        )


def _warn_of_several(subjects: AnyArray, fold: Int64, progress: Progress) -> None:
    first = dict(zip(subjects[::-1], fold[::-1].tolist(), strict=True))
    several = sorted({s for s, k in zip(subjects, fold.tolist(), strict=True) if first[s] != k})
    if several:
        progress.warn(
            f"the manifest has subjects in several folds ({', '.join(several[:3])}): the "
            "validation will measure memory too"
        )
