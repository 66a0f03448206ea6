"""Distances by layer from the rows of shift tables (Fig. 8), and what goes with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from skiptool.analysis.distances import (
    Averaged,
    Compared,
    LayerDistance,
    NetworkDistances,
    read_distances,
)
from skiptool.figures.curves import MOST_BANDS, LayerCurve, layer_curves
from skiptool.figures.panels import LayerChannels, Network
from skiptool.figures.violin import layer_violins
from skiptool.names import DECODER_INPUTS, INPUT, ShiftKind
from skiptool.records import Shade, Table
from skiptool.report.exhibit import (
    binning,
    bins_of,
    interval_note,
    known,
    measure_of,
    numbers_of,
    part_of,
    samples_of,
    section_of,
    sides,
    tied_text,
    tied_with,
    title_of,
    trained,
    warned,
)
from skiptool.report.overview import overviews

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.records import Table
    from skiptool.report.exhibit import Number, Shown

__all__ = ["Comparison", "DecoderInputs", "LayerCurves", "comparisons", "layer_table"]

# -------------------------------------------------------------------------------------------------
# Curves along the network: the distance at each layer, and how much of the input's is left.


_HALF = 0.5

_BLIND = (
    " Not reported where the distance of the input is not clearly above 0. The input is averaged "
    "over the cells of the grid, where blur, noise, sharpening and displaced colours hardly show."
)


@dataclass(frozen=True, slots=True, eq=False)
class LayerCurves:
    """One line an architecture along the layers.

    Attributes
    ----------
    compared : Compared
    name : str
        What is compared, no two of a page alike.
    of_input : bool
        Draw each layer's share of the distance at the layer ``input``, not the distance.
    """

    compared: Compared
    name: str
    of_input: bool = False

    @property
    def topic(self) -> str:
        """Stem of its anchor."""
        return "transmission" if self.of_input else "layers"

    @property
    def part(self) -> str:
        """What is compared, in the names of its files."""
        return part_of(self.compared.facts)

    @property
    def heading(self) -> str:
        """Section, which it shares with the violins of the same comparison."""
        return section_of(self.name)

    @property
    def title(self) -> str:
        """What is drawn."""
        measure, bins = measure_of(self.compared.facts), bins_of(self.compared.facts)
        if self.of_input:
            return f"{measure} in shares of the input's: {self.name}{bins}"
        return f"{measure} along the network: {self.name}{bins}"

    @property
    def caption(self) -> str:
        """What is seen."""
        facts, measure = self.compared.facts, measure_of(self.compared.facts)
        here, there = sides(facts)
        what = (
            f"How much of the shift is handed on: {measure} at each layer, corrected for bias, "
            "divided by that at the input, training by training, then averaged"
            if self.of_input
            else f"{measure} at each layer: estimated mean over channels, eq. (10), corrected for "
            "the bias of finite samples, and over trainings"
        )
        caption = (
            f"{what}, between {there} and {here}; layers in the order of data flow, "
            f"{samples_of(facts)}{binning(facts)}, "
            f"{trained(self.compared)}. Brackets: skip connections that an architecture has"
        )
        blind = _BLIND if self.of_input else ""
        end = warned(self.compared.cautions)
        return f"{caption}{self._bands()}{self._null()}.{blind}{end}"

    def _bands(self) -> str:
        note = interval_note(self.compared, of_input=self.of_input)
        if not note:
            return ""
        crowded = any(count > MOST_BANDS for count in self._crowds().values())
        where = f" (of at most {MOST_BANDS} lines a panel)" if crowded else ""
        return f". Bands{where}: {note}"

    def _crowds(self) -> dict[str, int]:
        families = [network.family for network in self.compared.networks]
        return {name: families.count(name) for name in families}

    def _null(self) -> str:
        if self.of_input or not any(map(_nulls, self.compared.networks)):
            return ""
        return (
            ". Grey: up to where the estimate may lie without a shift, of the architecture where "
            f"that is highest (95 % of {self.compared.facts['permutations']} permutations)"
        )

    def draw(self) -> Figure:
        """Draw the lines."""
        curves = [
            LayerCurve(
                *(network.pruning, network.family, network.skips),
                values={k: found.value for k, found in self._numbers(network).items()},
                bands={
                    k: found.interval
                    for k, found in self._numbers(network).items()
                    if found.interval is not None
                },
                nulls={} if self.of_input else _nulls(network),
            )
            for network in self.compared.networks
        ]
        measure = measure_of(self.compared.facts).split(",")[0]
        return layer_curves(
            curves,
            self.compared.layers,
            title=self.title,
            vertical="share of the input's distance" if self.of_input else measure,
            mark=_HALF if self.of_input else None,
        )

    def _numbers(self, network: NetworkDistances) -> dict[str, Averaged]:
        picked = ((layer.layer, self._pick(layer)) for layer in network.layers)
        return {layer: found for layer, found in picked if found is not None}

    def _pick(self, layer: LayerDistance) -> Averaged | None:
        return layer.share if self.of_input else layer.distance

    def table(self) -> Table:
        """Return the same numbers as a table, architectures across."""
        return layer_table(self.compared, self.title, self._pick)

    def numbers(self) -> list[Number]:
        """Return the points of the lines with what they rest on."""
        quantity = "share of input" if self.of_input else "distance"
        return numbers_of(self.compared, quantity, self._pick)

    def sentences(self) -> tuple[str, ...]:
        """Say where the share falls below half, or how the pruned networks lie to the baseline."""
        if self.of_input:
            return tuple(filter(None, map(_handed_on, self.compared.networks)))
        baselines = {net.family: net for net in self.compared.networks if net.pruning == "baseline"}
        pairs = [
            (network, baselines[network.family])
            for network in self.compared.networks
            if network.family in baselines and network.pruning != "baseline"
        ]
        return tuple(filter(None, (_beside(network, baseline) for network, baseline in pairs)))


def layer_table(
    compared: Compared, title: str, pick: Callable[[LayerDistance], Averaged | None]
) -> Table:
    """Lay out a number of each layer, architectures across; None where it is not known."""
    columns: dict[str, list[str | int | float | None]] = {"layer": [*compared.layers]}
    for network in compared.networks:
        picked = ((layer.layer, pick(layer)) for layer in network.layers)
        values = {layer: found.value for layer, found in picked if found is not None}
        cells = [values.get(layer, math.nan) for layer in compared.layers]
        columns[network.name] = [None if math.isnan(value) else value for value in cells]
    shade = Shade.of([*columns.values()][1:], digits=3)
    groups = tuple(dict.fromkeys(network.family for network in compared.networks))
    return Table(title, columns, shade=shade, groups=groups)


def _nulls(network: NetworkDistances) -> dict[str, float]:
    return {k.layer: k.null_high for k in network.layers if not math.isnan(k.null_high)}


def _handed_on(network: NetworkDistances) -> str | None:
    inner = [k for k in network.layers if k.layer != INPUT and k.share is not None]
    if not inner:
        return None
    below = [k for k in inner if k.share is not None and k.share.value < _HALF]
    if not below:
        return f"{network.name}: stays above half of the input's distance at every layer."
    first = below[0]
    value = math.nan if first.share is None else first.share.value
    text = (
        f"{network.name}: falls below half of the input's distance at {first.layer} ({value:.2f})"
    )
    behind = inner[inner.index(first) + 1 :]
    above = [k for k in behind if k.share is not None and k.share.value >= _HALF]
    if above:
        told = ", ".join(f"{k.layer} ({k.share.value:.2f})" for k in above if k.share is not None)
        text += f" and is above it again at {told}"
    return f"{text}."


def _beside(network: NetworkDistances, baseline: NetworkDistances) -> str | None:
    values = {layer.layer: layer.distance.value for layer in baseline.layers}
    both = [
        (layer.distance.value, values[layer.layer], layer.layer)
        for layer in network.layers
        if layer.layer != INPUT
        and math.isfinite(layer.distance.value)
        and math.isfinite(values.get(layer.layer, math.nan))
    ]
    if not both:
        return None
    below = sum(here < there for here, there, _ in both)
    here, there, layer = max(both, key=lambda found: abs(found[0] - found[1]))
    return (
        f"{network.name}: below the baseline at {below} of {len(both)} layers, farthest from it at "
        f"{layer} ({here:.3f} against {there:.3f})."
    )


# -------------------------------------------------------------------------------------------------
# What reaches decoder blocks: distances of what skip connections and layers below contribute.


_SIDES: Final = {"skip": "by skip connections", "below": "from below"}
_SPLIT: Final = ".from_"


@dataclass(frozen=True, slots=True, eq=False)
class DecoderInputs:
    """Two panels an encoder: what blocks get by skip connections, and from below.

    Attributes
    ----------
    compared : Compared
        Of its layers those of ``skiptool.names.DECODER_INPUTS`` alone.
    name : str
        What is compared, no two of a page alike.
    """

    compared: Compared
    name: str

    topic: str = "decoder-inputs"

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
        """What is drawn."""
        facts = self.compared.facts
        return f"{measure_of(facts)} of what reaches the decoder: {self.name}{bins_of(facts)}"

    @property
    def caption(self) -> str:
        """What is seen, and what is not."""
        facts = self.compared.facts
        here, there = sides(facts)
        note = interval_note(self.compared)
        bands = f" Bands: {note}." if note else ""
        return (
            f"{measure_of(facts)} between {there} and {here} in the response of each decoder "
            "block's first convolution, split by linearity into what its skip connection and what "
            "the layers below contribute, before the normalisation; estimated mean over channels, "
            "eq. (10), corrected for the bias of finite samples, and over trainings; "
            f"{samples_of(facts)}{binning(facts)}, {trained(self.compared)}.{bands} The distance "
            "does not tell how much each weighs in their sum; skip substitution does."
            f"{warned(self.compared.cautions)}"
        )

    def draw(self) -> Figure:
        """Draw the lines."""
        curves = [
            _curve(network, side, panel)
            for family in dict.fromkeys(network.family for network in self.compared.networks)
            for side, panel in _SIDES.items()
            for network in self.compared.networks
            if network.family == family and _found(network, side)
        ]
        return layer_curves(
            curves,
            self._blocks(),
            title=self.title,
            vertical=measure_of(self.compared.facts).split(",")[0],
        )

    def _blocks(self) -> list[str]:
        return list(dict.fromkeys(layer.split(_SPLIT)[0] for layer in self.compared.layers))

    def table(self) -> Table:
        """Return the same numbers as a table, architectures and sides across."""
        blocks = self._blocks()
        columns: dict[str, list[str | int | float | None]] = {"block": [*blocks]}
        for network in self.compared.networks:
            for side, panel in _SIDES.items():
                found = _found(network, side)
                values = [known(found[b].distance.value) if b in found else None for b in blocks]
                if found:
                    columns[f"{network.name} {panel}"] = [*values]
        shade = Shade.of([*columns.values()][1:], digits=3)
        groups = tuple(dict.fromkeys(network.family for network in self.compared.networks))
        return Table(self.title, columns, shade=shade, groups=groups)

    def numbers(self) -> list[Number]:
        """Return the points of the lines with what they rest on."""
        return numbers_of(self.compared, "distance", lambda layer: layer.distance)

    def sentences(self) -> tuple[str, ...]:
        """Say at which blocks skips bring more shift than the layers below."""
        return tuple(filter(None, map(_said, self.compared.networks)))


def _found(network: NetworkDistances, side: str) -> Mapping[str, LayerDistance]:
    """Layers of one side by the names of their blocks."""
    end = f"{_SPLIT}{side}"
    mine = (layer for layer in network.layers if layer.layer.endswith(end))
    return {layer.layer.removesuffix(end): layer for layer in mine}


def _curve(network: NetworkDistances, side: str, panel: str) -> LayerCurve:
    found: dict[str, Averaged] = {b: k.distance for b, k in _found(network, side).items()}
    return LayerCurve(
        *(network.pruning, f"{network.family}: {panel}", ()),
        values={block: each.value for block, each in found.items()},
        bands={b: each.interval for b, each in found.items() if each.interval is not None},
    )


def _said(network: NetworkDistances) -> str | None:
    skips, below = (_found(network, side) for side in _SIDES)
    more, less, same = [], [], []
    for block, layer in skips.items():
        if block not in below:
            continue
        own, other = layer.distance, below[block].distance
        numbers = f"{block} ({own.value:.3f} against {other.value:.3f})"
        if own.low > other.high:
            more.append(numbers)
        elif own.high < other.low:
            less.append(numbers)
        else:
            same.append(block)
    told = [
        f"{text} {', '.join(blocks)}"
        for text, blocks in (
            ("farther away by the skip connection than from below at", more),
            ("nearer at", less),
            ("intervals overlap at", same),
        )
        if blocks
    ]
    return f"{network.name}: {'; '.join(told)}." if told else None


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Violins of one shift against its reference, for all architectures measured under it.

    Attributes
    ----------
    compared : Compared
    name : str
        What is compared, no two of a page alike.
    topic, heading, title, caption : str
        See :class:`skiptool.report.exhibit.Shown`.
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
