from __future__ import annotations

import pytest

from skiptool.cli.labels import label_words, value_words
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


def test_colours() -> None:
    red = {(255, 0, 0): "tumour"}
    for word in ("#ff0000=tumour", "#FF0000=tumour", "255,0,0=tumour", " 255, 0, 0 =tumour"):
        assert label_words([word], "--labels") == red
    mixed = label_words(["#ff0000=a,0,0,255=b", "0,0,0=c,#00ff00=d e"], "--labels")
    assert mixed == {(255, 0, 0): "a", (0, 0, 255): "b", (0, 0, 0): "c", (0, 255, 0): "d e"}
    assert label_words(["1=a,2,3,4=b"], "--labels") == {1: "a", (2, 3, 4): "b"}


@pytest.mark.parametrize(
    "word", ["#ff00=a", "#gg0000=a", "256,0,0=a", "1,2=a", "1,2,3,4=a", "red=a", "#ff0000", "1= "]
)
def test_colours_of_another_form(word: str) -> None:
    with pytest.raises(ArgumentError, match="expected VALUE=CLASS or COLOUR=CLASS"):
        label_words([word], "--labels")


def test_a_colour_given_twice() -> None:
    with pytest.raises(ArgumentError, match="the value 255,0,0 is given a class twice"):
        label_words(["#ff0000=a,255,0,0=b"], "--labels")


def test_colours_are_refused_where_masks_hold_values() -> None:
    assert value_words(["1=LV,2=MYO", "3=RV"], "--labels") == {1: "LV", 2: "MYO", 3: "RV"}
    with pytest.raises(ArgumentError, match=r"--labels: \(255, 0, 0\) is a colour"):
        value_words(["1=LV", "#ff0000=RV"], "--labels")


def test_a_class_with_a_comma_stands_in_quotes() -> None:
    words = ['1="Carcinoma, invasive",2=stroma', '#ff0000="a ""b"", c"', ' 3= "x=y, 4=z" ']
    assert label_words(words, "--labels") == {
        **{1: "Carcinoma, invasive", 2: "stroma", (255, 0, 0): 'a "b", c', 3: "x=y, 4=z"}
    }
    assert value_words(['1="LV, apex",2=MYO'], "--labels") == {1: "LV, apex", 2: "MYO"}
    for word in ('1="",2=a', '1="a",2', '1="a,b'):
        with pytest.raises(ArgumentError, match="expected VALUE=CLASS"):
            label_words([word], "--labels")
