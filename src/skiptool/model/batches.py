"""From samples to batches: epochs shuffled and augmented the same whatever the workers do.

The sampler hands each worker the epoch beside the index, so what becomes of a sample depends on
(seed, epoch, index) alone. Where samples were laid down in several draws, an epoch takes one of
them. Processes that train together share each batch: its every n-th sample is for each. Batches
travel as (N, H, W, C) in their stored dtype, a quarter of the size of floats;
`as_input` makes the network's input of them on the device.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from multiprocessing.queues import Queue
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from skiptool.errors import SkiptoolError
from skiptool.model.augmentation import (
    Affine,
    apply,
    apply_to_tensors,
    draw,
)
from skiptool.model.distributed import ALONE, Ranks

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Image, Progress, SampleReader, UInt8

    Item = tuple[Image, UInt8] | tuple[Image, UInt8, tuple[float, ...]] | Exception
    Batch = tuple[torch.Tensor, ...] | Exception

__all__ = [
    "Loader",
    "Recalled",
    "Stream",
    "as_input",
    "augmented",
    "count_batches",
    "end_unheard",
    "generator",
    "readable_by",
    "seeded",
    "stacked",
    "torch_seed",
    "training_batches",
    "validation_batches",
]

# -------------------------------------------------------------------------------------------------
# Random streams: each use of chance in training draws from its own, so none disturbs another.


class Stream(IntEnum):
    """What the numbers are drawn for; the first word of every seed."""

    WEIGHTS = 1
    SHUFFLE = 2
    AUGMENT = 3
    TRAINING = 4


def generator(stream: Stream, *numbers: int) -> np.random.Generator:
    """Return the generator of a stream at ``numbers`` (seed, epoch, index ...).

    Examples
    --------
    >>> generator(Stream.SHUFFLE, 0, 3).permutation(4).tolist()
    [1, 2, 3, 0]
    """
    return np.random.default_rng([stream, *numbers])


def torch_seed(stream: Stream, *numbers: int) -> int:
    """Hash a stream and its numbers into a seed of 64 bits for torch."""
    return int(np.random.SeedSequence([stream, *numbers]).generate_state(1, np.uint64)[0])


@contextmanager
def seeded(stream: Stream, *numbers: int) -> Iterator[None]:
    """Seed torch's CPU generator inside the context and give its old state back after it.

    Generators of other devices are left alone.
    """
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(torch_seed(stream, *numbers))
    try:
        yield
    finally:
        torch.set_rng_state(state)


# -------------------------------------------------------------------------------------------------
# How batches come from the processes that read them: in shared memory, or through a pipe.
#
# torch puts tensors into shared memory (``/dev/shm``) in a thread of the reading process. Where
# that
# memory is too small, as in a container, which has 64 MB of it by default, the thread prints a
# traceback, the batch is lost, and the process that trains waits for it for ever. So a batch is put
# there before it is handed over, goes through a pipe where there is no room, and a process whose
# batch cannot be handed over ends, which is heard.


NARROW: Final = (
    "shared memory (/dev/shm) is too small for the batches of processes that read: they go through "
    "pipes, which is slower; enlarge it (docker run --shm-size=8g) or give fewer --workers"
)

LOCKS: Final = 16
"""More than the queues of a process that reads have, for training and validation."""

UNHEARD: Final = 74
"""Exit code of a process that read and could not hand its batch over."""


class Loader(DataLoader[Any]):
    """A loader that takes batches in either form and yields tensors.

    Attributes
    ----------
    warn : callable
        Takes a line, once, where a batch came through a pipe.
    """

    warn: Callable[[str], None] | None = None

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield batches of tensors, or exceptions as they came."""
        for batch in super().__iter__():
            if isinstance(batch, tuple | list) and isinstance(batch[0], np.ndarray):
                if self.warn is not None:
                    self.warn(NARROW)
                    self.warn = None
                yield tuple(map(torch.from_numpy, batch))
            else:
                yield batch


def stacked(columns: Sequence[Sequence[AnyArray]]) -> tuple[torch.Tensor, ...] | tuple[Any, ...]:
    """Stack the arrays of a batch, ready to be handed over to another process.

    Returns
    -------
    tuple of tensor, or of array
        Tensors, in shared memory where this is a process that reads; arrays where there is no
        room for all of them.
    """
    arrays = tuple(np.stack(column) for column in columns)
    tensors = tuple(map(torch.from_numpy, arrays))
    if get_worker_info() is None:
        return tensors
    try:
        for tensor in tensors:
            tensor.share_memory_()  # type: ignore[no-untyped-call]
    except (RuntimeError, OSError):  # no room, no such folder, no more open files
        return arrays
    return tensors


def end_unheard(_: int) -> None:
    """Have this process end where a batch cannot be handed over, instead of saying so to nobody."""
    Queue._on_queue_feeder_error = staticmethod(_end)  # type: ignore[attr-defined]


def _end(_error: Exception, _batch: object) -> None:
    os._exit(UNHEARD)


def readable_by(workers: int, progress: Progress) -> int:
    """Return 0 where so many processes that read cannot be started, and say so.

    Their queues have locks, and those are in shared memory too.
    """
    context = multiprocessing.get_context("spawn")
    try:
        _ = [context.Lock() for _ in range(LOCKS * (workers + 1) if workers else 0)]
    except OSError as error:
        progress.warn(
            f"no process that reads can be started ({error.strerror or error} in /dev/shm): this "
            "process reads by itself, as with --workers 0"
        )
        return 0
    return workers


TOLD = (SkiptoolError, OSError, MemoryError)
"""Errors with a message of one line, which the loader would bury under a worker's traceback."""


def as_input(images: torch.Tensor) -> torch.Tensor:
    """Turn stored images into the network's input, without any other normalisation.

    Parameters
    ----------
    images : uint8 or float32, shape (N, H, W, C)

    Returns
    -------
    float32, shape (N, C, H, W)
        uint8 divided by 255, float32 as it is; in memory channels stay last.
    """
    scaled = images.float() / 255 if images.dtype == torch.uint8 else images
    return scaled.permute(0, 3, 1, 2)


def training_batches(
    reader: SampleReader,
    batch_size: int,
    seed: int,
    workers: int = 0,
    pin: bool = False,
    draws: Sequence[Sequence[int]] = (),
    ranks: Ranks = ALONE,
    later: bool = False,
) -> Loader:
    """Return shuffled, augmented batches; the order is new in each epoch.

    Parameters
    ----------
    reader : SampleReader
        All images of one size. With workers it is pickled into them.
    batch_size : int
        Images of a batch, over all processes.
    seed : int
    workers : int
        Processes that read and augment (spawned: a store's threads do not survive a fork); 0 does
        it in this one.
    pin : bool
        Page-locked memory, for faster copies to a GPU.
    draws : sequence of sequences of int
        Indices into ``reader`` of the samples of each of E draws, none of them empty; epoch e
        takes draw e modulo E. By default one draw holds all.
    ranks : Ranks
        This process among those that train together; ``batch_size`` is a multiple of their number.
    later : bool
        Leave the augmentation to `augmented`: batches hold what was drawn as a third tensor,
        float64 (N, 6).

    Returns
    -------
    Loader
        Batches (images (N, H, W, C), masks (N, H, W)), or the exception that reading raised,
        which would lose its one-line message on the way out of a worker. It has no length:
        Lightning would hold each epoch to that of the first; see `count_batches`.

    Notes
    -----
    A last batch that leaves a process with a single image is left out of its epoch: batch
    normalisation has no variance where the bottleneck is one pixel. Which images these are changes
    with the epoch.
    """
    shuffle = _Shuffle(draws or (range(len(reader)),), batch_size, seed, ranks)
    return _loader(_Samples(reader, seed, later), shuffle, batch_size // ranks.size, workers, pin)


def augmented(
    images: torch.Tensor, masks: torch.Tensor, changes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Augment a batch on the device where it is, as the loader else does sample by sample.

    Parameters
    ----------
    images : uint8 or float32, shape (N, H, W, C)
    masks : uint8, shape (N, H, W)
    changes : float64, shape (N, 6)
        On the CPU: a device would be waited for.

    Returns
    -------
    images, masks
        Of the same shapes and dtypes.
    """
    drawn = [Affine.of_row(row) for row in changes.tolist()]
    pairs = [apply_to_tensors(*each) for each in zip(drawn, images, masks, strict=True)]
    moved, labels = zip(*pairs, strict=True)
    return torch.stack(moved), torch.stack(labels)


def count_batches(
    draws: Sequence[Sequence[int]], batch_size: int, epochs: int, ranks: Ranks = ALONE
) -> list[int]:
    """Count the batches that `training_batches` makes in each epoch.

    Examples
    --------
    >>> count_batches([range(18), range(17)], batch_size=8, epochs=3)
    [3, 2, 3]
    """
    counts = [-(-_in_batches(len(draw), batch_size, ranks.size) // batch_size) for draw in draws]
    return [counts[epoch % len(counts)] for epoch in range(epochs)]


def validation_batches(
    reader: SampleReader,
    batch_size: int,
    workers: int = 0,
    pin: bool = False,
    ranks: Ranks = ALONE,
) -> Loader:
    """Return all samples as they are and in order, in batches as `training_batches` makes them.

    Of processes that validate together each takes every n-th sample, none of them twice.
    """
    order = _InOrder(range(ranks.rank, len(reader), ranks.size))
    return _loader(_Samples(reader, None), order, batch_size // ranks.size, workers, pin)


def _loader(
    samples: _Samples,
    sampler: _Shuffle | _InOrder,
    batch_size: int,
    workers: int,
    pin: bool,
) -> Loader:
    return Loader(
        samples,
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=_stack,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=end_unheard,
        generator=torch.Generator(),  # the loader's own draws must not move the global one
        pin_memory=pin,
    )


class _Samples(Dataset["Item"]):
    """Samples by (epoch, index), augmented where there is a seed."""

    def __init__(self, reader: SampleReader, seed: int | None, later: bool = False) -> None:
        self.reader = reader
        self.seed = seed
        self.later = later

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        epoch, index = key
        try:
            image, mask = self.reader.read(index)
        except TOLD as error:
            return error
        if self.seed is None:
            return image, mask
        change = draw(generator(Stream.AUGMENT, self.seed, epoch, index))
        return (image, mask, change.row()) if self.later else apply(change, image, mask)


class _Shuffle(Sampler[tuple[int, int]]):
    """The draw of an epoch in an order of (seed, epoch); Lightning tells it the epoch."""

    def __init__(
        self, draws: Sequence[Sequence[int]], batch_size: int, seed: int, ranks: Ranks
    ) -> None:
        self.draws = draws
        self.batch_size = batch_size
        self.seed = seed
        self.ranks = ranks
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        draw = self.draws[self.epoch % len(self.draws)]
        order = generator(Stream.SHUFFLE, self.seed, self.epoch).permutation(len(draw)).tolist()
        kept = order[: _in_batches(len(draw), self.batch_size, self.ranks.size)]
        batches = (
            kept[start : start + self.batch_size] for start in range(0, len(kept), self.batch_size)
        )
        ours = (place for batch in batches for place in batch[self.ranks.rank :: self.ranks.size])
        return iter([(self.epoch, draw[place]) for place in ours])


def _in_batches(samples: int, batch_size: int, processes: int) -> int:
    """Leave out a last batch of less than two images a process, unless all are like that."""
    rest = samples % batch_size
    least = processes * min(2, batch_size // processes)
    return samples - rest if rest < least and samples > rest else samples


class _InOrder(Sampler[tuple[int, int]]):
    def __init__(self, indices: Sequence[int]) -> None:
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter([(0, index) for index in self.indices])


def _stack(items: Sequence[Item]) -> Batch:
    read = []
    for item in items:
        if isinstance(item, Exception):
            return item
        read.append(item)
    return stacked(list(zip(*read, strict=True)))


# -------------------------------------------------------------------------------------------------
# Samples that stay in memory once they were read: epochs after the first wait for no disk.


MOST: Final = 1 << 29
"""Bytes kept by default: 2,000 samples of 256 px."""


class Recalled:
    """A reader that keeps what it read, as far as a limit allows.

    What is kept is as it was stored, before any augmentation. Once the limit is reached the
    further samples are read each time; those kept stay, whatever the order asked for (the least
    recently used would be the very ones that the next epoch needs).

    Parameters
    ----------
    reader : SampleReader
    most : int
        Bytes kept at most.
    """

    def __init__(self, reader: SampleReader, most: int = MOST) -> None:
        self._reader = reader
        self._left = most
        self._kept: dict[int, tuple[Image, UInt8]] = {}

    def __len__(self) -> int:
        return len(self._reader)

    def read(self, index: int) -> tuple[Image, UInt8]:
        """Return image (H, W, C) and mask (H, W), not to be written into.

        Raises
        ------
        Exception
            Whatever the reader raises; nothing is kept of such a sample.
        """
        if index in self._kept:
            return self._kept[index]
        image, mask = self._reader.read(index)
        size = image.nbytes + mask.nbytes
        if size <= self._left:
            self._left -= size
            image.flags.writeable = mask.flags.writeable = False
            self._kept[index] = image, mask
        return image, mask
