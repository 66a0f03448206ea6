"""How many cores there are for this process: by its affinity, its control group, and the others."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Final

__all__ = ["available_cores", "idle_cores"]

STAT: Final = Path("/proc/stat")


def available_cores() -> int:
    """Cores that this process may use, at least 1.

    Its affinity (``taskset``, cpusets), and the quota of its control group (``docker --cpus``).
    """
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    return max(1, math.ceil(min(cores, _quota(Path("/")))))


def idle_cores(seconds: float = 0.5) -> float:
    """Measure how many of the cores that this process may use nobody uses, while it waits.

    Parameters
    ----------
    seconds : float
        So long it is measured.

    Returns
    -------
    float
        From 0 to `available_cores`; that where the system does not say.
    """
    cores = available_cores()
    before = _ticks()
    time.sleep(seconds)
    shares = [
        (idle - before[core][0]) / (whole - before[core][1])
        for core, (idle, whole) in _ticks().items()
        if core in before and whole > before[core][1]
    ]
    return min(float(cores), sum(shares)) if shares else float(cores)


def _ticks() -> dict[int, tuple[int, int]]:
    """Return idle ticks and all ticks of each core that this process may use."""
    found: dict[int, tuple[int, int]] = {}
    try:
        mine = os.sched_getaffinity(0)
        lines = STAT.read_text().splitlines()
    except (OSError, AttributeError):  # not Linux
        return found
    for line in lines:
        name, *words = line.split()
        number = name.removeprefix("cpu")
        if number.isdecimal() and int(number) in mine:
            ticks = list(map(int, words[:8]))  # those of guests are in those of users
            found[int(number)] = ticks[3] + ticks[4], sum(ticks)
    return found


def _quota(root: Path) -> float:
    """Return the cores that control groups allow this process; infinity where they set no limit.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` are.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return math.inf
    found = math.inf
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers == "":
            top, read = root / "sys/fs/cgroup", _limit_2
        elif "cpu" in controllers.split(","):
            top, read = root / "sys/fs/cgroup" / controllers, _limit_1
        else:
            continue
        # a group is bound by the limits of all above it; in a container its own is at the top
        inner = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(inner) + 1):
            found = min(found, read(top.joinpath(*inner[:depth])))
    return found


def _limit_2(group: Path) -> float:
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf


def _limit_1(group: Path) -> float:
    try:
        quota, period = (
            int((group / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period")
        )
        return math.inf if quota <= 0 else quota / period
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
