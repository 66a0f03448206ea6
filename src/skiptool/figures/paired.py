"""Paired comparison of each pruned network with the baseline, as a forest plot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from skiptool.analysis.differences import PairedDifference, paired_differences
from skiptool.figures.exhibit import Shown, known
from skiptool.figures.forest import Mark, forest
from skiptool.figures.grid import Column
from skiptool.figures.measures import of_split
from skiptool.figures.paired_words import (
    ALPHA,
    describe,
    findings,
    interval_name,
    is_tested,
)
from skiptool.figures.score_grid import shift_column, shift_order
from skiptool.figures.style import in_paper_order, readable
from skiptool.names import ENSEMBLE_FOLD, ShiftKind
from skiptool.records import Table
from skiptool.stats.permutation import holm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.figures.exhibit import Number

__all__ = ["PairedComparison", "paired_comparisons"]


@dataclass(frozen=True, slots=True, eq=False)
class PairedComparison:
    """Differences of mean IoU to the baseline under several shifts, or in several domains.

    Attributes
    ----------
    title, heading, caption, measure : str
        ``measure`` is what is compared: ``cell IoU``.
    across : str
        What the rows of the plot are: shift, domain.
    rows : tuple of Column
    found : tuple of PairedDifference
        In the order of families, rows and prunings.
    places : tuple of int
        Row of each.
    adjusted : tuple of float
        p-values after Holm's adjustment over all of ``found``; NaN where there was no test.
    level : float
        Of the intervals.
    """

    title: str
    heading: str
    caption: str
    measure: str
    across: str
    rows: tuple[Column, ...]
    found: tuple[PairedDifference, ...]
    places: tuple[int, ...]
    adjusted: tuple[float, ...]
    level: float

    @property
    def topic(self) -> str:
        """Stem of its anchor."""
        return "paired"

    def draw(self) -> Figure:
        """Draw the forest plot; marks are filled where the adjusted p-value is below 0.05."""
        marks = [
            Mark(
                *(place, one.family, one.pruning, one.ensemble),
                *(one.value, one.ci_low, one.ci_high, one.sd_trainings),
                p < ALPHA,
            )
            for one, place, p in zip(self.found, self.places, self.adjusted, strict=True)
        ]
        tested = is_tested(self.found)
        return forest(
            marks,
            self.rows,
            label=f"{self.measure} minus that of the baseline",
            interval=interval_name(self.found, self.level),
            sure=f"p < {ALPHA} (Holm)" if tested else "",
            unsure=f"p ≥ {ALPHA}, or no test" if tested else "one training, no test",
        )

    def table(self) -> Table:
        """Return all numbers of the comparison, a row for each."""
        names = [self._row_name(place) for place in self.places]
        columns: dict[str, list[Any]] = {
            "encoder": [one.family for one in self.found],
            "pruning": [one.network for one in self.found],
            self.across: names,
            "difference": [known(one.value) for one in self.found],
            "CI low": [known(one.ci_low) for one in self.found],
            "CI high": [known(one.ci_high) for one in self.found],
            "SE subjects": [known(one.se_subjects) for one in self.found],
            "SE trainings": [known(one.se_trainings) for one in self.found],
            "SD trainings": [known(one.sd_trainings) for one in self.found],
            "p": [known(one.p_value) for one in self.found],
            "p (Holm)": [known(p) for p in self.adjusted],
            "subjects": [one.subjects for one in self.found],
            "trainings": [one.trainings for one in self.found],
        }
        spare = ("SE subjects", "SE trainings", "p", "subjects", "trainings")
        return Table(f"{self.measure}: {self.title}", columns, uniform=("encoder",), spare=spare)

    def numbers(self) -> list[Number]:
        """Return each comparison as a row of the table ``report``."""
        return [
            {
                **{"quantity": "difference", "dataset": one.dataset, "domain": one.domain},
                **{"split": one.split, "arch": one.arch, "encoder": one.encoder},
                **{"pruning": one.pruning, "fold": ENSEMBLE_FOLD if one.ensemble else None},
                **{"shift": one.shift.kind.value, "factor": one.shift.factor},
                **{"value": one.value, "sd_folds": one.sd_trainings},
                **{"se_trainings": one.se_trainings, "se_subjects": one.se_subjects},
                **{"ci_low": one.ci_low, "ci_high": one.ci_high, "level": self.level},
                **{"p_value": one.p_value, "p_adjusted": p},
                **{"folds": one.trainings, "trainings": one.trainings, "subjects": one.subjects},
            }
            for one, p in zip(self.found, self.adjusted, strict=True)
        ]

    def sentences(self) -> tuple[str, ...]:
        """Say in words which networks gain and lose, and where, or that none can be told."""
        places = [readable(self._row_name(place)) for place in self.places]
        return findings(self.found, places, self.adjusted)

    def _row_name(self, place: int) -> str:
        row = self.rows[place]
        return f"{row.block} {row.label}".strip()


def paired_comparisons(totals: Mapping[str, Sequence[Any]], *, level: float = 0.95) -> list[Shown]:
    """Compare pruned networks with their baseline, in the same trainings and on the same subjects.

    Parameters
    ----------
    totals : mapping of column name to values
        The columns ``skiptool.metrics.KEYS``, ``subject`` and ``pixels``; see
        :func:`skiptool.analysis.differences.subject_counts`.
    level : float
        Of the intervals.

    Returns
    -------
    list of Shown
        First one for each dataset, domain and split in which shifts were measured; then one for
        each dataset and split with unshifted images of several domains, or of one that has no
        shifts. None where no network has a baseline.

    Raises
    ------
    ArgumentError
        If the level is not between 0 and 1.
    """
    found = paired_differences(totals, level=level)
    shown: list[Shown] = []
    shifted = set()
    for group in _groups(found, lambda one: (one.dataset_id, one.domain, one.split)):
        shifts = sorted({one.shift for one in group}, key=shift_order)
        if shifts[-1].kind is not ShiftKind.ORIGINAL:
            shifted.add((group[0].dataset_id, group[0].domain))
            of = f"{group[0].domain}{of_split(group[0].split)}"
            heading = f"Comparison with the baseline, {of}"
            rows = {shift: shift_column(shift) for shift in shifts}
            ordered = _ordered(group, [shifts.index(one.shift) for one in group])
            shown.append(_comparison(ordered, heading, "shift", tuple(rows.values()), level))
    plain = [one for one in found if one.shift.kind is ShiftKind.ORIGINAL]
    for group in _groups(plain, lambda one: (one.dataset_id, one.split)):
        domains = sorted({one.domain for one in group})
        if len(domains) > 1 or (group[0].dataset_id, domains[0]) not in shifted:
            of = f"{group[0].dataset}{of_split(group[0].split)}"
            heading = f"Comparison with the baseline by domain, {of}"
            ordered = _ordered(group, [domains.index(one.domain) for one in group])
            shown.append(
                _comparison(ordered, heading, "domain", tuple(map(Column, domains)), level)
            )
    return shown


def _groups(
    found: Sequence[PairedDifference], key: Callable[[PairedDifference], tuple[str, ...]]
) -> list[list[PairedDifference]]:
    groups: dict[tuple[str, ...], list[PairedDifference]] = {}
    for one in found:
        groups.setdefault(key(one), []).append(one)
    return list(groups.values())


_Placed = list[tuple[int, PairedDifference]]


def _ordered(group: Sequence[PairedDifference], places: Sequence[int]) -> _Placed:
    """Sort by family, row, pruning; an ensemble follows its members."""
    families = list(dict.fromkeys(one.family for one in group))
    prunings = in_paper_order(one.pruning for one in group)
    return sorted(
        zip(places, group, strict=True),
        key=lambda pair: (
            families.index(pair[1].family),
            pair[0],
            prunings.index(pair[1].pruning),
            pair[1].ensemble,
        ),
    )


def _comparison(
    ordered: _Placed, heading: str, across: str, rows: tuple[Column, ...], level: float
) -> PairedComparison:
    found = tuple(one for _, one in ordered)
    adjusted = holm(np.array([one.p_value for one in found]))
    classes = found[0].classes
    measure = f"{classes[0]} IoU" if len(classes) == 1 else "mean IoU"
    title = f"Difference in {measure} to the baseline by {across}"
    caption = describe(found, measure, level)
    places = tuple(place for place, _ in ordered)
    numbers = tuple(adjusted.tolist())
    return PairedComparison(
        title, heading, caption, measure, across, rows, found, places, numbers, level
    )
