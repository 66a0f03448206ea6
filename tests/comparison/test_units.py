from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from skiptool.comparison.sets import Settings
from skiptool.comparison.units import Units, paired_units
from skiptool.errors import ArgumentError, MismatchError
from small_activations import Noted
from small_stores import refused

SETTINGS = Settings()
PAIRED, UNPAIRED = replace(SETTINGS, paired=True), replace(SETTINGS, paired=False)


def noted(images: int, where: str = "x", dataset: str | None = None, **columns: Any) -> Noted:  # noqa: ANN401
    return Noted({"f": np.zeros((images, 1, 1))}, where, dataset=dataset, **columns)


def members(units: Units) -> list[list[int]]:
    """Images of each unit."""
    ends = [*units.first[1:], len(units.order)]
    return [units.order[a:b].tolist() for a, b in zip(units.first, ends, strict=True)]


def test_images_are_units_by_themselves() -> None:
    first, second, paired = paired_units(noted(3), noted(5), SETTINGS)
    assert (members(first), members(second)) == ([[0], [1], [2]], [[0], [1], [2], [3], [4]])
    assert not paired


def test_ids_pair_images_of_one_dataset_in_any_order() -> None:
    x = noted(3, dataset="d", id=["a", "b", "c"])
    y = noted(3, "y", dataset="d", id=["c", "a", "b"])
    first, second, paired = paired_units(x, y, SETTINGS)
    assert paired
    assert (members(first), members(second)) == ([[0], [1], [2]], [[1], [2], [0]])


@pytest.mark.parametrize(
    "other",
    [
        {"dataset": "e", "id": ["a", "b"]},
        {"dataset": None, "id": ["a", "b"]},
        {"dataset": "d", "id": ["a", "c"]},
    ],
    ids=["another dataset", "no dataset", "other images"],
)
def test_other_sets_are_not_paired_unless_asked(other: dict[str, Any]) -> None:
    x, y = noted(2, dataset="d", id=["a", "b"]), noted(2, "y", **other)
    assert not paired_units(x, y, SETTINGS)[2]
    if other["id"] == ["a", "b"]:
        assert paired_units(x, y, PAIRED)[2]


def test_pairs_may_be_declined() -> None:
    x = noted(2, dataset="d", id=["a", "b"])
    y = noted(2, dataset="d", id=["b", "a"])
    first, second, paired = paired_units(x, y, UNPAIRED)
    assert (members(first), members(second), paired) == ([[0], [1]], [[0], [1]], False)


def test_pairs_of_sets_without_ids_go_by_place() -> None:
    first, second, paired = paired_units(noted(2), noted(2), PAIRED)
    assert (members(first), members(second), paired) == ([[0], [1]], [[0], [1]], True)


def test_ids_that_repeat_name_no_image() -> None:
    x, y = noted(3, id=["a", "a", "b"]), noted(3, id=["b", "a", "a"])
    first, second, _ = paired_units(x, y, PAIRED)
    assert members(first) == members(second) == [[0], [1], [2]]


def test_pairs_that_are_none_are_refused_with_examples() -> None:
    x = noted(5, id=list("abcde"))
    with refused(MismatchError, "y against x", "2 of 5 units", "(d, e)", "--unpaired"):
        paired_units(x, noted(3, "y", id=list("cba")), PAIRED)
    with refused(MismatchError, "8 of 8 units", "(a, b, c, ...)"):
        paired_units(x, noted(3, "y", id=list("fgh")), PAIRED)
    with refused(MismatchError, "2 of 5 units"):
        paired_units(noted(5), noted(3, "y"), PAIRED)


GROUPED = replace(SETTINGS, group="subject")


def test_groups_gather_images_wherever_they_stand() -> None:
    x = noted(5, subject=["s1", "s0", "s1", "s2", "s0"])
    y = noted(2, subject=["s0", "s0"])
    first, second, paired = paired_units(x, y, GROUPED)
    assert (members(first), members(second), paired) == ([[0, 2], [1, 4], [3]], [[0, 1]], False)


def test_paired_groups_go_by_name() -> None:
    x = noted(4, dataset="d", id=list("abcd"), subject=["p", "q", "p", "q"])
    y = noted(4, dataset="d", id=list("dcba"), subject=["q", "p", "q", "p"])
    first, second, paired = paired_units(x, y, GROUPED)
    assert paired
    assert (members(first), members(second)) == ([[0, 2], [1, 3]], [[1, 3], [0, 2]])


def test_paired_groups_may_be_of_unequal_size() -> None:
    x, y = noted(3, subject=["p", "q", "p"]), noted(2, subject=["q", "p"])
    first, second, _ = paired_units(x, y, replace(GROUPED, paired=True))
    assert (members(first), members(second)) == ([[0, 2], [1]], [[1], [0]])


def test_groups_need_not_be_texts() -> None:
    x, y = noted(3, subject=np.array([7, 3, 7])), noted(1, subject=[3.5])
    first, second, _ = paired_units(x, y, GROUPED)
    assert (members(first), members(second)) == ([[0, 2], [1]], [[0]])


def test_a_missing_column_is_named_with_those_that_are_there() -> None:
    x = noted(2, subject=["a", "b"], id=["0", "1"])
    with refused(ArgumentError, "y: has no column 'subject'", "id, subjct", "did you mean subjct?"):
        paired_units(x, noted(2, "y", id=["0", "1"], subjct=["a", "b"]), GROUPED)
    with refused(ArgumentError, "x: has no column 'subject'", "it has none"):
        paired_units(noted(2), noted(2), GROUPED)


def test_counts_of_groups_are_sums_and_means_of_means() -> None:
    units, _, _ = paired_units(noted(4, subject=list("abca")), noted(1, subject=["a"]), GROUPED)
    counts = np.arange(4 * 2 * 3).reshape(4, 2, 3).astype(np.uint16)
    counts[0, 0, 0] = counts[3, 0, 0] = 65_535
    found = units.gathered(counts)
    assert found.dtype == np.uint32  # a sum of 16 bit may need more
    expected = [counts[[0, 3]].sum(axis=0, dtype=np.int64), counts[1], counts[2]]
    np.testing.assert_array_equal(found, expected)
    means = np.array([[1.0], [5.0], [7.0], [2.0]])
    np.testing.assert_array_equal(units.averaged(means), [[1.5], [5.0], [7.0]])


def test_counts_of_images_in_order_are_not_copied() -> None:
    x = noted(3, dataset="d", id=["a", "b", "c"])
    y = noted(3, dataset="d", id=["b", "c", "a"])
    first, second, _ = paired_units(x, y, SETTINGS)
    counts = np.arange(6, dtype=np.uint16).reshape(3, 2, 1)
    assert first.gathered(counts) is counts
    np.testing.assert_array_equal(second.gathered(counts), counts[[2, 0, 1]])
