"""U-Net++ without some of its skip connections.

In the terms of Zhou et al., "UNet++: A Nested U-Net Architecture for Medical Image Segmentation"
(2018), eq. (1), node X^{l,0} is the encoder's feature map of stride 2**l, and a nested node is::

    X^{l,j} = H(X^{l,0}, ..., X^{l,j-1}, U(X^{l+1,j-1}))

with H two convolutions, U upsampling by 2, and levels l = 1 to 4 below the output X^{0,5}, which
has no skip. segmentation-models-pytorch calls X^{l,j} ``x_{5-l-j}_{4-l}``. Pruning level l takes
X^{l,0} out of *every* node that reads it:

- all nodes of its own row, X^{l,1} ... X^{l,5-l}, which read it beside them;
- the first node of the row above, X^{l-1,1}, which reads it from below. Were it left there, the
  feature map would still reach the output.

The nested nodes of the row stay and are fed from below. A node that loses inputs has so many input
channels less; one that reads the encoder only beside itself convolves at its own stride. A node
left without any input is gone, as SMP has it where an encoder has no channels, and so it is for
those that read it. With all four levels pruned a chain of five is left: the U-net without skips.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from segmentation_models_pytorch.base.initialization import initialize_decoder
from segmentation_models_pytorch.decoders.unetplusplus.decoder import (
    DecoderBlock,
    UnetPlusPlusDecoder,
)
from torch.nn.functional import interpolate

from skiptool.names import SKIP_LEVELS

__all__ = ["PrunedNode", "nested_below", "prune_nested"]


class PrunedNode(DecoderBlock):  # type: ignore[misc] # SMP is untyped
    """A node that reads a part of what SMP's forward pass offers it.

    Parameters
    ----------
    below : int
        Channels it reads from below: all that it is offered, or 0.
    beside : int
        Channels it reads from its row, the first so many: the encoder's come last.
    out_channels : int
    interpolation_mode : str
    """

    def __init__(self, below: int, beside: int, out_channels: int, interpolation_mode: str) -> None:
        out_channels = out_channels if below + beside else 0
        super().__init__(below, beside, out_channels, interpolation_mode=interpolation_mode)
        self.below, self.beside = below, beside

    def forward(self, x: torch.Tensor, skip: torch.Tensor | None = None) -> torch.Tensor:
        """Map (N, D, h, w) and (N, S, 2h, 2w) to (N, D', 2h, 2w); D' is 0 without any input."""
        if self.is_empty:
            count, _, height, width = x.shape
            return x.new_empty(count, 0, 2 * height, 2 * width)
        read = []
        if self.below:
            read.append(interpolate(x, scale_factor=2.0, mode=self.interpolation_mode))
        if self.beside and skip is not None:
            read.append(skip[:, : self.beside])
        decoded: torch.Tensor = self.conv2(self.conv1(torch.cat(read, dim=1)))
        return decoded


def prune_nested(decoder: UnetPlusPlusDecoder, kept: Collection[int]) -> None:
    """Take skip connections out of a U-Net++'s decoder.

    Parameters
    ----------
    decoder : UnetPlusPlusDecoder
        With five stages and without attention. Nodes that lose inputs are replaced, with random
        weights as SMP draws them.
    kept : collection of int
        Levels that stay.
    """
    levels = [level for level in SKIP_LEVELS[::-1] if level not in kept]
    encoder = list(decoder.skip_channels)  # what is left of each level's feature map, 4 to 0
    for level in levels:
        encoder[SKIP_LEVELS[-1] - level] = 0
    width: dict[tuple[int, int], int] = {}  # channels that come out of each node
    for row in range(len(SKIP_LEVELS)):
        for place in range(row, -1, -1):  # from the encoder to the last of the row
            below = _below(decoder, encoder, width, place, row)
            beside = sum(width[other, row] for other in range(place + 1, row + 1)) + encoder[row]
            width[place, row] = _narrow(decoder, (place, row), below, beside)


def nested_below(decoder: UnetPlusPlusDecoder, row: int) -> int:
    """Count the channels that the last node of a row, ``x_0_{row}``, reads from below."""
    node = decoder.blocks[f"x_0_{row}"]
    return int(node.below if isinstance(node, PrunedNode) else decoder.in_channels[row])


def _below(
    decoder: UnetPlusPlusDecoder,
    encoder: list[int],
    width: dict[tuple[int, int], int],
    place: int,
    row: int,
) -> int:
    if place < row:
        return width[place, row - 1]
    return encoder[row - 1] if row else int(decoder.in_channels[0])


def _narrow(decoder: UnetPlusPlusDecoder, node: tuple[int, int], below: int, beside: int) -> int:
    """Give a node these inputs, and return the number of its channels."""
    name = "x_{}_{}".format(*node)
    whole = decoder.blocks[name]
    place, row = node
    full = (
        decoder.in_channels[row] if place == 0 else decoder.skip_channels[row - 1],
        decoder.skip_channels[row] * (row + 1 - place),
    )
    if (below, beside) != full:
        whole = PrunedNode(below, beside, whole.out_channels, whole.interpolation_mode)
        initialize_decoder(whole)
        decoder.blocks[name] = whole
    return int(whole.out_channels)
