"""Where the layers of a network come out: which module, call and part of its output.

Layers are the twelve of `skiptool.names.LAYERS`, of which ``dec{l}`` is what
`skiptool.model.unet.decoder_stage` says, or any module of the network by its own name. One that
runs several times a forward pass (the ReLU of a residual block runs twice) means its first call;
``name@2`` is the second.

The first convolution W of a decoder block reads upsampled features u from below and, behind them, a
skip connection s. It is linear: W [u, s] = W_u u + W_s s, and these two are the layers
``dec{l}.from_below`` and ``dec{l}.from_skip`` (`skiptool.names.DECODER_INPUTS`), before the
normalisation. Distances do not tell how much each of the two weighs in their sum.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import torch
from torch.nn.functional import adaptive_avg_pool2d, conv2d
from torch.utils.hooks import RemovableHandle

from skiptool.errors import ArgumentError, near
from skiptool.model.device import autocast, exact_float32
from skiptool.model.inference import (
    forward_batches,
    place,
    side_by_side,
    to_device,
)
from skiptool.model.unet import decoder_stage, junction
from skiptool.names import DECODER_INPUTS, INPUT, LAYERS, Precision
from skiptool.records import STRIDE

if TYPE_CHECKING:
    from segmentation_models_pytorch.base import SegmentationModel

    from skiptool.records import Float32, Image

__all__ = ["Tap", "Taps", "decoder_inputs", "existing_layers", "find_tap", "grid", "tap"]


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


# -------------------------------------------------------------------------------------------------
# Activations of named layers, average-pooled on the way, section IV.B.
#
# Where a layer comes out of a network is said in `skiptool.model.layers`. Pooling happens inside
# the
# hook: SMP's ReLUs work in place, so an output that a hook only keeps a reference to is overwritten
# by what comes after it.


def grid(height: int, width: int) -> tuple[int, int]:
    """Return the size activations are pooled to: 1/32 of the image, rounded up.

    Examples
    --------
    >>> grid(512, 240)
    (16, 8)
    """
    return -(-height // STRIDE), -(-width // STRIDE)


class _Pass(threading.local):
    """What hooks find in one forward pass; each thread has its own."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.pooled: dict[str, torch.Tensor] = {}
        self.grid = (1, 1)


class Taps:
    """Hooks on the layers of a network while the context is open; several threads may collect.

    Parameters
    ----------
    network : SegmentationModel
    layers : sequence of str
    pooled_to : (rows, columns), optional
        Grid that feature maps are pooled to, whatever the size of the images; by default 1/32 of
        the image. Domains of several sizes pooled to one grid have equally many vectors an image.

    Raises
    ------
    ArgumentError
        If a layer is unknown, or has no channels in this network.

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
        self._taps = [find_tap(network, layer) for layer in self.layers if layer != INPUT]
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
        """Run the network on one batch and return what the hooks pooled.

        Parameters
        ----------
        images : float32, shape (N, C, H, W)

        Returns
        -------
        dict of str to float32, shape (N, D, K)
            In the order of ``layers``; K vectors of the grid, row by row, by default
            ceil(H/32) * ceil(W/32). Where the grid divides a feature map this is plain average
            pooling; elsewhere windows are as even as can be.

        Raises
        ------
        ArgumentError
            If a module's output is no (N, D, h, w) tensor, or it ran less often than asked.
        """
        found = self._pass
        found.calls.clear()
        found.grid = self.pooled_to or grid(*images.shape[2:])
        found.pooled = {INPUT: _pool(images, found.grid)} if INPUT in self.layers else {}
        self.network(images)
        for tap in self._taps:
            if tap.layer not in found.pooled:
                raise ArgumentError(
                    f"layer {tap.layer!r}: its module ran {found.calls[tap.layer]} times in a "
                    f"forward pass, expected at least {tap.call}; ask for another"
                )
        return {layer: found.pooled[layer] for layer in self.layers}

    def _hook(self, tap: Tap) -> Callable[[torch.nn.Module, Any, Any], None]:
        def pool(_module: torch.nn.Module, inputs: Any, output: Any) -> None:  # noqa: ANN401
            found = self._pass
            found.calls[tap.layer] += 1
            if found.calls[tap.layer] == tap.call:
                activations = output if tap.part is None else tap.part(inputs[0], output)
                _check(activations, tap.layer)
                found.pooled[tap.layer] = _pool(activations, found.grid)

        return pool


def _pool(activations: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    maps = activations.detach().float()
    count, depth, height, width = maps.shape
    stored = maps.permute(0, 2, 3, 1)
    if height > grid[0] and height % grid[0] == 0 and stored.is_contiguous():
        # Lines of a window first, whole: torch's own pooling is slow where channels are few.
        lines = stored.view(count * grid[0], -1, width * depth).mean(dim=1)
        maps = lines.view(count, grid[0], width, depth).permute(0, 3, 1, 2)
    return adaptive_avg_pool2d(maps, grid).flatten(2).contiguous()


def _check(activations: object, layer: str) -> None:
    shape = tuple(activations.shape) if isinstance(activations, torch.Tensor) else None
    if shape is None or len(shape) != 4 or 0 in shape:
        found = f"a {type(activations).__name__}" if shape is None else f"of shape {shape}"
        raise ArgumentError(
            f"layer {layer!r}: its output is {found}, expected a tensor of shape (N, D, h, w); "
            "ask for a convolutional module"
        )


def tap(
    network: SegmentationModel,
    images: Image,
    layers: Sequence[str],
    device: str,
    pooled_to: tuple[int, int] | None = None,
) -> dict[str, Float32]:
    """Compute the pooled activations of images, in float32 throughout.

    The same images give the same bits: batches depend on their number and size alone
    (`skiptool.model.inference.forward_batches`).

    Parameters
    ----------
    network : SegmentationModel
        Is put on ``device`` and into evaluation mode.
    images : uint8 or float32, shape (N, H, W, C)
    layers : sequence of str
    device : str
    pooled_to : (rows, columns), optional
        As for `Taps`.

    Returns
    -------
    dict of str to float32, shape (N, D, K)
        As `Taps.collect` returns them; NaN and infinity are passed on.

    Raises
    ------
    ArgumentError
        As `Taps` and `Taps.collect`.
    """
    place(network, device)
    batches = list(forward_batches(images, device))
    with Taps(network, layers, pooled_to) as taps:
        parts = side_by_side(partial(_collect, taps, device), batches)
    joined = {layer: torch.cat([part[layer] for part in parts]) for layer in taps.layers}
    return {layer: vectors.cpu().numpy() for layer, vectors in joined.items()}


def _collect(taps: Taps, device: str, images: Image) -> dict[str, torch.Tensor]:
    with torch.inference_mode(), exact_float32(device), autocast(Precision.FLOAT32, device):
        return taps.collect(to_device(images, device))
