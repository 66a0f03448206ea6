from __future__ import annotations

import logging
import signal
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from skiptool.model.batches import training_batches, validation_batches
from skiptool.model.loss import SegmentationLoss
from skiptool.model.segmenter import Segmenter
from skiptool.model.trainer import _interruptible, run
from skiptool.model.unet import build
from skiptool.model.watch import Watch
from skiptool.names import Loss, Precision
from skiptool.records import SILENT, Architecture, SampleReader, Training

CLASSES = ("background", "cell")


def start(folder: Path, train: SampleReader, validation: SampleReader) -> Watch:
    network = build(Architecture("resnet18", (), CLASSES))
    protocol = Training(fold=0, epochs=1, encoder_weights="none")
    segmenter = Segmenter(network, SegmentationLoss(Loss.CE_GDICE, 2), protocol, 2)
    with SILENT.task("", 1) as task:
        watch = Watch(task, [2], folder / "last.ckpt")
        batches, checks = training_batches(train, 2, seed=0), validation_batches(validation, 2)
        run(segmenter, batches, checks, watch, "cpu", Precision.BFLOAT16, resume=False)
    return watch


@pytest.fixture
def interrupting(readers: ModuleType) -> SampleReader:
    class Interrupting(readers.Squares):  # type: ignore[name-defined, misc]
        def read(self, index: int) -> tuple[Any, Any]:
            raise KeyboardInterrupt

    reader: SampleReader = Interrupting(4)
    return reader


@pytest.mark.long
def test_nothing_is_said_and_only_the_checkpoint_is_left(
    tmp_path: Path, readers: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    before = torch.get_rng_state()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        watch = start(tmp_path, readers.Squares(4), readers.Squares(2))
    assert tuple(capfd.readouterr()) == ("", "")
    assert [str(warning.message) for warning in caught] == []
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    assert len(watch.history) == 2
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.long
def test_lightning_may_speak_again_afterwards(
    tmp_path: Path, interrupting: SampleReader, readers: ModuleType
) -> None:
    logger = logging.getLogger("lightning.pytorch")
    level, filters = logger.level, list(warnings.filters)
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, readers.Squares(4), interrupting)
    assert logger.level == level
    assert list(warnings.filters) == filters


def test_ctrl_c_stays_ctrl_c(
    tmp_path: Path, interrupting: SampleReader, readers: ModuleType
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, interrupting, readers.Squares(2))
    assert signal.getsignal(signal.SIGINT) is handler
    assert not (tmp_path / "last.ckpt").exists()


def test_ctrl_c_before_lightning_knows_the_handlers(tmp_path: Path) -> None:
    """It then leaves SIGINT ignored, and a second Ctrl-C would do nothing."""
    handler = signal.getsignal(signal.SIGINT)
    with SILENT.task("", 1) as task:
        watch = Watch(task, [1], tmp_path / "last.ckpt")

    def leave() -> None:
        with _interruptible(watch):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            watch.interrupted = True
            raise SystemExit(1)

    try:
        with pytest.raises(KeyboardInterrupt):
            leave()
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, handler)


def test_an_exit_of_somebody_else_passes(tmp_path: Path, readers: ModuleType) -> None:
    class Leaving(readers.Squares):  # type: ignore[name-defined, misc]
        def read(self, index: int) -> tuple[Any, Any]:
            raise SystemExit(7)

    with pytest.raises(SystemExit, match="7"):
        start(tmp_path, Leaving(4), readers.Squares(2))
