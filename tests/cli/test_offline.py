"""No command asks the network for anything that it was not told to fetch."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Refuse every connection and every look-up of a name; return what was asked for."""
    asked: list[object] = []

    def refuse(*given: object, **_: object) -> Any:  # noqa: ANN401 - stands for several functions
        asked.append(given)
        raise OSError("the network is blocked")

    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    return asked


@pytest.mark.long
def test_commands_do_not_use_the_network(
    run: Run, experiment: SimpleNamespace, tmp_path: Path, blocked: list[object]
) -> None:
    weights = str(experiment.baseline / "model.safetensors")
    short = ("--fold", "0", "--epochs", "1", "--precision", "32", "-q")
    for name, start in (("none", "none"), ("file", weights)):
        words = ("train", experiment.data, *short, "--encoder-weights", start)
        assert run(*words, "-o", tmp_path / name).code == 0
    model = tmp_path / "file" / "resnet18-L0" / "fold0"
    data = ("--data", experiment.data)
    assert run("predict", model, *data, "-o", tmp_path / "p.parquet").code == 0
    assert run("features", model, *data, "-o", tmp_path / "f.zarr").code == 0
    assert not blocked


def test_missing_weights_of_the_hub_are_explained(
    run: Run,
    experiment: SimpleNamespace,
    tmp_path: Path,
    blocked: list[object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The fixture does block: here something is asked for."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    found = run("train", experiment.data, "--encoder", "resnet34", "-o", tmp_path / "runs")
    assert found.code == 1
    assert "the model hub cannot be reached" in found.line()
    assert "--encoder-weights FILE" in found.line()
    assert blocked
    assert not (tmp_path / "runs").exists()
