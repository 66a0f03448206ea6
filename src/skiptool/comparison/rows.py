"""Results as rows: the columns of a shift table that do not come from a store's attributes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.comparison.binned import Design
from skiptool.comparison.results import ALPHA, Measured
from skiptool.comparison.sets import Activations, Settings, vectors_of
from skiptool.comparison.units import BLOCK, IMAGE, SUBJECT, repeats, stranger
from skiptool.names import Metric, RangeRule

if TYPE_CHECKING:
    from skiptool.records import AnyArray

__all__ = [
    "PRINTED",
    "STRETCHED",
    "columns_of",
    "in_order",
    "layer_warnings",
    "pair_warnings",
    "squeezed",
]

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
