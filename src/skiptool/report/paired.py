"""Paired comparisons of pruned networks with the baseline, as forest plots."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
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

_MAX_NAMED: Final = 4  # networks or values in a sentence

_Differences: TypeAlias = Sequence[PairedDifference]


def paired_exhibits(totals: Mapping[str, Sequence[Any]], *, level: float = 0.95) -> list[Exhibit]:
    """Compare pruned networks with their baseline, in the same trainings and on the same subjects.

    Parameters
    ----------
    totals : mapping of column name to values
        The columns ``skiptool.metrics.GROUP_COLUMNS``, ``subject`` and ``pixels``; see
        :func:`skiptool.analysis.differences.subject_counts`.
    level : float
        Level of the intervals.

    Returns
    -------
    list of Exhibit
        One for each dataset, domain and split with shifts; then one by domain for each dataset and
        split with unshifted images, unless its only domain has shifts. Empty if no network has a
        baseline.
    """
    differences = paired_differences(totals, level=level)
    exhibits: list[Exhibit] = []
    shifted = set()
    groups = group_by(
        differences, lambda difference: (difference.dataset_id, difference.domain, difference.split)
    )
    for (dataset_id, domain, split), group in groups.items():
        shifts = sorted({difference.shift for difference in group}, key=shift_order)
        if shifts[-1].kind is not ShiftKind.ORIGINAL:
            shifted.add((dataset_id, domain))
            heading = f"Comparison with the baseline, {domain}{split_suffix(split)}"
            rows = [shift_column(shift) for shift in shifts]
            placed = [(difference, shifts.index(difference.shift)) for difference in group]
            exhibits.append(_exhibit(placed, rows, heading, "shift", level))
    plain = [
        difference for difference in differences if difference.shift.kind is ShiftKind.ORIGINAL
    ]
    by_split = group_by(plain, lambda difference: (difference.dataset_id, difference.split))
    for (dataset_id, split), group in by_split.items():
        domains = sorted({difference.domain for difference in group})
        if len(domains) > 1 or (dataset_id, domains[0]) not in shifted:
            data = f"{group[0].dataset}{split_suffix(split)}"
            heading = f"Comparison with the baseline by domain, {data}"
            rows = [Column(domain) for domain in domains]
            placed = [(difference, domains.index(difference.domain)) for difference in group]
            exhibits.append(_exhibit(placed, rows, heading, "domain", level))
    return exhibits


def _exhibit(
    placed: Sequence[tuple[PairedDifference, int]],
    rows: Sequence[Column],
    heading: str,
    row_kind: str,
    level: float,
) -> Exhibit:
    """Show differences, each in a row of the plot."""
    ordered = _sorted(placed)
    differences, indices = [difference for difference, _ in ordered], [row for _, row in ordered]
    adjusted = holm(np.array([difference.p_value for difference in differences])).tolist()
    names = [f"{rows[row].block} {rows[row].label}".strip() for row in indices]
    measure = iou_name(differences[0].classes)
    title = f"Difference in {measure} to the baseline by {row_kind}"
    columns: dict[str, list[Any]] = {
        "encoder": [difference.family for difference in differences],
        "pruning": [difference.network for difference in differences],
        row_kind: names,
        "difference": [nan_to_none(difference.value) for difference in differences],
        "CI low": [nan_to_none(difference.ci_low) for difference in differences],
        "CI high": [nan_to_none(difference.ci_high) for difference in differences],
        "SE subjects": [nan_to_none(difference.se_subjects) for difference in differences],
        "SE trainings": [nan_to_none(difference.se_trainings) for difference in differences],
        "SD trainings": [nan_to_none(difference.sd_trainings) for difference in differences],
        "p": [nan_to_none(difference.p_value) for difference in differences],
        "p (Holm)": [nan_to_none(p) for p in adjusted],
        "subjects": [difference.subjects for difference in differences],
        "trainings": [difference.trainings for difference in differences],
    }
    spare = ("SE subjects", "SE trainings", "p", "subjects", "trainings")
    return Exhibit(
        topic="paired",
        heading=heading,
        title=title,
        caption=paired_caption(differences, measure, level),
        sentences=findings(differences, [label_text(name) for name in names], adjusted),
        table=Table(f"{measure}: {title}", columns, uniform=("encoder",), spare=spare),
        numbers=[
            _number(difference, p, level)
            for difference, p in zip(differences, adjusted, strict=True)
        ],
        draw=lambda: _draw(differences, indices, adjusted, rows, measure, level),
        sources=(Kind.PREDICTIONS,),
        printed=False,
        summary=1,
    )


def _sorted(placed: Sequence[tuple[PairedDifference, int]]) -> list[tuple[PairedDifference, int]]:
    """Sort by family, row and pruning; an ensemble follows its members."""
    families = list(dict.fromkeys(difference.family for difference, _ in placed))
    prunings = in_paper_order(difference.pruning for difference, _ in placed)

    def rank(pair: tuple[PairedDifference, int]) -> tuple[int, int, int, bool]:
        difference, row = pair
        return (
            families.index(difference.family),
            row,
            prunings.index(difference.pruning),
            difference.ensemble,
        )

    return sorted(placed, key=rank)


def _number(difference: PairedDifference, adjusted: float, level: float) -> Number:
    return {
        "quantity": "difference",
        "dataset": difference.dataset,
        "domain": difference.domain,
        "split": difference.split,
        "arch": difference.arch,
        "encoder": difference.encoder,
        "pruning": difference.pruning,
        "fold": ENSEMBLE_FOLD if difference.ensemble else None,
        "shift": difference.shift.kind.value,
        "factor": difference.shift.factor,
        "p_adjusted": adjusted,
        "p_value": difference.p_value,
        **interval_columns(difference, level),
    }


def interval_columns(difference: PairedDifference, level: float) -> Number:
    """Return a difference, its standard errors and interval as columns of the table ``report``."""
    return {
        "value": difference.value,
        "sd_folds": difference.sd_trainings,
        "se_trainings": difference.se_trainings,
        "se_subjects": difference.se_subjects,
        "ci_low": difference.ci_low,
        "ci_high": difference.ci_high,
        "level": level,
        "folds": difference.trainings,
        "trainings": difference.trainings,
        "subjects": difference.subjects,
    }


def _draw(
    differences: _Differences,
    indices: Sequence[int],
    adjusted: Sequence[float],
    rows: Sequence[Column],
    measure: str,
    level: float,
) -> Figure:
    marks = [
        Mark(
            row=row,
            family=difference.family,
            pruning=difference.pruning,
            ensemble=difference.ensemble,
            value=difference.value,
            low=difference.ci_low,
            high=difference.ci_high,
            spread=difference.sd_trainings,
            significant=p < ALPHA,
        )
        for difference, row, p in zip(differences, indices, adjusted, strict=True)
    ]
    tested = _is_tested(differences)
    units = "trainings, subjects" if tested else "subjects only"
    return forest(
        marks,
        rows,
        label=f"{measure} minus that of the baseline",
        interval=f"{100 * level:g} % interval ({units})",
        significant=f"p < {ALPHA} (Holm)" if tested else "",
        not_significant=f"p ≥ {ALPHA}, or no test" if tested else "one training, no test",
    )


def _is_tested(differences: _Differences) -> bool:
    return any(not math.isnan(difference.p_value) for difference in differences)


# Captions.


def paired_caption(differences: _Differences, measure: str, level: float) -> str:
    """Describe the comparison, its intervals and tests, and their limits."""
    first = differences[0]
    most = max(differences, key=lambda difference: difference.trainings)
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
    """Describe the intervals and tests of differences."""
    counts = [difference.subjects for difference in differences]
    fewest, subjects = min(counts), number_range(counts)
    if max(counts) < 2:
        return "With one subject there is neither an interval nor a test."
    if not _is_tested(differences):
        text = (
            f"{100 * level:g} % intervals over {subjects} subjects (jackknife), for these networks "
            "only: another training of the same architecture may differ by far more, and with one "
            "training there is no test"
        )
        return f"{text}{_exceptions(differences, fewest)}."
    tests = sum(not math.isnan(difference.p_value) for difference in differences)
    text = (
        f"{100 * level:g} % intervals and t-tests treat trainings and the {subjects} subjects as "
        "random (two-way analysis of jackknife pseudo-values); they generalise to other "
        "trainings on these data, not to other data"
    )
    if any(difference.nested for difference in differences):
        text += ". Folds were measured on disjoint subjects and are the units of the analysis"
    return (
        f"{text}. Holm's adjustment over {tests:,} comparisons{_exceptions(differences, fewest)}."
    )


def _exceptions(differences: _Differences, fewest_subjects: int) -> str:
    """List comparisons without a test or an interval, and trainings that were left out."""
    text = ""
    single = sum(difference.trainings == 1 for difference in differences)
    if single and _is_tested(differences):
        text += f"; {single:,} with one training or an ensemble have intervals over subjects"
        text += " and no test"
    if fewest_subjects < 2:
        text += "; comparisons on one subject have neither an interval nor a test"
    unpaired = max(difference.unpaired for difference in differences)
    if unpaired:
        text += f"; up to {unpaired} trainings without a counterpart are left out"
    return text


# Findings.


def findings(
    differences: _Differences, conditions: Sequence[str], adjusted: Sequence[float]
) -> tuple[str, ...]:
    """State the networks that gain and lose most, in at most two sentences.

    Parameters
    ----------
    conditions : sequence of str
        Shift or domain of each difference.
    adjusted : sequence of float
        p-values after Holm's adjustment.
    """
    if not _is_tested(differences):
        return _untested(differences, conditions)
    tested: Counter[str] = Counter()
    better: dict[str, list[tuple[float, str]]] = {}
    worse: dict[str, list[tuple[float, str]]] = {}
    for difference, condition, p in zip(differences, conditions, adjusted, strict=True):
        name = _name(difference)
        tested[name] += 1
        if p < ALPHA:
            side = better if difference.value > 0 else worse
            side.setdefault(name, []).append((difference.value, condition))
    with_p = [difference for difference in differences if not math.isnan(difference.p_value)]
    over = f"over {number_range(difference.trainings for difference in with_p)} trainings"
    sentences = [
        f"{word} than the baseline {over}, p < {ALPHA} (Holm): {_significant(side, tested)}."
        for word, side in (("Better", better), ("Worse", worse))
        if side
    ]
    if sentences:
        return tuple(sentences)
    tests = sum(not math.isnan(p) for p in adjusted)
    half_width = statistics.median(
        (difference.ci_high - difference.ci_low) / 2 for difference in with_p
    )
    return (
        f"None of {tests:,} differences to the baseline {over} has p < {ALPHA} (Holm); the "
        f"median half-width of their intervals is {half_width:.2f}.",
    )


def _significant(side: Mapping[str, list[tuple[float, str]]], tested: Mapping[str, int]) -> str:
    """Name the networks that differ most often, with their counts and greatest difference."""
    parts = []
    for name in sorted(side, key=lambda name: -len(side[name]))[:_MAX_NAMED]:
        value, condition = max(side[name], key=lambda pair: abs(pair[0]))
        if tested[name] == 1:
            parts.append(f"{name} ({condition}, {signed(value)})")
        else:
            count = f"in {len(side[name])} of {tested[name]}"
            parts.append(f"{name} {count} (most: {condition}, {signed(value)})")
    more = len(side) - len(parts)
    return "; ".join(parts) + (f"; and {more} more" if more else "")


_Cells: TypeAlias = Sequence[tuple[PairedDifference, str]]


def _untested(differences: _Differences, conditions: Sequence[str]) -> tuple[str, ...]:
    """Describe differences of networks trained once: unshifted, and their range under shifts."""
    cells = [
        (difference, condition)
        for difference, condition in zip(differences, conditions, strict=True)
        if not math.isnan(difference.value)
    ]
    networks = group_by(cells, lambda cell: _name(cell[0]))
    if not networks:
        return ()
    parts = [f"{name} {_values(group)}" for name, group in list(networks.items())[:_MAX_NAMED]]
    if len(networks) > len(parts):
        parts.append(f"and {len(networks) - len(parts)} more")
    if all(difference.trainings == 1 for difference in differences):
        limit = "One training of each network: no conclusion about the architectures"
    else:
        limit = "Too few subjects for an interval or a test: no conclusion about other images"
    return (f"{limit} is possible. These networks minus their baselines: {'; '.join(parts)}.",)


def _values(cells: _Cells) -> str:
    """Write the differences on unshifted images, and the range under shifts."""
    unshifted = [cell for cell in cells if cell[0].shift.kind is ShiftKind.ORIGINAL]
    parts = [
        f"{signed(difference.value)}{_interval(difference)} ({condition})"
        for difference, condition in unshifted[:_MAX_NAMED]
    ]
    if len(unshifted) > _MAX_NAMED:
        parts.append("...")
    shifted = [cell for cell in cells if cell[0].shift.kind is not ShiftKind.ORIGINAL]
    if shifted:
        low = _with_condition(min(shifted, key=lambda cell: cell[0].value))
        high = _with_condition(max(shifted, key=lambda cell: cell[0].value))
        span = low if len(shifted) == 1 else f"{low} to {high}"
        parts.append(f"under shifts {span}")
    return ", ".join(parts)


def _with_condition(cell: tuple[PairedDifference, str]) -> str:
    difference, condition = cell
    return f"{signed(difference.value)} ({condition})"


def _interval(difference: PairedDifference) -> str:
    if math.isnan(difference.ci_low):
        return ""
    return f" [{signed(difference.ci_low)}, {signed(difference.ci_high)}]"


def _name(difference: PairedDifference) -> str:
    return f"{difference.family} {difference.network}".strip()
