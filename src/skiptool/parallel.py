"""Parallel mapping over threads or a Dask cluster, and counts of available and idle cores."""

from __future__ import annotations

import math
import os
import time
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
"""Linux's counters of processor time."""


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

    Returns `available_cores` where the system does not report it.
    """
    cores = float(available_cores())
    before = _ticks()
    time.sleep(seconds)
    idle_shares = []
    for core, (idle, total) in _ticks().items():
        idle_before, total_before = before.get(core, (idle, total))
        if total > total_before:
            idle_shares.append((idle - idle_before) / (total - total_before))
    return min(cores, sum(idle_shares)) if idle_shares else cores


def _ticks() -> dict[int, tuple[int, int]]:
    """Return idle ticks and total ticks of each core this process may use."""
    ticks: dict[int, tuple[int, int]] = {}
    try:
        usable = os.sched_getaffinity(0)
        lines = STAT.read_text().splitlines()
    except (OSError, AttributeError):  # not Linux
        return ticks
    for line in lines:
        name, *columns = line.split()
        core = name.removeprefix("cpu")
        if core.isdecimal() and int(core) in usable:
            # user, nice, system, idle, iowait, irq, softirq, steal; user includes guest time
            counters = [int(column) for column in columns[:8]]
            ticks[int(core)] = counters[3] + counters[4], sum(counters)
    return ticks


def _quota(root: Path) -> float:
    """Return the number of cores that control groups allow, or infinity.

    ``/proc`` and ``/sys`` are below ``root``.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return math.inf
    cores = math.inf
    for line in lines:
        _, _, entry = line.partition(":")
        controllers, _, path = entry.partition(":")
        if controllers == "":
            top, read_limit = root / "sys/fs/cgroup", _limit_v2
        elif "cpu" in controllers.split(","):
            top, read_limit = root / "sys/fs/cgroup" / controllers, _limit_v1
        else:
            continue
        # The limits of all ancestors apply; in a container its own group is the root.
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            cores = min(cores, read_limit(top.joinpath(*parts[:depth])))
    return cores


def _limit_v2(group: Path) -> float:
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf


def _limit_v1(group: Path) -> float:
    try:
        quota = int((group / "cpu.cfs_quota_us").read_text())
        period = int((group / "cpu.cfs_period_us").read_text())
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
        Called from several threads at once: it should release the GIL most of the time, like
        NumPy, torch and image decoders, and must not change shared state.
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
    """Map over threads like `ordered_map`; ``merge`` is only needed on a cluster."""
    return ordered_map(function, items, workers)


FAN_IN = 8
"""Number of results that one task of a cluster merges."""

CONNECT_SECONDS = 10
"""Time allowed for the scheduler to answer."""


@contextmanager
def dask_mapper(
    address: str, *, workers: int | None = None
) -> Iterator[Callable[..., Iterator[Any]]]:
    """Connect to a Dask cluster and yield a mapper like `thread_map` that works there.

    Functions and items must be picklable. Given ``merge``, the workers merge eight neighbouring
    results at a time before transfer. Results come in the order of the items, equal to those of
    `thread_map`; if lost with a worker, another recomputes them.

    Parameters
    ----------
    address : str
        Address of a scheduler (``tcp://host:8786``), or ``local`` for processes on this machine.
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
        yield lambda function, items, merge=None: _map_on_cluster(client, function, items, merge)


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
        _check_scheduler(dask, address)
        yield stack.enter_context(dask.Client(address, timeout=CONNECT_SECONDS))


def _check_scheduler(dask: Any, address: str) -> None:  # noqa: ANN401 - Dask has no types
    """Shake hands first, as Dask's client waits forever if another kind of server listens."""
    from asyncio import run, wait_for  # lazy: only a cluster needs it

    async def greet() -> None:
        comm = await wait_for(dask.comm.connect(address, CONNECT_SECONDS), CONNECT_SECONDS)
        comm.abort()

    with ThreadPoolExecutor(1) as pool:  # a notebook already runs a loop in this thread
        pool.submit(run, greet()).result()


def _map_on_cluster(
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
        # Remove each future, so that the cluster can free results that have arrived.
        yield futures.pop(0).result()
