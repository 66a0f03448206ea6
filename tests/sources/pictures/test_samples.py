"""Tests of ``samples``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from skiptool.errors import ArgumentError, SourceError
from skiptool.names import Split
from skiptool.sources.pictures.files import write_mask, write_picture
from skiptool.sources.pictures.intensities import Scale
from skiptool.sources.pictures.labels import label_map
from skiptool.sources.pictures.samples import (
    Item,
    ReadOptions,
    read_samples,
    survey,
    tile_origins,
)
from small_stores import refused

CLASSES = ("background", "cell", "debris")
IMAGE = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
MASK = np.array([[0, 1, 2, 255, 0]] * 4, dtype=np.uint8)
READING = ReadOptions(label_map(CLASSES, None))


@pytest.fixture
def row(tmp_path: Path) -> dict[str, str]:
    write_picture(tmp_path / "i.png", IMAGE)
    write_mask(tmp_path / "m.png", MASK, [])
    paths = {"image": str(tmp_path / "i.png"), "mask": str(tmp_path / "m.png")}
    return {**paths, "domain": "A", "subject": "s1"}


def test_survey_describes_a_row(row: dict[str, str]) -> None:
    """Of 20 pixels 4 are ignored; 8 of the other 16 are of a class above the background."""
    item = survey(row, READING)
    brightest = (4 * 5 * 3 - 1) / 255
    greys = {label: (label, label, label) for label in (0, 1, 2, 255)}
    assert item == Item(row, (4, 5, 3), "uint8", None, 0.5, 0.2, brightest, greys)
    assert item.split is None


@pytest.mark.parametrize("mask", [None, ""])
def test_image_without_mask_is_ignored_entirely(row: dict[str, str], mask: str | None) -> None:
    row = {key: value for key, value in row.items() if key != "mask"}
    if mask is not None:
        row["mask"] = mask
    item = survey(row, READING)
    assert (item.foreground, item.ignored) == (0.0, 1.0)
    (made,) = read_samples(item, READING, 0)
    assert (made.mask == 255).all()


@pytest.mark.parametrize(
    ("asked", "split"), [("train", Split.TRAIN), ("test", Split.TEST), ("", None)]
)
def test_manifest_may_set_the_split(row: dict[str, str], asked: str, split: Split | None) -> None:
    assert survey({**row, "split": asked}, READING).split is split


def test_faults_of_a_row_are_found_by_the_survey(row: dict[str, str], tmp_path: Path) -> None:
    """There one row fails while the others go on; later it would end the run."""
    write_mask(tmp_path / "wide.png", np.zeros((4, 6), np.uint8), [])
    write_mask(tmp_path / "high.png", np.full((4, 5), 3, np.uint8), [])
    (tmp_path / "text.png").write_text("x")
    write_picture(tmp_path / "colour.png", IMAGE)
    for change, words in (
        ({"split": "val"}, ["i.png", "'val'", "train or test"]),
        ({"mask": "wide.png"}, ["wide.png", "4 x 6", "4 x 5"]),
        ({"mask": "high.png"}, ["high.png", "value 3"]),
        ({"mask": "nowhere.png"}, ["nowhere.png", "no such file"]),
        ({"mask": "colour.png"}, ["colour.png"]),
        ({"image": "nowhere.png"}, ["nowhere.png", "no such file"]),
        ({"image": "text.png"}, ["text.png"]),
    ):
        paths = {
            key: value if key == "split" else str(tmp_path / value) for key, value in change.items()
        }
        with pytest.raises(SourceError) as caught:
            survey({**row, **paths}, READING)
        for word in words:
            assert word in str(caught.value)


@pytest.mark.parametrize(("fold", "split"), [(0, Split.TRAIN), (3, Split.TRAIN), (-1, Split.TEST)])
def test_row_becomes_a_sample(row: dict[str, str], fold: int, split: Split) -> None:
    (made,) = read_samples(survey(row, READING), READING, fold)
    np.testing.assert_array_equal(made.image, IMAGE)
    np.testing.assert_array_equal(made.mask, MASK)
    assert (made.id, made.subject, made.domain) == ("i", "s1", "A")
    assert (made.split, made.fold, dict(made.columns)) == (split, fold, {"foreground": 0.5})
    (named,) = read_samples(survey({**row, "id": "slide 7"}, READING), READING, fold)
    assert named.id == "slide 7"


def test_mask_of_16_bits_is_mapped(row: dict[str, str], tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 5), 40_000, np.uint16)).save(tmp_path / "deep.png")
    reading = ReadOptions(label_map(CLASSES, {40_000: "debris"}))
    (made,) = read_samples(survey({**row, "mask": str(tmp_path / "deep.png")}, reading), reading, 0)
    assert (made.mask == 2).all()


def test_tiles_are_parts_of_one_image(row: dict[str, str]) -> None:
    reading = replace(READING, patch_size=3, stride=2)
    item = survey(row, reading)
    assert item.shape == (3, 3, 3)
    assert item.tiles == ((0, 0), (2, 0), (0, 1), (2, 1))
    made = list(read_samples(item, reading, 1))
    assert [each.id for each in made] == item.ids == ["i-x0-y0", "i-x2-y0", "i-x0-y1", "i-x2-y1"]
    for each in made:
        x, y = int(each.columns["x"]), int(each.columns["y"])
        np.testing.assert_array_equal(each.image, IMAGE[y : y + 3, x : x + 3])
        np.testing.assert_array_equal(each.mask, MASK[y : y + 3, x : x + 3])
        assert (each.columns["image"], each.subject, each.fold) == ("i", "s1", 1)
    # Of the columns 0, 1, 2 one in three is background; of 2, 3 (ignored) and 4 one in two.
    assert [each.columns["foreground"] for each in made] == [2 / 3, 0.5, 2 / 3, 0.5]


def test_image_smaller_than_a_tile_is_refused(row: dict[str, str]) -> None:
    with refused(SourceError, "i.png: image is 4 x 5 pixels, smaller than --patch-size 5"):
        survey(row, replace(READING, patch_size=5))


def test_read_options_apply(row: dict[str, str], tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 5), 1000, np.uint16)).save(tmp_path / "deep.png")
    reading = replace(READING, scale=Scale.parse("0:4000"))
    item = survey({**row, "image": str(tmp_path / "deep.png")}, reading)
    assert (item.shape, item.dtype) == ((4, 5, 1), "float32")
    (made,) = read_samples(item, reading, 0)
    assert (made.image == 0.25).all()
    colour = survey({**row, "image": str(tmp_path / "deep.png")}, replace(reading, channels=3))
    assert (colour.shape, colour.dtype) == ((4, 5, 3), "uint8")


def test_manifest_may_set_the_fold(row: dict[str, str]) -> None:
    for split, fold, expected in (("train", "3", 3), ("test", "-1", None), ("train", "", None)):
        assert survey({**row, "split": split, "fold": fold}, READING).fold == expected
    with refused(SourceError, "i.png: fold '-1', expected a non-negative integer"):
        survey({**row, "split": "train", "fold": "-1"}, READING)


# Tiles: whole, within the image, and nothing left out.


SIDE = st.integers(1, 40)


@given(height=SIDE, width=SIDE, size=st.integers(1, 20), stride=st.integers(1, 25))
def test_tiles_lie_within_and_cover_all(height: int, width: int, size: int, stride: int) -> None:
    found = tile_origins(height, width, size, stride)
    if size > min(height, width):
        assert found == []
        return
    seen = np.zeros((height, width), int)
    for x, y in found:
        tile = seen[y : y + size, x : x + size]
        assert tile.shape == (size, size)
        tile += 1
    assert len(set(found)) == len(found)
    assert found == sorted(found, key=lambda place: place[::-1])
    assert {(0, 0), (width - size, height - size)} <= set(found)
    if stride <= size:
        assert seen.min() >= 1
    # All but the last column and row lie on the grid.
    assert all(x % stride == 0 or x == width - size for x, _ in found)
    assert all(y % stride == 0 or y == height - size for _, y in found)


def test_known_tiles() -> None:
    assert tile_origins(5, 7, 3, 3) == [(0, 0), (3, 0), (4, 0), (0, 2), (3, 2), (4, 2)]


@pytest.mark.parametrize(("size", "stride"), [(0, 1), (1, 0), (-1, 1)])
def test_tiles_without_pixels_are_refused(size: int, stride: int) -> None:
    with pytest.raises(ArgumentError, match="expected 1 pixel or more"):
        tile_origins(4, 4, size, stride)
