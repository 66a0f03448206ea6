"""The network as Lightning trains it: steps, optimiser, and pixel counts of a whole epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from lightning.pytorch import LightningModule

from skiptool.errors import ArgumentError
from skiptool.metrics import mean_iou
from skiptool.model.batches import as_input, augmented
from skiptool.model.ranks import mean_over_ranks, sum_over
from skiptool.model.seeds import Stream, torch_seed
from skiptool.names import IGNORE

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRScheduler
    from segmentation_models_pytorch.base import SegmentationModel

    from skiptool.model.batches import Batch
    from skiptool.model.loss import SegmentationLoss
    from skiptool.records import Training

    Tensors = tuple[torch.Tensor, torch.Tensor]

__all__ = ["Segmenter", "Tally"]


class Tally:
    """Loss and pixel counts added up over an epoch, on the device, so that no step waits."""

    def __init__(self, classes: int, device: torch.device) -> None:
        self.classes = classes
        self.counts = torch.zeros(classes**2, dtype=torch.int64, device=device)
        self.loss = torch.zeros((), dtype=torch.float64).to(device, _sum_type(device))
        self.images = 0

    def add(self, logits: torch.Tensor, masks: torch.Tensor, loss: torch.Tensor) -> None:
        """Count a batch: logits (N, J, H, W), masks (N, H, W), and its mean loss."""
        cells = self.classes**2
        pairs = masks.long() * self.classes + logits.detach().argmax(dim=1)
        pairs = torch.where(masks == IGNORE, cells, pairs)
        self.counts += torch.bincount(pairs.flatten(), minlength=cells + 1)[:cells]
        self.loss += loss.detach() * len(masks)
        self.images += len(masks)

    @property
    def absent(self) -> list[int]:
        """Foreground classes of which no pixel was true."""
        true = self.counts.view(self.classes, self.classes).sum(dim=1)
        return [label for label in range(1, self.classes) if not true[label]]

    def result(self) -> tuple[float, float]:
        """Mean loss of an image, and mIoU over the foreground classes of all pixels.

        Both are of the images of all processes; to be asked for once.
        """
        images = sum_over(torch.tensor(self.images, device=self.counts.device))
        counts = sum_over(self.counts).view(self.classes, self.classes).cpu().numpy()
        return sum_over(self.loss).item() / max(images.item(), 1), float(mean_iou(counts))


def _sum_type(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64  # Metal has no float64


class Segmenter(LightningModule):
    """Section IV.C: Adam, step decay, input x / 255; the loss is handed in.

    Parameters
    ----------
    network : SegmentationModel
    loss : SegmentationLoss
    protocol : Training
    classes : int
    """

    def __init__(
        self, network: SegmentationModel, loss: SegmentationLoss, protocol: Training, classes: int
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.protocol = protocol
        self.classes = classes
        self.trained = Tally(classes, torch.device("cpu"))
        self.validated = Tally(classes, torch.device("cpu"))
        self._changes: tuple[torch.Tensor, ...] = ()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return Adam with a decay of the learning rate every ``lr_step`` epochs."""
        protocol = self.protocol
        optimizer = torch.optim.Adam(self.network.parameters(), lr=protocol.lr)
        decay = torch.optim.lr_scheduler.StepLR(optimizer, protocol.lr_step, protocol.lr_gamma)
        return [optimizer], [decay]

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Tensors:
        """Raise here, in the main process, what a worker could not read."""
        if isinstance(batch, Exception):
            raise batch
        masks = batch[1]
        unknown = masks[(masks >= self.classes) & (masks != IGNORE)]
        if unknown.numel():
            raise ArgumentError(
                f"masks hold label {int(unknown[0])}, expected 0 to {self.classes - 1} or {IGNORE} "
                "(ignored); correct the masks or the list of classes"
            )
        self._changes = batch[2:]  # they stay where they can be read without waiting
        return batch[0], masks

    def on_after_batch_transfer(self, batch: Tensors, dataloader_idx: int) -> Tensors:
        """Make the network's input of the stored images, on the device; augment what is not yet."""
        images, masks = augmented(*batch, *self._changes) if self._changes else batch
        return as_input(images), masks

    def on_train_epoch_start(self) -> None:
        """Seed dropout by epoch, so that a resumed training goes on as it would have."""
        others = (self.global_rank,) if self.global_rank else ()
        numbers = (self.protocol.random_seed, self.current_epoch, *others)
        torch.manual_seed(torch_seed(Stream.TRAINING, *numbers))
        self.trained = Tally(self.classes, self.device)

    def on_validation_epoch_start(self) -> None:
        """Start counting anew; what batch norm saw in the processes becomes one."""
        for buffer in self.network.buffers():
            if buffer.is_floating_point():
                mean_over_ranks(buffer)
        self.validated = Tally(self.classes, self.device)

    def training_step(self, batch: Tensors, batch_idx: int) -> torch.Tensor:
        """Return the loss of one batch."""
        return self._step(batch, self.trained)

    def validation_step(self, batch: Tensors, batch_idx: int) -> None:
        """Count one batch."""
        self._step(batch, self.validated)

    def _step(self, batch: Tensors, tally: Tally) -> torch.Tensor:
        images, masks = batch
        logits = self.network(images)
        loss: torch.Tensor = self.loss(logits, masks)
        tally.add(logits, masks, loss)
        return loss
