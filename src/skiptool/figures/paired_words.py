"""What a paired comparison says in words: how it was made, and what it found."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Final

from skiptool.analysis.differences import PairedDifference
from skiptool.figures.trainings import counted
from skiptool.names import ShiftKind

__all__ = ["ALPHA", "describe", "findings", "how_compared", "interval_name", "is_tested"]

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
