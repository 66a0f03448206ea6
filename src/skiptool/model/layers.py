"""Activations of named layers, average-pooled by forward hooks, section IV.B.

Layers are the twelve of `skiptool.names.LAYERS`, with ``dec{l}`` the output of
`skiptool.model.unet.decoder_stage`, or any module of the network by its own name. If a module runs
several times per forward pass (the ReLU of a residual block runs twice), its name means the first
call; ``name@2`` is the second.

The first convolution W of a decoder block reads upsampled features u from below, concatenated with
a skip connection s. It is linear: W [u, s] = W_u u + W_s s, and these two terms are the layers
``dec{l}.from_below`` and ``dec{l}.from_skip`` (`skiptool.names.DECODER_INPUTS`), before
normalisation. Distances do not show how much each contributes to the sum.

Pooling happens inside the hook: SMP's ReLUs work in place, so an output that a hook only references
is overwritten by the following modules.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import torch
from torch.nn.functional import adaptive_avg_pool2d, conv2d
from torch.utils.hooks import RemovableHandle

from skiptool.errors import ArgumentError, suggestion
from skiptool.model.device import autocast, exact_float32
from skiptool.model.inference import (
    forward_batches,
    map_concurrently,
    prepare_for_inference,
    to_device,
)
from skiptool.model.unet import decoder_stage, merge_convolution
from skiptool.names import DECODER_INPUTS, INPUT_LAYER, LAYERS, Precision
from skiptool.records import STRIDE

if TYPE_CHECKING:
    from segmentation_models_pytorch.base import SegmentationModel

    from skiptool.records import Float32, Image


@dataclass(frozen=True, slots=True)
class Tap:
    """Source of a layer's activations: a module, one of its calls, and a part of its output."""

    layer: str
    module: torch.nn.Module
    call: int = 1
    part: Callable[[torch.Tensor, Any], Any] | None = None
    """Function of the module's first input and its output; by default the output itself."""


def existing_layers(network: SegmentationModel) -> tuple[str, ...]:
    """List this network's layers in order: all but ``enc1`` if it has no channels (mit_b0)."""
    return tuple(layer for layer in LAYERS if not _is_empty(network, layer))


def decoder_inputs(network: SegmentationModel) -> tuple[str, ...]:
    """List the inputs of the decoder blocks, from below and by skip connections, in data flow.

    Empty for a LinkNet, which concatenates nothing.
    """
    layers = []
    for layer in DECODER_INPUTS:
        merge = merge_convolution(network, int(layer[3]))
        if merge is not None and (layer.endswith("below") or merge.skip_channels > 0):
            layers.append(layer)
    return tuple(layers)


def _is_empty(network: SegmentationModel, layer: str) -> bool:
    return layer in _STAGES and network.encoder.out_channels[_STAGES[layer]] == 0


_STAGES: Final = {layer: int(layer[3:]) for layer in LAYERS if layer.startswith("enc")}
"""Encoder stage of each layer."""


def find_tap(network: SegmentationModel, layer: str) -> Tap:
    """Find the source of a layer other than ``input``.

    Raises ArgumentError if it is unknown, or has no channels in this network.
    """
    if _is_empty(network, layer):
        existing = ", ".join(existing_layers(network))
        raise ArgumentError(
            f"layer {layer!r}: the encoder has no channels there; choose from {existing}"
        )
    if layer in _STAGES:
        stage = _STAGES[layer]
        return Tap(layer, network.encoder, part=lambda _, features: features[stage])
    if layer in DECODER_INPUTS:
        return _find_decoder_input(network, layer)
    if layer == "head":
        return Tap(layer, network.segmentation_head)
    if layer in LAYERS:
        return Tap(layer, decoder_stage(network, int(layer.removeprefix("dec"))))
    return _find_module(network, layer)


def _find_decoder_input(network: SegmentationModel, layer: str) -> Tap:
    level = int(layer[3])
    merge = merge_convolution(network, level)
    if merge is None:
        raise ArgumentError(
            f"layer {layer!r}: a LinkNet adds skip connections after its blocks, so no convolution "
            "merges them; choose a layer of another architecture"
        )
    from_skip = partial(_convolve_skip, merge.convolution, merge.skip_channels)
    if layer.endswith("skip"):
        if not merge.skip_channels:
            raise ArgumentError(
                f"layer {layer!r}: this network has no skip connection of level {level}; it has "
                f"{', '.join(decoder_inputs(network))}"
            )
        return Tap(layer, merge.convolution, part=lambda inputs, _: from_skip(inputs))
    if not merge.skip_channels:
        return Tap(layer, merge.convolution)
    return Tap(layer, merge.convolution, part=lambda inputs, output: output - from_skip(inputs))


def _convolve_skip(
    convolution: torch.nn.Conv2d, channels: int, inputs: torch.Tensor
) -> torch.Tensor:
    """Convolve only the last channels of the input, without the bias."""
    weight = convolution.weight[:, -channels:]
    stride, padding = convolution.stride, convolution.padding
    return conv2d(inputs[:, -channels:], weight, None, stride, padding, convolution.dilation)


def _find_module(network: SegmentationModel, layer: str) -> Tap:
    name, _, call = layer.partition("@")
    modules: Mapping[str, torch.nn.Module] = dict(network.named_modules())
    if name not in modules or not name or (call and not call.isdecimal()):
        names = [*LAYERS, *DECODER_INPUTS, *modules]
        raise ArgumentError(
            f"layer {layer!r}: not in this network, expected one of {', '.join(LAYERS)} or a "
            f"module name, NAME@2 for its second call{suggestion(name, names)}"
        )
    return Tap(layer, modules[name], call=int(call or 1))


def pooled_size(height: int, width: int) -> tuple[int, int]:
    """Return the size to which activations are pooled: 1/32 of the image, rounded up.

    Examples
    --------
    >>> pooled_size(512, 240)
    (16, 8)
    """
    return -(-height // STRIDE), -(-width // STRIDE)


class _Pass(threading.local):
    """State of the hooks during one forward pass; each thread has its own."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.pooled: dict[str, torch.Tensor] = {}
        self.grid = (1, 1)


class Taps:
    """Hooks on the layers of a network within the context; several threads may collect.

    Parameters
    ----------
    pooled_to : (rows, columns), optional
        Grid to which feature maps are pooled; default: 1/32 of the image. Domains of different
        image sizes get the same number of vectors per image if pooled to one grid.

    Examples
    --------
    >>> from skiptool.model.unet import build
    >>> from skiptool.records import Architecture
    >>> network = build(Architecture("resnet18", (), ("background", "cell"))).eval()
    >>> with Taps(network, ("enc1", "head")) as taps:
    ...     pooled = taps.collect(torch.zeros(1, 3, 64, 96))
    >>> {layer: tuple(vectors.shape) for layer, vectors in pooled.items()}
    {'enc1': (1, 64, 6), 'head': (1, 2, 6)}
    """

    def __init__(
        self,
        network: SegmentationModel,
        layers: Sequence[str],
        pooled_to: tuple[int, int] | None = None,
    ) -> None:
        self.network = network
        self.pooled_to = pooled_to
        self.layers = tuple(layers)
        self._taps = [find_tap(network, layer) for layer in self.layers if layer != INPUT_LAYER]
        self._handles: list[RemovableHandle] = []
        self._pass = _Pass()

    def __enter__(self) -> Self:
        for tap in self._taps:
            self._handles.append(tap.module.register_forward_hook(self._hook(tap)))
        return self

    def __exit__(self, *_: object) -> None:
        while self._handles:
            self._handles.pop().remove()

    def collect(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run the network on one batch, float32 (N, C, H, W), and return the pooled activations.

        Raises ArgumentError if a module's output is not (N, D, h, w), or it ran too few times.

        Returns
        -------
        dict of str to float32, shape (N, D, K)
            In the order of ``layers``; K vectors of the grid in row-major order, by default
            ceil(H/32) * ceil(W/32). If the grid divides a feature map this is plain average
            pooling, otherwise windows are as even as possible.
        """
        state = self._pass
        state.calls.clear()
        state.pooled.clear()
        state.grid = self.pooled_to or pooled_size(*images.shape[2:])
        if INPUT_LAYER in self.layers:
            state.pooled[INPUT_LAYER] = _pool(images, state.grid)
        self.network(images)
        for tap in self._taps:
            if tap.layer not in state.pooled:
                raise ArgumentError(
                    f"layer {tap.layer!r}: its module ran {state.calls[tap.layer]} times in a "
                    f"forward pass, expected at least {tap.call}; choose another"
                )
        return {layer: state.pooled[layer] for layer in self.layers}

    def _hook(self, tap: Tap) -> Callable[[torch.nn.Module, Any, Any], None]:
        def pool(_module: torch.nn.Module, inputs: Any, output: Any) -> None:  # noqa: ANN401
            state = self._pass
            state.calls[tap.layer] += 1
            if state.calls[tap.layer] == tap.call:
                activations = output if tap.part is None else tap.part(inputs[0], output)
                _check_shape(activations, tap.layer)
                state.pooled[tap.layer] = _pool(activations, state.grid)

        return pool


def _pool(activations: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    maps = activations.detach().float()
    count, depth, height, width = maps.shape
    channels_last = maps.permute(0, 2, 3, 1)
    if height > size[0] and height % size[0] == 0 and channels_last.is_contiguous():
        # Average whole rows of a window first: torch's own pooling is slow for few channels.
        lines = channels_last.view(count * size[0], -1, width * depth).mean(dim=1)
        maps = lines.view(count, size[0], width, depth).permute(0, 3, 1, 2)
    return adaptive_avg_pool2d(maps, size).flatten(2).contiguous()


def _check_shape(activations: object, layer: str) -> None:
    shape = tuple(activations.shape) if isinstance(activations, torch.Tensor) else None
    if shape is None or len(shape) != 4 or 0 in shape:
        kind = f"a {type(activations).__name__}" if shape is None else f"of shape {shape}"
        raise ArgumentError(
            f"layer {layer!r}: its output is {kind}, expected a tensor of shape (N, D, h, w); "
            "choose a convolutional module"
        )


def pooled_activations(
    network: SegmentationModel,
    images: Image,
    layers: Sequence[str],
    device: str,
    pooled_to: tuple[int, int] | None = None,
) -> dict[str, Float32]:
    """Compute pooled activations, in float32, of images (N, H, W, C), uint8 or float32.

    The network is put on ``device`` and into evaluation mode; ``pooled_to`` and the result are
    those of `Taps`, with NaN and infinity passed on. Equal images give equal bits: batches depend
    only on their number and size (`skiptool.model.inference.forward_batches`).
    """
    prepare_for_inference(network, device)
    batches = list(forward_batches(images, device))
    with Taps(network, layers, pooled_to) as taps:
        parts = map_concurrently(partial(_collect, taps, device), batches)
    return {
        layer: torch.cat([part[layer] for part in parts]).cpu().numpy() for layer in taps.layers
    }


def _collect(taps: Taps, device: str, images: Image) -> dict[str, torch.Tensor]:
    with torch.inference_mode(), exact_float32(device), autocast(Precision.FLOAT32, device):
        return taps.collect(to_device(images, device))
