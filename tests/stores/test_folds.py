from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skiptool.errors import ArgumentError
from skiptool.names import Split
from skiptool.records import Sample
from skiptool.splits import assign_folds, split_hash
from skiptool.stores.dataset import DatasetStore, open_dataset
from skiptool.stores.folds import training_folds
from small_stores import refused, sample, write_dataset

TEST = {"split": Split.TEST, "fold": -1}


def train(index: int, domain: str = "a", fold: int = 0, **columns: object) -> Sample:
    return sample(index, domain, split=Split.TRAIN, fold=fold, columns=columns)


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    """Return a dataset with samples 0 1 1 0 and a test sample in a; test samples only in b."""
    samples = [
        *(train(0), train(1, fold=1), sample(2, "a", columns={}, **TEST), train(3, fold=1)),
        *(train(4), sample(0, "b", columns={}, **TEST)),
    ]
    write_dataset(tmp_path / "d.zarr", samples)
    return open_dataset(tmp_path / "d.zarr")


def test_stored_folds_are_taken(store: DatasetStore) -> None:
    found = training_folds(store, None, None, seed=0)
    assert found.domain.name == "a"
    assert found.fold.tolist() == [0, 1, -1, 1, 0]
    assert found.fold.dtype == np.int64
    assert found.numbers == [0, 1]
    assert found.parts(0) == ([1, 3], [0, 4])
    assert found.parts(1) == ([0, 4], [1, 3])
    columns = found.domain.columns
    assert found.hash == split_hash(columns["id"], columns["subject"], [0, 1, -1, 1, 0])


@pytest.mark.parametrize("fold", [2, -1, 99])
def test_an_unknown_fold_is_answered_with_the_known_ones(store: DatasetStore, fold: int) -> None:
    with refused(ArgumentError, f"--fold {fold}", store.path, "domain a", "[0, 1]"):
        training_folds(store, "a", None, seed=0).parts(fold)


def test_one_fold_leaves_nothing_to_train_on(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d.zarr", [train(0), train(1)])
    found = training_folds(open_dataset(tmp_path / "d.zarr"), None, None, seed=0)
    with refused(ArgumentError, "--fold 0", "nothing to train"):
        found.parts(0)


def test_a_domain_without_training_samples_is_refused(store: DatasetStore) -> None:
    for folds in (None, 2):
        with refused(ArgumentError, store.path, "domain b holds no training samples", "do: a"):
            training_folds(store, "b", folds, seed=0)
    with refused(ArgumentError, "no domain 'c'"):
        training_folds(store, "c", None, seed=0)


def test_several_domains_must_be_chosen_from(tmp_path: Path) -> None:
    write_dataset(tmp_path / "2.zarr", [train(0, "a"), train(0, "b"), train(1, "b", 1)])
    two = open_dataset(tmp_path / "2.zarr")
    with refused(ArgumentError, "in 2 domains (a, b)", "--domain"):
        training_folds(two, None, None, seed=0)
    assert training_folds(two, "b", None, seed=0).domain.name == "b"
    write_dataset(tmp_path / "0.zarr", [sample(0, "a", **TEST)])
    with refused(ArgumentError, "in 0 domains (none)"):
        training_folds(open_dataset(tmp_path / "0.zarr"), None, None, seed=0)


@pytest.mark.parametrize("column", ["cells", "foreground", None])
def test_folds_are_dealt_anew_by_subject_and_density(tmp_path: Path, column: str | None) -> None:
    """The test samples stay out, subjects stay together, the density is spread evenly."""
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
    assert found.numbers == [0, 1, 2, 3]
    assert (found.fold[0:16:2] == found.fold[1:16:2]).all()  # two samples a subject
    again = training_folds(store, None, 4, seed=3)
    assert again.hash == found.hash
    assert training_folds(store, None, 2, seed=3).hash != found.hash
    assert store.domain("a").columns["fold"][:16].tolist() == [0] * 16
    with refused(ArgumentError, "9 folds of 8 subjects"):
        training_folds(store, None, 9, seed=3)
