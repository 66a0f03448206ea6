from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from skiptool.errors import ArgumentError, MismatchError
from skiptool.names import DECODER_INPUTS, LAYERS, in_data_flow
from skiptool.records import ORIGINAL, Shift
from skiptool.steps.features.jobs import Job, check_jobs, planned_job, sizes, tapped_network
from skiptool.stores.dataset import open_dataset
from skiptool.stores.models import open_model

DARK = Shift.parse("brightness=0.5")


@pytest.fixture
def job(experiment: SimpleNamespace, tmp_path: Path) -> Job:
    store = open_dataset(experiment.data)
    tapped = tapped_network(open_model(experiment.baseline), ["head", "enc1"])
    return planned_job(
        tapped, store.domain("synthetic"), DARK, (store, tmp_path, "test", "float16", None, "cpu")
    )


def test_a_job_says_what_and_where(job: Job, tmp_path: Path) -> None:
    assert job.out == tmp_path / "resnet18-L0-fold0_synthetic_brightness-0.5.zarr"
    assert job.layers == ("enc1", "head")
    assert job.making.parameters["layers"] == "enc1,head"
    assert (job.facts["shift"], job.facts["factor"]) == ("brightness", 0.5)
    assert len(job.indices) == 5


@pytest.mark.long
def test_layers_of_a_network(experiment: SimpleNamespace) -> None:
    model = open_model(experiment.pruned)
    assert tapped_network(model, [])[2] == LAYERS
    added = tapped_network(model, ["enc1"], transmission=True)[2]
    kept = [name for name in DECODER_INPUTS if name != "dec1.from_skip"]
    assert added == ("enc1", *kept)
    whole = tapped_network(open_model(experiment.baseline), [], transmission=True)[2]
    assert whole == tuple(in_data_flow([*LAYERS, *DECODER_INPUTS]))


def test_sizes_are_those_of_the_stored_numbers(job: Job) -> None:
    vectors = 5 * (64 + 2) * 4  # images, channels of enc1 and head, places
    expected = {"stores": 2, "images": 10, "bytes before compression": 2 * 2 * vectors}
    assert sizes([job, job], "float16") == expected


def test_jobs_that_would_collide(job: Job, tmp_path: Path) -> None:
    check_jobs([job], tmp_path)
    with pytest.raises(ArgumentError, match="would be made twice"):
        check_jobs([job, job], tmp_path)
    with pytest.raises(ArgumentError, match=r"one store, but 2 would be made"):
        check_jobs([job, job], tmp_path / "one.zarr")


@pytest.mark.long
def test_images_of_another_form(experiment: SimpleNamespace, job: Job, tmp_path: Path) -> None:
    store = open_dataset(experiment.data)
    grey = SimpleNamespace(name="grey", channels=1, height=64, width=64)
    tapped = tapped_network(open_model(experiment.baseline), job.layers)
    with pytest.raises(MismatchError):
        planned_job(tapped, grey, ORIGINAL, (store, tmp_path, "test", "float16", None, "cpu"))  # type: ignore[arg-type]
