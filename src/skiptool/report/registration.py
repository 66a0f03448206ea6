"""Registration of scans: what is left of the misalignment, and what is left out for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skiptool.analysis.registration import Pair, pairs, residual_limits
from skiptool.figures.residuals import draw_alignment
from skiptool.figures.style import readable
from skiptool.records import Table
from skiptool.report.exhibit import known

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.report.exhibit import Number, Shown

__all__ = ["Registration", "registrations"]


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """All pairs of a reference domain and another.

    Attributes
    ----------
    title, caption : str
    pairs : tuple of Pair
    """

    title: str
    caption: str
    pairs: tuple[Pair, ...]
    topic: str = "registration"
    heading: str = "Registration of the scans"

    def draw(self) -> Figure:
        """Draw residuals in pixels and micrometres, and the share of patches kept."""
        return draw_alignment(self.pairs)

    def table(self) -> Table:
        """Return a line for each pair."""
        found = self.pairs
        columns: dict[str, list[str | int | float | None]] = {
            "reference": [pair.reference_domain for pair in found],
            "domain": [pair.domain for pair in found],
            "slides": [pair.slides for pair in found],
            "not aligned": [pair.unaligned for pair in found],
            "patches": [pair.patches for pair in found],
            "kept": [pair.kept for pair in found],
            "share kept": [known(pair.share) for pair in found],
        }
        for name in self._reasons:
            columns[readable(name, 48)] = [pair.lost.get(name, 0) for pair in found]
        for unit in ("px", "µm"):
            residuals = [pair.residuals[unit] for pair in found]
            columns[f"median, {unit}"] = [known(each.median) for each in residuals]
            columns[f"90 %, {unit}"] = [known(each.p90) for each in residuals]
        return Table(self.title, columns, uniform=("reference", "not aligned"))

    @property
    def _reasons(self) -> list[str]:
        return list(dict.fromkeys(reason for pair in self.pairs for reason in pair.lost))

    def numbers(self) -> list[Number]:
        """Return the numbers of each pair; the unit of a residual stands in its quantity."""
        found: list[Number] = []
        for pair in self.pairs:
            of = {"reference_domain": pair.reference_domain, "domain": pair.domain}
            for unit, residuals in pair.residuals.items():
                points = {"points": residuals.measured}
                for name, value in (("median", residuals.median), ("p90", residuals.p90)):
                    quantity = f"residual {name}, {unit}"
                    found.append({"quantity": quantity, **of, "value": value, **points})
            counted: dict[str, float] = {
                **{"slides": pair.slides, "slides not aligned": pair.unaligned},
                **{"patches": pair.patches, "kept": pair.kept, "share kept": pair.share},
                **{f"left out: {why}": pair.lost.get(why, 0) for why in self._reasons},
            }
            found += [{"quantity": name, **of, "value": n} for name, n in counted.items()]
        return found

    def sentences(self) -> tuple[str, ...]:
        """Say for each pair how far scans are apart, and what is lost by it."""
        sentences = []
        for pair in self.pairs:
            name = f"{readable(pair.domain)} against {readable(pair.reference_domain)}"
            px, um = pair.residuals["px"], pair.residuals["µm"]
            if not px.measured:
                sentences.append(f"{name}: no residual was measured.")
                continue
            length = "" if math.isnan(um.median) else f" ({um.median:.2g} µm)"
            lost = ", ".join(f"{count:,} {readable(why)}" for why, count in pair.lost.items())
            sentences.append(
                f"{name}: half of the patches are within {px.median:.2g} px{length}, 90 % within "
                f"{px.p90:.2g} px; {pair.kept:,} of {pair.patches:,} are kept"
                f"{f' ({lost})' if lost else ''}."
            )
        return tuple(sentences)


def registrations(columns: Mapping[str, Sequence[Any]], name: str = "") -> list[Shown]:
    """Make the exhibit of the rows of registration tables.

    Parameters
    ----------
    columns : mapping of column name to values
        ``subject``, ``slide``, ``reference_domain``, ``domain``, ``sample``, ``residual``,
        ``residual_um``, ``kept``, ``reason`` of a table ``registration``.
    name : str
        Of the dataset, for the title. Tables of two datasets are two calls: their patches are
        not to be pooled.

    Returns
    -------
    list of Shown
        One, or none without rows.
    """
    found = tuple(pairs(columns))
    if not found:
        return []
    title = f"Residual misalignment{f', {name}' if name else ''}"
    return [Registration(title, _caption(found), found)]


def _caption(found: Sequence[Pair]) -> str:
    slides = max(pair.slides for pair in found)
    patches = max(pair.patches for pair in found)
    limits = residual_limits(found)
    allowed = (
        f" (dashed: the {min(limits.values()):g} px that were allowed)" if len(limits) == 1 else ""
    )
    return (
        "What is left of the misalignment between a scan and that of the reference domain, by "
        "patch, in level-0 pixels of the reference and in micrometres: line from the 10 % to the "
        "90 % quantile, box over the quartiles, bar at the median over all patches where it could "
        f"be measured{allowed}; small marks: medians of the slides. Right: patches kept and left "
        f"out; a patch lost on one scan is left out in all domains. Up to {slides:,} "
        f"slide{'' if slides == 1 else 's'} and {patches:,} patches a pair."
    )
