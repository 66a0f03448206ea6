"""The decoders of four architectures: where their levels are, and how a skip connection goes.

What pruning level l means is one thing everywhere: the encoder's feature map of stride 2**l does
not enter the decoder. What is left of the block that took it depends on the decoder:

``unet``
    The block is built anew with the skip's input channels gone (Table II of the paper).
``unetplusplus``
    See `skiptool.model.nested`.
``linknet``
    The addition of the feature map is left out. Its block had no parameters for it: none change.
``manet``
    The block that weighs skip and decoder by attention gives way to the plain one of two
    convolutions that segmentation-models-pytorch builds where there is no skip, at level 0.

Everything else, parameter names included, stays that of segmentation-models-pytorch.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.base import SegmentationModel
from segmentation_models_pytorch.base.initialization import initialize_decoder
from segmentation_models_pytorch.decoders.linknet.decoder import DecoderBlock as LinknetBlock
from segmentation_models_pytorch.decoders.manet.decoder import DecoderBlock as PlainBlock
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoderBlock

from skiptool.model.nested import nested_below, prune_nested
from skiptool.names import SKIP_LEVELS

__all__ = [
    *("Junction", "PrunedBlock", "PrunedPlainBlock", "UnaddedBlock"),
    *("decoder_stage", "junction", "prune"),
]

TOP = SKIP_LEVELS[-1]


class PrunedBlock(UnetDecoderBlock):  # type: ignore[misc] # SMP is untyped
    """A U-net's block without a skip connection: it upsamples, and ignores what is offered."""

    def forward(
        self,
        feature_map: torch.Tensor,
        target_height: int,
        target_width: int,
        skip_connection: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Map (N, D, h, w) to (N, D', target_height, target_width); the skip is not read."""
        decoded: torch.Tensor = super().forward(feature_map, target_height, target_width, None)
        return decoded


class UnaddedBlock(LinknetBlock):  # type: ignore[misc]
    """A LinkNet's block that does not add the skip."""

    def forward(self, x: torch.Tensor, skip: torch.Tensor | None = None) -> torch.Tensor:
        """Map (N, D, h, w) to (N, D', 2h, 2w); the skip is not read."""
        decoded: torch.Tensor = super().forward(x, None)
        return decoded


class PrunedPlainBlock(PlainBlock):  # type: ignore[misc]
    """A MA-Net's block without attention, since there is no skip to weigh."""

    def forward(self, x: torch.Tensor, skip: torch.Tensor | None = None) -> torch.Tensor:
        """Map (N, D, h, w) to (N, D', 2h, 2w); the skip is not read."""
        decoded: torch.Tensor = super().forward(x, None)
        return decoded


def prune(network: SegmentationModel, kept: Collection[int]) -> None:
    """Take skip connections out of a network.

    Parameters
    ----------
    network : smp.Unet, smp.UnetPlusPlus, smp.Linknet or smp.MAnet
        As built, with five stages and the default decoder; blocks of it are replaced, with random
        weights as SMP draws them where they have parameters of other shapes.
    kept : collection of int
        Levels that stay.
    """
    if isinstance(network, smp.UnetPlusPlus):
        prune_nested(network.decoder, kept)
        return
    for level in SKIP_LEVELS:
        if level not in kept:
            wired = network.decoder.blocks[TOP - level]
            pruned = _without_skip(wired, network.encoder.out_channels[level])
            network.decoder.blocks[TOP - level] = pruned


def _without_skip(wired: Any, skip_channels: int) -> torch.nn.Module:  # noqa: ANN401 - SMP is untyped
    if isinstance(wired, LinknetBlock):
        same = UnaddedBlock(4, 1)  # of any size: its layers are those that were there
        same.block = wired.block
        return same
    of_unet = isinstance(wired, UnetDecoderBlock)
    below = (
        wired.conv1[0].in_channels - skip_channels if of_unet else wired.hl_conv[0][0].in_channels
    )
    block = (PrunedBlock if of_unet else PrunedPlainBlock)(
        in_channels=below,
        skip_channels=0,
        out_channels=wired.conv1[0].out_channels,
        interpolation_mode=wired.interpolation_mode,
    )
    initialize_decoder(block)
    return block


@dataclass(frozen=True, slots=True)
class Junction:
    """Where a decoder block joins its inputs: the convolution over both, one behind the other.

    Attributes
    ----------
    convolution : torch.nn.Conv2d
        The block's first one, in front of its normalisation.
    skip_channels : int
        How many of its input channels, the last ones, come by the skip connection.
    """

    convolution: torch.nn.Conv2d
    skip_channels: int


def junction(network: SegmentationModel, level: int) -> Junction | None:
    """Return where the block ``dec{level}`` joins what comes by its skip and from below.

    Parameters
    ----------
    network : smp.Unet, smp.UnetPlusPlus, smp.Linknet or smp.MAnet
    level : int
        4 to 0.

    Returns
    -------
    Junction or None
        None for a LinkNet, which adds the skip behind its block. What comes by the skip of a
        U-Net++ are the nested nodes of its row besides the encoder's feature map; what comes from
        below in a MA-Net has been weighed by its attention, which sees the skip as well.
    """
    block = decoder_stage(network, level)
    if isinstance(block, LinknetBlock):
        return None
    convolution = block.get_submodule("conv1.0")
    if not isinstance(convolution, torch.nn.Conv2d):
        raise TypeError(f"conv1.0 of dec{level} is a {type(convolution).__name__}")
    if isinstance(network, smp.UnetPlusPlus):
        beside = convolution.in_channels - nested_below(network.decoder, TOP - level)
    else:
        joins = level in SKIP_LEVELS and not isinstance(block, PrunedBlock | PlainBlock)
        beside = network.encoder.out_channels[level] if joins else 0
    return Junction(convolution, beside)


def decoder_stage(network: SegmentationModel, level: int) -> torch.nn.Module:
    """Return the module whose output is the layer ``dec{level}``, of stride 2**level.

    Parameters
    ----------
    network : smp.Unet, smp.UnetPlusPlus, smp.Linknet or smp.MAnet
    level : int
        4 to 0.

    Returns
    -------
    torch.nn.Module
        The decoder's block of that stride, after its skip was joined. In a U-Net++ several nodes
        have that stride; theirs is ``x_0_{4 - level}``, the last of its row, X^{level, 5 - level}
        in the terms of the paper, on which the row above goes on.
    """
    blocks = network.decoder.blocks
    stage: torch.nn.Module = blocks[
        f"x_0_{TOP - level}" if isinstance(network, smp.UnetPlusPlus) else TOP - level
    ]
    return stage
