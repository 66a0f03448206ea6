"""Distances along networks from the rows of shift tables, averaged over trainings.

:func:`read_distances` gathers distances of channels by layer, :func:`read_layer_metrics` measures
of whole layers together with the distance of their channels.
"""

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
from skiptool.records import architecture_family

if TYPE_CHECKING:
    from skiptool.records import Float64

LEVEL: Final = 0.95
"""Level of the intervals in shift tables."""

SIGNIFICANT: Final = 0.05
"""p-value, adjusted over the layers, below which two sets are said to differ."""

MEASURES: Final = (Metric.HELLINGER, *LAYERWISE)
"""Measures that :func:`read_layer_metrics` puts side by side, in this order."""

_LABEL: Final = re.compile(r"L([1-4])-pruned|skips-([1-4](?:\+[1-4])*)")

_REFERENCE: Final = ("dataset", "reference_domain", "reference_shift", "reference_factor")
_OTHER: Final = ("domain", "shift", "factor")
_BINNED: Final = ("metric", "bins", "range_rule")
_SPLITS: Final = ("reference_split", "split")
_STATISTICS: Final = ("value", "corrected", "ci_low", "ci_high")
_SHARES: Final = ("transmission", "transmission_low", "transmission_high")
_NULL: Final = ("null_mean", "null_high")
_SIZES: Final = ("permutations", "unit", "n_reference", "n_other")

CHANNEL_KEYS: Final = ("reference", "reference_id", "other", "other_id", "layer", *_BINNED)
"""Columns that channels are grouped by: those of one layer, pair, metric and binning."""

_NETWORK: Final = ("arch", "encoder", "pruning", "fold")

_COMMON: Final = CHANNEL_KEYS + _NETWORK + _REFERENCE + _OTHER + _SPLITS + _STATISTICS + _SIZES

BEYOND_COLUMNS: Final = (*_COMMON, "p_adjusted")
"""Columns that :func:`read_layer_metrics` needs in the rows of layers, whose channel is null."""

LAYER_COLUMNS: Final = (
    *_COMMON,
    *_SHARES,
    *_NULL,
    "repeat",
    "units_reference",
    "units_other",
    "unresolved_channels",
    "warnings",
)
"""Columns that :func:`read_distances` needs in the rows of layers, whose channel is null."""

_Row: TypeAlias = Mapping[str, Any]
_Table: TypeAlias = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class TrainingAverage:
    """A mean over trainings; NaN if unknown.

    Attributes
    ----------
    value : float
    spread : float
        Standard deviation (n - 1) between trainings.
    low, high : float
        Means of the ends of their intervals; NaN unless each training with a value has one.
    trainings : int
        Number of trainings with a value.
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


def average_trainings(means: Float64, lows: Float64, highs: Float64) -> TrainingAverage:
    """Average the values of trainings and the ends of their intervals, NaN if unknown.

    Examples
    --------
    >>> lows, highs = np.array([0.1, 0.2]), np.array([0.3, np.nan])
    >>> average_trainings(np.array([0.2, 0.4]), lows, highs).interval
    """
    known = ~np.isnan(means)
    value, spread = mean_and_spread(means.tolist())
    if not known.any():
        return TrainingAverage(value, spread, trainings=0)
    low, high = float(lows[known].mean()), float(highs[known].mean())
    return TrainingAverage(value, spread, low, high, int(known.sum()))


@dataclass(frozen=True, slots=True, eq=False)
class LayerDistance:
    """One layer of a network, averaged over trainings.

    Attributes
    ----------
    layer : str
        One of the twelve, or a module name.
    channels : float64, shape (D,)
        Estimated distances of the channels, eq. (9), concatenated over trainings; NaN for
        unresolved channels.
    distance : TrainingAverage
        Estimated mean over channels, eq. (10), corrected for the bias of finite samples.
    share : TrainingAverage or None
        The same, divided training by training by that of the layer ``input``, see
        `skiptool.comparison.pairs`; None if no training has it.
    null_high : float
        Largest estimate expected without a shift (95 % of permutations), mean over trainings; NaN
        unless each has one.
    """

    layer: str
    channels: Float64
    distance: TrainingAverage
    share: TrainingAverage | None
    null_high: float


@dataclass(frozen=True, slots=True, eq=False)
class NetworkDistances:
    """A network architecture with its layers in the order of data flow.

    Attributes
    ----------
    trainings : tuple of (int or None, int or None)
        Fold and repeat of each training; None for foreign networks.
    images : int
        Number of images in the shifted set.
    """

    arch: str | None
    encoder: str | None
    pruning: str
    trainings: tuple[tuple[int | None, int | None], ...]
    images: int
    layers: tuple[LayerDistance, ...]

    @property
    def family(self) -> str:
        """Encoder, with the architecture unless it is ``unet``."""
        return architecture_family(self.arch, self.encoder)

    @property
    def name(self) -> str:
        """Encoder and pruning; ``network`` if both are unknown."""
        return f"{self.family} {self.pruning}".strip() or "network"

    @property
    def skips(self) -> tuple[int, ...]:
        """Levels of the remaining skip connections, see :func:`levels_of`."""
        return levels_of(self.pruning)


def levels_of(pruning: str) -> tuple[int, ...]:
    """Levels of the remaining skip connections, from the label of a pruning; none if unknown.

    Examples
    --------
    >>> levels_of("L2-pruned"), levels_of("skips-1+3"), levels_of("dense")
    ((3, 4), (1, 3), ())
    """
    if pruning == "baseline":
        return SKIP_LEVELS
    match = _LABEL.fullmatch(pruning)
    if match is None:
        return ()
    if match[1]:
        return SKIP_LEVELS[int(match[1]) :]
    return tuple(int(level) for level in match[2].split("+"))


@dataclass(frozen=True, slots=True, eq=False)
class ShiftDistances:
    """One shift against its reference, by one metric and binning, for all architectures.

    ``facts`` is the first of its rows, which share dataset, domains, shifts, metric and bins.
    """

    facts: Mapping[str, Any]
    networks: tuple[NetworkDistances, ...]
    cautions: tuple[Caution, ...] = ()

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers of any of the networks, in data flow, then others by first appearance."""
        names = (layer.layer for network in self.networks for layer in network.layers)
        return tuple(in_data_flow(names))

    def select_layers(self, chosen: Callable[[str], bool]) -> ShiftDistances:
        """Return the distances of some layers, without networks that have none of them."""
        parts = (
            replace(network, layers=tuple(d for d in network.layers if chosen(d.layer)))
            for network in self.networks
        )
        return replace(self, networks=tuple(part for part in parts if part.layers))


# Distances of channels, layer by layer


def read_distances(layers: _Table, channels: _Table) -> list[ShiftDistances]:
    """Group the rows of shift tables by comparison, and average over trainings.

    Parameters
    ----------
    layers : mapping of column name to values
        The columns :data:`LAYER_COLUMNS`, a row for each layer.
    channels : mapping of column name to values
        :data:`CHANNEL_KEYS`, and as arrays ``channel`` (NaN for the layer itself, which is left
        out), ``value`` and ``corrected``; an entry for each group.

    Returns
    -------
    list of ShiftDistances
        In the order of first appearance. Duplicate measurements, in two tables or of one store
        under two names, count once. Distances are the estimates, corrected for the bias of finite
        samples; if a table has none (metrics without statistics), the plain values. NaN for
        unresolved layers.
    """
    arrays = _channel_arrays(channels)
    empty = np.empty(0)
    groups: dict[tuple[Any, ...], dict[tuple[Any, ...], _Row]] = {}
    for values in zip(*layers.values(), strict=True):
        row = dict(zip(layers, values, strict=True))
        values_of_row = arrays.get(tuple(row[name] for name in CHANNEL_KEYS), empty)
        row["channels"] = empty if _is_unresolved(row) else values_of_row
        # Foreign features are identified only by the two sets that were compared.
        stores = () if row["shift"] is not None else (row["reference"], row["other"], *_pair(row))
        key = (*(row[name] for name in _REFERENCE + _OTHER + _BINNED + _SPLITS), *stores)
        groups.setdefault(key, {}).setdefault((*_pair(row), row["layer"]), row)
    return [_shift_distances(list(group.values())) for group in groups.values()]


def _channel_arrays(channels: _Table) -> dict[tuple[Any, ...], Float64]:
    parts: dict[tuple[Any, ...], list[tuple[Float64, Float64]]] = {}
    columns = [channels[name] for name in (*CHANNEL_KEYS, "channel", "value", "corrected")]
    for *key, numbers, values, corrected in zip(*columns, strict=True):
        estimated = not np.isnan(corrected).all()
        parts.setdefault(tuple(key), []).append((numbers, corrected if estimated else values))
    arrays = {}
    for group, pieces in parts.items():
        numbers, values = (np.concatenate(column) for column in zip(*pieces, strict=True))
        known = ~np.isnan(numbers)
        _, first = np.unique(numbers[known], return_index=True)
        arrays[group] = values[known][first]
    return arrays


def _pair(row: _Row) -> tuple[Any, ...]:
    """Return the ids of the two sets, which tell one model's comparison from another's."""
    return row["reference_id"] or row["reference"], row["other_id"] or row["other"]


def _is_unresolved(row: _Row) -> bool:
    """Return whether too few units share values for a valid estimate."""
    return row["corrected"] is None and row["unresolved_channels"] is not None


def _shift_distances(rows: Sequence[_Row]) -> ShiftDistances:
    networks: dict[tuple[str, str], list[_Row]] = {}
    warnings: dict[str, dict[str, None]] = {}
    for row in rows:
        key = (architecture_family(row["arch"], row["encoder"]), row["pruning"] or "")
        networks.setdefault(key, []).append(row)
        for warning in (row["warnings"] or "").split("; "):
            if warning:
                warnings.setdefault(warning, {})[row["layer"]] = None
    layer_count = len({row["layer"] for row in rows})
    cautions = tuple(
        Caution(warning, () if len(layers) == layer_count else tuple(layers))
        for warning, layers in warnings.items()
    )
    return ShiftDistances(rows[0], tuple(map(_network, networks.values())), cautions)


def _network(rows: Sequence[_Row]) -> NetworkDistances:
    trainings = {_pair(row): (row["fold"], row["repeat"]) for row in rows}
    numbers = {pair: number for number, pair in enumerate(trainings)}
    by_layer: dict[str, list[_Row]] = {}
    for row in rows:
        by_layer.setdefault(row["layer"], []).append(row)
    layers = []
    for layer in in_data_flow(by_layer):
        columns = {name: np.full(len(numbers), math.nan) for name in _STATISTICS + _SHARES + _NULL}
        for row in by_layer[layer]:
            for name, column in columns.items():
                column[numbers[_pair(row)]] = math.nan if row[name] is None else row[name]
        plain, means, lows, highs = (columns[name] for name in _STATISTICS)
        if np.isnan(means).all() and not any(map(_is_unresolved, by_layer[layer])):
            means = plain
        excess = _null_excess(columns["null_mean"], columns["null_high"], rows[0]["metric"])
        share = average_trainings(*(columns[name] for name in _SHARES))
        layers.append(
            LayerDistance(
                layer,
                np.concatenate([row["channels"] for row in by_layer[layer]]),
                average_trainings(means, lows, highs),
                share if share.trainings else None,
                average_trainings(means, excess, excess).high,
            )
        )
    first = rows[0]
    return NetworkDistances(
        first["arch"],
        first["encoder"],
        first["pruning"] or "",
        trainings=tuple(trainings.values()),
        images=int(first["n_other"]),
        layers=tuple(layers),
    )


def _null_excess(mean: Float64, high: Float64, metric: str) -> Float64:
    """Return the largest estimate expected without a shift, by training (T,).

    The 95 % quantile of the permuted distances minus their mean, on the scale on which bias is
    corrected: that of the squares for distances whose square is a mean over bins.
    """
    if metric in list(Metric) and Metric(metric).squared:
        return np.asarray(np.sqrt(np.maximum(np.square(high) - np.square(mean), 0.0)))
    return np.asarray(high - mean)


# Measures of whole layers


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure of one layer, averaged over trainings.

    Attributes
    ----------
    value : float
        The corrected one, if known, for the Hellinger distance.
    spread : float
        Standard deviation (n - 1) between trainings.
    interval : (float, float) or None
        Means of the ends over trainings; None unless each has them.
    p_values : tuple of float
        Adjusted over layers, one per training; empty if the measure has none.
    """

    value: float
    spread: float
    interval: tuple[float, float] | None
    p_values: tuple[float, ...]
    folds: int

    @property
    def differs(self) -> bool:
        """True if the sets differ significantly in every training."""
        return bool(self.p_values) and max(self.p_values) < SIGNIFICANT

    @property
    def agrees(self) -> bool:
        """True if the sets differ significantly in no training, or the distance is 0 or less."""
        clear = bool(self.p_values) and min(self.p_values) >= SIGNIFICANT
        return clear or self.value <= 0


@dataclass(frozen=True, slots=True, eq=False)
class ShiftMeasures:
    """One shift or domain against the reference: facts of its first row, measures by layer."""

    facts: _Row
    measures: Mapping[Metric, Mapping[str, Measure]]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """An architecture, with a row for each shift of one domain, or for each domain."""

    arch: str | None
    encoder: str | None
    pruning: str | None
    rows: tuple[ShiftMeasures, ...]

    @property
    def name(self) -> str:
        """Encoder and pruning."""
        return f"{architecture_family(self.arch, self.encoder)} {self.pruning or ''}".strip()

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers in the order of data flow."""
        by_measure = (layers for row in self.rows for layers in row.measures.values())
        return tuple(in_data_flow(layer for layers in by_measure for layer in layers))

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Measures that any row has."""
        return tuple(m for m in MEASURES if any(m in row.measures for row in self.rows))


def channel_metric_rows(table: _Table) -> dict[str, list[Any]]:
    """Return the rows whose metric is one of channels, not of whole layers."""
    rows = [number for number, metric in enumerate(table["metric"]) if metric not in LAYERWISE]
    return {name: [column[number] for number in rows] for name, column in table.items()}


def read_layer_metrics(table: _Table) -> list[Network]:
    """Group the rows of shift tables by architecture and reference, if they have such measures.

    Parameters
    ----------
    table : mapping of column name to values
        The columns :data:`BEYOND_COLUMNS`, a row for each layer. Duplicate measurements count
        once; of several numbers of bins, the Hellinger distance with the first is used. Inputs of
        decoder blocks (:data:`skiptool.names.DECODER_INPUTS`) are left out.
    """
    groups: dict[tuple[Any, ...], dict[tuple[Any, ...], list[_Row]]] = {}
    for values in zip(*(table[name] for name in BEYOND_COLUMNS), strict=True):
        row = dict(zip(BEYOND_COLUMNS, values, strict=True))
        if row["metric"] not in MEASURES or row["layer"] in DECODER_INPUTS:
            continue
        # Domains are rows of one network; shifts of another domain are another network.
        across = row["shift"] == ShiftKind.ORIGINAL and row["domain"] != row["reference_domain"]
        foreign = row["shift"] is None
        network = (
            *(row[name] for name in ("arch", "encoder", "pruning", *_REFERENCE, "reference_split")),
            None if across else row["domain"],
            row["reference"] if foreign else None,
        )
        change = (*(row[name] for name in (*_OTHER, "split")), row["other"] if foreign else None)
        groups.setdefault(network, {}).setdefault(change, []).append(row)
    networks = []
    for (arch, encoder, pruning, *_), changes in groups.items():
        rows = tuple(map(_shift_measures, changes.values()))
        if any(set(row.measures) & set(LAYERWISE) for row in rows):
            networks.append(Network(arch, encoder, pruning, rows))
    return networks


def _shift_measures(rows: Sequence[_Row]) -> ShiftMeasures:
    groups: dict[Metric, dict[str, dict[tuple[Any, ...], _Row]]] = {}
    bins = {row["metric"]: (row["bins"], row["range_rule"]) for row in reversed(rows)}
    for row in rows:
        if (row["bins"], row["range_rule"]) == bins[row["metric"]]:
            layers = groups.setdefault(Metric(row["metric"]), {})
            layers.setdefault(row["layer"], {}).setdefault(_pair(row), row)
    measures = {
        metric: {layer: _measure([*by_pair.values()]) for layer, by_pair in layers.items()}
        for metric, layers in groups.items()
    }
    return ShiftMeasures(rows[0], measures)


def _measure(rows: Sequence[_Row]) -> Measure:
    values = []
    for row in rows:
        value = row["corrected"] if row["metric"] == Metric.HELLINGER else None
        values.append(row["value"] if value is None or math.isnan(value) else value)
    known = [value for value in values if value is not None and not math.isnan(value)]
    value, spread = mean_and_spread(known) if known else (math.nan, math.nan)
    ends = [(row["ci_low"], row["ci_high"]) for row in rows]
    interval = None
    if all(None not in pair for pair in ends):
        low, high = (sum(side) / len(side) for side in zip(*ends, strict=True))
        interval = (low, high)
    p_values = tuple(row["p_adjusted"] for row in rows if row["p_adjusted"] is not None)
    complete = p_values if len(p_values) == len(rows) else ()
    return Measure(value, spread, interval, complete, len(known))
