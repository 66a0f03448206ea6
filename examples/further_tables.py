"""What claims.py prints below the paper's claims: skip substitution, and the forecast's errors."""

from __future__ import annotations

import numpy as np
from claim_measures import PARTS
from evidence import Evidence, over_folds

from skiptool.metrics.scores import scores
from skiptool.readings.forecast import fit_losses
from skiptool.readings.joined import COLUMNS
from skiptool.records import Shift
from skiptool.steps.report.inputs import Inputs

ALL_SKIPS = "1+2+3+4"
SUBSTITUTED = """\
IoU of the baseline under a shift, folds averaged, where the decoder is fed one part from the
unshifted image and all others from the shifted one; 95 % intervals as above."""
FORECAST = """\
Loss of IoU forecast from the corrected distance at one layer: mean absolute error on the kind of
shift that was left out, and that of the mean loss of the other kinds. Distances and losses are of
the {split} images."""


def substitution_table(evidence: Evidence) -> str:
    """Lay out the IoU of baselines by shift and clean part; empty where nothing is substituted."""
    mine = [each for each in evidence.networks if each.pruning == "baseline" and each.clean_skips]
    rows = sorted({(each.encoder, each.shift) for each in mine}, key=_order)
    if not rows:
        return ""
    parts: dict[str | None, str] = {None: "nothing clean"}
    parts |= {**{part: _name(part) for part in PARTS}, ALL_SKIPS: "all skips"}
    lines = [f"| | shift | {' | '.join(parts.values())} |", f"|---|---|{'---:|' * len(parts)}"]
    for encoder, shift in rows:
        cells = [_cell(evidence, encoder, shift, part) for part in parts]
        lines.append(f"| {encoder} | {shift} | {' | '.join(cells)} |")
    return "\n".join([SUBSTITUTED, "", *lines])


def _order(row: tuple[str, Shift]) -> tuple[str, str, float]:
    encoder, shift = row
    return encoder, shift.kind.value, shift.factor or 0.0


def _name(part: str) -> str:
    return f"L{part}" if part.isdigit() else part


def _cell(evidence: Evidence, encoder: str, shift: Shift, clean: str | None) -> str:
    found = over_folds(np.asarray, evidence.iou(encoder, "baseline", shift, clean))
    if found is None:
        return "not measured"
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def forecast_table(inputs: Inputs) -> str:
    """Lay out the errors of the forecast; empty where nothing can be fitted."""
    layers: dict[str, list[object]] = {name: [] for name in COLUMNS}
    for table in inputs.shifts:
        for name, column in table.lacking("channel").columns(COLUMNS).items():
            layers[name] += column
    lines, splits = [], []
    for fit in fit_losses(scores(inputs.totals()), layers):
        splits.append(fit.split)
        who = f"{fit.kin.family} {fit.pruning}"
        for held in fit.crossed.held:
            errors = f"{held.error:.2f} | {held.error_of_mean:.2f}"
            lines.append(f"| {who} | {held.kind} | {held.points} | {errors} |")
        errors = f"{fit.error:.2f} | {fit.error_of_mean:.2f}"
        lines.append(f"| {who} | mean of the kinds | {len(fit.points)} | {errors} |")
    if not lines:
        return ""
    head = "| | left out | points | error | error of the mean |"
    text = FORECAST.format(split=" or ".join(dict.fromkeys(splits)))
    return "\n".join([text, "", head, "|---|---|---:|---:|---:|", *lines])
