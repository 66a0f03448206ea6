from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from skiptool.errors import ArgumentError
from skiptool.model.checks import check_batch, check_protocol, check_samples
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
    ],
)
def test_protocols_out_of_range(change: dict[str, Any], expected: str) -> None:
    check_protocol(Training(fold=0))
    with pytest.raises(ArgumentError, match=expected):
        check_protocol(replace(Training(fold=0), **change))


def test_samples(readers: ModuleType) -> None:
    check_samples(readers.Squares(3), "training", ARCHITECTURE)
    with pytest.raises(ArgumentError, match="training data: no sample"):
        check_samples(readers.Squares(0), "training", ARCHITECTURE)
    with pytest.raises(ArgumentError, match="images have 1 channels, the architecture has 3"):
        check_samples(readers.Grey(3), "training", ARCHITECTURE)
    with pytest.raises(ArgumentError, match=r"validation data: no pixel of 4 samples .* \(cell\)"):
        check_samples(readers.Empty(4), "validation", ARCHITECTURE)


def test_reading_stops_at_the_first_foreground(readers: ModuleType) -> None:
    check_samples(readers.Squares(3, broken=1), "training", ARCHITECTURE)


def test_batches_of_one_pixel(readers: ModuleType) -> None:
    check_batch(readers.Squares(2, size=32), 8)
    check_batch(readers.Squares(1, size=64), 1)
    for count, batch_size in ((1, 8), (5, 1)):
        with pytest.raises(ArgumentError, match="one image of 32 x 32 px cannot be normalised"):
            check_batch(readers.Squares(count, size=32), batch_size)
