"""Tests of ``distances``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from skiptool.analysis.distances import read_distances
from skiptool.figures.panels import Network
from skiptool.names import DECODER_INPUTS
from skiptool.report.distances import curve_exhibit, distance_exhibits, layer_table, violin_networks
from skiptool.report.exhibit import Exhibit
from small_shifts import Layer, layer, network, tables

Check = Callable[[Figure], list[str]]

FIRST = {"reference_id": "r0", "other_id": "o0"}
SECOND = {"reference_id": "r1", "other_id": "o1", "fold": 1}
TWO_FOLDS = (
    layer("input", [0.9], 0.9, **FIRST),
    layer("enc1", [0.2, 0.4], 0.3, **FIRST),
    layer("dec0", [0.1, 0.3, 0.5], 0.3, **FIRST),
    layer("input", [0.7], 0.7, **SECOND),
    layer("enc1", [0.6, 0.8], 0.7, **SECOND),
    layer("dec0", [0.1, 0.1, 0.1], 0.1, **SECOND),
)


def violins(*layers: Layer) -> list[Exhibit]:
    return [one for one in distance_exhibits(*tables(*layers)) if one.topic == "distance"]


def networks(*layers: Layer) -> list[Network]:
    (compared,) = read_distances(*tables(*layers))
    return violin_networks(compared)


def test_folds_are_pooled_and_their_means_averaged() -> None:
    (found,) = violins(*TWO_FOLDS)
    (net,) = networks(*TWO_FOLDS)
    assert (net.encoder, net.pruning, net.skips) == ("resnet18", "baseline", (1, 2, 3, 4))
    values = {each.layer: each.values.tolist() for each in net.layers}
    assert values == {
        "input": [0.9, 0.7],
        "enc1": [0.2, 0.4, 0.6, 0.8],
        "dec0": [0.1, 0.3, 0.5, 0.1, 0.1, 0.1],
    }
    means = {each.layer: each.centre() for each in net.layers}
    assert means == pytest.approx({"input": 0.8, "enc1": 0.5, "dec0": 0.2})
    name = "brightness 0.5 against original, a"
    assert found.heading == f"Distance by layer: {name}"
    assert found.title == f"Hellinger distance: {name}, B = 100"
    for word in ("between original and brightness 0.5", "8 and 9 images", "B = 100", "2 folds."):
        assert word in found.caption
    for word in ("interval", "relabellings"):
        assert word not in found.caption


def test_numbers_match_the_table_and_name_their_origin() -> None:
    """Worked by hand; sd of two values is their difference over the root of 2."""
    (found,) = violins(*TWO_FOLDS)
    numbers = {number["layer"]: number for number in found.numbers}
    assert numbers["enc1"] == {
        "dataset": "d",
        "reference_domain": "a",
        "reference_shift": "original",
        "domain": "a",
        "shift": "brightness",
        "factor": 0.5,
        "metric": "hellinger",
        "bins": 100,
        "arch": "unet",
        "encoder": "resnet18",
        "pruning": "baseline",
        "layer": "enc1",
        "quantity": "distance",
        "folds": 2,
        "images": 9,
        "value": pytest.approx(0.5),
        "sd_folds": pytest.approx(0.4 / math.sqrt(2)),
    }
    table = found.table.columns
    assert table["resnet18 baseline"] == [numbers[name]["value"] for name in table["layer"]]


def test_the_interval_is_that_of_the_layer_averaged_over_folds() -> None:
    rows = [
        layer("enc1", [0.2], 0.2, **of, ci_low=low, ci_high=low + 0.2)
        for of, low in ((FIRST, 0.1), (SECOND, 0.3))
    ]
    (found,) = violins(*rows)
    (number,) = found.numbers
    ends = [number[name] for name in ("ci_low", "ci_high", "level")]
    assert ends == pytest.approx([0.2, 0.4, 0.95])
    assert networks(*rows)[0].layers[0].interval == pytest.approx((0.2, 0.4))
    assert "95 % interval of the estimate over images" in found.caption
    assert "averaged over trainings" in found.caption
    (alone,) = violins(rows[0])
    assert "averaged over trainings" not in alone.caption


def test_caption_of_one_fold() -> None:
    (found,) = violins(*TWO_FOLDS[:3])
    assert "one training. Violins" in found.caption
    assert tuple(found.sentences) == (
        "resnet18 baseline: highest at enc1 (0.300, not distinguishable from dec0), lowest at enc1 "
        "(0.300, not distinguishable from dec0).",
    )
    (only,) = violins(layer("input", [0.5], 0.5))
    assert tuple(only.sentences) == ()


def test_architectures_of_one_encoder_have_separate_panels() -> None:
    """Also as tables and in words."""
    nested = {"arch": "unetplusplus", "reference_id": "p", "other_id": "q"}
    rows = [layer("enc1", [0.1], 0.1), layer("enc1", [0.5], 0.5, **nested)]
    (found,) = violins(*rows)
    assert [net.encoder for net in networks(*rows)] == ["resnet18", "unetplusplus resnet18"]
    assert found.table.columns["resnet18 baseline"] == [0.1]
    assert found.table.columns["unetplusplus resnet18 baseline"] == [0.5]
    assert found.sentences[1].startswith("unetplusplus resnet18 baseline: highest at enc1")


def test_layers_of_any_network_are_in_the_table_in_the_order_of_data_flow() -> None:
    (found,) = violins(
        *network({"dec0": 0.1, "enc2": 0.2}),
        *network({"enc1": 0.3, "dec0": 0.4, "my.module": 0.5}, "L4-pruned"),
    )
    assert found.table.title == "Hellinger distance: brightness 0.5 against original, a"
    shade = found.table.shade
    assert shade is not None
    assert (shade.low, shade.digits) == (0.0, 3)
    assert found.table.columns == {
        "layer": ["enc1", "enc2", "dec0", "my.module"],
        "resnet18 baseline": [None, 0.2, 0.1, None],
        "resnet18 L4-pruned": [0.3, None, 0.4, 0.5],
    }


def test_null_is_a_band_and_in_the_caption() -> None:
    row = layer("enc1", [0.2], 0.2, null_high=0.1, permutations=199)
    (found,) = violins(row)
    assert networks(row)[0].layers[0].null == (0.0, pytest.approx(0.1))
    assert "199 permutations" in found.caption


def test_missing_mean_is_left_out(labels: Check) -> None:
    missing = layer("enc1", [math.nan, 0.3], None)
    (found,) = violins(missing, layer("dec0", [0.2], 0.2))
    assert found.table.columns["resnet18 baseline"] == [None, 0.2]
    assert found.sentences[0].endswith("highest at dec0 (0.200), lowest at dec0 (0.200).")
    assert "enc1" in labels(found.draw())


def test_features_of_unknown_models_are_named_after_their_files() -> None:
    unknown: dict[str, Any] = dict.fromkeys(
        ("encoder", "pruning", "domain", "reference_domain", "shift", "reference_shift", "bins")
    )
    unknown |= {"reference": "a.npy", "range_rule": None, "metric": "representation-shift"}
    found = violins(
        layer("features", [0.2, 0.4], 0.3, **unknown, other="b.npy"),
        layer("features", [0.6, 0.8], 1.7, **unknown, other="c.npy"),
    )
    assert [each.heading for each in found] == [
        f"Distance by layer: {name} against a.npy" for name in ("b.npy", "c.npy")
    ]
    assert found[0].table.title == "Representation shift: b.npy against a.npy"
    assert "bins" not in found[0].caption
    assert not {"shift", "domain", "encoder"} & set(found[0].numbers[0])
    found[0].draw()


def test_a_page_shows_the_overview_first_and_shifts_in_their_order() -> None:
    rows = [
        each
        for factor in (1.5, 0.5)
        for each in network({"input": 0.5, "enc1": 0.3}, factor=factor)
    ]
    shown = distance_exhibits(*tables(*rows, *network({"enc1": 0.4}, shift="contrast", factor=0.1)))
    topics = ["reach", *("distance", "layers", "transmission") * 2, "distance", "layers"]
    assert [one.topic for one in shown] == topics
    heads = [f"Distance by layer: {shift} against original, a" for shift in
             ("brightness 0.5", "brightness 1.5", "contrast 0.1")]  # fmt: skip
    assert list(dict.fromkeys(one.heading for one in shown)) == ["How far shifts reach", *heads]


def test_shifts_of_two_datasets_have_distinct_names() -> None:
    found = violins(*network({"enc1": 0.2}), *network({"enc1": 0.3}, dataset="e"))
    assert [one.heading for one in found] == [
        f"Distance by layer: brightness 0.5 against original, a ({name})" for name in "de"
    ]


def test_every_number_of_a_table_is_among_the_numbers() -> None:
    rows: list[Layer] = []
    for factor in (0.5, 0.75):
        for place, pruning in enumerate(("baseline", *(f"skips-{n}" for n in range(7)))):
            means = {"input": 0.5, "enc1": 0.1 + 0.01 * place, "x": math.nan}
            rows += network(means, pruning, factor=factor)
    shown = distance_exhibits(*tables(*rows))
    assert len(shown) == 7
    for one in shown:
        assert_told(one)


def assert_told(one: Exhibit) -> None:
    known = {number["value"] for number in one.numbers}
    cells = [cell for column in one.table.columns.values() for cell in column]
    values = [cell for cell in cells if isinstance(cell, float)]
    assert values
    assert set(values) <= known


def test_empty_tables_give_no_exhibit() -> None:
    assert distance_exhibits(*tables()) == []


def test_the_violins_are_drawn(labels: Check) -> None:
    pruned = {"pruning": "L1-pruned", "reference_id": "p", "other_id": "q"}
    many = [float(value) for value in np.linspace(0.1, 0.9, 20)]
    (found,) = violins(*TWO_FOLDS, layer("enc1", many, 0.5, **pruned, metric="hellinger"))
    texts = labels(found.draw())
    assert "Hellinger distance: brightness 0.5 against original, a, B = 100" in texts
    assert {"enc1", "dec0"} <= set(texts)


def test_axis_names_the_measure(labels: Check) -> None:
    (found,) = violins(layer("enc1", [2.5, 3.0], 2.7, metric="wasserstein"))
    assert "Wasserstein distance" in labels(found.draw())


PRUNED = network({"input": 0.8, "enc1": 0.6, "dec1": 0.2, "dec0": 0.5}, "L1-pruned")
BASELINE = network({"input": 0.8, "enc1": 0.5, "dec1": 0.6, "dec0": 0.7})


def curves(*layers: Layer) -> list[Exhibit]:
    (compared,) = read_distances(*tables(*layers))
    return [curve_exhibit(compared, "n", of_input=each) for each in (False, True)]


def test_distance_and_share_of_the_input() -> None:
    plain, share = curves(*PRUNED, *BASELINE)
    assert (plain.topic, share.topic) == ("layers", "transmission")
    assert plain.heading == share.heading == "Distance by layer: n"
    assert plain.title == "Hellinger distance along the network: n, B = 100"
    assert share.title == "Hellinger distance in shares of the input's: n, B = 100"
    assert plain.table.columns == {
        "layer": ["input", "enc1", "dec1", "dec0"],
        "resnet18 L1-pruned": [0.8, 0.6, 0.2, 0.5],
        "resnet18 baseline": [0.8, 0.5, 0.6, 0.7],
    }
    shares = share.table.columns["resnet18 L1-pruned"]
    assert shares == pytest.approx([1.0, 0.75, 0.25, 0.625])
    numbers = [number["value"] for number in share.numbers if number["pruning"] == "L1-pruned"]
    assert numbers == shares
    assert {number["quantity"] for number in plain.numbers} == {"distance"}
    assert {number["quantity"] for number in share.numbers} == {"share of input"}


def test_sentence_names_the_layer_where_the_share_falls_below_half() -> None:
    plain, share = curves(*PRUNED, *BASELINE)
    assert tuple(share.sentences) == (
        "resnet18 L1-pruned: falls below half of the input's distance at dec1 (0.25) and rises "
        "above it again at dec0 (0.62).",
        "resnet18 baseline: stays above half of the input's distance at every layer.",
    )
    assert tuple(plain.sentences) == (
        "resnet18 L1-pruned: below the baseline at 2 of 3 layers, farthest from it at dec1 (0.200 "
        "against 0.600).",
    )


def test_unknown_values_have_no_sentence() -> None:
    plain, share = curves(*network({"input": 0.5}), *network({"input": 0.5}, "L1-pruned"))
    assert tuple(plain.sentences) == tuple(share.sentences) == ()
    plain, share = curves(*network({"enc1": math.nan}), *network({"enc1": 0.1}, "L1-pruned"))
    assert tuple(plain.sentences) == tuple(share.sentences) == ()
    assert plain.table.columns["resnet18 baseline"] == [None]


def test_captions_explain_bands_and_null_if_drawn() -> None:
    bare = curves(*BASELINE)
    facts: dict[str, Any] = {"ci_low": 0.1, "ci_high": 0.9, "null_high": 0.05, "permutations": 99}
    full = curves(*network({"input": 0.8, "enc1": 0.5}, **facts))
    words = ("Bands", "permutations", "interval of the share over images")
    assert [[word in one.caption for word in words] for one in (*bare, *full)] == [
        *([False] * 3, [False] * 3, [True, True, False], [True, False, True]),
    ]
    crowd = [each for n in range(7) for each in network({"enc1": 0.5}, f"x{n}", **facts)]
    assert "(of at most 6 lines a panel)" in curves(*crowd)[0].caption


def test_curves_are_drawn(labels: Check) -> None:
    facts: dict[str, Any] = {"ci_low": 0.1, "ci_high": 0.9, "null_high": 0.05}
    for one in curves(*PRUNED, *network({"input": 0.8, "enc1": 0.5, "x": 0.1}, **facts)):
        texts = labels(one.draw())
        assert {"enc1", "x", "L1-pruned", "interval of the mean", one.title} <= set(texts)
        assert ("possible without a shift" in texts) is (one.topic == "layers")
        assert ("share of the input's distance" in texts) is (one.topic == "transmission")


def test_table_of_layers_leaves_unknown_values_empty() -> None:
    (compared,) = read_distances(*tables(layer("enc1", [0.1], None), layer("x", [0.1], 0.1)))
    assert layer_table(compared, "t", lambda found: found.distance).columns == {
        "layer": ["enc1", "x"],
        "resnet18 baseline": [None, 0.1],
    }
    found = layer_table(compared, "t", lambda found: found.share)
    assert found.columns["resnet18 baseline"] == [None, None]


KEPT = {"baseline": 0, "L1-pruned": 1, "L4-pruned": 4}
VALUES = {"dec4.from_below": 0.2, "dec4.from_skip": 0.1, "dec1.from_below": 0.3}
VALUES |= {"dec1.from_skip": 0.7, "dec0.from_below": 0.4, "dec2.from_skip": 0.31}
VALUES |= {"dec2.from_below": 0.3}


def of_network(pruning: str, encoder: str = "resnet18") -> list[Layer]:
    """Rows of what the decoder of a network is given, of its input and of one layer."""
    facts = {"pruning": pruning, "encoder": encoder}
    facts |= {"reference_id": f"r {pruning} {encoder}", "other_id": f"o {pruning} {encoder}"}
    there = {
        name: value
        for name, value in VALUES.items()
        if name.endswith("below") or int(name[3]) > KEPT[pruning]
    }
    return [
        layer(name, [value], value, **facts, ci_low=value - 0.02, ci_high=value + 0.02)
        for name, value in {"input": 0.8, "enc1": 0.6, **there}.items()
    ]


def drawn(*layers: Layer) -> Exhibit:
    (found,) = [one for one in distance_exhibits(*tables(*layers)) if one.topic == "decoder-inputs"]
    return found


def test_decoder_inputs_show_both_sides_of_each_block() -> None:
    found = drawn(*of_network("baseline"), *of_network("L4-pruned"))
    table = found.table.columns
    assert table["block"] == ["dec4", "dec2", "dec1", "dec0"]
    assert table["resnet18 baseline by skip connections"] == [0.1, 0.31, 0.7, None]
    assert table["resnet18 L4-pruned from below"] == [0.2, 0.3, 0.3, 0.4]
    assert "resnet18 L4-pruned by skip connections" not in table
    assert "connection and of the layers below, before normalisation" in found.caption


def test_decoder_input_numbers_name_their_layer() -> None:
    found = drawn(*of_network("baseline"), *of_network("L1-pruned"))
    numbers = {(row["pruning"], row["layer"]): row for row in found.numbers}
    assert len(numbers) == 7 + 6
    assert {layer for _, layer in numbers} == set(VALUES) <= set(DECODER_INPUTS)
    one = numbers["baseline", "dec1.from_skip"]
    assert (one["quantity"], one["value"], one["ci_high"]) == ("distance", 0.7, 0.72)


def test_decoder_input_sentences_depend_on_intervals() -> None:
    told = drawn(*of_network("baseline"), *of_network("L4-pruned")).sentences
    assert tuple(told) == (
        "resnet18 baseline: skip connection shifted more than the layers below at dec1 (0.700 "
        "against 0.300); less at dec4 (0.100 against 0.200); intervals overlap at dec2.",
    )


def test_decoder_inputs_have_two_panels_per_encoder() -> None:
    rows = [*of_network("baseline"), *of_network("L1-pruned"), *of_network("baseline", "resnet34")]
    figure = drawn(*rows).draw()
    assert isinstance(figure, Figure)
    panels = [axes for axes in figure.axes if axes.lines]
    assert len(panels) == 4
    dots = [[line for line in axes.lines if line.get_marker() == "o"] for axes in panels]
    assert [len(each) for each in dots] == [2, 2, 1, 1]
    skips = {tuple(line.get_ydata()) for line in dots[0]}
    assert skips == {(0.1, 0.31, 0.7), (0.1, 0.31)}


def test_decoder_inputs_are_not_in_curves_along_the_network() -> None:
    rows = of_network("baseline")
    others = [one for one in distance_exhibits(*tables(*rows)) if one.topic != "decoder-inputs"]
    assert {number["layer"] for one in others for number in one.numbers} == {"input", "enc1"}
    (compared,) = read_distances(*tables(*rows))
    assert set(VALUES) < set(compared.layers)


def test_decoder_inputs_alone_are_the_only_exhibit() -> None:
    rows = [row for row in of_network("baseline") if row[0]["layer"] in VALUES]
    assert [one.topic for one in distance_exhibits(*tables(*rows))] == ["decoder-inputs"]
