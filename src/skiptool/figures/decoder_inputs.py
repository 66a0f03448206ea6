"""What reaches decoder blocks: distances of what skip connections and layers below contribute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from skiptool.analysis.distances import (
    Averaged,
    Compared,
    LayerDistance,
    NetworkDistances,
)
from skiptool.figures.curves import Curve, layer_curves
from skiptool.figures.exhibit import known
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
    trained,
    warned,
)
from skiptool.records import Shade, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.figures.exhibit import Number

__all__ = ["DecoderInputs"]

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


def _curve(network: NetworkDistances, side: str, panel: str) -> Curve:
    found: dict[str, Averaged] = {b: k.distance for b, k in _found(network, side).items()}
    return Curve(
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
