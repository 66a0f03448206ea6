from __future__ import annotations

from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from skiptool.errors import ArgumentError, SourceError
from skiptool.model import loggers
from skiptool.model.fit import fit
from skiptool.model.loggers import Logging, check_loggers, close
from skiptool.names import LoggerName, Precision
from skiptool.records import Architecture, Training


def about(folder: Path, *names: LoggerName) -> Logging:
    return Logging(names, folder, "resnet18-L1/fold0", "abc")


def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda name: None if name == "wandb" else object())
    check_loggers([LoggerName.TENSORBOARD, LoggerName.MLFLOW])
    with pytest.raises(ArgumentError, match=r"wandb is not installed; pip install 'skiptool\[wand"):
        check_loggers([LoggerName.TENSORBOARD, LoggerName.WANDB])


def test_what_cannot_be_opened_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(about: Logging) -> Any:  # noqa: ANN401
        raise ConnectionError("no server at 9\nmore")

    monkeypatch.setattr(loggers, "_MAKERS", {LoggerName.MLFLOW: fail})
    with pytest.raises(SourceError, match=r"^--logger mlflow: cannot be opened \(no server at 9\)"):
        about(tmp_path, LoggerName.MLFLOW).open({})


def test_runs_of_wandb_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    monkeypatch.setattr(loggers, "WandbLogger", SimpleNamespace)
    run = SimpleNamespace(finish=lambda: ended.append("run"))
    close([SimpleNamespace(experiment=run), object()])  # type: ignore[list-item]
    assert ended == ["run"]


@pytest.mark.long
def test_tensorboard_has_the_history(readers: ModuleType, tmp_path: Path) -> None:
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    protocol = Training(
        **{"fold": 0, "epochs": 2, "batch_size": 4, "encoder_weights": "none"},
        precision=Precision.FLOAT32,
    )
    architecture = Architecture("resnet18", (2, 3, 4), ("background", "square"))
    train, validation = readers.Squares(4, size=32), readers.Squares(2, seed=1, size=32)
    told = about(tmp_path / "logs", LoggerName.TENSORBOARD)
    found = fit(architecture, protocol, train, validation, tmp_path, logging=told)
    events = module.EventAccumulator(str(tmp_path / "logs/tensorboard/resnet18-L1/fold0"))
    events.Reload()
    assert {"train/loss", "train/mIoU", "validation/loss", "validation/mIoU", "lr"} == set(
        events.Tags()["scalars"]
    )
    for row in found.history:
        scalar = events.Scalars(f"{row.split}/loss")[row.epoch]
        assert (scalar.step, scalar.value) == (row.epoch, pytest.approx(row.loss))
