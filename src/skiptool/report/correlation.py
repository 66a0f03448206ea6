"""Distance against loss of IoU: which layer's distance follows the loss, by rank correlation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from skiptool.analysis.correlation import FEWEST_FOR_INTERVAL, Association, Mean, associations
from skiptool.analysis.distances import LEVEL
from skiptool.figures.scatter import correlation_strip, interval_text, loss_by_distance
from skiptool.figures.scatter import signed as signed_correlation
from skiptool.figures.style import label_text
from skiptool.metrics import Score
from skiptool.names import Kind
from skiptool.records import Table
from skiptool.report.exhibit import Cell, Exhibit, group_by, nan_to_none, setting_columns
from skiptool.report.wording import (
    assumed_text,
    bins_suffix,
    measure_name,
    number_range,
    range_suffix,
    tied_with,
)
from skiptool.stats.correlation import RESAMPLES

if TYPE_CHECKING:
    from skiptool.report.exhibit import Number

_HEADING: Final = "Distance and loss of IoU by layer"
_NAMED: Final = 4
"""Layers named in a sentence; more are counted."""


def correlation_exhibits(
    scores: Sequence[Score],
    layers: Mapping[str, Sequence[Any]],
    *,
    level: float = 0.95,
    seed: int = 0,
) -> list[Exhibit]:
    """Show the distance by layer against the loss of IoU.

    Parameters
    ----------
    scores, layers
        As for :func:`skiptool.analysis.correlation.join_distances`.
    level, seed : float, int
        Of the intervals.

    Returns
    -------
    list of Exhibit
        For each dataset, split, metric, bins and range rule with at least four shifts: a scatter
        plot for each family of networks, then the ranking of layers in all of them.
    """
    exhibits: list[Exhibit] = []
    found = associations(scores, layers, level=level, seed=seed)
    for group in group_by(found, lambda one: (*one.joined.setting[:4], one.joined.split)).values():
        exhibits += map(scatter_exhibit, group)
        exhibits.append(ranking_exhibit(group))
    return exhibits


# One scatter plot for each layer, of one family of networks.


def scatter_exhibit(found: Association) -> Exhibit:
    """Show the loss of IoU against the distance at each layer."""
    means = found.means()
    measure = _measure(found)
    title = f"Loss of IoU against {measure} by layer, {_family(found)}, {_images(found)}"
    return Exhibit(
        topic="forecast-by-layer",
        heading=_HEADING,
        title=title,
        caption=_scatter_caption(found, means),
        sentences=_best_layer(found),
        table=Table(f"Rank correlation: {title}", _columns(found)),
        numbers=[
            *_correlation_numbers(found),
            *(number for mean in means for number in _point_numbers(found, mean)),
        ],
        draw=lambda: loss_by_distance(found, measure),
        sources=(Kind.PREDICTIONS, Kind.SHIFT),
        printed=False,
        summary=2,
    )


def _scatter_caption(found: Association, means: Sequence[Mean]) -> str:
    joined = found.joined
    folds = [mean.folds for mean in means]
    point = (
        f"mean over {number_range(folds)} trainings of one pruning under one shift, whiskers: one "
        "standard deviation between trainings"
        if max(folds) > 1
        else "one pruning, trained once, under one shift; horizontal bars: 95 % "
        "interval of the distance"
    )
    images = f", {number_range(joined.images.tolist())} a network" if joined.images.min() else ""
    left_out = (
        f"Left out: {joined.left_out} comparisons without IoU on both sides."
        if joined.left_out
        else ""
    )
    text = (
        f"Loss of {_classes(joined.classes)}: IoU on the reference minus IoU under the shift or in "
        f"the other domain, for the images that the distances are of (reference: "
        f"{label_text(joined.split)} images of {label_text(joined.setting.dataset)}{images}). "
        f"Distance: {_distance(found)}; each panel has its own axis. Layers are in "
        f"the order of data flow. Point: {point}. ρ: {spearman_text([found])} Framed: the "
        "largest ρ."
    )
    assumed = assumed_text(len(joined.assumed), len(joined.points), label_text(joined.split))
    return " ".join(filter(None, (text, assumed, left_out)))


def _classes(classes: Sequence[str]) -> str:
    if len(classes) == 1:
        return f"{label_text(classes[0])} IoU"
    return f"mean IoU of {', '.join(map(label_text, classes))}"


def _point_numbers(found: Association, mean: Mean) -> list[Number]:
    setting = found.joined.setting
    facts = {
        **setting_columns(setting),
        **mean.change._asdict(),
        "pruning": mean.pruning,
        "folds": mean.folds,
    }
    loss: Number = {"quantity": "loss of IoU", "value": mean.loss, "sd_folds": mean.sd_loss}
    distance: Number = {
        **setting_columns(setting, metric=True),
        "quantity": "distance",
        "level": LEVEL,
    }
    rows: list[Number] = [{**facts, **loss}]
    columns = (mean.distances, mean.sd_distances, mean.low, mean.high)
    for layer, value, spread, low, high in zip(found.joined.layers, *columns, strict=True):
        numbers = {"value": value, "sd_folds": spread, "ci_low": low, "ci_high": high}
        rows.append({**facts, **distance, "layer": layer, **numbers})
    return rows


def _best_layer(found: Association) -> list[str]:
    """State which layer's distance follows the loss best, and with what interval."""
    best, family = found.best, _family(found)
    if best is None:
        return [f"{family}: distance or loss of IoU is the same under all shifts."]
    layer = label_text(found.joined.layers[best])
    if math.isnan(found.low[best]):
        value, shifts = float(found.correlation[best]), found.shifts[best]
        why = (
            f"{shifts} shifts are too few for an interval (at least {FEWEST_FOR_INTERVAL})"
            if shifts < FEWEST_FOR_INTERVAL
            else "the order is perfect, so that resampling gives no interval"
        )
        return [
            f"{family}: the largest rank correlation is at {layer}, "
            f"ρ = {signed_correlation(value)}; {why}."
        ]
    ends = interval_text(found, best)
    if found.correlation[best] <= 0:
        none = f"the loss of IoU grows with the distance at no layer; largest ρ: {ends}"
        return [f"{family}: {none} at {layer}."]
    zero = " The interval includes 0." if found.low[best] <= 0 else ""
    text = f"{family}: the loss of IoU follows the distance at {layer} best, ρ = {ends}.{zero}"
    return [*filter(None, (text, rivals_text(found, best)))]


def rivals_text(found: Association, best: int) -> str:
    """Name the layers whose interval overlaps that of the best; empty for a single layer."""
    others = [
        index
        for index in range(len(found.joined.layers))
        if index != best and math.isfinite(found.low[index])
    ]
    low, high = found.low[best], found.high[best]
    if not others or math.isnan(low):
        return ""
    near = [index for index in others if found.high[index] >= low and found.low[index] <= high]
    if not near:
        return "Its interval overlaps with that of no other layer."
    names = [label_text(found.joined.layers[index]) for index in near]
    if len(near) > _NAMED:
        some = f"all {len(others)}" if near == others else f"{len(near)} of the {len(others)}"
        rivals = f"The intervals at {some} other layers overlap"
    elif len(near) == 1:
        rivals = f"The interval at {names[0]} overlaps"
    else:
        rivals = f"The intervals at {', '.join(names)} overlap"
    return f"{rivals} with it: which layer is best is not settled."


# The ranking of layers, families of networks side by side.


def ranking_exhibit(found: Sequence[Association]) -> Exhibit:
    """Show the rank correlation by layer of all families."""
    measure = _measure(found[0])
    title = f"Rank correlation of {measure} and loss of IoU by layer, {_images(found[0])}"
    columns: dict[str, list[Cell]] = {}
    for one in found:
        cells: dict[str, list[Cell]] = {
            "network": [_family(one) for _ in one.joined.layers],
            **_columns(one),
        }
        for name, values in cells.items():
            columns.setdefault(name, []).extend(values)
    return Exhibit(
        topic="rank-correlation",
        heading=_HEADING,
        title=title,
        caption=f"Dot: {spearman_text(found)} The largest value of each panel has a larger dot. "
        f"Distance: {_distance(found[0])}. Layers are in the order of data flow.",
        sentences=_best_layers(found),
        table=Table(title, columns, uniform=("network",)),
        numbers=[number for one in found for number in _correlation_numbers(one)],
        draw=lambda: correlation_strip(found),
        sources=(Kind.PREDICTIONS, Kind.SHIFT),
        summary=1,
    )


def _best_layers(found: Sequence[Association]) -> list[str]:
    """State whether two or more families with an interval agree on the best layer."""
    best = [
        (one, one.best)
        for one in found
        if one.best is not None and not math.isnan(one.low[one.best])
    ]
    if len(best) < 2:
        return []
    unsettled = sum(_has_rivals(one, layer) for one, layer in best)
    rest = (
        f" In {unsettled} of {len(best)} which layer is best is not settled." if unsettled else ""
    )
    names = [(_family(one), label_text(one.joined.layers[layer])) for one, layer in best]
    if len({layer for _, layer in names}) == 1:
        where = f"{names[0][1]} in all {len(best)} families"
    else:
        where = ", ".join(f"{layer} ({family})" for family, layer in names)
    return [f"The largest correlation is at {where}.{rest}"]


def _has_rivals(found: Association, best: int) -> bool:
    """Return whether another layer is tied with the best one."""
    pairs = zip(found.low.tolist(), found.high.tolist(), strict=True)
    ends = [None if math.isnan(low) else (low, high) for low, high in pairs]
    return bool(tied_with(best, found.correlation.tolist(), ends))


# What both share.


def _measure(found: Association) -> str:
    return label_text(measure_name(found.joined.setting.metric))


def _family(found: Association) -> str:
    """Name the networks; feature tables of other programs may not."""
    return label_text(found.joined.setting.family) or "networks"


def _images(found: Association) -> str:
    """Name dataset, split and number of bins, which tell exhibits apart."""
    setting = found.joined.setting
    return (
        f"{label_text(setting.dataset)} {label_text(found.joined.split)}{bins_suffix(setting.bins)}"
    )


def _distance(found: Association) -> str:
    setting = found.joined.setting
    return (
        f"{_measure(found)}, mean over the feature channels of a layer, eq. (10), corrected "
        f"for the finite number of images{range_suffix(setting.bins, setting.range_rule)}"
    )


def spearman_text(found: Sequence[Association]) -> str:
    """Describe what a correlation is computed from, and its interval."""
    points = number_range((number for one in found for number in one.points), ",")
    shifts = number_range((number for one in found for number in one.shifts), ",")
    across = any(point.change.kind == "domain" for one in found for point in one.joined.points)
    what = "shifts or pairs of domains" if across else "shifts"
    return (
        f"Spearman's rank correlation over n = {points} points, each one trained network under one "
        f"of {shifts} {what} (prunings, trainings and domains pooled), with its "
        f"{100 * found[0].level:g} % interval from resampling the {what} (R = {RESAMPLES:,}). No "
        f"interval with fewer than {FEWEST_FOR_INTERVAL} {what}, or for a perfect order: "
        "resampling would understate the uncertainty."
    )


def _columns(found: Association) -> dict[str, list[Cell]]:
    return {
        "layer": [*found.joined.layers],
        "rho": [*map(nan_to_none, found.correlation.tolist())],
        "ci_low": [*map(nan_to_none, found.low.tolist())],
        "ci_high": [*map(nan_to_none, found.high.tolist())],
        "points": [*found.points],
        "shifts": [*found.shifts],
    }


def _correlation_numbers(found: Association) -> list[Number]:
    """Return the correlations, and the number of shifts behind each, as rows."""
    setting = found.joined.setting
    rows: list[Number] = []
    columns = _columns(found)
    for layer, rho, low, high, points, shifts in zip(*columns.values(), strict=True):
        facts = {
            **setting_columns(setting, metric=True),
            "split": found.joined.split,
            "layer": layer,
        }
        ends = {"ci_low": low, "ci_high": high, "level": found.level, "points": points}
        rows.append({**facts, "quantity": "rank correlation", "value": rho, **ends})
        rows.append({**facts, "quantity": "shifts", "value": float(shifts)})
    return rows
