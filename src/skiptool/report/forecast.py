"""The loss of IoU forecast without labels, from the distance of a layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from skiptool.analysis.distances import LEVEL
from skiptool.analysis.forecast import Expected, Fitted, fit_losses
from skiptool.figures.forecast import MOST, forecast_sheet
from skiptool.figures.style import in_paper_order, label_text
from skiptool.metrics import Score
from skiptool.names import VALIDATION, Kind
from skiptool.records import Table
from skiptool.report.exhibit import Cell, Exhibit, group_by, nan_to_none, setting_columns
from skiptool.report.wording import (
    assumed_text,
    bins_suffix,
    count_noun,
    measure_name,
    number_range,
    range_suffix,
    shift_name,
)

if TYPE_CHECKING:
    from skiptool.report.exhibit import Number

_NO_FORECAST: Final = "no forecast possible"
"""Note of a row if the fit is no better than the mean."""

_NO_SHIFT: Final = "no shift seen"
"""Note of a row whose distance cannot be distinguished from 0."""

_BEYOND: Final = "beyond the fit"
"""Note of a row whose distance exceeds all that the line was fitted to."""

_LISTED: Final = 3
"""Forecasts listed in a sentence; the table has all of them."""


def loss_forecasts(
    scores: Sequence[Score], layers: Mapping[str, Sequence[Any]], *, level: float = 0.95
) -> list[Exhibit]:
    """Show forecasts without labels.

    Parameters
    ----------
    scores, layers
        As for :func:`skiptool.analysis.correlation.join_distances`.
    level : float
        Of the intervals.

    Returns
    -------
    list of Exhibit
        One for each line of :func:`skiptool.analysis.forecast.fit_losses`, prunings in the order
        of the paper.
    """
    lines = fit_losses(scores, layers, level=level)
    exhibits = []
    for group in group_by(lines, lambda line: (line.setting, line.domain)).values():
        by_pruning = {line.pruning: line for line in group}
        exhibits += [_exhibit(by_pruning[pruning]) for pruning in in_paper_order(by_pruning)]
    return exhibits


def _exhibit(line: Fitted) -> Exhibit:
    setting = line.setting
    measure = label_text(measure_name(setting.metric))
    images = f"{label_text(setting.dataset)}, {label_text(line.domain)}, {label_text(line.split)}"
    title = (
        f"Loss of IoU forecast from {measure}, {_networks(line)}, fitted to {images}"
        f"{bins_suffix(setting.bins)}"
    )
    return Exhibit(
        topic="forecast",
        heading="Forecast without labels",
        title=title,
        caption=forecast_caption(line),
        sentences=forecast_sentences(line),
        table=_table(line, title),
        numbers=_numbers(line),
        draw=lambda: forecast_sheet(line, [_row_name(r, line) for r in line.expected], measure),
        sources=(Kind.PREDICTIONS, Kind.SHIFT),
        summary=1,
    )


def _networks(line: Fitted) -> str:
    """Name the networks: ``resnet18 L1-pruned``."""
    return f"{label_text(line.setting.family)} {label_text(line.pruning)}".strip() or "networks"


def _layer(line: Fitted) -> str:
    return label_text(line.layers[line.layer])


def _row_name(row: Expected, line: Fitted) -> str:
    """Name a comparison by the domain, the shift, or both."""
    facts = row.change._asdict()
    shift = "" if facts["shift"] == "original" else shift_name(facts)
    domain = "" if row.change.domain == line.domain else label_text(str(row.change.domain))
    return ", ".join(filter(None, (domain, label_text(shift)))) or "original"


def _note(row: Expected, line: Fitted) -> str:
    """Name the limit of a forecast; empty without one."""
    if not line.better:
        return _NO_FORECAST
    if not row.seen:
        return _NO_SHIFT
    return _BEYOND if row.distance > line.line.knots[-1] else ""


def _level(row: Expected, line: Fitted) -> float | None:
    """Return the level of an interval; None for another domain, where no level holds."""
    within = row.change.domain == row.change.reference_domain
    return line.level if within and line.better else None


# Table and numbers.

_ERROR_COLUMNS: Final = ("of", "layer", "points", "error", "error of the mean")
_FORECAST_COLUMNS: Final = (
    "networks",
    "split",
    "images",
    "distance",
    "distance low",
    "distance high",
    "p_value",
    "forecast",
    "ci_low",
    "ci_high",
    "level",
    "true loss",
    "note",
)


def _table(line: Fitted, title: str) -> Table:
    """Return the errors by kind left out and over all, then the forecasts."""
    rows: list[dict[str, Cell]] = [
        {
            "of": f"{one.kind} left out",
            "layer": line.layers[one.layer],
            "points": one.points,
            "error": one.error,
            "error of the mean": one.error_of_mean,
        }
        for one in line.cross_validation.held
    ]
    rows.append(
        {
            "of": "mean of kinds",
            "points": len(line.points),
            "error": line.error,
            "error of the mean": line.error_of_mean,
        }
    )
    rows += [
        {
            "of": _row_name(row, line),
            "layer": line.layers[line.layer],
            "networks": row.networks,
            "split": row.change.split,
            "images": row.images or None,
            "distance": row.distance,
            "distance low": row.distance_low,
            "distance high": row.distance_high,
            "p_value": nan_to_none(row.p_value),
            "forecast": nan_to_none(row.forecast),
            "ci_low": nan_to_none(row.low),
            "ci_high": nan_to_none(row.high),
            "level": _level(row, line),
            "true loss": nan_to_none(row.loss),
            "note": _note(row, line),
        }
        for row in line.expected
    ]
    names = (*_ERROR_COLUMNS, *(_FORECAST_COLUMNS if line.expected else ()))
    return Table(title, {name: [row.get(name) for row in rows] for name in names})


def _numbers(line: Fitted) -> list[Number]:
    """Return errors (``shift`` is the kind left out, null for their mean) and forecasts."""
    facts = {**setting_columns(line.setting, metric=True), "pruning": line.pruning}
    here = {**facts, "domain": line.domain, "split": line.split}
    errors: list[tuple[str | None, str | None, int, float, float]] = [
        (one.kind, line.layers[one.layer], one.points, one.error, one.error_of_mean)
        for one in line.cross_validation.held
    ]
    errors.append((None, None, len(line.points), line.error, line.error_of_mean))
    rows: list[Number] = []
    for kind, layer, points, error, of_mean in errors:
        which = {**here, "shift": kind, "points": points}
        rows += [
            {**which, "quantity": "cross-validated error", "layer": layer, "value": error},
            {**which, "quantity": "error of the mean", "value": of_mean},
        ]
    if line.better:
        rows.append(
            {
                **here,
                "quantity": "bound of the error",
                "layer": line.layers[line.layer],
                "value": line.bound,
                "level": line.level,
                "points": len(line.points),
            }
        )
    return [*rows, *(number for row in line.expected for number in _row_numbers(row, line, facts))]


def _row_numbers(row: Expected, line: Fitted, common: Mapping[str, Cell]) -> list[Number]:
    facts: dict[str, Cell] = {
        **common,
        **row.change._asdict(),
        "folds": row.networks,
        "layer": line.layers[line.layer],
        "images": row.images or None,
    }
    rows: list[Number] = [
        {
            **facts,
            "quantity": "distance",
            "value": row.distance,
            "ci_low": row.distance_low,
            "ci_high": row.distance_high,
            "level": LEVEL,
            "p_value": row.p_value,
        }
    ]
    if line.better:
        rows.append(
            {
                **facts,
                "quantity": "forecast loss",
                "value": row.forecast,
                "ci_low": row.low,
                "ci_high": row.high,
                "level": _level(row, line),
            }
        )
    if row.labelled:
        rows.append(
            {
                **facts,
                "quantity": "loss of IoU",
                "split": row.split,
                "folds": row.labelled,
                "layer": None,
                "value": row.loss,
            }
        )
    return rows


# Caption.


def forecast_caption(line: Fitted) -> str:
    """Describe the fit, how its error was estimated, and what an interval means."""
    parts = (_fit(line), _split(line), _error(line), _intervals(line), _left_out(line))
    return " ".join(filter(None, parts))


def _fit(line: Fitted) -> str:
    networks = len({point.model_id for point in line.points})
    shifts = len({point.change.cluster for point in line.points})
    classes = ", ".join(map(label_text, line.classes))
    mean = "mean " if len(line.classes) > 1 else ""
    images = f"{label_text(line.split)} images of {label_text(line.setting.dataset)}, "
    images += label_text(line.domain)
    if line.images.min():
        images += f" ({number_range(line.images.tolist())} a network)"
    return (
        f"Left: loss of {mean}IoU ({classes}) under controlled shifts against the "
        f"{label_text(measure_name(line.setting.metric))} at {_layer(line)}, corrected for the "
        f"finite number of images{range_suffix(line.setting.bins, line.setting.range_rule)}; "
        f"horizontal bars are its 95 % intervals. Each of the n = {len(line.points)} "
        f"points is one of {count_noun(networks, 'trained network')} (folds and repeats pooled) "
        f"under one of {count_noun(shifts, 'shift')}. "
        f"Distances and losses are of the {images}. Line: "
        "least squares among lines that start at 0 and never fall (isotonic regression, Barlow et "
        "al. 1972), straight between its knots and constant beyond the last one."
    )


def _split(line: Fitted) -> str:
    split = label_text(line.split)
    fitted = (
        ""
        if line.split == VALIDATION
        else f"The line is fitted to {split} images because scores and distances of validation "
        "images are not given (predict and features with --split fold)."
    )
    return f"{fitted} {assumed_text(line.assumed, len(line.points), split)}".strip()


def _error(line: Fitted) -> str:
    return (
        "Error: mean absolute error on a kind of shift that was left out, for each of "
        f"{count_noun(len(line.cross_validation.held), 'kind')} in turn, with the layer and the "
        "line chosen from the other kinds; for comparison, the error of the mean loss of those "
        "kinds."
    )


def _intervals(line: Fitted) -> str:
    if not line.expected:
        return "There is nothing to forecast: no comparison involves images without labels."
    if not line.better:
        return (
            "No loss is forecast: on kinds of shift left out, the line is no better than the mean."
        )
    kinds = count_noun(len(line.cross_validation.held), "kind")
    limit = (
        f"; {100 * line.requested_level:g} % cannot be reached with {kinds}"
        if line.level < line.requested_level
        else ""
    )
    return (
        "Right: forecast loss, mean over the networks of a comparison; diamond: true loss, if "
        "there are labels. Interval: from the line at the lower end of the distance's 95 % "
        "interval to the line at its upper end, extended on both sides by "
        f"{line.bound:.2f}, which bounds the error on kinds of shift left out, and clipped to the "
        "possible range: the IoU on the original images can at most be lost entirely or rise to "
        "1. For a further "
        f"kind of controlled shift the bound holds at a level of {100 * line.level:.3g} % "
        f"(conformal prediction over kinds, Dunn et al. 2023{limit}). Another domain resembles "
        "the fitted shifts less than a further controlled shift does: no level holds for it. "
        f"Dashed: {_NO_SHIFT} (p above 0.05, or an interval of the distance that reaches 0); the "
        "loss cannot be distinguished from 0, and only the range is given."
    )


def _left_out(line: Fitted) -> str:
    parts = []
    further = len(line.expected) - MOST
    if further > 0:
        parts.append(f"The table has {count_noun(further, 'further row')}.")
    if line.passed_over:
        parts.append(
            f"Not considered, without a corrected distance under every shift: "
            f"{', '.join(map(label_text, line.passed_over))}."
        )
    if line.left_out:
        parts.append(
            f"No forecast for {count_noun(line.left_out, 'comparison')} without a corrected "
            f"distance and its interval at {_layer(line)}."
        )
    return " ".join(parts)


# Findings.


def forecast_sentences(line: Fitted) -> list[str]:
    """State how well the line forecasts kinds left out, and what it forecasts."""
    kinds = ", ".join(
        f"{label_text(one.kind)} {one.error:.2f}" for one in line.cross_validation.held
    )
    error, of_mean = f"{line.error:.2f} ({kinds})", f"{line.error_of_mean:.2f}"
    networks, layer = _networks(line), _layer(line)
    if not line.better:
        return [
            f"{networks}: no loss of IoU can be forecast from these shifts. On kinds of shift left "
            f"out, the mean absolute error of the fit to the distance at {layer} is {error}, no "
            f"better than {of_mean} for the mean loss of the other kinds.",
        ]
    sentences = [
        f"{networks}: on kinds of shift left out, the loss of IoU is forecast from the distance at "
        f"{layer} with a mean absolute error of {error}, against {of_mean} for the mean loss of "
        "the other kinds.",
    ]
    if line.expected:
        rows = "; ".join(_forecast(row, line) for row in line.expected[:_LISTED])
        further = len(line.expected) - _LISTED
        more = f"; {count_noun(further, 'further row')} in the table" if further > 0 else ""
        sentences.append(f"Forecast loss: {rows}{more}.")
    if line.unmet:
        unmet = " and ".join(map(label_text, line.unmet))
        sentences.append(f"On {unmet} alone it is no better than the mean.")
    return [*sentences, *_checks(line)]


def _forecast(row: Expected, line: Fitted) -> str:
    images = _images(row)
    name = _row_name(row, line) + (f" ({images})" if images else "")
    if row.seen:
        return f"{name} {row.forecast:.2f} [{_signed(row.low)}, {_signed(row.high)}]"
    p_value = "" if math.isnan(row.p_value) else f" (p = {row.p_value:.2g})"
    return (
        f"{name}: {_NO_SHIFT}{p_value}, loss not distinguishable from 0 and up to "
        f"{_signed(row.high)}"
    )


def _images(row: Expected) -> str:
    """Count the images, ``8 test images of 2 subjects``; empty if unknown."""
    if not row.images:
        return ""
    split = "" if row.change.split is None else f"{label_text(row.change.split)} "
    grouped = row.units and row.unit not in ("", "image")
    units = f" of {count_noun(row.units, label_text(row.unit))}" if grouped else ""
    return f"{count_noun(row.images, f'{split}image')}{units}"


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")


def _checks(line: Fitted) -> list[str]:
    """Compare with labels, and count distances beyond the fit or without a forecast."""
    sentences = []
    labelled = [row for row in line.expected if row.labelled]
    if labelled:
        inside = sum(row.low <= row.loss <= row.high for row in labelled)
        sentences.append(
            f"The true loss lies in the interval in {inside} of {len(labelled)} comparisons with "
            "labels."
        )
    beyond = sum(_note(row, line) == _BEYOND for row in line.expected)
    if beyond:
        sentences.append(
            f"{beyond} of {len(line.expected)} distances are greater than any in the fit, where "
            "the line is constant: the loss may be greater than forecast."
        )
    if line.left_out:
        sentences.append(
            f"No forecast for {count_noun(line.left_out, 'comparison')} without a corrected "
            "distance and its interval."
        )
    return sentences
