"""Skip substitution: a decoder gets some of its feature maps from another image of the sample.

Let f_1 .. f_5 be the encoder's feature maps of a shifted image, g_1 .. g_5 those of the clean one,
and S a set of levels. The prediction is that of the decoder for h_l = g_l where l is in S and
h_l = f_l elsewhere; level 5 is the bottleneck. The encoder itself runs undisturbed: clean level 1
does not make level 2 clean. What IoU is regained tells causally through which connection the shift
reaches the decoder, where a distance between feature maps only tells that it could.

This is activation patching, known from language models (J. Vig et al., "Investigating Gender Bias
in Language Models Using Causal Mediation Analysis", NeurIPS 2020; K. Meng et al., "Locating and
Editing Factual Associations in GPT", NeurIPS 2022). Its limit: the decoder gets a mixture that no
image gives, and may fail on the mixture itself; parts may also make up for one another, so what
they bring alone does not add up to what they bring together.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import torch

from skiptool.model.faults import memory_told
from skiptool.model.hardware import autocast, exact_float32
from skiptool.model.infer import most_probable, to_device
from skiptool.model.segment import count_cells, truth_cells

if TYPE_CHECKING:
    from segmentation_models_pytorch.base import SegmentationModel

    from skiptool.names import Precision
    from skiptool.records import Image, Int64, UInt8

__all__ = ["count_substituted", "decode"]


def decode(
    network: SegmentationModel,
    clean: Sequence[torch.Tensor],
    shifted: Sequence[torch.Tensor],
    parts: Collection[int],
) -> torch.Tensor:
    """Decode feature maps of two images.

    Parameters
    ----------
    network : SegmentationModel
    clean, shifted : sequence of Tensor, length 6
        What the encoder made of either image: level 0 is the image itself, (N, D_l, H/2^l, W/2^l).
    parts : collection of int
        Levels, 1 to 5, that are taken from ``clean``.

    Returns
    -------
    Tensor, shape (N, J, H, W)
        Logits.
    """
    mixed = [
        own if level in parts else other
        for level, (own, other) in enumerate(zip(clean, shifted, strict=True))
    ]
    logits: torch.Tensor = network.segmentation_head(network.decoder(mixed))
    return logits


def count_substituted(
    network: SegmentationModel,
    sets: Sequence[Collection[int]],
    clean: Image,
    shifted: Sequence[Image],
    truth: UInt8,
    classes: int,
    device: str,
    precision: Precision,
) -> Int64:
    """Segment one batch under several shifts with several sets of clean parts.

    Parameters
    ----------
    network : SegmentationModel
        In evaluation mode on the device.
    sets : sequence of collection of int, length K
        Levels that come from the clean images.
    clean : uint8 or float32, shape (N, H, W, C)
    shifted : sequence of images, length M
        The same samples, as ``clean``.
    truth : uint8, shape (N, H, W)
        Labels 0..J-1, or 255.
    classes : int
        Number J of classes.
    device, precision : str, Precision

    Returns
    -------
    int64, shape (M, K, N, J, J)
        Pixels by [truth, predicted]; those labelled 255 are in none.

    Raises
    ------
    MemoryError
        If the device has not enough memory.
    """
    count, height, width, _ = clean.shape
    doing = f"the feature maps of two times {count} images of {height} x {width} px"
    with memory_told(device, doing), torch.inference_mode(), exact_float32(device):
        cells = truth_cells(truth, classes).to(device)
        found = []
        with autocast(precision, device):
            own = network.encoder(to_device(clean, device))
            for images in shifted:
                other = network.encoder(to_device(images, device))
                for parts in sets:
                    labels = most_probable(decode(network, own, other, parts))
                    found.append(count_cells(cells, labels, classes))
        shape = (len(shifted), len(sets), count, classes, classes)
        result: Int64 = torch.stack(found).view(shape).cpu().numpy()
        return result
