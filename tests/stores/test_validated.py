from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from skiptool.errors import MismatchError, SourceError
from skiptool.stores.checkpoint import open_model
from skiptool.stores.dataset import open_dataset
from skiptool.stores.validated import validated_samples
from small_models import edit, sibling
from small_stores import refused


def test_samples_are_those_of_the_fold_of_the_model(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    store = open_dataset(experiment.data)
    models = [
        open_model(sibling(experiment.baseline, tmp_path / str(fold), fold)) for fold in (2, 0)
    ]
    found, failures = validated_samples(store, [*store.domains.values()], models)
    column = store.domain("synthetic").columns["fold"]
    assert found == {
        number: ("synthetic", tuple(np.flatnonzero(column == fold).tolist()))
        for number, fold in enumerate((2, 0))
    }
    assert failures == []
    assert validated_samples(store, [], []) == ({}, [])


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
    good = sibling(experiment.baseline, tmp_path / "m/good", 1)
    bad = sibling(experiment.baseline, tmp_path / "m/worse", 2)
    edit(bad, change)
    store = open_dataset(experiment.data)
    domains = [*store.domains.values()]
    worse, better = open_model(bad), open_model(good)
    found, (line,) = validated_samples(store, domains, [worse, better])
    assert [*found] == [1]
    assert str(bad) in line
    assert words in line
    with refused(MismatchError, bad, words):
        validated_samples(store, domains, [worse])
    with refused(SourceError, "all 2 models failed, the first", words):
        validated_samples(store, domains, [worse, worse])
