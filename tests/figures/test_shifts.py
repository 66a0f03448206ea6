from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from skiptool.figures.exhibit import Shown
from skiptool.figures.layers import LayerCurves
from skiptool.figures.overview import Overview
from skiptool.figures.shifts import Comparison, comparisons
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


def violins(*layers: Layer) -> list[Comparison]:
    return [one for one in comparisons(*tables(*layers)) if isinstance(one, Comparison)]


def test_folds_are_pooled_and_their_means_averaged() -> None:
    (found,) = violins(*TWO_FOLDS)
    (net,) = found.networks
    assert (net.encoder, net.pruning, net.skips) == ("resnet18", "baseline", (1, 2, 3, 4))
    values = {each.layer: each.values.tolist() for each in net.layers}
    assert values == {
        **{"input": [0.9, 0.7], "enc1": [0.2, 0.4, 0.6, 0.8]},
        "dec0": [0.1, 0.3, 0.5, 0.1, 0.1, 0.1],
    }
    means = {each.layer: each.centre() for each in net.layers}
    assert means == pytest.approx({"input": 0.8, "enc1": 0.5, "dec0": 0.2})
    assert found.name == "brightness 0.5 against original, a"
    assert found.heading == f"Distance by layer: {found.name}"
    assert found.title == f"Hellinger distance: {found.name}, B = 100"
    for word in ("between original and brightness 0.5", "8 and 9 images", "B = 100", "2 folds."):
        assert word in found.caption
    for word in ("interval", "relabellings"):
        assert word not in found.caption


def test_numbers_are_those_of_the_table_with_what_they_rest_on() -> None:
    """Worked by hand; sd of two values is their difference over the root of 2."""
    (found,) = violins(*TWO_FOLDS)
    numbers = {number["layer"]: number for number in found.numbers()}
    assert numbers["enc1"] == {
        **{"dataset": "d", "reference_domain": "a", "reference_shift": "original"},
        **{"domain": "a", "shift": "brightness", "factor": 0.5, "metric": "hellinger"},
        **{"bins": 100, "arch": "unet", "encoder": "resnet18", "pruning": "baseline"},
        **{"layer": "enc1", "quantity": "distance", "folds": 2, "images": 9},
        "value": pytest.approx(0.5),
        "sd_folds": pytest.approx(0.4 / math.sqrt(2)),
    }
    table = found.table().columns
    assert table["resnet18 baseline"] == [numbers[name]["value"] for name in table["layer"]]


def test_the_interval_is_that_of_the_layer_averaged_over_folds() -> None:
    rows = [
        layer("enc1", [0.2], 0.2, **of, ci_low=low, ci_high=low + 0.2)
        for of, low in ((FIRST, 0.1), (SECOND, 0.3))
    ]
    (found,) = violins(*rows)
    (number,) = found.numbers()
    ends = [number[name] for name in ("ci_low", "ci_high", "level")]
    assert ends == pytest.approx([0.2, 0.4, 0.95])
    assert found.networks[0].layers[0].interval == pytest.approx((0.2, 0.4))
    assert "95 % interval over images" in found.caption
    assert "averaged over trainings" in found.caption
    (alone,) = violins(rows[0])
    assert "averaged over trainings" not in alone.caption


def test_one_fold_in_words() -> None:
    (found,) = violins(*TWO_FOLDS[:3])
    assert "one training. Violins" in found.caption
    assert found.sentences() == (
        "resnet18 baseline: highest at enc1 (0.300, not told apart from dec0), lowest at enc1 "
        "(0.300, not told apart from dec0).",
    )
    (only,) = violins(layer("input", [0.5], 0.5))
    assert only.sentences() == ()


def test_architectures_of_one_encoder_have_panels_of_their_own() -> None:
    """Also as tables and in words."""
    nested = {"arch": "unetplusplus", "reference_id": "p", "other_id": "q"}
    (found,) = violins(layer("enc1", [0.1], 0.1), layer("enc1", [0.5], 0.5, **nested))
    names = ["resnet18", "unetplusplus resnet18"]
    assert [net.encoder for net in found.networks] == names
    assert found.table().columns["resnet18 baseline"] == [0.1]
    assert found.table().columns["unetplusplus resnet18 baseline"] == [0.5]
    assert found.sentences()[1].startswith("unetplusplus resnet18 baseline: highest at enc1")


def test_layers_of_any_network_are_in_the_table_in_the_order_of_data_flow() -> None:
    (found,) = violins(
        *network({"dec0": 0.1, "enc2": 0.2}),
        *network({"enc1": 0.3, "dec0": 0.4, "my.module": 0.5}, "L4-pruned"),
    )
    assert found.table().title == "Hellinger distance: brightness 0.5 against original, a"
    shade = found.table().shade
    assert shade is not None
    assert (shade.low, shade.digits) == (0.0, 3)
    assert found.table().columns == {
        "layer": ["enc1", "enc2", "dec0", "my.module"],
        "resnet18 baseline": [None, 0.2, 0.1, None],
        "resnet18 L4-pruned": [0.3, None, 0.4, 0.5],
    }


def test_null_is_a_band_and_in_the_caption() -> None:
    (found,) = violins(layer("enc1", [0.2], 0.2, null_high=0.1, permutations=199))
    assert found.networks[0].layers[0].null == (0.0, pytest.approx(0.1))
    assert "199 permutations" in found.caption


def test_a_mean_that_is_not_there_is_left_out(labels: Check) -> None:
    missing = layer("enc1", [math.nan, 0.3], None)
    (found,) = violins(missing, layer("dec0", [0.2], 0.2))
    assert found.table().columns["resnet18 baseline"] == [None, 0.2]
    assert found.sentences()[0].endswith("highest at dec0 (0.200), lowest at dec0 (0.200).")
    assert "enc1" in labels(found.draw())


def test_features_of_no_known_model_go_by_the_names_of_their_files() -> None:
    unknown: dict[str, Any] = dict.fromkeys(
        ("encoder", "pruning", "domain", "reference_domain", "shift", "reference_shift", "bins")
    )
    unknown |= {"reference": "a.npy", "range_rule": None, "metric": "representation-shift"}
    found = violins(
        layer("features", [0.2, 0.4], 0.3, **unknown, other="b.npy"),
        layer("features", [0.6, 0.8], 1.7, **unknown, other="c.npy"),
    )
    assert [each.name for each in found] == ["b.npy against a.npy", "c.npy against a.npy"]
    assert found[0].table().title == "Representation shift: b.npy against a.npy"
    assert "bins" not in found[0].caption
    assert not {"shift", "domain", "encoder"} & set(found[0].numbers()[0])
    found[0].draw()


def test_a_page_shows_the_overview_first_and_shifts_in_their_order() -> None:
    rows = [
        each
        for factor in (1.5, 0.5)
        for each in network({"input": 0.5, "enc1": 0.3}, factor=factor)
    ]
    shown = comparisons(*tables(*rows, *network({"enc1": 0.4}, shift="contrast", factor=0.1)))
    assert [type(one) for one in shown] == [
        *(Overview, Comparison, LayerCurves, LayerCurves, Comparison, LayerCurves, LayerCurves),
        *(Comparison, LayerCurves),
    ]
    topics = ["reach", *("distance", "layers", "transmission") * 2, "distance", "layers"]
    assert [one.topic for one in shown] == topics
    heads = [f"Distance by layer: {shift} against original, a" for shift in
             ("brightness 0.5", "brightness 1.5", "contrast 0.1")]  # fmt: skip
    assert list(dict.fromkeys(one.heading for one in shown)) == ["How far shifts reach", *heads]


def test_shifts_of_two_datasets_are_told_apart_by_name() -> None:
    found = violins(*network({"enc1": 0.2}), *network({"enc1": 0.3}, dataset="e"))
    assert [one.name for one in found] == [
        f"brightness 0.5 against original, a ({dataset})" for dataset in ("d", "e")
    ]


def test_every_number_of_a_table_is_among_the_numbers() -> None:
    rows: list[Layer] = []
    for factor in (0.5, 0.75):
        for place, pruning in enumerate(("baseline", *(f"skips-{n}" for n in range(7)))):
            means = {"input": 0.5, "enc1": 0.1 + 0.01 * place, "x": math.nan}
            rows += network(means, pruning, factor=factor)
    shown = comparisons(*tables(*rows))
    assert len(shown) == 7
    for one in shown:
        assert_told(one)


def assert_told(one: Shown) -> None:
    known = {number["value"] for number in one.numbers()}
    cells = [cell for column in one.table().columns.values() for cell in column]
    values = [cell for cell in cells if isinstance(cell, float)]
    assert values
    assert set(values) <= known


def test_nothing_is_no_comparison() -> None:
    assert comparisons(*tables()) == []


def test_the_violins_are_drawn(labels: Check) -> None:
    pruned = {"pruning": "L1-pruned", "reference_id": "p", "other_id": "q"}
    many = [float(value) for value in np.linspace(0.1, 0.9, 20)]
    (found,) = violins(*TWO_FOLDS, layer("enc1", many, 0.5, **pruned, metric="hellinger"))
    texts = labels(found.draw())
    assert "Hellinger distance: brightness 0.5 against original, a, B = 100" in texts
    assert {"enc1", "dec0"} <= set(texts)


def test_another_measure_stands_at_the_axis(labels: Check) -> None:
    (found,) = violins(layer("enc1", [2.5, 3.0], 2.7, metric="wasserstein"))
    assert "Wasserstein distance" in labels(found.draw())
