"""What is refused before a training starts, in words instead of a stack of torch's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skiptool.errors import ArgumentError, FormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skiptool.records import Architecture, SampleReader, Training

__all__ = ["check_batch", "check_protocol", "check_samples", "check_shares", "weights_of"]

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
