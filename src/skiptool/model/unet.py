"""The pruned U-net of section IV.A: segmentation-models-pytorch's, some skips left out.

The baseline *is* ``smp.Unet`` with five stages and its default decoder. Removing the skip of level
l rebuilds decoder block 4 - l with the skip's input channels gone (Table II). Everything else,
parameter names included, stays SMP's. Nothing here asks the model hub for anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import segmentation_models_pytorch as smp
import timm
import torch
from segmentation_models_pytorch.base.initialization import initialize_decoder
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoderBlock

from skiptool.errors import ArgumentError, FormatError, near
from skiptool.model.seeds import Stream, seeded
from skiptool.names import SKIP_LEVELS

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Architecture

__all__ = ["PrunedBlock", "build", "parameter_count", "restore", "state"]

STAGES = 5
STRIDE = 32
TIMM = "tu-"


class PrunedBlock(UnetDecoderBlock):  # type: ignore[misc] # SMP is untyped
    """A decoder block without a skip connection: it upsamples, and ignores what is offered."""

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


def build(architecture: Architecture, seed: int = 0) -> smp.Unet:
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
    smp.Unet
        In training mode on the CPU; maps (N, C, H, W) to logits (N, J, H, W), any H and W.

    Raises
    ------
    ArgumentError
        If the encoder is unknown or has not five stages of strides 2 to 32, or there is no class
        beside the background.

    Notes
    -----
    Some encoders (mit_b0, tu-convnext_atto) have no channels at level 1: there the skip of level 1
    joins nothing, and the network with and without it is the same.
    """
    _check(architecture)
    with seeded(Stream.WEIGHTS, seed):
        network = _baseline(architecture)
        for level in SKIP_LEVELS:
            if level not in architecture.skips:
                _prune(network, level)
    return network


def _check(architecture: Architecture) -> None:
    if architecture.arch != "unet":
        raise ArgumentError(f"architecture {architecture.arch!r}: only 'unet' can be built")
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


def _known(encoder: str) -> bool:
    """Tell whether SMP can build it offline (timm's ``hf-hub:`` names need the hub)."""
    if encoder.startswith(TIMM):
        return bool(timm.is_model(encoder.removeprefix(TIMM)))
    return encoder in smp.encoders.get_encoder_names()


def _baseline(architecture: Architecture) -> smp.Unet:
    try:
        network = smp.Unet(
            architecture.encoder,
            encoder_weights=None,
            in_channels=architecture.channels,
            classes=len(architecture.classes),
        )
        stages = len(network.encoder.out_channels) - 1
        stride = network.encoder.output_stride
    except Exception as error:  # SMP and timm refuse in many ways: ValueError, AssertionError ...
        raise ArgumentError(
            f"encoder {architecture.encoder!r}: no U-net can be built on it "
            f"({_first_line(error)}); use one with five stages of strides 2 to 32"
        ) from error
    if stages != STAGES or stride != STRIDE:
        raise ArgumentError(
            f"encoder {architecture.encoder!r}: has {stages} stages and stride {stride}, expected "
            f"{STAGES} and {STRIDE}; use another encoder"
        )
    return network


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _prune(network: smp.Unet, level: int) -> None:
    index = STAGES - 1 - level
    wired = network.decoder.blocks[index]
    skip_channels = network.encoder.out_channels[level]
    block = PrunedBlock(
        in_channels=wired.conv1[0].in_channels - skip_channels,
        skip_channels=0,
        out_channels=wired.conv1[0].out_channels,
        interpolation_mode=wired.interpolation_mode,
    )
    initialize_decoder(block)
    network.decoder.blocks[index] = block


def parameter_count(network: torch.nn.Module) -> int:
    """Count the trainable parameters, Table II."""
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


def state(network: torch.nn.Module) -> dict[str, AnyArray]:
    """Copy all weights and running statistics to NumPy, under SMP's own parameter names."""
    return {
        name: np.array(tensor.detach().cpu().numpy(), order="C")
        for name, tensor in network.state_dict().items()
    }


def restore(architecture: Architecture, tensors: Mapping[str, AnyArray]) -> smp.Unet:
    """Build the network that `state` described.

    Parameters
    ----------
    architecture : Architecture
        What the tensors were trained as.
    tensors : mapping of str to array

    Returns
    -------
    smp.Unet
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
    network.eval()
    return network


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
            f"weights do not fit {architecture.folder} with {len(architecture.classes)} classes: "
            f"tensor {faults[0]}{more}; use the configuration they were saved with"
        )
