from __future__ import annotations

from itertools import permutations

import pytest

from skiptool.errors import SourceError
from skiptool.sources.volumes.slicing import slice_axis

STACKS = {
    "short axis of the heart": ((256, 216, 12), (1.2, 1.2, 9.6)),
    "one slice of large pixels": ((96, 80, 1), (2.5, 2.5, 1.0)),
    "one slice of oblong pixels": ((96, 80, 1), (1.0, 2.2, 1.0)),
    "few slices closer than pixels are": ((64, 64, 12), (3.0, 3.0, 1.5)),
    "two slices": ((96, 80, 2), (2.5, 2.5, 1.0)),
    "a thin slab of cubes": ((256, 192, 20), (1.0, 1.0, 1.0)),
    "many slices beside square pictures": ((512, 512, 600), (0.8, 0.8, 1.0)),
    "more thick slices than pixels": ((50, 50, 60), (1.0, 1.0, 8.0)),
}
"""Volumes whose slices follow along the third axis."""


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_axis_does_not_depend_on_the_order_of_axes(name: str, order: tuple[int, ...]) -> None:
    shape, spacing = ([values[axis] for axis in order] for values in STACKS[name])
    found, note = slice_axis(shape, spacing, None, "a.nii")
    assert found == order.index(2)
    alone = 1 in shape
    assert bool(note) is (found != 2 and not alone)


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((64, 64, 64), (2.0, 2.0, 2.0)), ((91, 109, 91), (2.0, 2.0, 2.0)), ((9, 8, 7), (1, 1.5, 1.9))],
)
def test_the_third_axis_is_nothing_to_speak_of(
    shape: tuple[int, ...], spacing: tuple[float, ...]
) -> None:
    assert slice_axis(shape, spacing, None, "a.nii") == (2, "")


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((96, 80, 60), (1.0, 2.2, 1.0)),  # coarsest along the second, fewest along the third
        ((100, 256, 256), (1.0, 1.0, 1.0)),  # fewer along the first, but not by far
    ],
)
def test_doubts_of_the_third_axis_are_told(
    shape: tuple[int, ...], spacing: tuple[float, ...]
) -> None:
    found, note = slice_axis(shape, spacing, None, "a.nii")
    assert found == 2
    assert note.startswith(f"slices are taken along the third axis ({shape[2]}, 1 mm apart), which")
    assert "--slice-axis 1, 2 or 3" in note


def test_the_header_is_believed_where_it_names_an_axis() -> None:
    assert slice_axis((64, 64, 64), (2.0, 2.0, 2.0), 1, "a.nii") == (1, "")
    assert slice_axis((96, 80, 60), (1.0, 2.2, 1.0), 2, "a.nii") == (2, "")
    assert slice_axis((96, 80, 1), (2.5, 2.5, 1.0), 0, "a.nii") == (2, "")  # of a part of a volume


def test_a_header_left_behind_by_a_turn_is_told() -> None:
    found, note = slice_axis((12, 256, 216), (9.6, 1.2, 1.2), 2, "a.nii")
    assert found == 0
    assert "along the first axis" in note
    assert "though the header names the third" in note


def test_the_user_has_the_last_word() -> None:
    assert slice_axis((12, 256, 216), (9.6, 1.2, 1.2), 2, "a.nii", 1) == (1, "")


@pytest.mark.parametrize(
    ("shape", "asked"), [((96, 1, 1), None), ((1, 1, 1), None), ((96, 80, 1), 0)]
)
def test_rows_are_no_pictures(shape: tuple[int, ...], asked: int | None) -> None:
    with pytest.raises(SourceError, match=r"^a\.nii: has .* single rows and no pictures$"):
        slice_axis(shape, (1.0, 1.0, 1.0), None, "a.nii", asked)
