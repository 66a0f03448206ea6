from __future__ import annotations

import math
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from skiptool import cores
from skiptool.cores import available_cores, idle_cores


def group(folder: Path, text: str) -> None:
    """Put this process into control groups, version 1 or 2, below a root of one's own."""
    path = folder / "proc/self/cgroup"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def limit(folder: Path, group: str, **files: str) -> None:
    place = folder / "sys/fs/cgroup" / group
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (place / name.replace("__", ".")).write_text(text + "\n")


def test_a_quota_of_version_2_is_the_least_of_all_groups_above(tmp_path: Path) -> None:
    group(tmp_path, "0::/user/job 7\n")
    assert cores._quota(tmp_path) == math.inf
    limit(tmp_path, "user/job 7", cpu__max="max 100000")
    assert cores._quota(tmp_path) == math.inf
    limit(tmp_path, "user", cpu__max="150000 100000")
    assert cores._quota(tmp_path) == 1.5
    limit(tmp_path, "user/job 7", cpu__max="50000 100000")
    assert cores._quota(tmp_path) == 0.5


def test_a_quota_of_a_container_stands_at_the_top(tmp_path: Path) -> None:
    group(tmp_path, "0::/\n")
    limit(tmp_path, "", cpu__max="400000 100000")
    assert cores._quota(tmp_path) == 4.0
    other = tmp_path / "outside"
    group(other, "0::/../../docker/abc\n")  # seen from another namespace
    limit(other, "", cpu__max="200000 100000")
    assert cores._quota(other) == 2.0


def test_a_quota_of_version_1(tmp_path: Path) -> None:
    group(tmp_path, "9:name=systemd:/\n4:cpu,cpuacct:/docker/abc\n1:cpuset:/\n")
    assert cores._quota(tmp_path) == math.inf
    limit(tmp_path, "cpu,cpuacct/docker/abc", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert cores._quota(tmp_path) == math.inf
    limit(tmp_path, "cpu,cpuacct", cpu__cfs_quota_us="250000", cpu__cfs_period_us="100000")
    assert cores._quota(tmp_path) == 2.5


@pytest.mark.parametrize("text", ["", "x", "max", "1 2 3", "a b", "100 0"])
def test_what_says_nothing_is_no_limit(tmp_path: Path, text: str) -> None:
    group(tmp_path, "0::/a\nnonsense\n")
    limit(tmp_path, "a", cpu__max=text)
    assert cores._quota(tmp_path) == math.inf


def test_a_part_of_a_core_is_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for quota, expected in ((math.inf, 8), (0.5, 1), (1.0, 1), (1.5, 2), (40.0, 8)):
        monkeypatch.setattr(cores, "_quota", lambda _, quota=quota: quota)
        assert available_cores() == expected


def test_idle_ticks_are_those_of_the_cores_that_may_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cores 1 and 2 of 4: the first idle for 75 ticks of 100, the other for all."""
    stat = tmp_path / "stat"
    monkeypatch.setattr(cores, "STAT", stat)
    monkeypatch.setattr(cores, "_quota", lambda _: math.inf)
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
    assert idle_cores() == 2.0  # nothing is known


def _turn(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="not Linux")
def test_a_busy_process_takes_a_core_away() -> None:
    """Measured on one core, which a process beside is bound to keep busy."""
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
