"""Tests of ``train``."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from skiptool.errors import ArgumentError, ExistsError, FormatError, MismatchError, SourceError
from skiptool.model.augmentation import AUGMENTATION
from skiptool.model.fit import LAST, TrainingResult
from skiptool.model.lightning import Epoch, HistoryCallback
from skiptool.model.weights import EncoderWeights
from skiptool.names import Kind, Precision, Split
from skiptool.records import SILENT, Architecture, Progress, Training
from skiptool.splits import split_hash
from skiptool.steps import train
from skiptool.steps.train import (
    TrainingJob,
    check_folders,
    chosen_repeats,
    grid_progress,
    plan_job,
    plan_run,
    plan_trainings,
    summary_tables,
    train_fold,
    train_models,
    write_trained,
)
from skiptool.stores.dataset import StoredSamples, open_dataset
from skiptool.stores.folds import TrainingFolds, training_folds
from skiptool.stores.histories import history_facts
from skiptool.stores.journal import JOURNAL
from skiptool.stores.models import open_model
from skiptool.stores.staging import lock_output, partial_path
from skiptool.stores.tables import open_table
from small_stores import refused, sample, set_json, unseal, write_dataset

PROTOCOL = Training(fold=0, epochs=1, encoder_weights="none", precision=Precision.FLOAT32)
"""What the shared experiment's models were trained with."""


def refuse(*_: object, **__: object) -> Any:  # noqa: ANN401 - stands for a function that returns
    raise AssertionError("must not train")


def test_contents_of_a_model_folder(experiment: SimpleNamespace) -> None:
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
    assert (config["repeat"], config["augmentation"]) == (0, AUGMENTATION)
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


@pytest.mark.long
def test_resume_trains_only_missing_models(
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


MOBILE: dict[str, Any] = {"encoders": ["tu-mobilenetv3_small_050"], "fold": [0]}


@pytest.mark.long
def test_finished_training_can_be_continued(
    experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends at the weights of the longer training, though interrupted on the way there."""

    def trained(out: str, epochs: int, **how: Any) -> Path:  # noqa: ANN401
        protocol = replace(PROTOCOL, epochs=epochs, lr_step=2)
        return train_models(
            experiment.data, tmp_path / out, protocol=protocol, **MOBILE, **how
        ).outputs[0]

    whole = trained("whole", 3)
    folder = trained("runs", 1)
    before = open_model(folder).id
    forecast = train_models(
        experiment.data,
        tmp_path / "runs",
        protocol=replace(PROTOCOL, epochs=3, lr_step=2),
        resume=True,
        dry_run=True,
        **MOBILE,
    )
    assert forecast.summary["models"] == 1
    assert not partial_path(folder).exists()

    def interrupt(self: HistoryCallback, trainer: Any, *_: object) -> None:  # noqa: ANN401
        if trainer.current_epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(HistoryCallback, "on_train_batch_end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            trained("runs", 3, resume=True)
    assert open_model(folder).id == before  # the shorter one stays until the longer one is whole
    with pytest.raises(ExistsError, match="epochs was 3, now 2"):
        trained("runs", 2, resume=True)
    assert trained("runs", 3, resume=True) == folder
    assert open_model(folder).id == open_model(whole).id
    ours, theirs = (pq.read_table(each / "history.parquet").to_pydict() for each in (folder, whole))
    for name in ("epoch", "split", "loss", "mIoU", "lr"):
        assert ours[name] == theirs[name]
    assert not partial_path(folder).exists()
    monkeypatch.setattr(train, "fit", refuse)
    assert trained("runs", 3, resume=True) == folder
    with pytest.raises(ExistsError, match="epochs was 3, now 1"):
        trained("runs", 1, resume=True)
    (folder / LAST).unlink()
    with pytest.raises(ExistsError, match=r"last\.ckpt was not kept, so its training cannot"):
        trained("runs", 5, resume=True)


@pytest.mark.long
def test_different_number_of_threads_is_a_warning(
    experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    progress: Any = SimpleNamespace(task=SILENT.task, warn=lines.append)
    how = {**MOBILE, "protocol": PROTOCOL, "progress": progress}

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "write_trained", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_models(experiment.data, tmp_path / "runs", **how)
    assert lines == []
    monkeypatch.setattr(train, "thread_count", lambda: 3)
    train_models(experiment.data, tmp_path / "runs", resume=True, **how)
    (line,) = lines
    assert "fold0: was begun with --threads 1, now 3; the weights may differ" in line


def test_unsuitable_image_sizes_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "fit", refuse)
    samples = [sample(n, "A", (40, 64, 3), split=Split.TRAIN, fold=n % 2) for n in range(4)]
    write_dataset(tmp_path / "d.zarr", samples)
    with refused(
        MismatchError, "domain A", "40 x 64", "manet accepts only multiples of 32", "unet"
    ):
        train_models(tmp_path / "d.zarr", tmp_path / "runs", protocol=PROTOCOL, arch="manet")
    assert [path.name for path in tmp_path.iterdir()] == ["d.zarr"]


@pytest.mark.long
@pytest.mark.parametrize("place", ["training", "writing"])
def test_interrupted_run_can_be_resumed(
    place: str, experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "runs"
    with monkeypatch.context() as patch:
        if place == "training":
            patch.setattr(HistoryCallback, "on_train_batch_end", interrupt)
        else:
            patch.setattr(train, "write_trained", interrupt)
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


@pytest.mark.parametrize("whole", [True, False])
def test_run_without_recorded_augmentation_is_not_resumed(
    whole: bool, experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither an interrupted model nor a folder of whole ones: both augmentations would mix."""
    monkeypatch.setattr(train, "fit", refuse)
    folder = tmp_path / "runs" / "resnet18-L0" / "fold0"
    lineage = dict(open_model(experiment.baseline).config["lineage"])
    old = {k: v for k, v in lineage["parameters"].items() if k != "augmentation"}
    assert len(old) == len(lineage["parameters"]) - 1
    if whole:
        shutil.copytree(experiment.baseline, folder)
        set_json(unseal(folder / "config.json"), lineage={**lineage, "parameters": old})
    else:
        partial_path(folder).mkdir(parents=True)
        begun = {"parameters": old, "inputs": lineage["inputs"]}
        (partial_path(folder) / JOURNAL).write_text(json.dumps(begun) + "\n")
    words = ("begun by another version of skiptool", "augmentation was None", "--overwrite")
    with refused(ExistsError, "resnet18-L0", *words):
        train_fold(experiment.data, tmp_path / "runs", protocol=PROTOCOL, resume=True)


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


def test_weights_are_loaded_before_any_training(
    experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "fit", refuse)
    missing = replace(PROTOCOL, encoder_weights=str(tmp_path / "gone.pth"))
    for dry in (False, True):
        with pytest.raises(SourceError, match="no such file"):
            train_models(experiment.data, tmp_path / "r", protocol=missing, dry_run=dry)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
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


def test_folder_of_runs_may_exist(experiment: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("kept")
    dry = {"protocol": PROTOCOL, "dry_run": True}
    assert train_models(experiment.data, tmp_path, overwrite=True, **dry).summary["models"] == 3
    assert (tmp_path / "notes.txt").read_text() == "kept"


def draws_of(path: Path, draws: list[int | None]) -> Path:
    """Write a dataset of two folds, a subject each, with a sample of every fold and draw."""
    samples = [
        sample(
            2 * position + fold,
            "a",
            (32, 32, 3),
            split=Split.TRAIN,
            fold=fold,
            subject=f"s{fold}",
            columns={} if draw is None else {"draw": draw},
        )
        for position, draw in enumerate(draws)
        for fold in (0, 1)
    ]
    write_dataset(path, samples)
    return path


def tensors_of(folder: Path) -> dict[str, bytes]:
    found = load_file(folder / "model.safetensors")
    return {name: tensor.tobytes() for name, tensor in found.items()}


@pytest.mark.long
def test_one_draw_trains_as_without_draws(tmp_path: Path) -> None:
    trained = []
    for name, draw in (("none", None), ("one", 3)):
        data = draws_of(tmp_path / f"{name}.zarr", [draw] * 3)
        done = train_models(data, tmp_path / name, fold=[0], protocol=PROTOCOL)
        assert "draws" not in done.summary
        assert "draws" not in open_model(done.outputs[0]).config
        trained.append(done.outputs[0])
    assert tensors_of(trained[0]) == tensors_of(trained[1])


@pytest.mark.long
def test_epochs_use_the_draws_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw 0 is samples 0 to 3, draw 1 is 4 to 9; the odd ones are of fold 1, to validate on."""
    data = draws_of(tmp_path / "d.zarr", [0, 0, 1, 1, 1])
    protocol = replace(PROTOCOL, epochs=3)
    read, end, seen = StoredSamples.read, HistoryCallback.on_train_epoch_end, [[]]

    def note(self: StoredSamples, index: int) -> Any:  # noqa: ANN401 - an image and a mask
        seen[-1].append(self.indices[index])
        return read(self, index)

    def turn(self: HistoryCallback, *arguments: Any) -> None:  # noqa: ANN401 - what Lightning gives
        end(self, *arguments)
        seen.append([])

    monkeypatch.setattr(StoredSamples, "read", note)
    monkeypatch.setattr("skiptool.model.fit.CachedReader", lambda reader: reader)
    monkeypatch.setattr(HistoryCallback, "on_train_epoch_end", turn)
    found = train_models(data, tmp_path / "runs", fold=[1], protocol=protocol)
    # What is checked before the first epoch is of draw 0, too.
    assert [sorted({*epoch}) for epoch in seen] == [[0, 1, 2, 3], [1, 3, 4, 6, 8], [0, 1, 2, 3], []]
    assert found.summary == {"models": 1, "trained now": 1, "draws": 2}
    config = open_model(found.outputs[0]).config
    assert config["draws"] == 2
    assert "--draws" not in config["lineage"]["command"]
    dry = train_models(data, tmp_path / "r", protocol=protocol, dry_run=True)
    assert (dry.summary["training samples"], dry.summary["draws"]) == (10, 2)


@pytest.mark.long
def test_draws_continue_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = draws_of(tmp_path / "d.zarr", [0, 0, 1, 1, 1])
    how: dict[str, Any] = {"fold": [1], "protocol": replace(PROTOCOL, epochs=4)}
    whole = train_models(data, tmp_path / "whole", **how).outputs[0]
    begin = HistoryCallback.on_train_epoch_start

    def start(self: HistoryCallback, trainer: Any, module: Any) -> None:  # noqa: ANN401 - Lightning's
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt
        begin(self, trainer, module)

    with monkeypatch.context() as patch:
        patch.setattr(HistoryCallback, "on_train_epoch_start", start)
        with pytest.raises(KeyboardInterrupt):
            train_models(data, tmp_path / "runs", **how)
    again = train_models(data, tmp_path / "runs", resume=True, **how).outputs[0]
    assert tensors_of(again) == tensors_of(whole)
    columns = ["epoch", "split", "loss", "mIoU", "lr"]
    one, two = (pq.read_table(each / "history.parquet", columns=columns) for each in (whole, again))
    assert one.equals(two)


def test_draws_without_their_numbers_are_refused(tmp_path: Path) -> None:
    data = draws_of(tmp_path / "d.zarr", [1, 2])
    with refused(FormatError, data, "column draw", "[1, 2]"):
        train_models(data, tmp_path / "runs", protocol=PROTOCOL)
    assert [path.name for path in tmp_path.iterdir()] == ["d.zarr"]


def test_one_fold_from_python(experiment: SimpleNamespace) -> None:
    runs = experiment.folder / "runs"
    how: dict[str, Any] = {"protocol": PROTOCOL, "resume": True}
    assert train_fold(experiment.data, runs, fold=0, **how) == experiment.baseline
    pruned = train_fold(experiment.data, runs, fold=0, skips=(2, 3, 4), **how)
    assert pruned == experiment.pruned


def test_model_finished_by_another_task_is_kept(
    experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tasks of an array were given the same fold, and this one is the later."""
    made = tmp_path / "runs" / "resnet18-L0" / "fold0"
    plan = train.plan_run

    def late(*given: Any) -> Any:  # noqa: ANN401 - hands on
        shutil.copytree(experiment.baseline, made)
        return plan(*given)

    monkeypatch.setattr(train, "plan_run", late)
    monkeypatch.setattr(train, "fit", refuse)
    assert train_fold(experiment.data, tmp_path / "runs", protocol=PROTOCOL, resume=True) == made


def test_two_tasks_do_not_make_the_same_model(
    experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs" / "resnet18-L0"
    folder.mkdir(parents=True)
    monkeypatch.setattr(train, "fit", refuse)
    for repeat, name in enumerate(("fold0", "fold0-r1")):
        with (
            lock_output(folder / name),
            pytest.raises(ExistsError, match=f"{name}: another process is making it now"),
        ):
            train_fold(
                experiment.data, tmp_path / "runs", repeat=repeat, protocol=PROTOCOL, resume=True
            )


PROTOCOL_JOBS = Training(fold=1, epochs=2, encoder_weights="none", precision=Precision.FLOAT32)
L1 = Architecture("resnet18", (2, 3, 4), ("background", "cell"))


@pytest.fixture(scope="module")
def plan(experiment: SimpleNamespace) -> TrainingFolds:
    return training_folds(open_dataset(experiment.data), None, None, 0)


def job_of(plan: TrainingFolds, out: Path, protocol: Training = PROTOCOL_JOBS) -> TrainingJob:
    return plan_job(plan, out, L1, 7, protocol, None)


def test_determinants_of_a_model(plan: TrainingFolds, tmp_path: Path) -> None:
    job = job_of(plan, tmp_path)
    assert job.folder == tmp_path / "resnet18-L1" / "fold1"
    assert job.invocation.parameters["skips"] == "2,3,4"
    assert "devices" not in job.invocation.parameters
    assert job.invocation.inputs["split"] == plan.hash[:32]
    assert "repeat" not in job.invocation.parameters
    third = job_of(plan, tmp_path, replace(PROTOCOL_JOBS, repeat=2))
    assert third.folder == tmp_path / "resnet18-L1" / "fold1-r2"
    assert "--repeat 2" in third.invocation.command
    assert "augmentation" not in third.invocation.command
    assert "image_outside reflect" in third.invocation.determinants["parameters"]["augmentation"]
    both = job_of(plan, tmp_path, replace(PROTOCOL_JOBS, devices=2))
    assert "--devices 2" in both.invocation.command
    with pytest.raises(ArgumentError, match="--fold 9: nothing"):
        job_of(plan, tmp_path, replace(PROTOCOL_JOBS, fold=9))


def test_all_repeats_of_a_fold_come_before_the_next_fold() -> None:
    found = plan_trainings(PROTOCOL_JOBS, [0, 2], chosen_repeats(2, ()))
    assert [(each.fold, each.repeat) for each in found] == [(0, 0), (0, 1), (2, 0), (2, 1)]
    assert {replace(each, fold=1, repeat=0) for each in found} == {PROTOCOL_JOBS}


def test_training_run_can_be_pickled(plan: TrainingFolds, tmp_path: Path) -> None:
    one = plan_run(plan, job_of(plan, tmp_path), "cpu", 0, resume=False)
    found = pickle.loads(pickle.dumps(one))
    assert found.job.folder == one.job.folder
    assert (found.train.read(0)[0] == one.train.read(0)[0]).all()
    train, validation = plan.split(1)
    assert (len(found.train), len(found.validation)) == (len(train), len(validation))


def test_folders_are_checked_before_any_work(plan: TrainingFolds, tmp_path: Path) -> None:
    job = job_of(plan, tmp_path / "runs")
    check_folders([job], tmp_path / "runs", overwrite=False, resume=False)
    with pytest.raises(ArgumentError, match="given twice"):
        check_folders([job, job], tmp_path / "runs", overwrite=False, resume=False)
    job.folder.mkdir(parents=True)
    with pytest.raises(ExistsError, match="fold1: exists already"):
        check_folders([job], tmp_path / "runs", overwrite=False, resume=False)


def test_indivisible_batches_are_refused_at_once(plan: TrainingFolds, tmp_path: Path) -> None:
    job = job_of(plan, tmp_path, replace(PROTOCOL_JOBS, batch_size=1, devices=2))
    with pytest.raises(ArgumentError, match="--batch-size 1: cannot be split among 2 processes"):
        plan_run(plan, job, "cpu", 0, resume=False)


class Bar:
    def __init__(self) -> None:
        self.done = 0
        self.note = ""

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        self.note = note


class Display:
    def __init__(self) -> None:
        self.bars: dict[tuple[str, int], Bar] = {}
        self.lines: list[str] = []

    @contextmanager
    def task(self, text: str, total: int) -> Iterator[Bar]:
        self.bars[text, total] = Bar()
        yield self.bars[text, total]

    def warn(self, line: str) -> None:
        self.lines.append(line)


def test_progress_of_all_models_and_of_each() -> None:
    display = Display()
    with grid_progress(display, [4, 6]) as shown:
        with shown.task("first", 4) as task:
            task.advance(1, "epoch 1")
            assert display.bars["all 2 models", 10].done == 1
            assert display.bars["all 2 models", 10].note == "model 1 of 2"
        shown.warn("careful")
        assert display.bars["all 2 models", 10].done == 4  # it had ended early
        with shown.task("second", 6) as task:
            task.advance(6)
    assert (display.bars["first", 4].done, display.bars["first", 4].note) == (1, "epoch 1")
    assert display.bars["second", 6].done == 6
    assert display.bars["all 2 models", 10].done == 10
    assert display.bars["all 2 models", 10].note == "model 2 of 2"
    assert display.lines == ["careful"]


def test_one_model_has_one_task() -> None:
    display: Progress = Display()
    with grid_progress(display, [4]) as shown:
        assert shown is display


def trained(skips: tuple[int, ...], fold: int, repeat: int = 0) -> Any:  # noqa: ANN401 - a job
    return SimpleNamespace(
        architecture=Architecture("resnet18", skips, ("background", "cell")),
        training=Training(fold, repeat=repeat),
        parameter_count=7,
    )


def test_summary_has_a_row_per_trained_model() -> None:
    (table,) = summary_tables([trained((1, 2, 3, 4), 0), trained((), 2)])
    assert table.columns == {
        "encoder": ["resnet18", "resnet18"],
        "pruning": ["baseline", "L4-pruned"],
        "fold": [0, 2],
        "parameters": [7, 7],
    }
    assert summary_tables([]) == ()


def test_repeats_are_listed_if_there_are_any() -> None:
    (table,) = summary_tables([trained((), 1), trained((), 1, repeat=1)])
    assert (table.columns["fold"], table.columns["repeat"]) == ([1, 1], [0, 1])


def planned(folder: Path) -> Any:  # noqa: ANN401 - stands for a plan
    """Return a plan of one domain, on a store that is there."""
    write_dataset(folder / "d.zarr", [sample(0, "a", (64, 64, 3))])
    return SimpleNamespace(
        store=open_dataset(folder / "d.zarr"),
        domain=SimpleNamespace(name="a", height=64, width=64),
        hash="5" * 64,
        draws=1,
        split=lambda _: ([], []),
    )


def test_checkpoint_of_replaced_data_is_removed(tmp_path: Path) -> None:
    plan, job, fitted = planned(tmp_path), cast("Any", None), cast("Any", None)
    (tmp_path / LAST).touch()
    shutil.rmtree(tmp_path / "d.zarr")
    write_dataset(tmp_path / "d.zarr", [sample(1, "a", (64, 64, 3))])
    with pytest.raises(FormatError, match="was replaced while it was read"):
        write_trained(tmp_path, plan, job, fitted)
    assert [path.name for path in tmp_path.iterdir()] == ["d.zarr"]


def test_history_describes_its_model(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    architecture = Architecture("resnet18", (1, 3), ("background", "cell"))
    job = plan_job(plan, tmp_path, architecture, 7, Training(fold=2, repeat=1), folds=5)
    history = tuple(
        Epoch(epoch, split, 1.0 - epoch / 4, 0.5 + epoch / 4, 1e-4, 2.0)
        for epoch in (0, 1)
        for split in ("train", "validation")
    )
    tensors, weights = {"w": np.zeros(3, np.float32)}, EncoderWeights("none", None)
    fitted = TrainingResult(tensors, 1, 0.75, history, weights, Precision.FLOAT32, "cpu", 1)
    write_trained(tmp_path, plan, job, fitted)
    table = open_table(tmp_path / "history.parquet", Kind.HISTORY)
    beside = history_facts(table)
    moved = (tmp_path / "history.parquet").rename(tmp_path.with_suffix(".parquet"))
    alone = history_facts(open_table(moved, Kind.HISTORY))
    assert table.columns(["split"]) == {"split": ["train", "validation"] * 2}
    known = ("model_id", "parameter_count", "best_epoch", "samples")
    assert [beside.pop(name) for name in known][1:] == [7, 1, (0, 0)]
    assert [alone.pop(name) for name in known][1:] == [None, None, None]
    assert beside == alone
    assert alone["model"] == "resnet18-skips-1+3/fold2-r1"
    assert (alone["fold"], alone["repeat"]) == (2, 1)
    assert (alone["dataset"], alone["domain"]) == ("d.zarr", "a")
