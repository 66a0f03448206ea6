"""Training of one network, section IV.C, and checks of its arguments and data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from skiptool.errors import ArgumentError, FormatError
from skiptool.model.batches import (
    BatchLoader,
    CachedReader,
    count_batches,
    training_batches,
    usable_workers,
    validation_batches,
)
from skiptool.model.device import choose_precision, explain_training_errors, instruction_set
from skiptool.model.distributed import SINGLE_PROCESS, Ranks
from skiptool.model.lightning import (
    Epoch,
    HistoryCallback,
    Logging,
    Segmenter,
    finish_loggers,
    run_trainer,
)
from skiptool.model.loss import SegmentationLoss
from skiptool.model.unet import build
from skiptool.model.weights import EncoderWeights, load_encoder_weights
from skiptool.records import SILENT, STRIDE, Training

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from skiptool.names import Precision
    from skiptool.records import AnyArray, Architecture, Progress, SampleReader


def check_protocol(training: Training) -> None:
    """Raise ArgumentError for a protocol with a number out of range."""
    integers = {
        "epochs": training.epochs,
        "batch size": training.batch_size,
        "step of the learning rate": training.lr_step,
        "patience": training.patience,
    }
    for name, number in integers.items():
        if number is not None and number < 1:
            raise ArgumentError(f"training: {name} is {number}, expected at least 1")
    positive = {
        "learning rate": training.lr,
        "learning rate decay": training.lr_gamma,
        "gradient norm": training.grad_clip,
    }
    for name, value in positive.items():
        if value is not None and not 0 < value < float("inf"):
            raise ArgumentError(f"training: {name} is {value:g}, expected a number above 0")


def resolve_class_weights(training: Training, classes: Sequence[str]) -> list[float] | None:
    """Return the weight of each class in the cross-entropy, or None if all are 1.

    Raises ArgumentError for unknown or repeated classes, and for invalid weights.
    """
    if not training.class_weights:
        return None
    names = [name for name, _ in training.class_weights]
    for name, weight in training.class_weights:
        if name not in classes or names.count(name) > 1:
            fault = "is given twice" if name in classes else "is not a class"
            raise ArgumentError(
                f"class weight of {name!r}: {fault}, expected each of {', '.join(classes)} at most "
                "once"
            )
        if not 0 <= weight < float("inf"):
            raise ArgumentError(f"class weight of {name!r}: {weight:g}, expected 0 or more")
    weights = [dict(training.class_weights).get(name, 1.0) for name in classes]
    if not any(weights):
        raise ArgumentError("class weights: all are 0, expected at least one above 0")
    return weights


def check_samples(reader: SampleReader, name: str, architecture: Architecture) -> None:
    """Refuse data without samples or foreground, or with channels unlike the architecture's.

    Reads up to the first foreground pixel, usually one sample. Without any there is no mIoU.

    Raises
    ------
    ArgumentError
        If there is no sample, or the channels differ.
    FormatError
        If no pixel belongs to a foreground class.
    """
    if not len(reader):
        raise ArgumentError(f"{name} data: no samples; choose another fold or domain")
    for index in range(len(reader)):
        image, mask = reader.read(index)
        if image.shape[-1] != architecture.channels:
            raise ArgumentError(
                f"{name} data: images have {image.shape[-1]} channels, the architecture has "
                f"{architecture.channels}; build it for the channels of the data"
            )
        if ((mask > 0) & (mask < len(architecture.classes))).any():
            return
    raise FormatError(
        f"{name} data: no pixel of {len(reader)} samples belongs to a foreground class "
        f"({', '.join(architecture.classes[1:])}), so there is no mIoU; choose another fold or "
        "annotate the images"
    )


def check_divisible(
    batch_size: int, draws: Sequence[Sequence[int]], validation: int, processes: int
) -> None:
    """Raise ArgumentError if batches or samples cannot be split among the processes.

    ``validation`` is the number of validation samples.
    """
    if batch_size % processes:
        raise ArgumentError(
            f"--batch-size {batch_size}: cannot be split among {processes} processes, expected a "
            "multiple of their number"
        )
    fewest = min(validation, *map(len, draws))
    if fewest < processes:
        raise ArgumentError(
            f"training on {processes} processes: a part of the data has {fewest} samples, "
            "expected at least one per process; lower --devices"
        )


def check_batch(train: SampleReader, batch_size: int) -> None:
    """Raise ArgumentError for batches of one image whose bottleneck is one pixel.

    Batch normalisation needs at least two values per channel.
    """
    height, width = train.read(0)[1].shape
    if min(len(train), batch_size) == 1 and max(height, width) <= STRIDE:
        raise ArgumentError(
            f"training: a batch of one image of {height} x {width} px cannot be normalised, "
            "expected at least two images per batch or larger ones; raise the batch size"
        )


LAST = "last.ckpt"
"""Name of the checkpoint of the last epoch in the folder passed to `fit`."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Result of a training.

    Attributes
    ----------
    tensors : dict of str to array
        Weights and running statistics of the best epoch, under SMP's parameter names.
    best_epoch : int
        From 0: the epoch of the highest validation mIoU, the earliest among ties.
    history : tuple of Epoch
        Two rows per epoch, ``train`` before ``validation``.
    precision : Precision
        Never ``auto``.
    threads : int
        Threads of torch; weights are bit-equal for equal numbers.
    instructions : str
        Instruction set of the CPU, or model of the GPU.
    """

    tensors: dict[str, AnyArray]
    best_epoch: int
    best_miou: float
    history: tuple[Epoch, ...]
    encoder_weights: EncoderWeights
    precision: Precision
    device: str
    threads: int
    instructions: str = ""


def fit(
    architecture: Architecture,
    training: Training,
    train: SampleReader,
    validation: SampleReader,
    folder: Path,
    *,
    device: str = "cpu",
    workers: int = 0,
    progress: Progress = SILENT,
    draws: Sequence[Sequence[int]] = (),
    resume: bool = False,
    ranks: Ranks = SINGLE_PROCESS,
    logging: Logging | None = None,
) -> TrainingResult:
    """Train a network and select its epoch by the validation fold.

    Parameters
    ----------
    training : Training
        ``fold`` and ``repeat`` name the progress display; ``repeat`` also changes the seed.
    train, validation : SampleReader
        Images of one size each, with the channels of the architecture.
    folder : Path
        An existing folder, for ``last.ckpt``.
    device : str
        From `skiptool.model.device.choose_device`.
    workers : int
        Loader processes for each of the two readers; they do not change the result. On a CPU 0 is
        fastest: reading and augmentation take a twentieth of a training step.
    draws : sequence of sequences of int
        Indices into ``train`` of the samples of each of E draws, none of them empty; epoch e
        trains on draw e modulo E. Default: every epoch trains on all.
    resume : bool
        Continue from ``last.ckpt`` if it exists; the result equals that of an uninterrupted run.
    ranks : Ranks
        This process among those that train together, which are connected. All of them get the
        same other arguments, and return the same result.
    logging : Logging, optional
        Experiment trackers.
    """
    check_protocol(training)
    on_gpu = device.startswith("cuda")
    if ranks.world_size > 1 and on_gpu:
        device = f"cuda:{ranks.local_rank}"
    class_weights = resolve_class_weights(training, architecture.classes)
    precision = choose_precision(training.precision, device)
    draws = draws or (range(len(train)),)
    _check_data(architecture, training.batch_size, train, validation, draws, ranks)

    network = build(architecture, training.random_seed).to(memory_format=torch.channels_last)
    encoder_weights = load_encoder_weights(network, architecture.encoder, training.encoder_weights)
    if training.compile:
        network.compile()
    loss = SegmentationLoss(training.loss, len(architecture.classes), class_weights)
    segmenter = Segmenter(network, loss, training, len(architecture.classes))

    workers = usable_workers(workers, progress)
    train_loader, validation_loader = _loaders(
        training, train, validation, draws, workers, on_gpu, ranks
    )
    train_loader.warn = progress.warn
    steps = count_steps(training, draws, len(validation), ranks)
    height, width = train.read(0)[1].shape
    title = f"{architecture.folder} fold {training.fold}"
    if training.repeat:
        title += f" repeat {training.repeat}"
    purpose = f"batches of {training.batch_size} images of {height} x {width} px"
    with (
        explain_training_errors(device, purpose, workers),
        progress.task(title, sum(steps)) as task,
    ):
        history = HistoryCallback(
            task,
            steps,
            folder / LAST,
            patience=training.patience,
            classes=architecture.classes,
            warn=progress.warn,
        )
        loggers: Sequence[Logger] = ()
        if logging and ranks.is_leader:
            loggers = logging.open({"architecture": architecture.folder, **training.recorded()})
        try:
            run_trainer(
                segmenter,
                train_loader,
                validation_loader,
                history,
                device,
                precision,
                resume,
                ranks,
                loggers,
            )
        finally:
            finish_loggers(loggers)
    return TrainingResult(
        tensors=history.best,
        best_epoch=history.best_epoch,
        best_miou=history.best_miou,
        history=tuple(history.history),
        encoder_weights=encoder_weights,
        precision=precision,
        device=device,
        threads=torch.get_num_threads(),
        instructions=instruction_set(device),
    )


def _check_data(
    architecture: Architecture,
    batch_size: int,
    train: SampleReader,
    validation: SampleReader,
    draws: Sequence[Sequence[int]],
    ranks: Ranks,
) -> None:
    check_samples(train, "training", architecture)
    check_samples(validation, "validation", architecture)
    check_divisible(batch_size, draws, len(validation), ranks.world_size)
    check_batch(train, min(batch_size, *map(len, draws)) // ranks.world_size)


def _loaders(
    training: Training,
    train: SampleReader,
    validation: SampleReader,
    draws: Sequence[Sequence[int]],
    workers: int,
    on_gpu: bool,
    ranks: Ranks,
) -> tuple[BatchLoader, BatchLoader]:
    if not workers:  # each worker would have its own cache
        train, validation = CachedReader(train), CachedReader(validation)
    train_loader = training_batches(
        train,
        training.batch_size,
        training.random_seed,
        workers,
        pin=on_gpu,
        draws=draws,
        ranks=ranks,
        defer_augmentation=on_gpu,
    )
    return train_loader, validation_batches(validation, training.batch_size, workers, on_gpu, ranks)


def count_steps(
    training: Training,
    draws: Sequence[Sequence[int]],
    validation: int,
    ranks: Ranks = SINGLE_PROCESS,
) -> list[int]:
    """Count the batches of each epoch, including those of the ``validation`` samples.

    Examples
    --------
    >>> count_steps(Training(fold=0, epochs=2), [range(24), range(30)], validation=9)
    [5, 6]
    """
    counts = count_batches(draws, training.batch_size, training.epochs, ranks)
    samples = math.ceil(validation / ranks.world_size)  # of rank 0, which may have one more
    checks = math.ceil(samples / (training.batch_size // ranks.world_size))
    return [count + checks for count in counts]
