from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from skiptool.comparison.arrays import ArrayActivations
from skiptool.comparison.sets import Activations, Settings
from skiptool.errors import ArgumentError
from skiptool.names import Metric, RangeRule
from skiptool.stores.header import Making
from skiptool.stores.layers import FeatureStore
from small_stores import refused


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"bins": ()}, ("--bins", "at least one")),
        ({"bins": (0,)}, ("--bins 0", "1 to 4096")),
        ({"bins": (4097,)}, ("--bins 4097",)),
        ({"bins": (7.5,)}, ("--bins 7.5",)),
        ({"bins": (10, 10)}, ("--bins", "none twice")),
        ({"metrics": ()}, ("--metric", "at least one")),
        ({"metrics": (Metric.KL, Metric.KL)}, ("--metric", "none twice")),
        ({"permutations": -1}, ("--permutations -1", "0 or more")),
        ({"seed": -1}, ("--seed -1", "0 or more")),
        ({"workers": 0}, ("--workers 0", "1 or more")),
        ({"memory": 250}, ("--memory 250", "more than 250")),
        ({"bins": (2, 4), "range_rule": RangeRule.QUANTILE}, ("--sweep-bins", "quantile")),
        ({"bins": (2, 4), "range_rule": RangeRule.LITERAL}, ("--sweep-bins", "literal-eq5")),
        (
            {"range_rule": RangeRule.LITERAL, "metrics": (Metric.KL,)},
            ("--literal-eq5", "drop --metric"),
        ),
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any], words: tuple[str, ...]) -> None:
    with refused(ArgumentError, *words):
        Settings(**wrong)


def command(**how: Any) -> str:  # noqa: ANN401
    return Making("hellinger", (), Settings(**how).asked).command


def test_asked_are_the_options_of_the_command() -> None:
    assert command() == (
        "skiptool hellinger --metric hellinger --bins 100 --range minmax --permutations 199 "
        "--seed 0"
    )
    assert command(range_rule=RangeRule.QUANTILE, bins=(50,)) == (
        "skiptool hellinger --metric hellinger --bins quantile:50 --permutations 199 --seed 0"
    )
    assert command(
        bins=(10, 20), metrics=(Metric.KL, Metric.WASSERSTEIN), paired=False, group="subject"
    ) == (
        "skiptool hellinger --metric kl --metric wasserstein --sweep-bins 10,20 --range minmax "
        "--permutations 199 --group subject --seed 0 --unpaired"
    )
    assert "--paired --literal-eq5" in command(range_rule=RangeRule.LITERAL, paired=True)
    assert "--range" not in command(range_rule=RangeRule.LITERAL)


def test_what_does_not_shape_the_result_is_not_asked() -> None:
    assert Settings(memory=999, workers=7).asked == Settings().asked
    told = {"metrics": "metric", "range_rule": "range"}
    shaping = {told.get(field.name, field.name) for field in fields(Settings)}
    assert shaping - {"memory", "workers"} <= set(Settings().asked)


def test_the_budget_leaves_room_for_the_libraries() -> None:
    assert 0 < Settings(memory=251).budget < 1_000_000
    assert Settings(memory=512).budget < 262_000_000 < Settings(memory=1024).budget


@pytest.mark.parametrize("kind", [ArrayActivations, FeatureStore])
def test_all_that_can_be_compared_can_be_read_alike(kind: type) -> None:
    members = {name for name in vars(Activations) if not name.startswith("_")}
    assert {"read", "ranges"} <= members
    assert members | {"__len__"} <= set(dir(kind)) | set(kind.__annotations__)
