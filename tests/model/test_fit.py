from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from skiptool import metrics
from skiptool.errors import ArgumentError, FormatError, SourceError
from skiptool.metrics import mean_iou
from skiptool.model import batches
from skiptool.model.augmentation import draw_augmentation
from skiptool.model.fit import (
    LAST,
    TrainingResult,
    check_batch,
    check_divisible,
    check_protocol,
    check_samples,
    fit,
    resolve_class_weights,
)
from skiptool.model.inference import predict_labels
from skiptool.model.unet import restore_network
from skiptool.names import Precision
from skiptool.records import Architecture, SampleReader, Training

L1 = Architecture("resnet18", (2, 3, 4), ("background", "square"))
PROTOCOL = Training(
    fold=0,
    epochs=3,
    batch_size=4,
    lr=2e-3,
    lr_step=2,
    encoder_weights="none",
    precision=Precision.FLOAT32,
    seed=5,
)


class RecordedProgress:
    """A progress display that records steps and notes."""

    def __init__(self) -> None:
        self.text = ""
        self.total = self.done = 0
        self.notes: list[str] = []

    @contextmanager
    def task(self, text: str, total: int) -> Iterator[RecordedProgress]:
        self.text, self.total = text, total
        yield self

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        self.notes.append(note)

    def warn(self, line: str) -> None:
        raise AssertionError(line)


@pytest.fixture(scope="module")
def shown() -> RecordedProgress:
    return RecordedProgress()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fit")


@pytest.fixture(scope="module")
def fitted(readers: ModuleType, folder: Path, shown: RecordedProgress) -> TrainingResult:
    """Train for three epochs on 13 images: the last batch of one image is dropped."""
    train, validation = readers.Squares(13), readers.Squares(6, seed=1)
    return fit(L1, PROTOCOL, train, validation, folder, progress=shown)


def same(left: TrainingResult, right: TrainingResult) -> bool:
    return left.tensors.keys() == right.tensors.keys() and all(
        np.array_equal(array, right.tensors[name]) for name, array in left.tensors.items()
    )


def scores(run: TrainingResult) -> list[tuple[int, str, float, float, float]]:
    return [(row.epoch, row.split, row.loss, row.miou, row.lr) for row in run.history]


@pytest.mark.long
def test_history_has_two_rows_per_epoch_and_the_best(fitted: TrainingResult) -> None:
    keys = [(row.epoch, row.split) for row in fitted.history]
    assert keys == [(epoch, split) for epoch in range(3) for split in ("train", "validation")]
    rates = [row.lr for row in fitted.history]
    assert rates == pytest.approx([2e-3] * 4 + [2e-4] * 2)
    validation = [row.miou for row in fitted.history if row.split == "validation"]
    assert fitted.best_miou == max(validation)
    assert fitted.best_epoch == validation.index(max(validation))
    train = [row.loss for row in fitted.history if row.split == "train"]
    assert train[-1] < train[0]


@pytest.mark.long
def test_result_records_the_arithmetic(fitted: TrainingResult) -> None:
    assert fitted.precision is Precision.FLOAT32
    assert (fitted.device, fitted.threads) == ("cpu", torch.get_num_threads())
    assert (fitted.encoder_weights.source, fitted.encoder_weights.digest) == ("none", None)


def test_best_tensors_reproduce_the_best_miou(fitted: TrainingResult, readers: ModuleType) -> None:
    network = restore_network(L1, fitted.tensors)
    reader = readers.Squares(6, seed=1)
    counts = np.zeros((2, 2), np.int64)
    for index in range(6):
        image, mask = reader.read(index)
        predicted = predict_labels(network, image[None], "cpu", Precision.FLOAT32)[0]
        counts += metrics.confusion_counts(mask, predicted, 2)
    assert float(mean_iou(counts)) == pytest.approx(fitted.best_miou, abs=1e-3)


def test_progress_reaches_its_total(fitted: TrainingResult, shown: RecordedProgress) -> None:
    assert shown.text == "resnet18-L1 fold 0"
    assert shown.done == shown.total == 3 * (3 + 2)
    assert shown.notes[0] == "epoch 1/3"
    last = fitted.history[-1]
    assert shown.notes[-1] == (
        f"epoch 3/3, loss {last.loss:.3f}, mIoU {last.miou:.3f} (best {fitted.best_miou:.3f}) in "
        "validation"
    )


@pytest.mark.long
def test_checkpoint_contains_the_last_epoch_and_the_history(
    fitted: TrainingResult, folder: Path
) -> None:
    checkpoint = torch.load(folder / LAST, weights_only=True)
    state = checkpoint["callbacks"]["Watch"]  # the key of all versions
    assert [row["epoch"] for row in state["history"]] == [0, 0, 1, 1, 2, 2]
    assert {name.removeprefix("network.") for name in checkpoint["state_dict"]} == set(
        fitted.tensors
    )
    assert [path.name for path in folder.iterdir()] == [LAST]


@pytest.mark.long
def test_equal_seeds_give_equal_bits(
    fitted: TrainingResult, readers: ModuleType, tmp_path: Path
) -> None:
    train, validation = readers.Squares(13), readers.Squares(6, seed=1)
    torch.manual_seed(99)
    again = fit(L1, PROTOCOL, train, validation, tmp_path)
    assert same(fitted, again)
    assert scores(fitted) == scores(again)
    other = fit(L1, replace(PROTOCOL, seed=6, epochs=1), train, validation, tmp_path)
    assert not same(fitted, other)


@pytest.mark.long
def test_resumed_training_equals_uninterrupted_training(
    fitted: TrainingResult, readers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = 0

    def killed(*given: Any) -> Any:  # noqa: ANN401 - a change
        nonlocal drawn
        drawn += 1
        if drawn > 2 * 12 + 5:  # in the third epoch
            raise KeyboardInterrupt
        return draw_augmentation(*given)

    validation = readers.Squares(6, seed=1)
    monkeypatch.setattr(batches, "draw_augmentation", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(L1, PROTOCOL, readers.Squares(13), validation, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [LAST]
    monkeypatch.undo()
    shown = RecordedProgress()
    train = readers.Squares(13)
    resumed = fit(L1, PROTOCOL, train, validation, tmp_path, resume=True, progress=shown)
    assert same(fitted, resumed)
    assert scores(fitted) == scores(resumed)
    assert shown.done == shown.total
    done = fit(L1, PROTOCOL, train, validation, tmp_path, resume=True)
    assert same(fitted, done)
    assert done.history == resumed.history


@pytest.mark.long
def test_training_without_improvement_stops_early(readers: ModuleType, tmp_path: Path) -> None:
    """Resuming it after its end trains no further."""
    train, validation = readers.Squares(13), readers.Squares(6, seed=1)
    still = replace(PROTOCOL, epochs=9, lr=0.3, patience=1)
    result = fit(L1, still, train, validation, tmp_path)
    assert len(result.history) == 2 * (result.best_epoch + 2) < 18
    again = fit(L1, still, train, validation, tmp_path, resume=True)
    assert same(result, again)
    assert again.history == result.history


@pytest.mark.long
def test_gradients_are_clipped_on_request(
    fitted: TrainingResult, readers: ModuleType, tmp_path: Path
) -> None:
    train, validation = readers.Squares(13), readers.Squares(6, seed=1)
    wide, narrow = (
        fit(L1, replace(PROTOCOL, grad_clip=norm), train, validation, tmp_path)
        for norm in (1e9, 1e-3)
    )
    assert same(fitted, wide)
    assert not same(fitted, narrow)


@pytest.mark.long
def test_class_weights_reach_the_loss(
    fitted: TrainingResult, readers: ModuleType, tmp_path: Path
) -> None:
    train, validation = readers.Squares(13), readers.Squares(6, seed=1)
    neutral, weighted = (
        fit(L1, replace(PROTOCOL, class_weights=weights), train, validation, tmp_path)
        for weights in ((("background", 1.0),), (("background", 5.0),))
    )
    assert same(fitted, neutral)
    assert not same(fitted, weighted)
    unknown = replace(PROTOCOL, class_weights=(("cel", 2.0),))
    with pytest.raises(
        ArgumentError, match="'cel': is not a class, expected each of background, sq"
    ):
        fit(L1, unknown, train, validation, tmp_path)


DRAWS = ([0, 3, 6, 9, 11, 12], [1, 4, 7], [2, 5, 8, 10, 13, 14, 15, 16, 17])
"""Of different lengths: the longest is not the first, and its last batch would have one image."""


@pytest.fixture(scope="module")
def drawn(readers: ModuleType, folder: Path) -> tuple[TrainingResult, list[tuple[str, int]]]:
    """Train four epochs on three draws; also return which samples were read, in order."""
    seen: list[tuple[str, int]] = []

    class Seen(readers.Squares):  # type: ignore[name-defined, misc]
        def read(self, index: int) -> tuple[Any, Any]:
            seen.append(("validation" if self.seed else "train", index))
            return super().read(index)  # type: ignore[no-any-return]

    train, validation = Seen(18, size=32), Seen(3, seed=1, size=32)
    shown = RecordedProgress()
    protocol = replace(PROTOCOL, epochs=4)
    with pytest.MonkeyPatch.context() as patched:  # cached samples are not read again
        patched.setattr("skiptool.model.fit.CachedReader", lambda reader: reader)
        result = fit(L1, protocol, train, validation, folder, draws=DRAWS, progress=shown)
    assert shown.done == shown.total == (2 + 1 + 2 + 2) + 4
    return result, seen


@pytest.mark.long
def test_each_epoch_trains_on_its_draw_and_validates_on_all(
    drawn: tuple[TrainingResult, list[tuple[str, int]]],
) -> None:
    fitted, seen = drawn
    epochs: list[tuple[set[int], list[int]]] = [(set(), [])]
    for part, index in seen[3:]:  # the first three are read by the checks
        if part == "train" and epochs[-1][1]:
            epochs.append((set(), []))
        if part == "train":
            epochs[-1][0].add(index)
        else:
            epochs[-1][1].append(index)
    assert [validation for _, validation in epochs] == [[0, 1, 2]] * 4
    trained = [train for train, _ in epochs]
    assert trained[0] == trained[3] == set(DRAWS[0])
    assert trained[1] == set(DRAWS[1])
    assert trained[2] < set(DRAWS[2])
    assert len(trained[2]) == 8
    rates = [row.lr for row in fitted.history]
    assert rates == pytest.approx([2e-3] * 4 + [2e-4] * 4)  # epochs are counted, not batches


@pytest.mark.long
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("first", [1, 2])
def test_further_epochs_continue_with_the_next_draw(
    first: int,
    workers: int,
    drawn: tuple[TrainingResult, list[tuple[str, int]]],
    readers: ModuleType,
    tmp_path: Path,
) -> None:
    train, validation = readers.Squares(18, size=32), readers.Squares(3, seed=1, size=32)
    options = {"draws": DRAWS, "workers": workers}
    fit(L1, replace(PROTOCOL, epochs=first), train, validation, tmp_path, **options)
    protocol, shown = replace(PROTOCOL, epochs=4), RecordedProgress()
    result = fit(L1, protocol, train, validation, tmp_path, resume=True, progress=shown, **options)
    assert same(result, drawn[0])
    assert scores(result) == scores(drawn[0])
    assert shown.done == shown.total == 11


@pytest.mark.slow
def test_workers_do_not_change_the_result(
    fitted: TrainingResult, readers: ModuleType, tmp_path: Path
) -> None:
    train, validation = readers.Squares(13), readers.Squares(6, seed=1)
    spawned = fit(L1, PROTOCOL, train, validation, tmp_path, workers=2)
    assert same(fitted, spawned)
    assert scores(fitted) == scores(spawned)


@pytest.mark.slow
def test_training_reaches_a_high_miou(readers: ModuleType, tmp_path: Path) -> None:
    protocol = replace(PROTOCOL, epochs=12, lr_step=15, batch_size=8, precision=Precision.AUTO)
    result = fit(L1, protocol, readers.Squares(48), readers.Squares(8, seed=1), tmp_path)
    assert result.best_miou > 0.85


@pytest.mark.long
def test_grey_images_train_in_bfloat16_with_a_batch_beyond_the_data(
    readers: ModuleType, tmp_path: Path
) -> None:
    architecture = Architecture("resnet18", (), ("background", "square"), channels=1)
    protocol = replace(PROTOCOL, epochs=1, batch_size=64, precision=Precision.BFLOAT16)
    result = fit(architecture, protocol, readers.Grey(3), readers.Grey(2), tmp_path)
    assert result.precision is Precision.BFLOAT16
    assert result.tensors["encoder.conv1.weight"].shape == (64, 1, 7, 7)
    assert result.tensors["encoder.conv1.weight"].dtype == np.float32


@pytest.mark.long
def test_images_of_one_bottleneck_pixel_are_trained(readers: ModuleType, tmp_path: Path) -> None:
    """Of five images in batches of four the last could not be normalised, and is dropped."""
    train, validation = readers.Squares(5, size=32), readers.Squares(2, size=32)
    result = fit(L1, replace(PROTOCOL, epochs=1), train, validation, tmp_path)
    assert len(result.history) == 2


@pytest.mark.parametrize(
    ("change", "train", "validation", "expected"),
    [
        ({"epochs": 0}, "Squares", "Squares", "epochs is 0"),
        ({"precision": Precision.FLOAT16}, "Squares", "Squares", "float16 needs a GPU"),
        ({}, "Empty", "Squares", "training data: no pixel"),
        ({}, "Squares", "Empty", "validation data: no pixel"),
        ({}, "Squares", "Grey", "validation data: images have 1 channels"),
        ({"encoder_weights": "imagnet"}, "Squares", "Squares", "did you mean imagenet"),
    ],
)
def test_invalid_arguments_and_data_are_refused(
    readers: ModuleType,
    tmp_path: Path,
    change: dict[str, Any],
    train: str,
    validation: str,
    expected: str,
) -> None:
    left: SampleReader = getattr(readers, train)(3)
    right: SampleReader = getattr(readers, validation)(3)
    with pytest.raises((ArgumentError, FormatError), match=expected):
        fit(L1, replace(PROTOCOL, **change), left, right, tmp_path)
    assert not list(tmp_path.iterdir())


def test_draw_of_one_small_image_is_refused(readers: ModuleType, tmp_path: Path) -> None:
    train, validation = readers.Squares(3, size=32), readers.Squares(2, size=32)
    with pytest.raises(ArgumentError, match="a batch of one image of 32 x 32 px"):
        fit(L1, PROTOCOL, train, validation, tmp_path, draws=[[0, 1], [2]])


def test_errors_of_readers_and_weights_are_raised(readers: ModuleType, tmp_path: Path) -> None:
    good = readers.Squares(3)
    with pytest.raises(FormatError, match=r"^squares: sample 2 is damaged$"):
        fit(L1, PROTOCOL, readers.Squares(4, broken=2), good, tmp_path)
    with pytest.raises(SourceError, match="no such file"):
        fit(L1, replace(PROTOCOL, encoder_weights="gone.pth"), good, good, tmp_path)


ARCHITECTURE = Architecture("resnet18", (), ("background", "cell"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"epochs": 0}, "epochs is 0, expected at least 1"),
        ({"batch_size": 0}, "batch size is 0"),
        ({"lr_step": -1}, "step of the learning rate is -1"),
        ({"lr": 0.0}, "learning rate is 0, expected a number above 0"),
        ({"lr": float("nan")}, "learning rate is nan"),
        ({"lr_gamma": float("inf")}, "learning rate decay is inf"),
        ({"patience": 0}, "patience is 0, expected at least 1"),
        ({"grad_clip": 0.0}, "gradient norm is 0, expected a number above 0"),
    ],
)
def test_protocol_out_of_range_is_refused(change: dict[str, Any], expected: str) -> None:
    check_protocol(Training(fold=0))
    with pytest.raises(ArgumentError, match=expected):
        check_protocol(replace(Training(fold=0), **change))


def test_class_weights_are_in_the_order_of_the_classes() -> None:
    assert resolve_class_weights(Training(0), ("a", "b")) is None
    weighted = Training(0, class_weights=(("c", 3.0), ("a", 0.5)))
    assert resolve_class_weights(weighted, ("a", "b", "c")) == [0.5, 1.0, 3.0]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([("d", 1.0)], "class weight of 'd': is not a class, expected each of a, b"),
        ([("a", 1.0), ("a", 2.0)], "class weight of 'a': is given twice"),
        ([("a", -1.0)], "class weight of 'a': -1, expected 0 or more"),
        ([("b", float("nan"))], "class weight of 'b': nan"),
        ([("a", 0.0), ("b", 0.0)], "all are 0"),
    ],
)
def test_invalid_class_weights_are_refused(weights: list[tuple[str, float]], expected: str) -> None:
    with pytest.raises(ArgumentError, match=expected):
        resolve_class_weights(Training(0, class_weights=tuple(weights)), ("a", "b"))


def test_samples_without_foreground_or_with_other_channels_are_refused(readers: ModuleType) -> None:
    check_samples(readers.Squares(3), "training", ARCHITECTURE)
    with pytest.raises(ArgumentError, match="training data: no sample"):
        check_samples(readers.Squares(0), "training", ARCHITECTURE)
    with pytest.raises(ArgumentError, match="images have 1 channels, the architecture has 3"):
        check_samples(readers.Grey(3), "training", ARCHITECTURE)
    with pytest.raises(FormatError, match=r"validation data: no pixel of 4 samples .* \(cell\)"):
        check_samples(readers.Empty(4), "validation", ARCHITECTURE)


def test_check_stops_at_the_first_foreground_pixel(readers: ModuleType) -> None:
    check_samples(readers.Squares(3, broken=1), "training", ARCHITECTURE)


def test_batch_of_one_bottleneck_pixel_is_refused(readers: ModuleType) -> None:
    check_batch(readers.Squares(2, size=32), 8)
    check_batch(readers.Squares(1, size=64), 1)
    for count, batch_size in ((1, 8), (5, 1)):
        with pytest.raises(ArgumentError, match="one image of 32 x 32 px cannot be normalised"):
            check_batch(readers.Squares(count, size=32), batch_size)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((9, [range(9)], 4, 2), "--batch-size 9: cannot be split among 2 processes"),
        ((9, [range(9), range(2)], 4, 3), "a part of the data has 2 samples"),
        ((4, [range(9)], 3, 4), "a part of the data has 3 samples"),
    ],
)
def test_indivisible_batches_and_samples_are_refused(given: Any, expected: str) -> None:  # noqa: ANN401
    check_divisible(8, [range(9)], 4, 4)
    with pytest.raises(ArgumentError, match=expected):
        check_divisible(*given)
