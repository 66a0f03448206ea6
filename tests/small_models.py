"""Models for tests: folders made of one that was trained, networks with sound statistics."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
from safetensors.numpy import load_file, save_file

from skiptool.model.inference import prepare_for_inference
from skiptool.stores.lineage import hash_json
from skiptool.stores.models import model_identity, open_model, write_config
from skiptool.stores.seals import sealed_object


def sibling(model: Path, folder: Path, fold: int) -> Path:
    """Write another fold of a model: the same but for noise on the weights of its head."""
    shutil.copytree(model, folder)
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    noise = np.random.default_rng(fold)
    for name in [name for name in tensors if name.startswith("segmentation_head")]:
        spread = 0.5 * np.abs(tensors[name]).max()
        change = noise.normal(scale=spread, size=tensors[name].shape)
        tensors[name] = tensors[name] + change.astype(np.float32)
    save_file(tensors, weights)
    config = json.loads((folder / "config.json").read_text())
    config["fold"] = fold
    architecture = open_model(model).architecture
    config["lineage"]["id"] = hash_json(["model", 1, model_identity(architecture, tensors)])
    write_config(folder / "config.json", config)
    return folder


def edit(folder: Path, change: Mapping[str, Any]) -> None:
    """Change what a model's configuration says; ``parameters`` are those of its lineage."""
    config = json.loads((folder / "config.json").read_text())
    config["lineage"]["parameters"] |= change.get("parameters", {})
    config |= {name: value for name, value in change.items() if name != "parameters"}
    (folder / "config.json").write_text(json.dumps(sealed_object(config)))


def settled(network: smp.base.SegmentationModel) -> smp.base.SegmentationModel:
    """Give batch normalisation statistics of noise: fresh ones would let activations explode."""
    generator = torch.Generator().manual_seed(0)
    shape = (4, network.encoder.out_channels[0], 64, 64)
    with torch.no_grad():
        network.train()(torch.rand(shape, generator=generator))
    return prepare_for_inference(
        network, "cpu"
    )  # as inference does, so that no order of tests matters
