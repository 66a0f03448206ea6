"""How batches come from the processes that read them: in shared memory, or through a pipe.

torch puts tensors into shared memory (``/dev/shm``) in a thread of the reading process. Where that
memory is too small, as in a container, which has 64 MB of it by default, the thread prints a
traceback, the batch is lost, and the process that trains waits for it for ever. So a batch is put
there before it is handed over, goes through a pipe where there is no room, and a process whose
batch cannot be handed over ends, which is heard.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.queues import Queue
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch.utils.data import DataLoader, get_worker_info

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Progress

__all__ = ["Loader", "end_unheard", "readable_by", "stacked"]

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
