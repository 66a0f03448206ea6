from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from skiptool.errors import DivergedError
from skiptool.model.segmenter import Tally
from skiptool.model.watch import Watch
from skiptool.records import SILENT


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    with SILENT.task("", 1) as task:
        return Watch(task, steps=[3] * 9, checkpoint=tmp_path / "last.ckpt")


def tally(right: int, wrong: int, loss: float) -> Tally:
    """Count a background pixel, and ``right`` and ``wrong`` ones of the foreground."""
    counted = Tally(2, torch.device("cpu"))
    truth = torch.tensor([[[0] + [1] * (right + wrong)]])
    predicted = torch.tensor([[[0] + [1] * right + [0] * wrong]])
    logits = torch.nn.functional.one_hot(predicted, 2).permute(0, 3, 1, 2).float()
    counted.add(logits, truth, torch.tensor(loss))
    return counted


def end_epoch(watch: Watch, epoch: int, right: int, loss: float = 1.0, of: int = 10) -> bool:
    """Let an epoch end whose foreground IoU is ``right`` / ``of``; say whether training is over."""
    segmenter: Any = SimpleNamespace(
        network=torch.nn.Conv2d(1, 1, 1),
        trained=tally(5, 5, 2.0),
        validated=tally(right, of - right, loss),
    )
    torch.nn.init.constant_(segmenter.network.weight, epoch)
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.1}])
    trainer: Any = SimpleNamespace(
        current_epoch=epoch,
        optimizers=[optimizer],
        should_stop=False,
        is_global_zero=True,
        loggers=[],
        save_checkpoint=lambda path: path.touch(),
    )
    watch.on_train_epoch_start(trainer, segmenter)
    watch.on_validation_start(trainer, segmenter)
    watch.on_train_epoch_end(trainer, segmenter)
    return bool(trainer.should_stop)


def test_the_best_is_the_earliest_of_the_highest(watch: Watch) -> None:
    for epoch, right in enumerate([2, 7, 7, 3]):
        end_epoch(watch, epoch, right)
    assert watch.best_epoch == 1
    assert watch.best_miou == pytest.approx(0.7)
    assert watch.best["weight"].item() == 1


def test_every_epoch_is_saved_whole(watch: Watch) -> None:
    end_epoch(watch, 0, 2)
    assert [path.name for path in watch.checkpoint.parent.iterdir()] == ["last.ckpt"]


def test_patience_counts_epochs_behind_the_best(tmp_path: Path) -> None:
    with SILENT.task("", 1) as task:
        patient = Watch(task, [3] * 9, tmp_path / "last.ckpt", patience=2)
        endless = Watch(task, [3] * 9, tmp_path / "last.ckpt")
    rights = [2, 7, 7, 3]
    assert [end_epoch(patient, *each) for each in enumerate(rights)] == [False] * 3 + [True]
    assert not any(end_epoch(endless, *each) for each in enumerate(rights))


def test_the_history_has_two_rows_an_epoch(watch: Watch) -> None:
    end_epoch(watch, 0, 2, loss=0.5)
    train, validation = watch.history
    assert (train.epoch, train.split, train.loss, train.lr) == (0, "train", 2.0, 0.1)
    assert (validation.split, validation.loss) == ("validation", 0.5)
    assert (train.miou, validation.miou) == (0.5, pytest.approx(0.2))
    assert min(train.seconds, validation.seconds) >= 0


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_training_that_diverges_ends(watch: Watch, loss: float) -> None:
    with pytest.raises(DivergedError, match=r"the validation loss of epoch 4 is .* lower the"):
        end_epoch(watch, 3, 5, loss)


def test_what_is_kept_comes_back(watch: Watch, tmp_path: Path) -> None:
    for epoch, right in enumerate([3, 4, 2]):
        end_epoch(watch, epoch, right)
    torch.save(watch.state_dict(), tmp_path / "state")
    with SILENT.task("", 1) as task:
        again = Watch(task, steps=[3] * 9, checkpoint=tmp_path / "last.ckpt")
    again.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert again.history == watch.history
    assert (again.best_epoch, again.best_miou) == (1, watch.best_miou)
    np.testing.assert_array_equal(again.best["weight"], watch.best["weight"])


def test_epochs_of_a_checkpoint_are_shown_as_done(tmp_path: Path) -> None:
    advanced: list[int] = []
    task: Any = SimpleNamespace(advance=lambda steps, note: advanced.append(steps))
    watch = Watch(task, [5, 3, 4], tmp_path / "last.ckpt")
    assert (watch.epochs, watch.epochs_done) == (3, 0)
    for epoch in range(2):
        end_epoch(watch, epoch, 2)
    assert watch.epochs_done == 2
    trainer: Any = SimpleNamespace(current_epoch=2)
    watch.on_train_start(trainer, trainer)
    assert advanced == [0, 0, 8]


def test_classes_that_no_mask_holds_are_told_once(tmp_path: Path) -> None:
    said: list[str] = []
    with SILENT.task("", 1) as task:
        last = tmp_path / "last.ckpt"
        watch = Watch(task, [3] * 9, last, classes=("background", "cell"), warn=said.append)
        end_epoch(watch, 0, 0)
        assert said == []
        watch = Watch(task, [3] * 9, last, classes=("background", "cell"), warn=said.append)
        for epoch in range(2):
            end_epoch(watch, epoch, 0, of=0)
    (line,) = said
    assert line.startswith("validation data: no pixel of cell in the masks of the first epoch")


def test_ctrl_c_is_remembered(watch: Watch) -> None:
    nothing: Any = None
    watch.on_exception(nothing, nothing, ValueError())
    assert not watch.interrupted
    watch.on_exception(nothing, nothing, SIGTERMException())
    assert watch.interrupted
    watch.on_exception(nothing, nothing, KeyboardInterrupt())
    assert watch.interrupted
