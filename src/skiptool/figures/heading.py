"""Heading of a sheet of pictures: title, notes and key, above what is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from skiptool.figures.key import Entry, Key, plan_key
from skiptool.figures.labels import fitted, wrapped
from skiptool.figures.style import SOFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MARGIN", "Heading", "plan_heading"]

MARGIN: Final = 18
"""Free edge of the sheet in dots."""

_TITLE: Final = (8.0, 46)  # points, dots of its line
_NOTES: Final = (6.5, 36)
_GAP: Final = 12


@dataclass(frozen=True, slots=True)
class Heading:
    """What stands above the pictures; ``bottom`` is where they may begin, in dots."""

    title: str
    notes: tuple[str, ...]
    key: Key
    bottom: int

    def draw(self, axes: Axes, left: int = MARGIN) -> None:
        """Draw it on a sheet measured in dots."""
        y = MARGIN
        if self.title:
            axes.text(left, y, self.title, size=_TITLE[0], va="top")
            y += _TITLE[1]
        for line in self.notes:
            axes.text(left, y, line, size=_NOTES[0], va="top", color=SOFT)
            y += _NOTES[1]
        self.key.draw(axes, left, y)


def plan_heading(title: str, notes: str, entries: Sequence[Entry], width: int) -> Heading:
    """Fit title, notes (at most three lines) and key into ``width`` dots."""
    key = plan_key(entries, width)
    name = fitted(title, _TITLE[0], width)
    lines = wrapped(notes, _NOTES[0], width, lines=3)
    height = (_TITLE[1] if name else 0) + _NOTES[1] * len(lines) + key.height
    return Heading(name, tuple(lines), key, MARGIN + height + (_GAP if height else 0))
