"""Which device and which arithmetic a network runs in."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from skiptool.errors import ArgumentError, near
from skiptool.names import Precision

__all__ = ["autocast", "choose_device", "choose_precision", "exact_float32", "instructions"]

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
