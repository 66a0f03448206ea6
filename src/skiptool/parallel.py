"""Parallel mapping over the cores of this process or over a Dask cluster, and core counts."""

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

STAT: Final = Path("/proc/stat")


def available_cores() -> int:
    """Return the number of cores this process may use, at least 1.

    Respects its affinity (``taskset``, cpusets) and its control group's quota (``docker --cpus``).
    """
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    return max(1, math.ceil(min(cores, _quota(Path("/")))))


def idle_cores(seconds: float = 0.5) -> float:
    """Measure for some seconds how many of the available cores are idle.

    Between 0 and `available_cores`; the latter where the system does not report it.
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
    """Return idle ticks and total ticks of each core this process may use."""
    cores: dict[int, tuple[int, int]] = {}
    try:
        mine = os.sched_getaffinity(0)
        lines = STAT.read_text().splitlines()
    except (OSError, AttributeError):  # not Linux
        return cores
    for line in lines:
        name, *words = line.split()
        number = name.removeprefix("cpu")
        if number.isdecimal() and int(number) in mine:
            ticks = list(map(int, words[:8]))  # user time includes guest time
            cores[int(number)] = ticks[3] + ticks[4], sum(ticks)
    return cores


def _quota(root: Path) -> float:
    """Return the cores allowed by control groups, or infinity; ``/proc`` is below ``root``."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return math.inf
    cores = math.inf
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers == "":
            top, read_limit = root / "sys/fs/cgroup", _limit_v2
        elif "cpu" in controllers.split(","):
            top, read_limit = root / "sys/fs/cgroup" / controllers, _limit_v1
        else:
            continue
        # The limits of all ancestors apply; in a container its own group is the root.
        inner = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(inner) + 1):
            cores = min(cores, read_limit(top.joinpath(*inner[:depth])))
    return cores


def _limit_v2(group: Path) -> float:
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf


def _limit_v1(group: Path) -> float:
    try:
        quota, period = (
            int((group / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period")
        )
        return math.inf if quota <= 0 else quota / period
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf


T = TypeVar("T")
R = TypeVar("R")


def ordered_map(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Apply a function to items in threads; results come in the order of the items.

    An exception of ``function`` is raised in place of its result. After it, and when the iteration
    is abandoned (``close``, an interrupt), pending calls are cancelled and running ones awaited.

    Parameters
    ----------
    function : callable
        Called from several threads at once: it should release the GIL most of the time, as NumPy,
        torch and image decoders do, and must not change shared state.
    items : iterable
        Read in the calling thread, at most ``2 * workers`` ahead of the results.
    workers : int
        Number of threads; with 1 or less everything runs in the calling thread.

    Examples
    --------
    >>> list(ordered_map(abs, [-1, -2, -3], workers=2))
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


def thread_map(
    function: Callable[[T], R],
    items: Iterable[T],
    merge: Callable[[Sequence[R]], R] | None = None,
    *,
    workers: int,
) -> Iterator[R]:
    """Map over threads as :func:`ordered_map`; ``merge`` is unused within a process."""
    return ordered_map(function, items, workers)


FAN_IN = 8
"""Number of results merged by one cluster task."""

CONNECT_SECONDS = 10
"""Timeout for an answer of the scheduler."""


@contextmanager
def dask_mapper(
    address: str, *, workers: int | None = None
) -> Iterator[Callable[..., Iterator[Any]]]:
    """Connect to a Dask cluster and yield a mapper like :func:`thread_map` that works there.

    Functions and items must be picklable. Results that can be merged are merged on the workers,
    eight neighbours at a time, before transfer; they come in the order of the items, equal to
    those of :func:`thread_map`. Results lost with a worker are recomputed by another.

    Parameters
    ----------
    address : str
        Of a scheduler (``tcp://host:8786``), or ``local`` for processes on this machine.
    workers : int, optional
        Number of processes for ``local``; by default one per core that Dask finds.

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
            reason = str(error) or "no reply"
            raise ArgumentError(
                f"--dask {address}: no scheduler answers ({reason}); give its address, such as "
                "tcp://host:8786, or local"
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
                scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # any free port
            )
            address = stack.enter_context(cluster).scheduler_address
        _check_answer(dask, address)
        yield stack.enter_context(dask.Client(address, timeout=CONNECT_SECONDS))


def _check_answer(dask: Any, address: str) -> None:  # noqa: ANN401 - Dask has no types
    """Shake hands first: Dask's client waits forever if another kind of server listens."""

    async def greet() -> None:
        comm = await wait_for(dask.comm.connect(address, CONNECT_SECONDS), CONNECT_SECONDS)
        comm.abort()

    with ThreadPoolExecutor(1) as pool:  # a notebook already runs a loop in this thread
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
        # Released one by one, so that the cluster can free results that have arrived.
        yield futures.pop(0).result()
