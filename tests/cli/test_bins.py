from __future__ import annotations

from typing import Any

import pytest

from skiptool.cli.bins import comparison, swept
from skiptool.comparison.activations import Settings
from skiptool.errors import ArgumentError
from skiptool.names import Metric, RangeRule
from skiptool.parallel import available_cores
from small_stores import refused


def read(**words: Any) -> Settings:  # noqa: ANN401
    given = {"metric": None, "bins": "100", "sweep": None, "range_rule": "minmax"} | words
    literal = given.pop("literal", False)
    return comparison((*given.values(), literal), workers=1)  # type: ignore[arg-type]


def test_without_words_it_is_the_default() -> None:
    assert read() == Settings()


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ({"bins": "7"}, {"bins": (7,)}),
        ({"bins": "quantile"}, {"bins": (100,), "range_rule": RangeRule.QUANTILE}),
        ({"bins": "quantile:50"}, {"bins": (50,), "range_rule": RangeRule.QUANTILE}),
        ({"sweep": "10..30"}, {"bins": (10, 20, 30)}),
        ({"sweep": "8,64,8"}, {"bins": (8, 64)}),
        ({"range_rule": "p0.1"}, {"range_rule": RangeRule.PERCENTILES}),
        (
            {"range_rule": "reference", "sweep": "5..20:5"},
            {"range_rule": RangeRule.REFERENCE, "bins": (5, 10, 15, 20)},
        ),
        ({"literal": True, "bins": "9"}, {"range_rule": RangeRule.LITERAL, "bins": (9,)}),
        ({"metric": ["kl"]}, {"metrics": (Metric.KL,)}),
        (
            {"metric": ["wasserstein-exact", "kl,hellinger", "kl"]},
            {"metrics": (Metric.WASSERSTEIN_EXACT, Metric.KL, Metric.HELLINGER)},
        ),
    ],
)
def test_words_become_settings(words: dict[str, Any], settings: dict[str, Any]) -> None:
    assert read(**words) == Settings(**settings)


def test_workers_are_the_cores_unless_said() -> None:
    words = (None, "100", None, "minmax", False)
    assert comparison(words, workers=None).workers == available_cores()
    assert comparison(words, workers=3).workers == 3
    assert comparison(words, workers=0).workers == 1
    assert comparison(words, workers=1, seed=4, group="subject").group == "subject"


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
        ({"bins": "quantile", "range_rule": "p0.1"}, ("--bins quantile", "alone")),
        ({"bins": "quantile", "sweep": "10..20"}, ("--bins quantile", "alone")),
        ({"bins": "quantile", "literal": True}, ("--bins quantile", "alone")),
        ({"literal": True, "range_rule": "reference"}, ("--literal-eq5", "alone")),
        ({"literal": True, "sweep": "10..20"}, ("--literal-eq5", "alone")),
        ({"literal": True, "metric": ["kl"]}, ("--literal-eq5", "--metric")),
        ({"sweep": "10..20", "bins": "50"}, ("give one of them",)),
        ({"range_rule": "quantile"}, ("--range 'quantile'", "minmax, p0.1, reference")),
        ({"range_rule": "literal-eq5"}, ("--range 'literal-eq5'",)),
        ({"range_rule": "minmax,p0.1"}, ("--range 'minmax,p0.1'",)),
        ({"range_rule": ""}, ("--range ''",)),
        ({"metric": ["kl", "x"]}, ("--metric 'kl,x'", "hellinger")),
    ],
)
def test_words_that_make_no_sense(words: dict[str, Any], said: tuple[str, ...]) -> None:
    with refused(ArgumentError, *said):
        read(**words)


@pytest.mark.parametrize(
    "text",
    ["", "x", "10..", "..10", "30..10", "0..20", "0", "-5", "10..20..30", "10..20:0",
     "10..20:-5", "10..20:x", "10,,20", "10,50:3", "1.5"],
)  # fmt: skip
def test_sweeps_that_are_none(text: str) -> None:
    with refused(ArgumentError, f"--sweep-bins {text!r}", "10..110"):
        swept(text)
