from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from skiptool.figures.shifts import Comparison, comparisons

Check = Callable[[Figure], list[str]]
FACTS: dict[str, Any] = {
    **{"reference_id": "r", "other_id": "o", "encoder": "resnet18", "pruning": "baseline"},
    **{"fold": 0, "reference_domain": "a", "reference_shift": "original"},
    **{"reference_factor": None, "domain": "a", "shift": "brightness", "factor": 0.5},
    **{"metric": "hellinger", "bins": 100, "range_rule": "minmax"},
    **{"n_reference": 8, "n_other": 9, "null_high": None, "permutations": 0},
}


def layer(
    name: str, values: list[float | None], mean: float | None, **facts: object
) -> list[dict[str, Any]]:
    """Return the rows of one layer: its mean's first, as the table has it."""
    rows = [] if mean is None else [{"channel": None, "value": mean}]
    rows += [{"channel": number, "value": value} for number, value in enumerate(values)]
    return [{**FACTS, **facts, "layer": name, **row} for row in rows]


def table(*layers: list[dict[str, Any]]) -> dict[str, list[Any]]:
    rows = [row for each in layers for row in each]
    names = list(rows[0])
    return {name: [row[name] for row in rows] for name in names}


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


def test_folds_are_pooled_and_their_means_averaged() -> None:
    (found,) = comparisons(table(*TWO_FOLDS))
    (network,) = found.networks
    assert (network.encoder, network.pruning, network.skips) == (
        "resnet18",
        "baseline",
        (1, 2, 3, 4),
    )
    values = {each.layer: each.values.tolist() for each in network.layers}
    assert values == {
        **{"input": [0.9, 0.7], "enc1": [0.2, 0.4, 0.6, 0.8]},
        "dec0": [0.1, 0.3, 0.5, 0.1, 0.1, 0.1],
    }
    means = {each.layer: each.centre() for each in network.layers}
    assert means == pytest.approx({"input": 0.8, "enc1": 0.5, "dec0": 0.2})
    assert (found.title, found.bins) == ("brightness 0.5 against original, a", 100)
    for word in (
        "between original and brightness 0.5",
        "8 and 9 images",
        "B = 100",
        "2 folds.",
    ):
        assert word in found.caption


def test_what_stands_in_two_tables_counts_once() -> None:
    (once,), (twice,) = comparisons(table(*TWO_FOLDS)), comparisons(table(*TWO_FOLDS, *TWO_FOLDS))
    for one, two in zip(once.networks[0].layers, twice.networks[0].layers, strict=True):
        np.testing.assert_array_equal(one.values, two.values)
        assert one.centre() == two.centre()
    assert once.caption == twice.caption


def test_one_fold_in_words() -> None:
    (found,) = comparisons(table(*TWO_FOLDS[:3]))
    assert "1 fold. It is never 0" in found.caption
    assert found.sentences() == (
        "resnet18 baseline: highest at enc1 (0.300), lowest at enc1 (0.300).",
    )
    (only,) = comparisons(table(layer("input", [0.5], 0.5)))
    assert only.sentences() == ()


def test_folds_are_counted_by_architecture() -> None:
    """Two folds of the baseline and one of L1 are two folds, not one and a half."""
    pruned = {"pruning": "L1-pruned", "reference_id": "p", "other_id": "q"}
    (found,) = comparisons(table(*TWO_FOLDS, layer("enc1", [0.1], 0.1, **pruned)))
    assert "2 folds." in found.caption
    assert [network.pruning for network in found.networks] == ["baseline", "L1-pruned"]


def test_architectures_of_one_encoder_have_panels_of_their_own() -> None:
    """Also as tables and in words; a network without an architecture is that of a U-net."""
    nested = {"arch": "unetplusplus", "reference_id": "p", "other_id": "q"}
    plain = [{"arch": "unet", **row} for row in layer("enc1", [0.1], 0.1)]
    (found,) = comparisons(table(plain, layer("enc1", [0.5], 0.5, **nested)))
    names = ["resnet18", "unetplusplus resnet18"]
    assert [network.encoder for network in found.networks] == names
    assert found.table().columns["resnet18 baseline"] == [0.1]
    assert found.table().columns["unetplusplus resnet18 baseline"] == [0.5]
    assert "1 fold." in found.caption
    assert found.sentences()[1].startswith("unetplusplus resnet18 baseline: highest at enc1")


def test_layers_of_any_network_are_in_the_table_in_the_order_of_data_flow() -> None:
    pruned = {"pruning": "L4-pruned", "reference_id": "p", "other_id": "q"}
    (found,) = comparisons(
        table(
            layer("dec0", [0.1], 0.1),
            layer("enc2", [0.2], 0.2),
            layer("enc1", [0.3], 0.3, **pruned),
            layer("dec0", [0.4], 0.4, **pruned),
            layer("my.module", [0.5], 0.5, **pruned),
        )
    )
    assert found.table().title == "Hellinger distance: brightness 0.5 against original, a"
    assert found.table().columns == {
        "layer": ["enc1", "enc2", "dec0", "my.module"],
        "resnet18 baseline": [None, 0.2, 0.1, None],
        "resnet18 L4-pruned": [0.3, None, 0.4, 0.5],
    }


@pytest.mark.parametrize(
    "change",
    [
        *({"domain": "b"}, {"shift": "contrast"}, {"factor": 0.75}, {"bins": 50}),
        *({"range_rule": "p0.1"}, {"metric": "kl"}),
        *({"reference_domain": "b"}, {"reference_shift": "contrast", "reference_factor": 1.5}),
    ],
)
def test_what_is_compared_differently_is_drawn_apart(change: dict[str, Any]) -> None:
    other = {**change, "other_id": "o2"}
    found = comparisons(table(layer("enc1", [0.2], 0.2), layer("enc1", [0.4], 0.4, **other)))
    assert [each.networks[0].layers[0].centre() for each in found] == [0.2, 0.4]


def test_columns_that_are_given_beside_tell_comparisons_apart_too() -> None:
    rows = table(
        layer("enc1", [0.2], 0.2, dataset="x"),
        layer("enc1", [0.4], 0.4, other_id="o2", dataset="y"),
    )
    assert len(comparisons(rows)) == 2
    del rows["dataset"]
    assert len(comparisons(rows)) == 1


def test_null_is_a_band_where_every_fold_has_one() -> None:
    nulls: dict[str, Any] = {"null_high": 0.1, "permutations": 199}
    second: dict[str, Any] = {**SECOND, "null_high": 0.3, "permutations": 199}
    (found,) = comparisons(
        table(layer("enc1", [0.2], 0.2, **FIRST, **nulls), layer("enc1", [0.4], 0.4, **second))
    )
    assert found.networks[0].layers[0].null == (0.0, pytest.approx(0.2))
    assert "199 relabellings" in found.caption
    (found,) = comparisons(
        table(layer("enc1", [0.2], 0.2, **FIRST, **nulls), layer("enc1", [0.4], 0.4, **SECOND))
    )
    assert found.networks[0].layers[0].null is None
    assert "relabellings" not in found.caption


def test_features_of_no_known_model_go_by_the_names_of_their_files() -> None:
    unknown: dict[str, Any] = dict.fromkeys(
        ("encoder", "pruning", "domain", "reference_domain", "shift", "reference_shift", "bins")
    )
    unknown |= {"reference": "a.npy", "range_rule": None, "metric": "representation-shift"}
    first = layer("features", [0.2, 0.4], 0.3, **unknown, other="b.npy")
    second = layer("features", [0.6, 0.8], 0.7, **unknown, other="c.npy")
    found = comparisons(table(first, second))
    assert [each.title for each in found] == ["b.npy against a.npy", "c.npy against a.npy"]
    assert found[0].table().title == "Representation shift: b.npy against a.npy"
    assert "bins" not in found[0].caption
    found[0].draw()


def test_a_mean_that_is_not_there_is_taken_from_the_channels() -> None:
    (found,) = comparisons(table(layer("enc1", [0.2, None, math.nan, 0.6], None)))
    (channels,) = found.networks[0].layers
    assert channels.centre() == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("pruning", "skips"),
    [
        ("baseline", (1, 2, 3, 4)),
        ("L1-pruned", (2, 3, 4)),
        ("L2-pruned", (3, 4)),
        ("L3-pruned", (4,)),
        ("L4-pruned", ()),
        ("skips-1+3", (1, 3)),
        ("skips-2", (2,)),
        ("their own", ()),
        ("L9-pruned", ()),
        ("skips-", ()),
    ],
)
def test_labels_say_which_skips_stay(pruning: str, skips: tuple[int, ...]) -> None:
    (found,) = comparisons(table(layer("enc1", [0.2], 0.2, pruning=pruning)))
    assert found.networks[0].skips == skips


def test_nothing_is_no_comparison() -> None:
    assert comparisons({name: [] for name in FACTS}) == []


def test_the_violins_are_drawn(labels: Check) -> None:
    pruned = {"pruning": "L1-pruned", "reference_id": "p", "other_id": "q"}
    many = [float(value) for value in np.linspace(0.1, 0.9, 20)]
    (found,) = comparisons(table(*TWO_FOLDS, layer("enc1", many, 0.5, **pruned)))
    assert isinstance(found, Comparison)
    texts = labels(found.draw())
    assert "Hellinger distance: brightness 0.5 against original, a, B = 100" in texts
    assert {"enc1", "dec0"} <= set(texts)
