"""Device, precision and number of threads, and one-line errors for machine faults.

torch reports lack of memory and dead loader processes as RuntimeErrors of many lines. Here they
become one-line subclasses of MemoryError and ChildProcessError, after which partial output is kept
for resuming.

Threads: torch computes with as many as there are idle cores. Threads that share a batch wait for
each other at a hundred points of a network; if one of them waits for a core, all do. On a busy
machine one thread may be five times as fast as two.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

import torch

from skiptool.errors import (
    ArgumentError,
    OutOfMemoryError,
    SkiptoolError,
    WorkerError,
    first_line,
    suggestion,
)
from skiptool.names import Precision
from skiptool.parallel import available_cores, idle_cores

if TYPE_CHECKING:
    from skiptool.records import Progress

DEVICES = ("auto", "cpu", "cuda", "cuda:1", "mps")
CPU_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
"""torch's names of bfloat16 instructions of x86 and Arm processors."""


def choose_device(text: str) -> str:
    """Resolve ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` to a device name for torch.

    ``auto`` prefers CUDA, then MPS. Raises ArgumentError for a device that is unknown or absent.
    """
    if text == "auto":
        if torch.cuda.is_available():
            return "cuda:0"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if text == "cpu":
        return "cpu"
    kind, _, index = text.partition(":")
    if kind == "cuda" and (not index or index.isdecimal()):
        return _cuda_device(text, int(index or 0))
    if text == "mps":
        if torch.backends.mps.is_available():
            return "mps"
        raise ArgumentError("device 'mps': torch finds no Metal device here; use 'cpu' or 'auto'")
    raise ArgumentError(
        f"device {text!r}: unknown, expected one of {', '.join(DEVICES)}{suggestion(text, DEVICES)}"
    )


def _cuda_device(text: str, index: int) -> str:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        raise ArgumentError(
            f"device {text!r}: torch finds {count} CUDA devices here, expected at least "
            f"{index + 1}; use 'cpu' or 'auto'"
        )
    return f"cuda:{index}"


def choose_precision(precision: Precision, device: str) -> Precision:
    """Resolve ``auto``: bf16 if the device supports it in hardware, else float32.

    Raises ArgumentError for float16 on the CPU.
    """
    if precision is Precision.AUTO:
        return Precision.BFLOAT16 if _supports_bfloat16(device) else Precision.FLOAT32
    if precision is Precision.FLOAT16 and device == "cpu":
        raise ArgumentError("precision '16' on device 'cpu': float16 needs a GPU; use bf16 or 32")
    return precision


def _supports_bfloat16(device: str) -> bool:
    if device == "cpu":
        return bool(_bfloat16_instructions())
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return False


def _bfloat16_instructions() -> list[str]:
    capabilities: dict[str, Any] = dict(getattr(torch.cpu, "get_capabilities", dict)())
    return [name for name in CPU_BFLOAT16 if capabilities.get(name) is True]


def instruction_set(device: str) -> str:
    """Name the CPU instruction set that torch uses, or the model of a GPU.

    Examples
    --------
    >>> instruction_set("cpu") != ""
    True
    """
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    if device != "cpu":
        return device
    names = [torch.backends.cpu.get_cpu_capability(), *_bfloat16_instructions()]
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA")
    if limit is not None:
        names.append(f"at most {limit}")
    return " ".join(names)


def autocast(precision: Precision, device: str) -> AbstractContextManager[Any]:
    """Return torch's autocast context for a resolved precision; float32 disables it."""
    dtypes = {Precision.BFLOAT16: torch.bfloat16, Precision.FLOAT16: torch.float16}
    return torch.autocast(
        torch.device(device).type, dtype=dtypes.get(precision), enabled=precision in dtypes
    )


def exact_float32(device: str) -> AbstractContextManager[Any]:
    """Disable TF32 within the context: cuDNN rounds convolution inputs to 10 bits by default."""
    if not device.startswith("cuda"):
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


MEMORY_ERRORS = re.compile(
    r"(can't|cannot) allocate memory|not enough memory|out of memory|ALLOC_FAILED"
)
"""Messages of the allocators of CPUs, GPUs and their libraries."""

WORKER_ERRORS = re.compile(r"DataLoader worker|Pin memory thread|shared memory|torch_shm")
"""Messages of torch's loader about killed workers and batches that could not be sent."""

COMPILER_MODULES = ("torch._dynamo", "torch._inductor")
"""Modules that define the errors of torch's compiler."""


@contextmanager
def explain_memory_errors(device: str, purpose: str) -> Iterator[None]:
    """Turn torch's out-of-memory errors into a one-line MemoryError.

    ``purpose`` says what the memory is needed for.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_memory_error(error):
            raise
        raise MemoryError(f"device {device} has not enough memory for {purpose}") from error


@contextmanager
def explain_training_errors(device: str, purpose: str, workers: int) -> Iterator[None]:
    """Turn machine faults during training into one-line errors that say how to continue.

    Parameters
    ----------
    purpose : str
        What memory is needed for, such as the size of batches.
    workers : int
        Number of loader processes.

    Raises
    ------
    OutOfMemoryError
        For any lack of memory.
    WorkerError
        If a loader process was killed, on Linux mostly for lack of memory.
    SkiptoolError
        If the network cannot be compiled.
    """
    try:
        yield
    except SkiptoolError:
        raise
    except (MemoryError, OSError, RuntimeError) as error:
        if _is_memory_error(error):
            fewer = f" or lower --workers ({workers} now)" if workers else ""
            raise OutOfMemoryError(
                f"training: device {device} has not enough memory for {purpose}; free "
                f"memory{fewer} and continue with --resume, or restart with --overwrite and a "
                "lower --batch-size"
            ) from error
        if isinstance(error, RuntimeError) and workers and WORKER_ERRORS.search(str(error)):
            reason = " ".join(str(error).split())
            raise WorkerError(
                f"training: one of {workers} loader processes was killed or ran out of memory "
                f"({reason}); continue with --resume and fewer --workers (0 uses none) or more "
                "memory"
            ) from error
        if type(error).__module__.startswith(COMPILER_MODULES):
            raise SkiptoolError(
                f"--compile: the network cannot be compiled here ({first_line(error)}); install a "
                "C++ compiler (set CXX to it), or omit the option"
            ) from error
        raise


def _is_memory_error(error: BaseException) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or bool(
        MEMORY_ERRORS.search(str(error))
    )


THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that also set the number of threads."""


def thread_count() -> int:
    """Return torch's current number of threads."""
    return torch.get_num_threads()


@contextmanager
def use_threads(threads: int | None, device: str, progress: Progress) -> Iterator[int]:
    """Set torch's number of threads within the context, and yield it.

    By default this is the number of idle cores on a CPU, with a warning if other processes use
    some, unless the environment sets a number; on other devices it is torch's default. ``device``
    is as given by the user.
    """
    before = torch.get_num_threads()
    threads = threads or _default_threads(before, device, progress)
    torch.set_num_threads(threads)
    try:
        yield threads
    finally:
        torch.set_num_threads(before)


def _default_threads(current: int, device: str, progress: Progress) -> int:
    if any(os.environ.get(name) for name in THREAD_VARIABLES) or choose_device(device) != "cpu":
        return current
    cores = available_cores()
    usable = min(current, cores)
    if usable == 1:
        return 1
    idle = idle_cores()
    threads = max(1, min(usable, round(idle)))
    if threads < usable:
        noun = "thread" if threads == 1 else "threads"
        progress.warn(
            f"other processes use the cores ({idle:.1f} of {cores} idle): using {threads} {noun}, "
            f"--threads {usable} uses them all"
        )
    return threads
