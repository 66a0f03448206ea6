from __future__ import annotations

import errno
import logging
import math
import signal
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from limits import files_below
from skiptool import metrics
from skiptool.errors import ArgumentError, DivergedError, FormatError, SourceError
from skiptool.metrics import mean_iou
from skiptool.model import lightning
from skiptool.model.batches import training_batches, validation_batches
from skiptool.model.fit import fit
from skiptool.model.lightning import (
    AtomicCheckpointIO,
    EpochTotals,
    HistoryCallback,
    Logging,
    Segmenter,
    _raise_interrupts,
    check_loggers,
    finish_loggers,
    run_trainer,
)
from skiptool.model.loss import SegmentationLoss
from skiptool.model.unet import build
from skiptool.names import LoggerName, Loss, Precision
from skiptool.records import SILENT, Architecture, SampleReader, Training
from small_stores import refused

CLASSES = ("background", "cell")


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    protocol = Training(fold=0, lr=0.5, lr_step=2, lr_gamma=0.1)
    network = build(Architecture("resnet18", (), CLASSES))
    return Segmenter(network, SegmentationLoss(Loss.CE, 2), protocol, 2)


def test_totals_are_the_confusion_matrix_of_all_batches() -> None:
    """The mean of the mIoU of batches is a different number."""
    generator = torch.Generator().manual_seed(0)
    totals = EpochTotals(3, torch.device("cpu"))
    counts = np.zeros((3, 3), np.int64)
    losses, alone = [], []
    for size, loss in ((4, 1.5), (1, 0.25)):
        logits = torch.randn((size, 3, 8, 8), generator=generator)
        masks = torch.randint(0, 3, (size, 8, 8), generator=generator, dtype=torch.uint8)
        masks[:, :size] = 255
        totals.add(logits, masks, torch.tensor(loss))
        predicted = logits.argmax(1).to(torch.uint8).numpy()
        batch = metrics.confusion_counts(masks.numpy(), predicted, 3).sum(axis=0)
        counts += batch
        losses += [loss] * size
        alone.append(mean_iou(batch))
    assert totals.counts.dtype == torch.int64
    np.testing.assert_array_equal(totals.counts.view(3, 3).numpy(), counts)
    assert totals.absent == []
    loss, miou = totals.result()
    assert loss == pytest.approx(np.mean(losses))
    assert miou == pytest.approx(float(mean_iou(counts)))
    assert miou != pytest.approx(float(np.mean(alone)))


def test_absent_classes_are_listed() -> None:
    """Background, predicted and ignored pixels do not count."""
    totals = EpochTotals(4, torch.device("cpu"))
    assert totals.absent == [1, 2, 3]
    masks = torch.tensor([[[2, 255], [2, 255]]], dtype=torch.uint8)
    totals.add(torch.randn((1, 4, 2, 2)), masks, torch.tensor(1.0))
    assert totals.absent == [1, 3]


def test_optimizer_is_adam_with_step_decay(segmenter: Segmenter) -> None:
    (optimizer,), (decay,) = segmenter.configure_optimizers()
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.param_groups[0]["weight_decay"] == 0
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        decay.step()
    assert rates == pytest.approx([0.5, 0.5, 0.05, 0.05, 0.005])


def test_dropout_depends_only_on_seed_and_epoch(segmenter: Segmenter) -> None:
    drawn = []
    for before in (0, 1):
        with torch.random.fork_rng([]):
            torch.manual_seed(before)
            segmenter.on_train_epoch_start()
            drawn.append(torch.rand(3))
    assert torch.equal(*drawn)


def test_batches_become_network_input(segmenter: Segmenter, readers: ModuleType) -> None:
    (batch,) = validation_batches(readers.Squares(2), 2)
    images, masks = segmenter.on_after_batch_transfer(
        segmenter.on_before_batch_transfer(batch, 0), 0
    )
    assert (images.shape, images.dtype) == ((2, 3, 64, 64), torch.float32)
    assert images.max() <= 1
    assert torch.equal(masks, batch[1])


def test_errors_of_workers_are_raised(segmenter: Segmenter) -> None:
    with pytest.raises(FormatError, match="damaged"):
        segmenter.on_before_batch_transfer(FormatError("sample 3 is damaged"), 0)


def test_unknown_labels_are_refused(segmenter: Segmenter) -> None:
    masks = torch.tensor([[[0, 1, 255, 7]]], dtype=torch.uint8)
    with pytest.raises(ArgumentError, match=r"label 7, expected 0 to 1 or 255 \(ignored\)"):
        segmenter.on_before_batch_transfer((torch.zeros(1, 1, 4, 3), masks), 0)


def start(folder: Path, train: SampleReader, validation: SampleReader) -> HistoryCallback:
    network = build(Architecture("resnet18", (), CLASSES))
    protocol = Training(fold=0, epochs=1, encoder_weights="none")
    segmenter = Segmenter(network, SegmentationLoss(Loss.CE_GDICE, 2), protocol, 2)
    with SILENT.task("", 1) as task:
        history = HistoryCallback(task, [2], folder / "last.ckpt")
        batches, checks = training_batches(train, 2, seed=0), validation_batches(validation, 2)
        run_trainer(segmenter, batches, checks, history, "cpu", Precision.BFLOAT16, resume=False)
    return history


@pytest.fixture
def interrupting(readers: ModuleType) -> SampleReader:
    class Interrupting(readers.Squares):  # type: ignore[name-defined, misc]
        def read(self, index: int) -> tuple[Any, Any]:
            raise KeyboardInterrupt

    reader: SampleReader = Interrupting(4)
    return reader


@pytest.mark.long
def test_training_is_silent_and_leaves_only_the_checkpoint(
    tmp_path: Path, readers: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    before = torch.get_rng_state()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = start(tmp_path, readers.Squares(4), readers.Squares(2))
    assert tuple(capfd.readouterr()) == ("", "")
    assert [str(warning.message) for warning in caught] == []
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    assert len(history.history) == 2
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.long
def test_log_levels_and_filters_are_restored(
    tmp_path: Path, interrupting: SampleReader, readers: ModuleType
) -> None:
    logger = logging.getLogger("lightning.pytorch")
    level, filters = logger.level, list(warnings.filters)
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, readers.Squares(4), interrupting)
    assert logger.level == level
    assert list(warnings.filters) == filters


def test_ctrl_c_raises_keyboard_interrupt(
    tmp_path: Path, interrupting: SampleReader, readers: ModuleType
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, interrupting, readers.Squares(2))
    assert signal.getsignal(signal.SIGINT) is handler
    assert not (tmp_path / "last.ckpt").exists()


def test_early_ctrl_c_restores_the_handler(tmp_path: Path) -> None:
    """Lightning would leave SIGINT ignored, and a second Ctrl-C would do nothing."""
    handler = signal.getsignal(signal.SIGINT)
    with SILENT.task("", 1) as task:
        history = HistoryCallback(task, [1], tmp_path / "last.ckpt")

    def leave() -> None:
        with _raise_interrupts(history):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            history.interrupted = True
            raise SystemExit(1)

    try:
        with pytest.raises(KeyboardInterrupt):
            leave()
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, handler)


def test_other_exits_are_not_changed(tmp_path: Path, readers: ModuleType) -> None:
    class Leaving(readers.Squares):  # type: ignore[name-defined, misc]
        def read(self, index: int) -> tuple[Any, Any]:
            raise SystemExit(7)

    with pytest.raises(SystemExit, match="7"):
        start(tmp_path, Leaving(4), readers.Squares(2))


@pytest.fixture
def history(tmp_path: Path) -> HistoryCallback:
    with SILENT.task("", 1) as task:
        return HistoryCallback(task, steps=[3] * 9, checkpoint=tmp_path / "last.ckpt")


def totals(right: int, wrong: int, loss: float) -> EpochTotals:
    """Count a background pixel, and ``right`` and ``wrong`` ones of the foreground."""
    counted = EpochTotals(2, torch.device("cpu"))
    truth = torch.tensor([[[0] + [1] * (right + wrong)]])
    predicted = torch.tensor([[[0] + [1] * right + [0] * wrong]])
    logits = torch.nn.functional.one_hot(predicted, 2).permute(0, 3, 1, 2).float()
    counted.add(logits, truth, torch.tensor(loss))
    return counted


def end_epoch(
    history: HistoryCallback, epoch: int, right: int, loss: float = 1.0, of: int = 10
) -> bool:
    """End an epoch with foreground IoU ``right`` / ``of``; return True if training is over."""
    segmenter: Any = SimpleNamespace(
        network=torch.nn.Conv2d(1, 1, 1),
        training_totals=totals(5, 5, 2.0),
        validation_totals=totals(right, of - right, loss),
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
    history.on_train_epoch_start(trainer, segmenter)
    history.on_validation_start(trainer, segmenter)
    history.on_train_epoch_end(trainer, segmenter)
    return bool(trainer.should_stop)


def test_best_epoch_is_the_earliest_of_the_highest_miou(history: HistoryCallback) -> None:
    for epoch, right in enumerate([2, 7, 7, 3]):
        end_epoch(history, epoch, right)
    assert history.best_epoch == 1
    assert history.best_miou == pytest.approx(0.7)
    assert history.best["weight"].item() == 1


def test_each_epoch_saves_a_checkpoint(history: HistoryCallback) -> None:
    end_epoch(history, 0, 2)
    assert [path.name for path in history.checkpoint.parent.iterdir()] == ["last.ckpt"]


def test_patience_counts_epochs_after_the_best(tmp_path: Path) -> None:
    with SILENT.task("", 1) as task:
        patient = HistoryCallback(task, [3] * 9, tmp_path / "last.ckpt", patience=2)
        endless = HistoryCallback(task, [3] * 9, tmp_path / "last.ckpt")
    rights = [2, 7, 7, 3]
    assert [end_epoch(patient, *scores) for scores in enumerate(rights)] == [False] * 3 + [True]
    assert not any(end_epoch(endless, *scores) for scores in enumerate(rights))


def test_history_has_two_rows_per_epoch(history: HistoryCallback) -> None:
    end_epoch(history, 0, 2, loss=0.5)
    train, validation = history.history
    assert (train.epoch, train.split, train.loss, train.lr) == (0, "train", 2.0, 0.1)
    assert (validation.split, validation.loss) == ("validation", 0.5)
    assert (train.miou, validation.miou) == (0.5, pytest.approx(0.2))
    assert min(train.seconds, validation.seconds) >= 0


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_diverged_training_is_an_error(history: HistoryCallback, loss: float) -> None:
    with pytest.raises(DivergedError, match=r"the validation loss of epoch 4 is .* lower the"):
        end_epoch(history, 3, 5, loss)


def test_state_is_restored(history: HistoryCallback, tmp_path: Path) -> None:
    for epoch, right in enumerate([3, 4, 2]):
        end_epoch(history, epoch, right)
    torch.save(history.state_dict(), tmp_path / "state")
    with SILENT.task("", 1) as task:
        again = HistoryCallback(task, steps=[3] * 9, checkpoint=tmp_path / "last.ckpt")
    again.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert again.history == history.history
    assert (again.best_epoch, again.best_miou) == (1, history.best_miou)
    np.testing.assert_array_equal(again.best["weight"], history.best["weight"])


def test_epochs_of_a_checkpoint_count_as_progress(tmp_path: Path) -> None:
    advanced: list[int] = []
    task: Any = SimpleNamespace(advance=lambda steps, note: advanced.append(steps))
    history = HistoryCallback(task, [5, 3, 4], tmp_path / "last.ckpt")
    assert (history.epochs, history.epochs_done) == (3, 0)
    for epoch in range(2):
        end_epoch(history, epoch, 2)
    assert history.epochs_done == 2
    trainer: Any = SimpleNamespace(current_epoch=2)
    history.on_train_start(trainer, trainer)
    assert advanced == [0, 0, 8]


def test_absent_classes_are_warned_about_once(tmp_path: Path) -> None:
    lines: list[str] = []
    with SILENT.task("", 1) as task:
        last = tmp_path / "last.ckpt"
        history = HistoryCallback(
            task, [3] * 9, last, classes=("background", "cell"), warn=lines.append
        )
        end_epoch(history, 0, 0)
        assert lines == []
        history = HistoryCallback(
            task, [3] * 9, last, classes=("background", "cell"), warn=lines.append
        )
        for epoch in range(2):
            end_epoch(history, epoch, 0, of=0)
    (line,) = lines
    assert line.startswith("validation data: no pixel of cell in the masks of the first epoch")


def test_ctrl_c_is_remembered(history: HistoryCallback) -> None:
    nothing: Any = None
    history.on_exception(nothing, nothing, ValueError())
    assert not history.interrupted
    history.on_exception(nothing, nothing, SIGTERMException())
    assert history.interrupted
    history.on_exception(nothing, nothing, KeyboardInterrupt())
    assert history.interrupted


OLD, NEW = ({"tensor": torch.full((1000, 100), value), "epoch": value} for value in (1.0, 2.0))


@pytest.fixture
def last(tmp_path: Path) -> Path:
    AtomicCheckpointIO().save_checkpoint(OLD, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def holds(path: Path, expected: dict[str, Any]) -> bool:
    result = AtomicCheckpointIO().load_checkpoint(path, weights_only=True)
    same = (
        torch.equal(result["tensor"], expected["tensor"]) and result["epoch"] == expected["epoch"]
    )
    return same and [file.name for file in path.parent.iterdir()] == [path.name]


def test_checkpoint_is_loaded_and_replaced(last: Path) -> None:
    assert holds(last, OLD)
    AtomicCheckpointIO().save_checkpoint(NEW, last)
    assert holds(last, NEW)


@pytest.mark.parametrize("size", [0, 10_000, 390_000])
def test_previous_checkpoint_is_intact_if_the_disk_is_full(last: Path, size: int) -> None:
    with files_below(size), pytest.raises(OSError, match="File too large") as caught:
        AtomicCheckpointIO().save_checkpoint(NEW, last)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(last))
    assert holds(last, OLD)


def test_partial_file_of_a_killed_process_is_replaced(last: Path) -> None:
    last.with_name(f".{last.name}.part").write_bytes(b"torn")
    AtomicCheckpointIO().save_checkpoint(NEW, last)
    assert holds(last, NEW)


def test_other_errors_are_not_changed(last: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        AtomicCheckpointIO().save_checkpoint(NEW, last)
    assert holds(last, OLD)


@pytest.mark.parametrize("size", [0, 40, 3000, -1])
def test_damaged_checkpoint_is_one_line(last: Path, size: int) -> None:
    data = last.read_bytes()
    last.write_bytes(data[:size])
    with refused(FormatError, last, "cannot be read as a checkpoint", "--overwrite"):
        AtomicCheckpointIO().load_checkpoint(last, weights_only=True)


def logging_to(folder: Path, *names: LoggerName) -> Logging:
    return Logging(names, folder, "resnet18-L1/fold0", "abc")


def test_missing_package_of_a_logger_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightning, "find_spec", lambda name: None if name == "wandb" else object())
    check_loggers([LoggerName.TENSORBOARD, LoggerName.MLFLOW])
    with pytest.raises(ArgumentError, match=r"wandb is not installed; pip install 'skiptool\[wand"):
        check_loggers([LoggerName.TENSORBOARD, LoggerName.WANDB])


def test_logger_that_cannot_be_opened_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(settings: Logging) -> Any:  # noqa: ANN401
        raise ConnectionError("no server at 9\nmore")

    monkeypatch.setattr(lightning, "_LOGGER_FACTORIES", {LoggerName.MLFLOW: fail})
    with pytest.raises(SourceError, match=r"^--logger mlflow: cannot be opened \(no server at 9\)"):
        logging_to(tmp_path, LoggerName.MLFLOW).open({})


def test_runs_of_wandb_are_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    monkeypatch.setattr(lightning, "WandbLogger", SimpleNamespace)
    run = SimpleNamespace(finish=lambda: ended.append("run"))
    finish_loggers([SimpleNamespace(experiment=run), object()])  # type: ignore[list-item]
    assert ended == ["run"]


@pytest.mark.long
def test_tensorboard_contains_the_history(readers: ModuleType, tmp_path: Path) -> None:
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    protocol = Training(
        fold=0,
        epochs=2,
        batch_size=4,
        encoder_weights="none",
        precision=Precision.FLOAT32,
    )
    architecture = Architecture("resnet18", (2, 3, 4), ("background", "square"))
    train, validation = readers.Squares(4, size=32), readers.Squares(2, seed=1, size=32)
    trackers = logging_to(tmp_path / "logs", LoggerName.TENSORBOARD)
    result = fit(architecture, protocol, train, validation, tmp_path, logging=trackers)
    events = module.EventAccumulator(str(tmp_path / "logs/tensorboard/resnet18-L1/fold0"))
    events.Reload()
    assert {"train/loss", "train/mIoU", "validation/loss", "validation/mIoU", "lr"} == set(
        events.Tags()["scalars"]
    )
    for row in result.history:
        scalar = events.Scalars(f"{row.split}/loss")[row.epoch]
        assert (scalar.step, scalar.value) == (row.epoch, pytest.approx(row.loss))
