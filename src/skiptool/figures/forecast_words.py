"""What a forecast without labels is called and what is said of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from skiptool.figures.forecast_sheet import MOST
from skiptool.figures.measures import binning, measure_of
from skiptool.figures.style import readable
from skiptool.readings.forecast import VALIDATION

if TYPE_CHECKING:
    from skiptool.readings.forecast import Fitted

__all__ = ["NO_BETTER", "caption_of", "measure_name", "network_name", "sentences_of"]

NO_BETTER: Final = "no better than the mean"
"""How a fit of which nothing is to be expected is marked."""


def measure_name(found: Fitted) -> str:
    """Name the distance: ``Hellinger distance``."""
    return readable(measure_of({"metric": found.kin.metric}))


def network_name(found: Fitted) -> str:
    """Name the networks: ``resnet18 L1-pruned``."""
    name = f"{readable(found.kin.family)} {readable(found.pruning)}".strip()
    return name or "networks"


def _layer(found: Fitted) -> str:
    return readable(found.layers[found.layer])


def caption_of(found: Fitted) -> str:
    """Say what is fitted to what, how it was tested, and what an interval promises."""
    parts = (_fit_text(found), _error_text(found), _interval_text(found), _rest_text(found))
    return " ".join(part for part in parts if part)


def _fit_text(found: Fitted) -> str:
    networks = len({point.model_id for point in found.points})
    shifts = len({point.change.cluster for point in found.points})
    if found.split == VALIDATION:
        wanting = ""
    else:
        wanting = (
            f" The split is {readable(found.split)}, for want of scores of validation samples "
            "(predict --split fold), and the stated error thus optimistic."
        )
    classes = ", ".join(map(readable, found.classes))
    mean = "mean " * (len(found.classes) > 1)
    bins = binning({"bins": found.kin.bins, "range_rule": found.kin.range_rule})
    return (
        f"Left: loss of {mean}IoU ({classes}) under controlled shifts against "
        f"{measure_name(found)} at {_layer(found)}{bins}; {readable(found.split)} samples of "
        f"{readable(found.domain)}, n = {len(found.points)} points, each one of "
        f"{networks} trained network{'s'[: networks - 1]} (folds pooled) under one of {shifts} "
        "shifts. Line: least squares among lines that do not fall (isotonic regression, Barlow et "
        f"al. 1972), straight between its knots, constant beyond them.{wanting}"
    )


def _error_text(found: Fitted) -> str:
    kinds = len(found.crossed.held)
    return (
        "Cross-validated error: mean absolute error on the kind of shift that was left out, of "
        f"{kinds} kinds in turn, layer and line chosen from the others alone; beside it that "
        "of the mean loss of the others."
    )


def _interval_text(found: Fitted) -> str:
    if not found.expected:
        return "Right: nothing to forecast, for no comparison leads to images without labels."
    right = (
        "Right: forecast, a mean over the networks of a comparison; diamond: the true loss, "
        "where labels exist."
    )
    if math.isnan(found.width):
        return (
            f"{right} No intervals: a level of {100 * found.level:g} % needs more points than "
            f"{len(found.points)}."
        )
    return (
        f"{right} Interval: that quantile of the cross-validated absolute residuals to either "
        f"side (split conformal, Lei et al. 2018, level {100 * found.level:g} %; of one "
        "network, at most −1 to 1). It holds for shifts like those of the fit, and is rather too "
        "narrow, for points of one shift are alike; nothing promises that a domain is such a shift."
    )


def _rest_text(found: Fitted) -> str:
    further = len(found.expected) - MOST
    more = f"{further} further rows are in the table." if further > 0 else ""
    lost = found.left_out
    left = f"Left out: {lost} comparisons not measured at {_layer(found)}." if lost else ""
    return f"{more} {left}".strip()


def sentences_of(found: Fitted) -> tuple[str, ...]:
    """Say whether the fit is better than the mean, and what it forecasts."""
    errors = f"{found.error:.3f} against {found.error_of_mean:.3f}"
    verdict = (
        f"forecasts a kind of shift that it has not seen better than the mean does: mean "
        f"absolute error {errors}."
        if found.better
        else f"is {NO_BETTER}: mean absolute error on a kind of shift that it has not seen "
        f"{errors}. Its forecasts are listed, but should not be relied on."
    )
    told = [f"{network_name(found)}: the fit to the distance at {_layer(found)} {verdict}"]
    if found.better and found.unmet:
        told.append(f"On {' and '.join(map(readable, found.unmet))} alone it is {NO_BETTER}.")
    known = [row for row in found.expected if row.labelled and not math.isnan(row.low)]
    if known:
        inside = sum(row.low <= row.loss <= row.high for row in known)
        told.append(
            f"The true loss lies in the interval in {inside} of {len(known)} comparisons with "
            "labels."
        )
    ends = found.line.knots[[0, -1]].tolist()
    beyond = sum(not ends[0] <= row.distance <= ends[1] for row in found.expected)
    if beyond:
        told.append(
            f"Of {len(found.expected)} forecasts, {beyond} lie beyond the distances of the "
            "fit, where the line is constant."
        )
    return tuple(told)
