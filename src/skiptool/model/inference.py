"""Inference: batches, segmentation by networks and ensembles, pixel counts, skip substitution.

Images are transferred to the device and scaled once for all networks. Pixels are counted on the
device: the result is a table per image, and labels only on request.

Skip substitution: a decoder gets some of its feature maps from another image of the sample. Let
f_1 .. f_5 be the encoder's feature maps of a shifted image, g_1 .. g_5 those of the clean one, and
S a set of levels. The prediction is that of the decoder for h_l = g_l if l is in S, and h_l = f_l
otherwise; level 5 is the bottleneck. The encoder itself runs undisturbed: clean level 1 does not
make level 2 clean. The IoU that is regained shows causally through which connection the shift
reaches the decoder, whereas a distance between feature maps only shows that it could.

This is activation patching, known from language models (J. Vig et al., "Investigating Gender Bias
in Language Models Using Causal Mediation Analysis", NeurIPS 2020; K. Meng et al., "Locating and
Editing Factual Associations in GPT", NeurIPS 2022). Its limitation: the decoder gets a mixture that
no image produces, and may fail on the mixture itself; levels may also compensate for one another,
so their individual effects do not add up to their joint effect.
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

PIXELS = 2**17
"""Pixels per forward pass on a CPU: two images of 256 x 256."""

GPU_PIXELS = 2**22
"""Pixels per forward pass on a GPU: sixteen images of 512 x 512."""

MAX_LANES = 4
"""Maximum number of concurrent batches: each holds its own feature maps and waits for the GIL."""


def arithmetic_facts(device: str, precision: Precision) -> dict[str, str | int]:
    """Return all that the last digits of results depend on, except weights and images.

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

    Results come in order, exceptions of ``read`` in place of its result; at most two are held.

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
    many large images exceed the caches, and the system has to clear their memory first: images of
    512 x 512 one at a time take two thirds of the time of sixteen at once.
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
    lanes = max(n for n in range(1, MAX_LANES + 1) if n <= len(batches) and threads % n == 0)
    if lanes == 1:
        return [work(batch) for batch in batches]

    def set_share() -> None:
        torch.get_num_threads()  # a thread adopts the global number on the first query ...
        torch.set_num_threads(threads // lanes)  # ... and keeps its own from then on

    with ThreadPoolExecutor(lanes, initializer=set_share) as pool:
        try:
            return list(pool.map(work, batches))
        finally:
            torch.set_num_threads(threads)  # for threads created later


def most_probable(logits: torch.Tensor) -> torch.Tensor:
    """Return the most probable class of each pixel, int64 (N, H, W), the lower one in ties.

    Logits are (N, J, H, W); with J = 1, the foreground is chosen if its logit is above 0.

    Examples
    --------
    >>> most_probable(torch.tensor([-1.0, 0.0, 0.5]).reshape(1, 1, 1, 3)).tolist()
    [[[0, 0, 1]]]
    """
    return (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Return the probability of each class, float32 (N, J, H, W), with J = 2 for a single logit.

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
    with torch.inference_mode(), exact_float32(device), autocast(precision, device):
        labels = most_probable(network(to_device(images, device)))
    predicted: UInt8 = labels.to(torch.uint8).cpu().numpy()
    return predicted


@dataclass(frozen=True, slots=True)
class SegmentedBatch:
    """Predictions for a batch, first by networks, then by ensembles.

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
    keep_labels: bool = False,
) -> SegmentedBatch:
    """Segment one batch with several networks and with ensembles of them.

    Raises MemoryError if the device has not enough memory.

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
    """
    _, height, width, _ = images.shape
    purpose = (
        f"{len(networks)} networks and a batch of {len(images)} images of {height} x {width} px"
    )
    with explain_memory_errors(device, purpose), torch.inference_mode(), exact_float32(device):
        cells = truth_cells(truth, classes).to(device)
        inputs = to_device(images, device)
        labels = []
        sums: dict[int, torch.Tensor] = {}  # of probabilities: their argmax is that of the mean
        with autocast(precision, device):
            for number, network in enumerate(networks):
                logits = network(inputs)
                labels.append(most_probable(logits))
                for ensemble, members in enumerate(ensembles):
                    if number in members:
                        own = probabilities(logits)
                        sums[ensemble] = sums[ensemble].add_(own) if ensemble in sums else own
        labels += [sums[ensemble].argmax(dim=1) for ensemble in range(len(ensembles))]
        counts = torch.stack([count_cells(cells, predicted, classes) for predicted in labels])
        stored = torch.stack(labels).to(torch.uint8).cpu().numpy() if keep_labels else None
        return SegmentedBatch(counts.cpu().numpy(), stored)


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
    """Return, for each pixel, the first cell of its true class's row of counts, int64 (N, H, W).

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
    levels: Collection[int],
) -> torch.Tensor:
    """Decode feature maps of two images to logits (N, J, H, W).

    ``clean`` and ``shifted`` are the encoder's outputs for either image, (N, D_l, H/2^l, W/2^l) for
    levels 0, the image itself, to 5; ``levels``, 1 to 5, are taken from ``clean``.
    """
    mixed = [clean[k] if k in levels else shifted[k] for k in range(len(clean))]
    logits: torch.Tensor = network.segmentation_head(network.decoder(mixed))
    return logits


def count_substituted(
    network: SegmentationModel,
    substitutions: Sequence[Collection[int]],
    clean: Image,
    shifted: Sequence[Image],
    truth: UInt8,
    classes: int,
    device: str,
    precision: Precision,
) -> Int64:
    """Segment one batch under M shifts with K sets of clean feature maps.

    Raises MemoryError if the device has not enough memory.

    Parameters
    ----------
    network : SegmentationModel
        In evaluation mode on the device.
    substitutions : sequence of collection of int, length K
        Levels that come from the clean images.
    clean : uint8 or float32, shape (N, H, W, C)
    shifted : sequence of images, length M
        The same samples, shaped like ``clean``.
    truth : uint8, shape (N, H, W)
        Labels 0..J-1, or 255.

    Returns
    -------
    int64, shape (M, K, N, J, J)
        Pixels by [truth, predicted], without those labelled 255.
    """
    count, height, width, _ = clean.shape
    purpose = f"the feature maps of two times {count} images of {height} x {width} px"
    with explain_memory_errors(device, purpose), torch.inference_mode(), exact_float32(device):
        cells = truth_cells(truth, classes).to(device)
        counts = []
        with autocast(precision, device):
            clean_maps = network.encoder(to_device(clean, device))
            for images in shifted:
                shifted_maps = network.encoder(to_device(images, device))
                for levels in substitutions:
                    labels = most_probable(decode(network, clean_maps, shifted_maps, levels))
                    counts.append(count_cells(cells, labels, classes))
        shape = (len(shifted), len(substitutions), count, classes, classes)
        result: Int64 = torch.stack(counts).view(shape).cpu().numpy()
        return result
