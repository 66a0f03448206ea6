from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from skiptool.errors import MismatchError
from skiptool.names import Split
from skiptool.steps.predict.loading import load_models
from skiptool.steps.predict.run import Loaded
from skiptool.steps.predict.selection import fold_parts, split_parts
from skiptool.stores.dataset import DatasetStore, open_dataset
from small_models import edit, sibling
from small_stores import refused, sample, write_dataset


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    """Domain a has training and test samples, b only training samples."""
    mixed = [sample(index, "a") for index in range(6)]
    training = [sample(index, "b", split=Split.TRAIN, fold=0) for index in range(2)]
    write_dataset(tmp_path / "d.zarr", [*mixed, *training])
    return open_dataset(tmp_path / "d.zarr")


def test_every_model_segments_the_samples_of_a_split(store: DatasetStore) -> None:
    parts = split_parts([*store.domains.values()], "train", 3)
    assert [(part.domain.name, part.indices) for part in parts] == [
        ("a", (1, 2, 4, 5)),
        ("b", (0, 1)),
    ]
    assert {part.models for part in parts} == {(0, 1, 2)}
    assert [part.indices for part in split_parts([store.domain("a")], "test", 1)] == [(0, 3)]
    assert [part.indices for part in split_parts([store.domain("b")], "all", 1)] == [(0, 1)]


def load(folder: Path, data: Path) -> tuple[DatasetStore, list[Loaded]]:
    opened = open_dataset(data)
    domains = [*opened.domains.values()]
    return opened, load_models([folder], [(opened, domains)], "cpu")[0]


@pytest.mark.long
def test_each_model_gets_the_fold_it_was_validated_on(
    runs: Path, experiment: SimpleNamespace
) -> None:
    store, models = load(runs, experiment.data)
    kept, parts, failures = fold_parts(store, [*store.domains.values()], models)
    assert (len(kept), failures) == (3, [])
    assert [part.models for part in parts] == [(0, 2), (1,)]  # both of fold 0 read it together
    columns = store.domain("synthetic").columns
    for part, fold in zip(parts, (0, 1), strict=True):
        assert part.indices == tuple(np.flatnonzero(columns["fold"] == fold))
        assert set(columns["split"][list(part.indices)]) == {"train"}


def test_domains_that_are_left_out_hold_no_fold(experiment: SimpleNamespace) -> None:
    store, models = load(experiment.baseline, experiment.data)
    with refused(MismatchError, experiment.baseline, "in domain synthetic, which --domain leaves"):
        fold_parts(store, [], models)


@pytest.mark.long
def test_models_without_a_fold_are_left_out_and_the_parts_count_on(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    for number, name in enumerate("abc"):
        sibling(experiment.baseline, tmp_path / "m" / name, number)
    edit(tmp_path / "m/a", {"fold": None})
    store, models = load(tmp_path / "m", experiment.data)
    kept, parts, (line,) = fold_parts(store, [*store.domains.values()], models)
    assert [model.stored.fold for model in kept] == [1, 2]
    assert [part.models for part in parts] == [(0,), (1,)]
    assert "does not say which fold" in line
