"""Values and colours of masks become labels, or are refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from skiptool.errors import ArgumentError, SourceError
from skiptool.sources.pictures.labels import (
    class_names,
    colour_name,
    decode_colour,
    encode_colours,
    label_map,
    read_colours,
)
from small_stores import refused

CLASSES = ("background", "cell", "debris")
MASK = np.array([[0, 1, 2, 255, 0]] * 4, dtype=np.uint8)
RED, BLACK, BLUE = (255, 0, 0), (0, 0, 0), (0, 0, 255)


def test_values_are_labels_and_255_is_ignored() -> None:
    found = label_map(CLASSES, None).apply(MASK, "m.png")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, MASK)
    np.testing.assert_array_equal(label_map(CLASSES, {}).apply(MASK, "m.png"), MASK)


@given(values=npst.arrays(np.uint16, (2, 3)))
def test_map_labels_each_value_or_refuses_it(values: np.ndarray) -> None:
    named = {7: "cell", 300: "cell", 0: "background", 65535: "debris"}
    known = {value: CLASSES.index(name) for value, name in named.items()} | {255: 255}
    labels = label_map(CLASSES, named)
    if set(values.ravel().tolist()) <= set(known):
        expected = np.vectorize(known.__getitem__)(values)
        np.testing.assert_array_equal(labels.apply(values, "m"), expected)
    else:
        with pytest.raises(SourceError, match="m: mask contains value"):
            labels.apply(values, "m")


def test_map_may_make_255_a_class() -> None:
    labels = label_map(("background", "cell"), {0: "background", 255: "cell"})
    found = labels.apply(np.array([[0, 255]], dtype=np.uint8), "m")
    assert found.tolist() == [[0, 1]]


def test_value_without_a_class_is_named_with_the_classes() -> None:
    with pytest.raises(SourceError) as caught:
        label_map(CLASSES, None).apply(np.array([[0, 3]], dtype=np.uint8), "m.png")
    for word in ("m.png", "value 3", "0 to 2 (background, cell, debris)", "--labels"):
        assert word in str(caught.value)
    with refused(SourceError, "value 1 (at x 0, y 0), --labels has 0; map it with --labels 1="):
        label_map(CLASSES, {0: "background"}).apply(np.array([[1]], dtype=np.uint8), "m.png")


def test_smooth_edges_are_suspected_if_many_values_are_unknown() -> None:
    labels = label_map(("background", "cell"), {255: "cell"})
    edge = np.arange(0, 256, 15, dtype=np.uint8)[None]
    with refused(SourceError, "value 15 (at x 1, y 0; 16 values have no class)", "has 0, 255"):
        labels.apply(edge, "m.png")
    with refused(SourceError, "may be smooth (antialiased) edges, or object numbers"):
        labels.apply(edge, "m.png")
    with pytest.raises(SourceError) as caught:
        labels.apply(edge[:, :3], "m.png")
    assert "smooth" not in str(caught.value)


@pytest.mark.parametrize(
    ("classes", "labels", "word"),
    [
        (("a",), None, "2 to 255 different names"),
        ((), None, "2 to 255"),
        (("a", "a"), None, "different"),
        (tuple(map(str, range(256))), None, "2 to 255"),
        (("a", "b"), {1: "c"}, "--labels 1=c"),
        (("a", "b"), {-1: "a"}, "0 to 65535"),
        (("a", "b"), {65536: "a"}, "0 to 65535"),
    ],
)
def test_malformed_maps_are_refused(
    classes: tuple[str, ...], labels: Mapping[int, str] | None, word: str
) -> None:
    with pytest.raises(ArgumentError, match=word):
        label_map(classes, labels)


def test_255_classes_fill_all_values_below_the_ignored_one() -> None:
    labels = label_map(tuple(map(str, range(255))), None)
    values = np.arange(256, dtype=np.uint8)[None]
    np.testing.assert_array_equal(labels.apply(values, "m"), values)


def test_zero_is_background_unless_mapped() -> None:
    labels = label_map(CLASSES, {255: "cell"})
    assert labels.apply(np.array([[0, 255]], np.uint8), "m").tolist() == [[0, 1]]
    other = label_map(CLASSES, {255: "background", 7: "cell"})
    with refused(SourceError, "m: mask contains value 0"):
        other.apply(np.array([[0]], np.uint8), "m")


def test_value_or_a_colour_may_be_ignored() -> None:
    labels = label_map(CLASSES, {1: "cell", 9: "ignore"})
    assert labels.apply(np.array([[0, 1, 9, 255]], np.uint8), "m").tolist() == [[0, 1, 255, 255]]
    colours = label_map(CLASSES, {RED: "cell", BLUE: "ignore"})
    found = colours.apply_colours(np.array([[BLACK, RED, BLUE]], np.uint8), "m")
    assert found.tolist() == [[0, 1, 255]]


@given(
    known=st.dictionaries(
        st.tuples(*[st.integers(0, 3)] * 3), st.sampled_from(CLASSES), min_size=1
    ),
    pixels=npst.arrays(np.uint8, (3, 4, 3), elements=st.integers(0, 3)),
)
def test_map_labels_each_colour_or_refuses_it(
    known: dict[tuple[int, int, int], str], pixels: np.ndarray
) -> None:
    labels = label_map(CLASSES, known)
    table = {colour: CLASSES.index(name) for colour, name in known.items()}
    if 0 not in table.values():
        table.setdefault(BLACK, 0)
    slow = [[table.get(tuple(pixel), -1) for pixel in row] for row in pixels.tolist()]
    if min(map(min, slow)) < 0:
        missing = sum(label < 0 for row in slow for label in row)
        with refused(SourceError, "m: mask contains colour #", "(at x ", f"{missing} pixels have"):
            labels.apply_colours(pixels, "m")
    else:
        assert labels.apply_colours(pixels, "m").tolist() == slow


def test_colour_without_a_class_is_named_with_position_and_file(tmp_path: Path) -> None:
    pixels = np.zeros((4, 5, 3), np.uint8)
    pixels[2, 3], pixels[3] = (0, 255, 0), RED
    Image.fromarray(pixels).save(tmp_path / "m.png")
    labels = label_map(("background", "tumor"), {RED: "tumor"})
    with refused(
        SourceError, "m.png", "colour #00ff00", "x 3, y 2", "1 pixels", "#000000, #ff0000"
    ):
        labels.read(tmp_path / "m.png")
    pixels[2, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "m.png")
    assert labels.read(tmp_path / "m.png").tolist() == [[0] * 5] * 3 + [[1] * 5]


def test_palette_masks_are_read_by_index_or_by_colour(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    picture.putpalette([255, 0, 0, 0, 0, 0])
    picture.save(tmp_path / "p.png")
    assert label_map(("a", "b"), None).read(tmp_path / "p.png").tolist() == [[0, 1]]
    by_colour = label_map(("background", "tumor"), {RED: "tumor"})
    assert by_colour.read(tmp_path / "p.png").tolist() == [[1, 0]]


def test_values_and_colours_are_not_mixed() -> None:
    with refused(ArgumentError, "--labels: mixes values and colours"):
        label_map(CLASSES, {1: "cell", RED: "debris"})
    with refused(ArgumentError, "--labels #ff0000=tumor: not in --classes"):
        label_map(CLASSES, {RED: "tumor"})


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ({255: "cell"}, ("background", "cell")),
        ({2: "b", 1: "a"}, ("background", "b", "a")),
        ({1: "cell", 0: "glass"}, ("glass", "cell")),
        ({0: "cell", 255: "background"}, ("background", "cell")),
        ({RED: "tumor", BLACK: "ignore"}, ("background", "tumor")),
        ({RED: "tumor", BLACK: "glass"}, ("glass", "tumor")),
        ({3: "x", 4: "x", 5: "ignore"}, ("background", "x")),
    ],
)
def test_classes_follow_from_labels(labels: dict[object, str], classes: tuple[str, ...]) -> None:
    assert class_names(labels) == classes


def test_value_without_a_class_in_a_volume_is_named_with_its_voxel() -> None:
    volume = np.zeros((2, 3, 4), np.uint8)
    volume[1, 2, 3] = 9
    with pytest.raises(SourceError, match=r"value 9 \(at voxel \(1, 2, 3\)\)"):
        label_map(CLASSES, None).apply(volume, "v.nii")


# Colours of masks, exactly as they are.


COLOUR = st.tuples(*[st.integers(0, 255)] * 3)


@given(colour=COLOUR)
def test_colour_is_one_number(colour: tuple[int, int, int]) -> None:
    code = int(encode_colours(np.array(colour, np.uint8)))
    assert decode_colour(code) == colour
    assert colour_name(colour) == f"#{code:06x}"


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_colours_are_read_unchanged(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"m.{suffix}")
    assert np.array_equal(read_colours(tmp_path / f"m.{suffix}"), pixels)


def test_palettes_and_grey_are_read_as_displayed_colours(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.save(tmp_path / "p.png")
    assert read_colours(tmp_path / "p.png").tolist() == [[[0, 0, 0], [255, 0, 0]]]
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(tmp_path / "g.png")
    assert read_colours(tmp_path / "g.png").tolist() == [[[0] * 3, [255] * 3]]


def test_transparent_pixels_are_black_and_translucent_ones_refused(tmp_path: Path) -> None:
    pixels = np.array([[[9, 9, 9, 0], [255, 0, 0, 255]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "m.png")
    assert read_colours(tmp_path / "m.png").tolist() == [[[0, 0, 0], [255, 0, 0]]]
    pixels[0, 1, 3] = 128
    Image.fromarray(pixels).save(tmp_path / "half.png")
    with pytest.raises(SourceError, match=r"half\.png: partly transparent at x 1, y 0"):
        read_colours(tmp_path / "half.png")


def test_masks_of_ambiguous_colours_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "m.jpg")
    with pytest.raises(SourceError, match=r"m\.jpg: a mask as JPEG"):
        read_colours(tmp_path / "m.jpg")
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(SourceError, match=r"deep\.png: a mask of more than 8 bits"):
        read_colours(tmp_path / "deep.png")
