"""Paired comparison of each pruned network with the baseline, as a forest plot."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from skiptool.analysis.differences import PairedDifference, paired_differences
from skiptool.figures.forest import Mark, forest
from skiptool.figures.heatmap import Column
from skiptool.figures.style import in_paper_order, label_text
from skiptool.names import ENSEMBLE_FOLD, Kind, ShiftKind
from skiptool.records import Table
from skiptool.report.exhibit import Exhibit, group_by, nan_to_none
from skiptool.report.scores import shift_column, shift_order
from skiptool.report.wording import (
    capitalised,
    count_trainings,
    iou_name,
    number_range,
    signed,
    split_suffix,
)
from skiptool.stats.permutation import holm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skiptool.report.exhibit import Number

ALPHA: Final = 0.05
"""Significance level of the p-values after Holm's adjustment."""

_NAMED: Final = 4  # networks named in a sentence

_Differences: TypeAlias = Sequence[PairedDifference]
_Places: TypeAlias = Sequence[int]
"""Row of the plot for each difference."""


def paired_exhibits(totals: Mapping[str, Sequence[Any]], *, level: float = 0.95) -> list[Exhibit]:
    """Compare pruned networks with their baseline, in the same trainings and on the same subjects.

    Parameters
    ----------
    totals : mapping of column name to values
        The columns ``skiptool.metrics.GROUP_COLUMNS``, ``subject`` and ``pixels``; see
        :func:`skiptool.analysis.differences.subject_counts`.
    level : float
        Of the intervals.

    Returns
    -------
    list of Exhibit
        One for each dataset, domain and split with shifts; then one for each dataset and split
        with unshifted images of several domains, or of one without shifts. Empty if no network has
        a baseline.

    Raises
    ------
    ArgumentError
        If the level is not between 0 and 1.
    """
    differences = paired_differences(totals, level=level)
    exhibits: list[Exhibit] = []
    shifted = set()
    groups = group_by(differences, lambda one: (one.dataset_id, one.domain, one.split))
    for (dataset_id, domain, split), group in groups.items():
        shifts = sorted({one.shift for one in group}, key=shift_order)
        if shifts[-1].kind is not ShiftKind.ORIGINAL:
            shifted.add((dataset_id, domain))
            heading = f"Comparison with the baseline, {domain}{split_suffix(split)}"
            rows = [shift_column(shift) for shift in shifts]
            places = [shifts.index(one.shift) for one in group]
            exhibits.append(_exhibit(group, places, rows, heading, "shift", level))
    plain = [one for one in differences if one.shift.kind is ShiftKind.ORIGINAL]
    by_split = group_by(plain, lambda one: (one.dataset_id, one.split))
    for (dataset_id, split), group in by_split.items():
        domains = sorted({one.domain for one in group})
        if len(domains) > 1 or (dataset_id, domains[0]) not in shifted:
            data = f"{group[0].dataset}{split_suffix(split)}"
            heading = f"Comparison with the baseline by domain, {data}"
            places = [domains.index(one.domain) for one in group]
            exhibits.append(
                _exhibit(group, places, [*map(Column, domains)], heading, "domain", level)
            )
    return exhibits


def _exhibit(
    group: _Differences,
    places: _Places,
    rows: Sequence[Column],
    heading: str,
    across: str,
    level: float,
) -> Exhibit:
    differences, places = _sorted(group, places)
    adjusted = holm(np.array([one.p_value for one in differences])).tolist()
    names = [f"{rows[place].block} {rows[place].label}".strip() for place in places]
    measure = iou_name(differences[0].classes)
    title = f"Difference in {measure} to the baseline by {across}"
    columns: dict[str, list[Any]] = {
        "encoder": [one.family for one in differences],
        "pruning": [one.network for one in differences],
        across: names,
        "difference": [nan_to_none(one.value) for one in differences],
        "CI low": [nan_to_none(one.ci_low) for one in differences],
        "CI high": [nan_to_none(one.ci_high) for one in differences],
        "SE subjects": [nan_to_none(one.se_subjects) for one in differences],
        "SE trainings": [nan_to_none(one.se_trainings) for one in differences],
        "SD trainings": [nan_to_none(one.sd_trainings) for one in differences],
        "p": [nan_to_none(one.p_value) for one in differences],
        "p (Holm)": [nan_to_none(p) for p in adjusted],
        "subjects": [one.subjects for one in differences],
        "trainings": [one.trainings for one in differences],
    }
    spare = ("SE subjects", "SE trainings", "p", "subjects", "trainings")
    return Exhibit(
        topic="paired",
        heading=heading,
        title=title,
        caption=paired_caption(differences, measure, level),
        sentences=findings(differences, [label_text(name) for name in names], adjusted),
        table=Table(f"{measure}: {title}", columns, uniform=("encoder",), spare=spare),
        numbers=[_number(one, p, level) for one, p in zip(differences, adjusted, strict=True)],
        draw=lambda: _draw(differences, places, adjusted, rows, measure, level),
        sources=(Kind.PREDICTIONS,),
        printed=False,
        summary=1,
    )


def _sorted(group: _Differences, places: _Places) -> tuple[_Differences, _Places]:
    """Sort by family, row, pruning; an ensemble follows its members."""
    families = list(dict.fromkeys(one.family for one in group))
    prunings = in_paper_order(one.pruning for one in group)
    pairs = sorted(
        zip(group, places, strict=True),
        key=lambda pair: (
            families.index(pair[0].family),
            pair[1],
            prunings.index(pair[0].pruning),
            pair[0].ensemble,
        ),
    )
    return [one for one, _ in pairs], [place for _, place in pairs]


def _number(one: PairedDifference, adjusted: float, level: float) -> Number:
    return {
        "quantity": "difference",
        "dataset": one.dataset,
        "domain": one.domain,
        "split": one.split,
        "arch": one.arch,
        "encoder": one.encoder,
        "pruning": one.pruning,
        "fold": ENSEMBLE_FOLD if one.ensemble else None,
        "shift": one.shift.kind.value,
        "factor": one.shift.factor,
        "p_adjusted": adjusted,
        "p_value": one.p_value,
        **interval_columns(one, level),
    }


def interval_columns(one: PairedDifference, level: float) -> Number:
    """Return a difference, its errors and its interval as columns of the table ``report``."""
    return {
        "value": one.value,
        "sd_folds": one.sd_trainings,
        "se_trainings": one.se_trainings,
        "se_subjects": one.se_subjects,
        "ci_low": one.ci_low,
        "ci_high": one.ci_high,
        "level": level,
        "folds": one.trainings,
        "trainings": one.trainings,
        "subjects": one.subjects,
    }


def _draw(
    differences: _Differences,
    places: _Places,
    adjusted: Sequence[float],
    rows: Sequence[Column],
    measure: str,
    level: float,
) -> Figure:
    marks = [
        Mark(
            row=place,
            family=one.family,
            pruning=one.pruning,
            ensemble=one.ensemble,
            value=one.value,
            low=one.ci_low,
            high=one.ci_high,
            spread=one.sd_trainings,
            sure=p < ALPHA,
        )
        for one, place, p in zip(differences, places, adjusted, strict=True)
    ]
    tested = _is_tested(differences)
    over = "trainings, subjects" if tested else "subjects only"
    return forest(
        marks,
        rows,
        label=f"{measure} minus that of the baseline",
        interval=f"{100 * level:g} % interval ({over})",
        sure=f"p < {ALPHA} (Holm)" if tested else "",
        unsure=f"p ≥ {ALPHA}, or no test" if tested else "one training, no test",
    )


def _is_tested(differences: _Differences) -> bool:
    return any(not math.isnan(one.p_value) for one in differences)


# Caption: how differences were estimated and tested.


def paired_caption(differences: _Differences, measure: str, level: float) -> str:
    """Describe the comparison, its intervals and tests, and their limits."""
    first = differences[0]
    most = max(differences, key=lambda one: one.trainings)
    several = most.trainings > 1
    averaged = f"mean over {count_trainings(most.pairs)}" if several else "one training of each"
    text = (
        f"{capitalised(measure)} of each pruned network minus that of the baseline of "
        "the same encoder, fold, repeat, domain and shift, from confusion counts accumulated over "
        f"the {first.split} subjects of {first.dataset}; {averaged}"
    )
    if several:
        text += "; pale bars: one standard deviation between trainings to either side"
    marks = f" Filled marks: p < {ALPHA}." if _is_tested(differences) else ""
    return f"{text}. {how_compared(differences, level)}{marks}"


def how_compared(differences: _Differences, level: float) -> str:
    """Describe what the intervals cover and how differences were tested."""
    counts = [one.subjects for one in differences]
    few, subjects = min(counts), number_range(counts)
    if max(counts) < 2:
        return "With one subject there is neither an interval nor a test."
    if not _is_tested(differences):
        text = (
            f"{100 * level:g} % intervals over {subjects} subjects (jackknife), for these networks "
            "only: another training of the same architecture may differ by far more, and with one "
            "training there is no test"
        )
        return f"{text}{_exceptions(differences, few)}."
    tests = sum(not math.isnan(one.p_value) for one in differences)
    text = (
        f"{100 * level:g} % intervals and t-tests treat trainings and the {subjects} subjects as "
        "random (two-way analysis of jackknife pseudo-values); they generalise to other "
        "trainings on these data, not to other data"
    )
    if any(one.nested for one in differences):
        text += ". Folds were measured on disjoint subjects and are the units of the analysis"
    return f"{text}. Holm's adjustment over {tests:,} comparisons{_exceptions(differences, few)}."


def _exceptions(differences: _Differences, few: int) -> str:
    """List comparisons without a test or an interval, and trainings that were left out."""
    text = ""
    alone = sum(one.trainings == 1 for one in differences)
    if alone and _is_tested(differences):
        text += (
            f"; {alone:,} with one training or an ensemble have intervals over subjects and no test"
        )
    if few < 2:
        text += "; comparisons on one subject have neither an interval nor a test"
    unpaired = max(one.unpaired for one in differences)
    if unpaired:
        text += f"; up to {unpaired} trainings without a counterpart are left out"
    return text


# Findings.


def findings(
    differences: _Differences, places: Sequence[str], adjusted: Sequence[float]
) -> tuple[str, ...]:
    """State which networks gain and lose most, in at most two sentences.

    Parameters
    ----------
    differences : sequence of PairedDifference
    places : sequence of str
        Shift or domain of each.
    adjusted : sequence of float
        p-values after Holm's adjustment.
    """
    if not _is_tested(differences):
        return _untested(differences, places)
    tested: dict[str, int] = {}
    better: dict[str, list[tuple[float, str]]] = {}
    worse: dict[str, list[tuple[float, str]]] = {}
    for one, place, p in zip(differences, places, adjusted, strict=True):
        name = _name(one)
        tested[name] = tested.get(name, 0) + 1
        if p < ALPHA:
            side = better if one.value > 0 else worse
            side.setdefault(name, []).append((one.value, place))
    with_p = [one for one in differences if not math.isnan(one.p_value)]
    over = f"over {number_range(one.trainings for one in with_p)} trainings"
    sentences = [
        f"{word} than the baseline {over}, p < {ALPHA} (Holm): {_significant(side, tested)}."
        for word, side in (("Better", better), ("Worse", worse))
        if side
    ]
    if sentences:
        return tuple(sentences)
    made = sum(not math.isnan(p) for p in adjusted)
    reach = statistics.median((one.ci_high - one.ci_low) / 2 for one in with_p)
    return (
        f"None of {made:,} differences to the baseline {over} has p < {ALPHA} (Holm); the "
        f"median half-width of their intervals is {reach:.2f}.",
    )


def _significant(side: Mapping[str, list[tuple[float, str]]], tested: Mapping[str, int]) -> str:
    """Name the networks that differ most often, how often, and where most."""
    parts = []
    for name in sorted(side, key=lambda name: -len(side[name]))[:_NAMED]:
        value, place = max(side[name], key=lambda pair: abs(pair[0]))
        if tested[name] == 1:
            parts.append(f"{name} ({place}, {signed(value)})")
        else:
            count = f"in {len(side[name])} of {tested[name]}"
            parts.append(f"{name} {count} (most: {place}, {signed(value)})")
    more = len(side) - len(parts)
    return "; ".join(parts) + (f"; and {more} more" if more else "")


_Cells: TypeAlias = Sequence[tuple[PairedDifference, str]]


def _untested(differences: _Differences, places: Sequence[str]) -> tuple[str, ...]:
    """Describe differences of networks trained once: in domain, and their range under shifts."""
    cells = [
        (one, place)
        for one, place in zip(differences, places, strict=True)
        if not math.isnan(one.value)
    ]
    networks = group_by(cells, lambda cell: _name(cell[0]))
    if not networks:
        return ()
    parts = [f"{name} {_values(group)}" for name, group in list(networks.items())[:_NAMED]]
    more = len(networks) - len(parts)
    tail = f"; and {more} more" if more else ""
    if all(one.trainings == 1 for one in differences):
        why = "One training of each network: no conclusion about the architectures"
    else:
        why = "Too few subjects for an interval or a test: no conclusion about other images"
    return (f"{why} is possible. These networks minus their baselines: {'; '.join(parts)}{tail}.",)


def _values(cells: _Cells) -> str:
    parts = [
        f"{signed(one.value)}{_interval(one)} ({place})"
        for one, place in cells
        if one.shift.kind is ShiftKind.ORIGINAL
    ]
    shifted = [(one, place) for one, place in cells if one.shift.kind is not ShiftKind.ORIGINAL]
    text = ", ".join(parts[:_NAMED]) + (", ..." if len(parts) > _NAMED else "")
    if not shifted:
        return text
    low, high = (_extreme(choose, shifted) for choose in (min, max))
    under = low if len(shifted) == 1 else f"{low} to {high}"
    return f"{text}{', ' if text else ''}under shifts {under}"


def _extreme(choose: Callable[..., tuple[PairedDifference, str]], cells: _Cells) -> str:
    one, place = choose(cells, key=lambda cell: cell[0].value)
    return f"{signed(one.value)} ({place})"


def _interval(one: PairedDifference) -> str:
    if math.isnan(one.ci_low):
        return ""
    return f" [{signed(one.ci_low)}, {signed(one.ci_high)}]"


def _name(one: PairedDifference) -> str:
    return f"{one.family} {one.network}".strip()
