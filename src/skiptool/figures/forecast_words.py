"""Names, caption and sentences of a forecast without labels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from skiptool.figures.forecast_sheet import MOST
from skiptool.figures.measures import binning, measure_of, shift_name
from skiptool.figures.style import readable
from skiptool.names import VALIDATION

if TYPE_CHECKING:
    from skiptool.analysis.forecast import Expected, Fitted

__all__ = [
    *("BEYOND", "NO_FORECAST", "NO_SHIFT"),
    *("caption_of", "images_text", "measure_name", "network_name", "note_of"),
    *("row_name", "sentences_of"),
]

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
