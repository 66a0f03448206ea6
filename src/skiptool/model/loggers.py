"""Where else the history of a training goes while it runs: TensorBoard, W&B or MLflow."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from skiptool.errors import ArgumentError, SourceError
from skiptool.names import LoggerName

__all__ = ["Logging", "check_loggers", "close"]

PROJECT = "skiptool"


@dataclass(frozen=True, slots=True)
class Logging:
    """Which loggers a training writes to.

    Attributes
    ----------
    names : tuple of LoggerName
    folder : Path
        For what they write themselves; each takes a folder of its own below it.
    run : str
        Name of the run, ``resnet18-L1/fold0``.
    identity : str
        What a resumed run has in common with its beginning.
    """

    names: tuple[LoggerName, ...]
    folder: Path
    run: str
    identity: str

    def open(self, parameters: Mapping[str, Any]) -> list[Logger]:
        """Open the loggers and tell them the parameters of the run.

        Raises
        ------
        SourceError
            If a logger cannot be opened: its server does not answer, its package is too old ...
        """
        opened = [self._open(name) for name in self.names]
        for logger in opened:
            logger.log_hyperparams(dict(parameters))
        return opened

    def _open(self, name: LoggerName) -> Logger:
        try:
            logger = _MAKERS[name](self)
            getattr(logger, "experiment")  # noqa: B009 - made on first use: now, not behind an epoch
        except Exception as error:  # each package fails in its own ways
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise SourceError(
                f"--logger {name}: cannot be opened ({reason}); see to it, or leave it out"
            ) from error
        return logger


def check_loggers(names: Sequence[LoggerName]) -> None:
    """Refuse a logger whose package is missing, before anything is trained.

    Raises
    ------
    ArgumentError
    """
    for name in names:
        if find_spec(name.value) is None:
            raise ArgumentError(
                f"--logger {name}: {name} is not installed; pip install 'skiptool[{name}]'"
            )


def close(loggers: Sequence[Logger]) -> None:
    """End the runs: W&B would go on with one in the next training of this process."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


def _tensorboard(about: Logging) -> Logger:
    return TensorBoardLogger(
        about.folder / "tensorboard", name=about.run, version="", default_hp_metric=False
    )


def _wandb(about: Logging) -> Logger:
    (about.folder / "wandb").mkdir(parents=True, exist_ok=True)
    return WandbLogger(
        project=PROJECT, name=about.run, id=about.identity, resume="allow", save_dir=about.folder
    )


def _mlflow(about: Logging) -> Logger:
    place = os.environ.get("MLFLOW_TRACKING_URI")
    if place:
        return MLFlowLogger(PROJECT, run_name=about.run, tracking_uri=place)
    folder = about.folder.resolve() / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    return MLFlowLogger(
        PROJECT,
        run_name=about.run,
        tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
        artifact_location=(folder / "artifacts").as_uri(),
    )


_MAKERS: Mapping[LoggerName, Callable[[Logging], Logger]] = {
    LoggerName.TENSORBOARD: _tensorboard,
    LoggerName.WANDB: _wandb,
    LoggerName.MLFLOW: _mlflow,
}
