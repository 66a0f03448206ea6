"""How many trainings a mean is over, in words."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["counted", "counted_at_most"]


def counted(trainings: Iterable[tuple[int | None, int | None]]) -> str:
    """Say over how many trainings something was averaged, one network each.

    Parameters
    ----------
    trainings : iterable of (fold, repeat)
        One entry for each network; None where others trained it.

    Examples
    --------
    >>> counted([(0, 0), (1, 0)]), counted([(0, 0), (0, 1), (1, 0), (1, 1)])
    ('2 folds', '2 folds x 2 repeats')
    >>> counted([(0, 0), (0, 1)]), counted([(0, 0), (0, 1), (1, 0)])
    ('2 repeats of one fold', '3 trainings of 2 folds')
    >>> counted([(2, 0)]), counted([(None, None), (None, None)])
    ('one training', '2 networks')
    """
    known = list(trainings)
    number = len(known)
    if number == 1:
        return "one training"
    folds, repeats = ({each[place] for each in known} for place in (0, 1))
    if None in folds:
        return f"{number} networks"
    if len(set(known)) == number == len(folds):
        return f"{number} folds"
    if len(set(known)) == number == len(folds) * len(repeats):
        if len(folds) == 1:
            return f"{number} repeats of one fold"
        return f"{len(folds)} folds x {len(repeats)} repeats"
    of = "one fold" if len(folds) == 1 else f"{len(folds)} folds"
    return f"{number} trainings of {of}"


def counted_at_most(networks: Iterable[Iterable[tuple[int | None, int | None]]]) -> str:
    """Say the same of the network that was trained most often; say so where others were less.

    Parameters
    ----------
    networks : iterable of iterables of (fold, repeat)
        The trainings of each network; at least one network has one.

    Examples
    --------
    >>> counted_at_most([[(0, 0)], [(0, 0), (1, 0)]]), counted_at_most([[(0, 0)], [(3, 0)]])
    ('up to 2 folds', 'one training')
    """
    found = [list(each) for each in networks]
    most = max(found, key=len)
    head = "up to " if any(len(each) < len(most) for each in found) else ""
    return head + counted(most)
