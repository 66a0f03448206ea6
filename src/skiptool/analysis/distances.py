"""Distances along networks, trainings averaged: what is drawn layer by layer."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from skiptool.cautions import Caution
from skiptool.metrics import mean_and_spread
from skiptool.names import DECODER_INPUTS, LAYERWISE, SKIP_LEVELS, Metric, ShiftKind, in_data_flow
from skiptool.records import family

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = [
    "BEYOND_COLUMNS",
    "CHANNEL_KEYS",
    "LAYER_COLUMNS",
    "LEVEL",
    "MEASURES",
    "SIGNIFICANT",
    "Averaged",
    "Changed",
    "Compared",
    "LayerDistance",
    "Measure",
    "Network",
    "NetworkDistances",
    "averaged",
    "levels_of",
    "of_channels",
    "read_beyond",
    "read_distances",
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


# -------------------------------------------------------------------------------------------------
# Distances along networks from the rows of shift tables, trainings averaged.


CHANNEL_KEYS: Final = (
    *("reference", "reference_id", "other", "other_id"),
    *("layer", "metric", "bins", "range_rule"),
)
"""Columns that channels are gathered by: those of one layer, pair, metric and binning."""

LAYER_COLUMNS: Final = (
    *CHANNEL_KEYS,
    *("arch", "encoder", "pruning", "fold", "repeat"),
    *("dataset", "reference_domain", "reference_shift"),
    *("reference_factor", "domain", "shift", "factor"),
    *("value", "corrected", "ci_low", "ci_high"),
    *("transmission", "transmission_low", "transmission_high"),
    *("null_mean", "null_high", "permutations", "unit", "units_reference", "units_other"),
    *("n_reference", "n_other", "unresolved_channels", "reference_split", "split", "warnings"),
)
"""Columns that are read of the rows of layers, whose channel is null."""

_COMPARED: Final = (
    *("dataset", "reference_domain", "reference_shift", "reference_factor"),
    *("domain", "shift", "factor", "metric", "bins", "range_rule"),
    *("reference_split", "split"),
)
_Row: TypeAlias = Mapping[str, Any]


def read_distances(
    layers: Mapping[str, Sequence[Any]], channels: Mapping[str, Sequence[Any]]
) -> list[Compared]:
    """Group what shift tables hold by what is compared, and average over trainings.

    Parameters
    ----------
    layers : mapping of column name to values
        The columns :data:`LAYER_COLUMNS`, a row for each layer.
    channels : mapping of column name to values
        :data:`CHANNEL_KEYS`, and as arrays ``channel`` (NaN for the layer itself, which is passed
        over), ``value`` and ``corrected``; an entry for each group.

    Returns
    -------
    list of Compared
        In the order of first appearance. What was measured twice, in two tables or of one store
        under two names, counts once. Distances are the estimates, corrected for the bias of
        finite samples; where a table has none (metrics without statistics), the plain values. NaN
        where too few units share values to estimate a layer.
    """
    arrays = _channels(channels)
    groups: dict[tuple[Any, ...], dict[tuple[Any, ...], _Row]] = {}
    names = list(layers)
    for values in zip(*layers.values(), strict=True):
        row = dict(zip(names, values, strict=True))
        known = arrays.get(tuple(row[name] for name in CHANNEL_KEYS), _NO_CHANNELS)
        row["channels"] = _NO_CHANNELS if _is_unresolved(row) else known
        # of what others made no more is known than which two sets were compared
        stores = () if row["shift"] is not None else (row["reference"], row["other"], *_pair(row))
        key = (*(row[name] for name in _COMPARED), *stores)
        groups.setdefault(key, {}).setdefault((*_pair(row), row["layer"]), row)
    return [_compared(list(group.values())) for group in groups.values()]


_NO_CHANNELS: Final = np.empty(0)


def _channels(gathered: Mapping[str, Sequence[Any]]) -> dict[tuple[Any, ...], Float64]:
    parts: dict[tuple[Any, ...], list[tuple[Float64, Float64]]] = {}
    columns = [gathered[name] for name in (*CHANNEL_KEYS, "channel", "value", "corrected")]
    for *key, numbers, values, corrected in zip(*columns, strict=True):
        estimated = not np.isnan(corrected).all()
        parts.setdefault(tuple(key), []).append((numbers, corrected if estimated else values))
    found = {}
    for place, each in parts.items():
        numbers, values = (np.concatenate(column) for column in zip(*each, strict=True))
        known = ~np.isnan(numbers)
        _, first = np.unique(numbers[known], return_index=True)
        found[place] = values[known][first]
    return found


def _pair(row: _Row) -> tuple[Any, ...]:
    """Return what tells one model's comparison from another's."""
    return row["reference_id"] or row["reference"], row["other_id"] or row["other"]


def _compared(rows: Sequence[_Row]) -> Compared:
    networks: dict[tuple[str, str], list[_Row]] = {}
    for row in rows:
        key = (family(row["arch"], row["encoder"]), row["pruning"] or "")
        networks.setdefault(key, []).append(row)
    return Compared(rows[0], tuple(map(_network, networks.values())), _cautions(rows))


def _network(rows: Sequence[_Row]) -> NetworkDistances:
    places = {pair: place for place, pair in enumerate(dict.fromkeys(map(_pair, rows)))}
    by_layer: dict[str, list[_Row]] = {}
    for row in rows:
        by_layer.setdefault(row["layer"], []).append(row)
    columns = {
        layer: {name: _by_training(group, name, places) for name in _COLUMNS}
        for layer, group in by_layer.items()
    }
    found = []
    for layer in in_data_flow(by_layer):
        plain, means, lows, highs = (columns[layer][name] for name in _STATISTICS)
        if np.isnan(means).all() and not any(map(_is_unresolved, by_layer[layer])):
            means = plain
        nulls = _without_shift(columns[layer], str(rows[0]["metric"]))
        share = averaged(*(columns[layer][name] for name in _SHARES))
        found.append(
            LayerDistance(
                layer,
                np.concatenate([row["channels"] for row in by_layer[layer]]),
                averaged(means, lows, highs),
                share if share.trainings else None,
                averaged(means, nulls, nulls).high,
            )
        )
    first = rows[0]
    trainings = {_pair(row): (row["fold"], row["repeat"]) for row in rows}
    return NetworkDistances(
        *(first["arch"], first["encoder"], first["pruning"] or ""),
        *(tuple(trainings.values()), int(first["n_other"]), tuple(found)),
    )


def _is_unresolved(row: _Row) -> bool:
    """Whether an estimate was tried and none holds, as too few units share values."""
    return row["corrected"] is None and row["unresolved_channels"] is not None


_STATISTICS: Final = ("value", "corrected", "ci_low", "ci_high")
_SHARES: Final = ("transmission", "transmission_low", "transmission_high")
_COLUMNS: Final = (*_STATISTICS, *_SHARES, "null_mean", "null_high")


def _without_shift(columns: Mapping[str, Float64], metric: str) -> Float64:
    """Return up to where an estimate may lie without a shift, by fold (F,).

    The 95 % quantile of the permuted distances less their mean, on the scale on which bias is
    corrected: that of the squares for distances whose square is a mean over bins.
    """
    mean, high = columns["null_mean"], columns["null_high"]
    if metric in (Metric.HELLINGER, Metric.JENSEN_SHANNON):
        return np.asarray(np.sqrt(np.maximum(np.square(high) - np.square(mean), 0.0)))
    return np.asarray(high - mean)


def _cautions(rows: Sequence[_Row]) -> tuple[Caution, ...]:
    """Return the warnings of some rows, with their layers unless they concern all layers."""
    layers: dict[str, list[str]] = {}
    for row in rows:
        for warning in (row["warnings"] or "").split("; "):
            if warning and row["layer"] not in layers.setdefault(warning, []):
                layers[warning].append(row["layer"])
    every = len({row["layer"] for row in rows})
    return tuple(
        Caution(warning, () if len(names) == every else tuple(names))
        for warning, names in layers.items()
    )


def _by_training(rows: Sequence[_Row], name: str, places: Mapping[tuple[Any, ...], int]) -> Float64:
    found = np.full(len(places), math.nan)
    for row in rows:
        found[places[_pair(row)]] = math.nan if row[name] is None else row[name]
    return found


# -------------------------------------------------------------------------------------------------
# Measures of whole layers beside the distance of their channels, from the rows of shift tables.


SIGNIFICANT: Final = 0.05
"""Below it, adjusted over the layers, two sets are said to differ."""

MEASURES: Final = (Metric.HELLINGER, *LAYERWISE)
"""What is laid side by side, in this order."""

BEYOND_COLUMNS: Final = (
    *("reference", "reference_id", "other", "other_id", "layer", "metric", "bins", "range_rule"),
    *("arch", "encoder", "pruning", "fold", "dataset", "reference_domain", "reference_split"),
    *("reference_shift", "reference_factor", "domain", "split", "shift", "factor"),
    *("value", "corrected", "ci_low", "ci_high"),
    *("p_adjusted", "unit", "permutations", "n_reference", "n_other"),
)
"""Columns that are read of the rows of layers, whose channel is null."""

_Table: TypeAlias = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure of one layer, averaged over trainings.

    Attributes
    ----------
    value : float
        Of the Hellinger distance the corrected one where it is known.
    spread : float
        Standard deviation (n - 1) between trainings.
    interval : (float, float) or None
        Means of the ends over trainings; None unless each has them.
    p_values : tuple of float
        Adjusted over layers, one a training; empty where the measure has none.
    """

    value: float
    spread: float
    interval: tuple[float, float] | None
    p_values: tuple[float, ...]
    folds: int

    @property
    def differs(self) -> bool:
        """Whether the sets differ in every training."""
        return bool(self.p_values) and max(self.p_values) < SIGNIFICANT

    @property
    def agrees(self) -> bool:
        """Whether they differ in no training as far as seen, or no distance is left."""
        clear = bool(self.p_values) and min(self.p_values) >= SIGNIFICANT
        return clear or self.value <= 0


@dataclass(frozen=True, slots=True, eq=False)
class Changed:
    """One shift or domain against the reference: facts of its first row, measures by layer."""

    facts: _Row
    measures: Mapping[Metric, Mapping[str, Measure]]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """An architecture, and what it was compared under.

    Attributes
    ----------
    arch, encoder, pruning : str or None
    rows : tuple of Changed
        One for each shift of one domain, or for each domain.
    """

    arch: str | None
    encoder: str | None
    pruning: str | None
    rows: tuple[Changed, ...]

    @property
    def name(self) -> str:
        """Encoder and pruning."""
        return f"{family(self.arch, self.encoder)} {self.pruning or ''}".strip()

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers in the order of data flow."""
        by_measure = (layers for row in self.rows for layers in row.measures.values())
        return tuple(in_data_flow(layer for layers in by_measure for layer in layers))

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Measures that any row has."""
        return tuple(m for m in MEASURES if any(m in row.measures for row in self.rows))


def of_channels(table: _Table) -> dict[str, list[Any]]:
    """Return the rows whose metric is of channels: those that the other exhibits are made of."""
    kept = [place for place, metric in enumerate(table["metric"]) if metric not in LAYERWISE]
    return {name: [column[place] for place in kept] for name, column in table.items()}


def read_beyond(table: _Table) -> list[Network]:
    """Group what shift tables hold by architecture and reference, where it has such measures.

    Parameters
    ----------
    table : mapping of column name to values
        The columns :data:`BEYOND_COLUMNS`, a row for each layer. What was measured twice counts
        once; of several numbers of bins the Hellinger distance with the first is taken. What
        reaches the blocks of the decoder (:data:`skiptool.names.DECODER_INPUTS`) is left out.
    """
    groups: dict[tuple[Any, ...], dict[tuple[Any, ...], list[_Row]]] = {}
    for values in zip(*(table[name] for name in BEYOND_COLUMNS), strict=True):
        row = dict(zip(BEYOND_COLUMNS, values, strict=True))
        if row["metric"] in MEASURES and row["layer"] not in DECODER_INPUTS:
            groups.setdefault(_network_key(row), {}).setdefault(_change_key(row), []).append(row)
    found = []
    for (arch, encoder, pruning, *_), changes in groups.items():
        rows = tuple(_changed(each) for each in changes.values())
        if any(set(row.measures) & set(LAYERWISE) for row in rows):
            found.append(Network(arch, encoder, pruning, rows))
    return found


_REFERENCE: Final = (
    *("dataset", "reference_domain", "reference_split", "reference_shift", "reference_factor"),
)


def _network_key(row: _Row) -> tuple[Any, ...]:
    network = (row["arch"], row["encoder"], row["pruning"])
    across = row["shift"] == ShiftKind.ORIGINAL and row["domain"] != row["reference_domain"]
    plain = row["reference"] if row["shift"] is None else None
    where = None if across else row["domain"]
    return (*network, *(row[name] for name in _REFERENCE), where, plain)


def _change_key(row: _Row) -> tuple[Any, ...]:
    plain = row["other"] if row["shift"] is None else None
    return (row["domain"], row["split"], row["shift"], row["factor"], plain)


def _changed(rows: Sequence[_Row]) -> Changed:
    found: dict[Metric, dict[str, dict[tuple[Any, ...], _Row]]] = {}
    bins = {row["metric"]: (row["bins"], row["range_rule"]) for row in reversed(rows)}
    for row in rows:
        if (row["bins"], row["range_rule"]) == bins[row["metric"]]:
            pair = (row["reference_id"] or row["reference"], row["other_id"] or row["other"])
            layers = found.setdefault(Metric(row["metric"]), {})
            layers.setdefault(row["layer"], {}).setdefault(pair, row)
    measures = {
        metric: {layer: _measure([*each.values()]) for layer, each in layers.items()}
        for metric, layers in found.items()
    }
    return Changed(rows[0], measures)


def _measure(rows: Sequence[_Row]) -> Measure:
    values = [_first(row["corrected"], row["value"]) for row in rows]
    if rows[0]["metric"] != Metric.HELLINGER:
        values = [row["value"] for row in rows]
    known = [value for value in values if value is not None and not math.isnan(value)]
    value, spread = mean_and_spread(known) if known else (math.nan, math.nan)
    ends = [(row["ci_low"], row["ci_high"]) for row in rows]
    whole = all(None not in each for each in ends)
    low, high = (sum(each) / len(each) for each in zip(*ends, strict=True)) if whole else (0.0, 0.0)
    p_values = tuple(row["p_adjusted"] for row in rows if row["p_adjusted"] is not None)
    complete = p_values if len(p_values) == len(rows) else ()
    return Measure(value, spread, (low, high) if whole else None, complete, len(known))


def _first(one: float | None, other: float | None) -> float | None:
    return other if one is None or math.isnan(one) else one
