from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from matplotlib.figure import Figure

from skiptool.analysis.distances import read_distances
from skiptool.figures.layers import LayerCurves, layer_table
from small_shifts import Layer, layer, network, tables

Check = Callable[[Figure], list[str]]
PRUNED = network({"input": 0.8, "enc1": 0.6, "dec1": 0.2, "dec0": 0.5}, "L1-pruned")
BASELINE = network({"input": 0.8, "enc1": 0.5, "dec1": 0.6, "dec0": 0.7})


def curves(*layers: Layer) -> list[LayerCurves]:
    (compared,) = read_distances(*tables(*layers))
    return [LayerCurves(compared, "n", of_input=each) for each in (False, True)]


def test_distance_and_share_of_the_input() -> None:
    plain, share = curves(*PRUNED, *BASELINE)
    assert (plain.topic, share.topic) == ("layers", "transmission")
    assert plain.heading == share.heading == "Distance by layer: n"
    assert plain.title == "Hellinger distance along the network: n, B = 100"
    assert share.title == "Hellinger distance in shares of the input's: n, B = 100"
    assert plain.table().columns == {
        "layer": ["input", "enc1", "dec1", "dec0"],
        "resnet18 L1-pruned": [0.8, 0.6, 0.2, 0.5],
        "resnet18 baseline": [0.8, 0.5, 0.6, 0.7],
    }
    shares = share.table().columns["resnet18 L1-pruned"]
    assert shares == pytest.approx([1.0, 0.75, 0.25, 0.625])
    numbers = [number["value"] for number in share.numbers() if number["pruning"] == "L1-pruned"]
    assert numbers == shares
    assert {number["quantity"] for number in plain.numbers()} == {"distance"}
    assert {number["quantity"] for number in share.numbers()} == {"share of input"}


def test_words_say_where_the_share_falls_below_half() -> None:
    plain, share = curves(*PRUNED, *BASELINE)
    assert share.sentences() == (
        "resnet18 L1-pruned: falls below half of the input's distance at dec1 (0.25) and is above "
        "it again at dec0 (0.62).",
        "resnet18 baseline: stays above half of the input's distance at every layer.",
    )
    assert plain.sentences() == (
        "resnet18 L1-pruned: below the baseline at 2 of 3 layers, farthest from it at dec1 (0.200 "
        "against 0.600).",
    )


def test_nothing_is_said_of_what_is_not_known() -> None:
    plain, share = curves(*network({"input": 0.5}), *network({"input": 0.5}, "L1-pruned"))
    assert plain.sentences() == share.sentences() == ()
    plain, share = curves(*network({"enc1": math.nan}), *network({"enc1": 0.1}, "L1-pruned"))
    assert plain.sentences() == share.sentences() == ()
    assert plain.table().columns["resnet18 baseline"] == [None]


def test_captions_tell_bands_and_null_where_they_are_drawn() -> None:
    bare = curves(*BASELINE)
    facts: dict[str, Any] = {"ci_low": 0.1, "ci_high": 0.9, "null_high": 0.05, "permutations": 99}
    full = curves(*network({"input": 0.8, "enc1": 0.5}, **facts))
    words = ("Bands", "permutations", "interval over images of the share")
    assert [[word in one.caption for word in words] for one in (*bare, *full)] == [
        *([False] * 3, [False] * 3, [True, True, False], [True, False, True]),
    ]
    crowd = [each for n in range(7) for each in network({"enc1": 0.5}, f"x{n}", **facts)]
    assert "(of at most 6 lines a panel)" in curves(*crowd)[0].caption


def test_they_are_drawn(labels: Check) -> None:
    facts: dict[str, Any] = {"ci_low": 0.1, "ci_high": 0.9, "null_high": 0.05}
    for one in curves(*PRUNED, *network({"input": 0.8, "enc1": 0.5, "x": 0.1}, **facts)):
        texts = labels(one.draw())
        assert {"enc1", "x", "L1-pruned", "interval of the mean", one.title} <= set(texts)
        assert ("possible without a shift" in texts) is not one.of_input
        assert ("share of the input's distance" in texts) is one.of_input


def test_a_table_of_layers_leaves_out_what_is_not_known() -> None:
    (compared,) = read_distances(*tables(layer("enc1", [0.1], None), layer("x", [0.1], 0.1)))
    assert layer_table(compared, "t", lambda found: found.distance).columns == {
        "layer": ["enc1", "x"],
        "resnet18 baseline": [None, 0.1],
    }
    found = layer_table(compared, "t", lambda found: found.share)
    assert found.columns["resnet18 baseline"] == [None, None]
