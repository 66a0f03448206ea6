"""Training loop with Lightning: module, trainer, checkpoints, history and experiment trackers.

Checkpoints are written under a temporary name in their own folder and renamed when complete.
Lightning's own writer collects a checkpoint in memory, then in the system's temporary folder, and
copies it from there: either may be too small for it, and a killed process leaves the file behind.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException

from skiptool.errors import ArgumentError, DivergedError, FormatError, SourceError, first_line
from skiptool.metrics import mean_iou
from skiptool.model.batches import RandomStream, augment_batch, to_network_input, torch_seed
from skiptool.model.distributed import (
    SINGLE_PROCESS,
    Ranks,
    RanksEnvironment,
    mean_over_ranks,
    sum_over_ranks,
)
from skiptool.model.unet import state_arrays
from skiptool.names import IGNORE_LABEL, LoggerName, Precision
from skiptool.records import SILENT

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRScheduler
    from segmentation_models_pytorch.base import SegmentationModel
    from torch.utils.data import DataLoader

    from skiptool.model.batches import Batch
    from skiptool.model.loss import SegmentationLoss
    from skiptool.records import AnyArray, Task, Training

    Tensors = tuple[torch.Tensor, torch.Tensor]
    TrainingPart = Literal["train", "validation"]

# The module


class EpochTotals:
    """Loss and pixel counts of an epoch, accumulated on the device so that no step waits."""

    def __init__(self, classes: int, device: torch.device) -> None:
        self.classes = classes
        self.counts = torch.zeros(classes**2, dtype=torch.int64, device=device)
        # Metal has no float64
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.loss = torch.zeros((), dtype=dtype, device=device)
        self.images = 0

    def add(self, logits: torch.Tensor, masks: torch.Tensor, loss: torch.Tensor) -> None:
        """Add a batch: logits (N, J, H, W), masks (N, H, W), and its mean loss."""
        cells = self.classes**2
        pairs = masks.long() * self.classes + logits.detach().argmax(dim=1)
        pairs = torch.where(masks == IGNORE_LABEL, cells, pairs)
        self.counts += torch.bincount(pairs.flatten(), minlength=cells + 1)[:cells]
        self.loss += loss.detach() * len(masks)
        self.images += len(masks)

    @property
    def absent(self) -> list[int]:
        """Foreground classes without a pixel in the truth."""
        pixels = self.counts.view(self.classes, self.classes).sum(dim=1)
        return [label for label in range(1, self.classes) if not pixels[label]]

    def result(self) -> tuple[float, float]:
        """Return the mean loss per image and the foreground mIoU, over all processes; call once."""
        images = sum_over_ranks(torch.tensor(self.images, device=self.counts.device))
        counts = sum_over_ranks(self.counts).view(self.classes, self.classes).cpu().numpy()
        return sum_over_ranks(self.loss).item() / max(images.item(), 1), float(mean_iou(counts))


class Segmenter(LightningModule):
    """Training step, validation step and optimiser of section IV.C: Adam with step decay."""

    def __init__(
        self, network: SegmentationModel, loss: SegmentationLoss, protocol: Training, classes: int
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.protocol = protocol
        self.classes = classes
        self.training_totals = EpochTotals(classes, torch.device("cpu"))
        self.validation_totals = EpochTotals(classes, torch.device("cpu"))
        self._transforms: tuple[torch.Tensor, ...] = ()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return Adam with a decay of the learning rate every ``lr_step`` epochs."""
        protocol = self.protocol
        optimizer = torch.optim.Adam(self.network.parameters(), lr=protocol.lr)
        decay = torch.optim.lr_scheduler.StepLR(optimizer, protocol.lr_step, protocol.lr_gamma)
        return [optimizer], [decay]

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Tensors:
        """Raise errors of workers here, in the main process, and check the labels."""
        if isinstance(batch, Exception):
            raise batch
        masks = batch[1]
        unknown = masks[(masks >= self.classes) & (masks != IGNORE_LABEL)]
        if unknown.numel():
            raise ArgumentError(
                f"masks contain label {int(unknown[0])}, expected 0 to {self.classes - 1} or "
                f"{IGNORE_LABEL} (ignored); correct the masks or the list of classes"
            )
        self._transforms = batch[2:]  # kept on the CPU, to be read without waiting
        return batch[0], masks

    def on_after_batch_transfer(self, batch: Tensors, dataloader_idx: int) -> Tensors:
        """Convert stored images to network input on the device, augmenting them if deferred."""
        images, masks = batch
        if self._transforms:
            images, masks = augment_batch(images, masks, *self._transforms)
        return to_network_input(images), masks

    def on_train_epoch_start(self) -> None:
        """Seed dropout by epoch, so that a resumed training equals an uninterrupted one."""
        numbers = [self.protocol.random_seed, self.current_epoch]
        if self.global_rank:  # rank 0 draws as a single process does
            numbers.append(self.global_rank)
        torch.manual_seed(torch_seed(RandomStream.TRAINING, *numbers))
        self.training_totals = EpochTotals(self.classes, self.device)

    def on_validation_epoch_start(self) -> None:
        """Reset the counts, and average batch-norm statistics over the processes."""
        for buffer in self.network.buffers():
            if buffer.is_floating_point():
                mean_over_ranks(buffer)
        self.validation_totals = EpochTotals(self.classes, self.device)

    def training_step(self, batch: Tensors, batch_idx: int) -> torch.Tensor:
        """Return the loss of one batch."""
        return self._step(batch, self.training_totals)

    def validation_step(self, batch: Tensors, batch_idx: int) -> None:
        """Accumulate one batch."""
        self._step(batch, self.validation_totals)

    def _step(self, batch: Tensors, totals: EpochTotals) -> torch.Tensor:
        images, masks = batch
        logits = self.network(images)
        loss: torch.Tensor = self.loss(logits, masks)
        totals.add(logits, masks, loss)
        return loss


# Checkpoints


class AtomicCheckpointIO(TorchCheckpointIO):
    """Atomic checkpoint files: a file is replaced by a complete one or stays unchanged."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: object = None,
    ) -> None:
        """Write a checkpoint; after an OSError (disk full ...) the previous file is intact."""
        final = Path(path)
        part = final.with_name(f".{final.name}.part")
        try:
            with part.open("wb") as file:
                torch.save(checkpoint, file)
            os.replace(part, final)
        except BaseException as error:
            part.unlink(missing_ok=True)
            cause = _system_error(error)
            if cause is None:
                raise
            raise OSError(cause.errno, os.strerror(cause.errno or 0), str(final)) from error

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = lambda storage, _: storage,  # noqa: ANN401 - anything torch.load takes
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint; FormatError if the file is damaged."""
        try:
            checkpoint: dict[str, Any] = torch.load(path, map_location, weights_only=weights_only)
        except (RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
            raise FormatError(
                f"{path}: cannot be read as a checkpoint ({first_line(error)}); use --overwrite to "
                "start again"
            ) from error
        return checkpoint


def _system_error(error: BaseException | None) -> OSError | None:
    """Find the system's error that caused torch's own, which only mentions file positions."""
    while error is not None and not (isinstance(error, OSError) and error.errno):
        error = error.__cause__ or error.__context__
    return error


# The trainer

LIGHTNING_LOGS = ("lightning.pytorch", "lightning.fabric")
TRAINER_PRECISION: Final[dict[Precision, Literal["32-true", "bf16-mixed", "16-mixed"]]] = {
    Precision.FLOAT32: "32-true",
    Precision.BFLOAT16: "bf16-mixed",
    Precision.FLOAT16: "16-mixed",
}


def run_trainer(
    segmenter: Segmenter,
    train_loader: DataLoader[Any],
    validation_loader: DataLoader[Any],
    history: HistoryCallback,
    device: str,
    precision: Precision,
    resume: bool,
    ranks: Ranks = SINGLE_PROCESS,
    loggers: Sequence[Logger] = (),
) -> None:
    """Train for the epochs of ``history``, with a validation after each.

    Raises KeyboardInterrupt on Ctrl-C, whereas Lightning exits with 1 and, early on, leaves SIGINT
    ignored.

    Parameters
    ----------
    train_loader : DataLoader
        Its sampler has ``set_epoch``.
    history : HistoryCallback
        Keeps the results, and names the checkpoint.
    resume : bool
        Start from that checkpoint if it exists.
    """
    target = torch.device(device)
    checkpoint = history.checkpoint if resume and history.checkpoint.exists() else None
    sampler: Any = train_loader.sampler
    terminate = signal.getsignal(signal.SIGTERM)

    def restore_sigterm(*_: object) -> None:
        # Lightning's handler synchronises with processes that may be waiting for this one.
        if ranks.world_size > 1 and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, terminate)

    start = LambdaCallback(
        # Lightning sets the sampler's epoch after reading ahead: a resumed training would start
        # with batches of epoch 0.
        on_fit_start=lambda *_: sampler.set_epoch(history.epochs_done),
        on_train_start=restore_sigterm,
    )
    with _silence_lightning(), _preserve_random_state(target), _raise_interrupts(history):
        trainer = Trainer(
            accelerator=target.type,
            **_devices(target, ranks),
            deterministic=segmenter.protocol.deterministic,
            precision=TRAINER_PRECISION[precision],
            max_epochs=history.epochs,
            gradient_clip_val=segmenter.protocol.grad_clip,
            callbacks=[history, start],
            default_root_dir=history.checkpoint.parent,
            logger=list(loggers) or False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
        trainer.fit(
            segmenter, train_loader, validation_loader, ckpt_path=checkpoint, weights_only=True
        )


def _devices(target: torch.device, ranks: Ranks) -> dict[str, Any]:
    """Return the trainer's arguments for devices and processes, so that it detects nothing."""
    plugins: list[Any] = [RanksEnvironment(ranks), AtomicCheckpointIO()]
    if ranks.world_size == 1:
        devices: Any = [target.index] if target.type == "cuda" else 1
        return {"devices": devices, "plugins": plugins}
    strategy = DDPStrategy(
        broadcast_buffers=False,  # the segmenter averages them before each validation
        static_graph=True,  # encoders may have parameters that do not affect the loss
    )
    return {
        "devices": ranks.devices,
        "num_nodes": ranks.nodes,
        "strategy": strategy,
        "plugins": plugins,
        "sync_batchnorm": target.type == "cuda",
    }


@contextmanager
def _silence_lightning() -> Iterator[None]:
    """Suppress Lightning's warnings, and its log below errors."""
    logs = [logging.getLogger(name) for name in LIGHTNING_LOGS]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            warnings.filterwarnings("ignore", category=PossibleUserWarning)
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)


@contextmanager
def _preserve_random_state(device: torch.device) -> Iterator[None]:
    """Restore torch's random state, and its choice of deterministic algorithms, afterwards."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng([device.index] if device.type == "cuda" else []):
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


@contextmanager
def _raise_interrupts(history: HistoryCallback) -> Iterator[None]:
    """Turn Lightning's exit after an interrupt into KeyboardInterrupt, and restore SIGINT."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        if not history.interrupted:
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None


# History


@dataclass(frozen=True, slots=True)
class Epoch:
    """One row of the history table.

    Attributes
    ----------
    epoch : int
        From 0.
    split : str
        ``train`` (augmented images, weights changing) or ``validation``.
    loss : float
        Mean over images.
    miou : float
        Mean IoU of the foreground classes from counts over the whole split; NaN if training images
        contain none.
    lr : float
        Learning rate.
    """

    epoch: int
    split: TrainingPart
    loss: float
    miou: float
    lr: float
    seconds: float


class HistoryCallback(Callback):
    """Keep the history, the best weights and ``last.ckpt``, and update the progress display.

    Best is the highest validation mIoU, the earliest among ties.

    Parameters
    ----------
    steps : sequence of int
        Batches of each epoch, training and validation.
    checkpoint : Path
        Lightning checkpoint of the last epoch, which includes the best weights and the history.
    patience : int, optional
        Stop after this many epochs without a better one.
    classes : sequence of str
        Names, for a warning about those absent from all masks of the first epoch.
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
        self._training_start = self._training_end = time.perf_counter()

    @property
    def state_key(self) -> str:
        """Key in checkpoints, fixed so that those of earlier versions can be resumed."""
        return "Watch"

    @property
    def epochs_done(self) -> int:
        """Number of finished epochs, including those of a checkpoint."""
        return self.history[-1].epoch + 1 if self.history else 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the progress of a resumed training, which may be over."""
        self._show(trainer, sum(self.steps[: self.epochs_done]))
        trainer.should_stop = self._out_of_patience

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start timing."""
        self._training_start = time.perf_counter()
        self._lr = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        """Update the display."""
        self._show(trainer, 1)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop timing the training part of the epoch."""
        self._training_end = time.perf_counter()

    def on_validation_batch_end(self, trainer: Trainer, *_: object) -> None:
        """Update the display."""
        self._show(trainer, 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the epoch with its validation, keep better weights, save the checkpoint."""
        segmenter = cast("Segmenter", pl_module)
        trained, validated = segmenter.training_totals, segmenter.validation_totals
        training_seconds = self._training_end - self._training_start
        validation_seconds = time.perf_counter() - self._training_end
        self._record(trainer, "train", trained, training_seconds)
        row = self._record(trainer, "validation", validated, validation_seconds)
        if row.epoch == 0:
            self._warn_absent("training", trained, "the network cannot learn it")
            self._warn_absent(
                "validation", validated, "its IoU does not affect the choice of the epoch"
            )
        if row.miou > self.best_miou:
            self.best_epoch, self.best_miou = row.epoch, row.miou
            self.best = state_arrays(segmenter.network)
        self._note = (
            f", loss {row.loss:.3f}, mIoU {row.miou:.3f} (best {self.best_miou:.3f}) in validation"
        )
        self._show(trainer, 0)
        trainer.should_stop = self._out_of_patience
        trainer.save_checkpoint(self.checkpoint)

    @property
    def _out_of_patience(self) -> bool:
        if self.patience is None or not self.epochs_done:
            return False
        return self.epochs_done - 1 - self.best_epoch >= self.patience

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Remember Ctrl-C and SIGTERM, which Lightning turns into exits with 1 and 0."""
        self.interrupted = isinstance(exception, KeyboardInterrupt | SIGTERMException)

    def _warn_absent(self, part: str, totals: EpochTotals, effect: str) -> None:
        absent = [self.classes[label] for label in totals.absent if label < len(self.classes)]
        if absent:
            names = ", ".join(absent)
            self.warn(f"{part} data: no pixel of {names} in the masks of the first epoch: {effect}")

    def _show(self, trainer: Trainer, steps: int) -> None:
        self.task.advance(steps, f"epoch {trainer.current_epoch + 1}/{self.epochs}{self._note}")

    def _record(
        self, trainer: Trainer, split: TrainingPart, totals: EpochTotals, seconds: float
    ) -> Epoch:
        loss, miou = totals.result()
        epoch = trainer.current_epoch
        if not math.isfinite(loss):
            raise DivergedError(
                f"training diverged: the {split} loss of epoch {epoch + 1} is {loss}; lower the "
                "learning rate or train in precision 32"
            )
        self.history.append(Epoch(epoch, split, loss, miou, self._lr, seconds))
        logged = {f"{split}/loss": loss, f"{split}/mIoU": miou}
        if split == "train":
            logged["lr"] = self._lr
        for logger in trainer.loggers:
            logger.log_metrics(logged, step=epoch)
        return self.history[-1]

    def state_dict(self) -> dict[str, Any]:
        """Return the content for the checkpoint, in types that load without executing code."""
        return {
            "history": [asdict(row) for row in self.history],
            "best": {name: torch.from_numpy(array) for name, array in self.best.items()},
            "best_epoch": self.best_epoch,
            "best_miou": self.best_miou,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the content of a checkpoint."""
        self.history = [Epoch(**row) for row in state_dict["history"]]
        self.best = {name: tensor.numpy() for name, tensor in state_dict["best"].items()}
        self.best_epoch = state_dict["best_epoch"]
        self.best_miou = state_dict["best_miou"]


# Experiment trackers

PROJECT = "skiptool"


@dataclass(frozen=True, slots=True)
class Logging:
    """Experiment trackers of a training: TensorBoard, W&B or MLflow.

    Attributes
    ----------
    folder : Path
        For local files, in a subfolder per tracker.
    run : str
        Name of the run, ``resnet18-L1/fold0``.
    identity : str
        Id of the run; a resumed training has that of the interrupted one.
    """

    names: tuple[LoggerName, ...]
    folder: Path
    run: str
    identity: str

    def open(self, parameters: Mapping[str, Any]) -> list[Logger]:
        """Open the loggers and log the parameters of the run.

        Raises SourceError if one cannot be opened: its server does not answer, its package is too
        old ...
        """
        loggers = [self._open(name) for name in self.names]
        for logger in loggers:
            logger.log_hyperparams(dict(parameters))
        return loggers

    def _open(self, name: LoggerName) -> Logger:
        try:
            logger = _LOGGER_FACTORIES[name](self)
            getattr(logger, "experiment")  # noqa: B009 - created on first use: now, not after an epoch
        except Exception as error:  # each package has its own errors
            raise SourceError(
                f"--logger {name}: cannot be opened ({first_line(error)}); fix it, or omit the "
                "option"
            ) from error
        return logger


def check_loggers(names: Sequence[LoggerName]) -> None:
    """Raise ArgumentError for a logger whose package is missing."""
    for name in names:
        if find_spec(name.value) is None:
            raise ArgumentError(
                f"--logger {name}: {name} is not installed; pip install 'skiptool[{name}]'"
            )


def finish_loggers(loggers: Sequence[Logger]) -> None:
    """End W&B runs, which the next training in this process would otherwise continue."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


def _tensorboard(settings: Logging) -> Logger:
    return TensorBoardLogger(
        settings.folder / "tensorboard", name=settings.run, version="", default_hp_metric=False
    )


def _wandb(settings: Logging) -> Logger:
    (settings.folder / "wandb").mkdir(parents=True, exist_ok=True)
    return WandbLogger(
        project=PROJECT,
        name=settings.run,
        id=settings.identity,
        resume="allow",
        save_dir=settings.folder,
    )


def _mlflow(settings: Logging) -> Logger:
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        return MLFlowLogger(PROJECT, run_name=settings.run, tracking_uri=uri)
    folder = settings.folder.resolve() / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    return MLFlowLogger(
        PROJECT,
        run_name=settings.run,
        tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
        artifact_location=(folder / "artifacts").as_uri(),
    )


_LOGGER_FACTORIES: Mapping[LoggerName, Callable[[Logging], Logger]] = {
    LoggerName.TENSORBOARD: _tensorboard,
    LoggerName.WANDB: _wandb,
    LoggerName.MLFLOW: _mlflow,
}
