"""Images on their way through a network: read ahead, cut into batches, segmented."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from skiptool.errors import ArgumentError
from skiptool.model.batches import as_input
from skiptool.model.device import autocast, exact_float32, instructions, memory_told
from skiptool.names import IGNORE

if TYPE_CHECKING:
    from segmentation_models_pytorch.base import SegmentationModel

    from skiptool.names import Precision
    from skiptool.records import Image, Int64, UInt8

__all__ = [
    "Segmented",
    "arithmetic",
    "check_labels",
    "count_cells",
    "count_substituted",
    "decode",
    "forward_batches",
    "most_probable",
    "place",
    "predict_labels",
    "probabilities",
    "read_ahead",
    "segment",
    "side_by_side",
    "to_device",
    "truth_cells",
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
        Resolved by `skiptool.model.device.choose_precision`.

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


# -------------------------------------------------------------------------------------------------
# Several networks and ensembles of them on one batch, and the pixels they got right and wrong.
#
# Images are carried to the device and scaled once for all networks. Counting happens there too:
# what
# comes back is a table for each image, and the labels only where somebody wants them.


@dataclass(frozen=True, slots=True)
class Segmented:
    """What networks, and ensembles after them, made of a batch.

    Attributes
    ----------
    counts : int64, shape (P, N, J, J)
        Pixels by [truth, predicted] of each of P predictions and N images; pixels labelled 255 in
        the truth are in none.
    labels : uint8, shape (P, N, H, W), or None
        Most probable class of every pixel, where asked for.
    """

    counts: Int64
    labels: UInt8 | None


def segment(
    networks: Sequence[SegmentationModel],
    ensembles: Sequence[Sequence[int]],
    images: Image,
    truth: UInt8,
    classes: int,
    device: str,
    precision: Precision,
    *,
    keep: bool = False,
) -> Segmented:
    """Segment one batch with several networks and with the mean of some of them.

    Parameters
    ----------
    networks : sequence of SegmentationModel
        In evaluation mode on the device (`skiptool.model.inference.place`).
    ensembles : sequence of sequences of int
        Numbers of the networks whose class probabilities (softmax in float32) are averaged.
    images : uint8 or float32, shape (N, H, W, C)
        H and W need not be multiples of 32.
    truth : uint8, shape (N, H, W)
        Labels 0..J-1, or 255 (see `check_labels`).
    classes : int
        Number J of classes.
    device : str
    precision : Precision
        Resolved by `skiptool.model.device.choose_precision`.
    keep : bool
        Return the labels as well.

    Returns
    -------
    Segmented
        P predictions: those of the networks, then those of the ensembles. Where classes are
        equally probable the lower label is taken.

    Raises
    ------
    MemoryError
        If the device has not enough memory.
    """
    _, height, width, _ = images.shape
    doing = f"{len(networks)} networks and a batch of {len(images)} images of {height} x {width} px"
    with memory_told(device, doing), torch.inference_mode(), exact_float32(device):
        cells = truth_cells(truth, classes).to(device)
        inputs = to_device(images, device)
        labels = []
        shares: list[torch.Tensor | None] = [None] * len(ensembles)
        with autocast(precision, device):
            for number, network in enumerate(networks):
                logits = network(inputs)
                labels.append(most_probable(logits))
                for place in (k for k, members in enumerate(ensembles) if number in members):
                    share = probabilities(logits)
                    before = shares[place]
                    # a sum: its largest class is that of the mean
                    shares[place] = share if before is None else before.add_(share)
        labels += [share.argmax(dim=1) for share in shares if share is not None]
        counts = torch.stack([count_cells(cells, each, classes) for each in labels])
        kept = torch.stack(labels).to(torch.uint8).cpu().numpy() if keep else None
        return Segmented(counts.cpu().numpy(), kept)


def check_labels(truth: UInt8, classes: int, where: str) -> None:
    """Refuse masks with a label that is no class.

    Raises
    ------
    ArgumentError
        If a label is neither below ``classes`` nor 255.
    """
    unknown = np.flatnonzero(np.bincount(truth.ravel(), minlength=IGNORE + 1)[classes:IGNORE])
    if unknown.size:
        raise ArgumentError(
            f"{where}: masks hold label {', '.join(map(str, unknown + classes))}, expected 0 to "
            f"{classes - 1} or {IGNORE} (ignored); correct the masks or the list of classes"
        )


def truth_cells(truth: UInt8, classes: int) -> torch.Tensor:
    """Return the first cell of the row of each pixel in a batch's tables.

    int64 (N, H, W); each image has J + 1 rows of J cells, the last for pixels that are ignored.
    """
    rows = np.minimum(truth, classes).astype(np.int64)
    rows += np.arange(len(truth)).reshape(-1, 1, 1) * (classes + 1)
    return torch.from_numpy(rows).mul_(classes)


def count_cells(cells: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Count pixels by [truth, predicted] for each image of a batch, those labelled 255 left out.

    Parameters
    ----------
    cells : int64, shape (N, H, W)
        What `truth_cells` made of the truth.
    labels : int64, shape (N, H, W)
    classes : int

    Returns
    -------
    int64, shape (N, J, J)
    """
    rows = classes + 1
    counts = torch.bincount((cells + labels).flatten(), minlength=len(cells) * rows * classes)
    return counts.view(len(cells), rows, classes)[:, :classes]


# -------------------------------------------------------------------------------------------------
# Skip substitution: a decoder gets some of its feature maps from another image of the sample.
#
# Let f_1 .. f_5 be the encoder's feature maps of a shifted image, g_1 .. g_5 those of the clean
# one,
# and S a set of levels. The prediction is that of the decoder for h_l = g_l where l is in S and
# h_l = f_l elsewhere; level 5 is the bottleneck. The encoder itself runs undisturbed: clean level 1
# does not make level 2 clean. What IoU is regained tells causally through which connection the
# shift
# reaches the decoder, where a distance between feature maps only tells that it could.
#
# This is activation patching, known from language models (J. Vig et al., "Investigating Gender Bias
# in Language Models Using Causal Mediation Analysis", NeurIPS 2020; K. Meng et al., "Locating and
# Editing Factual Associations in GPT", NeurIPS 2022). Its limit: the decoder gets a mixture that no
# image gives, and may fail on the mixture itself; parts may also make up for one another, so what
# they bring alone does not add up to what they bring together.


def decode(
    network: SegmentationModel,
    clean: Sequence[torch.Tensor],
    shifted: Sequence[torch.Tensor],
    parts: Collection[int],
) -> torch.Tensor:
    """Decode feature maps of two images.

    Parameters
    ----------
    network : SegmentationModel
    clean, shifted : sequence of Tensor, length 6
        What the encoder made of either image: level 0 is the image itself, (N, D_l, H/2^l, W/2^l).
    parts : collection of int
        Levels, 1 to 5, that are taken from ``clean``.

    Returns
    -------
    Tensor, shape (N, J, H, W)
        Logits.
    """
    mixed = [
        own if level in parts else other
        for level, (own, other) in enumerate(zip(clean, shifted, strict=True))
    ]
    logits: torch.Tensor = network.segmentation_head(network.decoder(mixed))
    return logits


def count_substituted(
    network: SegmentationModel,
    sets: Sequence[Collection[int]],
    clean: Image,
    shifted: Sequence[Image],
    truth: UInt8,
    classes: int,
    device: str,
    precision: Precision,
) -> Int64:
    """Segment one batch under several shifts with several sets of clean parts.

    Parameters
    ----------
    network : SegmentationModel
        In evaluation mode on the device.
    sets : sequence of collection of int, length K
        Levels that come from the clean images.
    clean : uint8 or float32, shape (N, H, W, C)
    shifted : sequence of images, length M
        The same samples, as ``clean``.
    truth : uint8, shape (N, H, W)
        Labels 0..J-1, or 255.
    classes : int
        Number J of classes.
    device, precision : str, Precision

    Returns
    -------
    int64, shape (M, K, N, J, J)
        Pixels by [truth, predicted]; those labelled 255 are in none.

    Raises
    ------
    MemoryError
        If the device has not enough memory.
    """
    count, height, width, _ = clean.shape
    doing = f"the feature maps of two times {count} images of {height} x {width} px"
    with memory_told(device, doing), torch.inference_mode(), exact_float32(device):
        cells = truth_cells(truth, classes).to(device)
        found = []
        with autocast(precision, device):
            own = network.encoder(to_device(clean, device))
            for images in shifted:
                other = network.encoder(to_device(images, device))
                for parts in sets:
                    labels = most_probable(decode(network, own, other, parts))
                    found.append(count_cells(cells, labels, classes))
        shape = (len(shifted), len(sets), count, classes, classes)
        result: Int64 = torch.stack(found).view(shape).cpu().numpy()
        return result
