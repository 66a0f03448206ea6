"""Which subjects are for training, for testing, or left out: all volumes of one go one way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from skiptool.errors import ArgumentError, SourceError
from skiptool.names import Split
from skiptool.records import Progress
from skiptool.splits import (
    alike,
    assign_folds,
    check_undecided,
    hold_out,
    train_on,
    trained_elsewhere,
)
from skiptool.steps.extract_mri.settings import ALL, SliceSettings
from skiptool.steps.extract_mri.survey import Surveyed

__all__ = ["dealt"]


def dealt(
    volumes: Sequence[Surveyed],
    settings: SliceSettings,
    test_fraction: float,
    folds: int,
    seed: int,
    progress: Progress,
    train_domain: str | None = None,
) -> dict[str, int]:
    """Return the fold of each subject, -1 for testing; subjects that are left out are not in it.

    The column ``split`` (or the folders of the challenge) decides where it is filled in;
    otherwise subjects are held out, of every domain its share, or of one to train on; the subjects
    of the others are then all for testing. ``--train-subjects`` and ``--test-subjects`` draw so
    many. Subjects without any label are for testing, where
    nothing else is said: there is nothing to learn from them.

    Raises
    ------
    SourceError
        If the column is filled in for some volumes only, or both ways for one subject.
    ArgumentError
        If a domain has fewer subjects than asked for, the fraction is out of range, there are no
        folds, or the domain to train on is not there or not free to be chosen.
    """
    domains: dict[str, str] = {}
    for volume in volumes:  # one that was scanned in several domains counts for the first
        domains.setdefault(volume.row.subject, volume.row.domain)
    for line in alike(domains, (volume.row.domain for volume in volumes)):
        progress.warn(line)
    sides = _sides(volumes)
    labelled = {volume.row.subject for volume in volumes if volume.labelled}
    if train_domain is not None:
        check_undecided(any(sides.values()))
        pools = _on_domain(train_domain, volumes, settings, test_fraction, seed, progress)
    elif any(sides.values()):
        pools = {side: [s for s in domains if sides[s] is side] for side in Split}
        for side, counts in _counts(settings):
            pools[side] = _drawn(pools[side], domains, counts, side, seed)
    else:
        pools = _held_out(domains, labelled, settings, test_fraction, seed, progress)
    training = pools[Split.TRAIN]
    fold = dict.fromkeys(pools[Split.TEST], -1)
    if training:
        if len(training) == 1:
            progress.warn(
                f"one training subject ({training[0]}) cannot be trained on: no other is left to "
                "validate on; add subjects, or use the store for testing"
            )
        elif len(training) < folds:
            progress.warn(
                f"--folds {folds}: more than there are training subjects; {len(training)} are made"
            )
        words = [domains[subject] for subject in training]
        numbers = assign_folds(training, words, min(folds, len(training)), seed)
        fold |= dict(zip(training, numbers.tolist(), strict=True))
    return fold


def _sides(volumes: Sequence[Surveyed]) -> dict[str, Split | None]:
    """Return the split that is asked for by subject."""
    asked: dict[str, Split | None] = {}
    for volume in volumes:
        row = volume.row
        known = asked.setdefault(row.subject, row.split)
        if known is not row.split:
            raise SourceError(
                f"{row.image}: split is {_said(row.split)}, for another volume of subject "
                f"{row.subject} it is {_said(known)}; a subject is on one side"
            )
    if None in asked.values() and any(asked.values()):
        bare = next(volume.row.image for volume in volumes if volume.row.split is None)
        raise SourceError(f"{bare}: split is empty, in other rows it is not; fill it in everywhere")
    return asked


def _said(split: Split | None) -> str:
    return "empty" if split is None else split.value


def _counts(settings: SliceSettings) -> list[tuple[Split, Mapping[str, int]]]:
    return [(Split.TEST, settings.test_subjects), (Split.TRAIN, settings.train_subjects)]


def _held_out(
    domains: Mapping[str, str],
    labelled: set[str],
    settings: SliceSettings,
    test_fraction: float,
    seed: int,
    progress: Progress,
) -> dict[Split, list[str]]:
    known = [subject for subject in domains if subject in labelled]
    bare = [subject for subject in domains if subject not in labelled]
    if settings.test_subjects:
        test = _drawn(known, domains, settings.test_subjects, Split.TEST, seed)
    elif test_fraction == 0 or not known:
        test = []
    elif len(known) == 1:
        progress.warn(
            "a single subject cannot be split: all its slices are for testing (train on it with "
            "--test-fraction 0)"
        )
        test = known
    else:
        chosen = hold_out(known, [domains[subject] for subject in known], test_fraction, seed)
        test = [subject for subject, held in zip(known, chosen, strict=True) if held]
    rest = [subject for subject in known if subject not in set(test)]
    train = _drawn(rest, domains, settings.train_subjects, Split.TRAIN, seed)
    return {Split.TRAIN: train, Split.TEST: [*test, *bare]}


def _on_domain(
    domain: str,
    volumes: Sequence[Surveyed],
    settings: SliceSettings,
    test_fraction: float,
    seed: int,
    progress: Progress,
) -> dict[Split, list[str]]:
    """Train on one domain, test on all others and on a share of its subjects."""
    if settings.train_subjects or settings.test_subjects:
        raise ArgumentError(
            "--train-domain: --train-subjects and --test-subjects say how many subjects of each "
            "domain are on either side; leave one of the two out"
        )
    known = [volume for volume in volumes if volume.labelled]
    subjects = [volume.row.subject for volume in known]
    domains = [volume.row.domain for volume in known]
    test = train_on(domain, domains, subjects, domains, test_fraction, seed)
    for line in trained_elsewhere(domain, domains, test):
        progress.warn(line)
    train = {subject for subject, out in zip(subjects, test, strict=True) if not out}
    everyone = dict.fromkeys(volume.row.subject for volume in volumes)
    return {
        Split.TRAIN: [subject for subject in everyone if subject in train],
        Split.TEST: [subject for subject in everyone if subject not in train],
    }


def _drawn(
    pool: Sequence[str],
    domains: Mapping[str, str],
    counts: Mapping[str, int],
    side: Split,
    seed: int,
) -> list[str]:
    """Draw so many subjects of each domain; all of them where nothing is asked."""
    if not counts:
        return list(pool)
    found: list[str] = []
    for domain in dict.fromkeys((*domains.values(), *(name for name in counts if name != ALL))):
        there = sorted(subject for subject in pool if domains[subject] == domain)
        wanted = counts.get(domain, counts.get(ALL, 0))
        if wanted > len(there):
            raise ArgumentError(
                f"--{side.value}-subjects {wanted}: domain {domain} has {len(there)} subjects for "
                "it; ask for fewer, or for each domain by name: "
                f"--{side.value}-subjects {domain}={len(there)}"
            )
        # a stream of its own for each side, so that one does not follow the other
        rng = np.random.default_rng([seed, list(Split).index(side)])
        found += [there[place] for place in sorted(rng.permutation(len(there))[:wanted].tolist())]
    return found
