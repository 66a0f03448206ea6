from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from skiptool.errors import ArgumentError
from skiptool.figures.contact_sheet import contact_sheet
from skiptool.figures.style import TWO_COLUMNS, PictureFormat, picture

Check = Callable[[Figure], list[str]]
RNG = np.random.default_rng(0)
CLASSES = ("background", "non-tumor", "tumor")


def patches(count: int, side: int, channels: int = 3) -> np.ndarray:
    if channels == 1:
        return RNG.random((count, side, side, 1), dtype=np.float32)
    return RNG.integers(0, 256, (count, side, side, channels), dtype=np.uint8)


def masks(count: int, side: int) -> np.ndarray:
    covers = np.zeros((count, side, side), dtype=np.uint8)
    covers[:, side // 4 : side // 2, side // 4 :] = 1
    covers[:, side // 2 :, side // 4 :] = 2
    covers[::2, :, -2:] = 255
    return covers


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 8, 9, 64])
@pytest.mark.parametrize("caption", ["7", "a slide with a long name 12345,67890\ntumor", ""])
def test_every_label_has_its_own_place_on_the_sheet(
    labels: Check, count: int, caption: str
) -> None:
    figure = contact_sheet(
        patches(count, 16), masks(count, 16), CLASSES, [caption] * count, title="t" * 90
    )
    texts = labels(figure)
    assert texts[1:4] == ["non-tumor", "tumor", "ignored"]
    assert len(texts) == 4 + count * len(caption.splitlines())


@pytest.mark.parametrize("side", [128, 256, 512])
def test_eight_in_a_row_fill_two_journal_columns(side: int) -> None:
    figure = contact_sheet(patches(9, side), None, CLASSES, [""] * 9)
    width, height = figure.get_size_inches()
    assert 0.98 * TWO_COLUMNS < width <= TWO_COLUMNS
    assert height < 2.0


def test_pixels_are_squares_of_whole_dots() -> None:
    images = patches(3, 100)
    sheet = imread(
        io.BytesIO(
            picture(contact_sheet(images, None, CLASSES, [""] * 3, columns=2), PictureFormat.PNG)
        )
    )
    seen = np.rint(255 * sheet[..., :3]).astype(np.uint8)
    for image in images:  # the first pixels of each, enlarged seven times
        row = image[0].repeat(7, axis=0)
        assert any((seen[y, x : x + 700] == row).all() for y in (18, 726) for x in (18, 726))


def test_grey_images_and_images_of_several_sizes(labels: Check) -> None:
    mixed = [patches(1, side, 1)[0] for side in (16, 30, 700)]
    covers = [masks(1, side)[0] for side in (16, 30, 700)]
    figure = contact_sheet(mixed, covers, CLASSES, ["a", "b", "c"], title="M&Ms", notes="ED")
    assert labels(figure) == ["M&Ms", "ED", "non-tumor", "tumor", "ignored", "a", "b", "c"]


def test_same_patches_same_bytes() -> None:
    images, covers = patches(4, 16), masks(4, 16)
    first, second = (
        picture(contact_sheet(images, covers, CLASSES, list("abcd")), PictureFormat.PNG)
        for _ in range(2)
    )
    assert first == second


def test_names_from_data_cannot_break_it(labels: Check) -> None:
    names = ["background", "<b>&$x_{", "nul\x00\nline"]
    texts = labels(contact_sheet(patches(1, 16), masks(1, 16), names, ["$a$b_{\x00"], title="$"))
    assert texts == ["$", "<b>&$x_{", "nul line", "ignored", "$a$b_{"]


def test_numbers_must_agree() -> None:
    images, covers = patches(2, 8), masks(2, 8)
    with pytest.raises(ArgumentError, match="found 2 images, 1 masks, 2 captions"):
        contact_sheet(images, covers[:1], CLASSES, ["a", "b"])
    with pytest.raises(ArgumentError, match="2 images, 2 masks, 1 captions"):
        contact_sheet(images, covers, CLASSES, ["a"])
    with pytest.raises(ArgumentError, match="at least one image and column"):
        contact_sheet([], None, CLASSES, [])
    with pytest.raises(ArgumentError, match="and 0 columns"):
        contact_sheet(images, None, CLASSES, ["a", "b"], columns=0)
