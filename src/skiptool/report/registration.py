"""Registration of scans: residual misalignment, and patches that were left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skiptool.analysis import registration
from skiptool.analysis.registration import Pair, residual_limits
from skiptool.figures.residuals import draw_alignment
from skiptool.figures.style import label_text
from skiptool.names import Kind
from skiptool.records import Table
from skiptool.report.exhibit import Cell, Exhibit, nan_to_none

if TYPE_CHECKING:
    from skiptool.report.exhibit import Number


def registration_exhibits(columns: Mapping[str, Sequence[Any]], name: str = "") -> list[Exhibit]:
    """Show the pairs of domains of a registration table.

    Parameters
    ----------
    columns : mapping of column name to values
        ``subject``, ``slide``, ``reference_domain``, ``domain``, ``sample``, ``residual``,
        ``residual_um``, ``kept``, ``reason`` of a table ``registration``.
    name : str
        Name of the dataset, for the title. Call once per dataset: patches of several must not be
        pooled.

    Returns
    -------
    list of Exhibit
        One; empty without rows.
    """
    pairs = registration.pairs(columns)
    if not pairs:
        return []
    title = f"Residual misalignment{f', {name}' if name else ''}"
    reasons = list(dict.fromkeys(reason for pair in pairs for reason in pair.lost))
    exhibit = Exhibit(
        topic="registration",
        heading="Registration of the scans",
        title=title,
        caption=_caption(pairs),
        sentences=[_sentence(pair) for pair in pairs],
        table=_table(pairs, title, reasons),
        numbers=[number for pair in pairs for number in _numbers(pair, reasons)],
        draw=lambda: draw_alignment(pairs),
        sources=(Kind.REGISTRATION,),
    )
    return [exhibit]


def _table(pairs: Sequence[Pair], title: str, reasons: Sequence[str]) -> Table:
    columns: dict[str, list[Cell]] = {
        "reference": [pair.reference_domain for pair in pairs],
        "domain": [pair.domain for pair in pairs],
        "slides": [pair.slides for pair in pairs],
        "not aligned": [pair.unaligned for pair in pairs],
        "patches": [pair.patches for pair in pairs],
        "kept": [pair.kept for pair in pairs],
        "share kept": [nan_to_none(pair.share) for pair in pairs],
    }
    for reason in reasons:
        columns[label_text(reason, 48)] = [pair.lost.get(reason, 0) for pair in pairs]
    for unit in ("px", "µm"):
        residuals = [pair.residuals[unit] for pair in pairs]
        columns[f"median, {unit}"] = [nan_to_none(residual.median) for residual in residuals]
        columns[f"90 %, {unit}"] = [nan_to_none(residual.p90) for residual in residuals]
    return Table(title, columns, uniform=("reference", "not aligned"))


def _numbers(pair: Pair, reasons: Sequence[str]) -> list[Number]:
    """Return the numbers of a pair; quantities of residuals name their unit."""
    facts = {"reference_domain": pair.reference_domain, "domain": pair.domain}
    rows: list[Number] = []
    for unit, residual in pair.residuals.items():
        for name, value in (("median", residual.median), ("p90", residual.p90)):
            quantity = f"residual {name}, {unit}"
            points = residual.measured
            rows.append({"quantity": quantity, **facts, "value": value, "points": points})
    counts: dict[str, float] = {
        "slides": pair.slides,
        "slides not aligned": pair.unaligned,
        "patches": pair.patches,
        "kept": pair.kept,
        "share kept": pair.share,
    }
    counts |= {f"left out: {reason}": pair.lost.get(reason, 0) for reason in reasons}
    rows += [{"quantity": name, **facts, "value": n} for name, n in counts.items()]
    return rows


def _sentence(pair: Pair) -> str:
    """State the residuals of two scans and the patches left out."""
    name = f"{label_text(pair.domain)} against {label_text(pair.reference_domain)}"
    px, um = pair.residuals["px"], pair.residuals["µm"]
    if not px.measured:
        return f"{name}: no residual was measured."
    length = "" if math.isnan(um.median) else f" ({um.median:.2g} µm)"
    lost = ", ".join(f"{count:,} {label_text(reason)}" for reason, count in pair.lost.items())
    return (
        f"{name}: half of the patches are within {px.median:.2g} px{length}, 90 % within "
        f"{px.p90:.2g} px; {pair.kept:,} of {pair.patches:,} are kept"
        f"{f' ({lost})' if lost else ''}."
    )


def _caption(pairs: Sequence[Pair]) -> str:
    slides = max(pair.slides for pair in pairs)
    patches = max(pair.patches for pair in pairs)
    limits = residual_limits(pairs)
    allowed = (
        f" (dashed: the {min(limits.values()):g} px that were allowed)" if len(limits) == 1 else ""
    )
    return (
        "Residual misalignment between a scan and that of the reference domain, by patch, in "
        "level-0 pixels of the reference and in micrometres: line from the 10 % to the 90 % "
        "quantile, box between the quartiles, bar at the median over all patches where it could be "
        f"measured{allowed}; small marks: medians of the slides. Right: patches kept and left "
        f"out; a patch lost on one scan is left out in all domains. Up to {slides:,} "
        f"slide{'' if slides == 1 else 's'} and {patches:,} patches per pair."
    )
