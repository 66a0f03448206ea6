"""Distances by layer from the rows of shift tables (Fig. 8)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.figures.channels import LayerChannels, Network, layer_order
from skiptool.figures.violin import layer_violins
from skiptool.names import SKIP_LEVELS
from skiptool.records import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Comparison", "comparisons"]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """One shift against its reference, for all architectures measured under it.

    Attributes
    ----------
    title, caption : str
    bins : int
    networks : tuple of Network
        Folds pooled: the channels of all of them, and the mean of their means.
    """

    title: str
    caption: str
    bins: int
    networks: tuple[Network, ...]

    def draw(self) -> Figure:
        """Draw the violins, Fig. 8."""
        return layer_violins(self.networks, title=f"{self.title}, B = {self.bins}")

    def table(self) -> Table:
        """Return the layers' means, eq. (10), as a table."""
        order = list(layer_order(self.networks))
        columns: dict[str, list[str | int | float | None]] = {"layer": [*order]}
        for network in self.networks:
            means = {channels.layer: channels.centre() for channels in network.layers}
            columns[f"{network.encoder} {network.pruning}"] = [means.get(layer) for layer in order]
        return Table(f"Hellinger distance: {self.title}", columns)

    def sentences(self) -> tuple[str, ...]:
        """Say in words where along each network the distance is highest and lowest."""
        sentences = []
        for network in self.networks:
            inner = [found for found in network.layers if found.layer != "input"]
            if not inner:
                continue
            high = max(inner, key=LayerChannels.centre)
            low = min(inner, key=LayerChannels.centre)
            sentences.append(
                f"{network.encoder} {network.pruning}: highest at {high.layer} "
                f"({high.centre():.3f}), lowest at {low.layer} ({low.centre():.3f})."
            )
        return tuple(sentences)


def comparisons(rows: Mapping[str, Sequence[Any]]) -> list[Comparison]:
    """Group the rows of shift tables by what is compared.

    Parameters
    ----------
    rows : mapping of column name to values
        Columns of shift tables, a row for each layer and channel. What was measured in two
        tables counts once.

    Returns
    -------
    list of Comparison
        In the order of first appearance.
    """
    names = list(rows)
    groups: dict[tuple[Any, ...], dict[tuple[Any, ...], dict[str, Any]]] = {}
    for values in zip(*(rows[name] for name in names), strict=True):
        row = dict(zip(names, values, strict=True))
        key, place = (tuple(row.get(name) for name in part) for part in (_COMPARED, _MEASURED))
        groups.setdefault(key, {})[place] = row
    return [_comparison(list(group.values())) for group in groups.values()]


_COMPARED = (
    *("dataset", "reference_domain", "reference_shift", "reference_factor"),
    *("domain", "shift", "factor", "metric", "bins", "range_rule"),
)
"""Columns that make rows one comparison, as far as they are given."""

_MEASURED = ("reference_id", "other_id", "layer", "channel")
"""Columns that tell the rows of one comparison apart."""


def _comparison(group: Sequence[Mapping[str, Any]]) -> Comparison:
    first = group[0]
    domain, reference = first["domain"], first["reference_domain"]
    here, there = _name(first, ""), _name(first, "reference_")
    if domain != reference:
        here, there = f"{domain} {here}", f"{reference} {there}"
    keys = list(dict.fromkeys((row["encoder"], row["pruning"]) for row in group))
    networks = tuple(
        _network(key, [row for row in group if (row["encoder"], row["pruning"]) == key])
        for key in keys
    )
    pairs = {(r["encoder"], r["pruning"], r["reference_id"], r["other_id"]) for r in group}
    folds = max(Counter(pair[:2] for pair in pairs).values())
    caption = (
        f"Hellinger distance of each feature channel between {there} and {here}, layers in the "
        f"order of data flow; {first['n_reference']} and {first['n_other']} images, B = "
        f"{first['bins']} bins over the joint range of each channel, {folds} fold"
        f"{'' if folds == 1 else 's'}. It is never 0 on a finite sample, also without a shift."
    )
    title = f"{here} against {there}" + (f", {domain}" if domain == reference else "")
    return Comparison(title, caption, int(first["bins"]), networks)


def _name(row: Mapping[str, Any], side: str) -> str:
    """Name a shift, ``brightness 0.75``; ``side`` is the head of its columns."""
    factor = row[f"{side}factor"]
    return str(row[f"{side}shift"]) + ("" if factor is None else f" {factor:g}")


def _network(key: tuple[str, str], rows: Sequence[Mapping[str, Any]]) -> Network:
    encoder, pruning = key
    layers = []
    for layer in dict.fromkeys(row["layer"] for row in rows):
        here = [row for row in rows if row["layer"] == layer]
        channels = [row["value"] for row in here if row["channel"] is not None]
        means = [row["value"] for row in here if row["channel"] is None]
        mean = float(np.mean(means)) if means else None
        layers.append(LayerChannels(layer, np.array(channels, dtype=np.float64), mean=mean))
    return Network(pruning, encoder, _skips(pruning), tuple(layers))


_LABEL = re.compile(r"L([1-4])-pruned|skips-([1-4](?:\+[1-4])*)")


def _skips(pruning: str) -> tuple[int, ...]:
    """Levels that stay, from the label that tables carry; none are known of another label."""
    if pruning == "baseline":
        return SKIP_LEVELS
    found = _LABEL.fullmatch(pruning)
    if found is None:
        return ()
    if found[1]:
        return SKIP_LEVELS[int(found[1]) :]
    return tuple(int(level) for level in found[2].split("+"))
