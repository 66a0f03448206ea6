from __future__ import annotations

import math

import numpy as np
import pytest

from skiptool.errors import ArgumentError
from skiptool.figures.channels import LayerChannels, Network, greatest_distance, layer_order


def network(*layers: str, skips: tuple[int, ...] = (1, 2), pruning: str = "baseline") -> Network:
    return Network(
        pruning, "resnet18", skips, tuple(LayerChannels(name, np.array([0.5])) for name in layers)
    )


def test_mean_is_over_the_channels_that_are_there() -> None:
    layer = LayerChannels("enc1", np.array([0.2, np.nan, 0.4]))
    assert layer.centre() == pytest.approx(0.3)
    assert LayerChannels("enc1", layer.values, mean=0.7).centre() == 0.7
    assert math.isnan(LayerChannels("enc1", np.array([np.nan])).centre())


def test_layers_follow_the_data_and_others_come_after() -> None:
    one = network("head", "other.b", "enc2", "input")
    two = network("dec4", "enc2", "other.a", pruning="L1-pruned")
    assert list(layer_order([one, two])) == ["input", "enc2", "dec4", "head", "other.b", "other.a"]


def test_a_skip_needs_both_its_layers() -> None:
    net = network("enc1", "enc2", "dec2", skips=(1, 2))
    assert net.joined(layer_order([net])) == [(2, 1, 2)]


def test_two_of_a_kind_and_none_at_all() -> None:
    with pytest.raises(ArgumentError, match="baseline resnet18 found more than once"):
        layer_order([network("enc1"), network("enc2")])
    with pytest.raises(ArgumentError, match="found no layer"):
        layer_order([network()])
    with pytest.raises(ArgumentError, match="found no layer"):
        layer_order([])


def test_greatest_distance_counts_intervals_and_nulls() -> None:
    values = np.array([0.1, np.nan])
    layers = (LayerChannels("enc1", values), LayerChannels("enc2", np.array([np.nan])))
    assert greatest_distance([Network("baseline", "r", (), layers)]) == 0.1
    for more in ({"interval": (0.1, 0.6)}, {"null": (0.1, 0.6)}, {"mean": 0.6}):
        extended = (LayerChannels("enc1", values, **more),)  # type: ignore[arg-type]
        assert greatest_distance([Network("baseline", "r", (), extended)]) == 0.6
