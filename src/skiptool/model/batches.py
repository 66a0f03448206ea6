"""Batches of samples: shuffling and augmentation that do not depend on the number of workers.

The sampler passes each worker the epoch along with the index, so the augmentation of a sample
depends only on (seed, epoch, index). If the samples come in several draws, each epoch uses one of
them. Processes that train together share each batch: each takes every n-th sample. Batches are
transferred as (N, H, W, C) in their stored dtype, a quarter of the size of floats;
`to_network_input` converts them to network input on the device.

Transfer from worker processes: torch puts tensors into shared memory (``/dev/shm``) in a thread of
the worker. If that memory is too small, as in a container with 64 MB by default, the thread prints
a traceback, the batch is lost, and the training process waits for it forever. Here a batch is
therefore put there before it is handed over, goes through a pipe if there is no room, and a worker
that cannot hand its batch over exits, which is noticed.
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
    AffineAugmentation,
    augment,
    augment_tensors,
    draw_augmentation,
)
from skiptool.model.distributed import ALONE, Ranks

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Image, Progress, SampleReader, UInt8

    Item = tuple[Image, UInt8] | tuple[Image, UInt8, tuple[float, ...]] | Exception
    Batch = tuple[torch.Tensor, ...] | Exception

# Random streams


class RandomStream(IntEnum):
    """Purpose of random numbers, and first word of every seed: streams are independent."""

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
"""Upper bound of the locks in the queues of a worker, for training and validation."""

UNSENT_EXIT_CODE: Final = 74
"""Exit code of a worker that could not hand over its batch."""


class BatchLoader(DataLoader[Any]):
    """A data loader that yields tensors, warning once (``warn``) if batches come through a pipe."""

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


def stack_arrays(
    columns: Sequence[Sequence[AnyArray]],
) -> tuple[torch.Tensor, ...] | tuple[Any, ...]:
    """Stack the arrays of a batch, ready for transfer to another process.

    Returns tensors, in shared memory if this is a worker, or arrays if there is no room.
    """
    arrays = tuple(np.stack(column) for column in columns)
    tensors = tuple(map(torch.from_numpy, arrays))
    if get_worker_info() is None:
        return tensors
    try:
        for tensor in tensors:
            tensor.share_memory_()  # type: ignore[no-untyped-call]
    except (RuntimeError, OSError):  # no room, no such folder, too many open files
        return arrays
    return tensors


def exit_if_unsent(_: int) -> None:
    """Make this worker exit if it cannot hand over a batch, instead of printing a traceback."""
    Queue._on_queue_feeder_error = staticmethod(_exit)  # type: ignore[attr-defined]


def _exit(_error: Exception, _batch: object) -> None:
    os._exit(UNSENT_EXIT_CODE)


def usable_workers(workers: int, progress: Progress) -> int:
    """Return 0, with a warning, if that many workers cannot be started.

    Their queues have locks, which need shared memory too.
    """
    context = multiprocessing.get_context("spawn")
    try:
        _ = [context.Lock() for _ in range(LOCKS * (workers + 1) if workers else 0)]
    except OSError as error:
        progress.warn(
            f"loader processes cannot be started ({error.strerror or error} in /dev/shm): the "
            "main process reads by itself, as with --workers 0"
        )
        return 0
    return workers


# Batches

ONE_LINE_ERRORS = (SkiptoolError, OSError, MemoryError)
"""Errors with one-line messages, which torch would bury under a worker's traceback."""


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
    ranks: Ranks = ALONE,
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
        Processes that read and augment (spawned, because a store's threads do not survive a fork);
        0: this one.
    pin : bool
        Page-locked memory, for faster copies to a GPU.
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
    shuffle = _Shuffle(draws or (range(len(reader)),), batch_size, seed, ranks)
    samples = _Samples(reader, seed, defer_augmentation)
    return _loader(samples, shuffle, batch_size // ranks.size, workers, pin)


def augment_batch(
    images: torch.Tensor, masks: torch.Tensor, changes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Augment a batch, images (N, H, W, C) and masks (N, H, W), on its device.

    ``changes``, float64 (N, 6), are on the CPU, to avoid waiting for a device.
    """
    drawn = [AffineAugmentation.of_row(row) for row in changes.tolist()]
    pairs = [augment_tensors(*sample) for sample in zip(drawn, images, masks, strict=True)]
    moved, labels = zip(*pairs, strict=True)
    return torch.stack(moved), torch.stack(labels)


def count_batches(
    draws: Sequence[Sequence[int]], batch_size: int, epochs: int, ranks: Ranks = ALONE
) -> list[int]:
    """Count the batches of `training_batches` in each epoch.

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
) -> BatchLoader:
    """Return batches of all samples, unchanged and in order, like those of `training_batches`.

    Each of n processes takes every n-th sample.
    """
    order = _InOrder(range(ranks.rank, len(reader), ranks.size))
    return _loader(_Samples(reader, None), order, batch_size // ranks.size, workers, pin)


def _loader(
    samples: _Samples,
    sampler: _Shuffle | _InOrder,
    batch_size: int,
    workers: int,
    pin: bool,
) -> BatchLoader:
    return BatchLoader(
        samples,
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=_stack,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=exit_if_unsent,
        generator=torch.Generator(),  # the loader's draws must not advance the global one
        pin_memory=pin,
    )


class _Samples(Dataset["Item"]):
    """Samples by (epoch, index), augmented if there is a seed."""

    def __init__(self, reader: SampleReader, seed: int | None, deferred: bool = False) -> None:
        self.reader = reader
        self.seed = seed
        self.deferred = deferred

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        epoch, index = key
        try:
            image, mask = self.reader.read(index)
        except ONE_LINE_ERRORS as error:
            return error
        if self.seed is None:
            return image, mask
        change = draw_augmentation(generator(RandomStream.AUGMENT, self.seed, epoch, index))
        return (image, mask, change.row()) if self.deferred else augment(change, image, mask)


class _Shuffle(Sampler[tuple[int, int]]):
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
        order = (
            generator(RandomStream.SHUFFLE, self.seed, self.epoch).permutation(len(draw)).tolist()
        )
        kept = order[: _in_batches(len(draw), self.batch_size, self.ranks.size)]
        batches = (
            kept[start : start + self.batch_size] for start in range(0, len(kept), self.batch_size)
        )
        own = (index for batch in batches for index in batch[self.ranks.rank :: self.ranks.size])
        return iter([(self.epoch, draw[index]) for index in own])


def _in_batches(samples: int, batch_size: int, processes: int) -> int:
    """Drop a last batch with less than two images per process, unless it is the only one."""
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
    return stack_arrays(list(zip(*read, strict=True)))


CACHE_BYTES: Final = 1 << 29
"""Default size of the cache in bytes: 2,000 samples of 256 px."""


class CachedReader:
    """A reader that caches samples as stored, before augmentation, up to ``most`` bytes.

    Beyond that, further samples are read each time and the cached ones stay: evicting the least
    recently used would evict those that the next epoch needs first.
    """

    def __init__(self, reader: SampleReader, most: int = CACHE_BYTES) -> None:
        self._reader = reader
        self._room = most
        self._cache: dict[int, tuple[Image, UInt8]] = {}

    def __len__(self) -> int:
        return len(self._reader)

    def read(self, index: int) -> tuple[Image, UInt8]:
        """Return image (H, W, C) and mask (H, W), read-only if cached."""
        if index in self._cache:
            return self._cache[index]
        image, mask = self._reader.read(index)
        size = image.nbytes + mask.nbytes
        if size <= self._room:
            self._room -= size
            image.flags.writeable = mask.flags.writeable = False
            self._cache[index] = image, mask
        return image, mask
