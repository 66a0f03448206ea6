from __future__ import annotations

import pytest
import torch

from skiptool.errors import ArgumentError
from skiptool.model.hardware import autocast, choose_device, choose_precision, exact_float32
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
def test_devices(
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
def test_devices_that_are_not_there(
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
def test_auto_asks_the_processor(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, object], expected: Precision
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert choose_precision(Precision.AUTO, "cpu") is expected


@pytest.mark.parametrize(
    ("hardware", "expected"), [(True, Precision.BFLOAT16), (False, Precision.FLOAT32)]
)
def test_auto_asks_the_gpu(
    monkeypatch: pytest.MonkeyPatch, hardware: bool, expected: Precision
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: hardware)
    assert choose_precision(Precision.AUTO, "cuda:0") is expected
    assert choose_precision(Precision.AUTO, "mps") is Precision.FLOAT32


def test_what_is_asked_for_is_kept() -> None:
    assert choose_precision(Precision.BFLOAT16, "cpu") is Precision.BFLOAT16
    assert choose_precision(Precision.FLOAT32, "cuda:0") is Precision.FLOAT32
    assert choose_precision(Precision.FLOAT16, "cuda:0") is Precision.FLOAT16
    with pytest.raises(ArgumentError, match="float16 needs a GPU"):
        choose_precision(Precision.FLOAT16, "cpu")


def test_autocast_on_and_off() -> None:
    left, right = torch.rand(4, 4), torch.rand(4, 4)
    with autocast(Precision.BFLOAT16, "cpu"):
        assert (left @ right).dtype == torch.bfloat16
        with autocast(Precision.FLOAT32, "cpu"):
            assert (left @ right).dtype == torch.float32


def test_exact_float32_is_for_cuda_and_ends() -> None:
    before = torch.backends.cudnn.allow_tf32
    with exact_float32("cuda:0"):
        assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.enabled
    assert torch.backends.cudnn.allow_tf32 == before
    with exact_float32("cpu"):
        assert torch.backends.cudnn.allow_tf32 == before
