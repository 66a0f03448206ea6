"""Sets compared pair by pair, through all layers, with p-values adjusted over the layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from scipy.special import stdtrit

from skiptool.comparison.activations import Activations, Mapper, Settings, vectors_of
from skiptool.comparison.buffers import keeping
from skiptool.comparison.counted import check_bins, permutable
from skiptool.comparison.layer import Comparison, Design, measure_layer
from skiptool.comparison.layerwise import check_layerwise, measure_layerwise
from skiptool.comparison.results import ALPHA, Measured
from skiptool.comparison.units import (
    BLOCK,
    IMAGE,
    SUBJECT,
    Draw,
    equal_draw,
    held_images,
    paired_units,
    repeats,
    stranger,
    unit_column,
)
from skiptool.errors import MismatchError
from skiptool.names import INPUT, Metric, RangeRule, in_data_flow
from skiptool.records import SILENT, Progress
from skiptool.stats.permutation import adjusted_p_values, relabellings

if TYPE_CHECKING:
    from skiptool.records import AnyArray

__all__ = [
    "PRINTED",
    "STRETCHED",
    "SURE",
    "Pair",
    "add_transmission",
    "check_alike",
    "columns_of",
    "common_layers",
    "in_order",
    "layer_warnings",
    "left_out",
    "measure_pairs",
    "pair_warnings",
    "squeezed",
]

# -------------------------------------------------------------------------------------------------
# How much of a shift at the input is left at each layer: distances as shares of the input's.
#
# For a layer l with the corrected distance c_l, its transmission is c_l / c_input. Both are of the
# same images: leaving one unit out changes both, and the interval of the ratio takes their
# covariance
# into account, by Fieller's theorem.
#
# A ratio to a distance that may be 0 has no bounded interval, and reporting it wherever the input
# passes a lenient test selects lucky runs: a true share of 0.33 was reported as 0.76. It is
# therefore
# reported only if the distance of the input is at least :data:`SURE` standard errors above 0, what
# the estimates take off the plain distances is at most :data:`SMALL` of it, and each set has at
# least
# :data:`ENOUGH` units. In simulations the bias was then below 0.02 wherever a share was reported in
# at least 5 of 100 runs, and the interval held the true share in 95 to 100 % of them
# (tests/benchmarks/transmission.py).
#
# The layer ``input`` is the image averaged over the cells of the grid (1/32 of its side), so that
# it
# shows neither blur nor noise, sharpening nor a displaced colour channel. Such shifts have no
# transmission, however much they cost.
#
# References
# ----------
# E. C. Fieller, "Some problems in interval estimation", J R Stat Soc B 16(2), 1954.


SURE = 8.0
"""Standard errors that the distance of the input must be above 0."""

SMALL = 0.3
"""The most that the estimates of a layer and of the input may differ from the plain distances, as a
share of the input's."""

ENOUGH = 16
"""The fewest units of either set (pairs, where sets are paired)."""

_UNSURE: Final = 0.2
"""Standard error of what an estimate takes off, as a share of it: some of the bias stays."""

_LEVEL: Final = 0.95

_MOST: Final = 1e6
"""Standard errors that are told where a distance does not vary at all."""


class _Moments(NamedTuple):
    """Jackknife variances of a layer and of the input, their covariance, degrees of freedom."""

    layer: float
    source: float
    both: float
    freedom: float


def add_transmission(measured: Sequence[Measured]) -> None:
    """Add to the means of layers what they are as shares of the distance of the input.

    Parameters
    ----------
    measured : sequence of Measured
        All layers of one pair, by one metric with one number of bins. Where ``input`` is among
        them, each gets ``input_value``; where it has an estimate also ``input_z``, the distance of
        the input in its standard errors. Where that is at least :data:`SURE`, both estimates
        are near the plain distances (:data:`SMALL`), and the interval has ends, a layer gets
        ``transmission``, ``transmission_low`` and ``transmission_high`` (95 %, cut at 0).
    """
    source = next((each for each in measured if each.layer == INPUT), None)
    if source is None:
        return
    sure = _standard_errors(source)
    for each in measured:
        each.mean["input_value"] = source.mean["value"]
        if sure is not None:
            each.mean["input_z"] = sure
        found = None
        if sure is not None and sure >= SURE and _is_good(each, source):
            found = _share(each, source)
        if found is not None:
            names = ("transmission", "transmission_low", "transmission_high")
            each.mean.update(zip(names, (max(0.0, value) for value in found), strict=True))


def _standard_errors(source: Measured) -> float | None:
    """Return how many standard errors a distance is above 0; None where it has none."""
    if not source.replicates or not math.isfinite(source.estimate):
        return None
    variance = _moments(source, source).source
    if source.estimate <= 0 or not math.isfinite(variance):
        return 0.0
    return source.estimate / math.sqrt(variance) if variance > 0 else _MOST


def _is_good(each: Measured, source: Measured) -> bool:
    """Whether there are enough units and both estimates are near the plain distances."""
    bias = max(abs(one.mean["value"] - one.estimate) for one in (each, source))
    return bias <= SMALL * source.estimate and min(map(len, source.replicates)) >= ENOUGH


def _share(each: Measured, source: Measured) -> tuple[float, float, float] | None:
    """Return the ratio and the ends of its interval; None where that has no ends."""
    if each is source:
        return 1.0, 1.0, 1.0
    moments = _moments(each, source)
    ends = _fieller(each.estimate, source.estimate, moments)
    return None if ends is None else (each.estimate / source.estimate, *ends)


def _fieller(layer: float, source: float, of: _Moments) -> tuple[float, float] | None:
    """Return the ends of the ratios r for which layer - r * source is not told from 0."""
    square = float(stdtrit(of.freedom, (1 + _LEVEL) / 2)) ** 2
    a = source**2 - square * of.source
    b = layer * source - square * of.both
    c = layer**2 - square * of.layer
    if not a > 0:
        return None
    root = math.sqrt(max(0.0, b * b - a * c))
    return (b - root) / a, (b + root) / a


def _moments(layer: Measured, source: Measured) -> _Moments:
    """Jackknife over the units of one set, then of the other; of pairs over pairs.

    Degrees of freedom are those of layer - share * source (Welch and Satterthwaite).
    """
    share = layer.estimate / source.estimate if source.estimate > 0 else 0.0
    layers = sources = both = rests = below = 0.0
    for own, other in zip(layer.replicates, source.replicates, strict=True):
        units = len(own)
        one, two = own - own.mean(), other - other.mean()
        rest = (two if layer is source else one - share * two) * math.sqrt((units - 1) / units)
        scale = (units - 1) / units
        layers += scale * float(one @ one)
        sources += scale * float(two @ two)
        both += scale * float(one @ two)
        rests += float(rest @ rest)
        below += float(rest @ rest) ** 2 / max(units - 1, 1)
    freedom = rests**2 / below if below > 0 else 1.0
    unsure = [_UNSURE * (each.mean["value"] - each.estimate) for each in (layer, source)]
    layers += unsure[0] ** 2
    sources += unsure[1] ** 2
    return _Moments(layers, sources, layers if layer is source else both, freedom)


# -------------------------------------------------------------------------------------------------
# Results as rows: the columns of a shift table that do not come from a store's attributes.


STATISTICS = (
    *("value", "corrected", "ci_low", "ci_high", "tested", "null_mean", "null_high", "p_value"),
    *("effective_bins", "range_used", "inference_bins"),
)
"""Columns that channels and layers share."""

OF_LAYERS = (
    *("value_live", "p_adjusted", "input_value", "input_z"),
    *("transmission", "transmission_low", "transmission_high"),
)

PRINTED = (
    *("layer", "channel", "metric", "bins", "value", "corrected", "ci_low", "ci_high"),
    *("tested", "null_mean", "p_value", "p_adjusted", "input_value"),
    *("transmission", "transmission_low", "transmission_high"),
    *("value_live", "constant_channels"),
)
"""What people read, in this order."""

STRETCHED = (RangeRule.MINMAX, RangeRule.REFERENCE)
"""Range rules that an outlier can stretch."""

SQUEEZED = 0.1
"""Share of the range below which the middle 99.8 % of values count as squeezed."""


def columns_of(measured: Measured, design: Design) -> dict[str, Any]:
    """Return columns of the layer's row, whose channel is None, and of one row a channel.

    A measure of the whole layer (:data:`skiptool.names.LAYERWISE`) has the first row alone.
    """
    size = len(measured.constant) if measured.channels else 0
    constant = [int(measured.constant.sum()), *measured.constant[:size].astype(int)]
    columns: dict[str, Any] = {
        **{"layer": measured.layer, "layer_index": measured.index},
        "channel": [None, *range(size)],
        **{"metric": measured.metric.value, "bins": measured.bins},
        "range_rule": None if measured.range_rule is None else measured.range_rule.value,
        "constant_channels": constant,
        "unresolved_channels": _unresolved(measured, size),
        "warnings": ["; ".join([*design.warnings, *layer_warnings(measured, design)]) or None]
        + [None] * size,
    }
    for name in STATISTICS:
        alone = np.full(size, np.nan)
        columns[name] = _null(measured.mean.get(name), measured.channels.get(name, alone))
    for name in OF_LAYERS:
        columns[name] = _null(measured.mean.get(name), np.full(size, np.nan))
    return columns | {
        "paired": design.paired,
        "unit": design.unit,
        **{"units_reference": len(design.reference), "units_other": len(design.other)},
        "n_reference": int(design.reference.images.sum()),
        "n_other": int(design.other.images.sum()),
        **{"permutations": design.permutations, "drawn": measured.drawn},
        "skiptool_version": version("skiptool"),
    }


def in_order(measured: Sequence[Measured], settings: Settings) -> list[Measured]:
    """Sort results of a pair by metric as they were asked for, bins, and layer."""
    rank = {metric: place for place, metric in enumerate(settings.metrics)}
    return sorted(measured, key=lambda each: (rank[each.metric], each.bins or 0, each.index))


def squeezed(measured: Sequence[Measured]) -> dict[str, int]:
    """Count, by layer, live channels whose range a few values stretch to ten times what is used."""
    found: dict[str, int] = {}
    for each in measured:
        used = each.channels.get("range_used")
        if used is not None:
            channels = int(((used < SQUEEZED) & ~each.constant).sum())
            found[each.layer] = max(channels, found.get(each.layer, 0))
    return {layer: channels for layer, channels in found.items() if channels}


def pair_warnings(sets: Sequence[Activations], design: Design) -> tuple[str, ...]:
    """Return what a reader must know of the statistics of a pair, whatever the layer."""
    found = []
    for each in sets if design.unit in (IMAGE, BLOCK) else ():
        if repeats(each):
            subjects = len({str(value) for value in each.columns[SUBJECT]})
            found.append(
                f"{len(each)} {design.unit}s of {subjects} subjects are counted as independent "
                "(pseudo-replication), so p-values and intervals are too small"
            )
    units = f"{len(design.tested.reference)} and {len(design.tested.other)}"
    if design.permutations and design.least_p > ALPHA:
        found.append(
            f"no p-value below {ALPHA} is possible with {units} "
            f"{'pairs' if design.paired else 'units'}, so none is given"
        )
    units = f"{len(design.reference)} and {len(design.other)}"
    if min(len(design.reference), len(design.other)) < 2:
        found.append(f"an interval needs at least 2 units of each set, not {units}")
    same_data = sets[0].dataset_id is not None and sets[0].dataset_id == sets[1].dataset_id
    strange = stranger(*sets) if same_data and not design.paired else None
    if strange is not None:
        found.append(
            f"images of one name are of different subjects ({strange}, for one), so the sets are "
            "not paired"
        )
    both = [name for name in sets[0].layers if name in sets[1].layers]
    vectors = {tuple(vectors_of(each, name) for each in sets) for name in both}
    unequal = sorted(sizes for sizes in vectors if sizes[0] != sizes[1])
    if design.permutations and (design.draw or unequal):
        what = [f"{min(each)} of the vectors of each image" for each in unequal[:1]]
        what += ["equally many images of each unit"] if design.draw else []
        found.append(f"the test draws {' and '.join(what)}, as the sets differ in size")
    return tuple(dict.fromkeys(found))


def layer_warnings(measured: Measured, design: Design) -> list[str]:
    """Return what a reader must know of the numbers of one layer."""
    found = []
    stretched = squeezed([measured]).get(measured.layer, 0)
    if stretched and measured.range_rule in STRETCHED:
        found.append(
            f"a few outlying values stretch the range of {stretched} channels to over ten times "
            "what the other 99.8 % use, which hides shifts"
        )
    if measured.metric is Metric.WASSERSTEIN_EXACT:
        found.append("this distance is a plain value, without estimate, interval or test")
    unresolved = int(measured.mean.get("unresolved_channels", 0))
    if unresolved:
        live = len(measured.constant) - int(measured.constant.sum())
        none = np.isnan(measured.mean["ci_high"])
        found.append(
            f"{unresolved} of {live} channels vary in too few {design.unit}s to estimate their "
            f"distance{', so there is no interval' if none else ''} (more are needed)"
        )
    return found


def _unresolved(measured: Measured, size: int) -> list[int | None]:
    channels = measured.channels.get("unresolved_channels")
    if channels is None:
        return [None] * (1 + size)
    return [int(measured.mean["unresolved_channels"]), *channels.astype(int).tolist()]


def _null(mean: float | None, channels: AnyArray) -> list[float | None]:
    values = [float("nan") if mean is None else mean, *channels.tolist()]
    return [None if np.isnan(value) else value for value in values]


Pair = tuple[int, int]
"""Places of the reference and of the other set."""


def measure_pairs(
    sets: Sequence[Activations],
    pairs: Sequence[Pair],
    settings: Settings,
    mapper: Mapper,
    progress: Progress = SILENT,
    *,
    keep: bool = True,
) -> tuple[list[Design], list[list[Measured]]]:
    """Measure pairs of sets: designs, and results layer by layer, in the order of the pairs.

    Layers are worked off one after the other, all pairs in each, so that what one pair has read
    serves the next: every set is read once (unless ``keep`` is off, for other machines). A pair is
    measured at the layers that both sets have; :func:`left_out` says which others there are.

    Raises
    ------
    MismatchError
        If the sets of a pair have no layer in common, or other channels, or no pairs of units.
    FormatError
        If activations are damaged or not finite.
    SourceError
        If the disk of temporary files is full.
    """
    designs = []
    for first, second in pairs:
        check_alike(sets[first], sets[second])
        designs.append(_design(sets[first], sets[second], settings))
        check_layerwise((sets[first], sets[second]), designs[-1], settings)
    shared = [common_layers(sets[first], sets[second]) for first, second in pairs]
    found: list[list[Measured]] = [[] for _ in pairs]
    images = [sum(len(sets[i]) for i in pair) for pair in pairs]
    blocks = sum(count * len(layers) for count, layers in zip(images, shared, strict=True))
    with progress.task("hellinger", blocks) as task:
        for layer in in_data_flow(layer for layers in shared for layer in layers):
            here = [place for place, layers in enumerate(shared) if layer in layers]
            again = [pairs[place] for place in here] if keep else []
            with keeping(sets, again, layer, settings.budget // 2) as kept:
                for place in here:
                    first, second = pairs[place]
                    pair = (kept[first], kept[second])
                    comparison = Comparison(pair, designs[place], settings, mapper, task)
                    known = measure_layer(comparison, layer)
                    known += measure_layerwise(pair, layer, designs[place], settings, mapper, known)
                    found[place] += known
    for design, measured in zip(designs, found, strict=True):
        _relate(measured, design)
    return designs, found


def check_alike(reference: Activations, other: Activations) -> None:
    """Refuse two sets without a layer in common, or whose channels or bins differ at one.

    Raises
    ------
    MismatchError
        Says what differs.
    """
    where = f"{other.where} against {reference.where}"
    both = common_layers(reference, other)
    if not both:
        ours, theirs = (", ".join(each.layers) for each in (reference, other))
        raise MismatchError(
            f"{where}: no layer in common (the reference has {ours}; the other {theirs}); extract "
            "both with the same --layers"
        )
    for name in both:
        own, given = (each.shape(name)[1] for each in (reference, other))
        if own != given:
            raise MismatchError(
                f"{where}: layer {name} has {given} channels, the reference {own}; extract both "
                "with one model"
            )
    check_bins(reference, other)


def common_layers(reference: Activations, other: Activations) -> tuple[str, ...]:
    """Return the layers that both sets have, in the order of the reference."""
    return tuple(name for name in reference.layers if name in other.layers)


def left_out(reference: Activations, other: Activations) -> tuple[str, ...]:
    """Return the layers that only one of two sets has, in data flow."""
    both = {*reference.layers} & {*other.layers}
    found = in_data_flow([*reference.layers, *other.layers])
    return tuple(name for name in found if name not in both)


def _design(reference: Activations, other: Activations, settings: Settings) -> Design:
    sets = (reference, other)
    first, second, paired = paired_units(reference, other, settings)
    # One seed for all pairs: a pair's numbers do not depend on what else is compared.
    rng = np.random.default_rng(settings.seed)
    asked = 0 if settings.literal else settings.permutations
    found, told = permutable(sets, (first, second), paired=paired)
    tested, permutations = (found, asked) if found else (Draw(first, second), 0)
    sizes = (len(tested.reference), len(tested.other))
    chosen = relabellings(*sizes, permutations, paired=paired, rng=rng)
    labellings = np.concatenate([np.arange(sizes[0], dtype=np.int32)[np.newaxis], chosen])
    draw = None
    if permutations:
        draw = equal_draw(tested.reference, tested.other, paired=paired, rng=rng)
        if draw is None and (tested.reference is not first or tested.other is not second):
            draw = tested
    image = IMAGE if all(held_images(each) is None for each in sets) else BLOCK
    unit = unit_column(reference, other, settings) or image
    design = Design(first, second, paired, labellings, unit, draw, settings.seed)
    warnings = pair_warnings(sets, design)
    return replace(design, warnings=(*(told if asked else ()), *warnings))


def _relate(measured: Sequence[Measured], design: Design) -> None:
    """Add what layers have together, for each metric and number of bins by itself.

    P-values are adjusted over the layers, distances set beside that of the input.
    """

    def family(each: Measured) -> tuple[str, int]:
        return each.metric.value, each.bins or 0

    for _, members in groupby(sorted(measured, key=family), key=family):
        family_members = list(members)
        add_transmission(family_members)
        layers = [each for each in family_members if each.null is not None]
        if layers:
            null = np.stack([each.null for each in layers if each.null is not None])
            adjusted = adjusted_p_values(null[:, 0], null[:, 1:])
            for each, value in zip(layers, adjusted, strict=True):
                each.mean["p_adjusted"] = float("nan" if design.least_p > ALPHA else value)
