"""What claims.py prints below the paper's claims: skip substitution, and the forecast's errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product

import numpy as np
from claim_measures import PARTS, everything_else
from evidence import Evidence, Measure, of_scores

from skiptool.analysis.correlation import COLUMNS
from skiptool.analysis.forecast import fit_losses
from skiptool.metrics import scores
from skiptool.records import ORIGINAL, Shift
from skiptool.report.inputs import Inputs

ALL_SKIPS = "1+2+3+4"
ASKED_FOR = tuple(
    Shift.parse(f"{kind}={factor}")
    for kind, factors in (
        ("brightness", (0.5, 0.75, 1.25, 1.5, 1.75)),
        ("contrast", (0.5, 1.5)),
        ("saturation", (0, 0.5)),
    )
    for factor in factors
)
"""Shifts that paper_synthetic.sh substitutes under; all are shown, measured or not."""
CLEAN = """\
IoU of the baseline under a shift if the decoder receives one part from the unshifted image and all
others from the shifted one: which part is enough to bring the IoU back. If a clean L1 alone helps,
it is enough; it need not carry the shift alone. Mean over trainings, intervals as above."""
SHIFTED = """\
The reverse: one part alone is from the shifted image, all others from the unshifted one. IoU minus
that of the unshifted image: what this part costs alone. Intervals as above."""
FORECAST = """\
Loss of IoU forecast from the corrected distance at one layer: mean absolute error on the kind of
shift that was left out, and that of the mean loss of the other kinds. Distances and losses are of
the {split} images."""


def substitution_tables(evidence: Evidence) -> list[str]:
    """Lay out both directions of substitution in the baselines; empty where nothing was tried."""
    mine = [each for each in evidence.networks if each.pruning == "baseline" and each.clean_skips]
    sizes = list(dict.fromkeys(each.encoder for each in mine))
    reverse = {part: everything_else(part) for part in PARTS}
    tried = {each.clean_skips for each in mine}
    clean: dict[str | None, str] = {
        None: "nothing clean",
        **{part: _name(part) for part in PARTS},
        ALL_SKIPS: "all skips",
    }
    tables = []
    if tried & {*PARTS}:
        tables.append(_laid_out(CLEAN, sizes, list(clean.values()), _rows(evidence, clean)))
    if tried & {reverse[part] for part in PARTS[:-1]}:
        heads: dict[str | None, str] = {
            None: "all shifted",
            **{reverse[part]: _name(part) for part in PARTS},
        }
        cells = _rows(evidence, heads, against_original=True)
        tables.append(_laid_out(SHIFTED, sizes, list(heads.values()), cells))
    return tables


_Cells = Callable[[str, Shift], list[str]]


def _laid_out(about: str, sizes: Sequence[str], heads: Sequence[str], cells: _Cells) -> str:
    lines = [f"| | shift | {' | '.join(heads)} |", f"|---|---|{'---:|' * len(heads)}"]
    for encoder, shift in product(sizes, ASKED_FOR):
        lines.append(f"| {encoder} | {shift} | {' | '.join(cells(encoder, shift))} |")
    return "\n".join([about, "", *lines])


def _rows(
    evidence: Evidence, parts: Iterable[str | None], *, against_original: bool = False
) -> _Cells:
    def cells(encoder: str, shift: Shift) -> list[str]:
        found = []
        for part in parts:
            scored = [evidence.iou(encoder, "baseline", shift, part)]
            if against_original:
                scored.append(evidence.iou(encoder, "baseline", ORIGINAL))
            found.append(of_scores(np.subtract if against_original else np.asarray, *scored))
        return [_written(each, -1.0 if against_original else 0.0) for each in found]

    return cells


def _name(part: str) -> str:
    return f"L{part}" if part.isdigit() else part


def _written(found: Measure | None, least: float) -> str:
    """Write a number with its interval, cut off at the least and the greatest that it can be."""
    if found is None:
        return "not measured"
    ends = np.clip((found.found.ci_low, found.found.ci_high), least, 1.0).tolist()
    numbers = (found.value, *ends)
    value, low, high = (f"{each:.2f}".replace("-", "\N{MINUS SIGN}") for each in numbers)
    return value if np.isnan(found.found.ci_low) else f"{value} [{low}, {high}]"


def forecast_table(inputs: Inputs) -> str:
    """Lay out the errors of the forecast; empty where nothing can be fitted."""
    layers: dict[str, list[object]] = {name: [] for name in COLUMNS}
    for table in inputs.shifts:
        for name, column in table.where_null("channel").columns(COLUMNS).items():
            layers[name] += column
    lines, splits = [], []
    for fit in fit_losses(scores(inputs.totals()), layers):
        splits.append(fit.split)
        who = f"{fit.kin.family} {fit.pruning}"
        for held in fit.cross_validation.held:
            errors = f"{held.error:.2f} | {held.error_of_mean:.2f}"
            lines.append(f"| {who} | {held.kind} | {held.points} | {errors} |")
        errors = f"{fit.error:.2f} | {fit.error_of_mean:.2f}"
        lines.append(f"| {who} | mean of the kinds | {len(fit.points)} | {errors} |")
    if not lines:
        return ""
    head = "| | left out | points | error | error of the mean |"
    text = FORECAST.format(split=" or ".join(dict.fromkeys(splits)))
    return "\n".join([text, "", head, "|---|---|---:|---:|---:|", *lines])
