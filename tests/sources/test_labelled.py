from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst
from PIL import Image

from skiptool.errors import ArgumentError, SourceError
from skiptool.names import Split
from skiptool.sources.labelled import Item, label_map, read_sample, survey
from skiptool.sources.pictures import write_mask, write_picture

CLASSES = ("background", "cell", "debris")
IMAGE = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
MASK = np.array([[0, 1, 2, 255, 0]] * 4, dtype=np.uint8)


@pytest.fixture
def row(tmp_path: Path) -> dict[str, str]:
    write_picture(tmp_path / "i.png", IMAGE)
    write_mask(tmp_path / "m.png", MASK, [])
    paths = {"image": str(tmp_path / "i.png"), "mask": str(tmp_path / "m.png")}
    return {**paths, "domain": "A", "subject": "s1"}


def test_values_are_labels_and_255_is_ignored() -> None:
    found = label_map(CLASSES, None).apply(MASK, "m.png")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, MASK)
    np.testing.assert_array_equal(label_map(CLASSES, {}).apply(MASK, "m.png"), MASK)


@given(values=npst.arrays(np.uint16, (2, 3)))
def test_a_map_gives_each_value_its_class_or_refuses_it(values: np.ndarray) -> None:
    named = {7: "cell", 300: "cell", 0: "background", 65535: "debris"}
    known = {value: CLASSES.index(name) for value, name in named.items()} | {255: 255}
    labels = label_map(CLASSES, named)
    if set(values.ravel().tolist()) <= set(known):
        expected = np.vectorize(known.__getitem__)(values)
        np.testing.assert_array_equal(labels.apply(values, "m"), expected)
    else:
        with pytest.raises(SourceError, match="m: mask holds value"):
            labels.apply(values, "m")


def test_a_map_may_make_a_class_of_255() -> None:
    labels = label_map(("background", "cell"), {0: "background", 255: "cell"})
    found = labels.apply(np.array([[0, 255]], dtype=np.uint8), "m")
    assert found.tolist() == [[0, 1]]


def test_a_value_without_a_class_is_named_with_the_classes() -> None:
    with pytest.raises(SourceError) as caught:
        label_map(CLASSES, None).apply(np.array([[0, 3]], dtype=np.uint8), "m.png")
    for word in ("m.png", "value 3", "0 to 2 (background, cell, debris)", "--labels"):
        assert word in str(caught.value)
    with pytest.raises(SourceError, match="value 1,"):
        label_map(CLASSES, {0: "background"}).apply(np.array([[1]], dtype=np.uint8), "m.png")


@pytest.mark.parametrize(
    ("classes", "labels", "word"),
    [
        (("a",), None, "2 to 255 different names"),
        ((), None, "2 to 255"),
        (("a", "a"), None, "different"),
        (tuple(map(str, range(256))), None, "2 to 255"),
        (("a", "b"), {1: "c"}, "--labels 1=c"),
        (("a", "b"), {-1: "a"}, "from 0 to 65535"),
        (("a", "b"), {65536: "a"}, "from 0 to 65535"),
    ],
)
def test_maps_that_are_none_are_refused(
    classes: tuple[str, ...], labels: Mapping[int, str] | None, word: str
) -> None:
    with pytest.raises(ArgumentError, match=word):
        label_map(classes, labels)


def test_255_classes_fill_all_values_below_the_ignored_one() -> None:
    labels = label_map(tuple(map(str, range(255))), None)
    values = np.arange(256, dtype=np.uint8)[None]
    np.testing.assert_array_equal(labels.apply(values, "m"), values)


def test_a_survey_says_what_is_in_a_row(row: dict[str, str]) -> None:
    """Of 20 pixels 4 are ignored; 8 of the other 16 are of a class above the background."""
    item = survey(row, label_map(CLASSES, None))
    assert item == Item(row, foreground=0.5, ignored=0.2)
    assert item.split is None


@pytest.mark.parametrize("mask", [None, ""])
def test_without_a_mask_all_is_ignored(row: dict[str, str], mask: str | None) -> None:
    row = {key: value for key, value in row.items() if key != "mask"}
    if mask is not None:
        row["mask"] = mask
    labels = label_map(CLASSES, None)
    item = survey(row, labels)
    assert (item.foreground, item.ignored) == (0.0, 1.0)
    assert (read_sample(item, labels, 0).mask == 255).all()


@pytest.mark.parametrize(
    ("asked", "split"), [("train", Split.TRAIN), ("test", Split.TEST), ("", None)]
)
def test_a_manifest_may_ask_for_a_split(
    row: dict[str, str], asked: str, split: Split | None
) -> None:
    assert survey({**row, "split": asked}, label_map(CLASSES, None)).split is split


def test_faults_of_a_row_are_found_by_the_survey(row: dict[str, str], tmp_path: Path) -> None:
    """There one row fails while the others go on; later it would end the run."""
    write_mask(tmp_path / "wide.png", np.zeros((4, 6), np.uint8), [])
    write_mask(tmp_path / "high.png", np.full((4, 5), 3, np.uint8), [])
    (tmp_path / "text.png").write_text("x")
    write_picture(tmp_path / "colour.png", IMAGE)
    for change, words in (
        ({"split": "Train"}, ["i.png", "'Train'", "train or test"]),
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
            survey({**row, **paths}, label_map(CLASSES, None))
        for word in words:
            assert word in str(caught.value)


@pytest.mark.parametrize(("fold", "split"), [(0, Split.TRAIN), (3, Split.TRAIN), (-1, Split.TEST)])
def test_a_row_becomes_a_sample(row: dict[str, str], fold: int, split: Split) -> None:
    labels = label_map(CLASSES, None)
    made = read_sample(survey(row, labels), labels, fold)
    np.testing.assert_array_equal(made.image, IMAGE)
    np.testing.assert_array_equal(made.mask, MASK)
    assert (made.id, made.subject, made.domain) == ("i", "s1", "A")
    assert (made.split, made.fold, dict(made.columns)) == (split, fold, {"foreground": 0.5})
    named = read_sample(survey({**row, "id": "slide 7"}, labels), labels, fold)
    assert named.id == "slide 7"


def test_a_mask_of_16_bits_is_mapped(row: dict[str, str], tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 5), 40_000, np.uint16)).save(tmp_path / "deep.png")
    labels = label_map(CLASSES, {40_000: "debris"})
    item = survey({**row, "mask": str(tmp_path / "deep.png")}, labels)
    assert (read_sample(item, labels, 0).mask == 2).all()
