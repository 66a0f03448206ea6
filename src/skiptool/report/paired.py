"""Paired comparison of each pruned network with the baseline, as a forest plot."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from skiptool.analysis.differences import PairedDifference, paired_differences
from skiptool.figures.forest import Mark, forest
from skiptool.figures.heatmap import Column
from skiptool.figures.style import in_paper_order, readable
from skiptool.names import ENSEMBLE_FOLD, ShiftKind
from skiptool.records import Table
from skiptool.report.exhibit import Shown, counted, known, of_split
from skiptool.report.scores import shift_column, shift_order
from skiptool.stats.permutation import holm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.report.exhibit import Number

__all__ = [
    "ALPHA",
    "PairedComparison",
    "describe",
    "findings",
    "how_compared",
    "interval_name",
    "is_tested",
    "paired_comparisons",
]

# -------------------------------------------------------------------------------------------------
# What a paired comparison says in words: how it was made, and what it found.


ALPHA: Final = 0.05
"""Below this adjusted p-value a difference counts as found."""

_TOLD: Final = 4  # networks named in a sentence


def is_tested(found: Sequence[PairedDifference]) -> bool:
    """Whether any comparison has a p-value."""
    return any(not math.isnan(one.p_value) for one in found)


def interval_name(found: Sequence[PairedDifference], level: float) -> str:
    """Name the interval for a key: over trainings and subjects, or over subjects alone."""
    over = "trainings, subjects" if is_tested(found) else "subjects only"
    return f"{100 * level:g} % interval ({over})"


def describe(found: Sequence[PairedDifference], measure: str, level: float) -> str:
    """Say what is compared, what the intervals are of, how it was tested, and how far that goes.

    Parameters
    ----------
    found : sequence of PairedDifference
        All rows of one exhibit.
    measure : str
        ``cell IoU``.
    level : float
        Of the intervals.
    """
    first = found[0]
    most = max(found, key=lambda one: one.trainings)
    many = most.trainings
    averaged = f"mean over {counted(most.pairs)}" if many > 1 else "one training of each"
    text = (
        f"{measure[0].upper()}{measure[1:]} of each pruned network minus that of the baseline of "
        "the same encoder, fold, repeat, domain and shift, from confusion counts accumulated over "
        f"the {first.split} subjects of {first.dataset}; {averaged}"
    )
    if many > 1:
        text += ", pale bars reach one standard deviation between trainings to either side"
    marks = f" Filled marks: p < {ALPHA}." if is_tested(found) else ""
    return f"{text}. {how_compared(found, level)}{marks}"


def how_compared(found: Sequence[PairedDifference], level: float) -> str:
    """Say what the intervals are of and how differences were tested.

    Parameters
    ----------
    found : sequence of PairedDifference
    level : float
    """
    few, many = (choose(one.subjects for one in found) for choose in (min, max))
    if many < 2:
        return "With one subject there is neither an interval nor a test."
    people = str(many) if few == many else f"{few} to {many}"
    if not is_tested(found):
        text = (
            f"{100 * level:g} % intervals over {people} subjects (jackknife), for these networks "
            "only: another training of the same architecture may differ by far more, and with one "
            "training there is no test"
        )
        return f"{text}{_exceptions(found, few)}."
    tests = sum(not math.isnan(one.p_value) for one in found)
    text = (
        f"{100 * level:g} % intervals and t-tests treat trainings and the {people} subjects as "
        "random (two-way analysis of jackknife pseudo-values); they say what to expect of other "
        "trainings on these data, not on other data"
    )
    if any(one.nested for one in found):
        text += ". Folds were measured on subjects of their own and are the units of the analysis"
    return f"{text}. Adjusted by Holm over {tests:,} comparisons{_exceptions(found, few)}."


def _exceptions(found: Sequence[PairedDifference], few: int) -> str:
    """Say of which comparisons the rest does not hold, and what was left out."""
    text = ""
    alone = sum(one.trainings == 1 for one in found)
    if alone and is_tested(found):
        text += (
            f"; {alone:,} of one training or an ensemble have intervals over subjects and no test"
        )
    if few < 2:
        text += "; one subject alone has neither an interval nor a test"
    unpaired = max(one.unpaired for one in found)
    if unpaired:
        text += f"; up to {unpaired} trainings without a partner are left out"
    return text


def findings(
    found: Sequence[PairedDifference], places: Sequence[str], adjusted: Sequence[float]
) -> tuple[str, ...]:
    """Say which networks gain and which lose, and where most; at most two sentences.

    Parameters
    ----------
    found : sequence of PairedDifference
    places : sequence of str
        Where each was measured: a shift, a domain.
    adjusted : sequence of float
        p-value of each after Holm's adjustment.
    """
    if not is_tested(found):
        return _of_these_networks(found, places)
    tested: dict[str, int] = {}
    better: dict[str, list[tuple[float, str]]] = {}
    worse: dict[str, list[tuple[float, str]]] = {}
    for one, place, p in zip(found, places, adjusted, strict=True):
        name = _name(one)
        tested[name] = tested.get(name, 0) + 1
        if p < ALPHA:
            side = better if one.value > 0 else worse
            side.setdefault(name, []).append((one.value, place))
    over = _over(found)
    told = [
        f"{word} than the baseline {over}, p < {ALPHA} (Holm): {_listed(side, tested)}."
        for word, side in (("Better", better), ("Worse", worse))
        if side
    ]
    if told:
        return tuple(told)
    made = sum(not math.isnan(p) for p in adjusted)
    reach = [(one.ci_high - one.ci_low) / 2 for one in found if not math.isnan(one.p_value)]
    return (
        f"None of {made:,} differences to the baseline {over} has p < {ALPHA} (Holm); their "
        f"intervals reach {statistics.median(reach):.2f} to either side (median).",
    )


def _over(found: Sequence[PairedDifference]) -> str:
    counts = sorted({one.trainings for one in found if not math.isnan(one.p_value)})
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"over {number} trainings"


def _of_these_networks(found: Sequence[PairedDifference], places: Sequence[str]) -> tuple[str, ...]:
    """Tell differences of networks trained once: in domain, and their range under shifts."""
    known: dict[str, list[tuple[PairedDifference, str]]] = {}
    for one, place in zip(found, places, strict=True):
        if not math.isnan(one.value):
            known.setdefault(_name(one), []).append((one, place))
    if not known:
        return ()
    parts = [f"{name} {_told(cells)}" for name, cells in list(known.items())[:_TOLD]]
    more = len(known) - len(parts)
    tail = f"; and {more} more" if more else ""
    if all(one.trainings == 1 for one in found):
        why = "One training of each network: nothing can be said of the architectures. "
    else:
        why = "Too few subjects for an interval or a test: nothing can be said of other images. "
    return (f"{why}These networks minus their baseline: {'; '.join(parts)}{tail}.",)


def _told(cells: Sequence[tuple[PairedDifference, str]]) -> str:
    parts = [
        f"{_signed(one.value)}{_ends(one)} ({place})"
        for one, place in cells
        if one.shift.kind is ShiftKind.ORIGINAL
    ]
    shifted = [(one, place) for one, place in cells if one.shift.kind is not ShiftKind.ORIGINAL]
    text = ", ".join(parts[:_TOLD]) + (", ..." if len(parts) > _TOLD else "")
    if not shifted:
        return text
    low, high = (_extreme(choose, shifted) for choose in (min, max))
    under = low if len(shifted) == 1 else f"{low} to {high}"
    return f"{text}{', ' if text else ''}under shifts {under}"


def _extreme(
    choose: Callable[..., tuple[PairedDifference, str]],
    cells: Sequence[tuple[PairedDifference, str]],
) -> str:
    one, place = choose(cells, key=lambda cell: cell[0].value)
    return f"{_signed(one.value)} ({place})"


def _ends(one: PairedDifference) -> str:
    if math.isnan(one.ci_low):
        return ""
    return f" [{_signed(one.ci_low)}, {_signed(one.ci_high)}]"


def _signed(value: float) -> str:
    text = f"{value:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def _name(one: PairedDifference) -> str:
    return f"{one.family} {one.network}".strip()


def _listed(side: dict[str, list[tuple[float, str]]], tested: dict[str, int]) -> str:
    """Name the networks that differ most often, how often, and where most."""
    parts = []
    for name in sorted(side, key=lambda name: -len(side[name]))[:_TOLD]:
        value, place = max(side[name], key=lambda pair: abs(pair[0]))
        if tested[name] == 1:
            parts.append(f"{name} ({place}, {_signed(value)})")
        else:
            count = f"in {len(side[name])} of {tested[name]}"
            parts.append(f"{name} {count} (most: {place}, {_signed(value)})")
    more = len(side) - len(parts)
    return "; ".join(parts) + (f"; and {more} more" if more else "")


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
