from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from skiptool.errors import ArgumentError
from skiptool.figures.comparison import compare_masks
from skiptool.figures.pens import compared_pens
from skiptool.figures.style import PictureFormat, picture

Check = Callable[[Figure], list[str]]
CLASSES = ("background", "LV", "MYO", "RV")
RNG = np.random.default_rng(0)


def masks(side: int) -> tuple[np.ndarray, np.ndarray]:
    truth = np.zeros((side, side), dtype=np.uint8)
    truth[side // 4 : side // 2, side // 4 : side // 2] = 1
    predicted = np.zeros_like(truth)
    predicted[side // 2 : 3 * side // 4, side // 4 : side // 2] = 1
    return truth, predicted


def pixels(figure: Figure) -> np.ndarray:
    found = imread(io.BytesIO(picture(figure, PictureFormat.PNG)))
    return np.rint(255 * found[..., :3]).astype(np.uint8)


def coloured(sheet: np.ndarray, colour: str) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of all dots of a colour."""
    wanted = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    y, x = np.nonzero((sheet == wanted).all(axis=2))
    return int(x.min()), int(y.min()), int(x.max()), int(y.max())


def test_truth_and_prediction_have_colours_of_their_own_where_they_lie() -> None:
    image = np.full((64, 64, 3), 200, dtype=np.uint8)
    truth, predicted = masks(64)
    figure = compare_masks(image, truth, predicted, CLASSES[:2])
    sheet = pixels(figure)
    first, second = compared_pens(CLASSES[1:2])["LV"]
    assert first.colour != second.colour
    body = sheet[-(1024 + 18) : -18, -(1024 + 18) : -18]  # the right image, 16 dots a pixel
    left, top, right, bottom = coloured(body, first.colour)
    assert np.abs(np.array([left, top, right, bottom]) - [256, 256, 512, 512]).max() <= 3
    left, top, right, bottom = coloured(body, second.colour)
    assert np.abs(np.array([left, top, right, bottom]) - [256, 512, 512, 768]).max() <= 3
    plain = sheet[-(1024 + 18) : -18, 18 : 18 + 1024]  # the left image has no line
    assert (plain == 200).all()


def test_where_both_agree_both_are_seen() -> None:
    image = np.full((64, 64, 3), 200, dtype=np.uint8)
    truth, _ = masks(64)
    body = pixels(compare_masks(image, truth, truth, CLASSES[:2]))[-1042:-18, -1042:-18]
    for pen in compared_pens(CLASSES[1:2])["LV"]:
        left, top, right, bottom = coloured(body, pen.colour)
        assert np.abs(np.array([left, top, right, bottom]) - [256, 256, 512, 512]).max() <= 6


@pytest.mark.long
@pytest.mark.parametrize("shape", [(192, 192, 1), (40, 300, 3), (2048, 1500, 3), (1, 1, 3)])
def test_every_label_has_its_own_place_on_the_sheet(
    labels: Check, shape: tuple[int, int, int]
) -> None:
    image = RNG.random(shape, dtype=np.float32)
    if shape[2] == 3:
        image = (255 * image).astype(np.uint8)
    truth = RNG.integers(0, 4, shape[:2], dtype=np.uint8) if shape[0] < 200 else None
    if truth is None:
        truth = np.zeros(shape[:2], dtype=np.uint8)
        truth[:9], truth[10:90] = 2, 255
    figure = compare_masks(
        image, truth, np.zeros_like(truth), CLASSES, title="t" * 200, notes="n " * 300
    )
    texts = labels(figure)
    for label in set(np.unique(truth).tolist()) - {0, 255}:
        assert f"{CLASSES[label]}, truth" in texts
        assert f"{CLASSES[label]}, prediction" in texts
    assert ("ignored" in texts) == bool((truth == 255).any())


def test_the_same_input_gives_the_same_bytes() -> None:
    image = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    first, again = (
        picture(compare_masks(image, *masks(64), CLASSES, title="a"), PictureFormat.PNG)
        for _ in range(2)
    )
    assert first == again


def test_refusals() -> None:
    image, (truth, predicted) = np.zeros((64, 64, 3), dtype=np.uint8), masks(64)
    with pytest.raises(ArgumentError, match=r"shape \(63, 64\), expected \(64, 64\)"):
        compare_masks(image, truth[1:], predicted, CLASSES)
    with pytest.raises(ArgumentError, match="label 1, expected labels below 1"):
        compare_masks(image, truth, predicted, CLASSES[:1])
