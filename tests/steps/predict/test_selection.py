from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from skiptool.errors import MismatchError, SourceError
from skiptool.names import Split
from skiptool.steps.predict.loading import load_models
from skiptool.steps.predict.run import Loaded
from skiptool.steps.predict.selection import fold_parts, split_parts
from skiptool.stores.dataset import DatasetStore, open_dataset
from small_models import sibling
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
    return opened, load_models([folder], opened, opened.domains.values(), "cpu")[0]


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


def edit(folder: Path, change: dict[str, Any]) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["seal"]  # as who changes it on purpose does
    config["lineage"]["parameters"] |= change.pop("parameters", {})
    (folder / "config.json").write_text(json.dumps(config | change))


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
def test_a_model_of_another_split_is_told_and_the_others_go_on(
    change: dict[str, Any], words: str, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    sibling(experiment.baseline, tmp_path / "m/good", 1)
    bad = sibling(experiment.baseline, tmp_path / "m/worse", 2)
    edit(bad, dict(change))
    store, models = load(tmp_path / "m", experiment.data)
    domains = [*store.domains.values()]
    kept, (part,), (line,) = fold_parts(store, domains, models)
    assert ([model.stored.fold for model in kept], part.models) == ([1], (0,))
    assert str(bad) in line
    assert words in line
    with refused(MismatchError, bad, words):
        fold_parts(store, domains, models[1:])
    shutil.copytree(bad, tmp_path / "m/x")
    store, models = load(tmp_path / "m/x", experiment.data)
    with refused(SourceError, "all 2 models failed, the first"):
        fold_parts(store, domains, models * 2)


def test_domains_that_are_left_out_hold_no_fold(experiment: SimpleNamespace) -> None:
    store, models = load(experiment.baseline, experiment.data)
    with refused(MismatchError, experiment.baseline, "in domain synthetic, which --domain leaves"):
        fold_parts(store, [], models)
