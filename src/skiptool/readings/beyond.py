"""Measures of whole layers beside the distance of their channels, from the rows of shift tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from skiptool.metrics import mean_and_spread
from skiptool.names import DECODER_INPUTS, LAYERWISE, Metric, ShiftKind, in_data_flow
from skiptool.records import family

__all__ = [
    "BEYOND_COLUMNS",
    "MEASURES",
    "SIGNIFICANT",
    "Changed",
    "Measure",
    "Network",
    "of_channels",
    "read_beyond",
]

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

_Row: TypeAlias = Mapping[str, Any]
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
