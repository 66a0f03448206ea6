"""Overviews: the distance at each layer under several shifts, or in several domains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from skiptool.analysis.distances import NetworkDistances, ShiftDistances
from skiptool.figures.heatmap import Heat, HeatRow, heat_sheet
from skiptool.figures.style import in_paper_order
from skiptool.names import Kind, ShiftKind, in_data_flow
from skiptool.records import Shade, Table
from skiptool.report.exhibit import (
    Cell,
    Exhibit,
    fact_columns,
    group_by,
    layer_numbers,
    nan_to_none,
)
from skiptool.report.wording import (
    bins_suffix,
    caution_text,
    measure_name,
    number_range,
    range_suffix,
    shift_name,
    splits_suffix,
    tied_text,
    tied_with,
    trainings_behind,
)

if TYPE_CHECKING:
    from skiptool.records import Float64
    from skiptool.report.exhibit import Number

_MAX_MATRICES: Final = 6
_MAX_ROWS: Final = 60  # of cells that fit below one another on a page

_Key: TypeAlias = tuple[str, str]
"""Family and pruning of an architecture."""


@dataclass(frozen=True, slots=True, eq=False)
class _Matrix:
    """Distances of an architecture, or the mean of several.

    Attributes
    ----------
    members : tuple of (family, pruning)
    values : float64, shape (R, L)
        Mean distance over trainings, and over the members; NaN if it was not measured.
    """

    name: str
    members: tuple[_Key, ...]
    values: Float64


def overview_exhibits(compared: Sequence[ShiftDistances]) -> list[Exhibit]:
    """Show each set of shifts of a domain, and each set of domains."""
    named = [
        shift
        for shift in compared
        if shift.facts["shift"] is not None and shift.facts["reference_shift"] is not None
    ]
    return [_exhibit(rows) for rows in group_by(named, _group).values() if len(rows) > 1]


_SAME: Final = (
    "dataset",
    "reference_domain",
    "reference_shift",
    "reference_factor",
    "metric",
    "bins",
    "range_rule",
    "reference_split",
    "split",
)


def _group(compared: ShiftDistances) -> tuple[Any, ...]:
    facts = compared.facts
    across = facts["shift"] == ShiftKind.ORIGINAL and facts["domain"] != facts["reference_domain"]
    return (*(facts[name] for name in _SAME), None if across else facts["domain"])


def _exhibit(rows: Sequence[ShiftDistances]) -> Exhibit:
    facts = rows[0].facts
    by_domain = len({row.facts["domain"] for row in rows}) > 1
    names = [str(r.facts["domain"]) if by_domain else shift_name(r.facts) for r in rows]
    layers = in_data_flow(layer for row in rows for layer in row.layers)
    keys = {_key(network): network for row in rows for network in row.networks}
    matrices = [
        _Matrix(name, members, _values(rows, members, layers))
        for name, members in divide_matrices(list(keys), len(rows))
    ]
    domain = facts["reference_domain"] if by_domain else facts["domain"]
    subject = f"of other domains to {domain}" if by_domain else f"under shifts, {domain}"
    measure = measure_name(facts["metric"])
    title = f"{measure} {subject}{splits_suffix(facts)}{bins_suffix(facts['bins'])}"
    columns: dict[str, list[Cell]] = {
        "architecture": [matrix.name for matrix in matrices for _ in rows],
        "domain" if by_domain else "shift": [name for _ in matrices for name in names],
    }
    for index, layer in enumerate(layers):
        columns[layer] = [
            nan_to_none(value) for matrix in matrices for value in matrix.values[:, index].tolist()
        ]
    shade = Shade.of([columns[layer] for layer in layers], digits=3)
    return Exhibit(
        topic="reach",
        heading="How far shifts reach",
        title=title,
        caption=_caption(rows, matrices, by_domain=by_domain),
        sentences=_extremes(rows, matrices, names, layers[-1]),
        table=Table(title, columns, shade=shade),
        numbers=_numbers(rows, matrices, layers),
        draw=lambda: heat_sheet(
            [Heat(matrix.name, matrix.values) for matrix in matrices],
            [heat_row(row.facts, by_domain=by_domain) for row in rows],
            layers,
            title=title,
            label=measure.split(",")[0],
        ),
        sources=(Kind.SHIFT,),
    )


def heat_row(facts: Mapping[str, Any], *, by_domain: bool) -> HeatRow:
    """Label a row by its domain, or by its factor within the group of its shift."""
    if by_domain:
        return HeatRow(str(facts["domain"]))
    factor = facts["factor"]
    return HeatRow("" if factor is None else f"{factor:g}", str(facts["shift"]))


def _caption(
    rows: Sequence[ShiftDistances], matrices: Sequence[_Matrix], *, by_domain: bool
) -> str:
    facts = rows[0].facts
    images = number_range(int(row.facts["n_other"]) for row in rows)
    several = any(len(matrix.members) > 1 for matrix in matrices)
    across = " and over the named architectures" if several else ""
    reference = f"{facts['reference_domain']} {shift_name(facts, 'reference_')}"
    return (
        f"{measure_name(facts['metric'])} between {'domains' if by_domain else 'shifted images'} "
        f"(rows) and {reference} at each layer (columns, in the order of data flow): estimated "
        "mean over channels, eq. (10), corrected for the bias of finite samples, and over "
        f"{trainings_behind(*rows)}{across}; {facts['n_reference']} and {images} images"
        f"{range_suffix(facts['bins'], facts['range_rule'])}. Colours range from 0 to the "
        f"largest value; intervals and the range without a shift are in the figures of "
        f"each comparison.{caution_text(caution for row in rows for caution in row.cautions)}"
    )


def _extremes(
    rows: Sequence[ShiftDistances], matrices: Sequence[_Matrix], names: Sequence[str], last: str
) -> list[str]:
    """State the rows with the greatest and least distance at the last layer, if distinguishable."""
    sentences = []
    for matrix in matrices:
        values = matrix.values[:, -1]
        if np.isnan(values).all():
            continue
        high, low = int(np.nanargmax(values)), int(np.nanargmin(values))
        intervals = [_interval(row, matrix.members, last) for row in rows]
        tied_high = tied_with(high, values.tolist(), intervals)
        tied_low = tied_with(low, values.tolist(), intervals)
        if high in tied_low or high == low:
            span = f"{values[low]:.3f} to {values[high]:.3f}"
            sentences.append(f"{matrix.name}: at {last}, none reaches clearly farthest ({span}).")
            continue
        sentences.append(
            f"{matrix.name}: at {last}, {names[high]} reaches farthest ({values[high]:.3f}"
            f"{tied_text([names[index] for index in tied_high])}), {names[low]} least "
            f"({values[low]:.3f}{tied_text([names[index] for index in tied_low])})."
        )
    return sentences


def _interval(
    row: ShiftDistances, members: Sequence[_Key], layer: str
) -> tuple[float, float] | None:
    """Return the interval at a layer; None for the mean of several architectures."""
    networks = [network for network in row.networks if _key(network) in members]
    if len(members) > 1 or not networks:
        return None
    for measured in networks[0].layers:
        if measured.layer == layer:
            return measured.distance.interval
    return None


def _numbers(
    rows: Sequence[ShiftDistances], matrices: Sequence[_Matrix], layers: Sequence[str]
) -> list[Number]:
    numbers: list[Number] = []
    for matrix in matrices:
        for row, values in zip(rows, matrix.values, strict=True):
            if len(matrix.members) == 1:
                networks = tuple(net for net in row.networks if _key(net) in matrix.members)
                own = ShiftDistances(row.facts, networks)
                numbers += layer_numbers(own, "distance", lambda layer: layer.distance)
                continue
            facts = {**fact_columns(row.facts), **_member_names(matrix.members)}
            numbers += [
                {**facts, "layer": layer, "quantity": "mean distance", "value": float(value)}
                for layer, value in zip(layers, values, strict=True)
                if not math.isnan(value)
            ]
    return numbers


def _member_names(members: Sequence[_Key]) -> Number:
    """Return the names of averaged architectures as columns of the table ``report``."""
    parts = {
        name: ", ".join(dict.fromkeys(key[index] for key in members if key[index]))
        for index, name in enumerate(("encoder", "pruning"))
    }
    return {name: text for name, text in parts.items() if text}


def _key(network: NetworkDistances) -> _Key:
    return network.family, network.pruning


def _values(
    rows: Sequence[ShiftDistances], members: Sequence[_Key], layers: Sequence[str]
) -> Float64:
    values = np.full((len(members), len(rows), len(layers)), math.nan)
    columns = {layer: index for index, layer in enumerate(layers)}
    for index, row in enumerate(rows):
        for network in row.networks:
            if _key(network) in members:
                own = values[members.index(_key(network)), index]
                for layer in network.layers:
                    own[columns[layer.layer]] = layer.distance.value
    finite = np.isfinite(values)
    total = np.where(finite, values, 0.0).sum(axis=0)
    count = finite.sum(axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), math.nan))


# Division of architectures among matrices.


def divide_matrices(keys: Sequence[_Key], rows: int) -> list[tuple[str, tuple[_Key, ...]]]:
    """Divide architectures among named matrices, so that the overview fits on a page.

    Parameters
    ----------
    keys : sequence of (family, pruning)
        All architectures.
    rows : int
        Rows of each matrix.

    Returns
    -------
    list of (name, keys)
        Each architecture if they fit; else the baseline of each family and the mean of its pruned
        networks; else the mean of all baselines and that of all pruned networks.

    Examples
    --------
    >>> divide_matrices([("r18", "L1-pruned"), ("r18", "baseline")], rows=15)
    [('r18 baseline', (('r18', 'baseline'),)), ('r18 L1-pruned', (('r18', 'L1-pruned'),))]
    >>> divide_matrices([(f"r{n}", "baseline") for n in range(7)], rows=15)[0][0]
    'baseline, mean of 7 encoders'
    """
    families = list(dict.fromkeys(family for family, _ in keys))
    prunings = in_paper_order(pruning for _, pruning in keys)
    ordered = sorted(keys, key=lambda key: (prunings.index(key[1]), families.index(key[0])))
    single = [_named((key,), "") for key in ordered]
    by_family = []
    for baseline in (True, False):
        for family in families:
            by_family += _averaged(ordered, family, baseline=baseline)
    for division in (single, by_family):
        if len(division) <= _MAX_MATRICES and -(-len(division) // 2) * rows <= _MAX_ROWS:
            return division
    return _averaged(ordered, None, baseline=True) + _averaged(ordered, None, baseline=False)


def _averaged(
    keys: Sequence[_Key], family: str | None, *, baseline: bool
) -> list[tuple[str, tuple[_Key, ...]]]:
    """Name the baselines or the pruned networks of a family, or of all; empty without any."""
    members = tuple(
        key for key in keys if family in (None, key[0]) and _is_baseline(key) is baseline
    )
    return [_named(members, family or "")] if members else []


def _is_baseline(key: _Key) -> bool:
    return key[1] == "baseline"


def _named(members: tuple[_Key, ...], family: str) -> tuple[str, tuple[_Key, ...]]:
    if len(members) == 1:
        return " ".join(members[0]).strip(), members
    if all(map(_is_baseline, members)):
        return f"baseline, mean of {len(members)} encoders", members
    return f"{family}, mean of {len(members)} pruned networks".removeprefix(", "), members
