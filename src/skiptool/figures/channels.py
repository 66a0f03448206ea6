"""What a figure along the network shows: the channels of each layer, and their order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import ArgumentError
from skiptool.names import in_data_flow

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["LayerChannels", "Network", "greatest_distance", "layer_order"]


@dataclass(frozen=True, slots=True, eq=False)
class LayerChannels:
    """Distances of the channels of one layer.

    Attributes
    ----------
    layer : str
        One of the twelve, or a module name.
    values : float64, shape (D,)
        Hellinger distance of each channel, eq. (9), in [0, 1]; NaN is left out.
    mean : float, optional
        Mean over the channels, eq. (10); taken from ``values`` where it is not given.
    interval : (float, float), optional
        Interval of the mean, drawn if given.
    null : (float, float), optional
        Where the mean would lie without a shift, drawn as a grey band if given.
    """

    layer: str
    values: Float64
    mean: float | None = None
    interval: tuple[float, float] | None = None
    null: tuple[float, float] | None = None

    def finite(self) -> Float64:
        """Return the values that are there."""
        return self.values[np.isfinite(self.values)]

    def centre(self) -> float:
        """Return the mean over the channels, NaN where there is no value."""
        if self.mean is not None:
            return self.mean
        values = self.finite()
        return float(values.mean()) if values.size else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """One panel: a network with the skip levels that it has, and its layers.

    ``encoder`` also names the architecture where it is not ``unet``, see `skiptool.records.family`.
    """

    pruning: str
    encoder: str
    skips: tuple[int, ...]
    layers: tuple[LayerChannels, ...]

    def joined(self, order: Mapping[str, int]) -> list[tuple[int, int, int]]:
        """Level and the two ends of each skip connection whose layers are both on the axis."""
        ends = [(level, order.get(f"enc{level}"), order.get(f"dec{level}")) for level in self.skips]
        return [(level, a, b) for level, a, b in ends if a is not None and b is not None]


def layer_order(networks: Sequence[Network]) -> dict[str, int]:
    """Place of each layer on the axis: data flow for the twelve, then by first appearance.

    Raises
    ------
    ArgumentError
        If there is no layer at all, or two networks have the same pruning and encoder.
    """
    pairs = [(net.pruning, net.encoder) for net in networks]
    twice = sorted({" ".join(pair) for pair in pairs if pairs.count(pair) > 1})
    if twice:
        raise ArgumentError(
            f"violins: {', '.join(twice)} found more than once, expected one network for each "
            "pruning and encoder; pool the trainings first"
        )
    seen = in_data_flow(layer.layer for net in networks for layer in net.layers)
    if not seen:
        raise ArgumentError(
            "violins: found no layer, expected at least one network with a layer; give a table "
            "with the channels of one"
        )
    return {name: place for place, name in enumerate(seen)}


def greatest_distance(networks: Sequence[Network]) -> float:
    """Greatest distance that a figure of these networks has to show; 0 without any."""
    drawn = [0.0]
    for layer in (layer for net in networks for layer in net.layers):
        drawn += [float(layer.finite().max(initial=0.0)), float(np.nan_to_num(layer.centre()))]
        drawn += [*(layer.interval or ()), *(layer.null or ())]
    return max(drawn)
