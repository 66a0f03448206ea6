from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
import pytest

from skiptool.comparison.arrays import as_activations
from skiptool.comparison.binned import Design
from skiptool.comparison.results import Measured
from skiptool.comparison.rows import PRINTED, columns_of, in_order, scarce, squeezed
from skiptool.comparison.sets import Settings
from skiptool.comparison.units import Units
from skiptool.names import Kind, Metric, RangeRule
from skiptool.stores.table_writer import as_table

CONSTANT = np.array([False, True])
DESIGN = Design(
    Units(np.arange(4), np.array([0, 2])),
    Units(np.arange(3), np.array([0, 1])),
    True,
    np.zeros((20, 2), np.int32),
)


def measured(
    metric: Metric = Metric.HELLINGER,
    bins: int | None = 8,
    layer: str = "enc1",
    **how: Any,  # noqa: ANN401
) -> Measured:
    rule = None if bins is None else RangeRule.MINMAX
    channels = how.get("channels", {"value": np.array([0.5, 0.0])})
    mean = how.get("mean", {"value": 0.25, "value_live": 0.5})
    index = ("enc1", "enc2").index(layer)
    return Measured(layer, index, metric, bins, rule, CONSTANT, channels, mean)


def test_the_layer_stands_before_its_channels() -> None:
    channels = {
        "value": np.array([0.5, 0.0]),
        "p_value": np.array([0.1, 1.0]),
        "corrected": np.array([0.25, np.nan]),
    }
    mean = {"value": 0.25, "value_live": 0.5, "p_value": 0.1, "p_adjusted": 0.2}
    found = columns_of(measured(channels=channels, mean=mean), DESIGN, Settings())
    assert found["channel"] == [None, 0, 1]
    assert found["value"] == [0.25, 0.5, 0.0]
    assert found["value_live"] == [0.5, None, None]
    assert found["p_value"] == [0.1, 0.1, 1.0]
    assert found["p_adjusted"] == [0.2, None, None]
    assert found["corrected"] == [None, 0.25, None]
    assert found["constant_channels"] == [1, 0, 1]
    assert found["null_high"] == found["range_used"] == [None, None, None]
    for name, value in {
        **{"layer": "enc1", "layer_index": 0, "metric": "hellinger", "bins": 8},
        **{"range_rule": "minmax", "paired": True, "unit": "image", "permutations": 19},
        **{"units_reference": 2, "units_other": 2, "n_reference": 4, "n_other": 3},
        **{"skiptool_version": version("skiptool")},
    }.items():
        assert found[name] == value, name


def test_the_unit_is_the_group() -> None:
    assert columns_of(measured(), DESIGN, Settings(group="subject"))["unit"] == "subject"


def test_a_metric_without_bins_has_none() -> None:
    found = columns_of(measured(Metric.WASSERSTEIN_EXACT, None), DESIGN, Settings())
    assert (found["bins"], found["range_rule"]) == (None, None)


def test_columns_are_those_of_a_shift_table() -> None:
    found = columns_of(measured(), DESIGN, Settings())
    assert as_table(Kind.SHIFT, found, 3).num_rows == 3
    assert set(PRINTED) <= set(found)


def test_order_is_that_of_the_metrics_asked_for_then_bins_then_layers() -> None:
    kl, h, w = Metric.KL, Metric.HELLINGER, Metric.WASSERSTEIN_EXACT
    given = [
        measured(metric, bins, layer)
        for layer in ("enc2", "enc1")
        for metric, bins in ((h, 20), (w, None), (kl, 10), (h, 10), (kl, 20))
    ]
    found = in_order(given, Settings(metrics=(kl, w, h), bins=(10, 20)))
    assert [(each.metric, each.bins, each.layer) for each in found] == [
        (metric, bins, layer)
        for metric, bins in ((kl, 10), (kl, 20), (w, None), (h, 10), (h, 20))
        for layer in ("enc1", "enc2")
    ]


@pytest.mark.parametrize(
    ("used", "channels"),
    [((0.5, 0.01), 0), ((0.099, 0.01), 1), ((0.1, 0.01), 0), ((0.05, 1.0), 1)],
)
def test_squeezed_channels_are_counted_unless_constant(
    used: tuple[float, float], channels: int
) -> None:
    values = {"value": np.zeros(2), "range_used": np.array(used)}
    found = squeezed([measured(channels=values), measured(layer="enc2")])
    assert found == ({"enc1": channels} if channels else {})


def test_a_sweep_counts_squeezed_channels_once() -> None:
    values = [{"value": np.zeros(2), "range_used": np.array([used, 1.0])} for used in (0.5, 0.01)]
    assert squeezed([measured(channels=each) for each in values]) == {"enc1": 1}


@pytest.mark.parametrize(
    ("images", "vectors", "bins", "metric", "expected"),
    [
        (10, 50, (100,), Metric.HELLINGER, None),
        (10, 49, (100,), Metric.HELLINGER, 490),
        (10, 49, (10, 98), Metric.KL, None),
        (10, 49, (10, 99), Metric.KL, 490),
        (10, 49, (100,), Metric.REPRESENTATION_SHIFT, None),
    ],
)
def test_few_values_for_many_bins_are_noticed(
    images: int, vectors: int, bins: tuple[int, ...], metric: Metric, expected: int | None
) -> None:
    sets = [
        as_activations({"a": np.zeros((n, 2, vectors)), "b": np.zeros((n, 3, 1000))}, "x")
        for n in (images, images + 5)
    ]
    assert scarce(sets, Settings(metrics=(metric,), bins=bins)) == expected
