"""Subject-wise splits: a stratified hold-out for testing, and folds for cross-validation.

All samples of a subject (patient, slide) stay together: with slices or patches of one subject on
both sides of a split, the test would measure memory, not segmentation.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.errors import ArgumentError, SourceError, suggestion
from skiptool.names import Split
from skiptool.records import Progress

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Int64

ALL_DOMAINS = ""
"""Key of the value for all domains that are not named."""

TEST_FOLD = -1
LEFT_OUT = -2
"""In place of a fold: subjects not drawn by ``train_subjects`` or ``test_subjects``."""


@dataclass(frozen=True, slots=True)
class SplitInput:
    """One input (image, volume, slide), with the split and fold that its source lists, if any.

    ``path`` names it in messages; ``labelled`` is False if there is nothing to train on.
    """

    path: Path | str
    subject: str
    domain: str
    split: Split | None = None
    fold: int | None = None
    labelled: bool = True


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """Parameters of a split that the source does not list.

    Attributes
    ----------
    test_fraction : float
        Share of the subjects to hold out for testing.
    folds : int
        Validation folds of the training subjects.
    train_domain : str or None
        The only domain to train on: subjects of all others are for testing.
    train_subjects, test_subjects : mapping of str to int
        Number of subjects to draw by domain, with `ALL_DOMAINS` for each domain not named; no
        subjects are drawn from a domain without a number. Empty: all subjects.
    """

    test_fraction: float = 0.2
    folds: int = 5
    seed: int = 0
    train_domain: str | None = None
    train_subjects: Mapping[str, int] = field(default_factory=dict)
    test_subjects: Mapping[str, int] = field(default_factory=dict)

    @property
    def recorded(self) -> dict[str, Any]:
        """Parameters recorded in a store, except for the numbers of subjects."""
        parameters: dict[str, Any] = {
            "test_fraction": self.test_fraction,
            "folds": self.folds,
            "seed": self.seed,
        }
        if self.train_domain is not None:  # else omitted, so that ids of earlier stores stay valid
            parameters["train_domain"] = self.train_domain
        return parameters


def split_of(fold: int) -> Split:
    """Return the split of a fold; test samples have fold -1."""
    return Split.TEST if fold < 0 else Split.TRAIN


def assign_splits(
    inputs: Sequence[SplitInput],
    options: SplitOptions,
    progress: Progress,
    *,
    strata: AnyArray | None = None,
    by_input: bool = False,
) -> Int64:
    """Assign each input to the test split or to a fold of the training split.

    Listed splits and folds are followed. Without them subjects are held out at random, and all
    subjects without any label are for testing.

    Parameters
    ----------
    inputs : sequence of SplitInput
    options : SplitOptions
    progress : Progress
    strata : numbers, shape (N,), optional
        Quantity to be distributed equally over all parts; by default the domain of a subject's
        first input.
    by_input : bool
        Follow listed splits input by input: a subject on both sides is a warning, not an error. An
        impossible split (of a single subject, or into more folds than training subjects) is an
        error, not a warning.

    Returns
    -------
    int64, shape (N,)
        Fold 0..F-1, -1 for testing, `LEFT_OUT` for subjects that are not drawn.

    Raises
    ------
    SourceError
        If the listed splits or folds are incomplete or contradictory.
    ArgumentError
        If options are out of range, contradict each other or the listed splits, or ask for more
        subjects than there are.
    """
    _check_listed_splits(inputs, by_input)
    first_domain: dict[str, str] = {}
    for entry in inputs:
        first_domain.setdefault(entry.subject, entry.domain)
    for line in _similar_names(first_domain, (entry.domain for entry in inputs)):
        progress.warn(line)
    levels = strata
    if levels is None:
        levels = np.array([first_domain[entry.subject] for entry in inputs], dtype=object)
    if options.train_domain is not None:
        splits = _split_by_domain(options.train_domain, inputs, strata, options, progress)
    else:
        splits = _split_by_subject(inputs, first_domain, levels, options, progress, by_input)
    fold: Int64 = np.full(len(inputs), LEFT_OUT, dtype=np.int64)
    fold[[split is Split.TEST for split in splits]] = TEST_FOLD
    training = [index for index, split in enumerate(splits) if split is Split.TRAIN]
    if any(inputs[index].fold is not None for index in training):
        fold[training] = _listed_folds([inputs[index] for index in training], progress)
    elif training:
        subjects = [inputs[index].subject for index in training]
        folds = options.folds if by_input else _feasible_folds(subjects, options.folds, progress)
        fold[training] = assign_folds(subjects, levels[training], folds, options.seed)
    return fold


def _check_listed_splits(inputs: Sequence[SplitInput], by_input: bool) -> None:
    if not by_input:
        first_split: dict[str, Split | None] = {}
        for entry in inputs:
            other = first_split.setdefault(entry.subject, entry.split)
            if other is not entry.split:
                raise SourceError(
                    f"{entry.path}: split is {entry.split or 'empty'}, but {other or 'empty'} for "
                    f"another input of subject {entry.subject}; keep each subject on one side"
                )
    _check_complete(inputs, "split")
    if any(entry.fold is not None for entry in inputs) and inputs[0].split is None:
        raise SourceError("the column fold goes with the column split; fill that in too")


def _check_complete(inputs: Sequence[SplitInput], column: str) -> None:
    """Refuse a column that is filled in for some inputs only."""
    values = [getattr(entry, column) for entry in inputs]
    if None in values and any(value is not None for value in values):
        raise SourceError(
            f"{inputs[values.index(None)].path}: {column} is empty, but other rows have one; fill "
            "it in for all or none"
        )


def _split_by_domain(
    domain: str,
    inputs: Sequence[SplitInput],
    strata: AnyArray | None,
    options: SplitOptions,
    progress: Progress,
) -> list[Split | None]:
    """Train on one domain; test on a share of its subjects and on all other domains."""
    if any(entry.split for entry in inputs):
        raise ArgumentError(
            "--train-domain: the source lists the training and test split itself (column split); "
            "leave one of the two out"
        )
    if options.train_subjects or options.test_subjects:
        raise ArgumentError(
            "--train-domain: --train-subjects and --test-subjects already set how many subjects of "
            "each domain are on either side; leave one of the two out"
        )
    labelled = [index for index, entry in enumerate(inputs) if entry.labelled]
    subjects = [inputs[index].subject for index in labelled]
    domains = [inputs[index].domain for index in labelled]
    levels = domains if strata is None else strata[labelled]
    test = hold_out_domains(domain, domains, subjects, levels, options.test_fraction, options.seed)
    training = {subject for subject, tested in zip(subjects, test, strict=True) if not tested}
    untested = [
        other for other, tested in zip(domains, test, strict=True) if other != domain and not tested
    ]
    if untested:
        progress.warn(
            f"--train-domain {domain}: {len(untested)} inputs of domain "
            f"{', '.join(sorted(set(untested)))} are of training subjects and therefore not tested "
            f"either; give 'train --domain {domain}'"
        )
    return [Split.TRAIN if entry.subject in training else Split.TEST for entry in inputs]


def _split_by_subject(
    inputs: Sequence[SplitInput],
    first_domain: Mapping[str, str],
    levels: AnyArray,
    options: SplitOptions,
    progress: Progress,
    by_input: bool,
) -> list[Split | None]:
    """Return the split of each input, listed or drawn; None if its subject is not drawn."""

    def draw(pool: Collection[str], split: Split) -> Collection[str]:
        return _draw_subjects(pool, first_domain, split, options)

    if any(entry.split for entry in inputs):
        pools = {
            split: {entry.subject for entry in inputs if entry.split is split} for split in Split
        }
        _warn_of_overlap(pools, progress)
        drawn = {split: draw(pools[split], split) for split in (Split.TEST, Split.TRAIN)}
        return [
            entry.split if entry.split and entry.subject in drawn[entry.split] else None
            for entry in inputs
        ]
    labelled = {entry.subject for entry in inputs if entry.labelled}
    if options.test_subjects:
        test = set(draw(labelled, Split.TEST))
    elif options.test_fraction > 0 and len(labelled) == 1 and not by_input:
        progress.warn(
            "a single subject cannot be split: all its samples are for testing; training needs at "
            "least two subjects, one of them to validate on"
        )
        test = labelled
    elif options.test_fraction == 0 or not labelled:
        test = set()
    else:
        indices = [index for index, entry in enumerate(inputs) if entry.subject in labelled]
        subjects = [inputs[index].subject for index in indices]
        held_out = hold_out(subjects, levels[indices], options.test_fraction, options.seed)
        test = {subject for subject, tested in zip(subjects, held_out, strict=True) if tested}
    splits: dict[str, Split] = dict.fromkeys(first_domain.keys() - labelled | test, Split.TEST)
    splits |= dict.fromkeys(draw(labelled - test, Split.TRAIN), Split.TRAIN)
    return [splits.get(entry.subject) for entry in inputs]


def _draw_subjects(
    pool: Collection[str], domains: Mapping[str, str], split: Split, options: SplitOptions
) -> Collection[str]:
    """Draw the requested number of subjects of each domain; all if no number is requested."""
    counts = options.test_subjects if split is Split.TEST else options.train_subjects
    if not counts:
        return pool
    drawn: list[str] = []
    named = [name for name in counts if name != ALL_DOMAINS]
    for domain in dict.fromkeys((*domains.values(), *named)):
        available = sorted(subject for subject in pool if domains[subject] == domain)
        wanted = counts.get(domain, counts.get(ALL_DOMAINS, 0))
        if wanted > len(available):
            raise ArgumentError(
                f"--{split.value}-subjects {wanted}: domain {domain} has only {len(available)} "
                "subjects for it; ask for fewer, or set each domain by name: "
                f"--{split.value}-subjects {domain}={len(available)}"
            )
        # a random stream for each split, so that neither depends on the other
        rng = np.random.default_rng([options.seed, list(Split).index(split)])
        drawn += [available[index] for index in rng.permutation(len(available))[:wanted].tolist()]
    return drawn


def _warn_of_overlap(pools: Mapping[Split, set[str]], progress: Progress) -> None:
    shared = sorted(pools[Split.TRAIN] & pools[Split.TEST])
    if shared:
        progress.warn(
            f"the manifest has subjects in training and test ({', '.join(shared[:3])}): the test "
            "will measure memory too"
        )


def _listed_folds(training: Sequence[SplitInput], progress: Progress) -> list[int]:
    _check_complete(training, "fold")
    folds = [entry.fold for entry in training if entry.fold is not None]
    folds_of: dict[str, set[int]] = {}
    for entry, fold in zip(training, folds, strict=True):
        folds_of.setdefault(entry.subject, set()).add(fold)
    repeated = sorted(subject for subject, own in folds_of.items() if len(own) > 1)
    if repeated:
        progress.warn(
            f"the manifest has subjects in several folds ({', '.join(repeated[:3])}): the "
            "validation will measure memory too"
        )
    return folds


def _feasible_folds(subjects: Sequence[str], folds: int, progress: Progress) -> int:
    """Reduce the number of folds to the number of training subjects."""
    training = len(set(subjects))
    if training == 1:
        progress.warn(
            f"one training subject ({subjects[0]}) cannot be trained on: no other is left to "
            "validate on; add subjects, or use the store for testing"
        )
    elif training < folds:
        progress.warn(
            f"--folds {folds}: there are only {training} training subjects, so {training} folds "
            "are made"
        )
    return min(folds, training)


def hold_out(
    subjects: Sequence[str] | AnyArray,
    strata: Sequence[float] | Sequence[str] | AnyArray,
    fraction: float,
    seed: int,
) -> Bool:
    """Choose the subjects of the test split, spread evenly over the strata.

    Parameters
    ----------
    subjects : str, shape (N,)
        Subject of each sample.
    strata : numbers or str, shape (N,)
        Quantity or category to be distributed equally over both parts. A subject's stratum is the
        mean of its samples' numbers, or their most frequent word.
    fraction : float
        Share of the subjects to hold out, above 0 and below 1; rounded to whole subjects, at
        least one, but not all.
    seed : int

    Returns
    -------
    bool, shape (N,)
        True for test samples. The order of the samples does not matter.

    Raises
    ------
    ArgumentError
        If there are fewer than two subjects, ``fraction`` is out of range, lengths differ or a
        stratum is not finite.

    Notes
    -----
    For numbers, subjects are sorted by stratum and cut into as many consecutive blocks as
    subjects are to be held out; one of each block is drawn. Words are sampled systematically: the
    number held out of a word's subjects is its share, rounded up or down.

    Examples
    --------
    >>> hold_out(["a", "a", "b", "c", "c"], [1, 1, 5, 9, 9], fraction=0.3, seed=0)
    array([ True,  True, False, False, False])
    """
    if not 0.0 < fraction < 1.0:
        raise ArgumentError(f"test fraction {fraction}: expected above 0 and below 1, say 0.2")
    ranked, numeric, rng = _rank(subjects, strata, seed)
    size = len(ranked)
    if size < 2:
        raise ArgumentError(
            f"hold-out of {size} subjects: expected at least 2, one for each side; leave the test "
            "split out or give more subjects"
        )
    count = min(max(round(fraction * size), 1), size - 1)
    if numeric:
        edges = np.arange(count + 1) * size // count
        drawn = rng.integers(edges[:-1], edges[1:])
    else:
        drawn = np.floor((np.arange(count) + rng.random()) * size / count).astype(np.int64)
    test = {ranked[position] for position in drawn.tolist()}
    return np.array([subject in test for subject in subjects], dtype=np.bool_)


def hold_out_domains(
    domain: str,
    domains: Sequence[str] | AnyArray,
    subjects: Sequence[str] | AnyArray,
    strata: Sequence[float] | Sequence[str] | AnyArray,
    fraction: float,
    seed: int,
) -> Bool:
    """Choose the test split that leaves one domain to train on.

    Parameters
    ----------
    domain : str
        Domain to train on.
    domains, subjects, strata : shape (N,)
        Domain of each sample; the others as in `hold_out`.
    fraction : float
        Share of the subjects of that domain to hold out as well, at least 0 and below 1; a
        single subject is for training.
    seed : int

    Returns
    -------
    bool, shape (N,)
        True for test samples: those of the subjects held out, and of all subjects outside the
        domain. A subject in several domains is on one side with all its samples.

    Raises
    ------
    ArgumentError
        If no sample is of the domain, or as `hold_out`.

    Examples
    --------
    >>> hold_out_domains("A", ["A", "A", "B", "B"], list("pqqr"), [1, 1, 1, 1], 0.0, seed=0)
    array([False, False, False,  True])
    """
    _check_lengths(domains=domains, subjects=subjects, strata=strata)
    inside = [index for index, other in enumerate(domains) if other == domain]
    if not inside:
        names = sorted({str(name) for name in domains})
        raise ArgumentError(
            f"--train-domain {domain}: expected one of "
            f"{', '.join(names)}{suggestion(domain, names)}"
        )
    candidates = [str(subjects[index]) for index in inside]
    training = set(candidates)
    if fraction != 0 and len(training) > 1:
        test = hold_out(candidates, np.asarray(strata)[inside], fraction, seed)
        training -= {subject for subject, tested in zip(candidates, test, strict=True) if tested}
    return np.array([str(subject) not in training for subject in subjects], dtype=np.bool_)


def _similar_names(subjects: Iterable[str], domains: Iterable[str]) -> list[str]:
    """Return warnings of subjects and domains that are probably one with two spellings.

    Names are similar if they differ only in case, leading zeros of a number, a trailing ``.0``,
    separators, or invisible characters.

    >>> _similar_names(["P1", "p-2", "7"], ["A"])
    []
    >>> len(_similar_names(["007", "7.0", "P_1", "p 01"], ["A", "a"]))
    2
    """
    warnings = []
    for kind, names in (("subjects", subjects), ("domains", domains)):
        spellings: dict[str, list[str]] = {}
        for name in dict.fromkeys(names):
            spellings.setdefault(_spelling(name), []).append(name)
        similar = [group for group in spellings.values() if len(group) > 1]
        if similar:
            more = f" (and {len(similar) - 1} more)" if len(similar) > 1 else ""
            words = " and ".join(map(repr, similar[0][:2]))
            warnings.append(
                f"{kind} {words}{more} are spelled almost alike and taken for different {kind}; "
                "if they are the same, spell them alike, or they may be on both sides of a split"
            )
    return warnings


def _spelling(name: str) -> str:
    visible = "".join(
        character
        for character in unicodedata.normalize("NFKC", name)
        if unicodedata.category(character) != "Cf"
    )
    text = re.sub(r"[\s_-]+", "-", visible.casefold()).strip("-")
    text = re.sub(r"(?<!\d)0+(?=\d)", "", text)
    return text.removesuffix(".0") if text.removesuffix(".0").isdecimal() else text


def assign_folds(
    subjects: Sequence[str] | AnyArray,
    strata: Sequence[float] | Sequence[str] | AnyArray,
    folds: int,
    seed: int,
) -> Int64:
    """Assign subjects to folds, each with the same distribution of strata.

    Parameters
    ----------
    subjects, strata : shape (N,)
        As in `hold_out`.
    folds : int
        Number F of folds, from 1 to the number of subjects.
    seed : int

    Returns
    -------
    int64, shape (N,)
        Fold 0..F-1 of each sample. The order of the samples does not matter.

    Raises
    ------
    ArgumentError
        If there are more folds than subjects, or none, lengths differ or a stratum is not finite.

    Notes
    -----
    Subjects are sorted by stratum and assigned in consecutive blocks of F: folds differ by at
    most one subject. For numbers each block is shuffled first, and with m whole blocks the mean
    strata of two folds differ by at most range / m (by less than 2 range / m if F does not
    divide the number of subjects): for 1..100 cells on 1000 images in 5 folds, by half a cell.
    For words, the folds differ by at most one subject of each.

    Examples
    --------
    >>> sorted(assign_folds(["a", "b", "c", "d"], [1, 2, 8, 9], folds=2, seed=0)[:2].tolist())
    [0, 1]
    """
    ranked, numeric, rng = _rank(subjects, strata, seed)
    if not 1 <= folds <= len(ranked):
        raise ArgumentError(
            f"{folds} folds of {len(ranked)} subjects: expected 1 to {len(ranked)}; give fewer "
            "folds or more subjects"
        )
    order = rng.permutation(folds).tolist()
    fold: dict[str, int] = {}
    for start in range(0, len(ranked), folds):
        block = ranked[start : start + folds]
        if numeric:
            block = [block[index] for index in rng.permutation(len(block)).tolist()]
        fold.update(zip(block, order, strict=False))
    return np.array([fold[subject] for subject in subjects], dtype=np.int64)


def split_hash(
    ids: Sequence[str] | AnyArray,
    subjects: Sequence[str] | AnyArray,
    folds: Sequence[int] | Int64,
) -> str:
    """Return the SHA-256, in hex, of a split; the order of the samples does not matter.

    Parameters
    ----------
    ids, subjects : str, shape (N,)
    folds : int, shape (N,)
        Fold of each sample, -1 for test samples.
    """
    _check_lengths(ids=ids, subjects=subjects, folds=folds)
    rows = sorted(
        (str(name), str(subject), int(fold))
        for name, subject, fold in zip(ids, subjects, folds, strict=True)
    )
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()


def _rank(
    subjects: Sequence[str] | AnyArray,
    strata: Sequence[float] | Sequence[str] | AnyArray,
    seed: int,
) -> tuple[list[str], bool, np.random.Generator]:
    """Sort subjects by stratum, ties shuffled; also return whether strata are numbers."""
    _check_lengths(subjects=subjects, strata=strata)
    values = np.asarray(strata)
    numeric = values.dtype.kind in "biuf"
    if numeric and not np.isfinite(values).all():
        raise ArgumentError("strata: a number is NaN or infinite; leave such samples out")
    samples: dict[str, list[Any]] = {}
    for subject, value in zip(subjects, values.tolist(), strict=True):
        samples.setdefault(subject, []).append(value)
    level: Callable[[list[Any]], Any] = _mean if numeric else _most_frequent
    levels = {subject: level(own) for subject, own in samples.items()}
    rng = np.random.default_rng(seed)
    names = sorted(samples)
    shuffled = [names[index] for index in rng.permutation(len(names)).tolist()]
    return sorted(shuffled, key=levels.__getitem__), numeric, rng


def _mean(numbers: list[float]) -> float:
    """Return the mean, independent of the order of the numbers (unlike with a plain sum)."""
    return math.fsum(numbers) / len(numbers)


def _most_frequent(words: list[str]) -> str:
    counts = Counter(words)
    return min(counts, key=lambda word: (-counts[word], word))


def _check_lengths(**columns: Sequence[object] | AnyArray) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise ArgumentError(f"split: {counts}; expected one of each for every sample")
