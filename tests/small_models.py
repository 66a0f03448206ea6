"""Model folders for tests, made of one that was trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file


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
    config["lineage"]["id"] = f"{fold:032d}"
    (folder / "config.json").write_text(json.dumps(config))
    return folder
