"""No winner where there is none: which numbers a sentence must not tell apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

__all__ = ["tied_text", "tied_with"]

_SHOWN: Final = 3
"""Names that a sentence lists; of more it says how many."""


def tied_with(
    best: int, values: Sequence[float], ends: Sequence[tuple[float, float] | None] = ()
) -> list[int]:
    """Return which other values cannot be told apart from one: no winner where there is none.

    Parameters
    ----------
    best : int
        Place of the one.
    values : sequence of float
        NaN is told apart from all.
    ends : sequence of (float, float) or None
        Interval of each, where known.

    Returns
    -------
    list of int
        Places of those equal to two digits, or with an interval that overlaps with that of the one.

    Examples
    --------
    >>> tied_with(1, [0.501, 0.504, 0.45, 0.1])
    [0]
    >>> tied_with(1, [0.501, 0.504, 0.45, 0.1], [None, (0.4, 0.6), (0.3, 0.41), (0.0, 0.2)])
    [0, 2]
    """
    found = []
    for place, value in enumerate(values):
        known = (ends[best], ends[place]) if ends else (None, None)
        alike = round(value, 2) == round(values[best], 2)
        if known[0] is not None and known[1] is not None:
            alike |= known[0][0] <= known[1][1] and known[1][0] <= known[0][1]
        if place != best and not math.isnan(value) and alike:
            found.append(place)
    return found


def tied_text(names: Sequence[str]) -> str:
    """Name what something cannot be told apart from, as the tail of a clause; nothing of nothing.

    Examples
    --------
    >>> tied_text(["L1"]), tied_text(["L1", "L2", "L3", "L4"])
    (', not told apart from L1', ', not told apart from L1, L2 and 2 more')
    """
    if not names:
        return ""
    shown = names if len(names) <= _SHOWN else names[: _SHOWN - 1]
    more = len(names) - len(shown)
    return f", not told apart from {', '.join(shown)}{f' and {more} more' if more else ''}"
