"""The loss of IoU forecast without labels: exhibits from scores and shift tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from skiptool.analysis.distances import LEVEL
from skiptool.analysis.forecast import Expected, Fitted, fit_losses
from skiptool.figures.forecast import MOST, forecast_sheet
from skiptool.figures.style import in_paper_order, readable
from skiptool.metrics import Score
from skiptool.names import VALIDATION
from skiptool.records import Table
from skiptool.report.exhibit import binning, bins_of, known, measure_of, shift_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.analysis.forecast import Expected, Fitted
    from skiptool.report.exhibit import Number, Shown

__all__ = [
    "BEYOND",
    "NO_FORECAST",
    "NO_SHIFT",
    "LossForecast",
    "caption_of",
    "images_text",
    "loss_forecasts",
    "measure_name",
    "network_name",
    "note_of",
    "row_name",
    "sentences_of",
]

# -------------------------------------------------------------------------------------------------
# Names, caption and sentences of a forecast without labels.


NO_FORECAST: Final = "no forecast possible"
"""Note of a row where the fit is no better than the mean."""

NO_SHIFT: Final = "no shift seen"
"""Note of a row whose distance cannot be distinguished from 0."""

BEYOND: Final = "beyond the fit"
"""Note of a row whose distance is greater than all that the line was fitted to."""

_NAMED: Final = 3
"""Forecasts that a sentence lists; the table has all of them."""


def measure_name(found: Fitted) -> str:
    """Name the distance: ``Hellinger distance``."""
    return readable(measure_of({"metric": found.kin.metric}))


def network_name(found: Fitted) -> str:
    """Name the networks: ``resnet18 L1-pruned``."""
    name = f"{readable(found.kin.family)} {readable(found.pruning)}".strip()
    return name or "networks"


def row_name(row: Expected, found: Fitted) -> str:
    """Name a comparison by what its images are: the domain, the shift, or both."""
    facts = row.change._asdict()
    shift = "" if facts["shift"] == "original" else shift_name(facts)
    domain = "" if row.change.domain == found.domain else readable(str(row.change.domain))
    return ", ".join(filter(None, (domain, readable(shift)))) or "original"


def note_of(row: Expected, found: Fitted) -> str:
    """Say in a word or two what limits a forecast; nothing where nothing does."""
    if not found.better:
        return NO_FORECAST
    if not row.seen:
        return NO_SHIFT
    return BEYOND if row.distance > found.line.knots[-1] else ""


def images_text(row: Expected) -> str:
    """Write the number of images, ``8 test images of 2 subjects``; nothing if it is not known."""
    if not row.images:
        return ""
    split = "" if row.change.split is None else f"{readable(row.change.split)} "
    grouped = row.units and row.unit not in ("", "image")
    units = f" of {_counted(row.units, readable(row.unit))}" if grouped else ""
    return f"{_counted(row.images, f'{split}image')}{units}"


def _layer(found: Fitted) -> str:
    return readable(found.layers[found.layer])


def _images(found: Fitted) -> str:
    low, high = int(found.images.min()), int(found.images.max())
    count = f"{low}" if low == high else f"{low} to {high}"
    where = f"{readable(found.kin.dataset)}, {readable(found.domain)}"
    return f"{readable(found.split)} images of {where}" + (f" ({count} a network)" if low else "")


def _counted(number: int, what: str) -> str:
    """Write a number with its noun: ``1 kind``, ``3 kinds``."""
    return f"{number} {what}{'s'[: number - 1] if number else 's'}"


def caption_of(found: Fitted) -> str:
    """Say what the line is fitted to, how its error was found, and what an interval means."""
    parts = (
        *(_fit_text(found), _split_text(found), _error_text(found)),
        *(_interval_text(found), _rest_text(found)),
    )
    return " ".join(part for part in parts if part)


def _fit_text(found: Fitted) -> str:
    networks = len({point.model_id for point in found.points})
    shifts = len({point.change.cluster for point in found.points})
    classes = ", ".join(map(readable, found.classes))
    mean = "mean " * (len(found.classes) > 1)
    bins = binning({"bins": found.kin.bins, "range_rule": found.kin.range_rule})
    return (
        f"Left: loss of {mean}IoU ({classes}) under controlled shifts against the "
        f"{measure_name(found)} at {_layer(found)}, corrected for the finite number of images"
        f"{bins}; horizontal bars are its 95 % intervals. Each of the n = {len(found.points)} "
        f"points is one of {_counted(networks, 'trained network')} (folds and repeats pooled) "
        f"under one of {_counted(shifts, 'shift')}. "
        f"Distances and losses are of the {_images(found)}. Line: "
        "least squares among lines that start at 0 and never fall (isotonic regression, Barlow et "
        "al. 1972), straight between its knots and constant beyond the last one."
    )


def _split_text(found: Fitted) -> str:
    told = []
    if found.split != VALIDATION:
        told.append(
            f"The line is fitted to {readable(found.split)} images because scores and distances "
            "of validation images are not given (predict and features with --split fold)."
        )
    if found.assumed:
        told.append(
            f"{found.assumed} of {len(found.points)} points come from shift tables that do not "
            f"name one split; their images are assumed to be the {readable(found.split)} images."
        )
    return " ".join(told)


def _error_text(found: Fitted) -> str:
    return (
        "Error: mean absolute error on a kind of shift that was left out, for each of "
        f"{_counted(len(found.crossed.held), 'kind')} in turn, with the layer and the line chosen "
        "from the other kinds; beside it the error of the mean loss of those kinds."
    )


def _interval_text(found: Fitted) -> str:
    if not found.expected:
        return "There is nothing to forecast: no comparison leads to images without labels."
    if not found.better:
        return (
            "No loss is forecast: on kinds of shift left out, the line is no better than the mean."
        )
    kinds = len(found.crossed.held)
    limit = (
        f"; {100 * found.asked:g} % cannot be reached with {_counted(kinds, 'kind')}"
        if found.level < found.asked
        else ""
    )
    return (
        "Right: forecast loss, mean over the networks of a comparison; diamond: true loss, where "
        "there are labels. Interval: from the line at the lower end of the distance's 95 % "
        "interval to the line at its upper end, extended on both sides by "
        f"{found.bound:.2f}, which bounds the error on kinds of shift left out, and limited "
        "to what is possible: at most, the IoU on the original images is lost entirely or rises "
        "to 1. For a further "
        f"kind of controlled shift the bound holds at a level of {100 * found.level:.3g} % "
        f"(conformal prediction over kinds, Dunn et al. 2023{limit}). Another domain resembles "
        "the fitted shifts less than a further controlled shift does: no level holds for it. "
        f"Dashed: {NO_SHIFT} (p above 0.05, or an interval of the distance that reaches 0); the "
        "loss cannot be distinguished from 0, and only the range is given."
    )


def _rest_text(found: Fitted) -> str:
    told = []
    further = len(found.expected) - MOST
    if further > 0:
        told.append(f"The table has {_counted(further, 'further row')}.")
    if found.passed_over:
        told.append(
            f"Not considered for want of a corrected distance under every shift: "
            f"{', '.join(map(readable, found.passed_over))}."
        )
    if found.left_out:
        told.append(
            f"No forecast for {_counted(found.left_out, 'comparison')} without a corrected "
            f"distance and its interval at {_layer(found)}."
        )
    return " ".join(told)


def sentences_of(found: Fitted) -> tuple[str, ...]:
    """Say how well the line forecasts kinds left out, and what it forecasts."""
    each = ", ".join(f"{readable(one.kind)} {one.error:.2f}" for one in found.crossed.held)
    error, mean = f"{found.error:.2f} ({each})", f"{found.error_of_mean:.2f}"
    who, layer = network_name(found), _layer(found)
    if not found.better:
        return (
            f"{who}: no loss of IoU can be forecast from these shifts. On kinds of shift left out, "
            f"the mean absolute error of the fit to the distance at {layer} is {error}, no better "
            f"than {mean} for the mean loss of the other kinds.",
        )
    told = [
        f"{who}: on kinds of shift left out, the loss of IoU is forecast from the distance at "
        f"{layer} with a mean absolute error of {error}, against {mean} for the mean loss of the "
        "other kinds.",
        *_forecasts_text(found),
    ]
    if found.unmet:
        kinds = " and ".join(map(readable, found.unmet))
        told.append(f"On {kinds} alone it is no better than the mean.")
    return (*told, *_checks_text(found))


def _forecasts_text(found: Fitted) -> tuple[str, ...]:
    if not found.expected:
        return ()
    told = "; ".join(_row_text(row, found) for row in found.expected[:_NAMED])
    further = len(found.expected) - _NAMED
    more = f"; {_counted(further, 'further row')} in the table" if further > 0 else ""
    return (f"Forecast loss: {told}{more}.",)


def _row_text(row: Expected, found: Fitted) -> str:
    images = images_text(row)
    name = row_name(row, found) + (f" ({images})" if images else "")
    if row.seen:
        return f"{name} {row.forecast:.2f} [{_signed(row.low)}, {_signed(row.high)}]"
    p_value = "" if math.isnan(row.p_value) else f" (p = {row.p_value:.2g})"
    return (
        f"{name}: {NO_SHIFT}{p_value}, loss not distinguishable from 0 and up to "
        f"{_signed(row.high)}"
    )


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")


def _checks_text(found: Fitted) -> tuple[str, ...]:
    """Compare with labels, and count what lies beyond the fit or has no forecast."""
    told = []
    known = [row for row in found.expected if row.labelled]
    if known:
        inside = sum(row.low <= row.loss <= row.high for row in known)
        told.append(
            f"The true loss lies in the interval in {inside} of {len(known)} comparisons with "
            "labels."
        )
    beyond = sum(note_of(row, found) == BEYOND for row in found.expected)
    if beyond:
        told.append(
            f"{beyond} of {len(found.expected)} distances are greater than any in the fit, where "
            "the line is constant: the loss may be greater than forecast."
        )
    if found.left_out:
        told.append(
            f"No forecast for {_counted(found.left_out, 'comparison')} without a corrected "
            "distance and its interval."
        )
    return tuple(told)


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
