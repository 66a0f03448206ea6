"""The pruned U-net of section IV.A and related networks of segmentation-models-pytorch (SMP).

The baseline *is* ``smp.Unet`` (or ``UnetPlusPlus``, ``Linknet``, ``MAnet``) with five stages and
its default decoder. Pruning level l means the same in each: the encoder's feature map of stride
2**l does not enter the decoder. The block that received it depends on the decoder:

``unet``
    The block is rebuilt without the skip's input channels (Table II of the paper).
``unetplusplus``
    All nodes that read the feature map are narrowed, see below.
``linknet``
    The block does not add the feature map; no parameters change.
``manet``
    The block that weights skip and decoder by attention is replaced by the plain one of two
    convolutions that SMP builds at level 0, where there is no skip.

Everything else, including parameter names, is SMP's. Nothing here accesses the model hub.

U-Net++: in the notation of Zhou et al., "UNet++: A Nested U-Net Architecture for Medical Image
Segmentation" (2018), eq. (1), node X^{l,0} is the encoder's feature map of stride 2**l, and a
nested node is::

    X^{l,j} = H(X^{l,0}, ..., X^{l,j-1}, U(X^{l+1,j-1}))

with H two convolutions, U upsampling by 2, and levels l = 1 to 4 below the output X^{0,5}, which
has no skip. SMP calls X^{l,j} ``x_{5-l-j}_{4-l}``. Pruning level l removes X^{l,0} from *every*
node that reads it:

- all nodes of its own row, X^{l,1} ... X^{l,5-l}, which read it from their row;
- the first node of the row above, X^{l-1,1}, which reads it from below; otherwise the feature map
  would still reach the output.

The nested nodes of the row remain and are fed from below. A node that loses inputs has
correspondingly fewer input channels; one that reads only from its row convolves at its own stride.
A node left without any input is removed, as SMP does for an encoder stage without channels, also
for the nodes that read it. With all four levels pruned a chain of five remains: the U-net without
skips.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

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

from skiptool.errors import ArgumentError, FormatError, first_line, suggestion
from skiptool.model.batches import RandomStream, seeded
from skiptool.names import SKIP_LEVELS, Arch
from skiptool.records import NO_NORMALISATION, STRIDE

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Architecture, Normalisation

TOP = SKIP_LEVELS[-1]

# U-Net++


class PrunedNestedNode(DecoderBlock):  # type: ignore[misc] # SMP is untyped
    """A U-Net++ node that reads only part of its inputs.

    Parameters
    ----------
    below_channels : int
        Channels it reads from below: all, or 0.
    row_channels : int
        Channels it reads from its row, the first ones: the encoder's come last.
    """

    def __init__(
        self, below_channels: int, row_channels: int, out_channels: int, interpolation_mode: str
    ) -> None:
        super().__init__(
            below_channels,
            row_channels,
            out_channels if below_channels + row_channels else 0,
            interpolation_mode=interpolation_mode,
        )
        self.below_channels, self.row_channels = below_channels, row_channels

    def forward(self, x: torch.Tensor, skip: torch.Tensor | None = None) -> torch.Tensor:
        """Map (N, D, h, w) and (N, S, 2h, 2w) to (N, D', 2h, 2w); D' is 0 without inputs."""
        if self.is_empty:
            count, _, height, width = x.shape
            return x.new_empty(count, 0, 2 * height, 2 * width)
        inputs = []
        if self.below_channels:
            inputs.append(interpolate(x, scale_factor=2.0, mode=self.interpolation_mode))
        if self.row_channels and skip is not None:
            inputs.append(skip[:, : self.row_channels])
        decoded: torch.Tensor = self.conv2(self.conv1(torch.cat(inputs, dim=1)))
        return decoded


def prune_nested(decoder: UnetPlusPlusDecoder, kept: Collection[int]) -> None:
    """Remove the skip connections of all but the ``kept`` levels from a U-Net++'s decoder.

    Nodes that lose inputs are replaced, with random weights as in SMP.
    """
    encoder = list(decoder.skip_channels)  # remaining channels of each level's feature map, 4 to 0
    for level in SKIP_LEVELS:
        if level not in kept:
            encoder[TOP - level] = 0
    widths: dict[tuple[int, int], int] = {}  # output channels by column and row
    for row in range(len(SKIP_LEVELS)):
        for column in range(row, -1, -1):  # from the encoder to the last of the row
            if column < row:
                below = widths[column, row - 1]
            else:
                below = encoder[row - 1] if row else int(decoder.in_channels[0])
            previous = sum(widths[other, row] for other in range(column + 1, row + 1))
            widths[column, row] = _narrow(decoder, column, row, below, previous + encoder[row])


def nested_below(decoder: UnetPlusPlusDecoder, row: int) -> int:
    """Count the channels that the last node of a row, ``x_0_{row}``, reads from below."""
    node = decoder.blocks[f"x_0_{row}"]
    if isinstance(node, PrunedNestedNode):
        return int(node.below_channels)
    return int(decoder.in_channels[row])


def _narrow(decoder: UnetPlusPlusDecoder, column: int, row: int, below: int, from_row: int) -> int:
    """Give a node these input channels, and return the number of its output channels."""
    name = f"x_{column}_{row}"
    node = decoder.blocks[name]
    full_below = decoder.in_channels[row] if column == 0 else decoder.skip_channels[row - 1]
    full_row = decoder.skip_channels[row] * (row + 1 - column)
    if (below, from_row) != (full_below, full_row):
        node = PrunedNestedNode(below, from_row, node.out_channels, node.interpolation_mode)
        initialize_decoder(node)
        decoder.blocks[name] = node
    return int(node.out_channels)


# All decoders


class PrunedUnetBlock(UnetDecoderBlock):  # type: ignore[misc] # SMP is untyped
    """A U-net block that upsamples and ignores its skip connection."""

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


class PrunedLinknetBlock(LinknetBlock):  # type: ignore[misc]
    """A LinkNet block that does not add its skip connection."""

    def forward(self, x: torch.Tensor, skip: torch.Tensor | None = None) -> torch.Tensor:
        """Map (N, D, h, w) to (N, D', 2h, 2w); the skip is not read."""
        decoded: torch.Tensor = super().forward(x, None)
        return decoded


class PrunedMAnetBlock(PlainBlock):  # type: ignore[misc]
    """A MA-Net block without attention, as there is no skip connection to weight."""

    def forward(self, x: torch.Tensor, skip: torch.Tensor | None = None) -> torch.Tensor:
        """Map (N, D, h, w) to (N, D', 2h, 2w); the skip is not read."""
        decoded: torch.Tensor = super().forward(x, None)
        return decoded


def prune(network: SegmentationModel, kept: Collection[int]) -> None:
    """Remove the skip connections of all but the ``kept`` levels from a network of SMP.

    Blocks are replaced, with random weights as in SMP if the shapes of their parameters change.
    """
    if isinstance(network, smp.UnetPlusPlus):
        prune_nested(network.decoder, kept)
        return
    for level in SKIP_LEVELS:
        if level not in kept:
            network.decoder.blocks[TOP - level] = _without_skip(
                network.decoder.blocks[TOP - level], network.encoder.out_channels[level]
            )


def _without_skip(block: Any, skip_channels: int) -> torch.nn.Module:  # noqa: ANN401 - SMP is untyped
    if isinstance(block, LinknetBlock):
        linknet = PrunedLinknetBlock(4, 1)  # of any size, as it takes over the layers
        linknet.block = block.block
        return linknet
    if isinstance(block, UnetDecoderBlock):
        kind, in_channels = PrunedUnetBlock, block.conv1[0].in_channels - skip_channels
    else:
        kind, in_channels = PrunedMAnetBlock, block.hl_conv[0][0].in_channels
    pruned = kind(
        in_channels=in_channels,
        skip_channels=0,
        out_channels=block.conv1[0].out_channels,
        interpolation_mode=block.interpolation_mode,
    )
    initialize_decoder(pruned)
    return pruned


@dataclass(frozen=True, slots=True)
class MergeConvolution:
    """The convolution of a decoder block that merges its concatenated inputs.

    Attributes
    ----------
    convolution : torch.nn.Conv2d
        The first of the block, before normalisation.
    skip_channels : int
        Number of its input channels, the last ones, that come from the skip connection.
    """

    convolution: torch.nn.Conv2d
    skip_channels: int


def merge_convolution(network: SegmentationModel, level: int) -> MergeConvolution | None:
    """Return the convolution of ``dec{level}`` (4 to 0) that merges skip and input from below.

    None for a LinkNet, which adds the skip after its block. In a U-Net++ the skip includes the
    nested nodes of its row; in a MA-Net the input from below has been weighted by attention, which
    sees the skip as well.
    """
    block = decoder_stage(network, level)
    if isinstance(block, LinknetBlock):
        return None
    convolution = cast("torch.nn.Conv2d", block.get_submodule("conv1.0"))
    if isinstance(network, smp.UnetPlusPlus):
        skip = convolution.in_channels - nested_below(network.decoder, TOP - level)
    else:
        merges = level in SKIP_LEVELS and not isinstance(block, PrunedUnetBlock | PlainBlock)
        skip = network.encoder.out_channels[level] if merges else 0
    return MergeConvolution(convolution, skip)


def decoder_stage(network: SegmentationModel, level: int) -> torch.nn.Module:
    """Return the module whose output is the layer ``dec{level}``, level 4 to 0, stride 2**level.

    It is the decoder block of that stride, after merging its skip. In a U-Net++ several nodes have
    that stride; the layer is the last of its row, ``x_0_{4 - level}``, X^{level, 5 - level} in the
    paper's notation, on which the row above builds.
    """
    blocks = network.decoder.blocks
    row = TOP - level
    stage: torch.nn.Module = blocks[f"x_0_{row}" if isinstance(network, smp.UnetPlusPlus) else row]
    return stage


# Building and restoring

STAGES: Final = 5
TIMM_PREFIX: Final = "tu-"
_WEIGHT_OPTIONS: Final = (
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "cache_dir",
    "pretrained_strict",
)
"""Options with which timm would load weights itself."""


def build(architecture: Architecture, seed: int = 0) -> SegmentationModel:
    """Build the network of an architecture with random weights.

    Raises ArgumentError if the encoder is unknown, does not have five stages of strides 2 to 32,
    does not support this architecture, or has no feature map at a pruned level; or if there is only
    the background class.

    Parameters
    ----------
    architecture : Architecture
        Any five-stage encoder of SMP, or ``tu-<name>`` for one of timm; any subset of skips.
    seed : int
        Determines the weights; parameters outside the pruned blocks do not depend on the skips.

    Returns
    -------
    smp.Unet, smp.UnetPlusPlus, smp.Linknet or smp.MAnet
        In training mode on the CPU; maps (N, C, H, W) to logits (N, J, H, W). H and W must be
        multiples of 32, except for ``unet``.

    Notes
    -----
    Some encoders (mit_b0, tu-convnext_atto) have no channels at level 1, so its skip cannot be
    removed. SMP does not build U-Net++ and LinkNet on mit_b0 to mit_b5.
    """
    _check_architecture(architecture)
    with seeded(RandomStream.WEIGHTS, seed):
        network = _build_unpruned(architecture)
        _check_levels(architecture, network.encoder.out_channels)
        prune(network, architecture.skips)
    return network


def _check_architecture(architecture: Architecture) -> None:
    if len(architecture.classes) < 2:
        raise ArgumentError(
            f"classes {', '.join(architecture.classes)}: found {len(architecture.classes)}, "
            "expected the background and at least one more"
        )
    name = architecture.encoder
    if not _is_known(name):
        known = smp.encoders.get_encoder_names()
        known += [TIMM_PREFIX + model for model in timm.list_models()]
        raise ArgumentError(
            f"encoder {name!r}: unknown to segmentation-models-pytorch {smp.__version__}"
            f"{suggestion(name, known)}"
        )
    _check_options(architecture)


def _check_options(architecture: Architecture) -> None:
    """Refuse options that SMP would silently ignore, and those that fetch or unpickle weights.

    SMP passes unknown options to the encoder: timm's encoders read them, its own do not.
    """
    is_timm = architecture.encoder.startswith(TIMM_PREFIX)
    for name, _ in architecture.options:
        if name in _WEIGHT_OPTIONS:
            raise ArgumentError(
                f"option {name!r} of encoder {architecture.encoder!r}: sets the source of weights, "
                "but a model folder has its own; remove it from config.json"
            )
        if not is_timm and name != "output_stride":
            raise ArgumentError(
                f"option {name!r} of encoder {architecture.encoder!r}: unknown, and ignored by "
                f"segmentation-models-pytorch {smp.__version__}; remove it from config.json if the "
                "network was trained without it"
            )


def _is_known(encoder: str) -> bool:
    """Return True if SMP can build it offline (timm's ``hf-hub:`` names need the hub)."""
    if encoder.startswith(TIMM_PREFIX):
        return bool(timm.is_model(encoder.removeprefix(TIMM_PREFIX)))
    return encoder in smp.encoders.get_encoder_names()


def _build_unpruned(architecture: Architecture) -> SegmentationModel:
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
    except Exception as error:  # SMP and timm raise ValueError, AssertionError ...
        if architecture.options:
            options = ", ".join(f"{name}={value}" for name, value in architecture.options)
            raise ArgumentError(
                f"encoder {architecture.encoder!r}: no {name} can be built with {options} "
                f"({first_line(error)}); skiptool uses segmentation-models-pytorch "
                f"{smp.__version__}"
            ) from error
        other = "" if architecture.arch == Arch.UNET else f", or --arch {Arch.UNET}"
        raise ArgumentError(
            f"encoder {architecture.encoder!r}: no {name} can be built on it "
            f"({first_line(error)}); use one with five stages of strides 2 to 32{other}"
        ) from error
    if stages != STAGES or stride != STRIDE:
        raise ArgumentError(
            f"encoder {architecture.encoder!r}: has {stages} stages and stride {stride}, expected "
            f"{STAGES} and {STRIDE}; use another encoder"
        )
    return network


def _check_levels(architecture: Architecture, channels: Sequence[int]) -> None:
    """Refuse to prune a skip that does not exist: the network would get a wrong name."""
    absent = [level for level in SKIP_LEVELS if not channels[level]]
    for level in absent:
        if level not in architecture.skips:
            kept = sorted({*architecture.skips, *absent})
            raise ArgumentError(
                f"encoder {architecture.encoder!r}: has no feature map at level {level}: its skip "
                "cannot be pruned, the baseline is already without it; use --skips "
                f"{','.join(map(str, kept))}"
            )


def parameter_count(network: torch.nn.Module) -> int:
    """Count the trainable parameters, Table II."""
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


def state_arrays(network: torch.nn.Module) -> dict[str, AnyArray]:
    """Copy all weights and running statistics to NumPy, under SMP's parameter names."""
    return {
        name: np.array(tensor.detach().cpu().numpy(), order="C")
        for name, tensor in network.state_dict().items()
    }


def restore_network(
    architecture: Architecture,
    tensors: Mapping[str, AnyArray],
    normalisation: Normalisation = NO_NORMALISATION,
) -> SegmentationModel:
    """Rebuild a network from the tensors of `state_arrays`, in evaluation mode on the CPU.

    ``normalisation`` scales images, which are in [0, 1], before the encoder of an external network.
    Raises FormatError if a tensor is missing, unexpected, or has another shape.
    """
    network = build(architecture)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    _check_shapes(expected, {name: array.shape for name, array in tensors.items()}, architecture)
    network.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in tensors.items()})
    if normalisation:
        _normalise(network.encoder, normalisation)
    network.eval()
    return network


def _normalise(encoder: torch.nn.Module, normalisation: Normalisation) -> None:
    """Scale the input of an encoder, without changing its weights and module names."""
    for name, numbers in (("mean", normalisation.mean), ("std", normalisation.std)):
        values = torch.tensor(numbers).reshape(1, -1, 1, 1)
        encoder.register_buffer(f"input_{name}", values, persistent=False)
    encoder.register_forward_pre_hook(_normalise_input)


def _normalise_input(
    encoder: torch.nn.Module, inputs: tuple[torch.Tensor, ...]
) -> tuple[torch.Tensor, ...]:
    images, *others = inputs
    return (images - encoder.get_buffer("input_mean")) / encoder.get_buffer("input_std"), *others


def _check_shapes(
    expected: Mapping[str, tuple[int, ...]],
    shapes: Mapping[str, tuple[int, ...]],
    architecture: Architecture,
) -> None:
    faults = [f"{name} is missing" for name in expected if name not in shapes]
    faults += [f"{name} is not part of it" for name in shapes if name not in expected]
    faults += [
        f"{name} has shape {shapes[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in shapes and shapes[name] != shape
    ]
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise FormatError(
            f"weights do not fit {architecture.folder} with {architecture.logits} output channels: "
            f"tensor {faults[0]}{more}; use the configuration they were saved with"
        )
