"""Where the layers of a network come out: which module, call and part of its output.

Layers are the twelve of `skiptool.names.LAYERS`, of which ``dec{l}`` is what
`skiptool.model.decoders.decoder_stage` says, or any module of the network by its own name. One that
runs several times a forward pass (the ReLU of a residual block runs twice) means its first call;
``name@2`` is the second.

The first convolution W of a decoder block reads upsampled features u from below and, behind them, a
skip connection s. It is linear: W [u, s] = W_u u + W_s s, and these two are the layers
``dec{l}.from_below`` and ``dec{l}.from_skip`` (`skiptool.names.DECODER_INPUTS`), before the
normalisation. Distances do not tell how much each of the two weighs in their sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import conv2d

from skiptool.errors import ArgumentError, near
from skiptool.model.decoders import decoder_stage, junction
from skiptool.names import DECODER_INPUTS, LAYERS

if TYPE_CHECKING:
    from segmentation_models_pytorch.base import SegmentationModel

__all__ = ["Tap", "decoder_inputs", "existing_layers", "find_tap"]


@dataclass(frozen=True, slots=True)
class Tap:
    """Where a layer's activations come out: which module, call, and part of its output."""

    layer: str
    module: torch.nn.Module
    call: int = 1
    part: Callable[[torch.Tensor, Any], Any] | None = None
    """Of the module's first input and its output; None for the output as it is."""


def existing_layers(network: SegmentationModel) -> tuple[str, ...]:
    """Name this network's layers in order: all, save ``enc1`` where it has no channels (mit_b0)."""
    return tuple(layer for layer in LAYERS if not _is_empty(network, layer))


def decoder_inputs(network: SegmentationModel) -> tuple[str, ...]:
    """Name what its decoder blocks get from below and by skip connections, in data flow.

    Empty for a LinkNet, which joins nothing before a convolution.
    """
    return tuple(name for name in DECODER_INPUTS if _joined(network, name))


def _joined(network: SegmentationModel, name: str) -> bool:
    found = junction(network, int(name[3]))
    return found is not None and (name.endswith("below") or found.skip_channels > 0)


def _is_empty(network: SegmentationModel, layer: str) -> bool:
    return layer in _stages() and network.encoder.out_channels[_stages()[layer]] == 0


def _stages() -> dict[str, int]:
    return {layer: int(layer[3:]) for layer in LAYERS if layer.startswith("enc")}


def find_tap(network: SegmentationModel, layer: str) -> Tap:
    """Say where a layer comes out.

    Parameters
    ----------
    network : SegmentationModel
    layer : str
        Not ``input``.

    Raises
    ------
    ArgumentError
        If the layer is unknown, or has no channels in this network.
    """
    if _is_empty(network, layer):
        there = ", ".join(existing_layers(network))
        raise ArgumentError(f"layer {layer!r}: the encoder has no channels there; it has {there}")
    if layer in _stages():
        stage = _stages()[layer]
        return Tap(layer, network.encoder, part=lambda _, features: features[stage])
    if layer in DECODER_INPUTS:
        return _find_input(network, layer)
    if layer == "head":
        return Tap(layer, network.segmentation_head)
    if layer in LAYERS:
        return Tap(layer, decoder_stage(network, int(layer.removeprefix("dec"))))
    return _find_module(network, layer)


def _find_input(network: SegmentationModel, layer: str) -> Tap:
    level, there = int(layer[3]), ", ".join(decoder_inputs(network))
    found = junction(network, level)
    if found is None:
        raise ArgumentError(
            f"layer {layer!r}: a LinkNet adds skip connections behind its blocks, where no "
            "convolution joins them; ask for a layer of another architecture"
        )
    if layer not in decoder_inputs(network):
        raise ArgumentError(
            f"layer {layer!r}: this network has no skip connection of level {level}; it has {there}"
        )
    of_skip = partial(_of_skip, found.convolution, found.skip_channels)
    if layer.endswith("skip"):
        return Tap(layer, found.convolution, part=lambda inputs, _: of_skip(inputs))
    if not found.skip_channels:
        return Tap(layer, found.convolution)
    return Tap(layer, found.convolution, part=lambda inputs, whole: whole - of_skip(inputs))


def _of_skip(convolution: torch.nn.Conv2d, channels: int, inputs: torch.Tensor) -> torch.Tensor:
    """Convolve the last channels of the input alone, without the bias."""
    weight = convolution.weight[:, -channels:]
    stride, padding = convolution.stride, convolution.padding
    return conv2d(inputs[:, -channels:], weight, None, stride, padding, convolution.dilation)


def _find_module(network: SegmentationModel, layer: str) -> Tap:
    name, _, call = layer.partition("@")
    modules: Mapping[str, torch.nn.Module] = dict(network.named_modules())
    if name not in modules or not name or (call and not call.isdecimal()):
        known = [*LAYERS, *DECODER_INPUTS, *modules]
        raise ArgumentError(
            f"layer {layer!r}: not in this network, expected one of {', '.join(LAYERS)} or the "
            f"name of a module, NAME@2 for its second call{near(name, known)}"
        )
    return Tap(layer, modules[name], call=int(call or 1))
