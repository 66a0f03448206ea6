"""Inference: batches, segmentation by networks and ensembles, pixel counts, skip substitution.

Images are transferred to the device and scaled once for all networks. Counting happens there too:
the result is a table per image, and labels only on request.

Skip substitution: a decoder gets some of its feature maps from another image of the sample. Let
f_1 .. f_5 be the encoder's feature maps of a shifted image, g_1 .. g_5 those of the clean one, and
S a set of levels. The prediction is that of the decoder for h_l = g_l if l is in S, and h_l = f_l
otherwise; level 5 is the bottleneck. The encoder itself runs undisturbed: clean level 1 does not
make level 2 clean. The IoU that is regained shows causally through which connection the shift
reaches the decoder, whereas a distance between feature maps only shows that it could.

This is activation patching, known from language models (J. Vig et al., "Investigating Gender Bias
in Language Models Using Causal Mediation Analysis", NeurIPS 2020; K. Meng et al., "Locating and
Editing Factual Associations in GPT", NeurIPS 2022). Its limitation: the decoder gets a mixture that
no image produces, and may fail on the mixture itself; parts may also compensate for one another, so
their individual effects do not add up to their joint effect.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from skiptool.errors import ArgumentError
from skiptool.model.batches import to_network_input
from skiptool.model.device import autocast, exact_float32, explain_memory_errors, instruction_set
from skiptool.names import IGNORE_LABEL

if TYPE_CHECKING:
    from segmentation_models_pytorch.base import SegmentationModel

    from skiptool.names import Precision
    from skiptool.records import Image, Int64, UInt8

T = TypeVar("T")
R = TypeVar("R")

PIXELS, GPU_PIXELS = 2**17, 2**22
"""Pixels per forward pass: two images of 256 x 256, on a GPU sixteen of 512."""

LANES = 4
"""Maximum number of concurrent batches: each holds its own feature maps and waits for the GIL."""


def arithmetic_facts(device: str, precision: Precision) -> dict[str, str | int]:
    """Return what the last digits of results depend on, besides weights and images.

    ``device`` and ``precision`` are resolved; ``batch_pixels`` is the size of a forward pass.
    """
    return {
        "device": device,
        "precision": precision.value,
        "threads": torch.get_num_threads(),
        "batch_pixels": PIXELS if device == "cpu" else GPU_PIXELS,
        "instructions": instruction_set(device),
        "torch": torch.__version__,
    }


def prepare_for_inference(network: SegmentationModel, device: str) -> SegmentationModel:
    """Put a network on its device in evaluation mode, weights channels last, and return it."""
    network.eval()
    return network.to(device=device, memory_format=torch.channels_last)


def to_device(images: Image, device: str) -> torch.Tensor:
    """Transfer images (N, H, W, C) to a device as network input (N, C, H, W)."""
    stored = torch.from_numpy(np.require(images, requirements=["C", "W"]))
    return to_network_input(stored.to(device))


def read_ahead(read: Callable[[T], R], parts: Iterable[T]) -> Iterator[R]:
    """Read the next part in another thread while the current one is processed.

    Results come in order, exceptions of ``read`` in place of their result; at most two are held.

    Examples
    --------
    >>> list(read_ahead(abs, [-1, -2, -3]))
    [1, 2, 3]
    """
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(1) as pool:
        for part in parts:
            waiting.append(pool.submit(read, part))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def forward_batches(images: Image, device: str) -> Iterator[Image]:
    """Split images (N, H, W, C) into batches (n, H, W, C) for a forward pass.

    n depends only on H, W and the device; the last batch may be smaller. On a CPU, feature maps of
    many large images exceed its caches, and the system has to clear their memory first: one image
    of 512 x 512 at a time takes two thirds of the time of sixteen.
    """
    _, height, width, _ = images.shape
    size = max(1, (PIXELS if device == "cpu" else GPU_PIXELS) // (height * width))
    for start in range(0, len(images), size):
        yield images[start : start + size]


def map_concurrently(work: Callable[[T], R], batches: Sequence[T]) -> list[R]:
    """Run torch on several batches concurrently, dividing its threads; results come in order.

    Threads that split one batch wait for each other at a hundred points of a network, and if one
    loses its core, all wait for milliseconds. Batches do not wait for each other. The threads per
    batch depend only on the number of batches and torch's number of threads.

    ``work`` is called in other threads if there are several batches; torch's modes (``no_grad``,
    autocast) are per thread, so it must enter them itself.
    """
    threads = torch.get_num_threads()
    lanes = max(n for n in range(1, LANES + 1) if n <= len(batches) and threads % n == 0)
    if lanes == 1:
        return [work(batch) for batch in batches]

    def share() -> None:
        torch.get_num_threads()  # a thread adopts the global number on the first query ...
        torch.set_num_threads(threads // lanes)  # ... and keeps its own from then on

    with ThreadPoolExecutor(lanes, initializer=share) as pool:
        try:
            return list(pool.map(work, batches))
        finally:
            torch.set_num_threads(threads)  # for threads created later


def most_probable(logits: torch.Tensor) -> torch.Tensor:
    """Return the most probable class of each pixel, int64 (N, H, W), the lower one in ties.

    Logits are (N, J, H, W); with J = 1, the single foreground class is chosen if its logit is
    above 0.

    Examples
    --------
    >>> most_probable(torch.tensor([-1.0, 0.0, 0.5]).reshape(1, 1, 1, 3)).tolist()
    [[[0, 0, 1]]]
    """
    return (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Return the probability of each class, float32 (N, J, H, W); for a single logit, of two.

    Examples
    --------
    >>> probabilities(torch.zeros(1, 1, 1, 1)).flatten().tolist()
    [0.5, 0.5]
    """
    logits = logits.float()
    if logits.shape[1] == 1:
        return torch.cat([(-logits).sigmoid(), logits.sigmoid()], dim=1)
    return logits.softmax(dim=1)


def predict_labels(
    network: SegmentationModel, images: Image, device: str, precision: Precision
) -> UInt8:
    """Label each pixel with its most probable class, uint8 (N, H, W), the lower one in ties.

    ``images`` (N, H, W, C), uint8 or float32, are one batch. The network is put on ``device`` and
    into evaluation mode; ``precision`` is resolved.
    """
    prepare_for_inference(network, device)
    exact = exact_float32(device)
    with torch.inference_mode(), exact, autocast(precision, device):
        labels = most_probable(network(to_device(images, device)))
    predicted: UInt8 = labels.to(torch.uint8).cpu().numpy()
    return predicted


@dataclass(frozen=True, slots=True)
class SegmentedBatch:
    """Predictions for a batch by networks, then by ensembles.

    Attributes
    ----------
    counts : int64, shape (P, N, J, J)
        Pixels by [truth, predicted] for P predictions and N images, without pixels labelled 255.
    labels : uint8, shape (P, N, H, W), or None
        Most probable class of every pixel, on request.
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
) -> SegmentedBatch:
    """Segment one batch with several networks and with ensembles of them.

    Parameters
    ----------
    networks : sequence of SegmentationModel
        In evaluation mode on the device (`prepare_for_inference`).
    ensembles : sequence of sequences of int
        Indices of the networks whose class probabilities (softmax in float32) are averaged.
    images : uint8 or float32, shape (N, H, W, C)
    truth : uint8, shape (N, H, W)
        Labels 0..J-1, or 255 (see `check_labels`).
    classes : int
        Number J of classes.
    precision : Precision
        Resolved.
    keep : bool
        Return the labels as well.

    Raises
    ------
    MemoryError
        If the device has not enough memory.
    """
    _, height, width, _ = images.shape
    doing = f"{len(networks)} networks and a batch of {len(images)} images of {height} x {width} px"
    with explain_memory_errors(device, doing), torch.inference_mode(), exact_float32(device):
        cells = truth_cells(truth, classes).to(device)
        inputs = to_device(images, device)
        labels = []
        sums: list[torch.Tensor | None] = [None] * len(ensembles)  # their argmax is the mean's
        with autocast(precision, device):
            for number, network in enumerate(networks):
                logits = network(inputs)
                labels.append(most_probable(logits))
                for k in (k for k, members in enumerate(ensembles) if number in members):
                    own, before = probabilities(logits), sums[k]
                    sums[k] = own if before is None else before.add_(own)
        labels += [total.argmax(dim=1) for total in sums if total is not None]
        counts = torch.stack([count_cells(cells, predicted, classes) for predicted in labels])
        kept = torch.stack(labels).to(torch.uint8).cpu().numpy() if keep else None
        return SegmentedBatch(counts.cpu().numpy(), kept)


def check_labels(truth: UInt8, classes: int, where: str) -> None:
    """Raise ArgumentError for masks with a label that is neither below ``classes`` nor 255."""
    unknown = np.flatnonzero(
        np.bincount(truth.ravel(), minlength=IGNORE_LABEL + 1)[classes:IGNORE_LABEL]
    )
    if unknown.size:
        raise ArgumentError(
            f"{where}: masks contain label {', '.join(map(str, unknown + classes))}, expected 0 to "
            f"{classes - 1} or {IGNORE_LABEL} (ignored); correct the masks or the list of classes"
        )


def truth_cells(truth: UInt8, classes: int) -> torch.Tensor:
    """Return the first cell of the table row of each pixel, int64 (N, H, W).

    Each image has J + 1 rows of J cells, the last row for ignored pixels.
    """
    rows = np.minimum(truth, classes).astype(np.int64)
    rows += np.arange(len(truth)).reshape(-1, 1, 1) * (classes + 1)
    return torch.from_numpy(rows).mul_(classes)


def count_cells(cells: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Count pixels by [truth, predicted] for each image of a batch, int64 (N, J, J).

    ``cells`` come from `truth_cells`; predicted ``labels`` are int64 (N, H, W).
    """
    rows = classes + 1
    counts = torch.bincount((cells + labels).flatten(), minlength=len(cells) * rows * classes)
    return counts.view(len(cells), rows, classes)[:, :classes]


def decode(
    network: SegmentationModel,
    clean: Sequence[torch.Tensor],
    shifted: Sequence[torch.Tensor],
    parts: Collection[int],
) -> torch.Tensor:
    """Decode feature maps of two images to logits (N, J, H, W).

    ``clean`` and ``shifted`` are the encoder's outputs for either image, (N, D_l, H/2^l, W/2^l) for
    levels 0, the image itself, to 5; ``parts`` are the levels, 1 to 5, taken from ``clean``.
    """
    mixed = [
        pair[0] if level in parts else pair[1]
        for level, pair in enumerate(zip(clean, shifted, strict=True))
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
    """Segment one batch under M shifts with K sets of clean parts.

    Parameters
    ----------
    network : SegmentationModel
        In evaluation mode on the device.
    sets : sequence of collection of int, length K
        Levels that come from the clean images.
    clean : uint8 or float32, shape (N, H, W, C)
    shifted : sequence of images, length M
        The same samples, shaped as ``clean``.
    truth : uint8, shape (N, H, W)
        Labels 0..J-1, or 255.

    Returns
    -------
    int64, shape (M, K, N, J, J)
        Pixels by [truth, predicted], without those labelled 255.

    Raises
    ------
    MemoryError
        If the device has not enough memory.
    """
    count, height, width, _ = clean.shape
    doing = f"the feature maps of two times {count} images of {height} x {width} px"
    with explain_memory_errors(device, doing), torch.inference_mode(), exact_float32(device):
        cells = truth_cells(truth, classes).to(device)
        counts = []
        with autocast(precision, device):
            own = network.encoder(to_device(clean, device))
            for images in shifted:
                other = network.encoder(to_device(images, device))
                for parts in sets:
                    labels = most_probable(decode(network, own, other, parts))
                    counts.append(count_cells(cells, labels, classes))
        shape = (len(shifted), len(sets), count, classes, classes)
        result: Int64 = torch.stack(counts).view(shape).cpu().numpy()
        return result
