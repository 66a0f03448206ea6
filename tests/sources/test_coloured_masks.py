"""Colours of masks, exactly as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from skiptool.errors import SourceError
from skiptool.sources.coloured_masks import colour_name, packed, read_colours, unpacked

COLOUR = st.tuples(*[st.integers(0, 255)] * 3)


@given(colour=COLOUR)
def test_a_colour_is_one_number(colour: tuple[int, int, int]) -> None:
    code = int(packed(np.array(colour, np.uint8)))
    assert unpacked(code) == colour
    assert colour_name(colour) == f"#{code:06x}"


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_colours_are_read_as_they_are(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"m.{suffix}")
    assert np.array_equal(read_colours(tmp_path / f"m.{suffix}"), pixels)


def test_palettes_and_grey_have_the_colours_that_they_show(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.save(tmp_path / "p.png")
    assert read_colours(tmp_path / "p.png").tolist() == [[[0, 0, 0], [255, 0, 0]]]
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(tmp_path / "g.png")
    assert read_colours(tmp_path / "g.png").tolist() == [[[0] * 3, [255] * 3]]


def test_what_is_transparent_is_black_and_what_is_half_so_is_refused(tmp_path: Path) -> None:
    pixels = np.array([[[9, 9, 9, 0], [255, 0, 0, 255]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "m.png")
    assert read_colours(tmp_path / "m.png").tolist() == [[[0, 0, 0], [255, 0, 0]]]
    pixels[0, 1, 3] = 128
    Image.fromarray(pixels).save(tmp_path / "half.png")
    with pytest.raises(SourceError, match=r"half\.png: half transparent at x 1, y 0"):
        read_colours(tmp_path / "half.png")


def test_masks_without_certain_colours_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "m.jpg")
    with pytest.raises(SourceError, match=r"m\.jpg: a mask as JPEG"):
        read_colours(tmp_path / "m.jpg")
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(SourceError, match=r"deep\.png: a mask of more than 8 bits"):
        read_colours(tmp_path / "deep.png")
