"""Distances along networks from the rows of shift tables, trainings averaged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from skiptool.cautions import Caution
from skiptool.names import Metric, in_data_flow
from skiptool.readings.layers import (
    Compared,
    LayerDistance,
    NetworkDistances,
    averaged,
)
from skiptool.records import family

if TYPE_CHECKING:
    from skiptool.records import Float64

__all__ = ["CHANNEL_KEYS", "LAYER_COLUMNS", "read_distances"]

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
