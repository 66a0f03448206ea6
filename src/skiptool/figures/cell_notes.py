"""Small texts below the values of a matrix: how large they can be, and whether there is room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from skiptool.figures.grid import Plan
from skiptool.figures.style import TWO_COLUMNS, text_width

__all__ = ["plan_notes"]

_SIZES: Final = (4.0, 4.8)  # points
_FREE: Final = 0.036  # inches of a cell that stay empty beside a text
_WIDEST: Final = 1.2 * TWO_COLUMNS


def plan_notes(plan_of: Callable[..., Plan], texts: Sequence[str]) -> tuple[Plan, float]:
    """Plan a matrix with small texts below its values, if they do not make it too wide.

    Parameters
    ----------
    plan_of : callable
        ``plan_grid``, given all but ``with_spread`` and ``least``.
    texts : sequence of str
        All that is to stand below values; none where there are none.

    Returns
    -------
    plan : Plan
    size : float
        Points at which all texts fit into their cells; 0 where they are left out.
    """
    without = plan_of(with_spread=False)
    if not texts:
        return without, 0.0
    different = list(set(texts))
    plan = plan_of(with_spread=True, least=text_width(different, _SIZES[0]) + _FREE)
    if plan.size[0] > max(without.size[0], _WIDEST):
        return without, 0.0
    room = min(width for _, width in plan.spans()) - _FREE
    return plan, min(_SIZES[1], _SIZES[1] * room / max(text_width(different, _SIZES[1]), 1e-9))
