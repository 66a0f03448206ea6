"""What is kept of a training: its history, the best weights, a checkpoint to go on from."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from lightning.pytorch import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from skiptool.errors import DivergedError
from skiptool.model.unet import state
from skiptool.records import SILENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lightning.pytorch import LightningModule, Trainer

    from skiptool.model.segmenter import Segmenter, Tally
    from skiptool.records import AnyArray, Task

__all__ = ["Epoch", "Watch"]


@dataclass(frozen=True, slots=True)
class Epoch:
    """One row of the history table.

    Attributes
    ----------
    epoch : int
        From 0.
    split : str
        ``train`` (augmented images, weights still moving) or ``validation``.
    loss : float
        Mean over images.
    miou : float
        Mean IoU of the foreground classes from counts over the whole split; NaN where training
        images show none.
    lr : float
        Learning rate of the epoch.
    seconds : float
    """

    epoch: int
    split: Literal["train", "validation"]
    loss: float
    miou: float
    lr: float
    seconds: float


class Watch(Callback):
    """Keep the history, the best weights and ``last.ckpt``, and move the progress display.

    Best is the highest validation mIoU; of equal ones the earliest.

    Parameters
    ----------
    task : Task
    steps : sequence of int
        Batches of each epoch to be trained, training and validation.
    checkpoint : Path
        Lightning checkpoint of the last epoch, replaced whole; it holds the best weights and the
        history too.
    patience : int, optional
        Epochs without a better one after which the training ends.
    classes : sequence of str
        Names, so that those which no mask holds can be told.
    warn : callable
        Takes one line about that, after the first epoch.
    """

    def __init__(
        self,
        task: Task,
        steps: Sequence[int],
        checkpoint: Path,
        patience: int | None = None,
        classes: Sequence[str] = (),
        warn: Callable[[str], None] = SILENT.warn,
    ) -> None:
        self.task = task
        self.epochs = len(steps)
        self.steps = steps
        self.checkpoint = checkpoint
        self.patience = patience
        self.classes = classes
        self.warn = warn
        self.history: list[Epoch] = []
        self.best: dict[str, AnyArray] = {}
        self.best_epoch = -1
        self.best_miou = -math.inf
        self.interrupted = False
        self._note = ""
        self._lr = math.nan
        self._began = self._trained = time.perf_counter()

    @property
    def epochs_done(self) -> int:
        """Epochs in the history, those of a checkpoint included."""
        return self.history[-1].epoch + 1 if self.history else 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show what a resumed training has done already; it may be over."""
        self._show(trainer, sum(self.steps[: self.epochs_done]))
        trainer.should_stop = self._over

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the watch."""
        self._began = time.perf_counter()
        self._lr = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        """Move the display."""
        self._show(trainer, 1)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the training's time."""
        self._trained = time.perf_counter()

    def on_validation_batch_end(self, trainer: Trainer, *_: object) -> None:
        """Move the display."""
        self._show(trainer, 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the epoch, its validation included, keep the weights if they are better, save."""
        segmenter = cast("Segmenter", pl_module)
        now = time.perf_counter()
        self._record(trainer, "train", segmenter.trained, self._trained - self._began)
        row = self._record(trainer, "validation", segmenter.validated, now - self._trained)
        if row.epoch == 0:
            self._tell_absent("training", segmenter.trained, "the network cannot learn it")
            self._tell_absent(
                "validation", segmenter.validated, "its IoU does not choose the epoch"
            )
        if row.miou > self.best_miou:
            self.best_epoch, self.best_miou = row.epoch, row.miou
            self.best = state(segmenter.network)
        self._note = (
            f", loss {row.loss:.3f}, mIoU {row.miou:.3f} (best {self.best_miou:.3f}) in validation"
        )
        self._show(trainer, 0)
        trainer.should_stop = self._over
        trainer.save_checkpoint(self.checkpoint)  # replaced whole, see `saving`

    @property
    def _over(self) -> bool:
        waited = self.epochs_done - 1 - self.best_epoch
        return self.patience is not None and self.epochs_done > 0 and waited >= self.patience

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Remember Ctrl-C and SIGTERM, of which Lightning makes exits with 1 and with 0."""
        self.interrupted = isinstance(exception, KeyboardInterrupt | SIGTERMException)

    def _tell_absent(self, part: str, tally: Tally, what: str) -> None:
        lacking = [self.classes[label] for label in tally.absent if label < len(self.classes)]
        if lacking:
            names = ", ".join(lacking)
            self.warn(f"{part} data: no pixel of {names} in the masks of the first epoch: {what}")

    def _show(self, trainer: Trainer, steps: int) -> None:
        self.task.advance(steps, f"epoch {trainer.current_epoch + 1}/{self.epochs}{self._note}")

    def _record(
        self, trainer: Trainer, split: Literal["train", "validation"], tally: Tally, seconds: float
    ) -> Epoch:
        loss, miou = tally.result()
        epoch = trainer.current_epoch
        if not math.isfinite(loss):
            raise DivergedError(
                f"training diverged: the {split} loss of epoch {epoch + 1} is {loss}; lower the "
                "learning rate or train in precision 32"
            )
        self.history.append(Epoch(epoch, split, loss, miou, self._lr, seconds))
        told = {f"{split}/loss": loss, f"{split}/mIoU": miou}
        if split == "train":
            told["lr"] = self._lr
        for logger in trainer.loggers:
            logger.log_metrics(told, step=epoch)
        return self.history[-1]

    def state_dict(self) -> dict[str, Any]:
        """Return what the checkpoint keeps, in types that are read without executing anything."""
        return {
            "history": [asdict(row) for row in self.history],
            "best": {name: torch.from_numpy(array) for name, array in self.best.items()},
            "best_epoch": self.best_epoch,
            "best_miou": self.best_miou,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what a checkpoint kept."""
        self.history = [Epoch(**row) for row in state_dict["history"]]
        self.best = {name: tensor.numpy() for name, tensor in state_dict["best"].items()}
        self.best_epoch = state_dict["best_epoch"]
        self.best_miou = state_dict["best_miou"]
