from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from skiptool.errors import ArgumentError
from skiptool.figures.examples import example_sheet
from skiptool.figures.style import ONE_COLUMN, TWO_COLUMNS

Check = Callable[[Figure], list[str]]
RNG = np.random.default_rng(0)
CLASSES = ("background", "cell")
LONG = "<script>" + "x" * 192


def sheet(
    high: int,
    wide: int,
    side: int = 16,
    name: str = "L1-pruned",
    **new: Any,  # noqa: ANN401
) -> Figure:
    masks = np.zeros((wide, side, side), dtype=np.uint8)
    masks[:, side // 4 : side // 2, side // 4 :] = 1
    given: dict[str, Any] = {
        "images": RNG.integers(0, 256, (wide, side, side, 3), dtype=np.uint8),
        "truths": masks,
        "predicted": [[*masks[:, ::-1]] for _ in range(high)],
        "rows": [name] * high,
        "columns": [f"worst, original\n{name}\n{name}"] * wide,
        "told": [["IoU 0.123"] * wide for _ in range(high)],
    }
    return example_sheet(classes=CLASSES, **given | new)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (6, 4), (2, 3)])
@pytest.mark.parametrize("name", ["baseline", LONG])
def test_every_label_has_its_own_place(labels: Check, rows: int, columns: int, name: str) -> None:
    texts = labels(sheet(rows, columns, name=name))
    assert texts[:3] == ["cell, truth", "cell, prediction", "worst, original"]
    assert texts.count("IoU 0.123") == rows * columns
    assert texts.count("worst, original") == columns


@pytest.mark.parametrize("side", [64, 128, 200, 256])
def test_four_columns_fit_two_journal_columns(side: int) -> None:
    width, height = sheet(6, 4, side).get_size_inches()
    assert ONE_COLUMN < width <= TWO_COLUMNS
    assert height < 9.5


def test_what_is_not_there_is_a_field_and_nothing_else_moves(labels: Check) -> None:
    mask = np.zeros((16, 16), dtype=np.uint8)
    figure = sheet(1, 2, predicted=[[mask, None]], told=[["IoU 0.5", "not predicted"]])
    assert "not predicted" in labels(figure)
    assert figure.get_size_inches().tolist() == sheet(1, 2).get_size_inches().tolist()
    assert len(figure.axes[0].images) == 1


def test_grey_images(labels: Check) -> None:
    assert labels(sheet(1, 2, images=RNG.random((2, 16, 16, 1), dtype=np.float32)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"rows": []},
        {"columns": ["a"]},
        {"truths": []},
        {"predicted": [[None]]},
        {"told": [["a", "b"]] * 2},
        {"rows": [], "columns": [], "images": [], "truths": [], "predicted": [], "told": []},
    ],
)
def test_numbers_that_differ_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="examples: found"):
        sheet(1, 2, **wrong)
