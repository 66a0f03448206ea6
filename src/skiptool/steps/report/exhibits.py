"""Which exhibits some inputs allow, in the order of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skiptool.figures.scores import by_domain, by_shift
from skiptool.metrics.scores import scores
from skiptool.steps.report.inputs import Inputs

if TYPE_CHECKING:
    from skiptool.figures.exhibit import Shown

__all__ = ["exhibits", "pictures"]


def exhibits(inputs: Inputs, level: float, seed: int) -> list[Shown]:
    """Return what tables allow: all that is numbers."""
    rated = scores(inputs.totals())
    shown: list[Shown] = [*by_shift(rated), *by_domain(rated)]
    return shown


def pictures(inputs: Inputs, seed: int) -> tuple[list[Shown], list[str]]:
    """Return what stores allow, and lines about what they lack."""
    return [], []
