"""Tests of ``options``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from skiptool.cli import options
from skiptool.cli.bins import comparison_settings, parse_sweep
from skiptool.cli.options import (
    parse_interval,
    parse_labels,
    parse_numbers,
    parse_values,
    parse_words,
)
from skiptool.comparison.activations import Settings
from skiptool.errors import ArgumentError
from skiptool.names import ExportFormat, Metric, PictureFormat, RangeRule
from skiptool.parallel import available_cores
from skiptool.records import ORIGINAL, Shift
from small_stores import refused


@pytest.mark.parametrize(
    ("text", "expected"), [("1:100", (1, 100)), ("0:0", (0, 0)), ("7", (7, 7)), (" 1 : 2 ", (1, 2))]
)
def test_range(text: str, expected: tuple[int, int]) -> None:
    assert options.parse_range(text, "--cells") == expected


@pytest.mark.parametrize("text", ["", ":", "a:b", "1:2:3", "1.5:2"])
def test_malformed_range(text: str) -> None:
    with pytest.raises(ArgumentError, match="expected LOW:HIGH"):
        options.parse_range(text, "--cells")


def test_list() -> None:
    assert options.parse_list(None) == ()
    assert options.parse_list(["a, b", "c,,", ""]) == ("a", "b", "c")


def test_shifts() -> None:
    half = Shift.parse("brightness=0.5")
    assert options.parse_shifts(None) == ()
    assert options.parse_shifts(["brightness=0.5"]) == (half,)
    assert options.parse_shifts(["original,brightness=0.5"]) == (ORIGINAL, half)


def test_skips() -> None:
    assert options.parse_skips(None, None) == ((1, 2, 3, 4),)
    assert options.parse_skips([0, 1, 2, 3, 4], None) == (
        (1, 2, 3, 4),
        (2, 3, 4),
        (3, 4),
        (4,),
        (),
    )
    assert options.parse_skips(None, ["3,1", "none"]) == ((1, 3), ())
    assert options.parse_skips([1], ["2,3,4", "1"]) == ((2, 3, 4), (1,))  # one network, once


@pytest.mark.parametrize("count", [-1, 5])
def test_prune_out_of_range(count: int) -> None:
    with pytest.raises(ArgumentError, match=rf"--prune {count}: expected 0"):
        options.parse_skips([count], None)


@pytest.mark.parametrize("word", ["", "0", "5", "1+3", "1,", "all"])
def test_malformed_skips(word: str) -> None:
    with pytest.raises(ArgumentError, match="expected levels out of 1,2,3,4"):
        options.parse_skips(None, [word])


def test_export_format_and_folder() -> None:
    formats = list(ExportFormat)
    assert options.parse_export(None, formats) is None
    for form in formats:
        assert options.parse_export((form.value, Path("d")), formats) == (form, Path("d"))
    with pytest.raises(ArgumentError, match=r"--export coco: .*png DIR or --export nnunet DIR"):
        options.parse_export(("coco", Path("d")), formats)
    with pytest.raises(ArgumentError, match="--export nnunet: unknown format; write --export png"):
        options.parse_export(("nnunet", Path("d")), [ExportFormat.PNG])


def test_choices() -> None:
    found = options.parse_choices("pdf, png,pdf", PictureFormat, "--format")
    assert found == (PictureFormat.PDF, PictureFormat.PNG)
    for text in ("", "gif", "pdf,gif"):
        with pytest.raises(ArgumentError, match="expected some of pdf, svg, png"):
            options.parse_choices(text, PictureFormat, "--format")
    with pytest.raises(ArgumentError, match=r"did you mean hellinger\?"):
        options.parse_choices("helinger", Metric, "--metric")


@pytest.mark.parametrize("word", ["", "1,2,3", "1,2,3,x", "5,2,5,9", "1,9,5,9", "-1,2,3,4"])
def test_malformed_boxes(word: str) -> None:
    with pytest.raises(ArgumentError, match="expected TOP,LEFT,BOTTOM,RIGHT"):
        options.parse_boxes([word], "--artifact-box")


@pytest.mark.parametrize("text", ["", "8", "8x", "x8", "0x8", "8x8x8", "-1x2", "a x b"])
def test_malformed_grid(text: str) -> None:
    with pytest.raises(ArgumentError, match="expected ROWSxCOLUMNS"):
        options.parse_grid(text)


def test_values_for_all_domains_and_by_domain() -> None:
    assert parse_numbers(["192", "B=320,C=256"], "--size") == {"": 192, "B": 320, "C": 256}
    assert parse_numbers(None, "--size") == {}
    assert parse_words(["A=1", "a=b=2b"], "--centre") == {"A": "1", "a=b": "2b"}


@pytest.mark.parametrize("given", ["A=", "x", "1.5", "A=-3", "A=1x"])
def test_malformed_number(given: str) -> None:
    with pytest.raises(ArgumentError, match="--size"):
        parse_numbers([given], "--size")


@pytest.mark.parametrize("given", [["192", "256"], ["A=1", "A=1"]])
def test_second_value_for_a_domain(given: list[str]) -> None:
    with pytest.raises(ArgumentError, match="a second value for the same domain"):
        parse_words(given, "--size")


def test_interval() -> None:
    assert parse_interval(None, "--percentiles") is None
    assert parse_interval("0.5, 99", "--percentiles") == (0.5, 99.0)
    for text in ("1", "1;99", "a,b", ""):
        with pytest.raises(ArgumentError, match="expected LOW,HIGH"):
            parse_interval(text, "--percentiles")


def test_label_values() -> None:
    assert parse_labels(None, "--labels") == {}
    found = parse_labels(["0=background,1=cell", "65535=cell"], "--labels")
    assert found == {0: "background", 1: "cell", 65535: "cell"}
    assert parse_labels(["1=a=b"], "--labels") == {1: "a=b"}


@pytest.mark.parametrize("word", ["=a", "1", "1=", "x=a", "-1=a", "1.0=a", "65536=a", "²=a"])
def test_malformed_label_values(word: str) -> None:
    with pytest.raises(ArgumentError, match="--labels"):
        parse_labels([word], "--labels")


def test_repeated_label_value() -> None:
    with pytest.raises(ArgumentError, match="value 1 is given a class twice"):
        parse_labels(["1=a", "1=b"], "--labels")


def test_label_colours() -> None:
    red = {(255, 0, 0): "tumour"}
    for word in ("#ff0000=tumour", "#FF0000=tumour", "255,0,0=tumour", " 255, 0, 0 =tumour"):
        assert parse_labels([word], "--labels") == red
    mixed = parse_labels(["#ff0000=a,0,0,255=b", "0,0,0=c,#00ff00=d e"], "--labels")
    assert mixed == {(255, 0, 0): "a", (0, 0, 255): "b", (0, 0, 0): "c", (0, 255, 0): "d e"}
    assert parse_labels(["1=a,2,3,4=b"], "--labels") == {1: "a", (2, 3, 4): "b"}


@pytest.mark.parametrize(
    "word", ["#ff00=a", "#gg0000=a", "256,0,0=a", "1,2=a", "1,2,3,4=a", "red=a", "#ff0000", "1= "]
)
def test_malformed_label_colours(word: str) -> None:
    with pytest.raises(ArgumentError, match="expected VALUE=CLASS or COLOUR=CLASS"):
        parse_labels([word], "--labels")


def test_repeated_label_colour() -> None:
    with pytest.raises(ArgumentError, match="the value 255,0,0 is given a class twice"):
        parse_labels(["#ff0000=a,255,0,0=b"], "--labels")


def test_colours_are_refused_where_masks_hold_values() -> None:
    assert parse_values(["1=LV,2=MYO", "3=RV"], "--labels") == {1: "LV", 2: "MYO", 3: "RV"}
    with pytest.raises(ArgumentError, match=r"--labels: \(255, 0, 0\) is a colour"):
        parse_values(["1=LV", "#ff0000=RV"], "--labels")


def test_class_with_a_comma_is_quoted() -> None:
    words = ['1="Carcinoma, invasive",2=stroma', '#ff0000="a ""b"", c"', ' 3= "x=y, 4=z" ']
    assert parse_labels(words, "--labels") == {
        1: "Carcinoma, invasive",
        2: "stroma",
        (255, 0, 0): 'a "b", c',
        3: "x=y, 4=z",
    }
    assert parse_values(['1="LV, apex",2=MYO'], "--labels") == {1: "LV, apex", 2: "MYO"}
    for word in ('1="",2=a', '1="a",2', '1="a,b'):
        with pytest.raises(ArgumentError, match="expected VALUE=CLASS"):
            parse_labels([word], "--labels")


def read(**words: Any) -> Settings:  # noqa: ANN401
    """Parse the options of a comparison, by default those of the command line."""
    defaults = {
        "metric": None,
        "bins": "100",
        "sweep_bins": None,
        "range_rule": "minmax",
        "literal_eq5": False,
        "permutations": 199,
        "group": None,
        "paired": None,
        "seed": 0,
        "memory": 512,
        "workers": 1,
    }
    return comparison_settings(**(defaults | words))  # type: ignore[arg-type]


def test_default_settings() -> None:
    assert read() == Settings()


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ({"bins": "7"}, {"bins": (7,)}),
        ({"bins": "quantile"}, {"bins": (100,), "range_rule": RangeRule.QUANTILE}),
        ({"bins": "quantile:50"}, {"bins": (50,), "range_rule": RangeRule.QUANTILE}),
        ({"sweep_bins": "10..30"}, {"bins": (10, 20, 30)}),
        ({"sweep_bins": "8,64,8"}, {"bins": (8, 64)}),
        ({"range_rule": "p0.1"}, {"range_rule": RangeRule.PERCENTILES}),
        (
            {"range_rule": "reference", "sweep_bins": "5..20:5"},
            {"range_rule": RangeRule.REFERENCE, "bins": (5, 10, 15, 20)},
        ),
        ({"literal_eq5": True, "bins": "9"}, {"range_rule": RangeRule.LITERAL, "bins": (9,)}),
        ({"metric": ["kl"]}, {"metrics": (Metric.KL,)}),
        (
            {"metric": ["wasserstein-exact", "kl,hellinger", "kl"]},
            {"metrics": (Metric.WASSERSTEIN_EXACT, Metric.KL, Metric.HELLINGER)},
        ),
    ],
)
def test_settings_from_options(words: dict[str, Any], settings: dict[str, Any]) -> None:
    assert read(**words) == Settings(**settings)


def test_workers_default_to_the_usable_cores() -> None:
    assert read(workers=None).workers == available_cores()
    assert read(workers=3).workers == 3
    assert read(workers=0).workers == 1
    assert read(seed=4, group="subject").group == "subject"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"bins": "0"}, ("--bins 0",)),
        ({"bins": "-5"}, ("--bins '-5'",)),
        ({"bins": "1.5"}, ("--bins '1.5'",)),
        ({"bins": "²"}, ("--bins '²'",)),
        ({"bins": ""}, ("--bins ''",)),
        ({"bins": "100:3"}, ("--bins '100:3'",)),
        ({"bins": "quantile:x"}, ("--bins 'quantile:x'",)),
        ({"bins": "quantile:0"}, ("--bins 0",)),
        ({"bins": "quantil"}, ("--bins 'quantil'", "quantile:50")),
        ({"bins": "quantile", "range_rule": "p0.1"}, ("--bins quantile", "cannot be combined")),
        ({"bins": "quantile", "sweep_bins": "10..20"}, ("--bins quantile", "cannot be combined")),
        ({"bins": "quantile", "literal_eq5": True}, ("--bins quantile", "cannot be combined")),
        ({"literal_eq5": True, "range_rule": "reference"}, ("--literal-eq5", "cannot be combined")),
        ({"literal_eq5": True, "sweep_bins": "10..20"}, ("--literal-eq5", "cannot be combined")),
        ({"literal_eq5": True, "metric": ["kl"]}, ("--literal-eq5", "--metric")),
        ({"sweep_bins": "10..20", "bins": "50"}, ("give only one of them",)),
        ({"range_rule": "quantile"}, ("--range 'quantile'", "minmax, p0.1, reference")),
        ({"range_rule": "literal-eq5"}, ("--range 'literal-eq5'",)),
        ({"range_rule": "minmax,p0.1"}, ("--range 'minmax,p0.1'",)),
        ({"range_rule": ""}, ("--range ''",)),
        ({"metric": ["kl", "x"]}, ("--metric 'kl,x'", "hellinger")),
    ],
)
def test_invalid_settings(words: dict[str, Any], said: tuple[str, ...]) -> None:
    with refused(ArgumentError, *said):
        read(**words)


@pytest.mark.parametrize(
    "text",
    ["", "x", "10..", "..10", "30..10", "0..20", "0", "-5", "10..20..30", "10..20:0",
     "10..20:-5", "10..20:x", "10,,20", "10,50:3", "1.5"],
)  # fmt: skip
def test_malformed_sweep(text: str) -> None:
    with refused(ArgumentError, f"--sweep-bins {text!r}", "10..110"):
        parse_sweep(text)
