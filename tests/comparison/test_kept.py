from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from skiptool.comparison.kept import keeping
from small_activations import LAYERS, Noted, activations, extremes, numbered

SIZE = 6 * 3 * 4 * 2
"""Bytes of enc1 of a set of six images."""


def sets(number: int) -> list[Noted]:
    made = []
    for place in range(number):
        arrays = activations(6, place)
        made.append(Noted(arrays, f"x{place}", ranges=extremes(arrays), id=numbered(6)))
    return made


def test_what_fits_is_read_once() -> None:
    given = sets(3)
    found = keeping(given, list(combinations(range(3), 2)), "enc1", 3 * SIZE)
    for _ in range(4):
        for kept, original in zip(found, given, strict=True):
            for start in (0, 3):
                block = kept.read("enc1", slice(start, start + 3))
                np.testing.assert_array_equal(block, original.arrays["enc1"][start : start + 3])
    assert [each.reads for each in given] == [[("enc1", 0, 3), ("enc1", 3, 6)]] * 3


@pytest.mark.parametrize(("limit", "kept"), [(0, 0), (SIZE - 1, 0), (SIZE, 1), (2 * SIZE + 5, 2)])
def test_no_more_is_kept_than_the_limit(limit: int, kept: int) -> None:
    given = sets(3)
    found = keeping(given, list(combinations(range(3), 2)), "enc1", limit)
    assert sum(each is not original for each, original in zip(found, given, strict=True)) == kept


def test_sets_in_more_pairs_go_first_and_those_in_one_are_not_kept() -> None:
    given = sets(4)
    found = keeping(given, [(1, 0), (1, 2), (1, 3)], "enc1", 10 * SIZE)
    assert [each is original for each, original in zip(found, given, strict=True)] == [
        True,
        False,
        True,
        True,
    ]
    few = keeping(given, [(0, 3), (1, 3), (2, 3), (1, 2)], "enc1", SIZE)
    assert [each is original for each, original in zip(few, given, strict=True)] == [
        True,
        True,
        True,
        False,
    ]


def test_a_kept_set_is_like_the_set() -> None:
    (given, _) = sets(2)
    given.dataset_id = "d"
    kept = keeping([given, given], [(0, 1), (0, 1)], "enc1", 10 * SIZE)[0]
    assert kept is not given
    assert (kept.where, kept.dataset_id, kept.layers) == ("x0", "d", tuple(LAYERS))
    assert (len(kept), kept.columns) == (6, given.columns)
    for layer in LAYERS:
        assert kept.shape(layer) == given.shape(layer)
        assert (kept.dtype(layer), kept.chunk(layer)) == (np.float16, 3)
        assert kept.ranges(layer) is given.kept[layer]
