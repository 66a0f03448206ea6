"""Train one network, section IV.C, with Lightning as the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from skiptool.errors import ArgumentError, FormatError
from skiptool.model.batches import (
    Recalled,
    count_batches,
    readable_by,
    training_batches,
    validation_batches,
)
from skiptool.model.device import choose_precision, instructions, training_told
from skiptool.model.distributed import ALONE, Ranks
from skiptool.model.lightning import Epoch, Logging, Segmenter, Watch, close, run
from skiptool.model.loss import SegmentationLoss
from skiptool.model.unet import build
from skiptool.model.weights import EncoderWeights, load_encoder_weights
from skiptool.records import SILENT, Training

if TYPE_CHECKING:
    from skiptool.names import Precision
    from skiptool.records import AnyArray, Architecture, Progress, SampleReader, Training

__all__ = [
    "LAST",
    "Fitted",
    "check_batch",
    "check_protocol",
    "check_samples",
    "check_shares",
    "count_steps",
    "fit",
    "weights_of",
]

# -------------------------------------------------------------------------------------------------
# What is refused before a training starts, in words instead of a stack of torch's.


STRIDE = 32


def check_protocol(training: Training) -> None:
    """Refuse a protocol with a number out of range.

    Raises
    ------
    ArgumentError
        If epochs, batch size, patience or the step of the learning rate is below 1, or the learning
        rate, its decay or the norm of gradients is not above 0.
    """
    whole = {
        "epochs": training.epochs,
        "batch size": training.batch_size,
        "step of the learning rate": training.lr_step,
        "patience": 1 if training.patience is None else training.patience,
    }
    for name, number in whole.items():
        if number < 1:
            raise ArgumentError(f"training: {name} is {number}, expected at least 1")
    above = {
        "learning rate": training.lr,
        "its decay": training.lr_gamma,
        "norm of gradients": 1.0 if training.grad_clip is None else training.grad_clip,
    }
    for name, value in above.items():
        if not 0 < value < float("inf"):
            raise ArgumentError(f"training: {name} is {value:g}, expected a number above 0")


def weights_of(training: Training, classes: Sequence[str]) -> list[float] | None:
    """Return the weight of each class in the cross-entropy, None where all are 1.

    Raises
    ------
    ArgumentError
        If a class is unknown or named twice, a weight is negative or not finite, or all are 0.
    """
    if not training.class_weights:
        return None
    names = [name for name, _ in training.class_weights]
    for name, weight in training.class_weights:
        if name not in classes or names.count(name) > 1:
            what = "is given twice" if name in classes else "is no class"
            raise ArgumentError(
                f"class weight of {name!r}: {what}, expected each of {', '.join(classes)} at most "
                "once"
            )
        if not 0 <= weight < float("inf"):
            raise ArgumentError(f"class weight of {name!r}: {weight:g}, expected 0 or more")
    found = [dict(training.class_weights).get(name, 1.0) for name in classes]
    if not any(found):
        raise ArgumentError("class weights: all are 0, expected one above it")
    return found


def check_samples(reader: SampleReader, name: str, architecture: Architecture) -> None:
    """Refuse a part of the data that nothing can be learned or measured on.

    Reads up to the first foreground pixel, which mostly is one sample.

    Raises
    ------
    ArgumentError
        If there is no sample, or the channels differ from the architecture's.
    FormatError
        If no pixel belongs to a foreground class: mIoU would be undefined in validation, and there
        is nothing to train.
    """
    if not len(reader):
        raise ArgumentError(f"{name} data: no sample, expected some; choose another fold or domain")
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


def check_shares(
    batch_size: int, draws: Sequence[Sequence[int]], validation: int, processes: int
) -> None:
    """Refuse batches and parts that cannot be dealt out to the processes.

    Parameters
    ----------
    batch_size : int
    draws : sequence of sequences of int
        Training samples of each draw.
    validation, processes : int
        Numbers of samples to validate on, and of processes.

    Raises
    ------
    ArgumentError
        If the batch is no multiple of the processes, or one of them would get no sample.
    """
    if batch_size % processes:
        raise ArgumentError(
            f"--batch-size {batch_size}: cannot be dealt out to {processes} processes, expected a "
            "multiple of their number"
        )
    least = min(validation, *map(len, draws))
    if least < processes:
        raise ArgumentError(
            f"training on {processes} processes: a part of the data holds {least} samples, "
            "expected one for each process; lower --devices"
        )


def check_batch(train: SampleReader, batch_size: int) -> None:
    """Refuse batches of one pixel: batch normalisation needs two values of a channel.

    Raises
    ------
    ArgumentError
        If batches hold one image and the bottleneck one pixel.
    """
    height, width = train.read(0)[1].shape
    if min(len(train), batch_size) == 1 and max(height, width) <= STRIDE:
        raise ArgumentError(
            f"training: a batch of one image of {height} x {width} px cannot be normalised, "
            "expected two images a batch or larger ones; raise the batch size"
        )


LAST = "last.ckpt"
"""Name of the checkpoint of the last epoch in the folder that `fit` is given."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a training came to.

    Attributes
    ----------
    tensors : dict of str to array
        Weights and running statistics of the best epoch, under SMP's parameter names.
    best_epoch : int
        From 0: the epoch of the highest validation mIoU, the earliest of equal ones.
    best_miou : float
    history : tuple of Epoch
        Two rows an epoch, ``train`` before ``validation``.
    encoder_weights : EncoderWeights
    precision : Precision
        What was computed in, never ``auto``.
    device : str
    threads : int
        Threads of torch's arithmetic; weights are bit-equal for equal numbers of them.
    instructions : str
        Instruction set of the processor, or model of the GPU.
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
    ranks: Ranks = ALONE,
    logging: Logging | None = None,
) -> Fitted:
    """Train a network and choose its epoch by the validation fold.

    Parameters
    ----------
    architecture : Architecture
    training : Training
        ``fold`` and ``repeat`` name the progress display; ``repeat`` also changes the seed.
    train, validation : SampleReader
        Images of one size each, with as many channels as the architecture.
    folder : Path
        An existing folder; ``last.ckpt`` is written there.
    device : str
        What `skiptool.model.device.choose_device` returned.
    workers : int
        Processes that read, for each of the two readers; they do not change the result. On a CPU
        0 is fastest: reading and augmenting cost a twentieth of a training step.
    progress : Progress
    draws : sequence of sequences of int
        Indices into ``train`` of the samples of each of E draws, none of them empty; epoch e
        trains on draw e modulo E. By default every epoch trains on all.
    resume : bool
        Go on from ``last.ckpt`` where there is one; the result equals the uninterrupted one.
    ranks : Ranks
        This process among those that train together, connected by ``model.processes.joined``; each
        gets the same arguments but for this one, and returns the same.
    logging : Logging, optional
        Loggers beside the history.

    Returns
    -------
    Fitted

    Raises
    ------
    ArgumentError
        If a number of the protocol is out of range, a reader is empty, has other channels, labels
        beyond the classes.
    FormatError
        If not one pixel of a reader is foreground.
    DivergedError
        If the loss is no longer a number.
    SourceError
        If the encoder's weights cannot be had.
    OutOfMemoryError, WorkerError
        If there is too little memory, or a process that reads was killed.
    OSError
        If the checkpoint cannot be written; the one before it is intact.
    KeyboardInterrupt
        On Ctrl-C, after Lightning has let go of the device.
    """
    check_protocol(training)
    if ranks.size > 1 and device.startswith("cuda"):
        device = f"cuda:{ranks.local}"
    class_weights = weights_of(training, architecture.classes)
    precision = choose_precision(training.precision, device)
    check_samples(train, "training", architecture)
    check_samples(validation, "validation", architecture)
    draws = draws or (range(len(train)),)
    check_shares(training.batch_size, draws, len(validation), ranks.size)
    check_batch(train, min(training.batch_size, *map(len, draws)) // ranks.size)
    network = build(architecture, training.random_seed).to(memory_format=torch.channels_last)
    weights = load_encoder_weights(network, architecture.encoder, training.encoder_weights)
    if training.compile:
        network.compile()
    classes = len(architecture.classes)
    loss = SegmentationLoss(training.loss, classes, class_weights=class_weights)
    size, seed, pin = training.batch_size, training.random_seed, device.startswith("cuda")
    workers = readable_by(workers, progress)
    if not workers:  # each worker would keep samples of its own
        train, validation = Recalled(train), Recalled(validation)
    batches = training_batches(train, size, seed, workers, pin, draws, ranks, later=pin)
    checks = validation_batches(validation, size, workers, pin, ranks)
    batches.warn = progress.warn
    steps = count_steps(training, draws, len(validation), ranks)
    title = f"{architecture.folder} fold {training.fold}"
    title += f" repeat {training.repeat}" if training.repeat else ""
    height, width = train.read(0)[1].shape
    doing = f"batches of {training.batch_size} images of {height} x {width} px"
    explained = training_told(device, doing, workers)
    with explained, progress.task(title, sum(steps)) as task:
        known = (architecture.classes, progress.warn)
        watch = Watch(task, steps, folder / LAST, training.patience, *known)
        segmenter = Segmenter(network, loss, training, classes)
        told = {"architecture": architecture.folder, **training.recorded()}
        loggers = logging.open(told) if logging and ranks.leads else ()
        try:
            run(segmenter, batches, checks, watch, device, precision, resume, ranks, loggers)
        finally:
            close(loggers)
    return Fitted(
        tensors=watch.best,
        best_epoch=watch.best_epoch,
        best_miou=watch.best_miou,
        history=tuple(watch.history),
        encoder_weights=weights,
        precision=precision,
        device=device,
        threads=torch.get_num_threads(),
        instructions=instructions(device),
    )


def count_steps(
    training: Training, draws: Sequence[Sequence[int]], validation: int, ranks: Ranks = ALONE
) -> list[int]:
    """Count the batches of each epoch, those of the ``validation`` samples included.

    Examples
    --------
    >>> count_steps(Training(fold=0, epochs=2), [range(24), range(30)], validation=9)
    [5, 6]
    """
    batches = count_batches(draws, training.batch_size, training.epochs, ranks)
    most = -(-validation // ranks.size)  # rank 0 takes one more where they are not even
    checks = -(-most // (training.batch_size // ranks.size))
    return [count + checks for count in batches]
