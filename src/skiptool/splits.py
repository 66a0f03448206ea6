"""Splits by subject, stratified: a hold-out for testing and folds for cross-validation.

All samples of a subject (patient, slide) stay together: slices or patches of one subject on both
sides of a split would measure memory, not segmentation.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.errors import ArgumentError, near

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Bool, Int64

__all__ = [
    "alike",
    "assign_folds",
    "check_undecided",
    "hold_out",
    "split_hash",
    "train_on",
    "trained_elsewhere",
]


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
        What is to be equally distributed in both parts. A subject's stratum is the mean of its
        samples' numbers, or their most frequent word.
    fraction : float
        Share of the subjects to hold out, above 0 and below 1; rounded to whole subjects, at
        least one and not all.
    seed : int

    Returns
    -------
    bool, shape (N,)
        True for test samples. The order in which samples are given does not matter.

    Raises
    ------
    ArgumentError
        If there are fewer than two subjects, ``fraction`` is out of range, lengths differ or a
        stratum is not finite.

    Notes
    -----
    Subjects are sorted by stratum and cut into as many consecutive blocks as are to be held out;
    one of each block is drawn. Words instead are sampled systematically: the number held out of
    a word's subjects is its share, rounded up or down.

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
    held = min(max(round(fraction * size), 1), size - 1)
    if numeric:
        edges = np.arange(held + 1) * size // held
        drawn = rng.integers(edges[:-1], edges[1:])
    else:
        drawn = np.floor((np.arange(held) + rng.random()) * size / held).astype(np.int64)
    test = {ranked[position] for position in drawn.tolist()}
    return np.array([subject in test for subject in subjects], dtype=np.bool_)


def train_on(
    domain: str,
    domains: Sequence[str] | AnyArray,
    subjects: Sequence[str] | AnyArray,
    strata: Sequence[float] | Sequence[str] | AnyArray,
    fraction: float,
    seed: int,
) -> Bool:
    """Choose the test split where one domain is trained on and all others are tested.

    Parameters
    ----------
    domain : str
        The one to train on.
    domains, subjects, strata : shape (N,)
        Domain of each sample; the others as of `hold_out`.
    fraction : float
        Share of the subjects of that domain to test on too, from 0 and below 1; a single one is
        for training.
    seed : int

    Returns
    -------
    bool, shape (N,)
        True for test samples: those of the subjects held out, and of all that are not in the
        domain. A subject that is in several domains is on one side with all its samples.

    Raises
    ------
    ArgumentError
        If no sample is of the domain, or as `hold_out`.

    Examples
    --------
    >>> train_on("A", ["A", "A", "B", "B"], ["p", "q", "q", "r"], [1, 1, 1, 1], 0.0, seed=0)
    array([False, False, False,  True])
    """
    _check_lengths(domains=domains, subjects=subjects, strata=strata)
    inside = [place for place, found in enumerate(domains) if found == domain]
    if not inside:
        known = sorted({str(found) for found in domains})
        raise ArgumentError(
            f"--train-domain {domain}: expected one of {', '.join(known)}{near(domain, known)}"
        )
    own = [str(subjects[place]) for place in inside]
    tested: set[str] = set()
    if fraction != 0 and len(set(own)) > 1:
        held = hold_out(own, np.asarray(strata)[inside], fraction, seed)
        tested = {subject for subject, out in zip(own, held, strict=True) if out}
    trained = set(own) - tested
    return np.array([str(subject) not in trained for subject in subjects], dtype=np.bool_)


def check_undecided(decided: bool) -> None:
    """Refuse a domain to train on where the source says already what is for testing.

    Raises
    ------
    ArgumentError
    """
    if decided:
        raise ArgumentError(
            "--train-domain: the source says itself what is for training and for testing (column "
            "split); leave one of the two out"
        )


def trained_elsewhere(
    domain: str, domains: Sequence[str] | AnyArray, test: Bool
) -> tuple[str, ...]:
    """Say, in a line, how many inputs of training subjects are of other domains."""
    sides = zip(domains, test, strict=True)
    beside = [str(found) for found, out in sides if found != domain and not out]
    if not beside:
        return ()
    return (
        f"--train-domain {domain}: {len(beside)} inputs of domain {', '.join(sorted(set(beside)))} "
        "are of subjects that are trained on, so they are not for testing either; give "
        f"'train --domain {domain}'",
    )


def alike(subjects: Iterable[str], domains: Iterable[str]) -> list[str]:
    """Find subjects, and domains, that are likely one under two spellings.

    Returns
    -------
    list of str
        A warning for each of the two. Names are alike that differ in case, zeros in front of a
        number, ``.0`` behind it, separators, or characters that cannot be seen.

    Examples
    --------
    >>> alike(["P1", "p-2", "7"], ["A"]), len(alike(["007", "7.0", "P_1", "p 01"], ["A", "a"]))
    ([], 2)
    """
    found = []
    for what, names in (("subjects", subjects), ("domains", domains)):
        spellings: dict[str, list[str]] = {}
        for name in dict.fromkeys(names):
            spellings.setdefault(_spelling(name), []).append(name)
        several = [each for each in spellings.values() if len(each) > 1]
        if several:
            more = f" (and {len(several) - 1} more)" if len(several) > 1 else ""
            words = " and ".join(map(repr, several[0][:2]))
            found.append(
                f"{what} {words}{more} are spelled almost alike and taken for different {what}; "
                "if they are the same, spell them alike, or they may be on both sides of a split"
            )
    return found


def _spelling(name: str) -> str:
    seen = "".join(
        each for each in unicodedata.normalize("NFKC", name) if unicodedata.category(each) != "Cf"
    )
    text = re.sub(r"[\s_-]+", "-", seen.casefold()).strip("-")
    text = re.sub(r"(?<!\d)0+(?=\d)", "", text)
    return text.removesuffix(".0") if text.removesuffix(".0").isdecimal() else text


def assign_folds(
    subjects: Sequence[str] | AnyArray,
    strata: Sequence[float] | Sequence[str] | AnyArray,
    folds: int,
    seed: int,
) -> Int64:
    """Deal the subjects out to folds, each with the same distribution of strata.

    Parameters
    ----------
    subjects, strata : shape (N,)
        As of ``hold_out``.
    folds : int
        Number F of folds, from 1 to the number of subjects.
    seed : int

    Returns
    -------
    int64, shape (N,)
        Fold 0..F-1 of each sample. The order in which samples are given does not matter.

    Raises
    ------
    ArgumentError
        If there are more folds than subjects, or none, lengths differ or a stratum is not finite.

    Notes
    -----
    Subjects are sorted by stratum and dealt out in consecutive blocks of F: folds differ by at
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
    hands = rng.permutation(folds)
    fold: dict[str, int] = {}
    for start in range(0, len(ranked), folds):
        block = ranked[start : start + folds]
        if numeric:
            block = [block[index] for index in rng.permutation(len(block)).tolist()]
        fold.update(zip(block, hands.tolist(), strict=False))
    return np.array([fold[subject] for subject in subjects], dtype=np.int64)


def split_hash(
    ids: Sequence[str] | AnyArray,
    subjects: Sequence[str] | AnyArray,
    folds: Sequence[int] | Int64,
) -> str:
    """Digest of a split, for the record of a model.

    Parameters
    ----------
    ids, subjects : str, shape (N,)
    folds : int, shape (N,)
        Fold of each sample, -1 for test samples.

    Returns
    -------
    str
        SHA-256 in hex of the samples sorted by id; their order does not matter.

    Raises
    ------
    ArgumentError
        If the lengths differ.
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
    """Sort subjects by stratum, equal ones shuffled; say whether strata are numbers."""
    _check_lengths(subjects=subjects, strata=strata)
    values = np.asarray(strata)
    numeric = values.dtype.kind in "biuf"
    if numeric and not np.isfinite(values).all():
        raise ArgumentError("strata: a number is NaN or infinite; leave such samples out")
    samples: dict[str, list[Any]] = {}
    for subject, value in zip(subjects, values.tolist(), strict=True):
        samples.setdefault(subject, []).append(value)
    level: Callable[[list[Any]], Any] = _mean if numeric else _most_frequent
    levels = {subject: level(found) for subject, found in samples.items()}
    rng = np.random.default_rng(seed)
    known = sorted(samples)
    shuffled = [known[index] for index in rng.permutation(len(known)).tolist()]
    return sorted(shuffled, key=levels.__getitem__), numeric, rng


def _mean(numbers: list[float]) -> float:
    """Mean that does not depend on the order of its numbers, as a plain sum would."""
    return math.fsum(numbers) / len(numbers)


def _most_frequent(words: list[str]) -> str:
    counts = Counter(words)
    return min(counts, key=lambda word: (-counts[word], word))


def _check_lengths(**columns: Sequence[object] | AnyArray) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise ArgumentError(f"split: {found}; expected one of each for every sample")
