from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file

import skiptool
from remote_hosts import in_memory
from skiptool.errors import ArgumentError, FormatError


def test_baseline_is_smps_own_network(experiment: SimpleNamespace) -> None:
    network = skiptool.load_model(experiment.baseline)
    assert not network.training
    oracle = smp.Unet("resnet18", encoder_weights=None, classes=2).eval()
    oracle.load_state_dict(load_file(experiment.baseline / "model.safetensors"))
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = network(images)
        assert logits.shape == (2, 2, 64, 96)
        assert (logits == oracle(images)).all()


def test_pruned_network_lacks_the_weights_of_its_skip(experiment: SimpleNamespace) -> None:
    whole, pruned = (
        sum(weight.numel() for weight in skiptool.load_model(path).parameters())
        for path in (experiment.baseline, experiment.pruned)
    )
    assert (whole, pruned) == (14_328_354, 14_309_922)  # Table II


def test_folder_saved_by_smp_is_a_model(tmp_path: Path) -> None:
    theirs = smp.Unet("resnet18", encoder_weights=None, classes=2).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    ours = skiptool.load_model(tmp_path / "theirs")
    images = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        assert (ours(images) == theirs(images)).all()


def test_no_model_there(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no model folder"):
        skiptool.load_model(tmp_path / "gone")


@pytest.mark.long
def test_a_model_elsewhere(experiment: SimpleNamespace) -> None:
    pytest.importorskip("fsspec", reason="remote models need fsspec (extra remote)")
    with in_memory() as files:
        for name in ("config.json", "model.safetensors"):
            for folder in ("/runs/a", "/runs/b"):
                files.put(str(experiment.pruned / name), f"{folder}/{name}")
        network = skiptool.load_model("memory://runs/a")
        expected = skiptool.load_model(experiment.pruned).state_dict()
        assert all((network.state_dict()[name] == each).all() for name, each in expected.items())
        with pytest.raises(ArgumentError, match="memory://runs: 2 models are below it"):
            skiptool.load_model("memory://runs")
