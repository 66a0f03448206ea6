"""Segment a batch of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from skiptool.model.batches import as_input
from skiptool.model.hardware import autocast, exact_float32

if TYPE_CHECKING:
    import segmentation_models_pytorch as smp

    from skiptool.names import Precision
    from skiptool.records import Image, UInt8

__all__ = ["place", "predict_labels", "to_device"]


def place(network: smp.Unet, device: str) -> smp.Unet:
    """Put a network on its device to be evaluated: weights channels last, statistics frozen.

    Returns
    -------
    smp.Unet
        The same network; a second call costs next to nothing.
    """
    network.eval()
    return network.to(device=device, memory_format=torch.channels_last)


def to_device(images: Image, device: str) -> torch.Tensor:
    """Carry (N, H, W, C) images to a device as the network's input (N, C, H, W)."""
    stored = torch.from_numpy(np.require(images, requirements=["C", "W"]))
    return as_input(stored.to(device))


def predict_labels(network: smp.Unet, images: Image, device: str, precision: Precision) -> UInt8:
    """Label each pixel with its most probable class.

    Parameters
    ----------
    network : smp.Unet
        Is put on ``device`` and into evaluation mode.
    images : uint8 or float32, shape (N, H, W, C)
        One batch; H and W need not be multiples of 32.
    device : str
    precision : Precision
        Resolved by `skiptool.model.hardware.choose_precision`.

    Returns
    -------
    uint8, shape (N, H, W)
        Index of the class; the lower one where logits are equal.
    """
    place(network, device)
    exact = exact_float32(device)
    with torch.inference_mode(), exact, autocast(precision, device):
        labels = network(to_device(images, device)).argmax(dim=1)
    predicted: UInt8 = labels.to(torch.uint8).cpu().numpy()
    return predicted
