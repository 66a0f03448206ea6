from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from skiptool.errors import ArgumentError, ExistsError, SourceError
from skiptool.model.fit import LAST
from skiptool.model.watch import Watch
from skiptool.names import Precision
from skiptool.records import Training
from skiptool.splits import split_hash
from skiptool.steps import train
from skiptool.steps.train import train_models
from skiptool.stores.checkpoint import open_model
from skiptool.stores.dataset import open_dataset

PROTOCOL = Training(fold=0, epochs=1, encoder_weights="none", precision=Precision.FLOAT32)
"""What the shared experiment's models were trained with."""


def refuse(*_: object, **__: object) -> Any:  # noqa: ANN401 - stands for a function that returns
    raise AssertionError("must not train")


def test_model_folder_holds_what_it_promises(experiment: SimpleNamespace) -> None:
    folder = experiment.pruned
    assert folder == experiment.folder / "runs" / "resnet18-L1" / "fold0"
    names = {"model.safetensors", "config.json", "history.parquet", LAST}
    assert {path.name for path in folder.iterdir()} == names
    config = json.loads((folder / "config.json").read_text())
    assert config["skips"] == [2, 3, 4]
    assert config["class_names"] == ["background", "cell"]
    assert config["parameter_count"] == 14_309_922  # Table II
    assert config["training"]["loss"] == "ce+gdice"
    assert config["training"]["precision"] == "32"
    assert (config["fold"], config["best_epoch"]) == (0, 0)
    domain = open_dataset(experiment.data).domain("synthetic")
    columns = domain.columns
    assert config["split_hash"] == split_hash(columns["id"], columns["subject"], columns["fold"])
    lineage = config["lineage"]
    assert lineage["inputs"]["dataset"] == open_dataset(experiment.data).lineage.id
    history = pq.read_table(folder / "history.parquet").to_pydict()
    assert history["epoch"] == [0, 0]
    assert history["split"] == ["train", "validation"]
    assert history["mIoU"][1] == pytest.approx(config["best_mIoU"])
    assert history["lr"] == [1e-4, 1e-4]


def test_dry_run_counts_and_writes_nothing(experiment: SimpleNamespace, tmp_path: Path) -> None:
    levels = [(1, 2, 3, 4), ()]
    found = train_models(
        experiment.data, tmp_path / "runs", skips=levels, protocol=PROTOCOL, dry_run=True
    )
    assert found.outputs == ()
    assert found.summary["models"] == 6  # 2 architectures, 3 folds
    assert found.summary["training samples"] == 19
    assert found.summary["folders"][:2] == [
        str(tmp_path / "runs" / "resnet18-L0" / f"fold{k}") for k in (0, 1)
    ]
    assert found.summary["bytes"] > 6 * 4 * 13_535_778
    assert list(tmp_path.iterdir()) == []


def test_resume_trains_only_what_is_missing(
    experiment: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "fit", refuse)
    runs = experiment.folder / "runs"
    both = {"skips": [(1, 2, 3, 4), (2, 3, 4)], "fold": [0]}
    found = train_models(experiment.data, runs, protocol=PROTOCOL, resume=True, **both)
    assert found.outputs == (experiment.baseline, experiment.pruned)
    assert found.summary == {"models": 2, "trained now": 0}
    with pytest.raises(ExistsError, match="fold0: exists already"):
        train_models(experiment.data, runs, protocol=PROTOCOL, **both)
    other = replace(PROTOCOL, lr=0.5)
    with pytest.raises(ExistsError, match=r"lr was 0\.0001, now 0\.5"):
        train_models(experiment.data, runs, protocol=other, resume=True, **both)


@pytest.mark.parametrize("place", ["training", "writing"])
def test_interrupted_run_goes_on(
    place: str, experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "runs"
    with monkeypatch.context() as patch:
        if place == "training":
            patch.setattr(Watch, "on_train_batch_end", interrupt)
        else:
            patch.setattr(train, "write_model", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_models(experiment.data, out, fold=[0], protocol=PROTOCOL)
    folder = out / "resnet18-L0" / "fold0"
    assert not folder.exists()
    with pytest.raises(ExistsError, match="left of an interrupted run"):
        train_models(experiment.data, out, fold=[0], protocol=PROTOCOL)
    with pytest.raises(ExistsError, match="seed was 0, now 7"):
        train_models(
            experiment.data, out, fold=[0], protocol=replace(PROTOCOL, seed=7), resume=True
        )
    found = train_models(
        experiment.data, out, fold=[0], protocol=PROTOCOL, keep_last=False, resume=True
    )
    # The same seed gives the same weights, interrupted or not.
    assert found.outputs == (folder,)
    assert open_model(folder).id == open_model(experiment.baseline).id
    ours, theirs = (load_file(p / "model.safetensors") for p in (folder, experiment.baseline))
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    names = {"model.safetensors", "config.json", "history.parquet"}
    assert {path.name for path in folder.iterdir()} == names
    assert {path.name for path in folder.parent.iterdir()} == {"fold0"}


def test_derived_folds_leave_the_store_alone(experiment: SimpleNamespace, tmp_path: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in experiment.data.rglob("*"))
    dry = {"protocol": PROTOCOL, "dry_run": True}
    found = train_models(experiment.data, tmp_path / "runs", folds=2, **dry)
    assert found.summary["models"] == 2
    with pytest.raises(ArgumentError, match=r"--fold 2: nothing .* \[0, 1\]"):
        train_models(experiment.data, tmp_path / "runs", folds=2, fold=[2], **dry)
    assert sorted((path, path.stat().st_mtime_ns) for path in experiment.data.rglob("*")) == before


def test_failed_training_leaves_nothing(
    experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: object, **__: object) -> None:
        raise ArgumentError("training diverged")

    monkeypatch.setattr(train, "fit", diverge)
    with pytest.raises(ArgumentError, match="diverged"):
        train_models(experiment.data, tmp_path / "runs", fold=[0], protocol=PROTOCOL)
    assert list(tmp_path.iterdir()) == []


def test_weights_are_asked_for_before_anything_is_trained(
    experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "fit", refuse)
    missing = replace(PROTOCOL, encoder_weights=str(tmp_path / "gone.pth"))
    for dry in (False, True):
        with pytest.raises(SourceError, match="no such file"):
            train_models(experiment.data, tmp_path / "r", protocol=missing, dry_run=dry)
    assert list(tmp_path.iterdir()) == []


def test_overwrite_trains_another_fold(experiment: SimpleNamespace, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "resnet18-L0" / "fold1"
    shutil.copytree(experiment.baseline, folder)
    weights = str(experiment.pruned / "model.safetensors")
    protocol = replace(PROTOCOL, lr=1e-2, encoder_weights=weights)
    runs = tmp_path / "runs"
    found = train_models(experiment.data, runs, fold=[1], protocol=protocol, overwrite=True)
    assert found.outputs == (folder,)
    config = open_model(folder).config
    assert (config["fold"], config["training"]["lr"]) == (1, 1e-2)
    assert config["encoder_start"]["source"] == "model.safetensors"
    assert len(config["encoder_start"]["digest"]) == 64
    assert [path.name for path in folder.parent.iterdir()] == ["fold1"]
    other, first = (load_file(path / "model.safetensors") for path in (folder, experiment.baseline))
    name = "segmentation_head.0.weight"
    assert np.abs(other[name] - first[name]).max() > 0


def test_folder_of_runs_may_be_there(experiment: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("kept")
    dry = {"protocol": PROTOCOL, "dry_run": True}
    assert train_models(experiment.data, tmp_path, overwrite=True, **dry).summary["models"] == 3
    assert (tmp_path / "notes.txt").read_text() == "kept"
