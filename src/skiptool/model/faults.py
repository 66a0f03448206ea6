"""Faults of the machine, in one line each: too little memory, a loader process that is gone.

torch raises them as RuntimeErrors of many lines. Here they become the exceptions that the standard
library has for them, after which an output that has begun to grow is kept to be gone on with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from skiptool.errors import OutOfMemoryError, SkiptoolError, WorkerError

__all__ = ["memory_told", "training_told"]

MEMORY = re.compile(r"(can't|cannot) allocate memory|not enough memory|out of memory|ALLOC_FAILED")
"""What the allocators of processors, of GPUs and of their libraries say."""

WORKER = re.compile(r"DataLoader worker|Pin memory thread|shared memory|torch_shm")
"""What torch's loader says of processes that were killed, or could not hand their batch over."""

COMPILERS = ("torch._dynamo", "torch._inductor")
"""Where torch's compiler has its errors."""


@contextmanager
def memory_told(device: str, doing: str) -> Iterator[None]:
    """Say in one line what there was too little memory of a device for.

    Raises
    ------
    MemoryError
        In place of torch's own error.
    """
    try:
        yield
    except RuntimeError as error:
        if not _of_memory(error):
            raise
        raise MemoryError(f"device {device} has not enough memory for {doing}") from error


@contextmanager
def training_told(device: str, doing: str, workers: int) -> Iterator[None]:
    """Say in one line which fault of the machine ended a training, and how to go on.

    Parameters
    ----------
    device : str
    doing : str
        What memory is needed for, such as batches of how many images.
    workers : int
        Processes that read.

    Raises
    ------
    OutOfMemoryError
        In place of any error of too little memory.
    WorkerError
        In place of torch's, where a process that reads was killed: on Linux mostly for memory.
    SkiptoolError
        If the network cannot be compiled.
    """
    try:
        yield
    except SkiptoolError:
        raise
    except (MemoryError, OSError, RuntimeError) as error:
        if isinstance(error, MemoryError) or _of_memory(error):
            fewer = f" or lower --workers ({workers} now)" if workers else ""
            raise OutOfMemoryError(
                f"training: device {device} has not enough memory for {doing}; free memory{fewer} "
                "and go on with --resume, or start again with --overwrite and a lower --batch-size"
            ) from error
        if isinstance(error, RuntimeError) and workers and WORKER.search(str(error)):
            said = " ".join(str(error).split())
            raise WorkerError(
                f"training: one of {workers} processes that read was killed or is out of memory "
                f"({said}); go on with --resume and fewer --workers (0 reads without them) or more "
                "memory"
            ) from error
        if type(error).__module__.startswith(COMPILERS):
            said = str(error).split("\n")[0]
            raise SkiptoolError(
                f"--compile: the network cannot be compiled here ({said}); a C++ compiler is "
                "needed (CXX names one), or leave it out"
            ) from error
        raise


def _of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or bool(MEMORY.search(str(error)))
