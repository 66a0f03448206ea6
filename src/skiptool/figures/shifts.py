"""Distances by layer from the rows of shift tables (Fig. 8), and what goes with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.analysis.distances import Compared, LayerDistance, read_distances
from skiptool.figures.channels import LayerChannels, Network
from skiptool.figures.decoder_inputs import DecoderInputs
from skiptool.figures.layers import LayerCurves, layer_table
from skiptool.figures.measures import (
    binning,
    bins_of,
    interval_note,
    measure_of,
    numbers_of,
    part_of,
    samples_of,
    section_of,
    sides,
    title_of,
    trained,
    warned,
)
from skiptool.figures.overview import overviews
from skiptool.figures.ties import tied_text, tied_with
from skiptool.figures.violin import layer_violins
from skiptool.names import DECODER_INPUTS, INPUT, ShiftKind

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.figures.exhibit import Number, Shown
    from skiptool.records import Table

__all__ = ["Comparison", "comparisons"]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Violins of one shift against its reference, for all architectures measured under it.

    Attributes
    ----------
    compared : Compared
    name : str
        What is compared, no two of a page alike.
    topic, heading, title, caption : str
        See :class:`skiptool.figures.exhibit.Shown`.
    """

    compared: Compared
    name: str
    topic: str = "distance"

    @property
    def part(self) -> str:
        """What is compared, in the names of its files."""
        return part_of(self.compared.facts)

    @property
    def heading(self) -> str:
        """Section, which it shares with the curves of the same comparison."""
        return section_of(self.name)

    @property
    def title(self) -> str:
        """What is compared, by which measure."""
        facts = self.compared.facts
        return f"{measure_of(facts)}: {self.name}{bins_of(facts)}"

    @property
    def caption(self) -> str:
        """What is seen."""
        facts = self.compared.facts
        here, there = sides(facts)
        caption = (
            f"{measure_of(facts)} of each feature channel between {there} and {here}, corrected "
            f"for the bias of finite samples; layers in the order of data flow, "
            f"{samples_of(facts)}{binning(facts)}, {trained(self.compared)}"
        )
        if any(layer.null for network in self.networks for layer in network.layers):
            caption += (
                ". Shaded: up to where the estimate may lie without a shift (95 % of "
                f"{facts['permutations']} permutations)"
            )
        caption += (
            ". Violins: channels of all trainings; dots: estimated means over channels, eq. (10), "
            "and trainings"
        )
        note = interval_note(self.compared)
        end = f"; bars: {note}." if note else "."
        return f"{caption}{end}{warned(self.compared.cautions)}"

    @property
    def networks(self) -> tuple[Network, ...]:
        """What is drawn, trainings pooled."""
        return tuple(
            Network(
                *(network.pruning, network.family, network.skips),
                tuple(map(_channels, network.layers)),
            )
            for network in self.compared.networks
        )

    def draw(self) -> Figure:
        """Draw the violins, Fig. 8."""
        measure = measure_of(self.compared.facts)
        return layer_violins(self.networks, title=self.title, measure=measure)

    def table(self) -> Table:
        """Return the layers' means, eq. (10), as a table."""
        title = f"{measure_of(self.compared.facts)}: {self.name}"
        return layer_table(self.compared, title, lambda layer: layer.distance)

    def numbers(self) -> list[Number]:
        """Return the layers' means with what they rest on."""
        return numbers_of(self.compared, "distance", lambda layer: layer.distance)

    def sentences(self) -> tuple[str, ...]:
        """Say in words where along each network the distance is highest and lowest."""
        sentences = []
        for network in self.compared.networks:
            inner = [
                found
                for found in network.layers
                if found.layer != INPUT and np.isfinite(found.distance.value)
            ]
            if inner:
                values = [found.distance.value for found in inner]
                ends = [found.distance.interval for found in inner]
                told = []
                for word, place in (("highest", np.argmax(values)), ("lowest", np.argmin(values))):
                    others = tied_with(int(place), values, ends)
                    tied = tied_text([inner[other].layer for other in others])
                    told.append(f"{word} at {inner[place].layer} ({values[place]:.3f}{tied})")
                sentences.append(f"{network.name}: {', '.join(told)}.")
        return tuple(sentences)


def _channels(layer: LayerDistance) -> LayerChannels:
    null = None if np.isnan(layer.null_high) else (0.0, layer.null_high)
    found = layer.distance
    return LayerChannels(layer.layer, layer.channels, found.value, found.interval, null)


def comparisons(
    layers: Mapping[str, Sequence[Any]], channels: Mapping[str, Sequence[Any]]
) -> list[Shown]:
    """Make what shift tables allow, in the order of the page.

    Parameters
    ----------
    layers, channels : mapping of column name to values
        Rows of layers and gathered channels, see
        :func:`skiptool.analysis.distances.read_distances`. What was measured in two tables counts
        once.

    Returns
    -------
    list of Shown
        First an overview of each set of shifts or domains, then for each comparison its violins,
        the curves along the networks, the shares of the input where that was measured, and what
        reaches the decoder's blocks likewise.
        Comparisons with one reference stand together, by domain and then by shift.
    """
    found = read_distances(layers, channels)
    bases = list(dict.fromkeys(map(_base, found)))
    found.sort(key=lambda each: (bases.index(_base(each)), *_shift_order(each.facts)))
    along = [each.only(lambda layer: layer not in DECODER_INPUTS) for each in found]
    shown: list[Shown] = [*overviews([each for each in along if each.networks])]
    names = _names(found)
    for each, within, name in zip(found, along, names, strict=True):
        if within.networks:
            shown.append(Comparison(within, name))
            shown.append(LayerCurves(within, name))
        if any(layer.share for network in within.networks for layer in network.layers):
            shown.append(LayerCurves(within, name, of_input=True))
        inputs = each.only(lambda layer: layer in DECODER_INPUTS)
        if inputs.networks:
            shown.append(DecoderInputs(inputs, name))
    return shown


_BASE = (
    *("dataset", "reference_domain", "reference_shift", "reference_factor", "domain"),
    *("reference_split", "split"),
)


def _base(compared: Compared) -> tuple[Any, ...]:
    return tuple(compared.facts[name] for name in _BASE)


def _shift_order(facts: Mapping[str, Any]) -> tuple[int, float]:
    kinds = [kind.value for kind in ShiftKind]
    rank = kinds.index(facts["shift"]) if facts["shift"] in kinds else len(kinds)
    return rank, facts["factor"] or 0.0


def _names(found: Sequence[Compared]) -> list[str]:
    """Name comparisons, no two alike: with their dataset, or a number, where need be."""
    titles = [title_of(each.facts) for each in found]
    datasets: dict[str, set[str | None]] = {}
    for each, title in zip(found, titles, strict=True):
        datasets.setdefault(title, set()).add(each.facts["dataset"])
    names = [
        f"{title} ({each.facts['dataset']})" if len(datasets[title]) > 1 else title
        for each, title in zip(found, titles, strict=True)
    ]
    measured = [
        (name, *map(each.facts.get, _MEASURED)) for name, each in zip(names, found, strict=True)
    ]
    again = [measured[:place].count(one) for place, one in enumerate(measured)]
    return [
        f"{name} ({number + 1})" if number else name
        for name, number in zip(names, again, strict=True)
    ]


_MEASURED = ("metric", "bins", "range_rule", "reference_split", "split")
"""What titles tell apart beside the names of what is compared."""
