from __future__ import annotations

import pytest

from skiptool.cli.by_domain import numbers, pair, words
from skiptool.errors import ArgumentError


def test_one_value_for_all_and_others_by_name() -> None:
    assert numbers(["192", "B=320,C=256"], "--size") == {"": 192, "B": 320, "C": 256}
    assert numbers(None, "--size") == {}
    assert words(["A=1", "a=b=2b"], "--centre") == {"A": "1", "a=b": "2b"}


@pytest.mark.parametrize("given", ["A=", "x", "1.5", "A=-3", "A=1x"])
def test_what_is_no_number(given: str) -> None:
    with pytest.raises(ArgumentError, match="--size"):
        numbers([given], "--size")


@pytest.mark.parametrize("given", [["192", "256"], ["A=1", "A=1"]])
def test_two_values_for_one_domain(given: list[str]) -> None:
    with pytest.raises(ArgumentError, match="a second value for the same"):
        words(given, "--size")


def test_pairs() -> None:
    assert pair(None, "--percentiles") is None
    assert pair("0.5, 99", "--percentiles") == (0.5, 99.0)
    for text in ("1", "1;99", "a,b", ""):
        with pytest.raises(ArgumentError, match="expected LOW,HIGH"):
            pair(text, "--percentiles")
