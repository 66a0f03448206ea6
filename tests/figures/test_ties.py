from __future__ import annotations

import math

import pytest

from skiptool.figures.ties import tied_text, tied_with


@pytest.mark.parametrize(
    ("best", "values", "ends", "expected"),
    [
        (0, [0.9, 0.8], [], []),
        (0, [0.904, 0.896, 0.894], [], [1]),  # both are written 0.90
        (0, [0.9, math.nan, 0.1], [], []),
        (0, [0.9, 0.7], [(0.8, 1.0), (0.6, 0.8)], [1]),  # they touch
        (0, [0.9, 0.7], [(0.85, 1.0), (0.6, 0.8)], []),
        (1, [0.9, 0.7, 0.5], [(0.6, 1.0), None, (0.4, 0.6)], []),
        (2, [0.0, 0.0, 0.0], [None] * 3, [0, 1]),
    ],
)
def test_ties(
    best: int, values: list[float], ends: list[tuple[float, float] | None], expected: list[int]
) -> None:
    assert tied_with(best, values, ends) == expected


def test_few_ties_are_named_and_many_are_counted() -> None:
    assert tied_text([]) == ""
    assert tied_text(["a", "b", "c"]) == ", not told apart from a, b, c"
    assert tied_text(["a", "b", "c", "d"]) == ", not told apart from a, b and 2 more"
