"""Paired comparison of each pruned network with the baseline, as a forest plot."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from skiptool.figures.exhibit import Shown
from skiptool.figures.forest import Mark, forest
from skiptool.figures.grid import Column
from skiptool.figures.score_grid import shift_column, shift_order
from skiptool.figures.style import in_paper_order
from skiptool.names import ENSEMBLE_FOLD, ShiftKind
from skiptool.readings.difference import EXCHANGES, RESAMPLES
from skiptool.readings.paired import PairedDifference, paired_differences
from skiptool.records import Table
from skiptool.stats.exchange import least_p_value
from skiptool.stats.holm import holm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.figures.exhibit import Number

__all__ = ["PairedComparison", "paired_comparisons"]

_ALPHA: Final = 0.05
_TOLD: Final = 4  # networks named in a sentence


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
                *(one.value, one.ci_low, one.ci_high, one.sd_folds),
                p < _ALPHA,
            )
            for one, place, p in zip(self.found, self.places, self.adjusted, strict=True)
        ]
        return forest(
            marks,
            self.rows,
            label=f"{self.measure} minus that of the baseline",
            interval=f"{100 * self.level:g} % interval over subjects",
            sure=f"p < {_ALPHA} (Holm)",
        )

    def table(self) -> Table:
        """Return all numbers of the comparison, a row for each."""
        names = [self._row_name(place) for place in self.places]
        columns: dict[str, list[Any]] = {
            "encoder": [one.family for one in self.found],
            "pruning": [one.network for one in self.found],
            self.across: names,
            "difference": [_known(one.value) for one in self.found],
            "CI low": [_known(one.ci_low) for one in self.found],
            "CI high": [_known(one.ci_high) for one in self.found],
            "SE subjects": [_known(one.se_subjects) for one in self.found],
            "SD folds": [_known(one.sd_folds) for one in self.found],
            "p": [_known(one.p_value) for one in self.found],
            "p (Holm)": [_known(p) for p in self.adjusted],
            "subjects": [one.subjects for one in self.found],
            "folds": [one.folds for one in self.found],
        }
        spare = ("SE subjects", "p", "subjects", "folds")
        return Table(f"{self.measure}: {self.title}", columns, uniform=("encoder",), spare=spare)

    def numbers(self) -> list[Number]:
        """Return each comparison as a row of the table ``report``."""
        return [
            {
                **{"quantity": "difference", "dataset": one.dataset, "domain": one.domain},
                **{"split": one.split, "arch": one.arch, "encoder": one.encoder},
                **{"pruning": one.pruning, "fold": ENSEMBLE_FOLD if one.ensemble else None},
                **{"shift": one.shift.kind.value, "factor": one.shift.factor},
                **{"value": one.value, "sd_folds": one.sd_folds, "se_subjects": one.se_subjects},
                **{"ci_low": one.ci_low, "ci_high": one.ci_high, "level": self.level},
                **{"p_value": one.p_value, "p_adjusted": p},
                **{"folds": one.folds, "subjects": one.subjects},
            }
            for one, p in zip(self.found, self.adjusted, strict=True)
        ]

    def sentences(self) -> tuple[str, ...]:
        """Say in words which networks gain and lose, and where, or that none can be told."""
        gains = self._told("Better", lambda value: value > 0)
        losses = self._told("Worse", lambda value: value < 0)
        if gains or losses:
            return tuple(sentence for sentence in (gains, losses) if sentence)
        made = [p for p in self.adjusted if not math.isnan(p)]
        if not made:
            return ()
        sentence = f"None of {len(made)} differences to the baseline is below p = {_ALPHA} (Holm)."
        least = len(made) * min(least_p_value(one.subjects, EXCHANGES) for one in self.found)
        if least >= _ALPHA:
            sentence = f"{sentence[:-1]}, and with so few subjects none can be: see the caption."
        return (sentence,)

    def _told(self, word: str, counts: Callable[[float], bool]) -> str:
        """Name the networks that differ in one direction, those first that do so most often."""
        networks: dict[str, list[tuple[float, int]]] = {}
        tested: dict[str, int] = {}
        for one, place, p in zip(self.found, self.places, self.adjusted, strict=True):
            name = f"{one.family} {one.network}".strip()
            tested[name] = tested.get(name, 0) + 1
            if p < _ALPHA and counts(one.value):
                networks.setdefault(name, []).append((one.value, place))
        if not networks:
            return ""
        parts = []
        for name in sorted(networks, key=lambda name: -len(networks[name]))[:_TOLD]:
            value, place = max(networks[name], key=lambda pair: abs(pair[0]))
            shown = f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")
            where = f"most {self._row_name(place)}, {shown}"
            parts.append(f"{name} in {len(networks[name])} of {tested[name]} ({where})")
        more = len(networks) - len(parts)
        tail = f"; {more} more in others" if more else ""
        return f"{word} than the baseline, p < {_ALPHA} (Holm): {'; '.join(parts)}{tail}."

    def _row_name(self, place: int) -> str:
        row = self.rows[place]
        return f"{row.block} {row.label}".strip()


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def paired_comparisons(
    totals: Mapping[str, Sequence[Any]], *, level: float = 0.95, seed: int = 0
) -> list[Shown]:
    """Compare pruned networks with their baseline, on the same subjects.

    Parameters
    ----------
    totals : mapping of column name to values
        The columns ``skiptool.metrics.scores.KEYS``, ``subject`` and ``pixels``; see
        :func:`skiptool.readings.subject_counts.subject_counts`.
    level : float
        Of the intervals.
    seed : int
        Of the drawing of subjects.

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
    found = paired_differences(totals, level=level, seed=seed)
    shown: list[Shown] = []
    shifted = set()
    for group in _groups(found, lambda one: (one.dataset_id, one.domain, one.split)):
        shifts = sorted({one.shift for one in group}, key=shift_order)
        if shifts[-1].kind is not ShiftKind.ORIGINAL:
            shifted.add((group[0].dataset_id, group[0].domain))
            heading = f"Comparison with the baseline, {group[0].domain}"
            rows = {shift: shift_column(shift) for shift in shifts}
            ordered = _ordered(group, [shifts.index(one.shift) for one in group])
            shown.append(_comparison(ordered, heading, "shift", tuple(rows.values()), level))
    plain = [one for one in found if one.shift.kind is ShiftKind.ORIGINAL]
    for group in _groups(plain, lambda one: (one.dataset_id, one.split)):
        domains = sorted({one.domain for one in group})
        if len(domains) > 1 or (group[0].dataset_id, domains[0]) not in shifted:
            heading = f"Comparison with the baseline by domain, {group[0].dataset}"
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
    """Sort by family, row, pruning; an ensemble follows its folds."""
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
    caption = _caption(found, measure, level)
    places = tuple(place for place, _ in ordered)
    numbers = tuple(adjusted.tolist())
    return PairedComparison(
        title, heading, caption, measure, across, rows, found, places, numbers, level
    )


def _caption(found: Sequence[PairedDifference], measure: str, level: float) -> str:
    first = found[0]
    folds, subjects = ([getattr(one, name) for one in found] for name in ("folds", "subjects"))
    averaged = f"mean over {max(folds)} folds" if max(folds) > 1 else "one fold"
    text = (
        f"{measure[0].upper()}{measure[1:]} of each pruned network minus that of the baseline of "
        "the same encoder, fold, domain and shift, from confusion counts accumulated over the "
        f"{first.split} subjects of {first.dataset}; {averaged}"
    )
    if max(folds) > 1:
        text += ", pale bars reach one standard deviation between folds to either side"
    if max(subjects) < 2:
        return f"{text}. With one subject there is neither an interval nor a test."
    tests = sum(not math.isnan(one.p_value) for one in found)
    few, many = min(subjects), max(subjects)
    people = str(many) if few == many else f"{few} to {many}"
    least = least_p_value(many, EXCHANGES)
    ways = f"{EXCHANGES:,} exchanges" if 2**many > EXCHANGES else f"all {2**many:,} exchanges"
    text += (
        f". Lines: {100 * level:g} % interval over {people} subjects, for the networks as they are "
        f"trained ({RESAMPLES:,} resamples). Filled marks: p < {_ALPHA}, by exchanging the two "
        f"networks within subjects ({ways}; the smallest p is {least:.2g}), adjusted by Holm over "
        f"{tests} comparisons"
    )
    if few < 2:
        text += "; one subject alone has neither an interval nor a test"
    if tests * least >= _ALPHA:
        text += f": with {many} subjects none can be below {_ALPHA}"
    return f"{text}."
