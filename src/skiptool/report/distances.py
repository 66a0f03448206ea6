"""Distances by layer (Fig. 8): violins, curves along the network, inputs of the decoder."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from skiptool.analysis.distances import (
    LayerDistance,
    NetworkDistances,
    ShiftDistances,
    TrainingAverage,
    read_distances,
)
from skiptool.figures.curves import MOST_BANDS, LayerCurve, layer_curves
from skiptool.figures.panels import LayerChannels, Network
from skiptool.figures.violin import layer_violins
from skiptool.names import DECODER_INPUTS, INPUT_LAYER, Kind, ShiftKind
from skiptool.records import Shade, Table
from skiptool.report.exhibit import Cell, Exhibit, group_by, layer_numbers, nan_to_none
from skiptool.report.overview import overview_exhibits
from skiptool.report.wording import (
    bins_suffix,
    caution_text,
    compared_names,
    comparison_heading,
    comparison_part,
    comparison_title,
    interval_note,
    measure_name,
    range_suffix,
    sample_counts,
    tied_text,
    tied_with,
    trainings_behind,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HALF: Final = 0.5

_Pick = Callable[[LayerDistance], TrainingAverage | None]


def distance_exhibits(
    layers: Mapping[str, Sequence[Any]], channels: Mapping[str, Sequence[Any]]
) -> list[Exhibit]:
    """Show the distances of shift tables, in the order of the page.

    Parameters
    ----------
    layers, channels : mapping of column name to values
        Rows of layers and gathered channels, see
        :func:`skiptool.analysis.distances.read_distances`. A comparison in two tables counts once.

    Returns
    -------
    list of Exhibit
        An overview of each set of shifts or domains, then for each comparison, as far as measured,
        violins, curves along the network, shares of the input's distance, and inputs of the decoder
        blocks. Comparisons with the same reference are adjacent, by domain and then by shift.
    """
    compared = read_distances(layers, channels)
    bases = list(dict.fromkeys(map(_base, compared)))
    compared.sort(key=lambda shift: (bases.index(_base(shift)), *_shift_order(shift.facts)))
    layerwise = [
        shift.select_layers(lambda layer: layer not in DECODER_INPUTS) for shift in compared
    ]
    exhibits = overview_exhibits([shift for shift in layerwise if shift.networks])
    for shift, along_network, name in zip(compared, layerwise, _names(compared), strict=True):
        if along_network.networks:
            exhibits.append(violin_exhibit(along_network, name))
            exhibits.append(curve_exhibit(along_network, name))
        if any(layer.share for network in along_network.networks for layer in network.layers):
            exhibits.append(curve_exhibit(along_network, name, of_input=True))
        inputs = shift.select_layers(lambda layer: layer in DECODER_INPUTS)
        if inputs.networks:
            exhibits.append(decoder_input_exhibit(inputs, name))
    return exhibits


_BASE: Final = (
    "dataset",
    "reference_domain",
    "reference_shift",
    "reference_factor",
    "domain",
    "reference_split",
    "split",
)


def _base(compared: ShiftDistances) -> tuple[Any, ...]:
    return tuple(compared.facts[name] for name in _BASE)


def _shift_order(facts: Mapping[str, Any]) -> tuple[int, float]:
    kinds = [kind.value for kind in ShiftKind]
    rank = kinds.index(facts["shift"]) if facts["shift"] in kinds else len(kinds)
    return rank, facts["factor"] or 0.0


_SETTINGS: Final = ("metric", "bins", "range_rule", "reference_split", "split")
"""Facts in titles that tell comparisons of the same name apart."""


def _names(compared: Sequence[ShiftDistances]) -> list[str]:
    """Name comparisons uniquely, by their dataset or a number if necessary."""
    titles = [comparison_title(shift.facts) for shift in compared]
    datasets: dict[str, set[str | None]] = {}
    for shift, title in zip(compared, titles, strict=True):
        datasets.setdefault(title, set()).add(shift.facts["dataset"])
    names: list[str] = []
    counts: Counter[tuple[Any, ...]] = Counter()
    for shift, title in zip(compared, titles, strict=True):
        name = f"{title} ({shift.facts['dataset']})" if len(datasets[title]) > 1 else title
        settings = (name, *map(shift.facts.get, _SETTINGS))
        counts[settings] += 1
        number = counts[settings]
        names.append(f"{name} ({number})" if number > 1 else name)
    return names


def layer_table(compared: ShiftDistances, title: str, pick: _Pick) -> Table:
    """Lay out a number of each layer, with a column for each architecture; None if unknown."""
    columns: dict[str, list[Cell]] = {"layer": [*compared.layers]}
    for network in compared.networks:
        values = {layer: mean.value for layer, mean in _picked(network, pick).items()}
        columns[network.name] = [
            nan_to_none(values.get(layer, math.nan)) for layer in compared.layers
        ]
    return _shaded(title, columns, compared)


def _shaded(title: str, columns: Mapping[str, Sequence[Cell]], compared: ShiftDistances) -> Table:
    shade = Shade.of([*columns.values()][1:], digits=3)
    groups = tuple(dict.fromkeys(network.family for network in compared.networks))
    return Table(title, columns, shade=shade, groups=groups)


def _picked(network: NetworkDistances, pick: _Pick) -> dict[str, TrainingAverage]:
    picked = ((layer.layer, pick(layer)) for layer in network.layers)
    return {layer: mean for layer, mean in picked if mean is not None}


def _distance(layer: LayerDistance) -> TrainingAverage:
    return layer.distance


def _share(layer: LayerDistance) -> TrainingAverage | None:
    return layer.share


# Violins of the channels, Fig. 8.


def violin_exhibit(compared: ShiftDistances, name: str) -> Exhibit:
    """Show the distances of all channels, by layer and architecture.

    Parameters
    ----------
    name : str
        Name of the comparison, unique on the page.
    """
    facts = compared.facts
    measure = measure_name(facts["metric"])
    networks = violin_networks(compared)
    title = f"{measure}: {name}{bins_suffix(facts['bins'])}"
    return Exhibit(
        topic="distance",
        part=comparison_part(facts),
        heading=comparison_heading(name),
        title=title,
        caption=_violin_caption(compared, measure, networks),
        sentences=_extremes(compared),
        table=layer_table(compared, f"{measure}: {name}", _distance),
        numbers=layer_numbers(compared, "distance", _distance),
        draw=lambda: layer_violins(networks, title=title, measure=measure),
        sources=(Kind.SHIFT,),
    )


def violin_networks(compared: ShiftDistances) -> list[Network]:
    """Return the channels of each network by layer, all trainings pooled."""
    return [
        Network(
            network.pruning, network.family, network.skips, tuple(map(_channels, network.layers))
        )
        for network in compared.networks
    ]


def _channels(layer: LayerDistance) -> LayerChannels:
    null = None if np.isnan(layer.null_high) else (0.0, layer.null_high)
    mean = layer.distance
    return LayerChannels(layer.layer, layer.channels, mean.value, mean.interval, null)


def _violin_caption(compared: ShiftDistances, measure: str, networks: Sequence[Network]) -> str:
    facts = compared.facts
    other, reference = compared_names(facts)
    null = (
        ". Shaded: range of the estimate without a shift (95 % of "
        f"{facts['permutations']} permutations)"
        if any(layer.null for network in networks for layer in network.layers)
        else ""
    )
    note = interval_note(compared)
    return (
        f"{measure} of each feature channel between {reference} and {other}, corrected "
        f"for the bias of finite samples; layers in the order of data flow, "
        f"{sample_counts(facts)}{range_suffix(facts['bins'], facts['range_rule'])}, "
        f"{trainings_behind(compared)}{null}"
        ". Violins: channels of all trainings; dots: estimated means over channels, eq. (10), "
        f"and trainings{f'; bars: {note}' if note else ''}.{caution_text(compared.cautions)}"
    )


def _extremes(compared: ShiftDistances) -> list[str]:
    """State the layers of each network with the highest and the lowest distance."""
    sentences = []
    for network in compared.networks:
        inner = [
            layer
            for layer in network.layers
            if layer.layer != INPUT_LAYER and np.isfinite(layer.distance.value)
        ]
        if not inner:
            continue
        values = [layer.distance.value for layer in inner]
        ends = [layer.distance.interval for layer in inner]
        parts = []
        for word, index in (("highest", np.argmax(values)), ("lowest", np.argmin(values))):
            tied = tied_text([inner[n].layer for n in tied_with(int(index), values, ends)])
            parts.append(f"{word} at {inner[index].layer} ({values[index]:.3f}{tied})")
        sentences.append(f"{network.name}: {', '.join(parts)}.")
    return sentences


# Curves along the network: the distance at each layer, or its share of the input's.

_INSENSITIVE: Final = (
    " Not reported if the distance of the input is not clearly above 0. The input is averaged over "
    "the cells of the grid, which hides most of blur, noise, sharpening and colour displacement."
)


def curve_exhibit(compared: ShiftDistances, name: str, *, of_input: bool = False) -> Exhibit:
    """Show the mean distance along the layers as a line for each architecture.

    Parameters
    ----------
    name : str
        Name of the comparison, unique on the page.
    of_input : bool
        Show each layer's share of the distance at the layer ``input`` instead.
    """
    facts = compared.facts
    measure = measure_name(facts["metric"])
    quantity = f"{measure} in shares of the input's" if of_input else f"{measure} along the network"
    title = f"{quantity}: {name}{bins_suffix(facts['bins'])}"
    pick: _Pick = _share if of_input else _distance
    return Exhibit(
        topic="transmission" if of_input else "layers",
        part=comparison_part(facts),
        heading=comparison_heading(name),
        title=title,
        caption=_curve_caption(compared, measure, of_input=of_input),
        sentences=_transmission(compared) if of_input else _against_baseline(compared),
        table=layer_table(compared, title, pick),
        numbers=layer_numbers(compared, "share of input" if of_input else "distance", pick),
        draw=lambda: _draw_curves(compared, title, measure, of_input=of_input),
        sources=(Kind.SHIFT,),
        printed=False,
    )


def _curve_caption(compared: ShiftDistances, measure: str, *, of_input: bool) -> str:
    facts = compared.facts
    other, reference = compared_names(facts)
    quantity = (
        f"Transmission of the shift: {measure} at each layer, corrected for bias, "
        "divided by that at the input for each training, then averaged"
        if of_input
        else f"{measure} at each layer: estimated mean over channels, eq. (10), corrected for "
        "the bias of finite samples, and over trainings"
    )
    note = interval_note(compared, of_input=of_input)
    families = group_by(compared.networks, lambda network: network.family).values()
    crowded = any(len(networks) > MOST_BANDS for networks in families)
    bands = f". Bands{f' (of at most {MOST_BANDS} lines a panel)' if crowded else ''}: {note}"
    null = (
        f". Grey: range of the estimate without a shift (95 % of {facts['permutations']} "
        "permutations), of the architecture where it is widest"
        if not of_input and any(map(_nulls, compared.networks))
        else ""
    )
    return (
        f"{quantity}, between {reference} and {other}; layers in the order of data flow, "
        f"{sample_counts(facts)}{range_suffix(facts['bins'], facts['range_rule'])}, "
        f"{trainings_behind(compared)}. Brackets: skip connections of the architectures"
        f"{bands if note else ''}{null}."
        f"{_INSENSITIVE if of_input else ''}{caution_text(compared.cautions)}"
    )


def _draw_curves(compared: ShiftDistances, title: str, measure: str, *, of_input: bool) -> Figure:
    curves = [
        _curve(
            network,
            network.family,
            _picked(network, _share if of_input else _distance),
            skips=network.skips,
            nulls={} if of_input else _nulls(network),
        )
        for network in compared.networks
    ]
    return layer_curves(
        curves,
        compared.layers,
        title=title,
        vertical="share of the input's distance" if of_input else measure.split(",")[0],
        mark=_HALF if of_input else None,
    )


def _curve(
    network: NetworkDistances,
    panel: str,
    means: Mapping[str, TrainingAverage],
    *,
    skips: tuple[int, ...] = (),
    nulls: Mapping[str, float] | None = None,
) -> LayerCurve:
    bands = {name: mean.interval for name, mean in means.items() if mean.interval is not None}
    values = {name: mean.value for name, mean in means.items()}
    return LayerCurve(network.pruning, panel, skips, values=values, bands=bands, nulls=nulls or {})


def _nulls(network: NetworkDistances) -> dict[str, float]:
    return {
        layer.layer: layer.null_high for layer in network.layers if not math.isnan(layer.null_high)
    }


def _transmission(compared: ShiftDistances) -> list[str]:
    """State the first layer at which the share of the input's distance is below half."""
    sentences = []
    for network in compared.networks:
        shares = {
            layer: share.value
            for layer, share in _picked(network, _share).items()
            if layer != INPUT_LAYER
        }
        if not shares:
            continue
        below = [layer for layer, share in shares.items() if share < _HALF]
        if not below:
            sentences.append(
                f"{network.name}: stays above half of the input's distance at every layer."
            )
            continue
        first, names = below[0], [*shares]
        text = (
            f"{network.name}: falls below half of the input's distance at {first} "
            f"({shares[first]:.2f})"
        )
        above = [name for name in names[names.index(first) + 1 :] if shares[name] >= _HALF]
        if above:
            layers = ", ".join(f"{name} ({shares[name]:.2f})" for name in above)
            text += f" and rises above it again at {layers}"
        sentences.append(f"{text}.")
    return sentences


def _against_baseline(compared: ShiftDistances) -> list[str]:
    """Compare the distances of each pruned network with those of its baseline."""
    baselines = {net.family: net for net in compared.networks if net.pruning == "baseline"}
    sentences = []
    for network in compared.networks:
        if network.family not in baselines or network.pruning == "baseline":
            continue
        baseline = _picked(baselines[network.family], _distance)
        pairs = [
            (mean.value, baseline[layer].value, layer)
            for layer, mean in _picked(network, _distance).items()
            if layer != INPUT_LAYER
            and layer in baseline
            and math.isfinite(mean.value)
            and math.isfinite(baseline[layer].value)
        ]
        if not pairs:
            continue
        below = sum(pruned < unpruned for pruned, unpruned, _ in pairs)
        pruned, unpruned, layer = max(pairs, key=lambda pair: abs(pair[0] - pair[1]))
        sentences.append(
            f"{network.name}: below the baseline at {below} of {len(pairs)} layers, farthest from "
            f"it at {layer} ({pruned:.3f} against {unpruned:.3f})."
        )
    return sentences


# Inputs of the decoder blocks: contributions of skip connections and of the layers below.

_SIDES: Final = {"skip": "by skip connections", "below": "from below"}
_FROM: Final = ".from_"


def decoder_input_exhibit(compared: ShiftDistances, name: str) -> Exhibit:
    """Show the inputs of decoder blocks for each encoder: by skip connections, and from below.

    Parameters
    ----------
    compared : ShiftDistances
        Restricted to the layers ``skiptool.names.DECODER_INPUTS``.
    name : str
        Name of the comparison, unique on the page.
    """
    facts = compared.facts
    measure = measure_name(facts["metric"])
    title = f"{measure} of what reaches the decoder: {name}{bins_suffix(facts['bins'])}"
    return Exhibit(
        topic="decoder-inputs",
        part=comparison_part(facts),
        heading=comparison_heading(name),
        title=title,
        caption=_decoder_input_caption(compared, measure),
        sentences=_side_contrasts(compared),
        table=_decoder_input_table(compared, title),
        numbers=layer_numbers(compared, "distance", _distance),
        draw=partial(_draw_decoder_inputs, compared, title, measure),
        sources=(Kind.SHIFT,),
        printed=False,
    )


def _decoder_input_caption(compared: ShiftDistances, measure: str) -> str:
    facts = compared.facts
    other, reference = compared_names(facts)
    note = interval_note(compared)
    bands = f" Bands: {note}." if note else ""
    return (
        f"{measure} between {reference} and {other} in the response of each decoder "
        "block's first convolution, split by linearity into the contributions of its skip "
        "connection and of the layers below, before normalisation; estimated mean over channels, "
        "eq. (10), corrected for the bias of finite samples, and over trainings; "
        f"{sample_counts(facts)}{range_suffix(facts['bins'], facts['range_rule'])}, "
        f"{trainings_behind(compared)}.{bands} The distance "
        "does not show how much each contributes to their sum; skip substitution does."
        f"{caution_text(compared.cautions)}"
    )


def _draw_decoder_inputs(compared: ShiftDistances, title: str, measure: str) -> Figure:
    families = group_by(compared.networks, lambda network: network.family)
    curves = [
        _curve(network, f"{family}: {panel}", _side(network, side))
        for family, networks in families.items()
        for side, panel in _SIDES.items()
        for network in networks
        if _side(network, side)
    ]
    return layer_curves(curves, _blocks(compared), title=title, vertical=measure.split(",")[0])


def _blocks(compared: ShiftDistances) -> list[str]:
    return list(dict.fromkeys(layer.split(_FROM)[0] for layer in compared.layers))


def _side(network: NetworkDistances, side: str) -> dict[str, TrainingAverage]:
    """Select the distances of one side, by block."""
    suffix = f"{_FROM}{side}"
    return {
        layer.removesuffix(suffix): mean
        for layer, mean in _picked(network, _distance).items()
        if layer.endswith(suffix)
    }


def _decoder_input_table(compared: ShiftDistances, title: str) -> Table:
    blocks = _blocks(compared)
    columns: dict[str, list[Cell]] = {"block": [*blocks]}
    for network in compared.networks:
        for side, panel in _SIDES.items():
            means = _side(network, side)
            if means:
                columns[f"{network.name} {panel}"] = [
                    nan_to_none(means[block].value) if block in means else None for block in blocks
                ]
    return _shaded(title, columns, compared)


def _side_contrasts(compared: ShiftDistances) -> list[str]:
    """State the blocks at which skip connections are shifted more than the layers below."""
    sentences = []
    for network in compared.networks:
        skips, below = (_side(network, side) for side in _SIDES)
        more: list[str] = []
        less: list[str] = []
        overlapping: list[str] = []
        for block, skip in skips.items():
            if block not in below:
                continue
            other = below[block]
            numbers = f"{block} ({skip.value:.3f} against {other.value:.3f})"
            if skip.low > other.high:
                more.append(numbers)
            elif skip.high < other.low:
                less.append(numbers)
            else:
                overlapping.append(block)
        parts = []
        if more:
            blocks = ", ".join(more)
            parts.append(f"skip connection shifted more than the layers below at {blocks}")
        if less:
            parts.append(f"less at {', '.join(less)}")
        if overlapping:
            parts.append(f"intervals overlap at {', '.join(overlapping)}")
        if parts:
            sentences.append(f"{network.name}: {'; '.join(parts)}.")
    return sentences
