"""Rank correlations by layer: in words, as a table, as rows of the table ``report``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from skiptool.analysis.correlation import FEWEST_FOR_INTERVAL
from skiptool.figures.measures import binning, measure_of
from skiptool.figures.scatter import signed
from skiptool.figures.style import readable
from skiptool.stats.correlation import RESAMPLES

if TYPE_CHECKING:
    from skiptool.analysis.correlation import Association
    from skiptool.figures.exhibit import Number

__all__ = [
    "Cells",
    "assumed_text",
    "common",
    "correlation_columns",
    "correlation_numbers",
    "distance_text",
    "family_name",
    "images_name",
    "measure_name",
    "no_interval_text",
    "rivals_text",
    "spearman_text",
]

Cells = list[str | int | float | None]
_NAMED: Final = 4
"""Layers that a sentence names; of more it says how many."""


def no_interval_text(found: Association, layer: int) -> str:
    """Give the correlation at a layer, and say why it has no interval."""
    value, shifts = float(found.correlation[layer]), found.shifts[layer]
    why = (
        f"{shifts} shifts are too few for an interval (at least {FEWEST_FOR_INTERVAL})"
        if shifts < FEWEST_FOR_INTERVAL
        else "in a perfect order, of which resampling gives no interval"
    )
    where = readable(found.joined.layers[layer])
    return f"the greatest rank correlation is at {where}, ρ = {signed(value)}; {why}."


def measure_name(found: Association) -> str:
    """Name the distance: ``Hellinger distance``."""
    return readable(measure_of({"metric": found.joined.kin.metric}))


def family_name(found: Association) -> str:
    """Name the networks; tables of features that are not of ours may not say what they are."""
    return readable(found.joined.kin.family) or "networks"


def images_name(found: Association) -> str:
    """Name dataset, split and number of bins, which tell exhibits apart."""
    kin = found.joined.kin
    bins = "" if kin.bins is None else f", B = {kin.bins}"
    return f"{readable(kin.dataset)} {readable(found.joined.split)}{bins}"


def distance_text(found: Association) -> str:
    """Say how the distance was measured."""
    kin = found.joined.kin
    bins = binning({"bins": kin.bins, "range_rule": kin.range_rule})
    return (
        f"{measure_name(found)}, mean over the feature channels of a layer, eq. (10), corrected "
        f"for the finite number of images{bins}"
    )


def spearman_text(found: Sequence[Association]) -> str:
    """Say what a correlation is computed from, and how its interval."""
    points = _range([number for one in found for number in one.points])
    shifts = _range([number for one in found for number in one.shifts])
    across = any(point.change.kind == "domain" for one in found for point in one.joined.points)
    what = f"shifts{' or pairs of domains' * across}"
    return (
        f"Spearman's rank correlation over n = {points} points, each one trained network under one "
        f"of {shifts} {what} (prunings, trainings and domains pooled), with its "
        f"{100 * found[0].level:g} % interval from resampling the {what} (R = {RESAMPLES:,}). No "
        f"interval with fewer than {FEWEST_FOR_INTERVAL} {what}, or for a perfect order: "
        "resampling would understate the uncertainty."
    )


def assumed_text(found: Association) -> str:
    """Say how many points come from tables that do not name their split; nothing of none."""
    joined = found.joined
    if not joined.assumed:
        return ""
    return (
        f"{len(joined.assumed)} of {len(joined.points)} points come from shift tables that do not "
        f"name one split; their images are assumed to be the {readable(joined.split)} images."
    )


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def rivals_text(found: Association, best: int) -> str:
    """Say whose interval overlaps with that of the best layer; nothing of a single layer."""
    others = [
        number
        for number in range(len(found.joined.layers))
        if number != best and math.isfinite(found.low[number])
    ]
    low, high = found.low[best], found.high[best]
    if not others or math.isnan(low):
        return ""
    near = [number for number in others if found.high[number] >= low and found.low[number] <= high]
    if not near:
        return "Its interval overlaps with that of no other layer."
    names = [readable(found.joined.layers[number]) for number in near]
    told = (
        f"The intervals at {_counted(len(near), len(others))} other layers overlap"
        if len(near) > _NAMED
        else f"The interval{'s'[: len(near) - 1]} at {', '.join(names)} "
        f"overlap{'s'[len(near) - 1 :]}"
    )
    return f"{told} with it: which layer is best is not settled."


def _counted(some: int, all_: int) -> str:
    return f"all {all_}" if some == all_ else f"{some} of the {all_}"


def correlation_columns(found: Association) -> dict[str, Cells]:
    """Return layer, correlation, ends of the interval, points and shifts as columns."""

    def cells(values: Sequence[float]) -> Cells:
        return [None if math.isnan(value) else value for value in values]

    return {
        "layer": [*found.joined.layers],
        "rho": cells(found.correlation.tolist()),
        "ci_low": cells(found.low.tolist()),
        "ci_high": cells(found.high.tolist()),
        "points": [*found.points],
        "shifts": [*found.shifts],
    }


def common(found: Association) -> dict[str, str | int | float | None]:
    """Return what all numbers are of: dataset, split and networks."""
    kin = found.joined.kin
    facts = {"dataset": kin.dataset, "split": found.joined.split}
    return {**facts, "arch": kin.arch or None, "encoder": kin.encoder or None}


def correlation_numbers(found: Association) -> list[Number]:
    """Return the correlations, and how many shifts each rests on, as rows."""
    kin = found.joined.kin
    rows: list[Number] = []
    columns = correlation_columns(found)
    for layer, rho, low, high, points, shifts in zip(*columns.values(), strict=True):
        facts = {**common(found), "metric": kin.metric, "bins": kin.bins, "layer": layer}
        ends = {"ci_low": low, "ci_high": high, "level": found.level, "points": points}
        rows.append({**facts, "quantity": "rank correlation", "value": rho, **ends})
        rows.append({**facts, "quantity": "shifts", "value": float(shifts)})
    return rows
