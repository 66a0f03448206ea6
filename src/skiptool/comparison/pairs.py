"""Comparison of pairs of sets through all layers: adjusted p-values, transmission, table rows.

P-values are adjusted over the layers, and the distance of each layer is related to that of the
input.

Transmission
------------
For a layer with corrected distance c_l, transmission is c_l / c_input. Both distances come from the
same images: leaving one unit out changes both, and the interval of the ratio takes their covariance
into account, by Fieller's theorem [1]_.

A ratio to a distance that may be 0 has no bounded interval, and reporting it wherever the input
passes a lenient test selects lucky runs: a true share of 0.33 was reported as 0.76. It is therefore
reported only if the distance of the input is at least :data:`LEAST_INPUT_Z` standard errors above
0, the bias corrections are at most :data:`MOST_BIAS` of it, and each set has at least
:data:`FEWEST_UNITS` units. In simulations the bias was then below 0.02 wherever a share was
reported in at least 5 of 100 runs, and the interval contained the true share in 95 to 100 % of them
(tests/benchmarks/transmission.py).

The layer ``input`` is the image averaged over the cells of the grid (1/32 of its side), so it is
blind to blur, noise, sharpening and displaced colour channels. Such shifts have no transmission,
however much they cost.

References
----------
.. [1] E. C. Fieller, "Some problems in interval estimation", J R Stat Soc B 16(2), 1954.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import groupby
from typing import Any, Final, NamedTuple

import numpy as np

from skiptool.comparison.activations import Activations, Mapper, Settings, vectors_per_image
from skiptool.comparison.buffers import cached_blocks
from skiptool.comparison.layer import Design, PairComparison, measure_layer
from skiptool.comparison.layerwise import check_layerwise, measure_layerwise
from skiptool.comparison.results import ALPHA, LayerResult
from skiptool.comparison.units import (
    BLOCK,
    IMAGE,
    SUBJECT,
    EqualDraw,
    equal_draw,
    images_per_row,
    mismatched_subject,
    paired_units,
    permutable_units,
    subjects_repeat,
    unit_column,
)
from skiptool.distances.binned import DISTANCES
from skiptool.distances.bins import Binning
from skiptool.errors import ArgumentError, MismatchError
from skiptool.names import INPUT_LAYER, Metric, RangeRule, in_data_flow
from skiptool.records import SILENT, Progress
from skiptool.stats.permutation import adjusted_p_values, relabellings

Pair = tuple[int, int]
"""Indices of the reference and of the other set."""

LEAST_INPUT_Z = 8.0
"""Standard errors that the distance of the input must be above 0 for a transmission."""

MOST_BIAS = 0.3
"""Largest bias correction of a layer or of the input, as a share of the input's distance."""

FEWEST_UNITS = 16
"""Fewest units of either set (pairs, if sets are paired) for a transmission."""

_UNSURE: Final = 0.2
"""Standard error of a bias correction, as a share of it: some of the bias remains."""

_LEVEL: Final = 0.95

_MOST_Z: Final = 1e6
"""Standard errors reported for a distance that does not vary at all."""

STATISTICS = (
    "value",
    "corrected",
    "ci_low",
    "ci_high",
    "tested",
    "null_mean",
    "null_high",
    "p_value",
    "effective_bins",
    "range_used",
    "inference_bins",
)
"""Columns of both channels and layers."""

OF_LAYERS = (
    "value_live",
    "p_adjusted",
    "input_value",
    "input_z",
    "transmission",
    "transmission_low",
    "transmission_high",
)
"""Columns of layers only."""

PRINTED = (
    "layer",
    "channel",
    "metric",
    "bins",
    "value",
    "corrected",
    "ci_low",
    "ci_high",
    "tested",
    "null_mean",
    "p_value",
    "p_adjusted",
    "input_value",
    "transmission",
    "transmission_low",
    "transmission_high",
    "value_live",
    "constant_channels",
)
"""Columns printed for people, in this order."""

_STRETCHABLE: Final = (RangeRule.MINMAX, RangeRule.REFERENCE)
"""Range rules that an outlier can stretch."""

_STRETCHED: Final = 0.1
"""Share of the range below which the middle 99.8 % of values count as squeezed by outliers."""


def measure_pairs(
    sets: Sequence[Activations],
    pairs: Sequence[Pair],
    settings: Settings,
    mapper: Mapper,
    progress: Progress = SILENT,
    *,
    keep: bool = True,
) -> tuple[list[Design], list[list[LayerResult]]]:
    """Measure pairs of sets: designs, and results layer by layer, in the order of the pairs.

    Layers are processed one after the other, all pairs in each, and blocks of activations are
    cached, so that every set is read once (unless ``keep`` is off, for work on other machines). A
    pair is measured at the layers that both sets have; :func:`unshared_layers` returns the others.
    """
    designs = []
    for first, second in pairs:
        check_comparable(sets[first], sets[second])
        designs.append(_design(sets[first], sets[second], settings))
        check_layerwise((sets[first], sets[second]), designs[-1], settings)
    shared = [common_layers(sets[first], sets[second]) for first, second in pairs]
    results: list[list[LayerResult]] = [[] for _ in pairs]
    images = [sum(len(sets[index]) for index in pair) for pair in pairs]
    blocks = sum(count * len(layers) for count, layers in zip(images, shared, strict=True))
    with progress.task("hellinger", blocks) as task:
        for layer in in_data_flow(layer for layers in shared for layer in layers):
            numbers = [number for number, layers in enumerate(shared) if layer in layers]
            reread = [pairs[number] for number in numbers] if keep else []
            with cached_blocks(sets, reread, layer, settings.budget // 2) as cached:
                for number in numbers:
                    first, second = pairs[number]
                    pair = (cached[first], cached[second])
                    comparison = PairComparison(pair, designs[number], settings, mapper, task)
                    measured = measure_layer(comparison, layer)
                    measured += measure_layerwise(comparison, layer, measured)
                    results[number] += measured
    for design, measured in zip(designs, results, strict=True):
        _relate_layers(measured, design)
    return designs, results


def check_comparable(reference: Activations, other: Activations) -> None:
    """Raise MismatchError if two sets share no layer, or differ in channels or bins at one."""
    where = f"{other.where} against {reference.where}"
    layers = common_layers(reference, other)
    if not layers:
        first, second = ", ".join(reference.layers), ", ".join(other.layers)
        raise MismatchError(
            f"{where}: no layer in common (the reference has {first}; the other {second}); extract "
            "both with the same --layers"
        )
    for name in layers:
        expected, channels = reference.shape(name)[1], other.shape(name)[1]
        if expected != channels:
            raise MismatchError(
                f"{where}: layer {name} has {channels} channels, the reference {expected}; extract "
                "both with one model"
            )
    check_bins(reference, other)


def common_layers(reference: Activations, other: Activations) -> tuple[str, ...]:
    """Return the layers that both sets have, in the order of the reference."""
    return tuple(name for name in reference.layers if name in other.layers)


def unshared_layers(reference: Activations, other: Activations) -> tuple[str, ...]:
    """Return the layers that only one of two sets has, in data flow."""
    layers = in_data_flow([*reference.layers, *other.layers])
    return tuple(n for n in layers if n not in reference.layers or n not in other.layers)


def _design(reference: Activations, other: Activations, settings: Settings) -> Design:
    sets = (reference, other)
    first, second, paired = paired_units(reference, other, settings)
    # One seed for all pairs: the numbers of a pair do not depend on what else is compared.
    rng = np.random.default_rng(settings.seed)
    requested = 0 if settings.literal else settings.permutations
    tested, warnings = permutable_units(sets, (first, second), paired=paired)
    permutations = requested if tested else 0
    tested = tested or EqualDraw(first, second)
    sizes = (len(tested.reference), len(tested.other))
    relabelled = relabellings(*sizes, permutations, paired=paired, rng=rng)
    labellings = np.concatenate([np.arange(sizes[0], dtype=np.int32)[np.newaxis], relabelled])
    draw = None
    if permutations:
        draw = equal_draw(tested.reference, tested.other, paired=paired, rng=rng)
        if draw is None and (tested.reference is not first or tested.other is not second):
            draw = tested
    image = IMAGE if all(images_per_row(activations) is None for activations in sets) else BLOCK
    unit = unit_column(reference, other, settings) or image
    design = Design(first, second, paired, labellings, unit, draw, settings.seed)
    if not requested:
        warnings = ()
    return replace(design, warnings=(*warnings, *pair_warnings(sets, design)))


def _relate_layers(measured: Sequence[LayerResult], design: Design) -> None:
    """Add transmission and adjusted p-values, separately for each metric and number of bins."""

    def family(result: LayerResult) -> tuple[str, int]:
        return result.metric.value, result.bins or 0

    for _, group in groupby(sorted(measured, key=family), key=family):
        members = list(group)
        add_transmission(members)
        nulls = [(result, result.null) for result in members if result.null is not None]
        if nulls:
            null = np.stack([values for _, values in nulls])
            adjusted = adjusted_p_values(null[:, 0], null[:, 1:])
            for (result, _), value in zip(nulls, adjusted, strict=True):
                result.mean["p_adjusted"] = math.nan if design.least_p > ALPHA else float(value)


# Transmission


class _Moments(NamedTuple):
    """Jackknife variances of a layer and of the input, their covariance, degrees of freedom."""

    layer: float
    source: float
    covariance: float
    freedom: float


def add_transmission(measured: Sequence[LayerResult]) -> None:
    """Add the distances of layers as shares of the distance of the input.

    ``measured`` are all layers of one pair, by one metric with one number of bins. If ``input`` is
    among them, each gets ``input_value``; if that has an estimate also ``input_z``, the distance of
    the input in its standard errors. If a transmission can be reported (see the module), a layer
    gets ``transmission``, ``transmission_low`` and ``transmission_high`` (95 %, at least 0).
    """
    source = next((result for result in measured if result.layer == INPUT_LAYER), None)
    if source is None:
        return
    z = _standard_errors(source)
    for layer in measured:
        layer.mean["input_value"] = source.mean["value"]
        if z is None:
            continue
        layer.mean["input_z"] = z
        bias = max(abs(result.mean["value"] - result.estimate) for result in (layer, source))
        units = min(map(len, source.replicates))
        if z >= LEAST_INPUT_Z and bias <= MOST_BIAS * source.estimate and units >= FEWEST_UNITS:
            ratio = layer.estimate / source.estimate
            ends = (1.0, 1.0) if layer is source else _fieller(layer, source)
            if ends is not None:
                layer.mean["transmission"] = max(0.0, ratio)
                layer.mean["transmission_low"] = max(0.0, ends[0])
                layer.mean["transmission_high"] = max(0.0, ends[1])


def _standard_errors(source: LayerResult) -> float | None:
    """Return the number of standard errors a distance is above 0; None without an estimate."""
    if not source.replicates or not math.isfinite(source.estimate):
        return None
    variance = _moments(source, source).source
    if source.estimate <= 0 or not math.isfinite(variance):
        return 0.0
    return source.estimate / math.sqrt(variance) if variance > 0 else _MOST_Z


def _fieller(layer: LayerResult, source: LayerResult) -> tuple[float, float] | None:
    """Return the lowest and highest ratio r for which layer - r * source is compatible with 0."""
    from scipy.special import stdtrit  # lazy, as in `skiptool.stats.jackknife`

    moments = _moments(layer, source)
    square = float(stdtrit(moments.freedom, (1 + _LEVEL) / 2)) ** 2
    a = source.estimate**2 - square * moments.source
    b = layer.estimate * source.estimate - square * moments.covariance
    c = layer.estimate**2 - square * moments.layer
    if not a > 0:
        return None
    root = math.sqrt(max(0.0, b * b - a * c))
    return (b - root) / a, (b + root) / a


def _moments(layer: LayerResult, source: LayerResult) -> _Moments:
    """Jackknife over the units of one set, then of the other; over pairs if sets are paired.

    Degrees of freedom are those of layer - ratio * source (Welch and Satterthwaite).
    """
    ratio = layer.estimate / source.estimate if source.estimate > 0 else 0.0
    layers = sources = covariance = residuals = below = 0.0
    for own, other in zip(layer.replicates, source.replicates, strict=True):
        units = len(own)
        one, two = own - own.mean(), other - other.mean()
        residual = (two if layer is source else one - ratio * two) * math.sqrt((units - 1) / units)
        scale = (units - 1) / units
        layers += scale * float(one @ one)
        sources += scale * float(two @ two)
        covariance += scale * float(one @ two)
        residuals += float(residual @ residual)
        below += float(residual @ residual) ** 2 / max(units - 1, 1)
    freedom = residuals**2 / below if below > 0 else 1.0
    layers += (_UNSURE * (layer.mean["value"] - layer.estimate)) ** 2
    sources += (_UNSURE * (source.mean["value"] - source.estimate)) ** 2
    return _Moments(layers, sources, layers if layer is source else covariance, freedom)


# Rows of a shift table


def result_columns(measured: LayerResult, design: Design) -> dict[str, Any]:
    """Return columns of the layer's row, whose channel is None, and of one row per channel.

    These are the columns of a shift table that do not come from a store's attributes. A measure of
    the whole layer (:data:`skiptool.names.LAYERWISE`) has the first row only.
    """
    size = len(measured.constant) if measured.channels else 0
    unresolved: list[int | None] = [None] * (1 + size)
    if (channels := measured.channels.get("unresolved_channels")) is not None:
        layer_unresolved = int(measured.mean["unresolved_channels"])
        unresolved = [layer_unresolved, *channels.astype(int).tolist()]
    warnings = "; ".join([*design.warnings, *layer_warnings(measured, design)]) or None
    columns: dict[str, Any] = {
        "layer": measured.layer,
        "layer_index": measured.index,
        "channel": [None, *range(size)],
        "metric": measured.metric.value,
        "bins": measured.bins,
        "range_rule": None if measured.range_rule is None else measured.range_rule.value,
        "constant_channels": [
            int(measured.constant.sum()),
            *measured.constant[:size].astype(int).tolist(),
        ],
        "unresolved_channels": unresolved,
        "warnings": [warnings] + [None] * size,
    }
    for name in (*STATISTICS, *OF_LAYERS):
        of_channels = measured.channels.get(name) if name in STATISTICS else None
        values = [math.nan] * size if of_channels is None else of_channels.tolist()
        columns[name] = [
            None if math.isnan(value) else value
            for value in (measured.mean.get(name, math.nan), *values)
        ]
    return columns | {
        "paired": design.paired,
        "unit": design.unit,
        "units_reference": len(design.reference),
        "units_other": len(design.other),
        "n_reference": int(design.reference.images.sum()),
        "n_other": int(design.other.images.sum()),
        "permutations": design.permutations,
        "drawn": measured.drawn,
        "skiptool_version": version("skiptool"),
    }


def sort_results(measured: Sequence[LayerResult], settings: Settings) -> list[LayerResult]:
    """Sort results of a pair by metric in the order requested, bins, and layer."""
    rank = {metric: number for number, metric in enumerate(settings.metrics)}
    return sorted(
        measured, key=lambda result: (rank[result.metric], result.bins or 0, result.index)
    )


# Warnings, which are stored in shift tables


def outlier_stretched(measured: LayerResult) -> int:
    """Count live channels whose range outliers stretch to over ten times that of other values."""
    used = measured.channels.get("range_used")
    if used is None:
        return 0
    return int(((used < _STRETCHED) & ~measured.constant).sum())


def pair_warnings(sets: Sequence[Activations], design: Design) -> tuple[str, ...]:
    """Return the warnings about the statistics of a pair that hold for all layers."""
    warnings = []
    for activations in sets if design.unit in (IMAGE, BLOCK) else ():
        if subjects_repeat(activations):
            subjects = len({str(value) for value in activations.columns[SUBJECT]})
            warnings.append(
                f"{len(activations)} {design.unit}s of {subjects} subjects are counted as "
                "independent (pseudo-replication), so p-values and intervals are too small"
            )
    units = f"{len(design.tested.reference)} and {len(design.tested.other)}"
    if design.permutations and design.least_p > ALPHA:
        warnings.append(
            f"no p-value below {ALPHA} is possible with {units} "
            f"{'pairs' if design.paired else 'units'}, so none is given"
        )
    units = f"{len(design.reference)} and {len(design.other)}"
    if min(len(design.reference), len(design.other)) < 2:
        warnings.append(f"an interval needs at least 2 units of each set, not {units}")
    same_data = sets[0].dataset_id is not None and sets[0].dataset_id == sets[1].dataset_id
    name = mismatched_subject(*sets) if same_data and not design.paired else None
    if name is not None:
        warnings.append(
            f"images of one name are of different subjects ({name}, for one), so the sets are "
            "not paired"
        )
    vectors = {
        tuple(vectors_per_image(activations, layer) for activations in sets)
        for layer in common_layers(*sets)
    }
    unequal = sorted(sizes for sizes in vectors if sizes[0] != sizes[1])
    if design.permutations and (design.draw or unequal):
        drawn = [f"{min(sizes)} of the vectors of each image" for sizes in unequal[:1]]
        drawn += ["equally many images of each unit"] if design.draw else []
        warnings.append(f"the test draws {' and '.join(drawn)}, as the sets differ in size")
    return tuple(dict.fromkeys(warnings))


def layer_warnings(measured: LayerResult, design: Design) -> list[str]:
    """Return the warnings about the numbers of one layer."""
    warnings = []
    stretched = outlier_stretched(measured)
    if stretched and measured.range_rule in _STRETCHABLE:
        warnings.append(
            f"a few outlying values stretch the range of {stretched} channels to over ten times "
            "what the other 99.8 % use, which hides shifts"
        )
    if measured.metric is Metric.WASSERSTEIN_EXACT:
        warnings.append("this distance is a plain value, without estimate, interval or test")
    unresolved = int(measured.mean.get("unresolved_channels", 0))
    if unresolved:
        live = len(measured.constant) - int(measured.constant.sum())
        no_interval = np.isnan(measured.mean["ci_high"])
        warnings.append(
            f"{unresolved} of {live} channels vary in too few {design.unit}s to estimate their "
            f"distance{', so there is no interval' if no_interval else ''} (more are needed)"
        )
    return warnings


# Sets that hold counts: they know their bins and nothing else of the values, so whatever needs
# other bins, or the values themselves, is refused before anything is computed.

_ACTIVATIONS: Final = "compare feature stores (extract without --counts)"


def counted_settings(
    sets: Sequence[Activations], settings: Settings, warn: Callable[[str], None]
) -> Settings:
    """Adapt the settings of a comparison in which some sets may hold counts.

    ``warn`` is called if the range of the reference replaces the default one.
    """
    layouts = [
        (activations.where, layout)
        for activations in sets
        if (layout := activations.count_layout(activations.layers[0])) is not None
    ]
    if not layouts:
        return settings
    first = layouts[0][0]
    for metric in settings.metrics:
        if metric not in DISTANCES:
            raise ArgumentError(
                f"--metric {metric.value}: needs activations, but {first} holds counts; drop it, "
                f"or {_ACTIVATIONS}"
            )
    if settings.range_rule not in (RangeRule.MINMAX, RangeRule.REFERENCE):
        options = {RangeRule.QUANTILE: "--bins quantile", RangeRule.LITERAL: "--literal-eq5"}
        option = options.get(settings.range_rule, f"--range {settings.range_rule.value}")
        raise ArgumentError(
            f"{option}: {first} holds counts in bins of equal width of the reference's range; drop "
            f"it, or {_ACTIVATIONS}"
        )
    for where, layout in layouts:
        bins = layout.binning.bins
        if settings.bins != (bins,):
            option = "--sweep-bins" if len(settings.bins) > 1 else "--bins"
            raise ArgumentError(
                f"{option} {', '.join(map(str, settings.bins))}: {where} holds counts in {bins} "
                f"bins; give --bins {bins}, or {_ACTIVATIONS}"
            )
    if settings.range_rule is RangeRule.MINMAX:
        more = "" if len(layouts) == 1 else f" and {len(layouts) - 1} more"
        warn(
            f"{first}{more}: counts have the range of their reference (--range reference), "
            "so that is the range of all distances"
        )
    return replace(settings, range_rule=RangeRule.REFERENCE)


def equal_bins(first: Binning, second: Binning) -> bool:
    """Return whether two binnings of equal width sort all values into the same bins."""
    ranges = np.array_equal(first.low, second.low) and np.array_equal(first.span, second.span)
    return ranges and first.bins == second.bins


def check_bins(reference: Activations, other: Activations) -> None:
    """Raise MismatchError if two sets hold counts in different bins."""
    for layer in (name for name in reference.layers if name in other.layers):
        first, second = reference.count_layout(layer), other.count_layout(layer)
        if first and second and not equal_bins(first.binning, second.binning):
            raise MismatchError(
                f"{other.where} against {reference.where}: layer {layer} was counted in other "
                f"bins; extract one of them again with --ranges of the other (skiptool features "
                f"--counts --ranges {reference.where})"
            )
