"""What a paired comparison says in words: how it was made, and what it found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from skiptool.readings.difference import EXCHANGES, RESAMPLES
from skiptool.readings.paired import PairedDifference
from skiptool.stats.exchange import least_p_value

__all__ = ["ALPHA", "describe", "findings"]

ALPHA: Final = 0.05
"""Below this adjusted p-value a difference counts as found."""

_TOLD: Final = 4  # networks named in a sentence


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
        f"trained ({RESAMPLES:,} resamples). Filled marks: p < {ALPHA}, by exchanging the two "
        f"networks within subjects ({ways}; the smallest p is {least:.2g}), adjusted by Holm over "
        f"{tests:,} comparisons"
    )
    if few < 2:
        text += "; one subject alone has neither an interval nor a test"
    if _out_of_reach(found):
        text += f": with {many} subjects none can be below {ALPHA}"
    return f"{text}."


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
    tested: dict[str, int] = {}
    better: dict[str, list[tuple[float, str]]] = {}
    worse: dict[str, list[tuple[float, str]]] = {}
    for one, place, p in zip(found, places, adjusted, strict=True):
        name = f"{one.family} {one.network}".strip()
        tested[name] = tested.get(name, 0) + 1
        if p < ALPHA:
            side = better if one.value > 0 else worse
            side.setdefault(name, []).append((one.value, place))
    told = [
        f"{word} than the baseline, p < {ALPHA} (Holm): {_listed(side, tested)}."
        for word, side in (("Better", better), ("Worse", worse))
        if side
    ]
    made = sum(not math.isnan(p) for p in adjusted)
    if told or not made:
        return tuple(told)
    none = f"None of {made:,} differences to the baseline has p < {ALPHA} (Holm)"
    if _out_of_reach(found):
        none += ", and on so few subjects none can have"
    return (f"{none}.",)


def _listed(side: dict[str, list[tuple[float, str]]], tested: dict[str, int]) -> str:
    """Name the networks that differ most often, how often, and where most."""
    parts = []
    for name in sorted(side, key=lambda name: -len(side[name]))[:_TOLD]:
        value, place = max(side[name], key=lambda pair: abs(pair[0]))
        shown = f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")
        if tested[name] == 1:
            parts.append(f"{name} ({place}, {shown})")
        else:
            count = f"in {len(side[name])} of {tested[name]}"
            parts.append(f"{name} {count} (most: {place}, {shown})")
    more = len(side) - len(parts)
    return "; ".join(parts) + (f"; and {more} more" if more else "")


def _out_of_reach(found: Sequence[PairedDifference]) -> bool:
    """Whether no p-value can be below ``ALPHA`` after the adjustment."""
    tests = sum(not math.isnan(one.p_value) for one in found)
    least = least_p_value(max(one.subjects for one in found), EXCHANGES)
    return tests * least >= ALPHA
