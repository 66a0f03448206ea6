from __future__ import annotations

import pytest

from skiptool.cli.labels import label_words
from skiptool.errors import ArgumentError


def test_values() -> None:
    assert label_words(None, "--labels") == {}
    found = label_words(["0=background,1=cell", "65535=cell"], "--labels")
    assert found == {0: "background", 1: "cell", 65535: "cell"}
    assert label_words(["1=a=b"], "--labels") == {1: "a=b"}


@pytest.mark.parametrize("word", ["=a", "1", "1=", "x=a", "-1=a", "1.0=a", "65536=a", "²=a"])
def test_values_of_another_form(word: str) -> None:
    with pytest.raises(ArgumentError, match="--labels"):
        label_words([word], "--labels")


def test_values_given_twice() -> None:
    with pytest.raises(ArgumentError, match="value 1 is given a class twice"):
        label_words(["1=a", "1=b"], "--labels")
