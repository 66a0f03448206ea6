"""Faults of the machine: one line, nothing half-written, and ``--resume`` ends at the same bits."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import segmentation_models_pytorch as smp
import torch

from limits import files_below
from skiptool.cli import main
from skiptool.errors import FormatError
from skiptool.model.fit import LAST
from skiptool.model.lightning import HistoryCallback, Segmenter
from skiptool.names import Split
from skiptool.steps import train
from skiptool.stores.dataset import StoredSamples
from small_stores import sample, write_dataset

Run = Callable[..., Any]
Act = Callable[[], object]

SMALL = ("--encoder", "tu-mobilenetv3_small_050", "--encoder-weights", "none", "--device", "cpu")
TRAIN = ("--fold", "0", "--epochs", "3", "--batch-size", "4", "--precision", "32", *SMALL)
FOLDER = Path("runs/tu-mobilenetv3_small_050-L0/fold0")


@pytest.fixture(scope="module")
def whole(experiment: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train three epochs without a fault."""
    folder = tmp_path_factory.mktemp("whole")
    assert main(["train", str(experiment.data), "-o", str(folder / "runs"), *TRAIN]) == 0
    return folder


@pytest.fixture
def limits() -> Iterator[ExitStack]:
    """Take limits that a test sets in the middle of the work, and lift them at its end."""
    with ExitStack() as stack:
        yield stack


def failing(error: BaseException) -> Act:
    def act() -> None:
        raise error

    return act


def ask_for_a_pebibyte() -> object:
    return torch.empty(1 << 50, dtype=torch.uint8)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def kill_a_reader() -> None:
    os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)


MEMORY = ("not enough memory for batches of 4 images of 64 x 64 px", "--resume", "--batch-size")

IN_EPOCH: dict[str, tuple[int, Act, tuple[str, ...]]] = {
    "memory": (1, failing(MemoryError("Unable to allocate 8 GiB")), MEMORY),
    "memory of torch": (1, ask_for_a_pebibyte, MEMORY),
    "memory of a GPU": (1, failing(torch.OutOfMemoryError("CUDA out of memory.\nTried")), MEMORY),
    "device": (1, failing(RuntimeError("CUDA error: launch failure")), ("launch failure",)),
    "terminated": (130, terminate, ("interrupted; give --resume",)),
}


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("memory", "terminated") else pytest.mark.slow)
        for name in IN_EPOCH
    ],
)
def test_training_survives_faults_in_the_second_epoch(
    name: str,
    run: Run,
    experiment: SimpleNamespace,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, act, fragments = IN_EPOCH[name]
    hurt(monkeypatch, act)
    check_train(run, experiment, whole, tmp_path, monkeypatch, code, fragments)


def hurt(monkeypatch: pytest.MonkeyPatch, act: Act) -> None:
    """Let something happen in the middle of the second epoch."""
    step = Segmenter.training_step

    def injured(self: Segmenter, batch: Any, batch_idx: int) -> Any:  # noqa: ANN401 - Lightning's
        if (self.current_epoch, batch_idx) == (1, 1):
            act()
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Segmenter, "training_step", injured)


def check_train(
    run: Run,
    experiment: SimpleNamespace,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    fragments: tuple[str, ...],
    *more: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    # Without --quiet, a slow machine prints progress before the error.
    words = ("train", experiment.data, *TRAIN, *more, "--quiet")
    found = run(*words)
    assert found.code == code, found
    for fragment in fragments:
        assert fragment in found.line()
    assert not FOLDER.exists()
    (left,) = FOLDER.parent.iterdir()
    assert left.name == ".fold0.partial"
    kept = torch.load(left / LAST, weights_only=True)
    assert 1 <= kept["epoch"] + 1 <= 3
    assert not (left / f".{LAST}.part").exists()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert run(*words).code == 4
    again = run(*words, "--resume")
    assert (again.code, again.out) == (0, f"{FOLDER}\n")
    assert [path.name for path in FOLDER.parent.iterdir()] == ["fold0"]
    assert sorted(os.listdir(FOLDER)) == sorted(os.listdir(whole / FOLDER))
    weights = "model.safetensors"
    assert (FOLDER / weights).read_bytes() == (whole / FOLDER / weights).read_bytes()
    columns = ["epoch", "split", "loss", "mIoU", "lr"]
    one, two = (
        pq.read_table(each / FOLDER / "history.parquet", columns=columns)
        for each in (whole, tmp_path)
    )
    assert one.equals(two)


@pytest.mark.long
@pytest.mark.parametrize("size", [pytest.param(0, marks=pytest.mark.slow), 1_000_000])
def test_full_disk_at_the_checkpoint(
    size: int,
    run: Run,
    experiment: SimpleNamespace,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limits: ExitStack,
) -> None:
    hurt(monkeypatch, lambda: limits.enter_context(files_below(size)))
    monkeypatch.setattr(HistoryCallback, "on_exception", lambda *_: limits.close())  # space is made
    words = (f"partial/{LAST}: File too large", "ulimit -f", "give --resume")
    check_train(run, experiment, whole, tmp_path, monkeypatch, 1, words)


@pytest.mark.long
@pytest.mark.parametrize("place", ["write_model", "write_table"])
def test_full_disk_at_the_model(
    place: str,
    run: Run,
    experiment: SimpleNamespace,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = getattr(train, place)

    def narrow(*arguments: Any) -> None:  # noqa: ANN401 - the function's own
        with files_below(500):
            write(*arguments)

    monkeypatch.setattr(train, place, narrow)
    words = ("File too large", "fold0", "give --resume")
    check_train(run, experiment, whole, tmp_path, monkeypatch, 1, words)


@pytest.mark.long
def test_data_damaged_in_the_second_epoch(
    run: Run,
    experiment: SimpleNamespace,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> Any:  # noqa: ANN401 - stands for a function that returns
        raise FormatError("d.zarr: chunk 3 is damaged")

    monkeypatch.setattr("skiptool.model.fit.CachedReader", lambda reader: reader)
    hurt(monkeypatch, lambda: monkeypatch.setattr(StoredSamples, "read", fail))
    words = ("d.zarr: chunk 3 is damaged",)
    check_train(run, experiment, whole, tmp_path, monkeypatch, 1, words)


def test_loss_that_is_not_finite(
    run: Run, experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = run("train", experiment.data, *TRAIN, "--lr", "1e30")
    assert found.code == 1
    assert "training diverged: the " in found.line()
    assert "lower the learning rate" in found.line()
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_killed_reader_process(
    workers: str,
    run: Run,
    experiment: SimpleNamespace,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hurt(monkeypatch, kill_a_reader)
    words = (f"one of {workers} loader processes was killed", "--resume and fewer --workers")
    more = ("--workers", workers)
    check_train(run, experiment, whole, tmp_path, monkeypatch, 1, words, *more)


def test_a_store_without_training_samples(run: Run, tmp_path: Path) -> None:
    write_dataset(tmp_path / "d.zarr", [sample(0, "a", (32, 32, 3), split=Split.TEST, fold=-1)])
    found = run("train", tmp_path / "d.zarr", "-o", tmp_path / "runs", *TRAIN)
    assert found.code == 1
    assert "d.zarr: holds no training samples in any domain (a), expected some" in found.line()


@pytest.mark.long
def test_class_without_pixels(run: Run, tmp_path: Path) -> None:
    """The masks of fold 0 lack class 2 of 0 to 2, those of fold 1 class 1."""
    samples = [
        sample(
            index,
            "a",
            (32, 32, 3),
            split=Split.TRAIN,
            fold=index % 2,
            subject=f"{index}",
            mask=np.where(np.arange(32) < 9, np.uint8(1 + index % 2), np.uint8(0))[None].repeat(
                32, axis=0
            ),
        )
        for index in range(4)
    ]
    write_dataset(tmp_path / "d.zarr", samples)
    found = run("train", tmp_path / "d.zarr", "-o", tmp_path / "runs", *TRAIN)
    assert found.code == 0
    warned = [line for line in found.err.splitlines() if "warning" in line]
    assert len(warned) == 2
    assert "training data: no pixel of cell in the masks of the first epoch" in warned[0]
    assert "validation data: no pixel of debris in the masks of the first epoch" in warned[1]


def fill_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk be full when the table is written."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)


def greedy(*_: object, **__: object) -> object:
    return ask_for_a_pebibyte()


PREDICT: dict[str, tuple[Callable[[pytest.MonkeyPatch, ExitStack], object], tuple[str, ...]]] = {
    "no space for the table": (
        lambda patch, _: fill_up(patch),
        (".p.parquet.partial: No space left on device; free space there; give --resume",),
    ),
    "no space for anything": (
        lambda _, limits: limits.enter_context(files_below(3000)),
        ("File too large", "ulimit -f", "give --resume"),
    ),
    "memory": (
        lambda patch, _: patch.setattr(smp.Unet, "forward", greedy),
        ("not enough memory for 2 networks and a batch of", "give --resume"),
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("name", PREDICT)
def test_faults_of_predict(
    name: str,
    run: Run,
    experiment: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limits: ExitStack,
    contents: Callable[[Path], dict[str, bytes]],
) -> None:
    act, fragments = PREDICT[name]
    monkeypatch.chdir(tmp_path)
    both, shifts = (experiment.baseline, experiment.pruned), ("original", "brightness=0.5")
    words = ("predict", *both, "--data", experiment.data, "-o", "p.parquet", "--masks", "m.zarr")
    words += tuple(word for shift in shifts for word in ("--shift", shift))
    words += ("--precision", "32")
    act(monkeypatch, limits)
    found = run(*words)
    limits.close()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert found.code == 1
    for fragment in fragments:
        assert fragment in found.line()
    assert {path.name for path in tmp_path.iterdir()} <= {".p.parquet.partial", ".m.zarr.partial"}
    assert run(*words, "--resume").code == 0
    assert sorted(os.listdir()) == ["m.zarr", "p.parquet"]
    one, two = (pq.read_table(path) for path in (experiment.predictions, "p.parquet"))
    assert one.equals(two)
    assert contents(tmp_path / "m.zarr") == contents(experiment.masks)


@pytest.mark.long
@pytest.mark.parametrize("name", ["no space", "memory"])
def test_faults_of_features(
    name: str,
    run: Run,
    experiment: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limits: ExitStack,
    contents: Callable[[Path], dict[str, bytes]],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = partial(run, "features", experiment.baseline, "--data", experiment.data, "-o", "f.zarr")
    if name == "memory":
        monkeypatch.setattr(torch, "cat", greedy)
        fragment = "not enough memory for 16 images at once"
    else:
        limits.enter_context(files_below(20_000))
        fragment = "f.zarr: File too large"
    found = words()
    limits.close()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert found.code == 1
    assert fragment in found.line()
    assert "give --resume" in found.line()
    assert os.listdir() == [".f.zarr.partial"]
    assert words("--resume").code == 0
    assert os.listdir() == ["f.zarr"]
    assert contents(tmp_path / "f.zarr") == contents(experiment.plain)
