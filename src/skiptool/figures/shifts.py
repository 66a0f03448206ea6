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
from skiptool.records import Shade, Table, family

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Comparison", "comparisons"]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """One shift against its reference, for all architectures measured under it.

    Attributes
    ----------
    title, caption : str
    measure : str
        What was measured, in words.
    bins : int or None
    networks : tuple of Network
        Folds pooled: the channels of all of them, and the mean of their means.
    """

    title: str
    caption: str
    measure: str
    bins: int | None
    networks: tuple[Network, ...]

    def draw(self) -> Figure:
        """Draw the violins, Fig. 8."""
        bins = "" if self.bins is None else f", B = {self.bins}"
        return layer_violins(self.networks, title=f"{self.measure}: {self.title}{bins}")

    def table(self) -> Table:
        """Return the layers' means, eq. (10), as a table."""
        order = list(layer_order(self.networks))
        columns: dict[str, list[str | int | float | None]] = {"layer": [*order]}
        for network in self.networks:
            means = {channels.layer: channels.centre() for channels in network.layers}
            columns[f"{network.encoder} {network.pruning}"] = [means.get(layer) for layer in order]
        shade = Shade.of([*columns.values()][1:], digits=3)
        groups = tuple(dict.fromkeys(network.encoder for network in self.networks))
        return Table(f"{self.measure}: {self.title}", columns, shade=shade, groups=groups)

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
        if row.get("shift") is None:
            key = (*key, row.get("reference"), row.get("other"))
        groups.setdefault(key, {})[place] = row
    return [_comparison(list(group.values())) for group in groups.values()]


_COMPARED = (
    *("dataset", "reference_domain", "reference_shift", "reference_factor"),
    *("domain", "shift", "factor", "metric", "bins", "range_rule"),
)
"""Columns that make rows one comparison, as far as they are given."""

_MEASURED = ("reference_id", "other_id", "layer", "channel")
"""Columns that tell the rows of one comparison apart."""


_MEASURES = {
    "hellinger": "Hellinger distance",
    "bhattacharyya": "Bhattacharyya distance 1 - BC",
    "jensen-shannon": "Jensen-Shannon distance",
    "total-variation": "Total variation distance",
    "kl": "Kullback-Leibler divergence",
    "kolmogorov-smirnov": "Kolmogorov-Smirnov distance",
    "wasserstein": "Wasserstein distance, in shares of the range",
    "wasserstein-exact": "Wasserstein distance of activations",
    "representation-shift": "Representation shift",
}

_RANGES = {
    "minmax": "equal width over the joint range of each channel",
    "p0.1": "equal width between the 0.1 % and 99.9 % quantiles of each channel",
    "reference": "equal width over the range of the reference in each channel",
    "quantile": "equal shares of all values of each channel",
    "literal-eq5": "equal width, eq. (5) as printed",
}


def _comparison(group: Sequence[Mapping[str, Any]]) -> Comparison:
    first = group[0]
    here, there = _sides(first)
    keys = list(dict.fromkeys(map(_key, group)))
    networks = tuple(_network(key, [row for row in group if _key(row) == key]) for key in keys)
    pairs = {(*_key(row), row["reference_id"], row["other_id"]) for row in group}
    folds = max(Counter(pair[:2] for pair in pairs).values())
    measure = _MEASURES.get(first["metric"], str(first["metric"]))
    bins = "" if first["bins"] is None else f", B = {first['bins']} bins of "
    caption = (
        f"{measure} of each feature channel between {there} and {here}, layers in the order of "
        f"data flow; {first['n_reference']} and {first['n_other']} images"
        f"{bins}{_RANGES.get(first['range_rule'], '')}, {folds} fold{'' if folds == 1 else 's'}. "
        "It is never 0 on a finite sample, also without a shift"
    )
    if any(layer.null for network in networks for layer in network.layers):
        caption += (
            ": 95 % of the means between images whose sets were drawn by lot are within the "
            f"shaded band ({first['permutations']} relabellings)"
        )
    same = first["domain"] == first["reference_domain"] and first["domain"] is not None
    title = f"{here} against {there}" + (f", {first['domain']}" if same else "")
    size = None if first["bins"] is None else int(first["bins"])
    return Comparison(title, f"{caption}.", measure, size, networks)


def _sides(row: Mapping[str, Any]) -> tuple[str, str]:
    """Name what is compared by its shifts, with domains that differ; else by its stores."""
    if row["shift"] is None or row["reference_shift"] is None:
        return str(row["other"]), str(row["reference"])
    here, there = _name(row, ""), _name(row, "reference_")
    if row["domain"] != row["reference_domain"]:
        return f"{row['domain']} {here}", f"{row['reference_domain']} {there}"
    return here, there


def _name(row: Mapping[str, Any], side: str) -> str:
    """Name a shift, ``brightness 0.75``; ``side`` is the head of its columns."""
    factor = row[f"{side}factor"]
    return str(row[f"{side}shift"]) + ("" if factor is None else f" {factor:g}")


def _key(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a network is called: encoder (and architecture), and pruning."""
    return family(row.get("arch"), row["encoder"]), row["pruning"] or ""


def _network(key: tuple[str, str], rows: Sequence[Mapping[str, Any]]) -> Network:
    encoder, pruning = key
    layers = []
    for layer in dict.fromkeys(row["layer"] for row in rows):
        here = [row for row in rows if row["layer"] == layer]
        channels = [row["value"] for row in here if row["channel"] is not None]
        whole = [row for row in here if row["channel"] is None]
        mean = float(np.mean([row["value"] for row in whole])) if whole else None
        highs = [row.get("null_high") for row in whole]
        known = [high for high in highs if high is not None]
        null = (0.0, float(np.mean(known))) if known and len(known) == len(highs) else None
        values = np.array(channels, dtype=np.float64)
        layers.append(LayerChannels(layer, values, mean=mean, null=null))
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
