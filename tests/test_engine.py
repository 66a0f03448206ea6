from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from skiptool.engine import available_cores, mapped

WORKERS = pytest.mark.parametrize("workers", [0, 1, 2, 5])


def slow_for_early(item: int) -> int:
    time.sleep(0.01 if item % 3 == 0 else 0.0)
    return item * item


@WORKERS
@pytest.mark.parametrize("length", [0, 1, 3, 40])
def test_results_come_in_order(workers: int, length: int) -> None:
    results = list(mapped(slow_for_early, range(length), workers))
    assert results == [item * item for item in range(length)]


@pytest.mark.parametrize("workers", [1, 3])
def test_reads_a_bounded_number_of_items_ahead(workers: int) -> None:
    read = 0

    def endless() -> Iterator[int]:
        nonlocal read
        while True:
            read += 1
            yield read

    results = mapped(str, endless(), workers)
    for yielded in range(1, 20):
        assert next(results) == str(yielded)
        assert read - yielded <= 2 * workers
    results.close()


def test_uses_its_threads_at_once() -> None:
    meeting = threading.Barrier(3, timeout=20)

    def meet(item: int) -> str:
        meeting.wait()
        return threading.current_thread().name

    assert len(set(mapped(meet, range(3), workers=3))) == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_one_worker_is_the_caller_itself(workers: int) -> None:
    threads = set(mapped(lambda _: threading.get_ident(), range(3), workers))
    assert threads == {threading.get_ident()}


@WORKERS
def test_exceptions_come_in_place_of_their_result(workers: int) -> None:
    results = mapped(lambda item: 1 // (3 - item), range(100), workers)
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


@WORKERS
def test_exceptions_of_the_items_come_through(workers: int) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("unreadable")

    with pytest.raises(OSError, match="unreadable"):
        list(mapped(abs, broken(), workers))


@pytest.mark.parametrize("ending", [GeneratorExit, KeyboardInterrupt, RuntimeError])
def test_giving_up_cancels_what_waits_and_ends_the_threads(ending: type[BaseException]) -> None:
    started: list[int] = []
    before = threading.active_count()

    def work(item: int) -> int:
        started.append(item)
        time.sleep(0.02)
        return item

    results = mapped(work, range(1000), workers=2)
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


def test_nothing_starts_before_the_first_result_is_asked_for() -> None:
    before = threading.active_count()
    mapped(pytest.fail, ["called"], workers=2)
    assert threading.active_count() == before


def test_available_cores_are_those_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2, 5}, raising=False)
    assert available_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores() == 1
