"""Distances along networks, trainings averaged: what is drawn layer by layer."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from skiptool.cautions import Caution
from skiptool.metrics import mean_and_spread
from skiptool.names import SKIP_LEVELS, in_data_flow
from skiptool.records import family

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = [
    "LEVEL",
    "Averaged",
    "Compared",
    "LayerDistance",
    "NetworkDistances",
    "averaged",
    "levels_of",
]

LEVEL: Final = 0.95
"""Level of the intervals in shift tables."""


@dataclass(frozen=True, slots=True)
class Averaged:
    """A mean over trainings; NaN where it is not known.

    Attributes
    ----------
    value : float
    spread : float
        Standard deviation (n - 1) between trainings.
    low, high : float
        Means of the ends of their intervals; NaN unless each training with a value has one.
    trainings : int
        How many have a value.
    """

    value: float
    spread: float = math.nan
    low: float = math.nan
    high: float = math.nan
    trainings: int = 1

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends, or None."""
        return None if math.isnan(self.low + self.high) else (self.low, self.high)


@dataclass(frozen=True, slots=True, eq=False)
class LayerDistance:
    """One layer of a network, trainings averaged.

    Attributes
    ----------
    layer : str
        One of the twelve, or a module name.
    channels : float64, shape (D,)
        Estimated distances of the channels, eq. (9), those of all trainings one after another; NaN
        where too few units reach a channel's values.
    distance : Averaged
        Estimated mean over channels, eq. (10), corrected for the bias of finite samples.
    share : Averaged or None
        The same, corrected for bias, divided training by training by that of the layer
        ``input``, see `skiptool.comparison.pairs`; None where no training has it.
    null_high : float
        Up to where an estimate may lie without a shift (95 % of permutations), mean over
        trainings; NaN unless each has one.
    """

    layer: str
    channels: Float64
    distance: Averaged
    share: Averaged | None
    null_high: float


@dataclass(frozen=True, slots=True, eq=False)
class NetworkDistances:
    """An architecture: what it is, and its layers in the order of data flow.

    Attributes
    ----------
    arch, encoder : str or None
    pruning : str
    trainings : tuple of (int or None, int or None)
        Fold and repeat of each of its trainings; None where others trained it.
    images : int
        Those of the shifted set.
    skips : tuple of int
        Levels of the skip connections that stay, as far as the label of the pruning tells.
    layers : tuple of LayerDistance
    """

    arch: str | None
    encoder: str | None
    pruning: str
    trainings: tuple[tuple[int | None, int | None], ...]
    images: int
    layers: tuple[LayerDistance, ...]

    @property
    def family(self) -> str:
        """Encoder, with the architecture where it is not ``unet``."""
        return family(self.arch, self.encoder)

    @property
    def name(self) -> str:
        """Encoder and pruning; ``network`` where nothing is known of it."""
        return f"{self.family} {self.pruning}".strip() or "network"

    @property
    def skips(self) -> tuple[int, ...]:
        """Levels that stay, from the label that tables carry; none are known of another label."""
        return levels_of(self.pruning)


def levels_of(pruning: str) -> tuple[int, ...]:
    """Levels of the skip connections that stay, from the label of a pruning.

    Returns
    -------
    tuple of int
        Empty where the label is none of ours.

    Examples
    --------
    >>> levels_of("L2-pruned"), levels_of("skips-1+3"), levels_of("dense")
    ((3, 4), (1, 3), ())
    """
    if pruning == "baseline":
        return SKIP_LEVELS
    found = _LABEL.fullmatch(pruning)
    if found is None:
        return ()
    if found[1]:
        return SKIP_LEVELS[int(found[1]) :]
    return tuple(int(level) for level in found[2].split("+"))


_LABEL: Final = re.compile(r"L([1-4])-pruned|skips-([1-4](?:\+[1-4])*)")


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """One shift against its reference, measured in one way, for all architectures.

    Attributes
    ----------
    facts : mapping of str to value
        The first of its rows, whose dataset, domains, shifts, metric and bins all have.
    networks : tuple of NetworkDistances
    cautions : tuple of Caution
        What a reader must know of these numbers.
    layers : tuple of str
        All layers, the twelve in the order of data flow, then others by first appearance.
    """

    facts: Mapping[str, Any]
    networks: tuple[NetworkDistances, ...]
    cautions: tuple[Caution, ...] = ()

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers of any of the networks, in order."""
        names = (layer.layer for network in self.networks for layer in network.layers)
        return tuple(in_data_flow(names))

    def only(self, kept: Callable[[str], bool]) -> Compared:
        """Return the same for some layers, without networks that have none of them."""
        parts = (
            replace(network, layers=tuple(each for each in network.layers if kept(each.layer)))
            for network in self.networks
        )
        return replace(self, networks=tuple(part for part in parts if part.layers))


def averaged(means: Float64, lows: Float64, highs: Float64) -> Averaged:
    """Average over trainings.

    Parameters
    ----------
    means, lows, highs : float64, shape (T,)
        Value of each training and the ends of its interval; NaN where they are not known.

    Examples
    --------
    >>> averaged(np.array([0.2, 0.4]), np.array([0.1, 0.2]), np.array([0.3, np.nan])).interval
    """
    known = ~np.isnan(means)
    value, spread = mean_and_spread(means.tolist())
    if not known.any():
        return Averaged(value, spread, trainings=0)
    low, high = float(lows[known].mean()), float(highs[known].mean())
    return Averaged(value, spread, low, high, int(known.sum()))
