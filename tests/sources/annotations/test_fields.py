"""Fields of parsed JSON: what is usable is taken, what is not is named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.errors import SourceError
from skiptool.sources.annotations.fields import (
    file_name,
    label,
    objects,
    records,
    size,
    size_of,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), (" a\n", "a"), (3, "3"), (None, ""), (True, ""), ({}, ""), ([1], "")],
)
def test_labels_are_text(value: object, text: str) -> None:
    assert label(value) == text


@given(st.text())
def test_labels_can_be_stored(text: str) -> None:
    assert label(text).encode("utf-8").decode("utf-8") == label(text)


def test_half_a_surrogate_pair_can_be_stored() -> None:
    assert label("a\ud800") == "a?"


@pytest.mark.parametrize("path", ["a.svs", "/x/a.svs", "x\\a.svs", "D:\\x/y\\a.svs", "./a.svs "])
def test_folders_are_no_part_of_a_file_name(path: str) -> None:
    assert file_name(path) == "a.svs"


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (30, 20, (30, 20)),
        (30.0, 20, (30, 20)),
        (0, 20, None),
        (None, 20, None),
        ("30", 20, None),
        (-3, 2, None),
        (float("nan"), 20, None),
        (float("inf"), 20, None),
    ],
)
def test_sizes_are_two_positive_numbers(width: object, height: object, expected: object) -> None:
    assert size(width, height) == size_of({"width": width, "height": height}) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "a.json: holds no list 'images'"),
        ({"images": {}}, "a.json: holds no list 'images'"),
        ({"images": [{}, 3]}, "a.json: entry 1 of 'images' is no object"),
    ],
)
def test_lists_of_objects_are_checked(content: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        objects(content, "images", "a.json")


@given(st.lists(st.one_of(st.none(), st.integers(0, 5), st.sampled_from("ab"))))
def test_every_record_has_an_id_of_its_own(ids: list[object]) -> None:
    made = records(ids)
    assert len(set(made)) == len(made) == len(ids)
