from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from skiptool.errors import ArgumentError, ExistsError
from skiptool.names import Precision
from skiptool.records import Architecture, Training
from skiptool.steps.train.jobs import (
    Job,
    check_free_of,
    chosen_repeats,
    plan_fit,
    plan_job,
    trainings,
)
from skiptool.stores.dataset import open_dataset
from skiptool.stores.folds import TrainingFolds, training_folds

PROTOCOL = Training(fold=1, epochs=2, encoder_weights="none", precision=Precision.FLOAT32)
L1 = Architecture("resnet18", (2, 3, 4), ("background", "cell"))


@pytest.fixture(scope="module")
def plan(experiment: SimpleNamespace) -> TrainingFolds:
    return training_folds(open_dataset(experiment.data), None, None, 0)


def job_of(plan: TrainingFolds, out: Path, protocol: Training = PROTOCOL) -> Job:
    return plan_job(plan, out, L1, 7, protocol, None)


def test_what_determines_a_model(plan: TrainingFolds, tmp_path: Path) -> None:
    job = job_of(plan, tmp_path)
    assert job.folder == tmp_path / "resnet18-L1" / "fold1"
    assert job.making.parameters["skips"] == "2,3,4"
    assert "devices" not in job.making.parameters
    assert job.making.inputs["split"] == plan.hash[:32]
    assert "repeat" not in job.making.parameters
    third = job_of(plan, tmp_path, replace(PROTOCOL, repeat=2))
    assert third.folder == tmp_path / "resnet18-L1" / "fold1-r2"
    assert "--repeat 2" in third.making.command
    assert "augmentation" not in third.making.command
    assert "image_outside reflect" in third.making.determinants["parameters"]["augmentation"]
    both = job_of(plan, tmp_path, replace(PROTOCOL, devices=2))
    assert "--devices 2" in both.making.command
    with pytest.raises(ArgumentError, match="--fold 9: nothing"):
        job_of(plan, tmp_path, replace(PROTOCOL, fold=9))


def test_all_repeats_of_a_fold_come_before_the_next_fold() -> None:
    found = trainings(PROTOCOL, [0, 2], chosen_repeats(2, ()))
    assert [(each.fold, each.repeat) for each in found] == [(0, 0), (0, 1), (2, 0), (2, 1)]
    assert {replace(each, fold=1, repeat=0) for each in found} == {PROTOCOL}


def test_a_training_travels_into_another_process(plan: TrainingFolds, tmp_path: Path) -> None:
    one = plan_fit(plan, job_of(plan, tmp_path), "cpu", 0, resume=False)
    found = pickle.loads(pickle.dumps(one))
    assert found.job.folder == one.job.folder
    assert (found.train.read(0)[0] == one.train.read(0)[0]).all()
    train, validation = plan.parts(1)
    assert (len(found.train), len(found.validation)) == (len(train), len(validation))


def test_folders_are_looked_at_before_any_work(plan: TrainingFolds, tmp_path: Path) -> None:
    job = job_of(plan, tmp_path / "runs")
    check_free_of([job], tmp_path / "runs", overwrite=False, resume=False)
    with pytest.raises(ArgumentError, match="given twice"):
        check_free_of([job, job], tmp_path / "runs", overwrite=False, resume=False)
    job.folder.mkdir(parents=True)
    with pytest.raises(ExistsError, match="fold1: exists already"):
        check_free_of([job], tmp_path / "runs", overwrite=False, resume=False)


def test_batches_that_cannot_be_dealt_out_are_told_at_once(
    plan: TrainingFolds, tmp_path: Path
) -> None:
    job = job_of(plan, tmp_path, replace(PROTOCOL, batch_size=1, devices=2))
    with pytest.raises(ArgumentError, match="--batch-size 1: cannot be dealt out to 2 processes"):
        plan_fit(plan, job, "cpu", 0, resume=False)
