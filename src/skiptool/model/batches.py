"""Batches of samples, shuffled and augmented independently of the number of workers.

The sampler passes each worker the epoch along with the index, so the augmentation of a sample
depends only on (seed, epoch, index). If the samples come in several draws, each epoch uses one of
them. Processes that train together share each batch: each takes every n-th sample. Batches are
transferred as (N, H, W, C) in their stored dtype, a quarter of the size of floats;
`to_network_input` converts them to network input on the device.

Transfer from worker processes: torch puts tensors into shared memory (``/dev/shm``) in a thread of
the worker. If that memory is too small, as in a container with 64 MB by default, the thread prints
a traceback, the batch is lost, and the training process waits for it forever. Here a batch is
therefore put into shared memory before it is queued, or sent through a pipe if there is no room;
a worker that cannot queue its batch exits, which torch detects.
"""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from multiprocessing.queues import Queue
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from skiptool.errors import SkiptoolError
from skiptool.model.augmentation import (
    AffineAugmentation,
    augment,
    augment_tensors,
    draw_augmentation,
)
from skiptool.model.distributed import SINGLE_PROCESS, Ranks

if TYPE_CHECKING:
    from skiptool.records import Image, Progress, SampleReader, UInt8

    Sample = tuple[Image, UInt8] | tuple[Image, UInt8, tuple[float, ...]] | Exception
    Batch = tuple[Any, ...] | Exception

# Random streams


class RandomStream(IntEnum):
    """Purpose of random numbers; the first word of every seed, so that streams are independent."""

    WEIGHTS = 1
    SHUFFLE = 2
    AUGMENT = 3
    TRAINING = 4


def generator(stream: RandomStream, *numbers: int) -> np.random.Generator:
    """Return the generator of a stream for ``numbers`` (seed, epoch, index ...).

    Examples
    --------
    >>> generator(RandomStream.SHUFFLE, 0, 3).permutation(4).tolist()
    [1, 2, 3, 0]
    """
    return np.random.default_rng([stream, *numbers])


def torch_seed(stream: RandomStream, *numbers: int) -> int:
    """Hash a stream and its numbers into a 64-bit seed for torch."""
    return int(np.random.SeedSequence([stream, *numbers]).generate_state(1, np.uint64)[0])


@contextmanager
def seeded(stream: RandomStream, *numbers: int) -> Iterator[None]:
    """Seed torch's CPU generator within the context, and restore its state afterwards."""
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(torch_seed(stream, *numbers))
    try:
        yield
    finally:
        torch.set_rng_state(state)


# Transfer from worker processes

PIPE_WARNING: Final = (
    "shared memory (/dev/shm) is too small for the batches of loader processes: they go through "
    "pipes, which is slower; enlarge it (docker run --shm-size=8g) or use fewer --workers"
)

LOCKS: Final = 16
"""Upper bound of the locks that the queues of one worker need, for training and validation."""

UNSENT_EXIT_CODE: Final = 74
"""Exit code of a worker that could not send its batch."""


class BatchLoader(DataLoader[Any]):
    """A data loader that yields tensors, and warns once (``warn``) if batches arrive by pipe."""

    warn: Callable[[str], None] | None = None

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield batches of tensors, or exceptions from workers."""
        for batch in super().__iter__():
            if isinstance(batch, tuple | list) and isinstance(batch[0], np.ndarray):
                if self.warn is not None:
                    self.warn(PIPE_WARNING)
                    self.warn = None
                yield tuple(map(torch.from_numpy, batch))
            else:
                yield batch


def exit_if_unsent(_worker: int) -> None:
    """Make this worker exit if it cannot send a batch, instead of printing a traceback."""
    Queue._on_queue_feeder_error = staticmethod(_exit)  # type: ignore[attr-defined]


def _exit(_error: Exception, _batch: object) -> None:
    os._exit(UNSENT_EXIT_CODE)


def usable_workers(workers: int, progress: Progress) -> int:
    """Return ``workers``, or 0, with a warning, if that many processes cannot be started.

    Their queues have locks, which need shared memory too.
    """
    if not workers:
        return 0
    context = multiprocessing.get_context("spawn")
    try:
        _ = [context.Lock() for _ in range(LOCKS * (workers + 1))]
    except OSError as error:
        progress.warn(
            f"loader processes cannot be started ({error.strerror or error} in /dev/shm): the "
            "main process reads by itself, as with --workers 0"
        )
        return 0
    return workers


# Batches

ONE_LINE_ERRORS = (SkiptoolError, OSError, MemoryError)
"""Errors with one-line messages, which torch would bury in a worker's traceback."""


def to_network_input(images: torch.Tensor) -> torch.Tensor:
    """Convert stored images (N, H, W, C) to network input, float32 (N, C, H, W).

    uint8 is divided by 255, float32 unchanged; channels stay last in memory.
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
    ranks: Ranks = SINGLE_PROCESS,
    defer_augmentation: bool = False,
) -> BatchLoader:
    """Return shuffled, augmented batches, in a new order each epoch.

    Parameters
    ----------
    reader : SampleReader
        All images of one size. It is pickled to workers.
    batch_size : int
        Images per batch, over all processes.
    workers : int
        Processes that read and augment; with 0 this one does. They are spawned, because a store's
        threads do not survive a fork.
    pin : bool
        Use page-locked memory, for faster copies to a GPU.
    draws : sequence of sequences of int
        Indices into ``reader`` of the samples of each of E draws, none of them empty; epoch e
        uses draw e modulo E. Default: one draw of all.
    ranks : Ranks
        This process among those that train together; ``batch_size`` is a multiple of their number.
    defer_augmentation : bool
        Leave augmentation to `augment_batch`: batches have the transformations as a third tensor,
        float64 (N, 6).

    Returns
    -------
    BatchLoader
        Batches (images (N, H, W, C), masks (N, H, W)), or the exception raised by reading, which
        would otherwise lose its one-line message on the way out of a worker. It has no length,
        because Lightning would limit each epoch to that of the first; see `count_batches`.

    Notes
    -----
    A last batch that leaves a process with a single image is dropped: batch normalisation has no
    variance if the bottleneck is one pixel. The images dropped change with the epoch.
    """
    sampler = _ShuffledDraws(draws or (range(len(reader)),), batch_size, seed, ranks)
    samples = _Samples(reader, seed, defer_augmentation)
    return _loader(samples, sampler, batch_size // ranks.world_size, workers, pin)


def augment_batch(
    images: torch.Tensor, masks: torch.Tensor, transforms: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Augment a batch, images (N, H, W, C) and masks (N, H, W), on its device.

    ``transforms``, float64 (N, 6), are on the CPU, to avoid waiting for the device.
    """
    augmented = [
        augment_tensors(AffineAugmentation.from_row(row), image, mask)
        for row, image, mask in zip(transforms.tolist(), images, masks, strict=True)
    ]
    return (
        torch.stack([image for image, _ in augmented]),
        torch.stack([mask for _, mask in augmented]),
    )


def count_batches(
    draws: Sequence[Sequence[int]], batch_size: int, epochs: int, ranks: Ranks = SINGLE_PROCESS
) -> list[int]:
    """Count the batches of `training_batches` in each epoch.

    Examples
    --------
    >>> count_batches([range(18), range(17)], batch_size=8, epochs=3)
    [3, 2, 3]
    """
    counts = [
        math.ceil(_samples_used(len(draw), batch_size, ranks.world_size) / batch_size)
        for draw in draws
    ]
    return [counts[epoch % len(counts)] for epoch in range(epochs)]


def validation_batches(
    reader: SampleReader,
    batch_size: int,
    workers: int = 0,
    pin: bool = False,
    ranks: Ranks = SINGLE_PROCESS,
) -> BatchLoader:
    """Return batches of all samples, unchanged and in order, like those of `training_batches`.

    Each of n processes takes every n-th sample.
    """
    keys = [(0, index) for index in range(ranks.rank, len(reader), ranks.world_size)]
    return _loader(_Samples(reader, None), keys, batch_size // ranks.world_size, workers, pin)


def _loader(
    samples: _Samples,
    sampler: Iterable[tuple[int, int]],
    batch_size: int,
    workers: int,
    pin: bool,
) -> BatchLoader:
    return BatchLoader(
        samples,
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=_collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=exit_if_unsent,
        generator=torch.Generator(),  # the loader's draws must not advance the global one
        pin_memory=pin,
    )


class _Samples(Dataset["Sample"]):
    """Samples by (epoch, index), augmented if there is a seed."""

    def __init__(
        self, reader: SampleReader, seed: int | None, defer_augmentation: bool = False
    ) -> None:
        self.reader = reader
        self.seed = seed
        self.defer_augmentation = defer_augmentation

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        try:
            image, mask = self.reader.read(index)
        except ONE_LINE_ERRORS as error:
            return error
        if self.seed is None:
            return image, mask
        transform = draw_augmentation(generator(RandomStream.AUGMENT, self.seed, epoch, index))
        if self.defer_augmentation:
            return image, mask, transform.to_row()
        return augment(transform, image, mask)


class _ShuffledDraws(Sampler[tuple[int, int]]):
    """The draw of an epoch in an order given by (seed, epoch); Lightning sets the epoch."""

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
        rank, world_size = self.ranks.rank, self.ranks.world_size
        rng = generator(RandomStream.SHUFFLE, self.seed, self.epoch)
        order = rng.permutation(len(draw)).tolist()
        used = order[: _samples_used(len(draw), self.batch_size, world_size)]
        batches = [
            used[start : start + self.batch_size] for start in range(0, len(used), self.batch_size)
        ]
        return iter(
            [(self.epoch, draw[index]) for batch in batches for index in batch[rank::world_size]]
        )


def _samples_used(samples: int, batch_size: int, processes: int) -> int:
    """Count samples, without a last batch of less than two per process unless it is the only one.

    Batches that are that small by choice count.
    """
    remainder = samples % batch_size
    fewest = processes * min(2, batch_size // processes)
    return samples - remainder if remainder < fewest and samples > remainder else samples


def _collate(items: Sequence[Sample]) -> Batch:
    """Stack the samples of a batch, or return the first exception among them.

    In a worker, tensors are put into shared memory; arrays are returned if there is no room.
    """
    samples = []
    for item in items:
        if isinstance(item, Exception):
            return item
        samples.append(item)
    arrays = tuple(np.stack(column) for column in zip(*samples, strict=True))
    tensors = tuple(map(torch.from_numpy, arrays))
    if get_worker_info() is None:
        return tensors
    try:
        for tensor in tensors:
            tensor.share_memory_()  # type: ignore[no-untyped-call]
    except (RuntimeError, OSError):  # no room, no such folder, too many open files
        return arrays
    return tensors


CACHE_BYTES: Final = 1 << 29
"""Default size of the cache in bytes: 2,000 samples of 256 px."""


class CachedReader:
    """A reader that caches samples as stored, before augmentation, up to ``max_bytes``.

    Beyond that, further samples are read each time and the cached ones stay: evicting the least
    recently used would evict those that the next epoch needs first.
    """

    def __init__(self, reader: SampleReader, max_bytes: int = CACHE_BYTES) -> None:
        self._reader = reader
        self._free_bytes = max_bytes
        self._cache: dict[int, tuple[Image, UInt8]] = {}

    def __len__(self) -> int:
        return len(self._reader)

    def read(self, index: int) -> tuple[Image, UInt8]:
        """Return image (H, W, C) and mask (H, W), read-only if cached."""
        if index in self._cache:
            return self._cache[index]
        image, mask = self._reader.read(index)
        size = image.nbytes + mask.nbytes
        if size <= self._free_bytes:
            self._free_bytes -= size
            image.flags.writeable = mask.flags.writeable = False
            self._cache[index] = image, mask
        return image, mask
