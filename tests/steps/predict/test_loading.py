from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch

from skiptool.errors import ArgumentError, FormatError, MismatchError, SourceError
from skiptool.records import AS_IT_IS
from skiptool.steps.predict import loading
from skiptool.steps.predict.loading import Loaded, load_models
from skiptool.stores.dataset import open_dataset
from small_stores import refused, set_json, write_dataset
from small_stores import sample as small_sample


def load(paths: Sequence[Path], data: Path) -> tuple[list[Loaded], list[str]]:
    store = open_dataset(data)
    return load_models(paths, [(store, [*store.domains.values()])], "cpu", AS_IT_IS)


def test_all_models_of_a_folder_are_ready(runs: Path, experiment: SimpleNamespace) -> None:
    models, failures = load([runs], experiment.data)
    expected = ["resnet18-L0/fold0", "resnet18-L0/fold1", "resnet18-L1/fold0"]
    assert [model.stored.name for model in models] == expected
    assert failures == []
    assert not any(model.network.training for model in models)


def damage(folder: Path, kind: str) -> None:
    if kind == "cut":
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
    elif kind == "lost":
        (folder / "config.json").unlink()
    elif kind == "encoder":
        set_json(folder / "config.json", encoder_name="resnet99")
    elif kind == "skips":
        set_json(folder / "config.json", skips=[4])
    else:
        set_json(folder / "config.json", classes=3, class_names=["a", "b", "c"])


@pytest.mark.long
@pytest.mark.parametrize("kind", ["cut", "lost", "encoder", "skips", "classes"])
def test_a_model_that_cannot_be_used_is_told_and_the_others_go_on(
    kind: str, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    bad = Path(shutil.copytree(experiment.pruned, tmp_path / "bad"))
    damage(bad, kind)
    models, failures = load([experiment.baseline, bad], experiment.data)
    assert [model.stored.path for model in models] == [experiment.baseline]
    (line,) = failures
    assert str(bad) in line
    assert "\n" not in line
    with pytest.raises((FormatError, MismatchError, ArgumentError), match=str(bad)):
        load([bad], experiment.data)
    again = Path(shutil.copytree(bad, tmp_path / "again"))
    with refused(SourceError, "all 2 models failed, the first: ", bad):
        load([bad, again], experiment.data)


@pytest.mark.long
def test_a_short_name_is_told_although_it_is_part_of_many_words(
    tmp_path: Path, experiment: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = smp.Unet("resnet18", encoder_weights=None, classes=2)
    wide.save_pretrained(tmp_path / "n")
    set_json(tmp_path / "n/config.json", encoder_name="resnet34")
    monkeypatch.chdir(tmp_path)
    with refused(FormatError, "n: weights do not fit resnet34-L0"):
        load([Path("n")], experiment.data)


def test_channels_that_differ_are_refused(experiment: SimpleNamespace, tmp_path: Path) -> None:
    write_dataset(tmp_path / "grey.zarr", [small_sample(0, "g", (32, 32, 1))])
    with refused(MismatchError, "domain g", "1 channels", experiment.baseline):
        load([experiment.baseline], tmp_path / "grey.zarr")


def test_sizes_that_an_architecture_does_not_take_are_refused(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    write_dataset(tmp_path / "odd.zarr", [small_sample(0, "g", (40, 64, 3))])
    smp.Linknet("resnet18", encoder_weights=None, classes=2).save_pretrained(tmp_path / "theirs")
    with refused(MismatchError, "domain g", "40 x 64", "linknet takes multiples of 32"):
        load([tmp_path / "theirs"], tmp_path / "odd.zarr")
    (model,), _ = load([tmp_path / "theirs"], experiment.data)
    assert model.stored.architecture.arch == "linknet"


@pytest.mark.long
def test_a_copy_counts_twice(experiment: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "copy").symlink_to(experiment.baseline)
    with refused(ArgumentError, "a model is given twice", "copy", experiment.baseline):
        load([experiment.baseline, tmp_path / "copy"], experiment.data)


@pytest.mark.long
def test_folders_of_smp_stand_beside_ours(experiment: SimpleNamespace, tmp_path: Path) -> None:
    theirs = smp.Unet("resnet18", encoder_weights=None, classes=2)
    theirs.save_pretrained(tmp_path / "theirs")
    models, _ = load([experiment.baseline, tmp_path], experiment.data)
    assert [model.stored.fold for model in models] == [0, None]
    narrow = smp.Unet(
        "resnet18", encoder_weights=None, decoder_channels=[64, 32, 16, 8, 8], classes=2
    )
    narrow.save_pretrained(tmp_path / "narrow")
    models, (line,) = load([tmp_path], experiment.data)
    assert [model.stored.name for model in models] == ["theirs"]
    assert "decoder_channels is [64, 32, 16, 8, 8], expected [256, 128, 64, 32, 16]" in line


def test_a_pickle_is_never_loaded(
    experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smp.Unet("resnet18", encoder_weights=None, classes=2).save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs/model.safetensors").rename(tmp_path / "theirs/pytorch_model.bin")
    monkeypatch.setattr(torch, "load", None)
    with refused(FormatError, tmp_path / "theirs", "no model.safetensors", "never unpickled"):
        load([tmp_path / "theirs"], experiment.data)


@pytest.mark.long
def test_too_little_memory_for_a_network_is_one_line(
    experiment: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*_: Any) -> Any:  # noqa: ANN401 - stands for another function
        raise torch.OutOfMemoryError("no\nmore")

    monkeypatch.setattr(loading, "place", greedy)
    with pytest.raises(MemoryError, match="not enough memory for the network of"):
        load([experiment.baseline], experiment.data)
