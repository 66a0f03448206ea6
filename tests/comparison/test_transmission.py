from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from definitions import interval
from skiptool.comparison.results import Measured
from skiptool.comparison.transmission import add_transmission
from skiptool.names import Metric
from skiptool.steps.compare import compare_features

NAMES = ("transmission", "transmission_low", "transmission_high")


def measured(layer: str, value: float, estimate: float, *units: list[float]) -> Measured:
    """Give a layer an estimate and what leaving out units adds to it."""
    replicates = tuple(estimate + np.array(each) for each in units)
    mean = {"value": value, "ci_low": estimate - 0.1}
    return Measured(
        *(layer, 0, Metric.HELLINGER, 100, None, np.zeros(1, bool), {}, mean),
        estimate=estimate,
        replicates=replicates,
    )


def test_shares_and_their_jackknife() -> None:
    source = measured("input", 0.52, 0.5, [0.01, -0.01, 0.02], [0.0, 0.03])
    layer = measured("enc1", 0.31, 0.3, [0.02, -0.01, 0.0], [0.01, -0.02])
    add_transmission([source, layer])
    pairs = zip(layer.replicates, source.replicates, strict=True)
    unsure = np.sqrt(0.01**2 + (0.6 * 0.02) ** 2) / 0.5
    replicates = [(own / other).tolist() for own, other in pairs]
    low, high = interval(0.6 + unsure, 0.6, replicates)
    found = [layer.mean[name] for name in NAMES]
    assert found == pytest.approx([0.6, low, high])
    assert layer.mean["input_value"] == 0.52
    assert [source.mean[name] for name in NAMES] == [1.0, 1.0, 1.0]


def test_what_moves_both_alike_leaves_the_share_sure() -> None:
    away = [0.05, -0.04, 0.03, -0.02]
    source = measured("input", 0.5, 0.5, away)
    layer = measured("enc1", 0.25, 0.25, [each / 2 for each in away])
    add_transmission([source, layer])
    assert [layer.mean[name] for name in NAMES] == pytest.approx([0.5, 0.5, 0.5])


def test_nothing_is_handed_on_of_nothing() -> None:
    source = measured("input", 0.2, 0.05, [0.1, -0.1])
    layer = measured("enc1", 0.3, 0.3, [0.1, -0.1])
    add_transmission([source, layer])
    assert layer.mean["input_value"] == 0.2
    assert not set(NAMES) & set(layer.mean)


def test_without_the_input_nothing_stands_beside() -> None:
    layer = measured("enc1", 0.3, 0.3, [0.1, -0.1])
    add_transmission([layer])
    assert set(layer.mean) == {"value", "ci_low"}


def test_a_layer_below_its_noise_is_cut_at_nothing() -> None:
    source = measured("input", 0.5, 0.5, [0.01, -0.01])
    layer = measured("enc1", 0.1, -0.02, [0.01, -0.01])
    add_transmission([source, layer])
    assert layer.mean["transmission"] == layer.mean["transmission_low"] == 0.0


def rows(
    paired: bool, metric: str = "hellinger", rule: str = "minmax"
) -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 12, 3, 40))
    noise = rng.normal(size=(2, 12, 3, 40))
    here, there = {"input": a, "enc1": a + noise[0]}, {"input": b + 1, "enc1": b + 1 + noise[1]}
    how: dict[str, Any] = {"metrics": [metric], "range_rule": rule, "paired": paired}
    table = compare_features(here, there, bins=[20], permutations=0, **how)
    return {row["layer"]: row for row in table.to_pylist() if row["channel"] is None}


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("metric", ["hellinger", "wasserstein"])
def test_of_measured_layers(paired: bool, metric: str) -> None:
    found = rows(paired, metric)
    layer, source = found["enc1"], found["input"]
    assert layer["input_value"] == source["value"]
    assert layer["transmission"] == pytest.approx(layer["corrected"] / source["corrected"])
    assert layer["transmission_low"] < layer["transmission"] < layer["transmission_high"]
    assert (source["transmission_low"], source["transmission_high"]) == (1.0, 1.0)


def test_without_a_corrected_value_there_is_no_share() -> None:
    found = rows(False, rule="literal-eq5")
    assert found["enc1"]["input_value"] == found["input"]["value"]
    assert found["enc1"]["transmission"] is None
