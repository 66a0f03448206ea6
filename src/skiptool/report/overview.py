"""How far shifts reach: the distance by layer under each of several shifts, or on each domain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from skiptool.analysis.distances import Compared, NetworkDistances
from skiptool.figures.heatmap import Heat, HeatRow, heat_sheet
from skiptool.figures.style import in_paper_order
from skiptool.names import ShiftKind, in_data_flow
from skiptool.records import Shade, Table
from skiptool.report.exhibit import (
    binning,
    bins_of,
    facts_of,
    measure_of,
    numbers_of,
    shift_name,
    split_of,
    tied_text,
    tied_with,
    trained,
    warned,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.records import Float64
    from skiptool.report.exhibit import Number

__all__ = ["Block", "Overview", "overviews", "split"]

# -------------------------------------------------------------------------------------------------
# Which architectures have a matrix of their own in an overview, so that a page holds it.


_MOST_BLOCKS: Final = 6
_MOST_ROWS: Final = 60  # of cells, one below the other: what a page holds


def split(keys: Sequence[_Key], rows: int) -> list[tuple[str, tuple[_Key, ...]]]:
    """Choose what has a matrix of its own, and name it.

    Parameters
    ----------
    keys : sequence of (family, pruning)
        All architectures.
    rows : int
        Rows of each matrix.

    Returns
    -------
    list of (name, keys)
        Each architecture, where a page holds so many; else the baseline of each family and the
        mean of its pruned networks; else both over all families.

    Examples
    --------
    >>> split([("r18", "L1-pruned"), ("r18", "baseline")], rows=15)
    [('r18 baseline', (('r18', 'baseline'),)), ('r18 L1-pruned', (('r18', 'L1-pruned'),))]
    >>> split([(f"r{n}", "baseline") for n in range(7)], rows=15)[0][0]
    'baseline, mean of 7 encoders'
    """
    families = list(dict.fromkeys(family for family, _ in keys))
    prunings = in_paper_order(pruning for _, pruning in keys)
    ordered = sorted(keys, key=lambda key: (prunings.index(key[1]), families.index(key[0])))
    each: list[tuple[str, tuple[_Key, ...]]] = [(" ".join(key).strip(), (key,)) for key in ordered]
    by_family = [
        (_called(members, family), members)
        for baseline in (True, False)
        for family in families
        if (
            members := tuple(key for key in ordered if key[0] == family and _plain(key) is baseline)
        )
    ]
    together = [
        (_called(members, ""), members)
        for baseline in (True, False)
        if (members := tuple(key for key in ordered if _plain(key) is baseline))
    ]
    for choice in (each, by_family):
        if len(choice) <= _MOST_BLOCKS and -(-len(choice) // 2) * rows <= _MOST_ROWS:
            return choice
    return together


def _plain(key: _Key) -> bool:
    return key[1] == "baseline"


def _called(members: Sequence[_Key], family: str) -> str:
    if len(members) == 1:
        return " ".join(members[0]).strip()
    if all(map(_plain, members)):
        return f"baseline, mean of {len(members)} encoders"
    return f"{family}, mean of {len(members)} pruned networks".removeprefix(", ")


_Key: TypeAlias = tuple[str, str]
"""Family and pruning: an architecture."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One matrix: an architecture, or the mean of several.

    Attributes
    ----------
    name : str
    members : tuple of (family, pruning)
    values : float64, shape (R, L)
        Mean distance over trainings, and over the members; NaN where it was not measured.
    """

    name: str
    members: tuple[_Key, ...]
    values: Float64


@dataclass(frozen=True, slots=True, eq=False)
class Overview:
    """Distances at all layers under several shifts, or on several domains.

    Attributes
    ----------
    rows : tuple of Compared
        One a shift or domain, in order.
    layers : tuple of str
    blocks : tuple of Block
    """

    rows: tuple[Compared, ...]
    layers: tuple[str, ...]
    blocks: tuple[Block, ...]

    topic: str = "reach"
    heading: str = "How far shifts reach"

    @property
    def title(self) -> str:
        """What is compared with what."""
        facts = self._facts
        domain = facts["reference_domain"] if self._by_domain else facts["domain"]
        of = f"of other domains to {domain}" if self._by_domain else f"under shifts, {domain}"
        return f"{measure_of(facts)} {of}{split_of(facts)}{bins_of(facts)}"

    @property
    def _facts(self) -> Mapping[str, Any]:
        return self.rows[0].facts

    @property
    def _by_domain(self) -> bool:
        return len({row.facts["domain"] for row in self.rows}) > 1

    @property
    def caption(self) -> str:
        """What is seen."""
        facts = self._facts
        images = sorted({int(row.facts["n_other"]) for row in self.rows})
        span = f"{images[0]}" if len(images) == 1 else f"{images[0]} to {images[-1]}"
        several = any(len(block.members) > 1 for block in self.blocks)
        across = " and over the architectures named" if several else ""
        reference = f"{facts['reference_domain']} {shift_name(facts, 'reference_')}"
        return (
            f"{measure_of(facts)} between {'domains' if self._by_domain else 'shifted images'} "
            f"(rows) and {reference} at each layer (columns, in the order of data flow): estimated "
            "mean over channels, eq. (10), corrected for the bias of finite samples, and over "
            f"{trained(*self.rows)}{across}; "
            f"{facts['n_reference']} and {span} images{binning(facts)}. Colours run from 0 to the "
            f"greatest value; intervals and what is possible without a shift are in the figures of "
            f"each comparison.{warned(each for row in self.rows for each in row.cautions)}"
        )

    def draw(self) -> Figure:
        """Draw the matrices."""
        labels = [self._label(row) for row in self.rows]
        return heat_sheet(
            [Heat(block.name, block.values) for block in self.blocks],
            labels,
            self.layers,
            title=self.title,
            label=measure_of(self._facts).split(",")[0],
        )

    def _label(self, row: Compared) -> HeatRow:
        if self._by_domain:
            return HeatRow(str(row.facts["domain"]))
        factor = row.facts["factor"]
        return HeatRow("" if factor is None else f"{factor:g}", str(row.facts["shift"]))

    def _name(self, row: Compared) -> str:
        return str(row.facts["domain"]) if self._by_domain else shift_name(row.facts)

    def table(self) -> Table:
        """Return the numbers of the cells, layers across."""
        columns: dict[str, list[str | int | float | None]] = {
            "architecture": [block.name for block in self.blocks for _ in self.rows],
            "domain" if self._by_domain else "shift": [
                self._name(row) for _ in self.blocks for row in self.rows
            ],
        }
        for place, layer in enumerate(self.layers):
            values = [float(v) for block in self.blocks for v in block.values[:, place]]
            columns[layer] = [None if math.isnan(value) else value for value in values]
        shade = Shade.of([columns[layer] for layer in self.layers], digits=3)
        return Table(self.title, columns, shade=shade)

    def numbers(self) -> list[Number]:
        """Return the numbers of the cells; of architectures that were averaged the names."""
        found: list[Number] = []
        for block in self.blocks:
            for row, values in zip(self.rows, block.values, strict=True):
                if len(block.members) == 1:
                    networks = tuple(n for n in row.networks if _key(n) in block.members)
                    part = Compared(row.facts, networks)
                    found += numbers_of(part, "distance", lambda layer: layer.distance)
                    continue
                of = {**facts_of(row.facts), **_shared(block.members)}
                found += [
                    {**of, "layer": layer, "quantity": "mean distance", "value": float(value)}
                    for layer, value in zip(self.layers, values, strict=True)
                    if not math.isnan(value)
                ]
        return found

    def sentences(self) -> tuple[str, ...]:
        """Say in words what moves the last layer most and least, as far as that can be told."""
        last = self.layers[-1]
        found = []
        for block in self.blocks:
            values = block.values[:, -1]
            if np.isnan(values).all():
                continue
            high, low = (int(place) for place in (np.nanargmax(values), np.nanargmin(values)))
            ends = [_interval(row, block.members, last) for row in self.rows]
            names = [self._name(row) for row in self.rows]
            farthest, least = (tied_with(place, values.tolist(), ends) for place in (high, low))
            if high in least or high == low:
                span = f"{values[low]:.3f} to {values[high]:.3f}"
                found.append(f"{block.name}: at {last}, none reaches clearly farthest ({span}).")
                continue
            found.append(
                f"{block.name}: at {last}, {names[high]} reaches farthest ({values[high]:.3f}"
                f"{tied_text([names[place] for place in farthest])}), {names[low]} least "
                f"({values[low]:.3f}{tied_text([names[place] for place in least])})."
            )
        return tuple(found)


def _interval(row: Compared, members: Sequence[_Key], layer: str) -> tuple[float, float] | None:
    """Return the interval at a layer; None of several architectures, whose mean has none."""
    found = [network for network in row.networks if _key(network) in members]
    if len(members) > 1 or not found:
        return None
    ends = [each.distance.interval for each in found[0].layers if each.layer == layer]
    return ends[0] if ends else None


def overviews(found: Sequence[Compared]) -> list[Overview]:
    """Make an overview of each set of shifts of a domain, and of each set of domains."""
    groups: dict[tuple[Any, ...], list[Compared]] = {}
    for each in found:
        facts = each.facts
        if facts["shift"] is None or facts["reference_shift"] is None:
            continue
        across = (
            facts["shift"] == ShiftKind.ORIGINAL and facts["domain"] != facts["reference_domain"]
        )
        key = (*(facts[name] for name in _SAME), None if across else facts["domain"])
        groups.setdefault(key, []).append(each)
    return [_overview(tuple(rows)) for rows in groups.values() if len(rows) > 1]


_SAME: Final = (
    *("dataset", "reference_domain", "reference_shift", "reference_factor"),
    *("metric", "bins", "range_rule", "reference_split", "split"),
)


def _overview(rows: tuple[Compared, ...]) -> Overview:
    layers = tuple(in_data_flow(layer for row in rows for layer in row.layers))
    keys = {_key(network): network for row in rows for network in row.networks}
    blocks = tuple(
        Block(name, members, _values(rows, members, layers))
        for name, members in split(list(keys), len(rows))
    )
    return Overview(rows, layers, blocks)


def _key(network: NetworkDistances) -> _Key:
    return network.family, network.pruning


def _values(rows: Sequence[Compared], members: Sequence[_Key], layers: Sequence[str]) -> Float64:
    found = np.full((len(members), len(rows), len(layers)), math.nan)
    columns = {layer: place for place, layer in enumerate(layers)}
    for place, row in enumerate(rows):
        for network in row.networks:
            if _key(network) in members:
                here = found[members.index(_key(network)), place]
                for layer in network.layers:
                    here[columns[layer.layer]] = layer.distance.value
    known = np.isfinite(found)
    total = np.where(known, found, 0.0).sum(axis=0)
    count = known.sum(axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), math.nan))


def _shared(members: Sequence[_Key]) -> Number:
    """Return the names of what was averaged as columns of the table ``report``."""
    parts = {
        name: ", ".join(dict.fromkeys(key[place] for key in members if key[place]))
        for place, name in enumerate(("encoder", "pruning"))
    }
    return {name: text for name, text in parts.items() if text}
