"""The pruned U-net of section IV.A and its kin: segmentation-models-pytorch's, some skips left out.

The baseline *is* ``smp.Unet`` (or ``UnetPlusPlus``, ``Linknet``, ``MAnet``) with five stages and
its default decoder. Removing the skip of level l takes the encoder's feature map of stride 2**l out
of the decoder, see `skiptool.model.unet`; parameter names stay SMP's. Nothing here asks the
model hub for anything.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import segmentation_models_pytorch as smp
import timm
import torch
from segmentation_models_pytorch.base import SegmentationModel
from segmentation_models_pytorch.base.initialization import initialize_decoder
from segmentation_models_pytorch.decoders.linknet.decoder import DecoderBlock as LinknetBlock
from segmentation_models_pytorch.decoders.manet.decoder import DecoderBlock as PlainBlock
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoderBlock
from segmentation_models_pytorch.decoders.unetplusplus.decoder import (
    DecoderBlock,
    UnetPlusPlusDecoder,
)
from torch.nn.functional import interpolate

from skiptool.errors import ArgumentError, FormatError, near
from skiptool.model.batches import Stream, seeded
from skiptool.names import SKIP_LEVELS, Arch
from skiptool.records import AS_IT_IS, STRIDE

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Architecture, Normalisation

__all__ = [
    "Junction",
    "PrunedBlock",
    "PrunedNode",
    "PrunedPlainBlock",
    "UnaddedBlock",
    "build",
    "decoder_stage",
    "junction",
    "nested_below",
    "parameter_count",
    "prune",
    "prune_nested",
    "restore",
    "state",
]

# -------------------------------------------------------------------------------------------------
# U-Net++ without some of its skip connections.
#
# In the terms of Zhou et al., "UNet++: A Nested U-Net Architecture for Medical Image Segmentation"
# (2018), eq. (1), node X^{l,0} is the encoder's feature map of stride 2**l, and a nested node is::
#
#     X^{l,j} = H(X^{l,0}, ..., X^{l,j-1}, U(X^{l+1,j-1}))
#
# with H two convolutions, U upsampling by 2, and levels l = 1 to 4 below the output X^{0,5}, which
# has no skip. segmentation-models-pytorch calls X^{l,j} ``x_{5-l-j}_{4-l}``. Pruning level l takes
# X^{l,0} out of *every* node that reads it:
#
# - all nodes of its own row, X^{l,1} ... X^{l,5-l}, which read it beside them;
# - the first node of the row above, X^{l-1,1}, which reads it from below. Were it left there, the
#   feature map would still reach the output.
#
# The nested nodes of the row stay and are fed from below. A node that loses inputs has so many
# input
# channels less; one that reads the encoder only beside itself convolves at its own stride. A node
# left without any input is gone, as SMP has it where an encoder has no channels, and so it is for
# those that read it. With all four levels pruned a chain of five is left: the U-net without skips.


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


# -------------------------------------------------------------------------------------------------
# The decoders of four architectures: where their levels are, and how a skip connection goes.
#
# What pruning level l means is one thing everywhere: the encoder's feature map of stride 2**l does
# not enter the decoder. What is left of the block that took it depends on the decoder:
#
# ``unet``
#     The block is built anew with the skip's input channels gone (Table II of the paper).
# ``unetplusplus``
#     See `skiptool.model.nested`.
# ``linknet``
#     The addition of the feature map is left out. Its block had no parameters for it: none change.
# ``manet``
#     The block that weighs skip and decoder by attention gives way to the plain one of two
#     convolutions that segmentation-models-pytorch builds where there is no skip, at level 0.
#
# Everything else, parameter names included, stays that of segmentation-models-pytorch.


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


STAGES = 5
TIMM = "tu-"
_OF_WEIGHTS = (
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"),
    "pretrained_strict",
)
"""Arguments of timm that would load weights from elsewhere."""


def build(architecture: Architecture, seed: int = 0) -> SegmentationModel:
    """Build the network of an architecture with random weights.

    Parameters
    ----------
    architecture : Architecture
        Any encoder of segmentation-models-pytorch with five stages, or ``tu-<name>`` for one of
        timm; any subset of skips.
    seed : int
        Same seed, same weights; parameters outside the pruned blocks do not depend on the skips.

    Returns
    -------
    smp.Unet, smp.UnetPlusPlus, smp.Linknet or smp.MAnet
        In training mode on the CPU; maps (N, C, H, W) to logits (N, J, H, W). H and W are
        multiples of 32, those of a ``unet`` any.

    Raises
    ------
    ArgumentError
        If the encoder is unknown, has not five stages of strides 2 to 32, cannot bear this
        architecture, or has no feature map at a level that is pruned; or there is no class beside
        the background.

    Notes
    -----
    Some encoders (mit_b0, tu-convnext_atto) have no channels at level 1: there the skip of level 1
    joins nothing and cannot be removed. SMP builds no U-Net++ and no LinkNet on mit_b0 to mit_b5.
    """
    _check(architecture)
    with seeded(Stream.WEIGHTS, seed):
        network = _baseline(architecture)
        _check_levels(architecture, network.encoder.out_channels)
        prune(network, architecture.skips)
    return network


def _check(architecture: Architecture) -> None:
    if len(architecture.classes) < 2:
        raise ArgumentError(
            f"classes {', '.join(architecture.classes)}: found {len(architecture.classes)}, "
            "expected the background and at least one more"
        )
    name = architecture.encoder
    if not _known(name):
        known = [*smp.encoders.get_encoder_names(), *(TIMM + other for other in timm.list_models())]
        raise ArgumentError(
            f"encoder {name!r}: unknown to segmentation-models-pytorch {smp.__version__}"
            f"{near(name, known)}"
        )
    _check_options(architecture)


def _check_options(architecture: Architecture) -> None:
    """Refuse options that SMP would drop without a word, and those that fetch or unpickle weights.

    SMP hands what it does not know to its encoder: that of timm reads it, one of its own does not.
    """
    of_timm = architecture.encoder.startswith(TIMM)
    for name, _ in architecture.options:
        if name in _OF_WEIGHTS:
            raise ArgumentError(
                f"option {name!r} of encoder {architecture.encoder!r}: says where weights come "
                "from, a model folder has its own; take it out of its config.json"
            )
        if not of_timm and name != "output_stride":
            raise ArgumentError(
                f"option {name!r} of encoder {architecture.encoder!r}: not known here, and "
                f"segmentation-models-pytorch {smp.__version__} does nothing with it; take it out "
                "of config.json if the network was trained without it"
            )


def _named(architecture: Architecture) -> str:
    return ", ".join(f"{name}={value}" for name, value in architecture.options)


def _known(encoder: str) -> bool:
    """Tell whether SMP can build it offline (timm's ``hf-hub:`` names need the hub)."""
    if encoder.startswith(TIMM):
        return bool(timm.is_model(encoder.removeprefix(TIMM)))
    return encoder in smp.encoders.get_encoder_names()


def _baseline(architecture: Architecture) -> SegmentationModel:
    name = Arch(architecture.arch).model_class
    try:
        network = getattr(smp, name)(
            architecture.encoder,
            encoder_weights=None,
            in_channels=architecture.channels,
            classes=architecture.logits,
            **{name: json.loads(value) for name, value in architecture.options},
        )
        stages = len(network.encoder.out_channels) - 1
        stride = network.encoder.output_stride
    except Exception as error:  # SMP and timm refuse in many ways: ValueError, AssertionError ...
        if architecture.options:
            raise ArgumentError(
                f"encoder {architecture.encoder!r}: no {name} can be built with "
                f"{_named(architecture)} ({_first_line(error)}); skiptool works with "
                f"segmentation-models-pytorch {smp.__version__}"
            ) from error
        other = "" if architecture.arch == Arch.UNET else f", or --arch {Arch.UNET}"
        raise ArgumentError(
            f"encoder {architecture.encoder!r}: no {name} can be built on it "
            f"({_first_line(error)}); use one with five stages of strides 2 to 32{other}"
        ) from error
    if stages != STAGES or stride != STRIDE:
        raise ArgumentError(
            f"encoder {architecture.encoder!r}: has {stages} stages and stride {stride}, expected "
            f"{STAGES} and {STRIDE}; use another encoder"
        )
    return network


def _check_levels(architecture: Architecture, channels: Sequence[int]) -> None:
    """Refuse to prune what is not there: the network would be another one's under a wrong name."""
    absent = [level for level in SKIP_LEVELS if not channels[level]]
    for level in absent:
        if level not in architecture.skips:
            kept = sorted({*architecture.skips, *absent})
            raise ArgumentError(
                f"encoder {architecture.encoder!r}: has no feature map at level {level}: its skip "
                "cannot be pruned, the baseline is already without it; use --skips "
                f"{','.join(map(str, kept))}"
            )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def parameter_count(network: torch.nn.Module) -> int:
    """Count the trainable parameters, Table II."""
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


def state(network: torch.nn.Module) -> dict[str, AnyArray]:
    """Copy all weights and running statistics to NumPy, under SMP's own parameter names."""
    return {
        name: np.array(tensor.detach().cpu().numpy(), order="C")
        for name, tensor in network.state_dict().items()
    }


def restore(
    architecture: Architecture,
    tensors: Mapping[str, AnyArray],
    normalisation: Normalisation = AS_IT_IS,
) -> SegmentationModel:
    """Build the network that `state` described.

    Parameters
    ----------
    architecture : Architecture
        What the tensors were trained as.
    tensors : mapping of str to array
    normalisation : Normalisation
        Scaling that goes in front of the encoder, for networks that others trained; images come in
        [0, 1] all the same.

    Returns
    -------
    smp.Unet, smp.UnetPlusPlus, smp.Linknet or smp.MAnet
        In evaluation mode on the CPU.

    Raises
    ------
    FormatError
        If a tensor is missing, is not part of the architecture, or has another shape.
    """
    network = build(architecture)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    _compare(expected, {name: array.shape for name, array in tensors.items()}, architecture)
    network.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in tensors.items()})
    if normalisation:
        _normalise(network.encoder, normalisation)
    network.eval()
    return network


def _normalise(encoder: torch.nn.Module, normalisation: Normalisation) -> None:
    """Scale what goes into an encoder; its weights and the names of its modules stay."""
    for name, numbers in (("mean", normalisation.mean), ("std", normalisation.std)):
        values = torch.tensor(numbers).reshape(1, -1, 1, 1)
        encoder.register_buffer(f"normalised_{name}", values, persistent=False)
    encoder.register_forward_pre_hook(_scaled)


def _scaled(encoder: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    images, *others = inputs
    mean, std = encoder.get_buffer("normalised_mean"), encoder.get_buffer("normalised_std")
    return (images - mean) / std, *others


def _compare(
    expected: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
    architecture: Architecture,
) -> None:
    faults = [f"{name} is missing" for name in expected if name not in found]
    faults += [f"{name} is not part of it" for name in found if name not in expected]
    faults += [
        f"{name} has shape {found[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise FormatError(
            f"weights do not fit {architecture.folder} with {architecture.logits} output channels: "
            f"tensor {faults[0]}{more}; use the configuration they were saved with"
        )
