from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from skiptool.errors import FormatError, OutOfMemoryError, SkiptoolError, WorkerError
from skiptool.model.faults import memory_told, training_told

Told = Callable[[], object]


def raising(error: Exception) -> Told:
    def act() -> None:
        raise error

    return act


def allocate() -> object:
    """Ask torch's own allocator for a pebibyte."""
    return torch.empty(1 << 50, dtype=torch.uint8)


MEMORY = {
    "processor": allocate,
    "GPU": raising(torch.OutOfMemoryError("CUDA out of memory. Tried\nto allocate 20 GiB")),
    "driver": raising(RuntimeError("CUDA error: out of memory")),
    "library": raising(RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate")),
    "Metal": raising(RuntimeError("MPS backend out of memory (8 GB)")),
}


@pytest.mark.parametrize("name", MEMORY)
def test_too_little_memory_is_one_line(name: str) -> None:
    with pytest.raises(MemoryError) as told, memory_told("cuda:1", "2 networks"):
        MEMORY[name]()
    assert str(told.value) == "device cuda:1 has not enough memory for 2 networks"


@pytest.mark.parametrize("name", [*MEMORY, "Python"])
@pytest.mark.parametrize("workers", [0, 2])
def test_too_little_memory_to_train(name: str, workers: int) -> None:
    act = MEMORY.get(name, raising(MemoryError("Unable to allocate 8 GiB")))
    with pytest.raises(OutOfMemoryError) as told, training_told("cpu", "batches of 8", workers):
        act()
    line = str(told.value)
    assert line.startswith("training: device cpu has not enough memory for batches of 8; free mem")
    assert ("--workers (2 now)" in line) is bool(workers)
    assert line.endswith("start again with --overwrite and a lower --batch-size")
    assert "\n" not in line


@pytest.mark.parametrize(
    "said",
    [
        "DataLoader worker (pid(s) 12, 13) exited unexpectedly",
        "DataLoader worker (pid 7) is killed by signal: Bus error.\nIt is possible that",
        "unable to allocate shared memory(shm) for file </torch_9>: No space left",
        "Pin memory thread exited unexpectedly",
    ],
)
def test_a_killed_worker(said: str) -> None:
    with pytest.raises(WorkerError) as told, training_told("cpu", "x", 2):
        raise RuntimeError(said)
    line = str(told.value)
    assert "one of 2 processes that read was killed or is out of memory" in line
    assert " ".join(said.split()) in line
    assert "fewer --workers (0 reads without them)" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: unspecified launch failure"),
        FormatError("d.zarr: not enough memory is a message too"),
        OSError(28, "No space left on device"),
        ValueError("out of memory"),
    ],
)
def test_other_errors_pass(error: Exception) -> None:
    for told in (memory_told("cpu", "x"), training_told("cpu", "x", 2)):
        with pytest.raises(type(error)) as found, told:
            raise error
        assert found.value is error


def test_a_network_that_cannot_be_compiled() -> None:
    class InductorError(RuntimeError):
        pass

    InductorError.__module__ = "torch._inductor.exc"
    with (
        pytest.raises(SkiptoolError, match=r"^--compile: .*\(no compiler\).* leave it out$"),
        training_told("cpu", "batches", 0),
    ):
        raise InductorError("no compiler\nmore")
