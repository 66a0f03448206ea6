"""Splits and folds by subject: balance, determinism, refusals."""

from __future__ import annotations

import math
from collections import Counter
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from heard import Heard
from skiptool.errors import ArgumentError
from skiptool.names import Split
from skiptool.records import SILENT
from skiptool.splits import (
    SplitInput,
    SplitOptions,
    assign_folds,
    assign_splits,
    hold_out,
    hold_out_domains,
    split_hash,
)
from strategies import SEEDS, cohorts

Cohort = tuple[list[str], list[Any]]
FOLDS = st.integers(1, 4)
FRACTIONS = st.floats(0.05, 0.95)
ANY = cohorts() | cohorts(words=True)


def parts(subjects: list[str], assigned: NDArray[Any]) -> dict[Any, set[str]]:
    """Part of the split -> its subjects."""
    found: dict[Any, set[str]] = {}
    for subject, part in zip(subjects, assigned.tolist(), strict=True):
        found.setdefault(part, set()).add(subject)
    return found


def level(subjects: list[str], strata: list[Any]) -> dict[str, Any]:
    """Strata of ``cohorts``: the same in all samples of a subject."""
    return dict(zip(subjects, strata, strict=True))


@given(cohort=ANY, folds=FOLDS, seed=SEEDS)
def test_folds_share_no_subject_and_differ_by_at_most_one(
    cohort: Cohort, folds: int, seed: int
) -> None:
    found = parts(cohort[0], assign_folds(*cohort, folds, seed))
    assert set(found) == set(range(folds))
    assert sum(map(len, found.values())) == len(set(cohort[0]))
    sizes = [len(part) for part in found.values()]
    assert max(sizes) - min(sizes) <= 1


@given(cohort=ANY, fraction=FRACTIONS, seed=SEEDS)
def test_hold_out_shares_no_subject_and_has_the_given_fraction(
    cohort: Cohort, fraction: float, seed: int
) -> None:
    test = hold_out(*cohort, fraction, seed)
    assert test.dtype == np.bool_
    found = parts(cohort[0], test)
    assert not found[True] & found[False]
    size = len(set(cohort[0]))
    assert len(found[True]) == min(max(round(fraction * size), 1), size - 1)


@given(cohort=cohorts(), folds=FOLDS, seed=SEEDS)
def test_folds_have_similar_means(cohort: Cohort, folds: int, seed: int) -> None:
    levels = level(*cohort)
    found = parts(cohort[0], assign_folds(*cohort, folds, seed))
    means = [np.mean([levels[subject] for subject in part]) for part in found.values()]
    spread, whole = max(levels.values()) - min(levels.values()), len(levels) // folds
    bound = spread / whole if len(levels) % folds == 0 else 2 * spread / whole
    assert max(means) - min(means) <= bound + 1e-9


@given(cohort=cohorts(words=True), folds=FOLDS, seed=SEEDS)
def test_folds_have_equal_shares_of_each_word(cohort: Cohort, folds: int, seed: int) -> None:
    levels = level(*cohort)
    found = parts(cohort[0], assign_folds(*cohort, folds, seed))
    for word in set(levels.values()):
        held = [sum(levels[subject] == word for subject in part) for part in found.values()]
        assert max(held) - min(held) <= 1


@given(cohort=cohorts(words=True), fraction=FRACTIONS, seed=SEEDS)
def test_hold_out_has_a_proportional_share_of_each_word(
    cohort: Cohort, fraction: float, seed: int
) -> None:
    levels = level(*cohort)
    held = parts(cohort[0], hold_out(*cohort, fraction, seed))[True]
    for word, size in Counter(levels.values()).items():
        share = size * len(held) / len(levels)
        assert abs(sum(levels[subject] == word for subject in held) - share) < 1 + 1e-9


@given(cohort=cohorts(), fraction=FRACTIONS, seed=SEEDS)
def test_hold_out_takes_one_subject_of_each_block(
    cohort: Cohort, fraction: float, seed: int
) -> None:
    levels = level(*cohort)
    held = parts(cohort[0], hold_out(*cohort, fraction, seed))[True]
    ranked, drawn = sorted(levels.values()), sorted(levels[subject] for subject in held)
    for block, value in enumerate(drawn):
        first, last = (math.floor((block + i) * len(ranked) / len(held)) for i in (0, 1))
        assert ranked[first] <= value <= ranked[last - 1]


@pytest.mark.parametrize("seed", range(20))
def test_splits_of_a_dataset_of_the_papers_size_are_balanced(seed: int) -> None:
    """1000 images with 1..100 cells: means of test and training within 1, of folds within 0.62."""
    cells = np.random.default_rng(seed).integers(1, 101, 1000)
    images = np.array([f"{index:05d}" for index in range(1000)], dtype=object)
    test = hold_out(images, cells, 0.2, seed)
    assert test.sum() == 200
    assert abs(cells[test].mean() - cells[~test].mean()) < 1.0
    folds = assign_folds(images[~test], cells[~test], 5, seed)
    means = [cells[~test][folds == fold].mean() for fold in range(5)]
    assert max(means) - min(means) < 99 / 160
    spreads = [cells[~test][folds == fold].std() for fold in range(5)]
    assert max(spreads) - min(spreads) < 1.0


@given(cohort=ANY, seed=SEEDS, order=st.randoms(use_true_random=False))
def test_order_of_samples_does_not_matter(cohort: Cohort, seed: int, order: Random) -> None:
    subjects, strata = cohort
    mixed = list(range(len(subjects)))
    order.shuffle(mixed)
    again = [subjects[i] for i in mixed], [strata[i] for i in mixed]
    folds, test = assign_folds(*cohort, 3, seed), hold_out(*cohort, 0.3, seed)
    np.testing.assert_array_equal(folds[mixed], assign_folds(*again, 3, seed))
    np.testing.assert_array_equal(test[mixed], hold_out(*again, 0.3, seed))
    ids = [f"{number:03d}" for number in range(len(subjects))]
    assert split_hash(ids, subjects, folds) == split_hash(
        [ids[i] for i in mixed], again[0], folds[mixed]
    )


def test_mean_of_a_subject_does_not_depend_on_the_order_of_samples() -> None:
    # In float64 0.1 + 0.2 + 0.3 > 0.3 + 0.2 + 0.1, and subject b is at their exact sum over 3.
    subjects, strata = ["a", "a", "a", "b"], [0.1, 0.2, 0.3, 0.2]
    for seed in range(20):
        first = assign_folds(subjects, strata, 2, seed)
        again = assign_folds(subjects, [0.3, 0.2, 0.1, 0.2], 2, seed)
        np.testing.assert_array_equal(first, again)


def test_splits_depend_on_the_seed() -> None:
    subjects, cells = [f"s{i}" for i in range(20)], list(range(20))
    same = {assign_folds(subjects, cells, 4, seed=3).tobytes() for _ in range(3)}
    other = {assign_folds(subjects, cells, 4, seed=seed).tobytes() for seed in range(10)}
    assert len(same) == 1
    assert len(other) == 10
    assert len({hold_out(subjects, cells, 0.2, seed).tobytes() for seed in range(10)}) > 5


def test_stratum_of_a_subject_is_its_mean_or_most_frequent_word() -> None:
    # Means 5, 5, 50, 50 and words x, x, y, y: each fold gets one of either.
    subjects = ["a", "a", "b", "c", "c", "d", "d", "d"]
    cells = [0, 10, 5, 100, 0, 50, 50, 50]
    words = ["x", "x", "x", "y", "y", "y", "y", "x"]
    for strata in (cells, words):
        for seed in range(10):
            folds = assign_folds(subjects, strata, 2, seed)
            assert folds[0] != folds[2]
            assert folds[3] != folds[5]


def test_splits_are_the_same_in_every_version() -> None:
    """The same seed gives the same split in every version."""
    subjects, cells = [f"s{i}" for i in range(10)], [i * i for i in range(10)]
    folds = assign_folds(subjects, cells, 3, seed=0)
    assert folds.tolist() == [0, 1, 2, 1, 2, 0, 1, 0, 2, 0]
    assert np.flatnonzero(hold_out(subjects, cells, 0.3, seed=0)).tolist() == [1, 4, 9]
    words = ["skin", "lung"] * 5
    assert assign_folds(subjects, words, 3, seed=0).tolist() == [1, 2, 2, 2, 1, 1, 0, 0, 0, 0]
    assert np.flatnonzero(hold_out(subjects, words, 0.3, seed=0)).tolist() == [0, 4, 5]
    digest = "d7f37820b7df9812c3f5b89e13cd57f3bd7d6f3d0c93ec718d240831cb2ff176"
    assert split_hash(subjects, subjects, folds) == digest


def test_split_hash_depends_on_ids_subjects_and_folds() -> None:
    known = {
        split_hash(["1", "2"], ["a", "b"], [0, -1]),
        split_hash(["1", "2"], ["a", "b"], [-1, 0]),
        split_hash(["1", "2"], ["a", "a"], [0, -1]),
        split_hash(["1", "3"], ["a", "b"], [0, -1]),
        split_hash([], [], []),
    }
    assert len(known) == 5
    assert all(len(digest) == 64 for digest in known)


@pytest.mark.parametrize("folds", [0, 4])
def test_more_folds_than_subjects_are_refused(folds: int) -> None:
    with pytest.raises(ArgumentError, match=f"{folds} folds of 3 subjects: expected 1 to 3"):
        assign_folds(["a", "a", "b", "c"], [1, 1, 2, 3], folds, 0)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(ArgumentError, match="expected above 0 and below 1"):
        hold_out(["a", "b"], [1, 2], fraction, 0)


def test_single_subject_is_refused() -> None:
    with pytest.raises(ArgumentError, match="hold-out of 1 subjects: expected at least 2"):
        hold_out(["a", "a"], [1, 2], 0.5, 0)


def test_invalid_strata_are_refused() -> None:
    with pytest.raises(ArgumentError, match="2 subjects, 1 strata; expected one of each"):
        assign_folds(["a", "b"], [1], 2, 0)
    with pytest.raises(ArgumentError, match="a number is NaN or infinite"):
        assign_folds(["a", "b"], [1.0, math.nan], 2, 0)
    with pytest.raises(ArgumentError, match="1 ids, 2 subjects, 2 folds"):
        split_hash(["1"], ["a", "b"], [0, 1])


@given(st.integers(0, 99), st.integers(2, 12), st.integers(1, 12))
def test_train_domain_tests_all_other_domains(seed: int, a: int, b: int) -> None:
    domains = ["A"] * a * 2 + ["B"] * b * 2
    subjects = [f"a{n % a}" for n in range(2 * a)] + [f"b{n % b}" for n in range(2 * b)]
    strata = [float(n) for n in range(len(domains))]
    test = hold_out_domains("A", domains, subjects, strata, 0.25, seed)
    assert test[2 * a :].all()
    held = {subject for subject, out in zip(subjects[: 2 * a], test, strict=False) if out}
    assert len(held) == min(max(round(0.25 * a), 1), a - 1)
    for subject, out in zip(subjects, test, strict=True):
        assert out == (subject in held or subject.startswith("b"))
    assert not hold_out_domains("A", domains, subjects, strata, 0.0, seed)[: 2 * a].any()


def test_training_subject_is_not_tested_in_another_domain() -> None:
    domains, subjects = ["A", "A", "B", "B", "C"], ["p", "q", "p", "r", "q"]
    test = hold_out_domains("A", domains, subjects, ["x"] * 5, 0.0, 0)
    assert test.tolist() == [False, False, False, True, False]
    inputs = [SplitInput("x", s, d) for s, d in zip(subjects, domains, strict=True)]
    assign_splits(inputs, SplitOptions(0.0, 1, train_domain="A"), heard := Heard())
    (line,) = heard.lines
    assert line.startswith("--train-domain A: 2 inputs of domain B, C are of training subjects")


def test_single_subject_of_the_train_domain_is_for_training() -> None:
    assert hold_out_domains("A", ["A", "B"], ["p", "q"], [1, 2], 0.2, 0).tolist() == [False, True]


def test_unknown_or_listed_train_domain_is_refused() -> None:
    with pytest.raises(ArgumentError, match="--train-domain Aperi: expected one of Aperio, B; did"):
        hold_out_domains("Aperi", ["Aperio", "B"], ["p", "q"], [1, 2], 0.2, 0)
    listed = [SplitInput("x", "p", "A", Split.TRAIN), SplitInput("y", "q", "A", Split.TEST)]
    with pytest.raises(ArgumentError, match="the source lists the training and test split"):
        assign_splits(listed, SplitOptions(train_domain="A"), SILENT)
