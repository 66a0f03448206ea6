"""Annotations of BBBC041: both forms are read, what is damaged is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.errors import SourceError
from skiptool.sources.bbbc041 import INFECTED, Box, Labelled, read_boxes

PICTURE = Path("folder") / "a.png"


def item(top: int, left: int, bottom: int, right: int, category: str = "ring") -> dict[str, Any]:
    corners = {"minimum": {"r": top, "c": left}, "maximum": {"r": bottom, "c": right}}
    return {"category": category, "bounding_box": corners}


def written(folder: Path, content: object) -> Path:
    path = folder / "training.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    "image",
    [
        "a.png",
        "a.jpg",
        {"pathname": "/images/a.png"},
        {"pathname": "/images/a.jpg", "shape": {"r": 50, "c": 60, "channels": 3}},
        {"pathname": "images\\a.png", "checksum": "0"},
    ],
)
def test_a_picture_is_found_by_its_name(tmp_path: Path, image: object) -> None:
    content = [
        {"image": "b.png", "objects": [item(0, 0, 9, 9)]},
        {"image": image, "objects": [item(1, 2, 11, 22), item(40, 50, 70, 80, "difficult")]},
    ]
    assert read_boxes(written(tmp_path, content), PICTURE, 50, 60) == [
        Labelled(Box(1, 2, 11, 22), "ring"),
        Labelled(Box(40, 50, 50, 60), "difficult"),
    ]


def test_the_whole_name_goes_before_the_name_without_suffix(tmp_path: Path) -> None:
    content = [
        {"image": "a.jpg", "objects": [item(0, 0, 9, 9)]},
        {"image": "a.png", "objects": [item(1, 1, 5, 5)]},
    ]
    assert [one.box for one in read_boxes(written(tmp_path, content), PICTURE, 9, 9)] == [
        Box(1, 1, 5, 5)
    ]


def test_boxes_outside_are_clipped_and_empty_ones_left_out(tmp_path: Path) -> None:
    objects = [item(-5, -2, 4, 4), item(9, 9, 20, 20), item(3, 3, 3, 8), item(8, 8, 2, 2)]
    path = written(tmp_path, [{"image": "a.png", "objects": objects}])
    assert [one.box for one in read_boxes(path, PICTURE, 9, 9)] == [Box(0, 0, 4, 4)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "is no JSON text"),
        ({"image": "a.png"}, "holds no list of objects"),
        ([3], "holds no list of objects"),
        ([{"objects": []}], "entry 0: its image has no name"),
        ([{"image": "b.png", "objects": []}], "a.png is not among its 1 pictures"),
        ([{"image": "a.png"}], r"entry 0 \(a.png\): has no list of objects"),
        ([{"image": "a.png", "objects": [{"category": "ring"}]}], "without category or box"),
        ([{"image": "a.png", "objects": ["ring"]}], "without category or box"),
        (
            [{"image": {"pathname": "a.png", "shape": {"r": 5, "c": 6}}, "objects": []}],
            "annotates 6 x 5 pixels, the picture has 60 x 50",
        ),
    ],
)
def test_damage_is_named_in_one_line(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        read_boxes(written(tmp_path, content), PICTURE, 50, 60)
    assert "training.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.json: cannot be read"):
        read_boxes(tmp_path / "none.json", PICTURE, 5, 5)
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00[")
    with pytest.raises(SourceError, match=r"b\.json: is no JSON text"):
        read_boxes(tmp_path / "b.json", PICTURE, 5, 5)


@given(*(st.tuples(*[st.integers(0, 12)] * 4) for _ in range(2)))
def test_boxes_meet_where_they_share_a_pixel(
    one: tuple[int, int, int, int], two: tuple[int, int, int, int]
) -> None:
    first, second = Box(*one), Box(*two)

    def pixels(box: Box) -> set[tuple[int, int]]:
        return {(r, c) for r in range(box.top, box.bottom) for c in range(box.left, box.right)}

    if pixels(first) and pixels(second):
        assert first.meets(second) == bool(pixels(first) & pixels(second))


def test_real_annotations(shared_data: Path) -> None:
    folder = shared_data / "bbbc041"
    expected = {"1f8f": (69, 1), "1fdf": (84, 4), "2bed": (63, 2), "3270": (46, 1)}
    for picture in sorted((folder / "images").iterdir()):
        found = read_boxes(folder / "training_subset.json", picture, 1200, 1600)
        infected = [one for one in found if one.category in INFECTED]
        assert (len(found), len(infected)) == expected[picture.name[:4]]
        if picture.name.startswith("2bed"):
            bare = read_boxes(folder / "hshap_annotations.json", picture, 1200, 1600)
            assert {one.box for one in bare} == {one.box for one in infected}
