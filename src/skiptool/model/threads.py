"""How many threads torch computes with: as many as there are cores that nobody else uses.

Threads that share a batch wait for each other at a hundred places of a network; where one of them
has to wait for a core, all do. On a busy machine one thread may be five times as fast as two.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import torch

from skiptool.model.hardware import choose_device
from skiptool.parallel import available_cores, idle_cores

if TYPE_CHECKING:
    from skiptool.records import Progress

__all__ = ["threads_now", "threads_used"]

SAID: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables of the environment by which a number is asked for too."""


def threads_now() -> int:
    """Return the number of threads that torch computes with."""
    return torch.get_num_threads()


@contextmanager
def threads_used(asked: int | None, device: str, progress: Progress) -> Iterator[int]:
    """Compute with so many threads, and give torch its own number back.

    Parameters
    ----------
    asked : int or None
        None: on a processor as many as are idle of those cores that this process may use, unless
        the environment says a number; elsewhere torch's own number.
    device : str
        As typed.
    progress : Progress
        Is told where other processes leave fewer cores than there are.

    Yields
    ------
    int
    """
    before = torch.get_num_threads()
    threads = asked or _chosen(before, device, progress)
    torch.set_num_threads(threads)
    try:
        yield threads
    finally:
        torch.set_num_threads(before)


def _chosen(usual: int, device: str, progress: Progress) -> int:
    if any(os.environ.get(name) for name in SAID) or choose_device(device) != "cpu":
        return usual
    cores = available_cores()
    most = min(usual, cores)
    if most == 1:
        return 1
    idle = idle_cores()
    threads = max(1, min(most, round(idle)))
    if threads < most:
        others = f"other processes use the cores ({idle:.1f} of {cores} idle)"
        progress.warn(f"{others}: {_counted(threads)} taken, --threads {most} takes them all")
    return threads


def _counted(threads: int) -> str:
    return "1 thread is" if threads == 1 else f"{threads} threads are"
