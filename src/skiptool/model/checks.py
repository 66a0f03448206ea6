"""What is refused before a training starts, in words instead of a stack of torch's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skiptool.errors import ArgumentError

if TYPE_CHECKING:
    from skiptool.records import Architecture, SampleReader, Training

__all__ = ["check_batch", "check_protocol", "check_samples"]

STRIDE = 32


def check_protocol(training: Training) -> None:
    """Refuse a protocol with a number out of range.

    Raises
    ------
    ArgumentError
        If epochs, batch size or the step of the learning rate is below 1, or the learning rate or
        its decay is not above 0.
    """
    whole = {
        "epochs": training.epochs,
        "batch size": training.batch_size,
        "step of the learning rate": training.lr_step,
    }
    for name, number in whole.items():
        if number < 1:
            raise ArgumentError(f"training: {name} is {number}, expected at least 1")
    for name, value in {"learning rate": training.lr, "its decay": training.lr_gamma}.items():
        if not 0 < value < float("inf"):
            raise ArgumentError(f"training: {name} is {value:g}, expected a number above 0")


def check_samples(reader: SampleReader, name: str, architecture: Architecture) -> None:
    """Refuse a part of the data that nothing can be learned or measured on.

    Reads up to the first foreground pixel, which mostly is one sample.

    Raises
    ------
    ArgumentError
        If there is no sample, the channels differ from the architecture's, or no pixel belongs to
        a foreground class: mIoU would be undefined in validation, and there is nothing to train.
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
    raise ArgumentError(
        f"{name} data: no pixel of {len(reader)} samples belongs to a foreground class "
        f"({', '.join(architecture.classes[1:])}), so there is no mIoU; choose another fold or "
        "annotate the images"
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
