from __future__ import annotations

import math
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from cluster_work import Deadly, divided, process, squared, together
from skiptool import parallel
from skiptool.comparison.activations import Settings
from skiptool.comparison.pairs import measure_pairs
from skiptool.comparison.results import LayerResult
from skiptool.errors import ArgumentError, FormatError
from skiptool.names import LAYERWISE, Metric
from skiptool.parallel import available_cores, dask_mapper, idle_cores, ordered_map, thread_map
from skiptool.steps.hellinger import measure_shift
from small_activations import Noted, activations, numbered, written
from small_stores import refused

WORKERS = pytest.mark.parametrize("workers", [0, 1, 2, 5])


def slow_for_early(item: int) -> int:
    time.sleep(0.01 if item % 3 == 0 else 0.0)
    return item * item


@WORKERS
@pytest.mark.parametrize("length", [0, 1, 3, 40])
def test_results_come_in_order(workers: int, length: int) -> None:
    results = list(ordered_map(slow_for_early, range(length), workers))
    assert results == [item * item for item in range(length)]


@pytest.mark.parametrize("workers", [1, 3])
def test_reads_a_bounded_number_of_items_ahead(workers: int) -> None:
    read = 0

    def endless() -> Iterator[int]:
        nonlocal read
        while True:
            read += 1
            yield read

    results = ordered_map(str, endless(), workers)
    for yielded in range(1, 20):
        assert next(results) == str(yielded)
        assert read - yielded <= 2 * workers
    results.close()


def test_threads_run_concurrently() -> None:
    meeting = threading.Barrier(3, timeout=20)

    def meet(item: int) -> str:
        meeting.wait()
        return threading.current_thread().name

    assert len(set(ordered_map(meet, range(3), workers=3))) == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_one_worker_is_the_calling_thread(workers: int) -> None:
    threads = set(ordered_map(lambda _: threading.get_ident(), range(3), workers))
    assert threads == {threading.get_ident()}


@WORKERS
def test_exceptions_replace_their_result(workers: int) -> None:
    results = ordered_map(lambda item: 1 // (3 - item), range(100), workers)
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


@WORKERS
def test_exceptions_of_the_items_are_raised(workers: int) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("unreadable")

    with pytest.raises(OSError, match="unreadable"):
        list(ordered_map(abs, broken(), workers))


@pytest.mark.parametrize("ending", [GeneratorExit, KeyboardInterrupt, RuntimeError])
def test_abandoned_iteration_cancels_calls_and_ends_threads(ending: type[BaseException]) -> None:
    started: list[int] = []
    before = threading.active_count()

    def work(item: int) -> int:
        started.append(item)
        time.sleep(0.02)
        return item

    results = ordered_map(work, range(1000), workers=2)
    next(results)
    if ending is GeneratorExit:
        results.close()
    else:
        with pytest.raises(ending):
            results.throw(ending())  # type: ignore[attr-defined]
    assert threading.active_count() == before
    count = len(started)
    assert count <= 4
    time.sleep(0.05)
    assert len(started) == count


def test_nothing_starts_before_the_first_result_is_requested() -> None:
    before = threading.active_count()
    ordered_map(pytest.fail, ["called"], workers=2)
    assert threading.active_count() == before


def test_available_cores_are_those_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2, 5}, raising=False)
    assert available_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores() == 1


@pytest.mark.parametrize("workers", [1, 3])
def test_thread_map_does_not_merge(workers: int) -> None:
    assert list(thread_map(abs, [-1, -2], pytest.fail, workers=workers)) == [1, 2]


Mapper = Callable[..., Iterator[Any]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Mapper]:
    """Start a local cluster of two processes, once."""
    pytest.importorskip("distributed", reason="needs Dask (extra dask)")
    with dask_mapper("local", workers=2) as mapper:
        yield mapper


@pytest.mark.parametrize("length", [0, 1, 9, 40])
@pytest.mark.parametrize("merge", [None, together])
def test_cluster_gives_the_results_of_threads(
    length: int, merge: Callable[..., Any] | None, cluster: Mapper
) -> None:
    result = [value for part in cluster(squared, range(length), merge) for value in part]
    assert result == [item * item for item in range(length)]


def test_cluster_uses_other_processes(cluster: Mapper) -> None:
    workers = set(cluster(process, range(20)))
    assert len(workers) == 2
    assert os.getpid() not in workers


def test_exceptions_of_a_cluster_are_raised(cluster: Mapper) -> None:
    results = cluster(divided, range(9))
    assert [next(results) for _ in range(5)] == [12, 15, 20, 30, 60]
    with pytest.raises(ZeroDivisionError):
        next(results)


LOCAL_METRICS = (Metric.WASSERSTEIN_EXACT, *LAYERWISE)
"""Metrics that read in the main process."""

DISTRIBUTED_METRICS = tuple(metric for metric in Metric if metric not in LOCAL_METRICS)
"""Metrics whose reading is entirely distributed."""

SETTINGS = Settings(
    metrics=DISTRIBUTED_METRICS, bins=(10, 20), permutations=19, workers=2, group="subject"
)
IMAGES = (50, 41)


def sets(kind: Callable[..., Noted] = Noted, **options: Any) -> list[Noted]:  # noqa: ANN401
    made = []
    for seed, images in enumerate(IMAGES):
        subjects = [f"s{number // 3}" for number in range(images)]
        arrays, ids = activations(images, seed), numbered(images)
        made.append(kind(arrays, f"x{seed}", chunk=2, id=ids, subject=subjects, **options))
    return made


def assert_equal(result: list[list[LayerResult]], expected: list[list[LayerResult]]) -> None:
    for one, other in zip(result[0], expected[0], strict=True):
        assert (one.layer, one.metric, one.bins, one.mean) == (
            other.layer,
            other.metric,
            other.bins,
            other.mean,
        )
        assert one.channels.keys() == other.channels.keys()
        for name, column in one.channels.items():
            np.testing.assert_array_equal(column, other.channels[name])


@pytest.mark.long
def test_killed_worker_does_not_change_results(cluster: Mapper, tmp_path: Path) -> None:
    pair = sets()
    _, expected = measure_pairs(pair, [(0, 1)], SETTINGS, partial(thread_map, workers=2))
    deadly = sets(partial(Deadly, tmp_path / "died"))
    _, result = measure_pairs(deadly, [(0, 1)], SETTINGS, cluster, keep=False)
    assert (tmp_path / "died").exists()
    assert deadly[0].reads == []  # everything was read elsewhere
    assert_equal(result, expected)


@pytest.mark.long
def test_damaged_data_is_one_line_from_a_cluster(cluster: Mapper) -> None:
    pair = sets()
    pair[1].arrays["dec0"][30, 1, 2] = np.nan
    lows, highs = np.zeros((IMAGES[1], 2)), np.full((IMAGES[1], 2), 9.0)
    for kept in ({}, {"dec0": (lows, highs)}):
        pair[1].kept = kept
        with refused(FormatError, "x1: layer dec0, image im030, channel 1"):
            measure_pairs(pair, [(0, 1)], SETTINGS, cluster, keep=False)


@pytest.mark.long
def test_shift_table_of_a_cluster_is_bit_equal(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs Dask (extra dask)")
    stores = [
        written(tmp_path / f"{seed}.zarr", activations(images, seed))
        for seed, images in enumerate(IMAGES)
    ]
    unpaired = tuple(metric for metric in Metric if metric is not Metric.PAIRED_DIFFERENCE)
    settings = replace(SETTINGS, metrics=unpaired, group=None)
    for name, dask in (("threads", None), ("cluster", "local")):
        out = tmp_path / f"{name}.parquet"
        measure_shift(stores[0], stores[1:], out, settings=settings, dask=dask)
    tables = [pq.read_table(tmp_path / f"{name}.parquet") for name in ("threads", "cluster")]
    assert tables[0].equals(tables[1])
    assert tables[0].num_rows > 100


def test_missing_dask_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(parallel, "import_module", missing)
    with refused(ArgumentError, "--dask local", "skiptool[dask]"), dask_mapper("local"):
        pass


@pytest.fixture
def silent() -> Iterator[str]:
    """Yield the address of a port that accepts connections and never replies."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nowhere", "http://x", "", "silent"])
def test_silent_scheduler_is_one_line(
    address: str, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed", reason="needs Dask (extra dask)")
    monkeypatch.setattr(parallel, "CONNECT_SECONDS", 1)
    address = silent if address == "silent" else address
    begun = time.monotonic()
    with refused(ArgumentError, f"--dask {address}: no scheduler answers"), dask_mapper(address):
        pass
    assert time.monotonic() - begun < 8


def join_groups(folder: Path, text: str) -> None:
    """Put this process into control groups, version 1 or 2, below a fake root."""
    path = folder / "proc/self/cgroup"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def limit(folder: Path, group: str, **files: str) -> None:
    directory = folder / "sys/fs/cgroup" / group
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text + "\n")


def test_cgroup_v2_quota_is_the_lowest_of_all_ancestors(tmp_path: Path) -> None:
    join_groups(tmp_path, "0::/user/job 7\n")
    assert parallel._quota(tmp_path) == math.inf
    limit(tmp_path, "user/job 7", cpu__max="max 100000")
    assert parallel._quota(tmp_path) == math.inf
    limit(tmp_path, "user", cpu__max="150000 100000")
    assert parallel._quota(tmp_path) == 1.5
    limit(tmp_path, "user/job 7", cpu__max="50000 100000")
    assert parallel._quota(tmp_path) == 0.5


def test_cgroup_v2_quota_of_a_container_is_that_of_the_root(tmp_path: Path) -> None:
    join_groups(tmp_path, "0::/\n")
    limit(tmp_path, "", cpu__max="400000 100000")
    assert parallel._quota(tmp_path) == 4.0
    other = tmp_path / "outside"
    join_groups(other, "0::/../../docker/abc\n")  # seen from another namespace
    limit(other, "", cpu__max="200000 100000")
    assert parallel._quota(other) == 2.0


def test_cgroup_v1_quota_is_read(tmp_path: Path) -> None:
    join_groups(tmp_path, "9:name=systemd:/\n4:cpu,cpuacct:/docker/abc\n1:cpuset:/\n")
    assert parallel._quota(tmp_path) == math.inf
    limit(tmp_path, "cpu,cpuacct/docker/abc", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert parallel._quota(tmp_path) == math.inf
    limit(tmp_path, "cpu,cpuacct", cpu__cfs_quota_us="250000", cpu__cfs_period_us="100000")
    assert parallel._quota(tmp_path) == 2.5


@pytest.mark.parametrize("text", ["", "x", "max", "1 2 3", "a b", "100 0"])
def test_unreadable_quota_is_no_limit(tmp_path: Path, text: str) -> None:
    join_groups(tmp_path, "0::/a\nnonsense\n")
    limit(tmp_path, "a", cpu__max=text)
    assert parallel._quota(tmp_path) == math.inf


def test_fractional_cores_are_rounded_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for quota, expected in ((math.inf, 8), (0.5, 1), (1.0, 1), (1.5, 2), (40.0, 8)):
        monkeypatch.setattr(parallel, "_quota", lambda _, quota=quota: quota)
        assert available_cores() == expected


def test_idle_cores_counts_only_usable_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cores 1 and 2 of 4: the first idle for 75 ticks of 100, the other for all."""
    stat = tmp_path / "stat"
    monkeypatch.setattr(parallel, "STAT", stat)
    monkeypatch.setattr(parallel, "_quota", lambda _: math.inf)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2}, raising=False)

    def written(busy: int, idle: int) -> None:
        lines = ["cpu 9 9 9 9 9 9 9 9 0 0", "cpu0 900 0 0 0 0 0 0 0 0 0"]
        lines.append(f"cpu1 {10 + busy} 0 0 {20 + idle - 5} 5 0 0 0 7 0")
        lines.append(f"cpu2 5 5 5 {100 + busy + idle} 0 0 0 0 0 0")
        stat.write_text("\n".join([*lines, "cpu3 0 0 0 900 0 0 0 0 0 0", "intr 5", ""]))

    written(0, 0)
    monkeypatch.setattr(time, "sleep", lambda _: written(25, 75))
    assert idle_cores() == pytest.approx(1.75)
    stat.unlink()
    assert idle_cores() == 2.0  # unknown


def _turn(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="not Linux")
def test_busy_process_reduces_idle_cores() -> None:
    """Measured on one core, which another process keeps busy."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        busy = multiprocessing.get_context("fork").Process(target=_turn, args=(20.0,))
        busy.start()
        assert available_cores() == 1
        assert idle_cores(1.0) < 0.3
        busy.kill()
        busy.join()
    finally:
        os.sched_setaffinity(0, before)
