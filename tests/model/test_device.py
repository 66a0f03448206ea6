from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch

from skiptool.errors import ArgumentError, FormatError, OutOfMemoryError, SkiptoolError, WorkerError
from skiptool.model import device
from skiptool.model.device import (
    autocast,
    choose_device,
    choose_precision,
    exact_float32,
    explain_memory_errors,
    explain_training_errors,
    use_threads,
)
from skiptool.names import Precision


def pretend(monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "text", "expected"),
    [
        (0, False, "auto", "cpu"),
        (0, True, "auto", "mps"),
        (2, False, "auto", "cuda:0"),
        (2, False, "cpu", "cpu"),
        (2, False, "cuda", "cuda:0"),
        (2, False, "cuda:1", "cuda:1"),
        (0, True, "mps", "mps"),
    ],
)
def test_choose_device_resolves_names(
    monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool, text: str, expected: str
) -> None:
    pretend(monkeypatch, cuda, mps)
    assert choose_device(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cuda", "finds 0 CUDA devices here, expected at least 1"),
        ("cuda:7", "expected at least 8"),
        ("mps", "no Metal device"),
        ("gpu", "expected one of auto, cpu"),
        ("cud", "did you mean cuda"),
        ("cuda:x", "unknown"),
    ],
)
def test_absent_devices_are_refused(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    pretend(monkeypatch, 0, False)
    with pytest.raises(ArgumentError, match=expected):
        choose_device(text)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, Precision.BFLOAT16),
        ({"avx512_bf16": False, "amx_bf16": True}, Precision.BFLOAT16),
        ({"architecture": "aarch64", "bf16": True}, Precision.BFLOAT16),
        ({"avx512_bf16": False, "avx2": True}, Precision.FLOAT32),
        ({}, Precision.FLOAT32),
    ],
)
def test_auto_precision_depends_on_the_processor(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, object], expected: Precision
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert choose_precision(Precision.AUTO, "cpu") is expected


@pytest.mark.parametrize(
    ("hardware", "expected"), [(True, Precision.BFLOAT16), (False, Precision.FLOAT32)]
)
def test_auto_precision_depends_on_the_gpu(
    monkeypatch: pytest.MonkeyPatch, hardware: bool, expected: Precision
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: hardware)
    assert choose_precision(Precision.AUTO, "cuda:0") is expected
    assert choose_precision(Precision.AUTO, "mps") is Precision.FLOAT32


def test_requested_precision_is_kept() -> None:
    assert choose_precision(Precision.BFLOAT16, "cpu") is Precision.BFLOAT16
    assert choose_precision(Precision.FLOAT32, "cuda:0") is Precision.FLOAT32
    assert choose_precision(Precision.FLOAT16, "cuda:0") is Precision.FLOAT16
    with pytest.raises(ArgumentError, match="float16 needs a GPU"):
        choose_precision(Precision.FLOAT16, "cpu")


def test_autocast_can_be_nested_and_disabled() -> None:
    left, right = torch.rand(4, 4), torch.rand(4, 4)
    with autocast(Precision.BFLOAT16, "cpu"):
        assert (left @ right).dtype == torch.bfloat16
        with autocast(Precision.FLOAT32, "cpu"):
            assert (left @ right).dtype == torch.float32


def test_exact_float32_disables_tf32_on_cuda_within_the_context() -> None:
    before = torch.backends.cudnn.allow_tf32
    with exact_float32("cuda:0"):
        assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.enabled
    assert torch.backends.cudnn.allow_tf32 == before
    with exact_float32("cpu"):
        assert torch.backends.cudnn.allow_tf32 == before


def raising(error: Exception) -> Callable[[], object]:
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
def test_out_of_memory_is_one_line(name: str) -> None:
    with pytest.raises(MemoryError) as caught, explain_memory_errors("cuda:1", "2 networks"):
        MEMORY[name]()
    assert str(caught.value) == "device cuda:1 has not enough memory for 2 networks"


@pytest.mark.parametrize("name", [*MEMORY, "Python"])
@pytest.mark.parametrize("workers", [0, 2])
def test_out_of_memory_in_training_names_remedies(name: str, workers: int) -> None:
    act = MEMORY.get(name, raising(MemoryError("Unable to allocate 8 GiB")))
    with (
        pytest.raises(OutOfMemoryError) as caught,
        explain_training_errors("cpu", "batches of 8", workers),
    ):
        act()
    line = str(caught.value)
    assert line.startswith("training: device cpu has not enough memory for batches of 8; free mem")
    assert ("--workers (2 now)" in line) is bool(workers)
    assert line.endswith("restart with --overwrite and a lower --batch-size")
    assert "\n" not in line


@pytest.mark.parametrize(
    "message",
    [
        "DataLoader worker (pid(s) 12, 13) exited unexpectedly",
        "DataLoader worker (pid 7) is killed by signal: Bus error.\nIt is possible that",
        "unable to allocate shared memory(shm) for file </torch_9>: No space left",
        "Pin memory thread exited unexpectedly",
    ],
)
def test_killed_worker_is_one_line(message: str) -> None:
    with pytest.raises(WorkerError) as caught, explain_training_errors("cpu", "x", 2):
        raise RuntimeError(message)
    line = str(caught.value)
    assert "one of 2 loader processes was killed or ran out of memory" in line
    assert " ".join(message.split()) in line
    assert "fewer --workers (0 uses none)" in line
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
def test_other_errors_are_not_changed(error: Exception) -> None:
    for context in (explain_memory_errors("cpu", "x"), explain_training_errors("cpu", "x", 2)):
        with pytest.raises(type(error)) as caught, context:
            raise error
        assert caught.value is error


def test_compiler_error_is_one_line() -> None:
    class InductorError(RuntimeError):
        pass

    InductorError.__module__ = "torch._inductor.exc"
    with (
        pytest.raises(SkiptoolError, match=r"^--compile: .*\(no compiler\).* omit the option$"),
        explain_training_errors("cpu", "batches", 0),
    ):
        raise InductorError("no compiler\nmore")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Eight cores, of which some are idle; torch takes eight threads."""
    fake = SimpleNamespace(idle=8.0, cores=8, lines=[])
    for name in device.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(device, "available_cores", lambda: fake.cores)
    monkeypatch.setattr(device, "idle_cores", lambda: fake.idle)
    fake.warn = fake.lines.append
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    yield fake
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("idle", "cores", "expected"),
    [(7.9, 8, 8), (5.2, 8, 5), (0.1, 8, 1), (3.0, 3, 3), (0.0, 1, 1), (16.0, 16, 8)],
)
def test_default_threads_equal_idle_cores(
    machine: SimpleNamespace, idle: float, cores: int, expected: int
) -> None:
    machine.idle, machine.cores = idle, cores
    with use_threads(None, "cpu", machine) as number:
        assert number == torch.get_num_threads() == expected
    assert torch.get_num_threads() == 8
    warnings = [
        f"other processes use the cores ({idle:.1f} of {cores} idle): "
        f"using {expected} thread{'' if expected == 1 else 's'}, "
        f"--threads {min(8, cores)} uses them all"
    ]
    assert machine.lines == (warnings if expected < min(8, cores) else [])


def test_requested_threads_are_used_without_warning(
    machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.idle = 0.0
    with use_threads(3, "cpu", machine) as number:
        assert number == torch.get_num_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    with use_threads(None, "cpu", machine) as number:
        assert number == 8
    assert machine.lines == []


def test_threads_are_restored_after_an_error(machine: SimpleNamespace) -> None:
    with pytest.raises(KeyError), use_threads(2, "cpu", machine):
        raise KeyError
    assert torch.get_num_threads() == 8
