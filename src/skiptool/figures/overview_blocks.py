"""Which architectures have a matrix of their own in an overview, so that a page holds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from skiptool.figures.style import in_paper_order

__all__ = ["split"]

_MOST_BLOCKS: Final = 6
_MOST_ROWS: Final = 60  # of cells, one below the other: what a page holds
_Key: TypeAlias = tuple[str, str]


def split(keys: Sequence[_Key], rows: int) -> list[tuple[str, tuple[_Key, ...]]]:
    """Choose what has a matrix of its own, and name it.

    Parameters
    ----------
    keys : sequence of (family, pruning)
        All architectures.
    rows : int
        Rows of each matrix.

    Returns
    -------
    list of (name, keys)
        Each architecture, where a page holds so many; else the baseline of each family and the
        mean of its pruned networks; else both over all families.

    Examples
    --------
    >>> split([("r18", "L1-pruned"), ("r18", "baseline")], rows=15)
    [('r18 baseline', (('r18', 'baseline'),)), ('r18 L1-pruned', (('r18', 'L1-pruned'),))]
    >>> split([(f"r{n}", "baseline") for n in range(7)], rows=15)[0][0]
    'baseline, mean of 7 encoders'
    """
    families = list(dict.fromkeys(family for family, _ in keys))
    prunings = in_paper_order(pruning for _, pruning in keys)
    ordered = sorted(keys, key=lambda key: (prunings.index(key[1]), families.index(key[0])))
    each: list[tuple[str, tuple[_Key, ...]]] = [(" ".join(key).strip(), (key,)) for key in ordered]
    by_family = [
        (_called(members, family), members)
        for baseline in (True, False)
        for family in families
        if (
            members := tuple(key for key in ordered if key[0] == family and _plain(key) is baseline)
        )
    ]
    together = [
        (_called(members, ""), members)
        for baseline in (True, False)
        if (members := tuple(key for key in ordered if _plain(key) is baseline))
    ]
    for choice in (each, by_family):
        if len(choice) <= _MOST_BLOCKS and -(-len(choice) // 2) * rows <= _MOST_ROWS:
            return choice
    return together


def _plain(key: _Key) -> bool:
    return key[1] == "baseline"


def _called(members: Sequence[_Key], family: str) -> str:
    if len(members) == 1:
        return " ".join(members[0]).strip()
    if all(map(_plain, members)):
        return f"baseline, mean of {len(members)} encoders"
    return f"{family}, mean of {len(members)} pruned networks".removeprefix(", ")
