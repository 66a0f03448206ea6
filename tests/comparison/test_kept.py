from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from skiptool.comparison import kept
from skiptool.comparison.kept import keeping
from skiptool.comparison.scratch import Scratch
from small_activations import LAYERS, Noted, activations, extremes, numbered

SIZE = 6 * 3 * 4 * 2
"""Bytes of enc1 of a set of six images."""


def sets(number: int) -> list[Noted]:
    made = []
    for place in range(number):
        arrays = activations(6, place)
        made.append(Noted(arrays, f"x{place}", ranges=extremes(arrays), id=numbered(6)))
    return made


ALL = list(combinations(range(3), 2))


@pytest.mark.parametrize("limit", [0, SIZE - 1, SIZE, 2 * SIZE + 5, 3 * SIZE])
def test_everything_is_read_once_whatever_fits(limit: int) -> None:
    given = sets(3)
    with keeping(given, ALL, "enc1", limit) as found:
        for _ in range(4):
            for kept, original in zip(found, given, strict=True):
                for start in (0, 3):
                    block = kept.read("enc1", slice(start, start + 3))
                    np.testing.assert_array_equal(block, original.arrays["enc1"][start : start + 3])
                    assert (block.dtype, block.flags.c_contiguous) == (np.float16, True)
    assert [each.reads for each in given] == [[("enc1", 0, 3), ("enc1", 3, 6)]] * 3


@pytest.mark.parametrize(("limit", "files"), [(0, 3), (SIZE - 1, 3), (SIZE, 2), (2 * SIZE + 5, 1)])
def test_no_more_is_held_than_the_limit(
    limit: int, files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(kept, "Scratch", lambda: made.append(Scratch()) or made[-1])
    with keeping(sets(3), ALL, "enc1", limit):
        assert len(made) == files
    for scratch in made:
        with pytest.raises(ValueError, match="closed"):
            scratch.write(0, np.ones(1))


def test_sets_in_more_pairs_go_first_and_those_in_one_are_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given, made = sets(4), []
    with keeping(given, [(1, 0), (1, 2), (1, 3)], "enc1", 10 * SIZE) as found:
        same = [each is original for each, original in zip(found, given, strict=True)]
        assert same == [True, False, True, True]
    monkeypatch.setattr(kept, "Scratch", lambda: made.append(Scratch()) or made[-1])
    with keeping(given, [(0, 3), (1, 3), (2, 3), (1, 2)], "enc1", SIZE) as found:
        assert len(made) == 2  # set 3 is in three pairs; 1 and 2, in two each, find no room
        assert found[3].scratch is None


def test_other_layers_pass_through() -> None:
    given = sets(2)
    with keeping(given, [(0, 1), (0, 1)], "enc1", 10 * SIZE) as found:
        for _ in range(2):
            found[0].read("dec0", slice(0, 3))
    assert given[0].reads == [("dec0", 0, 3)] * 2


def test_a_kept_set_is_like_the_set() -> None:
    (given, _) = sets(2)
    given.dataset_id = "d"
    with keeping([given, given], [(0, 1), (0, 1)], "enc1", 10 * SIZE) as (one, _):
        assert one is not given
        assert (one.where, one.dataset_id, one.layers) == ("x0", "d", tuple(LAYERS))
        assert (len(one), one.columns) == (6, given.columns)
        for layer in LAYERS:
            assert one.shape(layer) == given.shape(layer)
            assert (one.dtype(layer), one.chunk(layer)) == (np.float16, 3)
            assert one.ranges(layer) is given.kept[layer]
