"""``skiptool.load_model``: a trained network for those who go on in Python."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skiptool.model.unet import restore
from skiptool.stores.checkpoint import open_model

if TYPE_CHECKING:
    import torch

__all__ = ["load_model"]


def load_model(path: Path) -> torch.nn.Module:
    """Build the network of a model folder and fill in its weights, without any network access.

    Parameters
    ----------
    path : Path
        Model folder, ours or one that ``save_pretrained`` of segmentation-models-pytorch wrote.

    Returns
    -------
    torch.nn.Module
        In evaluation mode on the CPU; maps float32 (N, C, H, W) in [0, 1] to logits
        (N, J, H, W).

    Raises
    ------
    FormatError
        If the folder is missing or damaged.
    ArgumentError
        If its encoder is unknown here.
    """
    stored = open_model(path)
    network: torch.nn.Module = restore(stored.architecture, stored.tensors())
    return network
