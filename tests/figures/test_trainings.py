from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.figures.trainings import counted, counted_at_most

Training = tuple[int | None, int | None]


@pytest.mark.parametrize(
    ("trainings", "words"),
    [
        ([(3, 0)], "one training"),
        ([(None, None)], "one training"),
        ([(0, 0), (4, 0)], "2 folds"),
        ([(0, 1), (4, 1)], "2 folds"),
        ([(0, 0), (1, 3)], "2 folds"),
        ([(2, 0), (2, 1), (2, 5)], "3 repeats of one fold"),
        ([(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)], "3 folds x 2 repeats"),
        ([(0, 0), (0, 1), (1, 0)], "3 trainings of 2 folds"),
        ([(0, 0), (0, 0)], "2 trainings of one fold"),
        ([(0, 0), (0, 0), (1, 0), (1, 1)], "4 trainings of 2 folds"),
        ([(None, None), (0, 0)], "2 networks"),
    ],
)
def test_trainings_in_words(trainings: list[Training], words: str) -> None:
    assert counted(trainings) == words


@given(folds=st.integers(1, 9), repeats=st.integers(1, 9))
def test_no_training_is_lost_in_words(folds: int, repeats: int) -> None:
    words = counted([(fold, repeat) for fold in range(folds) for repeat in range(repeats)])
    numbers = [int(word) for word in words.replace("one", "1").split() if word.isdigit()]
    product = 1
    for number in numbers:
        product *= number
    assert product == folds * repeats


def test_the_network_that_was_trained_most_often_is_told() -> None:
    assert counted_at_most([[(0, 0)], [(0, 0), (0, 1)]]) == "up to 2 repeats of one fold"
    assert counted_at_most([[(0, 0), (1, 0)], [(0, 0), (2, 0)]]) == "2 folds"
