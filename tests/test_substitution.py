from __future__ import annotations

from itertools import combinations

import pytest

from skiptool.errors import ArgumentError
from skiptool.names import SKIP_LEVELS
from skiptool.substitution import BOTTLENECK, Substitution, named_parts, substitutions

EVERY = [set(each) for size in range(5) for each in combinations(SKIP_LEVELS, size)]


@pytest.mark.parametrize("skips", EVERY, ids=str)
@pytest.mark.parametrize("part", [*SKIP_LEVELS, BOTTLENECK])
def test_a_part_alone_and_all_but_it_are_all(skips: set[int], part: int) -> None:
    alone = Substitution(frozenset({part})).clean(skips)
    others = Substitution(frozenset({part}), shifted=True).clean(skips)
    if part != BOTTLENECK and part not in skips:
        assert alone is None
        assert others is None
    else:
        assert alone == (part,)
        assert sorted([*alone, *(others or ())]) == [*sorted(skips), BOTTLENECK]


@pytest.mark.parametrize("skips", EVERY, ids=str)
def test_all_are_those_that_a_network_has(skips: set[int]) -> None:
    (every,) = substitutions(["all"])
    assert every.clean(skips) == (tuple(sorted(skips)) or None)


def test_words_are_read_and_each_counts_once() -> None:
    assert substitutions(["3, 1", "1,3", "bottleneck"]) == (
        Substitution(frozenset({1, 3})),
        Substitution(frozenset({BOTTLENECK})),
    )
    assert len(substitutions(["each", "all", "1"])) == 6
    assert len(substitutions(["each"], ["each"])) == 12
    assert substitutions([], ["1"]) == (Substitution(frozenset({1}), shifted=True),)
    assert substitutions([]) == ()


@pytest.mark.parametrize("word", ["0", "5", "", "1,", "skip", "1+2", "each,1"])
def test_unknown_words_are_refused(word: str) -> None:
    with pytest.raises(ArgumentError, match=r"--clean-skips .*unknown part"):
        substitutions([word])
    with pytest.raises(ArgumentError, match=r"--shifted-skips .*unknown part"):
        substitutions([], [word])


def test_parts_have_the_names_of_the_table() -> None:
    assert named_parts((2, 3, 4, BOTTLENECK)) == "2+3+4+bottleneck"
