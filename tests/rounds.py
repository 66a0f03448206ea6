"""Timing several ways to do one thing, in turn."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

__all__ = ["print_ratios", "seconds"]


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return the wall seconds of a call, and those of all cores."""
    wall, cores = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cores


def print_ratios(runs: dict[str, Callable[[], object]], rounds: int) -> None:
    """Time all in turn; print the least seconds of each, and the last divided by each."""
    times = np.array([[seconds(work) for work in runs.values()] for _ in range(rounds)])
    least, ratios = times.min(axis=0), np.median(times[:, -1:] / times, axis=0)
    for name, (wall, cores), (more_wall, more_cores) in zip(runs, least, ratios, strict=True):
        print(
            f"{name:24s} {wall:7.3f} s wall {cores:7.3f} s CPU   "
            f"{[*runs][-1]} / this: {more_wall:5.2f} wall {more_cores:5.2f} CPU"
        )
