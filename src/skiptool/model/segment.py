"""Several networks and ensembles of them on one batch, and the pixels they got right and wrong.

Images are carried to the device and scaled once for all networks. Counting happens there too: what
comes back is a table for each image, and the labels only where somebody wants them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from skiptool.errors import ArgumentError
from skiptool.model.faults import memory_told
from skiptool.model.hardware import autocast, exact_float32
from skiptool.model.infer import most_probable, probabilities, to_device
from skiptool.names import IGNORE

if TYPE_CHECKING:
    from segmentation_models_pytorch.base import SegmentationModel

    from skiptool.names import Precision
    from skiptool.records import Image, Int64, UInt8

__all__ = ["Segmented", "check_labels", "count_cells", "segment", "truth_cells"]


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
        In evaluation mode on the device (`skiptool.model.infer.place`).
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
        Resolved by `skiptool.model.hardware.choose_precision`.
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
