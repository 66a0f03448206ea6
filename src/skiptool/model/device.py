"""Which device and which arithmetic a network runs in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

import torch

from skiptool.errors import ArgumentError, OutOfMemoryError, SkiptoolError, WorkerError, near
from skiptool.names import Precision
from skiptool.parallel import available_cores, idle_cores

if TYPE_CHECKING:
    from skiptool.records import Progress

__all__ = [
    "autocast",
    "choose_device",
    "choose_precision",
    "exact_float32",
    "instructions",
    "memory_told",
    "threads_now",
    "threads_used",
    "training_told",
]

DEVICES = ("auto", "cpu", "cuda", "cuda:1", "mps")
CPU_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
"""Names under which torch reports bfloat16 instructions of x86 and Arm processors."""


def choose_device(text: str) -> str:
    """Resolve ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    Returns
    -------
    str
        ``cpu``, ``mps`` or ``cuda:<index>``, as torch takes it; ``auto`` prefers CUDA, then MPS.

    Raises
    ------
    ArgumentError
        If the word is unknown or the device is not there.
    """
    if text == "auto":
        return _best()
    if text == "cpu":
        return "cpu"
    kind, _, index = text.partition(":")
    if kind == "cuda" and (not index or index.isdecimal()):
        return _cuda(text, int(index or 0))
    if text == "mps":
        if torch.backends.mps.is_available():
            return "mps"
        raise ArgumentError("device 'mps': torch finds no Metal device here; use 'cpu' or 'auto'")
    raise ArgumentError(
        f"device {text!r}: unknown, expected one of {', '.join(DEVICES)}{near(text, DEVICES)}"
    )


def _best() -> str:
    if torch.cuda.is_available():
        return "cuda:0"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _cuda(text: str, index: int) -> str:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        raise ArgumentError(
            f"device {text!r}: torch finds {count} CUDA devices here, expected at least "
            f"{index + 1}; use 'cpu' or 'auto'"
        )
    return f"cuda:{index}"


def choose_precision(precision: Precision, device: str) -> Precision:
    """Resolve ``auto``: bf16 where the processor or GPU has it in hardware, else float32.

    Parameters
    ----------
    precision : Precision
    device : str
        What `choose_device` returned.

    Returns
    -------
    Precision
        Never ``auto``.

    Raises
    ------
    ArgumentError
        If float16 is asked for on the CPU.
    """
    if precision is Precision.AUTO:
        return Precision.BFLOAT16 if _has_bfloat16(device) else Precision.FLOAT32
    if precision is Precision.FLOAT16 and device == "cpu":
        raise ArgumentError("precision '16' on device 'cpu': float16 needs a GPU; use bf16 or 32")
    return precision


def _has_bfloat16(device: str) -> bool:
    if device == "cpu":
        capabilities: dict[str, Any] = dict(getattr(torch.cpu, "get_capabilities", dict)())
        return any(capabilities.get(name) is True for name in CPU_BFLOAT16)
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return False


def instructions(device: str) -> str:
    """Name the instruction set of a processor that torch uses, or the model of a GPU.

    Examples
    --------
    >>> instructions("cpu") != ""
    True
    """
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    if device != "cpu":
        return device
    capabilities: dict[str, Any] = dict(getattr(torch.cpu, "get_capabilities", dict)())
    named = [name for name in CPU_BFLOAT16 if capabilities.get(name) is True]
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA")
    limits = [] if limit is None else [f"at most {limit}"]
    return " ".join([torch.backends.cpu.get_cpu_capability(), *named, *limits])


def autocast(precision: Precision, device: str) -> AbstractContextManager[Any]:
    """Open torch's mixed precision for a resolved `precision`; float32 switches it off."""
    dtypes = {Precision.BFLOAT16: torch.bfloat16, Precision.FLOAT16: torch.float16}
    return torch.autocast(
        torch.device(device).type, dtype=dtypes.get(precision), enabled=precision in dtypes
    )


def exact_float32(device: str) -> AbstractContextManager[Any]:
    """Compute float32 convolutions in float32: cuDNN rounds their inputs to 10 bits by default."""
    if not device.startswith("cuda"):
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


# -------------------------------------------------------------------------------------------------
# Faults of the machine, in one line each: too little memory, a loader process that is gone.
#
# torch raises them as RuntimeErrors of many lines. Here they become the exceptions that the
# standard
# library has for them, after which an output that has begun to grow is kept to be gone on with.


MEMORY = re.compile(r"(can't|cannot) allocate memory|not enough memory|out of memory|ALLOC_FAILED")
"""What the allocators of processors, of GPUs and of their libraries say."""

WORKER = re.compile(r"DataLoader worker|Pin memory thread|shared memory|torch_shm")
"""What torch's loader says of processes that were killed, or could not hand their batch over."""

COMPILERS = ("torch._dynamo", "torch._inductor")
"""Where torch's compiler has its errors."""


@contextmanager
def memory_told(device: str, doing: str) -> Iterator[None]:
    """Say in one line what there was too little memory of a device for.

    Raises
    ------
    MemoryError
        In place of torch's own error.
    """
    try:
        yield
    except RuntimeError as error:
        if not _of_memory(error):
            raise
        raise MemoryError(f"device {device} has not enough memory for {doing}") from error


@contextmanager
def training_told(device: str, doing: str, workers: int) -> Iterator[None]:
    """Say in one line which fault of the machine ended a training, and how to go on.

    Parameters
    ----------
    device : str
    doing : str
        What memory is needed for, such as batches of how many images.
    workers : int
        Processes that read.

    Raises
    ------
    OutOfMemoryError
        In place of any error of too little memory.
    WorkerError
        In place of torch's, where a process that reads was killed: on Linux mostly for memory.
    SkiptoolError
        If the network cannot be compiled.
    """
    try:
        yield
    except SkiptoolError:
        raise
    except (MemoryError, OSError, RuntimeError) as error:
        if isinstance(error, MemoryError) or _of_memory(error):
            fewer = f" or lower --workers ({workers} now)" if workers else ""
            raise OutOfMemoryError(
                f"training: device {device} has not enough memory for {doing}; free memory{fewer} "
                "and go on with --resume, or start again with --overwrite and a lower --batch-size"
            ) from error
        if isinstance(error, RuntimeError) and workers and WORKER.search(str(error)):
            said = " ".join(str(error).split())
            raise WorkerError(
                f"training: one of {workers} processes that read was killed or is out of memory "
                f"({said}); go on with --resume and fewer --workers (0 reads without them) or more "
                "memory"
            ) from error
        if type(error).__module__.startswith(COMPILERS):
            said = str(error).split("\n")[0]
            raise SkiptoolError(
                f"--compile: the network cannot be compiled here ({said}); a C++ compiler is "
                "needed (CXX names one), or leave it out"
            ) from error
        raise


def _of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or bool(MEMORY.search(str(error)))


# -------------------------------------------------------------------------------------------------
# How many threads torch computes with: as many as there are cores that nobody else uses.
#
# Threads that share a batch wait for each other at a hundred places of a network; where one of them
# has to wait for a core, all do. On a busy machine one thread may be five times as fast as two.


SAID: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables of the environment by which a number is asked for too."""


def threads_now() -> int:
    """Return the number of threads that torch computes with."""
    return torch.get_num_threads()


@contextmanager
def threads_used(asked: int | None, device: str, progress: Progress) -> Iterator[int]:
    """Compute with so many threads, and give torch its own number back.

    Parameters
    ----------
    asked : int or None
        None: on a processor as many as are idle of those cores that this process may use, unless
        the environment says a number; elsewhere torch's own number.
    device : str
        As typed.
    progress : Progress
        Is told where other processes leave fewer cores than there are.

    Yields
    ------
    int
    """
    before = torch.get_num_threads()
    threads = asked or _chosen(before, device, progress)
    torch.set_num_threads(threads)
    try:
        yield threads
    finally:
        torch.set_num_threads(before)


def _chosen(usual: int, device: str, progress: Progress) -> int:
    if any(os.environ.get(name) for name in SAID) or choose_device(device) != "cpu":
        return usual
    cores = available_cores()
    most = min(usual, cores)
    if most == 1:
        return 1
    idle = idle_cores()
    threads = max(1, min(most, round(idle)))
    if threads < most:
        others = f"other processes use the cores ({idle:.1f} of {cores} idle)"
        progress.warn(f"{others}: {_counted(threads)} taken, --threads {most} takes them all")
    return threads


def _counted(threads: int) -> str:
    return "1 thread is" if threads == 1 else f"{threads} threads are"
