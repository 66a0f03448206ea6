from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file

import skiptool
from skiptool.errors import FormatError


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
