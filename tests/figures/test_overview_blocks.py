from __future__ import annotations

import pytest

from skiptool.figures.overview_blocks import split

FIVE = ("baseline", "L1-pruned", "L2-pruned", "L3-pruned", "L4-pruned")


def keys(prunings: tuple[str, ...], *families: str) -> list[tuple[str, str]]:
    return [(family, pruning) for family in families for pruning in prunings]


def test_few_architectures_have_a_matrix_each_families_side_by_side() -> None:
    found = split(keys(FIVE[1::-1], "r18", "r34"), rows=15)
    assert [name for name, _ in found] == [
        *("r18 baseline", "r34 baseline", "r18 L1-pruned", "r34 L1-pruned")
    ]
    assert [" ".join(key) for _, (key,) in found] == [name for name, _ in found]


def test_of_many_the_baseline_stands_beside_the_mean_of_the_others() -> None:
    found = split(keys(FIVE, "r18", "r34"), rows=15)
    assert found == [
        ("r18 baseline", (("r18", "baseline"),)),
        ("r34 baseline", (("r34", "baseline"),)),
        ("r18, mean of 4 pruned networks", tuple(keys(FIVE[1:], "r18"))),
        ("r34, mean of 4 pruned networks", tuple(keys(FIVE[1:], "r34"))),
    ]


def test_of_many_families_all_are_averaged() -> None:
    families = [f"r{n}" for n in range(10)]
    assert [name for name, _ in split(keys(FIVE[:2], *families), rows=2)] == [
        *("baseline, mean of 10 encoders", "mean of 10 pruned networks")
    ]


def test_many_rows_leave_room_for_fewer() -> None:
    """Four matrices are two rows of them: 60 rows of cells fit, 62 do not."""
    four = keys(FIVE[:2], "r18", "r34")
    assert [len(split(four, rows)) for rows in (30, 31)] == [4, 2]


@pytest.mark.parametrize("wanted", [keys(FIVE, *"abcdefgh"), keys(("x", "y"), "", "a"), [("", "")]])
@pytest.mark.parametrize("rows", [1, 30, 200])
def test_no_architecture_is_lost_or_counted_twice(wanted: list[tuple[str, str]], rows: int) -> None:
    found = split(wanted, rows)
    members = [key for _, each in found for key in each]
    assert sorted(members) == sorted(wanted)
    assert len({name for name, _ in found}) == len(found) <= 6
