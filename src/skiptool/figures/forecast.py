"""The loss of IoU forecast without labels: exhibits from scores and shift tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skiptool.figures.exhibit import known
from skiptool.figures.forecast_sheet import forecast_sheet
from skiptool.figures.forecast_words import (
    NO_BETTER,
    caption_of,
    measure_name,
    network_name,
    sentences_of,
)
from skiptool.figures.measures import bins_of, shift_name
from skiptool.figures.style import in_paper_order, readable
from skiptool.metrics.scores import Score
from skiptool.readings.forecast import Expected, Fitted, fit_losses
from skiptool.records import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.figures.exhibit import Number, Shown

__all__ = ["LossForecast", "loss_forecasts"]

_Cell = str | int | float | None


@dataclass(frozen=True, slots=True, eq=False)
class LossForecast:
    """The loss that networks of one pruning are expected to have where nothing is labelled."""

    found: Fitted
    topic: str = "forecast"
    heading: str = "Forecast without labels"

    @property
    def title(self) -> str:
        """Name the distance, the networks and the images that the line is fitted to."""
        found, kin = self.found, self.found.kin
        images = f"{readable(kin.dataset)}, {readable(found.domain)}, {readable(found.split)}"
        bins = bins_of({"bins": kin.bins})
        who = f"{measure_name(found)}, {network_name(found)}"
        return f"Loss of IoU forecast from {who}, fit on {images}{bins}"

    @property
    def caption(self) -> str:
        """Say what is fitted to what, how it was tested, and what an interval promises."""
        return caption_of(self.found)

    def draw(self) -> Figure:
        """Draw the fit, and the forecasts beside it."""
        names = [_name(row, self.found) for row in self.found.expected]
        return forecast_sheet(self.found, names, measure_name(self.found))

    def table(self) -> Table:
        """Return the errors by kind left out and over all, then the forecasts."""
        found = self.found
        mark = "better than the mean" if found.better else NO_BETTER
        rows: list[dict[str, _Cell]] = [
            {"of": of, "layer": layer, "points": n, "error": error, "error of the mean": mean}
            for of, layer, n, error, mean in self._errors()
        ]
        for row in found.expected:
            cells: dict[str, _Cell] = {"of": _name(row, found), "layer": found.layers[found.layer]}
            cells |= {"folds": row.networks, "distance": row.distance, "forecast": row.forecast}
            cells |= {"ci_low": known(row.low), "ci_high": known(row.high)}
            rows.append({**cells, "true loss": known(row.loss), "fit": mark})
        any_ = bool(found.expected)
        names = (
            *("of", "layer", "points", "error", "error of the mean"),
            *(("folds", "distance", "forecast", "ci_low", "ci_high", "true loss", "fit") * any_),
        )
        return Table(self.title, {name: [row.get(name) for row in rows] for name in names})

    def _errors(self) -> list[tuple[str, str | None, int, float, float]]:
        """Kind left out, layer chosen without it, points, and both errors; all kinds last."""
        found = self.found
        rows: list[tuple[str, str | None, int, float, float]] = [
            (f"{one.kind} left out", found.layers[one.layer], one.points, *one[3:])
            for one in found.crossed.held
        ]
        return [*rows, ("all kinds", None, len(found.points), found.error, found.error_of_mean)]

    def numbers(self) -> list[Number]:
        """Return errors (``shift`` is the kind left out, null for all) and forecasts."""
        found, kin = self.found, self.found.kin
        common: dict[str, _Cell] = {"dataset": kin.dataset, "pruning": found.pruning}
        common |= {"arch": kin.arch or None, "encoder": kin.encoder or None}
        common |= {"metric": kin.metric, "bins": kin.bins}
        here = {**common, "domain": found.domain, "split": found.split}
        kinds = [*(one.kind for one in found.crossed.held), None]
        rows: list[Number] = []
        for kind, (_, layer, points, error, mean) in zip(kinds, self._errors(), strict=True):
            facts = {**here, "shift": kind, "points": points}
            rows.append(
                {**facts, "quantity": "cross-validated error", "layer": layer, "value": error}
            )
            rows.append({**facts, "quantity": "error of the mean", "value": mean})
        for row in found.expected:
            facts = common | row.change._asdict() | {"folds": row.networks}
            facts["layer"] = found.layers[found.layer]
            rows.append({**facts, "quantity": "distance", "value": row.distance})
            ends = {"ci_low": row.low, "ci_high": row.high, "level": found.level}
            rows.append({**facts, "quantity": "forecast loss", "value": row.forecast, **ends})
            if row.labelled:
                known: dict[str, _Cell] = {"split": row.split, "folds": row.labelled}
                rows.append(
                    facts | known | {"layer": None, "quantity": "loss of IoU", "value": row.loss}
                )
        return rows

    def sentences(self) -> tuple[str, ...]:
        """Say whether the fit is better than the mean, and what it forecasts."""
        return sentences_of(self.found)


def _name(row: Expected, found: Fitted) -> str:
    """Name a comparison by what its images are: the domain, the shift, or both."""
    facts = row.change._asdict()
    shift = "" if facts["shift"] == "original" else shift_name(facts)
    domain = "" if row.change.domain == found.domain else readable(str(row.change.domain))
    return ", ".join(filter(None, (domain, readable(shift)))) or "original"


def loss_forecasts(
    scores: Sequence[Score], layers: Mapping[str, Sequence[Any]], *, level: float = 0.95
) -> list[Shown]:
    """Make the exhibits of forecasts without labels.

    Parameters
    ----------
    scores, layers
        As for :func:`skiptool.readings.joined.join`.
    level : float
        Of the intervals.

    Returns
    -------
    list of Shown
        One :class:`LossForecast` for each line of :func:`skiptool.readings.forecast.fit_losses`,
        prunings in the order of the paper.
    """
    groups: dict[tuple[object, ...], dict[str, Fitted]] = {}
    for found in fit_losses(scores, layers, level=level):
        groups.setdefault((found.kin, found.domain), {})[found.pruning] = found
    return [
        LossForecast(group[pruning])
        for group in groups.values()
        for pruning in in_paper_order(group)
    ]
