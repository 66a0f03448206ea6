"""Tests of ``folds``."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from skiptool.errors import ArgumentError, FormatError, MismatchError, SourceError
from skiptool.names import Split
from skiptool.records import Sample
from skiptool.splits import assign_folds, split_hash
from skiptool.stores.dataset import DatasetStore, open_dataset
from skiptool.stores.folds import find_validation_samples, training_folds
from skiptool.stores.models import open_model
from small_models import edit, sibling
from small_stores import refused, sample, write_dataset

TEST = {"split": Split.TEST, "fold": -1}


def train(
    index: int, domain: str = "a", fold: int = 0, subject: str | None = None, **columns: object
) -> Sample:
    named = {} if subject is None else {"subject": subject}
    return sample(index, domain, split=Split.TRAIN, fold=fold, columns=columns, **named)


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    """Return a dataset with samples 0 1 1 0 and a test sample in a; test samples only in b."""
    samples = [
        train(0),
        train(1, fold=1),
        sample(2, "a", columns={}, **TEST),
        train(3, fold=1),
        train(4),
        sample(0, "b", columns={}, **TEST),
    ]
    write_dataset(tmp_path / "d.zarr", samples)
    return open_dataset(tmp_path / "d.zarr")


def test_stored_folds_are_used(store: DatasetStore) -> None:
    found = training_folds(store, None, None, seed=0)
    assert found.domain.name == "a"
    assert found.fold.tolist() == [0, 1, -1, 1, 0]
    assert found.fold.dtype == np.int64
    assert found.fold_numbers == [0, 1]
    assert found.split(0) == ([1, 3], [0, 4])
    assert found.split(1) == ([0, 4], [1, 3])
    columns = found.domain.columns
    assert found.hash == split_hash(columns["id"], columns["subject"], [0, 1, -1, 1, 0])


@pytest.mark.parametrize("fold", [2, -1, 99])
def test_unknown_fold_error_lists_the_known_ones(store: DatasetStore, fold: int) -> None:
    with refused(ArgumentError, f"--fold {fold}", store.path, "domain a", "[0, 1]"):
        training_folds(store, "a", None, seed=0).split(fold)


def test_single_fold_is_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d.zarr", [train(0), train(1)])
    found = training_folds(open_dataset(tmp_path / "d.zarr"), None, None, seed=0)
    with refused(ArgumentError, "domain a has 1 training subject, and training needs at least two"):
        found.split(0)


def test_domain_without_training_samples_is_refused(store: DatasetStore) -> None:
    for folds in (None, 2):
        with refused(ArgumentError, store.path, "domain b holds no training samples", "do: a"):
            training_folds(store, "b", folds, seed=0)
    with refused(ArgumentError, "no domain 'c'"):
        training_folds(store, "c", None, seed=0)


def test_domain_is_required_if_several_can_be_trained_on(tmp_path: Path) -> None:
    write_dataset(tmp_path / "2.zarr", [train(0, "a"), train(0, "b"), train(1, "b", 1)])
    two = open_dataset(tmp_path / "2.zarr")
    with refused(ArgumentError, "in 2 domains (a, b)", "--domain"):
        training_folds(two, None, None, seed=0)
    assert training_folds(two, "b", None, seed=0).domain.name == "b"
    write_dataset(tmp_path / "0.zarr", [sample(0, "a", **TEST)])
    for domain in (None, "a"):
        with refused(FormatError, "0.zarr", "no training samples in any domain (a), expected some"):
            training_folds(open_dataset(tmp_path / "0.zarr"), domain, None, seed=0)


@pytest.mark.parametrize("column", ["cells", "foreground", None])
def test_new_folds_are_assigned_by_subject_and_density(tmp_path: Path, column: str | None) -> None:
    """Test samples are excluded, subjects stay together, and the density is balanced."""
    columns = [{} if column is None else {column: float(index)} for index in range(20)]
    samples = [
        sample(index, columns=columns[index], split=Split.TRAIN, fold=0)
        if index < 16
        else sample(index, columns=columns[index], **TEST)
        for index in range(20)
    ]
    write_dataset(tmp_path / "d.zarr", samples)
    store = open_dataset(tmp_path / "d.zarr")
    found = training_folds(store, None, 4, seed=3)
    assert found.fold[16:].tolist() == [-1] * 4
    subjects = [each.subject for each in samples[:16]]
    strata = [index if column else 0.0 for index in range(16)]
    assert found.fold[:16].tolist() == assign_folds(subjects, strata, 4, 3).tolist()
    assert found.fold_numbers == [0, 1, 2, 3]
    assert (found.fold[0:16:2] == found.fold[1:16:2]).all()  # two samples a subject
    again = training_folds(store, None, 4, seed=3)
    assert again.hash == found.hash
    assert training_folds(store, None, 2, seed=3).hash != found.hash
    assert store.domain("a").columns["fold"][:16].tolist() == [0] * 16
    with refused(ArgumentError, "9 folds of 8 subjects"):
        training_folds(store, None, 9, seed=3)


def drawn(path: Path, rows: list[tuple[int, int]]) -> DatasetStore:
    """Write a dataset with a sample of each (fold, draw), and a test sample."""
    samples = [
        train(index, fold=fold, subject=f"s{fold}", draw=draw)
        for index, (fold, draw) in enumerate(rows)
    ]
    write_dataset(path, [sample(99, columns={"draw": 7}, **TEST), *samples])
    return open_dataset(path)


def test_validation_uses_the_first_draw(tmp_path: Path) -> None:
    """Draws may be mixed and differ in size; those of test samples are ignored."""
    rows = [(0, 0), (0, 2), (1, 0), (0, 1), (1, 1), (1, 2), (0, 0), (1, 1)]
    found = training_folds(drawn(tmp_path / "d.zarr", rows), None, None, seed=0)
    assert found.draws == 3
    assert found.draw.tolist() == [-1, 0, 2, 0, 1, 1, 2, 0, 1]
    assert found.draw.dtype == np.int64
    assert found.split(0) == ([3, 5, 6, 8], [1, 7])
    assert found.group_by_draw([3, 5, 6, 8]) == [[0], [1, 3], [2]]
    assert found.split(1) == ([1, 2, 4, 7], [3])
    columns = found.domain.columns
    assert found.hash == split_hash(columns["id"], columns["subject"], columns["fold"])


def test_draws_of_a_subject_stay_together(tmp_path: Path) -> None:
    rows = [(subject, draw) for subject in range(6) for draw in range(3)]
    found = training_folds(drawn(tmp_path / "d.zarr", rows), None, 3, seed=1)
    assert found.fold[0] == -1
    folds = found.fold[1:].reshape(6, 3)
    assert (folds == folds[:, :1]).all()
    train, validation = found.split(2)
    assert (len(train), len(validation)) == (4 * 3, 2)
    subjects = found.domain.columns["subject"]
    assert not {*subjects[train]} & {*subjects[validation]}


@pytest.mark.parametrize("draw", [None, 0, 5, 0.5, "first"])
def test_single_draw_is_the_same_as_none(draw: object, tmp_path: Path) -> None:
    columns = {} if draw is None else {"draw": draw}
    other = {} if draw is None else {"draw": "second" if draw == "first" else 1}
    rows = [train(0, **columns), train(1, fold=1, **columns), sample(2, columns=other, **TEST)]
    write_dataset(tmp_path / "d.zarr", rows)
    found = training_folds(open_dataset(tmp_path / "d.zarr"), None, None, seed=0)
    assert (found.draws, found.draw.tolist()) == (1, [0, 0, -1])
    assert found.split(0) == ([1], [0])
    assert found.group_by_draw([1]) == [[0]]


@pytest.mark.parametrize(
    ("draws", "words"),
    [
        ((0, 2), ("[0, 2]", "0 to 1")),
        ((1, 2), ("[1, 2]", "0 to 1")),
        ((-1, 0), ("[-1, 0]", "0 to 1")),
        ((0.0, 1.0), ("[0.0, 1.0]", "whole")),
        (("0", "1"), ("['0', '1']", "whole")),
        (tuple(range(0, 20, 2)), ("[0, 2, 4, 6, 8, 10, ...]", "0 to 9")),
    ],
)
def test_draws_are_numbered_from_zero(
    draws: tuple[object, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "d.zarr"
    write_dataset(path, [train(index, draw=draw) for index, draw in enumerate(draws)])
    with refused(FormatError, path, "domain a, column draw", *words, "extract"):
        training_folds(open_dataset(path), None, None, seed=0)


def test_fold_without_a_draw_is_refused(tmp_path: Path) -> None:
    store = drawn(tmp_path / "d.zarr", [(0, 0), (1, 1), (2, 0), (2, 1), (0, 0)])
    found = training_folds(store, None, None, seed=0)
    assert found.split(0) == ([2, 3, 4], [1, 5])
    with refused(FormatError, store.path, "domain a", "draw 0 has none in fold 1"):
        found.split(1)
    other = drawn(tmp_path / "e.zarr", [(0, 0), (0, 1), (1, 0), (2, 0)])
    with refused(FormatError, "draw 1 has none outside fold 0"):
        training_folds(other, None, None, seed=0).split(0)


def test_validation_samples_are_those_of_the_fold_of_the_model(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    store = open_dataset(experiment.data)
    models = [
        open_model(sibling(experiment.baseline, tmp_path / str(fold), fold)) for fold in (2, 0)
    ]
    found, failures = find_validation_samples(store, [*store.domains.values()], models)
    column = store.domain("synthetic").columns["fold"]
    assert found == {
        number: ("synthetic", tuple(np.flatnonzero(column == fold).tolist()))
        for number, fold in enumerate((2, 0))
    }
    assert failures == []
    assert find_validation_samples(store, [], []) == ({}, [])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split_hash": "0" * 64}, "trained on another split"),
        ({"parameters": {"seed": 9, "folds": 3}}, "trained on another split"),
        ({"parameters": {"domain": "elsewhere"}}, "does not have"),
        ({"fold": None}, "does not say which fold"),
        ({"lineage": None}, "does not say which fold"),
    ],
)
def test_model_of_another_split_is_reported_and_skipped(
    change: dict[str, Any], words: str, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    good = sibling(experiment.baseline, tmp_path / "m/good", 1)
    bad = sibling(experiment.baseline, tmp_path / "m/worse", 2)
    edit(bad, change)
    store = open_dataset(experiment.data)
    domains = [*store.domains.values()]
    worse, better = open_model(bad), open_model(good)
    found, (line,) = find_validation_samples(store, domains, [worse, better])
    assert [*found] == [1]
    assert str(bad) in line
    assert words in line
    with refused(MismatchError, bad, words):
        find_validation_samples(store, domains, [worse])
    with refused(SourceError, "all 2 models failed, the first", words):
        find_validation_samples(store, domains, [worse, worse])
