"""Curves along the network: the distance at each layer, and how much of the input's is left."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skiptool.analysis.distances import (
    Averaged,
    Compared,
    LayerDistance,
    NetworkDistances,
)
from skiptool.figures.curves import MOST_BANDS, Curve, layer_curves
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
from skiptool.names import INPUT
from skiptool.records import Shade, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.figures.exhibit import Number

__all__ = ["LayerCurves", "layer_table"]

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
            Curve(
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
