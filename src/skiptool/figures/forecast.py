"""The loss of IoU forecast without labels: exhibits from scores and shift tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from skiptool.analysis.distances import LEVEL
from skiptool.analysis.forecast import Expected, Fitted, fit_losses
from skiptool.figures.exhibit import known
from skiptool.figures.forecast_sheet import forecast_sheet
from skiptool.figures.forecast_words import (
    caption_of,
    measure_name,
    network_name,
    note_of,
    row_name,
    sentences_of,
)
from skiptool.figures.measures import bins_of
from skiptool.figures.style import in_paper_order, readable
from skiptool.metrics import Score
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
        return f"Loss of IoU forecast from {who}, fitted to {images}{bins}"

    @property
    def caption(self) -> str:
        """Say what the line is fitted to, how its error was found, and what an interval means."""
        return caption_of(self.found)

    def draw(self) -> Figure:
        """Draw the fit, and the forecasts beside it."""
        names = [row_name(row, self.found) for row in self.found.expected]
        return forecast_sheet(self.found, names, measure_name(self.found))

    def table(self) -> Table:
        """Return the errors by kind left out and over all, then the forecasts."""
        found = self.found
        rows: list[dict[str, _Cell]] = [
            {"of": of, "layer": layer, "points": n, "error": error, "error of the mean": mean}
            for of, layer, n, error, mean in self._errors()
        ]
        for row in found.expected:
            cells: dict[str, _Cell] = {"of": row_name(row, found)}
            cells |= {"layer": found.layers[found.layer], "networks": row.networks}
            cells |= {"split": row.change.split, "images": row.images or None}
            cells |= {"distance": row.distance, "distance low": row.distance_low}
            cells |= {"distance high": row.distance_high, "p_value": known(row.p_value)}
            cells |= {"forecast": known(row.forecast), "ci_low": known(row.low)}
            cells |= {"ci_high": known(row.high), "level": self._level(row)}
            rows.append({**cells, "true loss": known(row.loss), "note": note_of(row, found)})
        names = (*_OF_ERRORS, *(_OF_FORECASTS if found.expected else ()))
        return Table(self.title, {name: [row.get(name) for row in rows] for name in names})

    def _level(self, row: Expected) -> float | None:
        """Level of an interval: of a further shift of the same domain; of other domains none."""
        within = row.change.domain == row.change.reference_domain
        return self.found.level if within and self.found.better else None

    def _errors(self) -> list[tuple[str, str | None, int, float, float]]:
        """Kind left out, layer chosen without it, points, and both errors; all kinds last."""
        found = self.found
        rows: list[tuple[str, str | None, int, float, float]] = [
            (f"{one.kind} left out", found.layers[one.layer], *one[2:5])
            for one in found.crossed.held
        ]
        return [*rows, ("mean of kinds", None, len(found.points), found.error, found.error_of_mean)]

    def numbers(self) -> list[Number]:
        """Return errors (``shift`` is the kind left out, null for their mean) and forecasts."""
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
        if found.better:
            rows.append(
                {**here, "quantity": "bound of the error", "layer": found.layers[found.layer]}
                | {"value": found.bound, "level": found.level, "points": len(found.points)}
            )
        for row in found.expected:
            rows += self._row_numbers(row, common)
        return rows

    def _row_numbers(self, row: Expected, common: Mapping[str, _Cell]) -> list[Number]:
        facts = {**common, **row.change._asdict(), "folds": row.networks}
        facts |= {"layer": self.found.layers[self.found.layer], "images": row.images or None}
        ends = {"ci_low": row.distance_low, "ci_high": row.distance_high, "level": LEVEL}
        p_value = known(row.p_value)
        rows: list[Number] = [
            {**facts, "quantity": "distance", "value": row.distance, **ends, "p_value": p_value}
        ]
        if self.found.better:
            loss = {"value": known(row.forecast), "ci_low": row.low, "ci_high": row.high}
            level = {"level": self._level(row)}
            rows.append({**facts, "quantity": "forecast loss", **loss, **level})
        if row.labelled:
            more: dict[str, _Cell] = {"split": row.split, "folds": row.labelled, "layer": None}
            rows.append(facts | more | {"quantity": "loss of IoU", "value": row.loss})
        return rows

    def sentences(self) -> tuple[str, ...]:
        """Say how well the line forecasts kinds left out, and what it forecasts."""
        return sentences_of(self.found)


_OF_ERRORS: Final = ("of", "layer", "points", "error", "error of the mean")
_OF_FORECASTS: Final = (
    *("networks", "split", "images", "distance", "distance low", "distance high", "p_value"),
    *("forecast", "ci_low", "ci_high", "level", "true loss", "note"),
)


def loss_forecasts(
    scores: Sequence[Score], layers: Mapping[str, Sequence[Any]], *, level: float = 0.95
) -> list[Shown]:
    """Make the exhibits of forecasts without labels.

    Parameters
    ----------
    scores, layers
        As for :func:`skiptool.analysis.correlation.join`.
    level : float
        Of the intervals.

    Returns
    -------
    list of Shown
        One :class:`LossForecast` for each line of :func:`skiptool.analysis.forecast.fit_losses`,
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
