"""How work is mapped: over the cores of this process, or over a Dask cluster."""

from __future__ import annotations

import math
import os
import time
from asyncio import run, wait_for
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from skiptool.errors import ArgumentError

__all__ = ["available_cores", "dask_mapper", "idle_cores", "mapped", "threaded"]

# -------------------------------------------------------------------------------------------------
# How many cores there are for this process: by its affinity, its control group, and the others.


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


T = TypeVar("T")
R = TypeVar("R")


def mapped(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Apply a function to items over threads; results come in the order of the items.

    Parameters
    ----------
    function : callable
        Called from several threads at once: it should release the GIL for most of its time, as
        NumPy, torch and the decoders of images do, and share nothing that it changes.
    items : iterable
        Read in the thread of the caller, at most ``2 * workers`` ahead of what was yielded.
    workers : int
        Number of threads; with 1 or less everything runs in the thread of the caller.

    Yields
    ------
    result
        Of each item. An exception of ``function`` is raised where its result would have come.
        After it, and when the iteration is given up (``close``, an interrupt), what is waiting
        is cancelled and what is running is waited for.

    Examples
    --------
    >>> list(mapped(abs, [-1, -2, -3], workers=2))
    [1, 2, 3]
    """
    if workers <= 1:
        yield from map(function, items)
        return
    waiting: deque[Future[R]] = deque()
    source = iter(items)
    pool = ThreadPoolExecutor(workers)
    try:
        waiting.extend(pool.submit(function, item) for item in islice(source, 2 * workers))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(source, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def threaded(
    function: Callable[[T], R],
    items: Iterable[T],
    merge: Callable[[Sequence[R]], R] | None = None,
    *,
    workers: int,
) -> Iterator[R]:
    """Map over threads as :func:`mapped`; within a process nothing needs to be merged."""
    return mapped(function, items, workers)


FAN_IN = 8
"""Results merged into one by a task of a cluster."""

CONNECT_SECONDS = 10
"""So long a scheduler may take to answer."""


@contextmanager
def dask_mapper(
    address: str, *, workers: int | None = None
) -> Iterator[Callable[..., Iterator[Any]]]:
    """Connect to a Dask cluster and yield a mapper that works there.

    Functions and items must be picklable. Results that may be merged are merged on the workers,
    eight neighbours at a time, before they travel; they come in the order of the items, equal to
    those of :func:`threaded`. What is lost with a worker is computed again by another.

    Parameters
    ----------
    address : str
        Of a scheduler (``tcp://host:8786``), or ``local`` for processes of this machine.
    workers : int, optional
        Processes of ``local``; by default as many as Dask finds cores.

    Raises
    ------
    ArgumentError
        If Dask is not installed or the scheduler does not answer.
    """
    try:
        dask: Any = import_module("distributed")
    except ImportError:
        raise ArgumentError(
            f"--dask {address}: Dask is not installed; pip install 'skiptool[dask]'"
        ) from None
    with ExitStack() as stack:
        try:
            client = stack.enter_context(_connected(dask, address, workers))
        except (OSError, ValueError) as error:
            reason = str(error) or "what listens is silent"
            raise ArgumentError(
                f"--dask {address}: no scheduler answers there ({reason}); give its address, such "
                "as tcp://host:8786, or local"
            ) from error
        yield lambda function, items, merge=None: _on_cluster(client, function, items, merge)


@contextmanager
def _connected(dask: Any, address: str, workers: int | None) -> Iterator[Any]:  # noqa: ANN401
    with ExitStack() as stack:
        if address == "local":
            threads = None if workers is None else 1
            cluster = dask.LocalCluster(
                workers,
                threads_per_worker=threads,
                dashboard_address=None,
                scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # any port that is free
            )
            address = stack.enter_context(cluster).scheduler_address
        _check_answer(dask, address)
        yield stack.enter_context(dask.Client(address, timeout=CONNECT_SECONDS))


def _check_answer(dask: Any, address: str) -> None:  # noqa: ANN401 - Dask has no types
    """Shake hands, as Dask's own client waits forever where something else listens."""

    async def greet() -> None:
        comm = await wait_for(dask.comm.connect(address, CONNECT_SECONDS), CONNECT_SECONDS)
        comm.abort()

    with ThreadPoolExecutor(1) as pool:  # notebooks run a loop in their own thread
        pool.submit(run, greet()).result()


def _on_cluster(
    client: Any,  # noqa: ANN401
    function: Callable[[Any], R],
    items: Iterable[Any],
    merge: Callable[[Sequence[R]], R] | None,
) -> Iterator[R]:
    futures = client.map(function, list(items), pure=False)
    if merge is not None:
        groups = [futures[i : i + FAN_IN] for i in range(0, len(futures), FAN_IN)]
        futures = [client.submit(merge, group, pure=False) for group in groups]
    while futures:
        # Given up one by one, so that the cluster can forget what has arrived.
        yield futures.pop(0).result()
