"""Work for processes that train together in tests; started processes import this module."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch

from skiptool.errors import FormatError
from skiptool.model.fit import TrainingResult, fit
from skiptool.model.lightning import Segmenter
from skiptool.names import Loss, Precision
from skiptool.records import Architecture, Training

if TYPE_CHECKING:
    from skiptool.model.distributed import Ranks

L1 = Architecture("resnet18", (2, 3, 4), ("background", "square"))
STILL = Training(
    fold=0,
    epochs=1,
    batch_size=4,
    lr=1e-12,
    loss=Loss.CE,
    encoder_weights="none",
    precision=Precision.FLOAT32,
    seed=5,
)
"""Weights barely change, so counts do not depend on what was learned."""


@contextmanager
def frozen(steps: list[dict[str, torch.Tensor]]) -> Iterator[None]:
    """Freeze batch norm, and record the gradients of every step."""
    begin = Segmenter.on_train_epoch_start

    def freeze(self: Segmenter) -> None:
        begin(self)
        for module in self.network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()

    def record(self: Segmenter, optimizer: Any) -> None:  # noqa: ANN401 - Lightning's
        named = self.network.named_parameters()
        steps.append({name: value.grad.clone() for name, value in named if value.grad is not None})

    with (
        patch.object(Segmenter, "on_train_epoch_start", freeze),
        patch.object(Segmenter, "on_before_optimizer_step", record),
    ):
        yield


def gradients(ranks: Ranks) -> tuple[TrainingResult, list[dict[str, torch.Tensor]]]:
    """Train one epoch on 13 images, dropping the last batch, and validate on 7."""
    from readers import Squares  # next to this file, on the path

    steps: list[dict[str, torch.Tensor]] = []
    with frozen(steps), tempfile.TemporaryDirectory() as folder:
        train, validation = Squares(13), Squares(7, seed=1)
        result = fit(L1, STILL, train, validation, Path(folder), ranks=ranks)
    return result, steps


def learn(folder: Path, epochs: int, resume: bool, ranks: Ranks) -> TrainingResult:
    """Train on 12 images with default settings."""
    from readers import Squares

    protocol = Training(
        fold=0, epochs=epochs, batch_size=4, lr=1e-3, encoder_weights="none", seed=5
    )
    return fit(L1, protocol, Squares(12), Squares(4, seed=1), folder, ranks=ranks, resume=resume)


def learn_in_helper(folder: Path, epochs: int, resume: bool, ranks: Ranks) -> None:
    """As `learn`, without a result."""
    learn(folder, epochs, resume, ranks)


def gradients_in_helper(ranks: Ranks) -> None:
    """As `gradients`, without a result."""
    gradients(ranks)


def refuse(ranks: Ranks) -> None:
    """Fail as if a sample were damaged."""
    raise FormatError("squares: sample 2 is damaged")


def die(ranks: Ranks) -> None:
    """Die as if killed for lack of memory."""
    os.abort()
