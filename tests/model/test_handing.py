from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from limits import files_below
from skiptool.errors import WorkerError
from skiptool.model.batches import training_batches
from skiptool.model.faults import training_told
from skiptool.model.handing import NARROW, UNHEARD, Loader, end_unheard, readable_by
from skiptool.records import SILENT


class Heard:
    """Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.task, self.warn = SILENT.task, self.lines.append


def epoch(loader: Loader, number: int) -> list[Any]:
    loader.sampler.set_epoch(number)  # type: ignore[union-attr]
    return list(loader)


@pytest.mark.long
def test_without_room_in_shared_memory_batches_come_through_pipes(readers: ModuleType) -> None:
    """A limit of the size of files stands for a small /dev/shm: asking for room fails alike."""
    reader, lines = readers.Squares(12, size=128), []
    expected = epoch(training_batches(reader, 4, seed=3), 0)
    with files_below(1 << 16):
        loader = training_batches(reader, 4, seed=3, workers=2)
        loader.warn = lines.append
        found = epoch(loader, 0)
    assert len(found) == len(expected) == 3
    for ours, theirs in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert lines == [NARROW]
    assert "--shm-size" in NARROW
    assert "--workers" in NARROW
    assert len(epoch(loader, 1)) == 3  # the processes that were begun keep their limit
    assert lines == [NARROW]
    loader._iterator._shutdown_workers()  # type: ignore[union-attr]


@pytest.mark.slow
def test_with_room_nothing_is_said(readers: ModuleType) -> None:
    lines: list[str] = []
    loader = training_batches(readers.Squares(8), 4, seed=3, workers=1)
    loader.warn = lines.append
    assert all(batch[0].is_shared() for batch in epoch(loader, 0))
    assert lines == []
    loader._iterator._shutdown_workers()  # type: ignore[union-attr]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_batch_that_cannot_be_handed_over_is_heard(readers: ModuleType) -> None:
    """Else the process that trains waits for ever; here for as long as the timeout."""
    loader = Loader(
        range(4),  # type: ignore[arg-type]
        num_workers=1,
        collate_fn=readers.unpicklable,
        multiprocessing_context="spawn",
        worker_init_fn=end_unheard,
        timeout=60,
    )
    told = pytest.raises(WorkerError, match="processes that read was killed")
    with told as error, training_told("cpu", "batches", 1):
        list(loader)
    cause = error.value.__cause__
    assert cause is not None
    assert f"exit code {UNHEARD}" in str(cause.__cause__ or cause)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="locks lie elsewhere")
def test_without_room_for_locks_this_process_reads() -> None:
    told = Heard()
    assert readable_by(2, told) == 2
    with files_below(0):
        assert readable_by(2, told) == 0
        assert readable_by(0, told) == 0
    (line,) = told.lines
    assert line.startswith("no process that reads can be started (")
    assert line.endswith("this process reads by itself, as with --workers 0")
