from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from skiptool.errors import ArgumentError, FormatError
from skiptool.model.checks import (
    check_batch,
    check_protocol,
    check_samples,
    check_shares,
    weights_of,
)
from skiptool.records import Architecture, Training

ARCHITECTURE = Architecture("resnet18", (), ("background", "cell"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"epochs": 0}, "epochs is 0, expected at least 1"),
        ({"batch_size": 0}, "batch size is 0"),
        ({"lr_step": -1}, "step of the learning rate is -1"),
        ({"lr": 0.0}, "learning rate is 0, expected a number above 0"),
        ({"lr": float("nan")}, "learning rate is nan"),
        ({"lr_gamma": float("inf")}, "its decay is inf"),
        ({"patience": 0}, "patience is 0, expected at least 1"),
        ({"grad_clip": 0.0}, "norm of gradients is 0, expected a number above 0"),
    ],
)
def test_protocols_out_of_range(change: dict[str, Any], expected: str) -> None:
    check_protocol(Training(fold=0))
    with pytest.raises(ArgumentError, match=expected):
        check_protocol(replace(Training(fold=0), **change))


def test_weights_of_classes_are_in_the_order_of_the_classes() -> None:
    assert weights_of(Training(0), ("a", "b")) is None
    some = Training(0, class_weights=(("c", 3.0), ("a", 0.5)))
    assert weights_of(some, ("a", "b", "c")) == [0.5, 1.0, 3.0]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([("d", 1.0)], "class weight of 'd': is no class, expected each of a, b"),
        ([("a", 1.0), ("a", 2.0)], "class weight of 'a': is given twice"),
        ([("a", -1.0)], "class weight of 'a': -1, expected 0 or more"),
        ([("b", float("nan"))], "class weight of 'b': nan"),
        ([("a", 0.0), ("b", 0.0)], "all are 0"),
    ],
)
def test_weights_of_classes_that_are_refused(
    weights: list[tuple[str, float]], expected: str
) -> None:
    with pytest.raises(ArgumentError, match=expected):
        weights_of(Training(0, class_weights=tuple(weights)), ("a", "b"))


def test_samples(readers: ModuleType) -> None:
    check_samples(readers.Squares(3), "training", ARCHITECTURE)
    with pytest.raises(ArgumentError, match="training data: no sample"):
        check_samples(readers.Squares(0), "training", ARCHITECTURE)
    with pytest.raises(ArgumentError, match="images have 1 channels, the architecture has 3"):
        check_samples(readers.Grey(3), "training", ARCHITECTURE)
    with pytest.raises(FormatError, match=r"validation data: no pixel of 4 samples .* \(cell\)"):
        check_samples(readers.Empty(4), "validation", ARCHITECTURE)


def test_reading_stops_at_the_first_foreground(readers: ModuleType) -> None:
    check_samples(readers.Squares(3, broken=1), "training", ARCHITECTURE)


def test_batches_of_one_pixel(readers: ModuleType) -> None:
    check_batch(readers.Squares(2, size=32), 8)
    check_batch(readers.Squares(1, size=64), 1)
    for count, batch_size in ((1, 8), (5, 1)):
        with pytest.raises(ArgumentError, match="one image of 32 x 32 px cannot be normalised"):
            check_batch(readers.Squares(count, size=32), batch_size)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((9, [range(9)], 4, 2), "--batch-size 9: cannot be dealt out to 2 processes"),
        ((9, [range(9), range(2)], 4, 3), "a part of the data holds 2 samples"),
        ((4, [range(9)], 3, 4), "a part of the data holds 3 samples"),
    ],
)
def test_what_cannot_be_dealt_out(given: Any, expected: str) -> None:  # noqa: ANN401
    check_shares(8, [range(9)], 4, 4)
    with pytest.raises(ArgumentError, match=expected):
        check_shares(*given)
