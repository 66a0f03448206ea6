"""Activations of named layers, average-pooled on the way, section IV.B.

Where a layer comes out of a network is said in `skiptool.model.layers`. Pooling happens inside the
hook: SMP's ReLUs work in place, so an output that a hook only keeps a reference to is overwritten
by what comes after it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import torch
from torch.nn.functional import adaptive_avg_pool2d
from torch.utils.hooks import RemovableHandle

from skiptool.errors import ArgumentError
from skiptool.model.hardware import autocast, exact_float32
from skiptool.model.infer import forward_batches, place, side_by_side, to_device
from skiptool.model.layers import find_tap
from skiptool.names import INPUT, Precision
from skiptool.records import STRIDE

if TYPE_CHECKING:
    from segmentation_models_pytorch.base import SegmentationModel

    from skiptool.model.layers import Tap
    from skiptool.records import Float32, Image

__all__ = ["Taps", "grid", "tap"]


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
    (`skiptool.model.infer.forward_batches`).

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
