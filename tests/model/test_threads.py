from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from skiptool.model import threads
from skiptool.model.threads import threads_used


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Eight cores, of which some are idle; torch takes eight threads."""
    found = SimpleNamespace(idle=8.0, cores=8, lines=[])
    for name in threads.SAID:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "available_cores", lambda: found.cores)
    monkeypatch.setattr(threads, "idle_cores", lambda: found.idle)
    found.warn = found.lines.append
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    yield found
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("idle", "cores", "expected"),
    [(7.9, 8, 8), (5.2, 8, 5), (0.1, 8, 1), (3.0, 3, 3), (0.0, 1, 1), (16.0, 16, 8)],
)
def test_as_many_threads_as_cores_are_idle(
    machine: SimpleNamespace, idle: float, cores: int, expected: int
) -> None:
    machine.idle, machine.cores = idle, cores
    with threads_used(None, "cpu", machine) as number:
        assert number == torch.get_num_threads() == expected
    assert torch.get_num_threads() == 8
    told = [
        f"other processes use the cores ({idle:.1f} of {cores} idle): "
        f"{'1 thread is' if expected == 1 else f'{expected} threads are'} taken, "
        f"--threads {min(8, cores)} takes them all"
    ]
    assert machine.lines == (told if expected < min(8, cores) else [])


def test_what_is_asked_for_is_taken_and_nothing_said(
    machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.idle = 0.0
    with threads_used(3, "cpu", machine) as number:
        assert number == torch.get_num_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    with threads_used(None, "cpu", machine) as number:
        assert number == 8
    assert machine.lines == []


def test_the_number_is_given_back_after_an_error(machine: SimpleNamespace) -> None:
    with pytest.raises(KeyError), threads_used(2, "cpu", machine):
        raise KeyError
    assert torch.get_num_threads() == 8
