"""Which layer's distance goes with the loss of IoU: exhibits from scores and shift tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from skiptool.analysis.correlation import FEWEST_FOR_INTERVAL, Association, Mean, associations
from skiptool.analysis.distances import LEVEL
from skiptool.figures.scatter import correlation_strip, interval_text, loss_by_distance, signed
from skiptool.figures.style import readable
from skiptool.metrics import Score
from skiptool.records import Table
from skiptool.report.exhibit import binning, measure_of, tied_with
from skiptool.stats.correlation import RESAMPLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.analysis.correlation import Association
    from skiptool.report.exhibit import Number, Shown

__all__ = [
    "Cells",
    "Forecast",
    "Ranking",
    "assumed_text",
    "common",
    "correlation_columns",
    "correlation_numbers",
    "distance_text",
    "family_name",
    "forecasts",
    "images_name",
    "measure_name",
    "no_interval_text",
    "rivals_text",
    "spearman_text",
]

# -------------------------------------------------------------------------------------------------
# Rank correlations by layer: in words, as a table, as rows of the table ``report``.


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


_HEADING: Final = "Distance and loss of IoU by layer"


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """Loss of IoU against the distance of each layer, of one family of networks.

    Attributes
    ----------
    found : Association
    means : tuple of Mean
        The points that are drawn.
    """

    found: Association
    means: tuple[Mean, ...]
    topic: str = "forecast-by-layer"
    heading: str = _HEADING

    @property
    def title(self) -> str:
        """Name the distance, the networks and the images."""
        where = f"{family_name(self.found)}, {images_name(self.found)}"
        return f"Loss of IoU against {measure_name(self.found)} by layer, {where}"

    @property
    def caption(self) -> str:
        """Say what a point is, and what the correlation is of."""
        joined = self.found.joined
        folds = [mean.folds for mean in self.means]
        most = f"{min(folds)} to {max(folds)}" if min(folds) < max(folds) else f"{max(folds)}"
        point = (
            f"mean over {most} trainings of one pruning under one shift, whiskers: one standard "
            "deviation between trainings"
            if max(folds) > 1
            else "one pruning, trained once, under one shift; horizontal bars: 95 % "
            "interval of the distance"
        )
        low, high = int(joined.images.min()), int(joined.images.max())
        images = f", {low}{f' to {high}' if high > low else ''} a network" if low else ""
        left_out = (
            f"Left out: {joined.left_out} comparisons without IoU on both sides."
            if joined.left_out
            else ""
        )
        text = (
            f"Loss of {_iou(joined.classes)}: IoU on the reference minus IoU under the shift or in "
            f"the other domain, for the images that the distances are of (reference: "
            f"{readable(joined.split)} images of {readable(joined.kin.dataset)}{images}). "
            f"Distance: {distance_text(self.found)}; each panel has its own axis. Layers are in "
            f"the order of data flow. Point: {point}. ρ: {spearman_text([self.found])} Framed: the "
            "greatest ρ."
        )
        return " ".join(filter(None, (text, assumed_text(self.found), left_out)))

    def draw(self) -> Figure:
        """Draw one panel a layer."""
        return loss_by_distance(self.found, measure_name(self.found))

    def table(self) -> Table:
        """Return the correlations, layers in the order of data flow."""
        return Table(f"Rank correlation: {self.title}", correlation_columns(self.found))

    def numbers(self) -> list[Number]:
        """Return the correlations, and the points that are drawn."""
        kin, rows = self.found.joined.kin, correlation_numbers(self.found)
        for mean in self.means:
            facts = common(self.found) | mean.change._asdict()
            facts |= {"pruning": mean.pruning, "folds": mean.folds}
            loss = {"value": mean.loss, "sd_folds": mean.sd_loss}
            rows.append({**facts, "quantity": "loss of IoU", **loss})
            facts |= {"quantity": "distance", "metric": kin.metric, "bins": kin.bins}
            columns = (mean.distances, mean.sd_distances, mean.low, mean.high)
            names = ("value", "sd_folds", "ci_low", "ci_high")
            for layer, *cells in zip(self.found.joined.layers, *columns, strict=True):
                numbers = dict(zip(names, cells, strict=True))
                rows.append({**facts, "layer": layer, **numbers, "level": LEVEL})
        return rows

    def sentences(self) -> tuple[str, ...]:
        """Say which layer's distance goes with the loss best, and with what interval."""
        found, best = self.found, self.found.best
        if best is None:
            return (f"{family_name(found)}: distance or loss of IoU is the same under all shifts.",)
        if math.isnan(found.low[best]):
            return (f"{family_name(found)}: {no_interval_text(found, best)}",)
        layer = readable(found.joined.layers[best])
        ends = interval_text(found, best)
        if found.correlation[best] <= 0:
            told = f"the loss of IoU grows with the distance at no layer; greatest ρ: {ends}"
            return (f"{family_name(found)}: {told} at {layer}.",)
        open_ = " The interval includes 0." if found.low[best] <= 0 else ""
        told = f"the loss of IoU follows the distance at {layer} best, ρ = {ends}.{open_}"
        rivals = rivals_text(found, best)
        return (f"{family_name(found)}: {told}", *([rivals] if rivals else []))


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Rank correlation by layer, families of networks side by side."""

    found: tuple[Association, ...]
    topic: str = "rank-correlation"
    heading: str = _HEADING

    @property
    def title(self) -> str:
        """Name the distance and the images."""
        measure, images = measure_name(self.found[0]), images_name(self.found[0])
        return f"Rank correlation of {measure} and loss of IoU by layer, {images}"

    @property
    def caption(self) -> str:
        """Say what the correlation is of."""
        return (
            f"Dot: {spearman_text(self.found)} The greatest of each panel is drawn larger. "
            f"Distance: {distance_text(self.found[0])}. Layers are in the order of data flow."
        )

    def draw(self) -> Figure:
        """Draw a dot and an interval a layer."""
        return correlation_strip(self.found)

    def table(self) -> Table:
        """Return the correlations of all families."""
        columns: dict[str, Cells] = {}
        for one in self.found:
            cells = correlation_columns(one)
            cells = {"network": [family_name(one)] * len(one.joined.layers), **cells}
            for name, values in cells.items():
                columns.setdefault(name, []).extend(values)
        return Table(self.title, columns, uniform=("network",))

    def numbers(self) -> list[Number]:
        """Return the correlations of all families."""
        return [row for one in self.found for row in correlation_numbers(one)]

    def sentences(self) -> tuple[str, ...]:
        """Say whether families agree on the best layer, of two and more with an interval there."""
        best = [
            (family_name(one), readable(one.joined.layers[one.best]))
            for one in self.found
            if one.best is not None and not math.isnan(one.low[one.best])
        ]
        if len(best) < 2:
            return ()
        open_ = sum(_has_rivals(one) for one in self.found)
        rest = f" In {open_} of {len(best)} which layer is best is not settled." if open_ else ""
        layers = {layer for _, layer in best}
        if len(layers) == 1:
            where = f"{layers.pop()} in all {len(best)} families"
        else:
            where = ", ".join(f"{layer} ({family})" for family, layer in best)
        return (f"The greatest correlation is at {where}.{rest}",)


def _has_rivals(found: Association) -> bool:
    """Whether the interval of another layer overlaps with that of the best one."""
    if found.best is None or math.isnan(found.low[found.best]):
        return False
    ends = [(float(low), float(high)) for low, high in zip(found.low, found.high, strict=True)]
    values = [float(value) for value in found.correlation]
    known = [None if math.isnan(low) else (low, high) for low, high in ends]
    return bool(tied_with(found.best, values, known))


def _iou(classes: Sequence[str]) -> str:
    if len(classes) == 1:
        return f"{readable(classes[0])} IoU"
    return f"mean IoU of {', '.join(map(readable, classes))}"


def forecasts(
    scores: Sequence[Score],
    layers: Mapping[str, Sequence[Any]],
    *,
    level: float = 0.95,
    seed: int = 0,
) -> list[Shown]:
    """Make the exhibits of distance against loss of IoU.

    Parameters
    ----------
    scores, layers
        As for :func:`skiptool.analysis.correlation.join`.
    level, seed : float, int
        Of the intervals.

    Returns
    -------
    list of Shown
        For each dataset, split, metric, bins and range rule with at least four shifts: one
        :class:`Forecast` a family of networks, then their :class:`Ranking`.
    """
    groups: dict[tuple[object, ...], list[Association]] = {}
    for one in associations(scores, layers, level=level, seed=seed):
        groups.setdefault((*one.joined.kin[:4], one.joined.split), []).append(one)
    shown: list[Shown] = []
    for group in groups.values():
        shown += [Forecast(one, tuple(one.means())) for one in group]
        shown.append(Ranking(tuple(group)))
    return shown
