"""Registration of scans: residual misalignment, and patches left out because of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skiptool.analysis.registration import Pair, pairs, residual_limits
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
        Of the dataset, for the title. Call once for each dataset: patches of several are not to be
        pooled.

    Returns
    -------
    list of Exhibit
        One; empty without rows.
    """
    found = pairs(columns)
    if not found:
        return []
    title = f"Residual misalignment{f', {name}' if name else ''}"
    reasons = list(dict.fromkeys(reason for pair in found for reason in pair.lost))
    exhibit = Exhibit(
        topic="registration",
        heading="Registration of the scans",
        title=title,
        caption=_caption(found),
        sentences=[_sentence(pair) for pair in found],
        table=_table(found, title, reasons),
        numbers=[number for pair in found for number in _numbers(pair, reasons)],
        draw=lambda: draw_alignment(found),
        sources=(Kind.REGISTRATION,),
    )
    return [exhibit]


def _table(found: Sequence[Pair], title: str, reasons: Sequence[str]) -> Table:
    columns: dict[str, list[Cell]] = {
        "reference": [pair.reference_domain for pair in found],
        "domain": [pair.domain for pair in found],
        "slides": [pair.slides for pair in found],
        "not aligned": [pair.unaligned for pair in found],
        "patches": [pair.patches for pair in found],
        "kept": [pair.kept for pair in found],
        "share kept": [nan_to_none(pair.share) for pair in found],
    }
    for reason in reasons:
        columns[label_text(reason, 48)] = [pair.lost.get(reason, 0) for pair in found]
    for unit in ("px", "µm"):
        residuals = [pair.residuals[unit] for pair in found]
        columns[f"median, {unit}"] = [nan_to_none(each.median) for each in residuals]
        columns[f"90 %, {unit}"] = [nan_to_none(each.p90) for each in residuals]
    return Table(title, columns, uniform=("reference", "not aligned"))


def _numbers(pair: Pair, reasons: Sequence[str]) -> list[Number]:
    """Return the numbers of a pair; the quantity of a residual names its unit."""
    facts = {"reference_domain": pair.reference_domain, "domain": pair.domain}
    rows: list[Number] = [
        {"quantity": f"residual {name}, {unit}", **facts, "value": value, "points": each.measured}
        for unit, each in pair.residuals.items()
        for name, value in (("median", each.median), ("p90", each.p90))
    ]
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
    """State how far two scans are apart, and what is lost by it."""
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


def _caption(found: Sequence[Pair]) -> str:
    slides = max(pair.slides for pair in found)
    patches = max(pair.patches for pair in found)
    limits = residual_limits(found)
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
