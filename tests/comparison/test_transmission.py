from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import t

from skiptool.comparison import transmission
from skiptool.comparison.results import Measured
from skiptool.comparison.transmission import ENOUGH, SMALL, SURE, add_transmission
from skiptool.names import Metric
from skiptool.steps.compare import compare_features

NAMES = ("transmission", "transmission_low", "transmission_high")


def measured(layer: str, value: float, estimate: float, *units: list[float]) -> Measured:
    """Give a layer an estimate and what leaving out units adds to it, so often that it is enough.

    The more units, the less each of them may move the estimate for the same standard error.
    """
    times = 12
    replicates = tuple(estimate + np.repeat(each, times) / times for each in units)
    return Measured(
        *(layer, 0, Metric.HELLINGER, 100, None, np.zeros(1, bool), {}, {"value": value}),
        estimate=estimate,
        replicates=replicates,
    )


def variances(source: Measured, layer: Measured) -> tuple[float, float, float, float]:
    """Jackknife variances and covariance, and the degrees of freedom of layer - share * source."""
    found, rests = np.zeros(3), []
    share = layer.estimate / source.estimate
    for own, other in zip(layer.replicates, source.replicates, strict=True):
        n = len(own)
        found += (n - 1) * np.cov(own, other, bias=True)[[0, 1, 0], [0, 1, 1]]
        rests.append(((n - 1) * np.var(own - share * other), n - 1))
    freedom = sum(v for v, _ in rests) ** 2 / sum(v**2 / max(df, 1) for v, df in rests)
    half = [0.2 * (each.mean["value"] - each.estimate) for each in (layer, source)]
    return found[0] + half[0] ** 2, found[1] + half[1] ** 2, found[2], freedom


UNITS = ([0.01, -0.01, 0.02, -0.02], [0.0, 0.01, -0.01])


def test_shares_and_their_interval_by_fieller() -> None:
    source = measured("input", 0.515, 0.5, *UNITS)
    layer = measured("enc1", 0.31, 0.3, [0.02, -0.01, 0.0, -0.01], [0.01, -0.02, 0.01])
    add_transmission([source, layer])
    share, low, high = (layer.mean[name] for name in NAMES)
    assert share == pytest.approx(0.6)
    own, other, both, freedom = variances(source, layer)
    quantile = t.ppf(0.975, freedom)
    for end in (low, high):  # where layer - end * source is just told from 0
        error = np.sqrt(own - 2 * end * both + end**2 * other)
        assert abs(0.3 - end * 0.5) == pytest.approx(quantile * error)
    assert low < share < high
    assert layer.mean["input_value"] == 0.515
    assert [source.mean[name] for name in NAMES] == [1.0, 1.0, 1.0]


def test_the_input_is_measured_in_its_standard_errors() -> None:
    source = measured("input", 0.515, 0.5, *UNITS)
    layer = measured("enc1", 0.31, 0.3, *UNITS)
    add_transmission([source, layer])
    variance = variances(source, layer)[1]
    for each in (source, layer):
        assert each.mean["input_z"] == pytest.approx(0.5 / np.sqrt(variance))


def test_what_moves_both_alike_leaves_the_share_sure() -> None:
    away = [0.02, -0.02, 0.01, -0.01]
    source = measured("input", 0.5, 0.5, away)
    layer = measured("enc1", 0.25, 0.25, [each / 2 for each in away])
    add_transmission([source, layer])
    assert [layer.mean[name] for name in NAMES] == pytest.approx([0.5, 0.5, 0.5])


@pytest.mark.parametrize("over", [False, True])
def test_an_input_that_may_be_0_has_no_share(over: bool) -> None:
    away = np.array([0.02, -0.02, 0.01, -0.01, 0.0])
    error = np.sqrt(59 * away.var()) / 12
    estimate = float(error * SURE * (1.02 if over else 0.98))
    source = measured("input", estimate, estimate, away.tolist())
    layer = measured("enc1", 0.1, 0.1, away.tolist())
    add_transmission([source, layer])
    assert (set(NAMES) <= set(layer.mean)) == over
    assert (set(NAMES) <= set(source.mean)) == over
    assert source.mean["input_z"] == pytest.approx(SURE * (1.02 if over else 0.98))


@pytest.mark.parametrize("corrected", ["input", "enc1"])
@pytest.mark.parametrize("over", [False, True])
def test_a_large_correction_of_either_has_no_share(corrected: str, over: bool) -> None:
    away = [0.001, -0.001, 0.0005]
    bias = SMALL * (1.02 if over else 0.98)
    values = {"input": 1.0, "enc1": 0.5}
    source, layer = (
        measured(name, value + bias * (name == corrected), value, away)
        for name, value in values.items()
    )
    add_transmission([source, layer])
    assert (set(NAMES) <= set(layer.mean)) != over


def test_few_units_have_no_share() -> None:
    away = np.linspace(-0.001, 0.001, ENOUGH)
    for units in (away, away[1:]):
        source, layer = (
            replace(measured(name, value, value, [0.0]), replicates=(value + units,))
            for name, value in (("input", 0.5), ("enc1", 0.25))
        )
        add_transmission([source, layer])
        assert (set(NAMES) <= set(layer.mean)) == (len(units) == ENOUGH)


def test_an_interval_without_ends_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two units have one degree of freedom, for which SURE standard errors are not enough."""
    monkeypatch.setattr(transmission, "ENOUGH", 2)
    source, layer = (
        replace(measured(name, value, value, [0.0]), replicates=(value + np.array(away),))
        for name, value, away in (("input", 0.5, [0.05, -0.05]), ("enc1", 0.25, [-0.05, 0.05]))
    )
    add_transmission([source, layer])
    assert source.mean["input_z"] > SURE
    assert not set(NAMES) & set(layer.mean)


@pytest.mark.parametrize("estimate", [-0.05, 0.0, np.nan])
def test_nothing_is_handed_on_of_nothing(estimate: float) -> None:
    source = measured("input", 0.2, estimate, [0.001, -0.001])
    layer = measured("enc1", 0.3, 0.3, [0.1, -0.1])
    add_transmission([source, layer])
    assert layer.mean["input_value"] == 0.2
    assert not set(NAMES) & set(layer.mean)
    assert layer.mean.get("input_z", 0.0) == 0.0


def test_an_input_that_never_varies_is_sure() -> None:
    source = measured("input", 0.5, 0.5, [0.0, 0.0, 0.0])
    layer = measured("enc1", 0.25, 0.25, [0.01, -0.01, 0.0])
    add_transmission([source, layer])
    assert layer.mean["transmission"] == pytest.approx(0.5)
    assert np.isfinite(source.mean["input_z"])


def test_without_the_input_nothing_stands_beside() -> None:
    layer = measured("enc1", 0.3, 0.3, [0.1, -0.1])
    add_transmission([layer])
    assert set(layer.mean) == {"value"}


def test_a_layer_below_its_noise_is_cut_at_nothing() -> None:
    source = measured("input", 0.5, 0.5, [0.01, -0.01, 0.0])
    layer = measured("enc1", 0.01, -0.002, [0.01, -0.01, 0.0])
    add_transmission([source, layer])
    assert layer.mean["transmission"] == layer.mean["transmission_low"] == 0.0
    assert layer.mean["transmission_high"] > 0


def rows(
    paired: bool, metric: str = "hellinger", rule: str = "minmax", shift: float = 3.0
) -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 40, 3, 60))
    noise = rng.normal(size=(2, 40, 3, 60))
    here = {"input": a, "enc1": a + noise[0]}
    there = {"input": b + shift, "enc1": b + shift + noise[1]}
    how: dict[str, Any] = {"metrics": [metric], "range_rule": rule, "paired": paired}
    table = compare_features(here, there, bins=[20], permutations=0, **how)
    return {row["layer"]: row for row in table.to_pylist() if row["channel"] is None}


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("metric", ["hellinger", "wasserstein"])
def test_of_measured_layers(paired: bool, metric: str) -> None:
    found = rows(paired, metric)
    layer, source = found["enc1"], found["input"]
    assert layer["input_value"] == source["value"]
    assert layer["input_z"] == source["input_z"] > SURE
    assert layer["transmission"] == pytest.approx(layer["corrected"] / source["corrected"])
    assert layer["transmission_low"] < layer["transmission"] < layer["transmission_high"]
    assert (source["transmission_low"], source["transmission_high"]) == (1.0, 1.0)


def test_no_shift_has_no_share() -> None:
    found = rows(False, shift=0.0)
    assert found["enc1"]["transmission"] is found["input"]["transmission"] is None
    assert found["enc1"]["input_z"] < SURE


def test_without_a_corrected_value_there_is_no_share() -> None:
    found = rows(False, rule="literal-eq5")
    assert found["enc1"]["input_value"] == found["input"]["value"]
    assert found["enc1"]["transmission"] is found["enc1"]["input_z"] is None
