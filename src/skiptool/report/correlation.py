"""Rank correlation of the distance at each layer with the loss of IoU."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from skiptool.analysis import correlation
from skiptool.analysis.correlation import FEWEST_FOR_INTERVAL, Association, Mean
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
_MAX_NAMED: Final = 4
"""Layers named in a sentence; more are counted."""


def correlation_exhibits(
    scores: Sequence[Score],
    layers: Mapping[str, Sequence[Any]],
    *,
    level: float = 0.95,
    seed: int = 0,
) -> list[Exhibit]:
    """Show the loss of IoU against the distance at each layer.

    Parameters
    ----------
    scores, layers
        As for :func:`skiptool.analysis.correlation.join_distances`.
    level, seed : float, int
        Level of the intervals and seed of their resampling.

    Returns
    -------
    list of Exhibit
        For each dataset, split, metric, bins and range rule with at least four shifts: a scatter
        plot for each family of networks, then the ranking of layers in all of them.
    """
    exhibits: list[Exhibit] = []
    associations = correlation.associations(scores, layers, level=level, seed=seed)

    def key(association: Association) -> tuple[object, ...]:
        joined = association.joined
        return *joined.setting[:4], joined.split

    for group in group_by(associations, key).values():
        exhibits += map(scatter_exhibit, group)
        exhibits.append(ranking_exhibit(group))
    return exhibits


# Scatter plots by layer of a family of networks.


def scatter_exhibit(association: Association) -> Exhibit:
    """Show the loss of IoU against the distance at each layer."""
    means = association.means()
    measure = _measure(association)
    title = (
        f"Loss of IoU against {measure} by layer, {_family(association)}, {_images(association)}"
    )
    return Exhibit(
        topic="forecast-by-layer",
        heading=_HEADING,
        title=title,
        caption=_scatter_caption(association, means),
        sentences=_best_layer(association),
        table=Table(f"Rank correlation: {title}", _columns(association)),
        numbers=[
            *_correlation_numbers(association),
            *(number for mean in means for number in _point_numbers(association, mean)),
        ],
        draw=lambda: loss_by_distance(association, measure),
        sources=(Kind.PREDICTIONS, Kind.SHIFT),
        printed=False,
        summary=2,
    )


def _scatter_caption(association: Association, means: Sequence[Mean]) -> str:
    joined = association.joined
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
        f"Distance: {_distance(association)}; each panel has its own axis. Layers are in "
        f"the order of data flow. Point: {point}. ρ: {spearman_text([association])} Framed: the "
        "largest ρ."
    )
    assumed = assumed_text(len(joined.assumed), len(joined.points), label_text(joined.split))
    return " ".join(part for part in (text, assumed, left_out) if part)


def _classes(classes: Sequence[str]) -> str:
    if len(classes) == 1:
        return f"{label_text(classes[0])} IoU"
    return f"mean IoU of {', '.join(map(label_text, classes))}"


def _point_numbers(association: Association, mean: Mean) -> list[Number]:
    setting = association.joined.setting
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
    for layer, value, spread, low, high in zip(association.joined.layers, *columns, strict=True):
        numbers = {"value": value, "sd_folds": spread, "ci_low": low, "ci_high": high}
        rows.append({**facts, **distance, "layer": layer, **numbers})
    return rows


def _best_layer(association: Association) -> list[str]:
    """State the layer whose distance follows the loss best, with its interval."""
    best, family = association.best, _family(association)
    if best is None:
        return [f"{family}: distance or loss of IoU is the same under all shifts."]
    layer = label_text(association.joined.layers[best])
    if math.isnan(association.low[best]):
        value, shifts = float(association.correlation[best]), association.shifts[best]
        reason = (
            f"{shifts} shifts are too few for an interval (at least {FEWEST_FOR_INTERVAL})"
            if shifts < FEWEST_FOR_INTERVAL
            else "the order is perfect, so that resampling gives no interval"
        )
        return [
            f"{family}: the largest rank correlation is at {layer}, "
            f"ρ = {signed_correlation(value)}; {reason}."
        ]
    ends = interval_text(association, best)
    if association.correlation[best] <= 0:
        return [
            f"{family}: the loss of IoU grows with the distance at no layer; largest ρ: {ends} at "
            f"{layer}."
        ]
    zero = " The interval includes 0." if association.low[best] <= 0 else ""
    text = f"{family}: the loss of IoU follows the distance at {layer} best, ρ = {ends}.{zero}"
    rivals = rivals_text(association, best)
    return [text, rivals] if rivals else [text]


def rivals_text(association: Association, best: int) -> str:
    """Name the layers whose intervals overlap that of the best; empty for a single layer."""
    others = [
        index
        for index in range(len(association.joined.layers))
        if index != best and math.isfinite(association.low[index])
    ]
    low, high = association.low[best], association.high[best]
    if not others or math.isnan(low):
        return ""
    near = [
        index
        for index in others
        if association.high[index] >= low and association.low[index] <= high
    ]
    if not near:
        return "Its interval overlaps with that of no other layer."
    names = [label_text(association.joined.layers[index]) for index in near]
    if len(near) > _MAX_NAMED:
        count = f"all {len(others)}" if near == others else f"{len(near)} of the {len(others)}"
        rivals = f"The intervals at {count} other layers overlap"
    elif len(near) == 1:
        rivals = f"The interval at {names[0]} overlaps"
    else:
        rivals = f"The intervals at {', '.join(names)} overlap"
    return f"{rivals} with it: which layer is best is not settled."


# The ranking of layers, families of networks side by side.


def ranking_exhibit(associations: Sequence[Association]) -> Exhibit:
    """Show the rank correlation at each layer for all families."""
    measure = _measure(associations[0])
    title = f"Rank correlation of {measure} and loss of IoU by layer, {_images(associations[0])}"
    columns: dict[str, list[Cell]] = {}
    for association in associations:
        cells: dict[str, list[Cell]] = {
            "network": [_family(association) for _ in association.joined.layers],
            **_columns(association),
        }
        for name, values in cells.items():
            columns.setdefault(name, []).extend(values)
    return Exhibit(
        topic="rank-correlation",
        heading=_HEADING,
        title=title,
        caption=f"Dot: {spearman_text(associations)} The largest value of each panel has a larger "
        f"dot. Distance: {_distance(associations[0])}. Layers are in the order of data flow.",
        sentences=_best_layers(associations),
        table=Table(title, columns, uniform=("network",)),
        numbers=[
            number for association in associations for number in _correlation_numbers(association)
        ],
        draw=lambda: correlation_strip(associations),
        sources=(Kind.PREDICTIONS, Kind.SHIFT),
        summary=1,
    )


def _best_layers(associations: Sequence[Association]) -> list[str]:
    """State the best layer of each family, if two or more have an interval."""
    best = [
        (association, association.best)
        for association in associations
        if association.best is not None and not math.isnan(association.low[association.best])
    ]
    if len(best) < 2:
        return []
    unsettled = sum(_has_rivals(association, layer) for association, layer in best)
    caveat = (
        f" In {unsettled} of {len(best)} which layer is best is not settled." if unsettled else ""
    )
    names = [
        (_family(association), label_text(association.joined.layers[layer]))
        for association, layer in best
    ]
    if len({layer for _, layer in names}) == 1:
        layers = f"{names[0][1]} in all {len(best)} families"
    else:
        layers = ", ".join(f"{layer} ({family})" for family, layer in names)
    return [f"The largest correlation is at {layers}.{caveat}"]


def _has_rivals(association: Association, best: int) -> bool:
    """Return whether another layer is tied with the best."""
    pairs = zip(association.low.tolist(), association.high.tolist(), strict=True)
    ends = [None if math.isnan(low) else (low, high) for low, high in pairs]
    return bool(tied_with(best, association.correlation.tolist(), ends))


# Names and numbers of both.


def _measure(association: Association) -> str:
    return label_text(measure_name(association.joined.setting.metric))


def _family(association: Association) -> str:
    """Name the networks; tables of other programs may not name them."""
    return label_text(association.joined.setting.family) or "networks"


def _images(association: Association) -> str:
    """Name dataset, split and number of bins, by which exhibits differ."""
    joined = association.joined
    dataset, split = label_text(joined.setting.dataset), label_text(joined.split)
    return f"{dataset} {split}{bins_suffix(joined.setting.bins)}"


def _distance(association: Association) -> str:
    setting = association.joined.setting
    return (
        f"{_measure(association)}, mean over the feature channels of a layer, eq. (10), corrected "
        f"for the finite number of images{range_suffix(setting.bins, setting.range_rule)}"
    )


def spearman_text(associations: Sequence[Association]) -> str:
    """Describe the points of a correlation and its interval."""
    points = number_range(
        (number for association in associations for number in association.points), ","
    )
    shifts = number_range(
        (number for association in associations for number in association.shifts), ","
    )
    across_domains = any(
        point.change.kind == "domain"
        for association in associations
        for point in association.joined.points
    )
    unit = "shifts or pairs of domains" if across_domains else "shifts"
    return (
        f"Spearman's rank correlation over n = {points} points, each one trained network under one "
        f"of {shifts} {unit} (prunings, trainings and domains pooled), with "
        f"its {100 * associations[0].level:g} % interval from resampling the {unit} "
        f"(R = {RESAMPLES:,}). "
        f"No interval with fewer than {FEWEST_FOR_INTERVAL} {unit}, or for a perfect order: "
        "resampling would understate the uncertainty."
    )


def _columns(association: Association) -> dict[str, list[Cell]]:
    return {
        "layer": [*association.joined.layers],
        "rho": [*map(nan_to_none, association.correlation.tolist())],
        "ci_low": [*map(nan_to_none, association.low.tolist())],
        "ci_high": [*map(nan_to_none, association.high.tolist())],
        "points": [*association.points],
        "shifts": [*association.shifts],
    }


def _correlation_numbers(association: Association) -> list[Number]:
    """Return the correlations, and the number of shifts behind each, as rows."""
    setting = association.joined.setting
    rows: list[Number] = []
    columns = _columns(association)
    for layer, rho, low, high, points, shifts in zip(*columns.values(), strict=True):
        facts = {
            **setting_columns(setting, metric=True),
            "split": association.joined.split,
            "layer": layer,
        }
        ends = {"ci_low": low, "ci_high": high, "level": association.level, "points": points}
        rows.append({**facts, "quantity": "rank correlation", "value": rho, **ends})
        rows.append({**facts, "quantity": "shifts", "value": float(shifts)})
    return rows
