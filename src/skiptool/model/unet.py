"""The pruned U-net of section IV.A and its kin: segmentation-models-pytorch's, some skips left out.

The baseline *is* ``smp.Unet`` (or ``UnetPlusPlus``, ``Linknet``, ``MAnet``) with five stages and
its default decoder. Removing the skip of level l takes the encoder's feature map of stride 2**l out
of the decoder, see `skiptool.model.decoders`; parameter names stay SMP's. Nothing here asks the
model hub for anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import segmentation_models_pytorch as smp
import timm
import torch
from segmentation_models_pytorch.base import SegmentationModel

from skiptool.errors import ArgumentError, FormatError, near
from skiptool.model.decoders import prune
from skiptool.model.seeds import Stream, seeded
from skiptool.names import SKIP_LEVELS, Arch
from skiptool.records import AS_IT_IS, STRIDE

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Architecture, Normalisation

__all__ = ["build", "parameter_count", "restore", "state"]

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
