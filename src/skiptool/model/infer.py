"""Images on their way through a network: read ahead, cut into batches, segmented."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from skiptool.model.batches import as_input
from skiptool.model.hardware import autocast, exact_float32, instructions

if TYPE_CHECKING:
    from segmentation_models_pytorch.base import SegmentationModel

    from skiptool.names import Precision
    from skiptool.records import Image, UInt8

__all__ = [
    *("arithmetic", "forward_batches", "most_probable", "place", "predict_labels", "probabilities"),
    *("read_ahead", "side_by_side", "to_device"),
]

T = TypeVar("T")
R = TypeVar("R")

PIXELS, GPU_PIXELS = 2**17, 2**22
"""Pixels that run through a network at once: two images of 256 x 256, on a GPU sixteen of 512."""

LANES = 4
"""Most batches side by side: each holds its own maps in memory, and waits for Python's lock."""


def arithmetic(device: str, precision: Precision) -> dict[str, str | int]:
    """Say what the last digits of a network's results depend on beside its weights and images.

    Parameters
    ----------
    device, precision : str, Precision
        Both resolved.

    Returns
    -------
    dict
        ``device``, ``precision``, ``threads`` of torch, ``batch_pixels`` that run through a network
        at once, ``instructions`` (of the processor, or the name of the GPU), ``torch``.
    """
    return {
        **{"device": device, "precision": precision.value, "threads": torch.get_num_threads()},
        "batch_pixels": PIXELS if device == "cpu" else GPU_PIXELS,
        **{"instructions": instructions(device), "torch": torch.__version__},
    }


def place(network: SegmentationModel, device: str) -> SegmentationModel:
    """Put a network on its device to be evaluated: weights channels last, statistics frozen.

    Returns
    -------
    SegmentationModel
        The same network; a second call costs next to nothing.
    """
    network.eval()
    return network.to(device=device, memory_format=torch.channels_last)


def to_device(images: Image, device: str) -> torch.Tensor:
    """Carry (N, H, W, C) images to a device as the network's input (N, C, H, W)."""
    stored = torch.from_numpy(np.require(images, requirements=["C", "W"]))
    return as_input(stored.to(device))


def read_ahead(read: Callable[[T], R], parts: Iterable[T]) -> Iterator[R]:
    """Read one part in another thread while the one before it is worked on.

    Parameters
    ----------
    read : callable
        An exception of it is raised where its result would have come.
    parts : iterable
        What ``read`` takes, one after the other.

    Yields
    ------
    result
        Of each part, in their order; never are more than two held.

    Examples
    --------
    >>> list(read_ahead(abs, [-1, -2, -3]))
    [1, 2, 3]
    """
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(1) as beside:
        for part in parts:
            waiting.append(beside.submit(read, part))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def forward_batches(images: Image, device: str) -> Iterator[Image]:
    """Cut (N, H, W, C) images into the batches that run through a network at once.

    A GPU takes as many as its memory holds with ease. On a processor maps of many large images
    leave its caches, and each is memory that the system has to clear first: one image of 512 x 512
    at a time takes two thirds of the time of sixteen.

    Yields
    ------
    uint8 or float32, shape (n, H, W, C)
        Of equal n, the last may be smaller. n depends on H, W and the device alone.
    """
    _, height, width, _ = images.shape
    size = max(1, (PIXELS if device == "cpu" else GPU_PIXELS) // (height * width))
    for start in range(0, len(images), size):
        yield images[start : start + size]


def side_by_side(work: Callable[[T], R], batches: Sequence[T]) -> list[R]:
    """Call a function that runs torch for each batch, several at a time, torch's threads shared.

    A network has a hundred places where threads that split one batch wait for each other, and when
    any of them loses its core all do, for milliseconds. Batches need not wait for batches.

    Parameters
    ----------
    work : callable
        Is called in other threads where there are several batches; torch's modes (``no_grad``,
        autocast) are those of a thread, so it opens them itself.
    batches : sequence
        How many there are and torch's number of threads alone say how many threads each gets.

    Returns
    -------
    list
        The results in order.
    """
    threads = torch.get_num_threads()
    lanes = max(n for n in range(1, LANES + 1) if n <= len(batches) and threads % n == 0)
    if lanes == 1:
        return [work(batch) for batch in batches]

    def share() -> None:
        torch.get_num_threads()  # a thread takes over the common number when first asked ...
        torch.set_num_threads(threads // lanes)  # ... and is left alone from then on

    with ThreadPoolExecutor(lanes, initializer=share) as beside:
        try:
            return list(beside.map(work, batches))
        finally:
            torch.set_num_threads(threads)  # what threads to come take over


def most_probable(logits: torch.Tensor) -> torch.Tensor:
    """Return the most probable class of each pixel, the lower one where two are equal.

    Parameters
    ----------
    logits : float, shape (N, J, H, W)
        J of 1: the logit of the only foreground class, which is taken where it is above 0.

    Returns
    -------
    int64, shape (N, H, W)

    Examples
    --------
    >>> most_probable(torch.tensor([-1.0, 0.0, 0.5]).reshape(1, 1, 1, 3)).tolist()
    [[[0, 0, 1]]]
    """
    return (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Return the probability of each class, float32 (N, J, H, W); of a single logit, of two.

    Examples
    --------
    >>> probabilities(torch.zeros(1, 1, 1, 1)).flatten().tolist()
    [0.5, 0.5]
    """
    whole = logits.float()
    if logits.shape[1] == 1:
        return torch.cat([(-whole).sigmoid(), whole.sigmoid()], dim=1)
    return whole.softmax(dim=1)


def predict_labels(
    network: SegmentationModel, images: Image, device: str, precision: Precision
) -> UInt8:
    """Label each pixel with its most probable class.

    Parameters
    ----------
    network : SegmentationModel
        Is put on ``device`` and into evaluation mode.
    images : uint8 or float32, shape (N, H, W, C)
        One batch; H and W need not be multiples of 32.
    device : str
    precision : Precision
        Resolved by `skiptool.model.hardware.choose_precision`.

    Returns
    -------
    uint8, shape (N, H, W)
        Index of the class; the lower one where logits are equal.
    """
    place(network, device)
    exact = exact_float32(device)
    with torch.inference_mode(), exact, autocast(precision, device):
        labels = most_probable(network(to_device(images, device)))
    predicted: UInt8 = labels.to(torch.uint8).cpu().numpy()
    return predicted
