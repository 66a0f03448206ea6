from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from skiptool.errors import FormatError
from skiptool.model.fit import LAST, Fitted
from skiptool.model.lightning import Epoch
from skiptool.model.weights import EncoderWeights
from skiptool.names import Precision
from skiptool.records import Architecture, Training
from skiptool.steps.train.jobs import plan_job
from skiptool.steps.train.writing import summary, write
from skiptool.stores.dataset import open_dataset
from skiptool.stores.histories import open_history
from small_stores import sample, write_dataset


def trained(skips: tuple[int, ...], fold: int, repeat: int = 0) -> Any:  # noqa: ANN401 - a job
    return SimpleNamespace(
        architecture=Architecture("resnet18", skips, ("background", "cell")),
        training=Training(fold, repeat=repeat),
        parameter_count=7,
    )


def test_a_line_for_each_model_trained_now() -> None:
    (table,) = summary([trained((1, 2, 3, 4), 0), trained((), 2)])
    assert table.columns == {
        "encoder": ["resnet18", "resnet18"],
        "pruning": ["baseline", "L4-pruned"],
        "fold": [0, 2],
        "parameters": [7, 7],
    }
    assert summary([]) == ()


def test_repeats_are_named_where_there_are_any() -> None:
    (table,) = summary([trained((), 1), trained((), 1, repeat=1)])
    assert (table.columns["fold"], table.columns["repeat"]) == ([1, 1], [0, 1])


def planned(folder: Path) -> Any:  # noqa: ANN401 - stands for a plan
    """Return a plan of one domain, on a store that is there."""
    write_dataset(folder / "d.zarr", [sample(0, "a", (64, 64, 3))])
    return SimpleNamespace(
        store=open_dataset(folder / "d.zarr"),
        domain=SimpleNamespace(name="a", height=64, width=64),
        **{"hash": "5" * 64, "draws": 1, "parts": lambda _: ([], [])},
    )


def test_nothing_is_kept_of_data_that_were_replaced_meanwhile(tmp_path: Path) -> None:
    plan, job, fitted = planned(tmp_path), cast("Any", None), cast("Any", None)
    (tmp_path / LAST).touch()
    shutil.rmtree(tmp_path / "d.zarr")
    write_dataset(tmp_path / "d.zarr", [sample(1, "a", (64, 64, 3))])
    with pytest.raises(FormatError, match="was replaced while it was read"):
        write(tmp_path, plan, job, fitted)
    assert [path.name for path in tmp_path.iterdir()] == ["d.zarr"]


def test_a_history_says_what_it_is_of_beside_its_model_and_alone(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    architecture = Architecture("resnet18", (1, 3), ("background", "cell"))
    job = plan_job(plan, tmp_path, architecture, 7, Training(fold=2, repeat=1), folds=5)
    history = tuple(
        Epoch(epoch, split, 1.0 - epoch / 4, 0.5 + epoch / 4, 1e-4, 2.0)
        for epoch in (0, 1)
        for split in ("train", "validation")
    )
    tensors, weights = {"w": np.zeros(3, np.float32)}, EncoderWeights("none", None)
    fitted = Fitted(tensors, 1, 0.75, history, weights, Precision.FLOAT32, "cpu", 1)
    write(tmp_path, plan, job, fitted)
    beside, columns = open_history(tmp_path / "history.parquet")
    moved = (tmp_path / "history.parquet").rename(tmp_path.with_suffix(".parquet"))
    alone, same = open_history(moved)
    assert same == columns
    assert columns["split"] == ["train", "validation"] * 2
    known = ("model_id", "parameter_count", "best_epoch", "samples")
    assert [beside.pop(name) for name in known][1:] == [7, 1, (0, 0)]
    assert [alone.pop(name) for name in known][1:] == [None, None, None]
    assert beside == alone
    assert alone["model"] == "resnet18-skips-1+3/fold2-r1"
    assert (alone["fold"], alone["repeat"]) == (2, 1)
    assert (alone["dataset"], alone["domain"]) == ("d.zarr", "a")
